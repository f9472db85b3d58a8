//! What `watch` prints.

use cairn_client::{api, watch};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Epoch, Version};
use serde::Serialize;

use super::time;

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
