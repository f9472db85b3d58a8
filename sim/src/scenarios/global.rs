//! The global tier fails in every way while saves go on. Who did not ask for it does not wait for it, and who did is told the
//! truth. Once it is mended all gets there that is to; what is not needed any more goes from there, and nothing else.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_client::api::{Code, Error, Outcome, SaveRequest, Saved};
use cairn_store::archive::Policy;
use cairn_store::archive::key::Stem;
use cairn_store::digest::{BLOCK_BYTES, Digest};
use cairn_store::meta::state::COMMIT_WINDOW;
use cairn_store::name::Name;
use cairn_store::segment::Ack;
use tokio::time::{Instant, sleep};

use super::tier::{
    check_archived, check_nothing_lost, leap, newest, parts_of, stems_of, until_published, until_reached, until_tidy,
};
use crate::cluster::Cluster;
use crate::objects::Fault;
use crate::rng::SplitMix;

/// So many faults of a seed, one after the other.
const ROUNDS: usize = 4;
/// So many saves of a round wait for the tier.
const SAFE: usize = 2;
/// The longest that a save takes that does not.
const PROMPT_MAX: Duration = Duration::from_secs(8);
/// So often it is there and gone again, and for so long at most, in milliseconds.
const FLICKERS: usize = 80;
const FLICKER_MS_MAX: u64 = 60;
/// How long workers have for what they would do when time has gone by.
const WORKERS: Duration = Duration::from_secs(5);

/// What is saved in each round: under which name, what of it goes into the tier, and how many bytes at most.
const NAMES: [(&str, Option<Policy>, usize); 7] = [
    ("job/always", Some(Policy::Always), 100_000),
    ("job/second", Some(Policy::Every(2)), 50_000),
    ("job/newest", Some(Policy::Background), 100_000),
    ("job/never", Some(Policy::Never), 10_000),
    ("job/untold", None, 10_000),
    // Of more than one part.
    ("job/large", Some(Policy::Always), 2 * BLOCK_BYTES + BLOCK_BYTES / 2),
    ("job/empty", Some(Policy::Always), 0),
];

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    until_reached(&cluster).await?;
    let mut refused = Vec::new();
    for (number, fault) in drawn(&cluster.rng).into_iter().enumerate() {
        round(&cluster, number, fault, &mut refused).await.with_context(|| format!("{fault:?}"))?;
    }
    let_go(&cluster).await?;
    reconfigure(&cluster).await?;
    check_refused(&cluster, &refused)
}

fn drawn(rng: &SplitMix) -> Vec<Fault> {
    let mut left = Fault::ALL.to_vec();
    let draw = |_| match left.remove(rng.index(left.len())) {
        Fault::Slow(_) => Fault::Slow(Duration::from_millis(200 + rng.below(1_500))),
        Fault::Flaky(_) => Fault::Flaky(3 + u32::try_from(rng.below(10)).unwrap_or(0)),
        other => other,
    };
    (0..ROUNDS).map(draw).collect()
}

async fn round(
    cluster: &Cluster,
    number: usize,
    fault: Fault,
    refused: &mut Vec<(Name, Digest)>,
) -> anyhow::Result<()> {
    let tiered: Vec<&str> = cluster.machines().iter().filter(|m| m.has_tier()).map(|m| m.name.as_str()).collect();
    let one = tiered.get(cluster.rng.index(tiered.len())).copied();
    let at = one.filter(|_| cluster.rng.below(3) == 0);
    let strike = async {
        sleep(Duration::from_millis(cluster.rng.below(1_000))).await;
        tracing::info!(?fault, ?at, "the global tier fails");
        cluster.objects.fail(at, fault);
        Ok(())
    };
    let ((), (), safe) = tokio::try_join!(strike, save_all(cluster), save_safely(cluster, number * SAFE))?;
    if cluster.rng.below(2) == 0 {
        // What was broken off, or was never told of, is a stray by now.
        leap(cluster, COMMIT_WINDOW * 3 / 2);
        sleep(WORKERS).await;
    }
    if fault == Fault::Gone && at.is_none() {
        flicker(cluster).await;
    }
    cluster.objects.mend();
    tracing::info!("the global tier is mended");
    for save in safe {
        match save.answer.as_ref().err().map(|error| error.outcome) {
            None => {}
            Some(Outcome::None) => refused.push((save.request.name, Digest::of(&save.bytes))),
            Some(Outcome::Unknown) => ask_again(cluster, save, refused).await?,
        }
    }
    if cluster.rng.below(2) == 0 {
        let gone = one.context("nobody has the global tier")?;
        cluster.crash(&[gone]).await;
        sleep(Duration::from_millis(cluster.rng.below(2_000))).await;
        cluster.start(&[gone]).await;
        cluster.ready().await?;
    }
    let state = until_published(cluster).await?;
    check_nothing_lost(&state)
}

/// It is there and gone, as a folder on which a file system is mounted again and again. Whoever looks twice sees both.
async fn flicker(cluster: &Cluster) {
    for _ in 0..FLICKERS {
        cluster.objects.mend();
        sleep(Duration::from_millis(cluster.rng.below(FLICKER_MS_MAX))).await;
        cluster.objects.fail(None, Fault::Gone);
        sleep(Duration::from_millis(cluster.rng.below(FLICKER_MS_MAX))).await;
    }
}

/// A new version of everything. None of them waits for the tier.
async fn save_all(cluster: &Cluster) -> anyhow::Result<()> {
    for (name, policy, most) in NAMES {
        let bytes = cluster.rng.bytes(most / 2 + cluster.rng.index(most / 2 + 1));
        let request = SaveRequest { archive: policy, ..cluster.save_request(name)? };
        save(cluster, &request, &bytes).await?;
    }
    Ok(())
}

