//! Both ports' front door: accept, bound, greet, admit; then hand over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

/// So often at most it is told that somebody was refused: a node that belongs elsewhere comes again and again.
const REFUSAL_TOLD_EVERY: Duration = Duration::from_secs(10);

/// What happens often, and is told seldom.
#[derive(Debug, Default)]
struct Seldom(Mutex<(Option<Duration>, u64)>);

impl Seldom {
    /// It happened at `now`: how often it did without being told, if it is to be told now.
    fn happened(&self, now: Duration) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, untold) = *last;
        let due = told.is_none_or(|told| now.saturating_sub(told) >= REFUSAL_TOLD_EVERY);
        *last = if due { (Some(now), 0) } else { (told, untold.saturating_add(1)) };
        due.then_some(untold)
    }
}

/// Accepts connections until the node ends.
pub async fn listen(core: Arc<Core>, listener: Box<dyn Listener>, purpose: Purpose) {
    let refusals = Arc::new(Seldom::default());
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
        let (task, purpose, clients, refusals) = (core.clone(), purpose.clone(), clients.clone(), refusals.clone());
        let place = places.clone().try_acquire_owned();
        core.env.spawn(async move {
            let core = task;
            let Ok(_place) = place else {
                let welcome = Welcome(Err(port::too_many()));
                let _ = core.env.timeout(core.limits.handshake, wire::send(&mut stream, &welcome)).await;
                return;
            };
            let refused = |why: &Refusal| {
                if let Some(untold) = refusals.happened(core.env.clock.now()) {
                    tracing::warn!(%from, reason = %why, untold, "a connection was refused");
                }
            };
            if let Err(e) = converse(&core, stream, purpose, &clients, &refused).await {
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
    refused: &(impl Fn(&Refusal) + Sync),
) -> Result<(), WireError> {
    let greeted = core.env.timeout(core.limits.handshake, greet(core, &mut stream, clients, refused)).await;
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
    tell: &(impl Fn(&Refusal) + Sync),
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
    let admitted = admit(&greeting, &core.identity, &core.view.borrow());
    let placed = admitted.and_then(|speaker| match speaker {
        Speaker::Node(_) => Ok((speaker, None)),
        Speaker::Client => clients.try_acquire().map(|place| (speaker, Some(place))).map_err(|_| port::too_many()),
    });
    let (welcome, speaker) = match placed {
        Ok(speaker) => (Ok(()), Some(speaker)),
        Err(refused) => {
            tell(&refused);
            (Err(refused), None)
        }
    };
    wire::send(stream, &Welcome(welcome)).await?;
    Ok(speaker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_seldom_and_counted() {
        let (seldom, seconds) = (Seldom::default(), Duration::from_secs);
        assert_eq!(seldom.happened(seconds(5)), Some(0));
        assert_eq!(seldom.happened(seconds(6)), None);
        assert_eq!(seldom.happened(seconds(14)), None);
        assert_eq!(seldom.happened(seconds(15)), Some(2));
        assert_eq!(seldom.happened(seconds(15)), None);
        assert_eq!(seldom.happened(seconds(60)), Some(1));
    }
}
