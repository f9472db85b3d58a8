//! One client: draws a call, makes it, and writes down what it was told.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_client::api::{Code, Outcome};
use cairn_client::claim::ClaimOptions;
use cairn_client::deliver::Output;
use cairn_client::dial::Client;
use cairn_client::fault::Fault;
use cairn_client::load::LoadOptions;
use cairn_client::request;
use cairn_client::save::{SaveOptions, Source};
use cairn_sim::history::{Ask, Told};
use cairn_store::digest::Digest;
use cairn_store::segment::{Ack, Version};

use super::Shared;
use super::Sink;
use super::names::{Asked, KEEP_LARGE, KEEP_SMALL, Slot};
use crate::chance::Chance;

/// From here on a segment goes past the page cache, and further; in bytes.
const LARGE_MIN: u64 = 5 << 20;
/// The largest small segment, in bytes.
const SMALL_MAX: u64 = 200_000;

/// A client.
pub(super) struct Worker {
    shared: Arc<Shared>,
    chance: Chance,
    file: PathBuf,
    out: PathBuf,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, chance: Chance, number: usize) -> Self {
        let (file, out) = (shared.scratch.join(format!("in-{number}")), shared.scratch.join(format!("out-{number}")));
        Self { shared, chance, file, out }
    }

    /// Makes one call.
    pub(super) async fn call(&mut self) {
        let slot = self.shared.names.draw(&mut self.chance);
        let again = if self.chance.percent(12) { slot.asked.clone() } else { Vec::new() };
        let asked = if again.is_empty() { self.draw(&slot) } else { self.chance.one(&again).clone() };
        let (node, endpoint) = self.shared.nodes[asked.node].clone();
        let (least, most) = self.shared.wish.timeout_ms;
        let timeout = Duration::from_millis(self.chance.between(least, most));
        let client = Client::new(vec![endpoint], timeout);

        let place = self.shared.book.ask(&node, asked.request, &slot.name, asked.ask.clone());
        let told = self.carry_out(&client, &slot, &asked).await;
        let told = told.unwrap_or_else(|fault| told_of(&fault));
        self.shared.book.tell(place, told.clone());
        self.shared.names.learn(&slot.name, |slot| learn(slot, asked, &told));
    }

    /// What to ask.
    fn draw(&mut self, slot: &Slot) -> Asked {
        let nodes = self.shared.nodes.len() as u64;
        let anybody = usize::try_from(self.chance.below(nodes)).expect("an index");
        let (mut node, mut bytes) = (anybody, None);
        let ask = match self.chance.below(100) {
            0..55 => {
                // Mostly whoever is thought to own it.
                if self.chance.percent(85) {
                    node = slot.owner;
                }
                let stamp = self.shared.stamp.fetch_add(1, Ordering::Relaxed);
                let most = if slot.large { self.shared.base.len() as u64 } else { SMALL_MAX };
                let size = self.chance.between(if slot.large { LARGE_MIN } else { 16 }, most);
                let size = usize::try_from(size).expect("a size");
                bytes = Some((stamp, size));
                Ask::Save {
                    digest: Digest::of(&self.bytes(stamp, size)),
                    replicas: if self.chance.percent(self.shared.wish.sparse_percent) { 1 } else { 2 },
                    ack: *self.chance.one(&[Ack::All, Ack::All, Ack::All, Ack::Quorum, Ack::One]),
                    keep: if slot.large { KEEP_LARGE } else { KEEP_SMALL },
                    if_version: slot.head.filter(|_| self.chance.percent(15)),
                    epoch: slot.epoch.filter(|_| self.chance.percent(15)),
                }
            }
            55..72 => Ask::Load { version: None, claim: false, stale: false },
            72..76 => match slot.head {
                Some(head) => {
                    let version = Some(Version(self.chance.between(1, head.0)));
                    Ask::Load { version, claim: false, stale: false }
                }
                None => Ask::Claim,
            },
            76..86 => Ask::Load { version: None, claim: true, stale: false },
            86..94 => Ask::Claim,
            94..97 => match slot.epoch {
                Some(epoch) => Ask::Release { epoch },
                None => Ask::Claim,
            },
            _ => Ask::Remove { version: None },
        };
        Asked { node, request: request::new_id(), ask, bytes }
    }

    async fn carry_out(&mut self, client: &Client, slot: &Slot, asked: &Asked) -> Result<Told, Fault> {
        let (name, request) = (slot.name.clone(), asked.request);
        Ok(match asked.ask.clone() {
            Ask::Save { replicas, ack, keep, if_version, epoch, .. } => {
                let (stamp, size) = asked.bytes.unwrap_or_default();
                std::fs::write(&self.file, self.bytes(stamp, size)).expect("the scratch folder");
                let source = Source::File { path: self.file.clone(), take: false };
                let options = SaveOptions {
                    replicas,
                    ack,
                    keep,
                    if_version,
                    epoch,
                    request,
                    repeats: true,
                    ..SaveOptions::new(name, source)
                };
                let saved = client.save(options).await?;
                let (segment, version, digest) = (saved.segment, saved.version, saved.digest);
                Told::Saved { segment, version, epoch: saved.epoch, digest, owner: saved.owner }
            }
            Ask::Load { version, claim, stale } => {
                let sink = Sink::default();
                let (output, hasher) = match self.chance.percent(50) {
                    true => (Output::stream(sink.clone()), Some(sink)),
                    false => (Output::File { path: self.out.clone(), force: true, link: false }, None),
                };
                let options =
                    LoadOptions { version, claim, stale, request, output: Some(output), ..LoadOptions::new(name) };
                let loaded = client.load(options).await?;
                let read = match hasher {
                    Some(sink) => sink.digest(),
                    None => Digest::of(&std::fs::read(&self.out).expect("what was loaded")),
                };
                let (version, epoch, digest) = (loaded.version, loaded.epoch, loaded.digest);
                Told::Loaded { version, epoch, digest, read, owner: loaded.owner, claimed: loaded.claimed }
            }
            Ask::Claim => {
                let claimed = client.claim(ClaimOptions { request, ..ClaimOptions::new(name.clone()) }).await?;
                Told::Claimed { epoch: claimed.epoch, head: claimed.head, owner: claimed.owner }
            }
            Ask::Release { epoch } => {
                client.release(request, &name, epoch).await?;
                Told::Done
            }
            Ask::Remove { version } => {
                client.remove(request, &name, version).await?;
                Told::Done
            }
            Ask::Pin { version } => {
                client.pin(request, &name, version).await?;
                Told::Done
            }
            Ask::Unpin { version } => {
                client.unpin(request, &name, version).await?;
                Told::Done
            }
        })
    }

    /// The bytes of a save: no two are the same.
    fn bytes(&self, stamp: u64, size: usize) -> Vec<u8> {
        let mut bytes = self.shared.base[..size].to_vec();
        bytes[..8].copy_from_slice(&stamp.to_le_bytes());
        let end = size - 8;
        bytes[end..].copy_from_slice(&stamp.to_be_bytes());
        bytes
    }
}

