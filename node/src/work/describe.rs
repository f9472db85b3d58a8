//! Tells the cluster what this node says of itself, when that changed since it joined; unless another process answers where the
//! cluster knows it: then this one runs in a copy of the other's folder, and ends.

use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::CairnClient;
use cairn_client::codec;
use cairn_client::wire::{self, Greeting, Welcome};
use cairn_store::meta::Command;
use uuid::Uuid;

use crate::core::Core;
use crate::raft::rpc;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until the cluster knows this node as it is.
pub async fn describe(core: Arc<Core>) {
    while !core.stop.is_set() {
        let known = core.now().state.members.get(&core.me()).map(|m| m.profile.clone());
        if known.as_ref() == Some(&core.profile) {
            return;
        }
        if let Some(known) = known {
            if let Some(other) = twin(&core, &known.rpc).await {
                core.stop.fault(format!(
                    "another process runs as this node, at {}: a node's folder is never copied ({other})",
                    known.rpc
                ));
                return;
            }
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

/// Who answers at this address as this very node, and is another process.
async fn twin(core: &Core, address: &str) -> Option<Uuid> {
    let asked = async {
        let mut stream = core.env.net.dial(address).await.ok()?;
        wire::send(&mut stream, &Greeting::Client).await.ok()?;
        let Welcome(welcome) = wire::receive(&mut stream).await.ok()?;
        welcome.ok()?;
        let new = CairnClient::new(tarpc::client::Config::default(), codec::transport(stream));
        let dispatch = new.dispatch;
        core.env.spawn(async move {
            // Its end is seen by whoever waits for the answer.
            let _ = dispatch.await;
        });
        new.client.hello(rpc::context()).await.ok()
    };
    let hello = core.env.timeout(core.limits.handshake, asked).await.flatten()?;
    (hello.incarnation == core.identity.incarnation && hello.process != core.process).then_some(hello.process)
}
