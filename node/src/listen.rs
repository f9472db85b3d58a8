//! Both ports' front door: accept, bound, greet, admit; then hand over.

use std::sync::Arc;

use cairn_client::wire::{self, Greeting, Refusal, RefusalCode, Welcome, WireError};
use tokio::sync::Semaphore;

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

/// Accepts connections until the node ends.
pub async fn listen(core: Arc<Core>, listener: Box<dyn Listener>, purpose: Purpose) {
    let places = Arc::new(Semaphore::new(core.limits.connections));
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
        let (task, purpose) = (core.clone(), purpose.clone());
        let place = places.clone().try_acquire_owned();
        core.env.spawn(async move {
            let core = task;
            let Ok(_place) = place else {
                let welcome = Welcome(Err(port::too_many()));
                let _ = core.env.timeout(core.limits.handshake, wire::send(&mut stream, &welcome)).await;
                return;
            };
            if let Err(e) = converse(&core, stream, purpose).await {
                tracing::debug!(%from, error = %e, "a connection ended");
            }
        });
    }
}

async fn converse(core: &Arc<Core>, mut stream: Box<dyn Stream>, purpose: Purpose) -> Result<(), WireError> {
    let greeted = core.env.timeout(core.limits.handshake, greet(core, &mut stream)).await;
    let Some(speaker) = greeted.unwrap_or_else(|| Err(WireError::Io(std::io::ErrorKind::TimedOut.into())))? else {
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

async fn greet(core: &Core, stream: &mut Box<dyn Stream>) -> Result<Option<Speaker>, WireError> {
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
    let (welcome, speaker) = match admitted {
        Ok(speaker) => (Ok(()), Some(speaker)),
        Err(refused) => {
            tracing::warn!(reason = %refused, "a stranger was refused");
            (Err(refused), None)
        }
    };
    wire::send(stream, &Welcome(welcome)).await?;
    Ok(speaker)
}