/// What a fault says of the request.
fn told_of(fault: &Fault) -> Told {
    match fault {
        Fault::Request(error) => Told::error(error),
        Fault::File(file) if file.outcome == Outcome::Unknown => Told::Unknown,
        // It says nothing of the request: nobody decided on it.
        Fault::File(_) => Told::Refused(Code::Unavailable),
    }
}

fn learn(slot: &mut Slot, asked: Asked, told: &Told) {
    if *told != Told::Unknown {
        slot.answered();
    }
    match told {
        Told::Saved { version, epoch, .. } => {
            (slot.head, slot.epoch, slot.owner) = (Some(*version), Some(*epoch), asked.node)
        }
        Told::Loaded { version, epoch, claimed, .. } => {
            (slot.head, slot.epoch) = (Some(*version).max(slot.head), Some(*epoch));
            if *claimed {
                slot.owner = asked.node;
            }
        }
        Told::Claimed { epoch, .. } => (slot.epoch, slot.owner) = (Some(*epoch), asked.node),
        Told::Absent => slot.head = None,
        Told::Done | Told::Refused(_) | Told::Unknown => {}
    }
    let changes = !matches!(asked.ask, Ask::Load { claim: false, .. });
    if changes && (told.may_have_happened()) {
        slot.remember(asked);
    }
}
