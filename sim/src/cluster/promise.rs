//! What saves promised: invariants A and F, from outside.

use std::collections::BTreeMap;

use anyhow::ensure;
use cairn_client::api::{Loaded, Saved};
use cairn_store::digest::Digest;
use cairn_store::name::Name;
use cairn_store::segment::Version;

/// Every acknowledged version.
#[derive(Debug, Default)]
pub(super) struct Promises {
    versions: BTreeMap<(Name, Version), Digest>,
    /// The newest of each name.
    heads: BTreeMap<Name, Version>,
}

impl Promises {
    /// A save was acknowledged.
    pub(super) fn saved(&mut self, saved: &Saved, bytes: &[u8]) -> anyhow::Result<()> {
        let digest = Digest::of(bytes);
        let known = self.versions.entry((saved.name.clone(), saved.version)).or_insert(digest);
        ensure!(*known == digest, "version {} of {} was acknowledged twice, differently", saved.version, saved.name);
        let head = self.heads.entry(saved.name.clone()).or_default();
        *head = (*head).max(saved.version);
        Ok(())
    }

    /// What cannot be held any more: all of a name after this version, or everything.
    pub(super) fn give_up(&mut self, name: &Name, after: Option<Version>) {
        let after = after.unwrap_or(Version::NONE);
        self.versions.retain(|(known, version), _| known != name || *version <= after);
        match self.heads.get_mut(name) {
            Some(head) if after != Version::NONE => *head = (*head).min(after),
            _ => drop(self.heads.remove(name)),
        }
    }

    /// A load must give what was acknowledged, and nothing older if it asked for the newest.
    pub(super) fn check(&self, loaded: &Loaded, bytes: &[u8], newest: bool) -> anyhow::Result<()> {
        let (name, version) = (&loaded.name, loaded.version);
        let head = self.heads.get(name).copied().unwrap_or_default();
        ensure!(
            !newest || version >= head,
            "a load of {name} gave version {version}, though {head} was acknowledged"
        );
        let known = self.versions.get(&(name.clone(), version));
        ensure!(known.is_none_or(|known| *known == Digest::of(bytes)), "version {version} of {name} changed");
        Ok(())
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<Name> {
        self.heads.keys().cloned().collect()
    }
}
