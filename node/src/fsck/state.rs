//! Identity, Raft log and snapshot; and the state that they lead to, as a start would build it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use cairn_store::disk::{Disk, FileDisk, SPOOL_MARK, Toc, read_text};
use cairn_store::id::{CopyId, NodeId};
use cairn_store::meta::State;
use cairn_store::meta::apply::Position;
use cairn_store::segment::Standing;
use openraft::EntryPayload;

use super::beside::{Copied, copied, ours};
use super::{Finding, Tell, What};
use crate::identity::Identity;
use crate::raft::View;
use crate::raft::log::{LogTuning, Span, WalLog};
use crate::raft::types::LogId;

const NO_START: &str = "not start, and leave it as it is: put it back as it was, or let this machine join as a new node, \
                        in an empty folder";
pub(super) const REMOVED: &str = "not start: the machine may join as a new node, in an empty folder";

/// What the node knows.
pub(super) struct Known {
    /// Who it is.
    pub(super) identity: Option<Identity>,
    /// Whether it was removed from its cluster, and never starts again.
    pub(super) removed: bool,
    states: Option<States>,
}

/// The replicated state twice: a power cut may take back the note of what was committed, never the entry itself.
struct States {
    /// As far as the node knows that it was agreed.
    agreed: State,
    /// With every entry of the log.
    newest: State,
    /// The last entry that led there.
    last: Option<LogId>,
    /// There is neither a vote nor a snapshot: as if the node had never run.
    blank: bool,
}

impl Known {
    /// Tells of a log that is as if the node had never run, where the mark or copies say that it did: it was lost.
    pub(super) fn check_log(&self, disk: &FileDisk, copies: u64, tell: &mut Tell<'_>) -> io::Result<()> {
        let begun = match self.identity.as_ref().map(|identity| disk.log_was_begun(identity.incarnation)) {
            Some(Err(error)) if ours(&error) => return Err(error),
            Some(Err(error)) => {
                tell(Finding::bad(What::Log, &disk.log_mark(), error, NO_START));
                return Ok(());
            }
            begun => begun.transpose()?.unwrap_or(false),
        };
        if !self.states.as_ref().is_some_and(|states| states.blank) {
            return Ok(());
        }
        let why = if copies > 0 { "copies lie here" } else { "the node ran before" };
        if copies > 0 || begun {
            let problem = format!("it is empty, and {why}: the log was lost, and the node's vote with it");
            tell(Finding::bad(What::Log, &disk.dir().join("log"), problem, NO_START));
        }
        Ok(())
    }

    /// What the state says of a copy: that it is referred to, if it may be. None without a state.
    pub(super) fn standing(&self, toc: &Toc) -> Option<Standing> {
        let of = |state: &State| state.standing(toc.segment, toc.version, toc.copy);
        let states = self.states.as_ref()?;
        Some(match of(&states.newest) {
            Standing::Referenced => Standing::Referenced,
            _ => of(&states.agreed),
        })
    }

