//! Whether a cluster kept its promises: the invariants of `cairn_sim`, judged from outside.
//!
//! - `copies`: what lies on the disks, beside what the cluster says;
//! - `bounds`: what a process and its folder take;
//! - here: an audit of a cluster that runs and that nobody works with, and the last one, of its folders.

mod bounds;
mod copies;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use cairn_client::api::{Code, SegmentDetail};
use cairn_client::claim::ClaimOptions;
use cairn_client::deliver::Output;
use cairn_client::dial::Client;
use cairn_client::fault::Fault;
use cairn_client::load::LoadOptions;
use cairn_client::request;
use cairn_client::save::{SaveOptions, Source};
use cairn_sim::expect::{Expected, Listed};
use cairn_sim::history::History;
use cairn_sim::invariants::acknowledged::{self, Kept};
use cairn_sim::invariants::ids::Ids;
use cairn_sim::invariants::{bytes, owner, request as requests};
use cairn_sim::linear::model;
use cairn_store::digest::Digest;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::Version;

use crate::bins;
use crate::chance::Chance;
use crate::run::Run;
use crate::site::{PATIENCE, Site};
use crate::wait::within;

/// How long one call of an audit is tried.
const TRY: Duration = Duration::from_secs(30);
/// Loads at once.
const LOADS: usize = 4;

fn listed(detail: &SegmentDetail) -> Listed {
    Listed {
        segment: detail.segment,
        head: detail.summary.head.unwrap_or_default(),
        versions: detail.versions.iter().map(|found| (found.version, found.digest)).collect(),
    }
}

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Judge {
    /// Everything that is wrong, in words.
    pub wrong: Vec<String>,
    /// Acknowledged versions that were asked for, each time.
    pub loaded: u64,
    /// Copies whose bytes were compared on disks.
    pub copies: u64,
    /// Names that a search for an order was made for.
    pub searched: usize,
    /// Files that clients may leave in a spool: none, unless a fault undoes that they took their own away.
    pub spooled_max: u64,
    /// Whether disks may lose what they had: then it is not asked how many copies there are.
    pub disks_lose: bool,
    ids: Ids,
}

impl Judge {
    /// A running cluster without faults, that nobody works with: it becomes whole, everything that was acknowledged under
    /// these names loads, and lies where it should.
    ///
    /// # Errors
    /// The audit itself cannot go on; that the cluster does not become whole is one of those.
    pub fn audit(&mut self, site: &mut Site, history: &History, names: &[Name], seed: u64) -> anyhow::Result<()> {
        let nodes = site.until_whole()?;
        site.until_repaired()?;
        let mut lives = Vec::new();
        for host in &site.hosts {
            let hello = site.wait(host.client(TRY).hello())?;
            lives.push((hello.id, hello.incarnation));
        }
        self.ids.see(lives);
        self.wrong.extend(self.ids.violations().iter().cloned());

        let by_name = history.by_name();
        let client = site.client(TRY);
        let (mut shown, mut jobs) = (BTreeMap::new(), Vec::new());
        for name in names {
            let expected = by_name.get(name).map(|calls| Expected::of(calls, history)).unwrap_or_default();
            let detail = match site.wait(client.show(name)) {
                Ok(detail) => Some(detail),
                Err(error) if error.code == Code::NotFound => None,
                Err(error) => return Err(error).with_context(|| format!("G: {name} cannot be looked up")),
            };
            let (due, wrong) = expected.due(name, detail.as_ref().map(listed).as_ref());
            self.wrong.extend(wrong);
            jobs.extend(due.iter().map(|(version, digest)| (name.clone(), *version, *digest)));
            shown.insert(name.clone(), (expected, detail));
        }
        self.load_all(site, jobs, &shown, seed);
        let (compared, wrong) = copies::judge(site, &nodes, &shown)?;
        self.copies += compared;
        self.wrong.extend(wrong.into_iter().filter(|_| !self.disks_lose));
        self.wrong.extend(bounds::judge(site, self.spooled_max));
        Ok(())
    }

    /// Takes names away that were audited, so that disks stay small, and waits until nothing of them is left.
    ///
    /// # Errors
    /// They cannot be taken away.
    pub fn close(&mut self, site: &mut Site, names: &[Name]) -> anyhow::Result<()> {
        let client = site.client(TRY);
        for name in names {
            match site.wait(client.remove(request::new_id(), name, None)) {
                Err(error) if error.code != Code::NotFound => {
                    return Err(error).with_context(|| format!("G: {name} cannot be removed"));
                }
                _ => {}
            }
        }
        let mut left = Vec::new();
        let gone = within(PATIENCE, "the collectors are done", || {
            left = copies::leftovers(site)?;
            Ok(left.is_empty().then_some(()))
        });
        if let Err(error) = gone {
            ensure!(!left.is_empty(), error);
            self.wrong.extend(left);
        }
        Ok(())
    }

