//! The state machine as Raft drives it: applies, makes snapshots, and shows everybody the newest state.
//!
//! The truth is snapshot + log (R11). The applied state lives in memory; a snapshot is a clone of it, written to
//! disk by a thread while entries go on being applied. Raft purges its log only to a snapshot that is durable.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_store::crash_point;
use cairn_store::meta::apply::Position;
use cairn_store::meta::{History, State, Watched};
use cairn_store::record;
use cairn_store::time::LogTime;
use futures::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use super::types::{AppReply, LogId, Types};
use crate::env::Env;

/// The first record of a snapshot file: where in the log it stands.
pub const PLACE_KIND: record::Kind = record::Kind { tag: *b"RAFT", version: 1 };

/// A snapshot of the replicated state.
pub type Snapshot = SnapshotOf<Types, State>;

/// The newest applied state, and where it stands. A clone is cheap.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The state.
    pub state: State,
    /// The last applied entry.
    pub applied: Option<LogId>,
    /// The last applied membership.
    pub membership: StoredMembershipOf<Types>,
    /// The newest changes, for watchers.
    pub history: History,
    /// The term of the newest stamp that counted, and when it was applied here.
    stamped: Option<(u64, Duration)>,
}

/// What a node ends with whose applied entries are not the leader's. openraft takes it for granted that they are.
pub const FORGOTTEN: &str = "the leader has other entries than those that were applied here: a voter has lost what it had \
                             acknowledged (was an older copy of its folder put back?). Keep this folder: it may be the last one \
                             that has it";

impl View {
    /// Whether the entry of this id is at or before the last one that was applied.
    pub fn covers(&self, id: &LogId) -> bool {
        self.applied.is_some_and(|applied| id.index() <= applied.index())
    }

    /// Whether an entry that a leader has stands where another one was applied, as far as the last one tells: terms never go down
    /// along a log.
    pub fn is_replaced_by(&self, id: &LogId) -> bool {
        let term = |id: &LogId| id.committed_leader_id().term;
        let differs = |last: LogId| term(id) > term(&last) || (id.index() == last.index() && *id != last);
        self.covers(id) && self.applied.is_some_and(differs)
    }

    /// Reads a snapshot file to its end: `InvalidData` if it is damaged, or of a version that this build does not know.
    pub fn read(source: &mut dyn io::Read) -> io::Result<Self> {
        let place = read_place(source)?;
        let state = State::read(source).map_err(damaged)?;
        Ok(Self::restored(state, place.applied, place.membership))
    }

    /// As a snapshot has it: what was before is not known.
    fn restored(state: State, applied: Option<LogId>, membership: StoredMembershipOf<Types>) -> Self {
        let history = History::after(state.revision);
        Self { state, applied, membership, history, stamped: None }
    }

    /// What a leader of `term` stamps on its entries at `now` (R4): the log time after its own first entry of the
    /// term, plus the time since it applied its newest stamp. Before that entry the clock stands still.
    pub fn clock(&self, term: u64, now: Duration) -> LogTime {
        match self.stamped {
            Some((stamped, at)) if stamped == term => self.state.time.after(now.saturating_sub(at)),
            _ => self.state.time,
        }
    }

    /// Whether a stamp of `term` was applied, so that the clock of that leader runs.
    pub fn stamped_in(&self, term: u64) -> bool {
        self.stamped.is_some_and(|(stamped, _)| stamped == term)
    }
}

/// Where in the log a snapshot stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    applied: Option<LogId>,
    membership: StoredMembershipOf<Types>,
}

/// The state machine of one node.
pub struct Machine {
    env: Env,
    view: View,
    shown: watch::Sender<View>,
    saved: Saved,
}

/// The newest durable snapshot. Held while one is written, so that an older never replaces a newer one.
type Saved = Arc<Mutex<Option<Snapshot>>>;

impl Machine {
    /// The state as the newest durable snapshot has it; empty without one.
    ///
    /// # Errors
    /// A snapshot that cannot be read or is damaged. Nothing is touched.
    pub fn open(env: Env) -> io::Result<Self> {
        let found = env.disk.read_snapshot()?.map(|mut source| View::read(&mut source)).transpose()?;
        let saved = found.as_ref().map(snapshot_of);
        let view = found.unwrap_or_default();
        let (shown, _) = watch::channel(view.clone());
        Ok(Self { env, view, shown, saved: Arc::new(Mutex::new(saved)) })
    }

