//! A state as a file, from which another cluster can begin (R12): a head, then the records of a snapshot.
//!
//! It holds names, versions and digests, and no bytes of any copy: those lie in the nodes' segment files. Who begins with it
//! takes the segments over, and nothing that was true of the nodes of that cluster.

use std::io::{self, Read};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::archive::Archive;
use crate::id::{ClusterId, SegmentId};
use crate::meta::command::{Command, Source};
use crate::meta::snapshot::SnapshotError;
use crate::meta::state::State;
use crate::record::{self, RecordError};
use crate::segment::{Epoch, Segment};
use crate::time::WallTime;

/// The first record of a backup.
pub const BACKUP_KIND: record::Kind = record::Kind { tag: *b"BACK", version: 1 };

/// The most bytes of segments that one [`Command::Readmit`] carries, unless a single segment has more.
pub const READMIT_BYTES: usize = 48 << 10;

/// One step with which a cluster takes over what another one knew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestoreStep {
    /// [`Command::Restore`].
    Begin {
        /// What is taken over.
        source: Source,
        /// That cluster's own ancestors.
        ancestors: Vec<ClusterId>,
        /// Above every epoch that was given there.
        floor: Epoch,
    },
    /// [`Command::Readmit`].
    Segments {
        /// What is taken over.
        source: Source,
        /// Some of its segments.
        segments: Vec<Segment>,
    },
    /// [`Command::Restored`].
    End {
        /// What is taken over.
        source: Source,
    },
    /// [`Command::Refile`].
    Archives {
        /// What is taken over.
        source: Source,
        /// What some of its segments have in the global tier.
        archives: Vec<(SegmentId, Archive)>,
    },
}

impl From<RestoreStep> for Command {
    fn from(step: RestoreStep) -> Self {
        match step {
            RestoreStep::Begin { source, ancestors, floor } => Self::Restore { source, ancestors, floor },
            RestoreStep::Segments { source, segments } => Self::Readmit { source, segments },
            RestoreStep::Archives { source, archives } => Self::Refile { source, archives },
            RestoreStep::End { source } => Self::Restored { source },
        }
    }
}

/// What one cluster knew at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Backup {
    /// When it was made, for people.
    pub taken: WallTime,
    /// What was known.
    pub state: State,
}

#[derive(Serialize, Deserialize)]
struct Head {
    taken: WallTime,
}

/// Why bytes are not a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// They could not be read.
    #[error("the backup cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Another file.
    #[error("this is no backup of a cluster's metadata")]
    Stranger,
    /// A newer program made it.
    #[error("the backup has version {0}, and this program reads up to {known}: a newer one made it", known = BACKUP_KIND.version)]
    Newer(u16),
    /// Its bytes are not as they were written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// The cluster did not exist yet.
    #[error("the backup is of a node that never was in a cluster")]
    NotFounded,
}

impl From<RecordError> for BackupError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Version { found, .. } if found > BACKUP_KIND.version => Self::Newer(found),
            RecordError::Kind { .. } => Self::Stranger,
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<SnapshotError> for BackupError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Io(error) => Self::Io(error),
            SnapshotError::Record(RecordError::Version { found, .. }) => Self::Newer(found),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl Backup {
    /// The backup as encoded records.
    pub fn records(&self) -> impl Iterator<Item = Result<Vec<u8>, RecordError>> + Send + use<> {
        let head = record::encode(BACKUP_KIND, &Head { taken: self.taken });
        std::iter::once(head).chain(self.state.records())
    }

    /// Reads a whole backup, to the end of `source`.
    ///
    /// # Errors
    /// As [`BackupError`] says; a backup that was cut off is damaged.
    pub fn read(source: &mut dyn Read) -> Result<Self, BackupError> {
        let mut bytes = vec![0; record::HEADER_BYTES];
        source.read_exact(&mut bytes).map_err(stranger)?;
        let header = bytes.first_chunk().ok_or(BackupError::Stranger)?;
        let length = record::body_len(BACKUP_KIND, header)?;
        bytes.resize(record::HEADER_BYTES + length, 0);
        source.read_exact(bytes.get_mut(record::HEADER_BYTES..).unwrap_or_default()).map_err(stranger)?;
        let (Head { taken }, _) = record::decode(BACKUP_KIND, &bytes)?;
        let state = State::read(source)?;
        if state.cluster.is_none() { Err(BackupError::NotFounded) } else { Ok(Self { taken, state }) }
    }

    /// What it is a backup of; none of a cluster that was not founded.
    pub fn source(&self) -> Option<Source> {
        self.state.cluster.map(|cluster| Source { cluster, revision: self.state.revision })
    }

    /// The steps with which another cluster begins with it, in their order; each may be taken twice. None of a cluster that
    /// was not founded.
    pub fn steps(&self) -> Option<impl Iterator<Item = RestoreStep> + Send + use<>> {
        let source = self.source()?;
        let ancestors = self.state.origin.iter().flat_map(|origin| origin.ancestors.iter().copied()).collect();
        let first = RestoreStep::Begin { source, ancestors, floor: self.floor() };
        let readmit = batches(self.restorable()).map(move |segments| RestoreStep::Segments { source, segments });
        let refile = batches(self.archived()).map(move |archives| RestoreStep::Archives { source, archives });
        Some(std::iter::once(first).chain(readmit).chain(refile).chain([RestoreStep::End { source }]))
    }

    /// Above every epoch that was ever given.
    fn floor(&self) -> Epoch {
        let State { segments, epochs, origin, .. } = &self.state;
        let given = segments.values().map(|segment| segment.epoch).chain(epochs.values().copied());
        given.chain(origin.iter().map(|origin| origin.floor)).max().unwrap_or_default().next_generation()
    }

    /// What segments that have a version have in the global tier.
    fn archived(&self) -> impl Iterator<Item = (SegmentId, Archive)> + Send + use<> {
        let State { segments, archives, .. } = self.state.clone();
        let archives = archives
            .into_iter()
            .filter(move |(id, _)| segments.get(id).is_some_and(|segment| !segment.versions.is_empty()));
        archives.map(|(id, archive)| (id, archive.without_ended()))
    }

    /// The segments that have a version: a name alone is free again.
    fn restorable(&self) -> impl Iterator<Item = Segment> + Send + use<> {
        let kept = self.state.segments.clone().into_iter().map(|(_, segment)| segment);
        kept.filter(|segment| !segment.versions.is_empty()).map(|segment: Arc<Segment>| segment.without_holders())
    }
}

/// As many of them together as one step may carry.
fn batches<T: Serialize>(all: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.peekable();
    std::iter::from_fn(move || {
        all.peek()?;
        let (mut some, mut bytes) = (Vec::new(), 0);
        while let Some(next) = all.next_if(|next| some.is_empty() || bytes + size_of(next) <= READMIT_BYTES) {
            bytes += size_of(&next);
            some.push(next);
        }
        Some(some)
    })
}

fn size_of(what: &impl Serialize) -> usize {
    use bincode::Options;
    let size = record::bincode_options().serialized_size(what);
    size.ok().and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}

/// A file that ends before its head does is none of ours.
fn stranger(error: io::Error) -> BackupError {
    if error.kind() == io::ErrorKind::UnexpectedEof { BackupError::Stranger } else { error.into() }
}