    /// Shows the copies that the cluster counts on here.
    pub(super) fn counted_on(&self, show: &mut dyn FnMut(CopyId) -> io::Result<()>) -> io::Result<()> {
        let (Some(me), Some(states)) = (self.me(), &self.states) else { return Ok(()) };
        for segment in states.agreed.segments.values() {
            for (version, record) in &segment.versions {
                for copy in record.durable().filter(|copy| copy.node == me) {
                    if states.newest.standing(segment.id, *version, copy.id) == Standing::Referenced {
                        show(copy.id)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The copies that the cluster lists here, in whatever state. None without a state.
    pub(super) fn listed(&self) -> Option<BTreeSet<CopyId>> {
        let (me, states) = (self.me()?, self.states.as_ref()?);
        let mut listed = states.agreed.copies_on(me);
        listed.append(&mut states.newest.copies_on(me));
        Some(listed)
    }

    /// Its name, if the state tells it.
    pub(super) fn name(&self) -> Option<String> {
        let member = self.states.as_ref()?.newest.members.get(&self.me()?)?;
        Some(member.profile.name.to_string())
    }

    /// Whether the cluster began with what another one knew, and looks at copies that were brought along.
    pub(super) fn inherits(&self) -> bool {
        self.states.as_ref().is_some_and(|states| states.newest.origin.is_some())
    }

    /// The state with every entry of the log, and the term of the last one.
    pub(super) fn into_newest(self) -> Option<(State, u64)> {
        let states = self.states.filter(|states| !states.blank)?;
        Some((states.newest, states.last.map_or(0, |last| last.leader_id.term)))
    }

    fn me(&self) -> Option<NodeId> {
        self.identity.as_ref().map(|identity| identity.node)
    }
}

/// Checks what a start reads before it looks at any copy.
pub(super) fn read(disk: &FileDisk, tell: &mut Tell<'_>) -> io::Result<Known> {
    if let Err(error) = FileDisk::open(disk.dir()) {
        tell(Finding::bad(What::Folder, disk.dir(), &error, "not start: put back what belongs there"));
    }
    let identity = read_identity(disk, tell)?;
    let snapshot = read_snapshot(disk, tell)?;
    let states = read_log(disk, snapshot, tell)?;
    let removed = read_removal(disk, identity.as_ref(), tell)?;
    Ok(Known { identity, removed, states })
}

fn read_identity(disk: &FileDisk, tell: &mut Tell<'_>) -> io::Result<Option<Identity>> {
    let path = disk.dir().join("node.toml");
    let text = match disk.read_identity() {
        Ok(Some(text)) => text,
        Ok(None) => {
            tell(Finding::bad(What::Identity, &path, "it is gone, and the log is there", NO_START));
            return Ok(None);
        }
        Err(error) if ours(&error) => return Err(error),
        Err(error) => {
            tell(Finding::bad(What::Identity, &path, error, NO_START));
            return Ok(None);
        }
    };
    let identity = match Identity::from_toml(&text) {
        Ok(identity) => identity,
        Err(error) => {
            // One line of it: what follows shows the place, as if somebody were to mend it.
            let why = error.to_string();
            tell(Finding::bad(What::Identity, &path, why.lines().next().unwrap_or_default(), NO_START));
            return Ok(None);
        }
    };
    let mark = disk.spool().join(SPOOL_MARK);
    if read_text(&mark).is_ok_and(|text| text.trim() == identity.incarnation.to_string()) {
        return Ok(Some(identity));
    }
    tell(Finding::note(What::Identity, &mark, "it does not name this node", "write it anew"));
    Ok(Some(identity))
}

/// Whether the node was removed from its cluster.
fn read_removal(disk: &FileDisk, identity: Option<&Identity>, tell: &mut Tell<'_>) -> io::Result<bool> {
    let Some(identity) = identity else { return Ok(false) };
    match disk.was_removed(identity.incarnation) {
        Ok(removed) => {
            if removed {
                let what = "the node was removed from its cluster";
                tell(Finding::note(What::Identity, &disk.removed_mark(), what, REMOVED));
            }
            Ok(removed)
        }
        Err(error) if ours(&error) => Err(error),
        Err(error) => {
            tell(Finding::bad(What::Identity, &disk.removed_mark(), error, NO_START));
            Ok(false)
        }
    }
}

/// The state that the snapshot holds, an empty one if there is none yet; none if it cannot be used.
fn read_snapshot(disk: &FileDisk, tell: &mut Tell<'_>) -> io::Result<Option<View>> {
    let path = disk.snapshot();
    match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(View::default())),
        // What stands there instead is told with the folder, and not opened.
        Ok(found) if !found.is_file() => return Ok(None),
        _ => {}
    }
    let read = disk.read_snapshot().and_then(|source| match source {
        Some(mut source) => View::read(&mut source),
        None => Ok(View::default()),
    });
    match read {
        Ok(view) => Ok(Some(view)),
        Err(error) if ours(&error) => Err(error),
        Err(error) => {
            tell(Finding::bad(What::Snapshot, &path, error, NO_START));
            Ok(None)
        }
    }
}

fn read_log(disk: &FileDisk, snapshot: Option<View>, tell: &mut Tell<'_>) -> io::Result<Option<States>> {
    let path = disk.dir().join("log");
    let beside = match copied(&path)? {
        Copied::Absent => return Ok(None),
        Copied::Unreadable(error) => {
            tell(Finding::bad(What::Log, &path, error, NO_START));
            return Ok(None);
        }
        Copied::Whole(beside) => beside,
    };
    let before = lengths(&beside)?;
    let tuning = LogTuning { ballast_bytes: 0, ..LogTuning::default() };
    let opened = WalLog::open(beside.path(), tuning).and_then(|log| Ok((log.span()?, log)));
    let bad = |error: io::Error, will: &str| {
        // Where the copy lies says nothing.
        let why = error.to_string().replace(&beside.path().display().to_string(), &path.display().to_string());
        Finding::bad(What::Log, &path, why, will)
    };
    let (span, log) = match opened {
        Ok(opened) => opened,
        Err(error) if ours(&error) => return Err(error),
        Err(error) => {
            tell(bad(error, NO_START));
            return Ok(None);
        }
    };
    for (name, length) in before {
        let left = fs::metadata(beside.path().join(&name)).map_or(0, |found| found.len());
        if left < length {
            let problem = format!("the last {} bytes are a write that never finished", length - left);
            tell(Finding::note(What::Log, &path.join(&name), problem, "cut it off: it was never acknowledged"));
        }
    }
    let Some(view) = snapshot else {
        // Only whether it can be read: what it adds to is not known.
        if let Err(error) = log.read_through(&mut |_| {}) {
            tell(bad(error, NO_START));
        }
        return Ok(None);
    };
    if !fits(&span, &view, &path, tell) {
        return Ok(None);
    }
    match replay(&log, &span, view) {
        Ok(states) => Ok(Some(states)),
        Err(error) => {
            tell(bad(error, "not start, or stop as soon as it reads that entry"));
            Ok(None)
        }
    }
}

/// Whether the log goes on where the snapshot ends.
fn fits(span: &Span, view: &View, path: &Path, tell: &mut Tell<'_>) -> bool {
    let index = |id: &Option<LogId>| id.as_ref().map(|id| id.index);
    let (applied, purged) = (index(&view.applied), index(&span.purged));
    if purged > applied {
        let end = applied.map_or("there is no snapshot".into(), |end| format!("the snapshot ends with {end}"));
        let problem = format!("its entries up to {} are gone, and {end}", purged.unwrap_or_default());
        tell(Finding::bad(What::Log, path, problem, NO_START));
        return false;
    }
    if span.vote.is_none() && applied.is_some() {
        let problem = "it is empty, and the snapshot is not: the log was lost, and the node's vote with it";
        tell(Finding::bad(What::Log, path, problem, NO_START));
    }
    true
}

/// Applies what the log adds to the snapshot.
fn replay(log: &WalLog, span: &Span, view: View) -> io::Result<States> {
    let (applied, mut last) = (view.applied.map(|id| id.index), view.applied);
    let committed = span.committed.map(|id| id.index);
    let mut newest = view.state;
    let mut agreed = newest.clone();
    log.read_through(&mut |entry| {
        let at = Position { term: entry.log_id.leader_id.term, index: entry.log_id.index };
        if Some(at.index) <= applied {
            return;
        }
        last = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Normal(app) => drop(newest.apply(at, &app.0)),
            EntryPayload::Membership(_) | EntryPayload::Blank => newest.skip(at),
        }
        if Some(at.index) <= committed {
            agreed = newest.clone();
        }
    })?;
    let blank = span.vote.is_none() && applied.is_none();
    Ok(States { agreed, newest, last, blank })
}

fn lengths(folder: &tempfile::TempDir) -> io::Result<Vec<(std::ffi::OsString, u64)>> {
    let entries = fs::read_dir(folder.path())?;
    entries.map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.metadata()?.len())))).collect()
}