    /// The newest state, and news of it.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.shown.subscribe()
    }

    fn show(&self) {
        self.shown.send_replace(self.view.clone());
    }
}

/// Turns any error of decoding into one that stops the node.
fn damaged(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the metadata snapshot cannot be used: {error}"))
}

/// A file that ends too soon is damaged; any other error says nothing about its bytes.
fn cut_off(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { damaged("it is cut off") } else { error }
}

fn read_place(source: &mut dyn io::Read) -> io::Result<Place> {
    let mut bytes = vec![0; record::HEADER_BYTES];
    source.read_exact(&mut bytes).map_err(cut_off)?;
    let header = bytes.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = record::body_len(PLACE_KIND, header).map_err(damaged)?;
    bytes.resize(record::HEADER_BYTES + length, 0);
    source.read_exact(bytes.get_mut(record::HEADER_BYTES..).unwrap_or_default()).map_err(cut_off)?;
    Ok(record::decode(PLACE_KIND, &bytes).map_err(damaged)?.0)
}

fn snapshot_of(view: &View) -> Snapshot {
    let meta = SnapshotMetaOf::<Types> { last_log_id: view.applied, last_membership: view.membership.clone() };
    Snapshot { meta, snapshot: view.state.clone() }
}

/// Makes a snapshot the durable one, unless a newer one is.
async fn save(env: &Env, saved: &Saved, snapshot: &Snapshot) -> io::Result<()> {
    let mut saved = saved.lock().await;
    if saved.as_ref().is_some_and(|known| known.meta.last_log_id >= snapshot.meta.last_log_id) {
        return Ok(());
    }
    write(env, snapshot).await?;
    *saved = Some(snapshot.clone());
    Ok(())
}

