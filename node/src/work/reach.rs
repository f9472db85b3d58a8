//! Looks which global tier this node reaches, and tells the cluster when that changes.

use std::sync::Arc;
use std::time::Duration;

use cairn_store::archive::Reach;
use cairn_store::meta::Command;

use crate::core::Core;
use crate::tier::{Found, mark};

/// How often it is looked for while it is not reached,
const DOWN_EVERY: Duration = Duration::from_secs(2);
/// and while it is.
const UP_EVERY: Duration = Duration::from_secs(20);
/// How long the cluster is tried to be told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until the node ends.
pub async fn reach(core: Arc<Core>) {
    // Without one there is nothing to look for; only what was said before may have to be taken back.
    let Some(objects) = core.tier.objects() else { return tell_until(&core, None).await };
    while !core.stop.is_set() {
        let state = core.now().state;
        if state.cluster.is_none() {
            core.env.clock.sleep(core.limits.work).await;
            continue;
        }
        let before = state.tiers.get(&core.me()).and_then(|reach| reach.known());
        // That this node has one is known before it is found.
        if !state.tiers.contains_key(&core.me()) {
            tell(&core, Some(Reach::Down(None))).await;
        }
        let found = match mark::find(&core, &*objects).await {
            // One that can only read leaves it to others to put things there.
            Ok(tier) if core.tier.is_unwritten() => match mark::probe(&core, &*objects).await {
                Ok(()) => {
                    core.tier.wrote();
                    Found::Tier(tier)
                }
                Err(error) => Found::Failure(format!("it cannot be written to: {error}")),
            },
            Ok(tier) => Found::Tier(tier),
            Err(error) => Found::Failure(error.to_string()),
        };
        if core.tier.found() != found {
            match &found {
                Found::Tier(tier) => {
                    tracing::info!(%tier, address = %objects.address(), "the global tier is reached")
                }
                Found::Failure(why) => {
                    tracing::warn!(%why, address = %objects.address(), "the global tier is not reached");
                }
                Found::Nothing => {}
            }
            core.tier.set(found.clone());
        }
        let (reach, every) = match found {
            Found::Tier(tier) => (Reach::Up(tier), UP_EVERY),
            Found::Nothing | Found::Failure(_) => (Reach::Down(before), DOWN_EVERY),
        };
        let told = tell(&core, Some(reach)).await;
        let every = if told { every } else { DOWN_EVERY };
        core.env.timeout(every, core.tier.doubted.notified()).await;
    }
}

async fn tell_until(core: &Core, reach: Option<Reach>) {
    // Until this node knows what the cluster knows of it.
    while !core.stop.is_set() {
        let caught_up = core.read(core.env.clock.now() + PATIENCE).await.is_ok();
        if caught_up && tell(core, reach).await {
            return;
        }
        core.env.clock.sleep(DOWN_EVERY).await;
    }
}

/// Tells the cluster, if it does not know; whether it does now.
async fn tell(core: &Core, reach: Option<Reach>) -> bool {
    let state = core.now().state;
    if !state.members.contains_key(&core.me()) || state.tiers.get(&core.me()).copied() == reach {
        return true;
    }
    let command = Command::Reach { node: core.me(), incarnation: core.identity.incarnation, reach };
    match core.propose_and_see(command, core.env.clock.now() + PATIENCE).await {
        Ok(Ok(_)) => true,
        Ok(Err(rejection)) => {
            tracing::debug!(%rejection, "the cluster does not hear of this node's global tier");
            false
        }
        Err(error) => {
            tracing::debug!(%error, "the cluster could not be told of this node's global tier now");
            false
        }
    }
}
