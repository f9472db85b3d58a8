//! Tells the cluster what this node says of itself, when that changed since it joined.

use std::sync::Arc;
use std::time::Duration;

use cairn_store::meta::Command;

use crate::core::Core;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until the cluster knows this node as it is.
pub async fn describe(core: Arc<Core>) {
    while !core.stop.is_set() {
        let known = core.now().state.members.get(&core.me()).map(|m| m.profile.clone());
        if known.as_ref() == Some(&core.profile) {
            return;
        }
        if known.is_some() {
            let (node, incarnation) = (core.me(), core.identity.incarnation);
            let command = Command::Describe { node, incarnation, profile: core.profile.clone() };
            match core.propose(command, core.env.clock.now() + PATIENCE).await {
                Ok(Err(rejection)) => {
                    core.stop.fault(format!("the cluster does not take this node's settings: {rejection}"));
                    return;
                }
                Ok(Ok(_)) => {}
                Err(e) => tracing::debug!(error = %e, "the cluster could not be told now"),
            }
        }
        core.env.clock.sleep(core.limits.work).await;
    }
}
