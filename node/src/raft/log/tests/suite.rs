//! openraft's own suite, with the smallest state machine that it takes.

use std::sync::Arc;
use std::sync::Mutex;

use futures::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{OptionalSend, StorageError};
use tempfile::TempDir;

use super::*;

type Meta = SnapshotMetaOf<Types>;
type Snapshot = SnapshotOf<Types, ()>;

/// Remembers where it is, and nothing else.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    applied: Option<LogId>,
    membership: StoredMembershipOf<Types>,
    snapshot: Option<Meta>,
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let mut state = self.0.lock().unwrap();
        let meta = Meta { last_log_id: state.applied, last_membership: state.membership.clone() };
        state.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembershipOf<Types>), io::Error> {
        let state = self.0.lock().unwrap();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, _)) = entries.try_next().await? {
            let mut state = self.0.lock().unwrap();
            state.applied = Some(entry.log_id);
            if let Some(membership) = entry.get_membership() {
                state.membership = StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, (): ()) -> Result<(), io::Error> {
        let mut state = self.0.lock().unwrap();
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let snapshot = self.0.lock().unwrap().snapshot.clone();
        Ok(snapshot.map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Builder;

impl StoreBuilder<Types, WalLog, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, WalLog, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).unwrap();
        Ok((dir, log, Machine::default()))
    }
}

#[tokio::test]
async fn openraft_accepts_the_log() {
    Suite::test_all(Builder).await.unwrap();
}
