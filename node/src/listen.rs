//! Both ports' front door: accept, bound, greet, admit; then hand over.

use std::sync::Arc;

use cairn_client::wire::{self, Greeting, Refusal, RefusalCode, Welcome, WireError};
use cairn_store::meta::state::NODES_MAX;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::admit::{Speaker, admit};
use crate::core::Core;
use crate::data::port;
use crate::env::{Listener, Stream};
use crate::service::Service;

/// What a connection is for.
#[derive(Clone)]
pub enum Purpose {
    /// Requests and Raft's messages.
    Service(Service),
    /// Bytes.
    Data,
}

/// Connections of members on each port, beside those of clients: each has a few to each other one. However many
/// clients there are, Raft gets through.
const MEMBER_CONNECTIONS_MAX: usize = 4 * NODES_MAX as usize;

/// Accepts connections until the node ends.
pub async fn listen(core: Arc<Core>, listener: Box<dyn Listener>, purpose: Purpose) {
    let places = Arc::new(Semaphore::new(core.limits.connections + MEMBER_CONNECTIONS_MAX));
    let clients = Arc::new(Semaphore::new(core.limits.connections));
    loop {
        let (mut stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most likely: others may end meanwhile.
                tracing::warn!(error = %e, "a connection could not be accepted");
                core.env.clock.sleep(core.limits.work).await;
                continue;
            }
        };
        let (task, purpose, clients) = (core.clone(), purpose.clone(), clients.clone());
        let place = places.clone().try_acquire_owned();
        core.env.spawn(async move {
            let core = task;
            let Ok(_place) = place else {
                let welcome = Welcome(Err(port::too_many()));
                let _ = core.env.timeout(core.limits.handshake, wire::send(&mut stream, &welcome)).await;
                return;
            };
            if let Err(e) = converse(&core, stream, purpose, &clients).await {
                tracing::debug!(%from, error = %e, "a connection ended");
            }
        });
    }
}

async fn converse(
    core: &Arc<Core>,
    mut stream: Box<dyn Stream>,
    purpose: Purpose,
    clients: &Semaphore,
) -> Result<(), WireError> {
    let greeted = core.env.timeout(core.limits.handshake, greet(core, &mut stream, clients)).await;
    let Some((speaker, _place)) =
        greeted.unwrap_or_else(|| Err(WireError::Io(std::io::ErrorKind::TimedOut.into())))?
    else {
        return Ok(());
    };
    match purpose {
        Purpose::Service(service) => {
            service.converse(stream, speaker).await;
            Ok(())
        }
        Purpose::Data => port::serve_connection(core.clone(), stream, speaker).await,
    }
}

/// Who speaks, with the place that a client takes; none if it may not.
async fn greet<'a>(
    core: &Core,
    stream: &mut Box<dyn Stream>,
    clients: &'a Semaphore,
) -> Result<Option<(Speaker, Option<SemaphorePermit<'a>>)>, WireError> {
    let greeting: Greeting = match wire::receive(stream).await {
        Ok(greeting) => greeting,
        Err(WireError::Protocol(theirs)) => {
            let message = format!("this node speaks protocol {}, not {theirs}", wire::PROTOCOL);
            wire::send(stream, &Welcome(Err(Refusal { code: RefusalCode::Protocol, message }))).await?;
            return Err(WireError::Protocol(theirs));
        }
        Err(e) => return Err(e),
    };
    let admitted = admit(&greeting, &core.identity, &core.view.borrow().state);
    let placed = admitted.and_then(|speaker| match speaker {
        Speaker::Node(_) => Ok((speaker, None)),
        Speaker::Client => clients.try_acquire().map(|place| (speaker, Some(place))).map_err(|_| port::too_many()),
    });
    let (welcome, speaker) = match placed {
        Ok(speaker) => (Ok(()), Some(speaker)),
        Err(refused) => {
            tracing::warn!(reason = %refused, "a connection was refused");
            (Err(refused), None)
        }
    };
    wire::send(stream, &Welcome(welcome)).await?;
    Ok(speaker)
}