/// A save on the node that owns the name.
async fn save(cluster: &Cluster, request: &SaveRequest, bytes: &[u8]) -> anyhow::Result<Saved> {
    let executors = cluster.executors_without(&[]);
    let place = NAMES.iter().position(|(name, ..)| *name == request.name.as_str()).unwrap_or(0);
    let node = executors.get(place % executors.len().max(1)).context("no executor")?;
    let begun = Instant::now();
    let saved =
        cluster.save_with(node, request, bytes).await?.with_context(|| format!("save of {}", request.name))?;
    let took = begun.elapsed();
    ensure!(took < PROMPT_MAX, "a save of {} that does not wait for the global tier took {took:?}", request.name);
    Ok(saved)
}

/// A save that waits for the tier, and what came of it.
struct Safe {
    node: String,
    request: SaveRequest,
    bytes: Vec<u8>,
    answer: Result<Saved, Error>,
}

impl Safe {
    /// What was promised is so; what was not is told as it should be.
    fn check(&self, cluster: &Cluster) -> anyhow::Result<()> {
        match &self.answer {
            Ok(saved) => {
                ensure!(saved.archived, "it was acknowledged, and is not said to be in the global tier: {saved:?}");
                check_archived(cluster, &saved.name, saved.version)
            }
            Err(error) => {
                ensure!(matches!(error.code, Code::Durability | Code::Unavailable), "{error:?}");
                Ok(())
            }
        }
    }
}

/// Some saves that wait for the tier, each under a name of its own, on nodes that have it or not.
async fn save_safely(cluster: &Cluster, from: usize) -> anyhow::Result<Vec<Safe>> {
    let mut all = Vec::new();
    for number in from..from + SAFE {
        let executors = cluster.executors_without(&[]);
        let node = executors.get(cluster.rng.index(executors.len())).context("no executor")?.clone();
        let bytes = cluster.rng.bytes(1 + cluster.rng.index(100_000));
        let request = SaveRequest {
            ack: Ack::Global,
            replicas: cluster.rng.one_of([0, 1, 2]),
            archive: cluster.rng.one_of([None, Some(Policy::Never), Some(Policy::Always)]),
            ..cluster.save_request(&format!("safe/{number}"))?
        };
        let answer = cluster.save_with(&node, &request, &bytes).await?;
        let safe = Safe { node, request, bytes, answer };
        safe.check(cluster)?;
        all.push(safe);
    }
    Ok(all)
}

/// Whoever does not know what came of a save asks again: then it is known.
async fn ask_again(cluster: &Cluster, save: Safe, refused: &mut Vec<(Name, Digest)>) -> anyhow::Result<()> {
    let answer = cluster.save_with(&save.node, &save.request, &save.bytes).await?;
    let again = Safe { answer, ..save };
    again.check(cluster)?;
    if let Err(error) = &again.answer {
        ensure!(error.outcome == Outcome::None, "nothing is wrong any more, and nobody knows: {error:?}");
        refused.push((again.request.name, Digest::of(&again.bytes)));
    }
    Ok(())
}

/// What was refused never happened.
fn check_refused(cluster: &Cluster, refused: &[(Name, Digest)]) -> anyhow::Result<()> {
    let state = newest(cluster)?;
    for (name, digest) in refused {
        let segment = state.by_name(name);
        let made = segment.is_some_and(|segment| segment.versions.values().any(|record| record.digest == *digest));
        ensure!(!made, "a save of {name} was refused, and made a version");
    }
    Ok(())
}

/// What is retired, or removed with its segment, goes from there too.
async fn let_go(cluster: &Cluster) -> anyhow::Result<()> {
    let (always, second): (Name, Name) = ("job/always".parse()?, "job/second".parse()?);
    let before = until_published(cluster).await?;
    let old: Vec<Stem> = [stems_of(&before, &always)?, stems_of(&before, &second)?].concat();
    ensure!(old.len() > 2 && old.iter().all(|stem| parts_of(cluster, stem) == 3), "they are not there: {old:?}");
    for _ in 0..2 {
        let request = SaveRequest { keep: 1, ..cluster.save_request(always.as_str())? };
        save(cluster, &request, &cluster.rng.bytes(5_000)).await?;
        until_published(cluster).await?;
    }
    let leader = cluster.leader().await?;
    cluster.client(&leader)?.remove(cluster.new_request(), &second, None).await?;
    cluster.give_up(&second, None);
    until_tidy(cluster).await?;
    let left = old.iter().find(|stem| parts_of(cluster, stem) > 0);
    ensure!(left.is_none(), "E: it is not needed any more, and is still there: {left:?}");

    let state = until_published(cluster).await?;
    check_nothing_lost(&state)?;
    let told = cluster.client(&leader)?.global().await?;
    let tiered = cluster.machines().iter().filter(|machine| machine.has_tier()).count();
    let whole = (told.waiting, told.lost, told.nodes.len()) == (0, 0, tiered) && told.tier == state.tier();
    ensure!(whole, "{told:?}");
    Ok(())
}

/// A node starts without the tier that it had, and the cluster knows; then with it.
async fn reconfigure(cluster: &Cluster) -> anyhow::Result<()> {
    let leader = cluster.leader().await?;
    let other = cluster.machines().iter().find(|machine| machine.has_tier() && machine.name != leader);
    let other = other.context("no other machine has the global tier")?;
    for has in [false, true] {
        cluster.crash(&[&other.name]).await;
        other.set_tier(has);
        cluster.start(&[&other.name]).await;
        cluster.ready().await?;
        until_reached(cluster).await?;
    }
    Ok(())
}