/// Writes a snapshot durably, on a thread.
async fn write(env: &Env, snapshot: &Snapshot) -> io::Result<()> {
    let place = Place { applied: snapshot.meta.last_log_id, membership: snapshot.meta.last_membership.clone() };
    let (disk, state) = (env.disk.clone(), snapshot.snapshot.clone());
    env.blocking(move || {
        let mut failed = None;
        let first = std::iter::once(record::encode(PLACE_KIND, &place));
        let mut records = first.chain(state.records()).map_while(|record| match record {
            Ok(bytes) => Some(bytes),
            Err(e) => {
                failed = Some(damaged(e));
                None
            }
        });
        let written = disk.write_snapshot(&mut records);
        drop(records);
        failed.map_or(written, Err)
    })
    .await?
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = State;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembershipOf<Types>)> {
        Ok((self.view.applied, self.view.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        crash_point!("apply.begin");
        while let Some((entry, responder)) = entries.try_next().await? {
            let id = entry.log_id();
            let at = Position { term: id.committed_leader_id().term, index: id.index() };
            let reply = match entry.payload {
                EntryPayload::Normal(app) => {
                    let before = Watched::of(&self.view.state);
                    let reply = self.view.state.apply(at, &app.0);
                    if let Err(rejection) = &reply {
                        tracing::debug!(index = at.index, ?rejection, "an entry was refused");
                    }
                    self.view.history.record(&before, &self.view.state, app.0.at);
                    if app.0.stamp.term == at.term {
                        self.view.stamped = Some((at.term, self.env.clock.now()));
                    }
                    Some(reply)
                }
                EntryPayload::Membership(membership) => {
                    self.view.state.skip(at);
                    self.view.membership = StoredMembershipOf::<Types>::new(Some(id), membership);
                    None
                }
                EntryPayload::Blank => {
                    self.view.state.skip(at);
                    None
                }
            };
            self.view.applied = Some(id);
            if let Some(responder) = responder {
                answers.push((responder, reply));
            }
        }
        crash_point!("apply.done");
        // Shown before answered: whoever got an answer reads its effect here.
        self.show();
        crash_point!("apply.shown");
        for (responder, reply) in answers {
            crash_point!("reply.begin");
            responder.send(AppReply(reply));
            crash_point!("reply.done");
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { env: self.env.clone(), saved: self.saved.clone(), snapshot: snapshot_of(&self.view) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, snapshot: State) -> io::Result<()> {
        let snapshot = Snapshot { meta: meta.clone(), snapshot };
        crash_point!("snapshot.install");
        save(&self.env, &self.saved, &snapshot).await?;
        crash_point!("snapshot.installed");
        self.view = View::restored(snapshot.snapshot, meta.last_log_id, meta.last_membership.clone());
        self.show();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.saved.lock().await.clone())
    }
}

/// Writes one snapshot while entries go on being applied.
pub struct Builder {
    env: Env,
    saved: Saved,
    snapshot: Snapshot,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = State;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        crash_point!("snapshot.begin");
        save(&self.env, &self.saved, &self.snapshot).await?;
        crash_point!("snapshot.done");
        Ok(self.snapshot.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cairn_store::id::Incarnation;
    use openraft::Membership;
    use openraft::type_config::alias::CommittedLeaderIdOf;
    use uuid::Uuid;

    use super::*;
    use crate::raft::types::Peer;

    fn view(time: u64, stamped: Option<(u64, u64)>) -> View {
        let mut view = View::default();
        view.state.time = LogTime(time);
        view.stamped = stamped.map(|(term, at)| (term, Duration::from_millis(at)));
        view
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId { leader_id: CommittedLeaderIdOf::<Types>::new(term), index }
    }

    #[test]
    fn what_was_applied_is_replaced_by_nothing() {
        let mut view = View::default();
        assert!(!view.is_replaced_by(&id(9, 0)), "nothing was applied");
        view.applied = Some(id(2, 15));
        for fits in [id(1, 3), id(2, 15), id(2, 16), id(3, 16)] {
            assert!(!view.is_replaced_by(&fits), "{fits}");
        }
        for other in [id(3, 15), id(3, 12), id(1, 15)] {
            assert!(view.is_replaced_by(&other), "{other}");
        }
    }

    /// Before the records of the state, which the store has a fixture of. `UPDATE_FIXTURE=1` writes it again: only for
    /// what a release has never written.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a fixture")]
    fn the_place_of_a_snapshot_has_the_bytes_of_its_version() {
        let peer = |number: u128| Peer {
            rpc: format!("n{number}:7420"),
            data: format!("n{number}:7421"),
            incarnation: Some(Incarnation(Uuid::from_u128(number))),
        };
        let nodes = BTreeMap::from([(1, peer(1)), (2, peer(2)), (300, peer(3))]);
        let voters = [[1, 2].into(), [1, 300].into()];
        let membership = Membership::new(voters.to_vec(), nodes).unwrap();
        let membership = StoredMembershipOf::<Types>::new(Some(id(2, 5)), membership);
        let places = [
            Place { applied: None, membership: Default::default() },
            Place { applied: Some(id(3, 700)), membership },
        ];
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/snapshot-place-v1.bin");
        let written: Vec<u8> = places.iter().flat_map(|place| record::encode(PLACE_KIND, place).unwrap()).collect();
        if std::env::var_os("UPDATE_FIXTURE").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        let kept = std::fs::read(path).unwrap();
        let mut rest = kept.as_slice();
        for place in places {
            let read = read_place(&mut rest).unwrap();
            assert_eq!((read.applied, read.membership), (place.applied, place.membership));
        }
        assert!(rest.is_empty() && kept == written, "bytes on disk changed: that needs a new version");
    }

    #[test]
    fn a_leaders_clock_stands_still_before_its_own_first_entry() {
        let now = Duration::from_millis(9_000);
        assert_eq!(view(500, None).clock(3, now), LogTime(500));
        // The stamp of an earlier leader says nothing about how much time has passed.
        assert_eq!(view(500, Some((2, 1_000))).clock(3, now), LogTime(500));
        assert!(!view(500, Some((2, 1_000))).stamped_in(3));
    }

    #[test]
    fn a_leaders_clock_runs_from_its_newest_stamp() {
        let view = view(500, Some((3, 1_000)));
        assert_eq!(view.clock(3, Duration::from_millis(1_000)), LogTime(500));
        assert_eq!(view.clock(3, Duration::from_millis(1_750)), LogTime(1_250));
        // The env's clock never goes back; if it did, log time would not.
        assert_eq!(view.clock(3, Duration::from_millis(10)), LogTime(500));
    }
}