    /// What follows is of another cluster.
    pub fn begin_anew(&mut self) {
        self.ids = Ids::default();
    }

    /// What clients were told, as a whole.
    pub fn read(&mut self, history: &History) {
        self.wrong.extend(owner::violations(history));
        self.wrong.extend(bytes::violations(history));
        self.wrong.extend(requests::violations(history));
        let searched = model::search(history);
        self.searched += searched.names;
        self.wrong.extend(searched.wrong);
    }

    /// Whether the cluster goes on: a save of each name succeeds, and then it is healthy.
    ///
    /// # Errors
    /// It does not.
    pub fn progress(&mut self, site: &mut Site, names: &[Name]) -> anyhow::Result<()> {
        for name in names {
            let client = site.client(TRY);
            let owner = match site.wait(client.show(name)) {
                Ok(detail) => detail.summary.owner,
                Err(error) if error.code == Code::NotFound => None,
                Err(error) => return Err(error).context("G: the cluster answers"),
            };
            let index = owner.as_ref().map_or(Ok(0), |owner| site.index(owner))?;
            let at = site.hosts[index].client(TRY);
            if owner.is_none() {
                // Nobody's, or nothing.
                let _ = site.wait(at.claim(ClaimOptions::new(name.clone())));
            }
            let source = Source::stream(std::io::Cursor::new(format!("the last of {name}").into_bytes()));
            let saved = site.wait(at.save(SaveOptions::new(name.clone(), source)));
            saved.with_context(|| format!("G: {name} cannot be saved any more"))?;
        }
        let client = site.client(TRY);
        let mut reasons = Vec::new();
        let healthy = within(PATIENCE, "the cluster is healthy", || {
            reasons = site.wait(client.health())?.reasons;
            Ok(reasons.is_empty().then_some(()))
        });
        healthy.with_context(|| format!("G: {reasons:?}"))
    }

    /// The folder of a node that does not run, checked by `cairnd fsck`.
    ///
    /// # Errors
    /// The check cannot be started.
    pub fn check_folder(&mut self, site: &Site, index: usize) -> anyhow::Result<()> {
        let host = &site.hosts[index];
        let run =
            Run::from(Command::new(bins::cairnd()).args(["fsck", "-o", "jsonl", "--dir"]).arg(&host.dir).output()?);
        if run.code != 0 {
            self.wrong.push(format!(
                "D: fsck of {} ended with {}: {}{}",
                host.name,
                run.code,
                run.text(),
                run.stderr
            ));
        }
        Ok(())
    }

    fn load_all(
        &mut self,
        site: &Site,
        jobs: Vec<(Name, Version, Digest)>,
        shown: &BTreeMap<Name, (Expected, Option<SegmentDetail>)>,
        seed: u64,
    ) {
        let mut chance = Chance::new(seed);
        let executors: Vec<(NodeName, Client)> = site
            .executors()
            .iter()
            .map(|index| &site.hosts[*index])
            .map(|host| (host.name.clone(), host.client(TRY)))
            .collect();
        let holds = |name: &Name, version, node: &NodeName| {
            let detail = shown.get(name).and_then(|(_, detail)| detail.as_ref());
            let found = detail.and_then(|detail| detail.versions.iter().find(|found| found.version == version));
            found.is_some_and(|found| found.holders.iter().any(|holder| holder.node == *node))
        };
        let mut kept = Vec::new();
        site.wait(async {
            let mut running = tokio::task::JoinSet::new();
            for (name, version, digest) in jobs {
                // Mostly where it lies: elsewhere a load leaves a copy behind that counts for nothing.
                let holders: Vec<_> = executors.iter().filter(|(node, _)| holds(&name, version, node)).collect();
                let near = chance.percent(75) && !holders.is_empty();
                let (_, client) = if near { *chance.one(&holders) } else { chance.one(&executors) };
                let client = client.clone();
                if running.len() >= LOADS {
                    kept.extend(running.join_next().await.and_then(Result::ok));
                }
                running.spawn(async move {
                    let loaded = load(&client, &name, version).await;
                    Kept { name, version, digest, intact: true, loaded }
                });
            }
            while let Some(done) = running.join_next().await {
                kept.extend(done.ok());
            }
        });
        self.loaded += kept.len() as u64;
        self.wrong.extend(acknowledged::violations(&kept));
    }
}

async fn load(client: &Client, name: &Name, version: Version) -> Result<Digest, Code> {
    let sink = crate::load::Sink::default();
    let output = Some(Output::stream(sink.clone()));
    let options = LoadOptions { version: Some(version), output, ..LoadOptions::new(name.clone()) };
    match client.load(options).await {
        Ok(_) => Ok(sink.digest()),
        Err(Fault::Request(error)) => Err(error.code),
        Err(Fault::File(_)) => Err(Code::Internal),
    }
}

/// Names that an audit has not been told of.
pub fn all_names(history: &History) -> BTreeSet<Name> {
    history.calls.iter().map(|call| call.name.clone()).collect()
}
