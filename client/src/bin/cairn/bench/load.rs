//! Clients that do the same again and again, each as soon as its last time is over.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::spread::{millis, percentile};
use crate::report::Report;

/// One who does the same again and again.
pub(super) trait Repeat: Send + 'static {
    /// Once.
    fn once(&mut self) -> impl Future<Output = Result<(), Report>> + Send;
}

/// How often it was done, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Tally {
    /// Of all clients' times within `span`.
    pub(super) fn of(mut took: Vec<Duration>, span: Duration) -> Result<Self, Report> {
        took.sort();
        let at = |share| percentile(&took, share).map(millis);
        let (Some(p50_ms), Some(p99_ms)) = (at(0.5), at(0.99)) else {
            return Err(Report::internal("nothing was done within a run: give more --seconds"));
        };
        Ok(Self { per_second: took.len() as f64 / span.as_secs_f64(), p50_ms, p99_ms })
    }
}

/// Has all of `clients` repeat what they do, for `span`; they can be used again.
pub(super) async fn repeat<C: Repeat>(clients: &mut Vec<C>, span: Duration) -> Result<Tally, Report> {
    let begun = Instant::now();
    let deadline = begun + span;
    let mut tasks = JoinSet::new();
    for mut client in clients.drain(..) {
        tasks.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < deadline {
                let begun = Instant::now();
                client.once().await?;
                took.push(begun.elapsed());
            }
            Ok::<_, Report>((client, took))
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (client, took) = done.map_err(|error| Report::internal(format!("a client failed: {error}")))??;
        clients.push(client);
        all.extend(took);
    }
    // The last ones end a little later.
    Tally::of(all, begun.elapsed())
}
