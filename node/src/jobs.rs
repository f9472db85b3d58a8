//! Work that outlives the call that began it: a call joins it by the request id, and answers within a bound.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cairn_client::api::{Code, Error, POLL, Progress};
use cairn_store::id::RequestId;
use tokio::sync::watch;

use crate::env::Env;

/// The most jobs at once; more are refused.
const RUNNING_MAX: usize = 4096;
/// The most ended jobs whose results are kept, for calls that come again.
const ENDED_MAX: usize = 1024;

/// How far a job is. Written by the job, read by calls.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    ticks: AtomicU64,
    total: AtomicU64,
}

/// How often a disk at work is told as progress.
const TICK: Duration = Duration::from_secs(1);
/// For how long: a disk that hangs is no progress.
const TICKS_MAX: u32 = 600;

impl Meter {
    /// So many more bytes went through.
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Something else than bytes moved: whoever waits should go on waiting.
    pub fn tick(&self, steps: u64) {
        self.ticks.fetch_add(steps, Ordering::Relaxed);
    }

    /// Waits for work without bytes of its own, such as an fsync, and tells that it goes on.
    pub async fn while_ticking<T>(&self, env: &Env, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        for _ in 0..TICKS_MAX {
            if let Some(done) = env.timeout(TICK, work.as_mut()).await {
                return done;
            }
            self.tick(1);
        }
        work.await
    }

    /// Waits for one's turn, and tells that it goes on, however long that takes: whoever goes before is bounded.
    pub async fn while_queued<T>(&self, env: &Env, turn: impl Future<Output = T>) -> T {
        let mut turn = std::pin::pin!(turn);
        loop {
            if let Some(done) = env.timeout(TICK, turn.as_mut()).await {
                return done;
            }
            self.tick(1);
        }
    }

    /// So many bytes are to go through.
    pub fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    fn shown<T>(&self) -> Progress<T> {
        let (done, ticks) = (self.done(), self.ticks.load(Ordering::Relaxed));
        Progress::Running { done, total: self.total.load(Ordering::Relaxed), steps: done.saturating_add(ticks) }
    }

