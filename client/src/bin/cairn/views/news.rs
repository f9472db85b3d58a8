//! What `watch` and `follow` print.

use std::path::Path;

use cairn_client::standby::Standing;
use cairn_client::{api, watch};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Epoch, Version};
use serde::Serialize;

use super::{now, or_dash, time};
use crate::output::View;

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct News<'a> {
    revision: u64,
    #[serde(rename = "type")]
    kind: Kind,
    name: Option<&'a Name>,
    version: Option<Version>,
    epoch: Option<Epoch>,
    owner: Option<&'a NodeName>,
    at: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase", untagged)]
enum Kind {
    Change(cairn_store::meta::Change),
    Gap(Gap),
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Gap {
    Relist,
}

impl<'a> News<'a> {
    pub(crate) fn new(news: &'a watch::News) -> Self {
        match news {
            watch::News::Event(event) => {
                let api::Event { revision, at, change, name, version, epoch, owner } = event;
                Self {
                    revision: *revision,
                    kind: Kind::Change(*change),
                    name: Some(name),
                    version: *version,
                    epoch: Some(*epoch),
                    owner: owner.as_ref(),
                    at: time(*at),
                }
            }
            // The revision to go on from.
            watch::News::Relist(next) => Self {
                revision: *next,
                kind: Kind::Gap(Gap::Relist),
                name: None,
                version: None,
                epoch: None,
                owner: None,
                at: None,
            },
        }
    }
}

/// A version that came to a node which follows.
#[derive(Debug, Serialize)]
pub(crate) struct Followed<'a> {
    name: &'a Name,
    version: Option<Version>,
    epoch: Epoch,
    head: Option<Version>,
    received: Option<Version>,
    applied: Option<Version>,
    owner: Option<&'a NodeName>,
    node: &'a NodeName,
    path: Option<&'a Path>,
    at: String,
}

impl<'a> Followed<'a> {
    pub(crate) fn new(name: &'a Name, known: &'a Standing, node: &'a NodeName, path: Option<&'a Path>) -> Self {
        let Standing { received, applied, head, epoch, ref owner, .. } = *known;
        let (version, owner, at) = (received, owner.as_ref(), now());
        Self { name, version, epoch, head, received, applied, owner, node, path, at }
    }
}

impl View for Followed<'_> {
    fn table(&self) -> String {
        let version = or_dash(self.version);
        match self.path {
            Some(path) => {
                format!("version {version} of {} is on {}, and at {}", self.name, self.node, path.display())
            }
            None => format!("version {version} of {} is on {}", self.name, self.node),
        }
    }
}