    /// Bytes that went through.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// Jobs of one kind.
pub struct Jobs<T> {
    known: Mutex<Known<T>>,
}

struct Known<T> {
    jobs: BTreeMap<RequestId, Job<T>>,
    ended: VecDeque<RequestId>,
}

struct Job<T> {
    /// What was asked, in short: the same id with another request is refused.
    fingerprint: String,
    meter: Arc<Meter>,
    result: watch::Receiver<Option<Result<T, Error>>>,
}

impl<T> Default for Jobs<T> {
    fn default() -> Self {
        Self { known: Mutex::new(Known { jobs: BTreeMap::new(), ended: VecDeque::new() }) }
    }
}

impl<T: Clone + Send + Sync + 'static> Jobs<T> {
    /// Begins the job, or joins the one with this id, and waits for its result for at most [`POLL`].
    ///
    /// `ended` is called with the id when the job is over; it keeps the result for later calls.
    pub async fn run<F>(
        self: &Arc<Self>,
        env: &Env,
        id: RequestId,
        fingerprint: String,
        begin: impl FnOnce(Arc<Meter>) -> F,
    ) -> Result<Progress<T>, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (meter, mut result) = self.join_or_begin(env, id, fingerprint, begin)?;
        let waited = env.timeout(POLL, result.wait_for(Option::is_some)).await;
        match waited {
            None => Ok(meter.shown()),
            Some(Ok(ended)) => match ended.clone() {
                Some(result) => result.map(Progress::Done),
                None => Err(Error::unavailable("the work has no result").unknown()),
            },
            Some(Err(_)) => Err(Error::unavailable("the node is stopping").unknown()),
        }
    }

    #[expect(clippy::type_complexity, reason = "named only here")]
    fn join_or_begin<F>(
        self: &Arc<Self>,
        env: &Env,
        id: RequestId,
        fingerprint: String,
        begin: impl FnOnce(Arc<Meter>) -> F,
    ) -> Result<(Arc<Meter>, watch::Receiver<Option<Result<T, Error>>>), Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut known = self.lock();
        if let Some(job) = known.jobs.get(&id) {
            if job.fingerprint != fingerprint {
                return Err(Error::new(Code::Conflict, "this request id was used for another request")
                    .hint("use a new --request-id"));
            }
            return Ok((job.meter.clone(), job.result.clone()));
        }
        if known.jobs.len() - known.ended.len() >= RUNNING_MAX {
            return Err(Error::unavailable("this node has as much to do as it may").hint("try again later"));
        }
        let (tell, result) = watch::channel(None);
        let meter = Arc::new(Meter::default());
        known.jobs.insert(id, Job { fingerprint, meter: meter.clone(), result: result.clone() });
        drop(known);
        let mut end = End { jobs: self.clone(), id, retry: true };
        let work = begin(meter.clone());
        env.spawn(async move {
            let ended = work.await;
            // A file that could not be used may be there the next time.
            end.retry = ended.as_ref().is_err_and(|e| e.retryable || e.code == Code::Invalid);
            tell.send_replace(Some(ended));
            drop(end);
        });
        Ok((meter, result))
    }

    /// Keeps the result for a while; what may go better is forgotten, so that the same request can try again.
    fn end(&self, id: RequestId, retry: bool) {
        let mut known = self.lock();
        if retry {
            known.jobs.remove(&id);
            return;
        }
        known.ended.push_back(id);
        if known.ended.len() > ENDED_MAX
            && let Some(oldest) = known.ended.pop_front()
        {
            known.jobs.remove(&oldest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a job however its task ends: one that panicked is forgotten, and does not count as running for ever.
struct End<T: Clone + Send + Sync + 'static> {
    jobs: Arc<Jobs<T>>,
    id: RequestId,
    retry: bool,
}

impl<T: Clone + Send + Sync + 'static> Drop for End<T> {
    fn drop(&mut self) {
        self.jobs.end(self.id, self.retry);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use uuid::Uuid;

    use super::*;
    use crate::catalogue::SledCatalogue;
    use crate::env::real::{SocketNet, SystemClock, SystemRng, TokioSpawn};
    use cairn_store::disk::FileDisk;
    use cairn_store::id::Incarnation;

    fn env(folder: &std::path::Path) -> Env {
        Env {
            clock: Arc::new(SystemClock::default()),
            rng: Arc::new(SystemRng::default()),
            spawn: Arc::new(TokioSpawn),
            net: Arc::new(SocketNet),
            disk: Arc::new(FileDisk::create(folder, Incarnation(Uuid::nil())).unwrap()),
            catalogue: Arc::new(SledCatalogue::open(&folder.join("catalogue"), "boot").unwrap().0),
            objects: None,
        }
    }

    fn id(number: u128) -> RequestId {
        RequestId(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn a_job_runs_once_however_often_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (env, jobs, begun) =
            (env(folder.path()), Arc::new(Jobs::<u32>::default()), Arc::new(AtomicUsize::new(0)));
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let mut gate = Some(gate);
        let mut begin = |meter: Arc<Meter>| {
            let (gate, begun) = (gate.take(), begun.clone());
            async move {
                begun.fetch_add(1, Ordering::Relaxed);
                meter.expect(10);
                meter.add(4);
                meter.tick(2);
                if let Some(gate) = gate {
                    gate.await.unwrap();
                }
                Ok(7)
            }
        };
        let running = jobs.run(&env, id(1), "save".into(), &mut begin).await;
        assert_eq!(running, Ok(Progress::Running { done: 4, total: 10, steps: 6 }));
        let other = jobs.run(&env, id(1), "another".into(), &mut begin).await;
        assert_eq!(other.map_err(|e| e.code), Err(Code::Conflict));
        go.send(()).unwrap();
        for _ in 0..2 {
            assert_eq!(jobs.run(&env, id(1), "save".into(), &mut begin).await, Ok(Progress::Done(7)));
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_passing_failure_may_be_tried_again_and_a_final_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (env, jobs, begun) =
            (env(folder.path()), Arc::new(Jobs::<u32>::default()), Arc::new(AtomicUsize::new(0)));
        for (number, error, runs) in [
            (1, Error::unavailable("busy"), 2),
            (2, Error::new(Code::Durability, "too few"), 1),
            (3, Error::new(Code::Invalid, "no file"), 2),
        ] {
            begun.store(0, Ordering::Relaxed);
            for _ in 0..2 {
                let (error, begun) = (error.clone(), begun.clone());
                let begin = |_| async move {
                    begun.fetch_add(1, Ordering::Relaxed);
                    Err(error)
                };
                let ended = jobs.run(&env, id(number), "save".into(), begin).await;
                assert!(ended.is_err());
                // The job's own task forgets it after telling.
                tokio::task::yield_now().await;
            }
            assert_eq!(begun.load(Ordering::Relaxed), runs, "{error}");
        }
    }
}
