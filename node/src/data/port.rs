//! The data port: one request after the other on each connection.

use std::sync::Arc;

use cairn_client::wire::{self, Kind, Refusal, RefusalCode, WireError};

use super::{backup, receive, refusal, serve, snapshot};
use crate::admit::Speaker;
use crate::core::Core;
use crate::env::Stream;
use tokio::sync::OwnedSemaphorePermit;

/// Serves one greeted connection until the other side ends it.
pub async fn serve_connection(
    core: Arc<Core>,
    mut stream: Box<dyn Stream>,
    speaker: Speaker,
) -> Result<(), WireError> {
    loop {
        let frame = core.env.timeout(core.limits.idle, wire::receive_bytes(&mut stream)).await;
        let Some(frame) = frame else { return Ok(()) };
        let (kind, body) = match frame {
            // The other side has nothing more to ask.
            Err(WireError::Io(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        stream = if kind == Kind::Pull as u16 {
            serve::serve(&core, stream, wire::decode(&body)?, speaker).await?
        } else if kind == Kind::AskBackup as u16 {
            backup::serve(&core, stream, wire::decode(&body)?).await?
        } else if kind == Kind::Push as u16 && member(speaker) {
            receive::receive(&core, stream, wire::decode(&body)?).await?
        } else if kind == Kind::Snapshot as u16 && member(speaker) {
            snapshot::receive(&core, stream, &body).await?
        } else {
            return Err(WireError::Kind { found: kind, wanted: Kind::Pull as u16 });
        };
    }
}

impl Core {
    /// Waits for a place among the payloads that are served at once; not for longer than the other side waits.
    pub async fn place_to_serve(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.serving.clone().acquire_owned();
        self.env.timeout(self.limits.idle / 2, place).await?.ok()
    }
}

/// Only members write; a client may read.
fn member(speaker: Speaker) -> bool {
    matches!(speaker, Speaker::Node(_))
}

/// What a connection hears that comes when there are too many.
pub fn too_many() -> Refusal {
    refusal(RefusalCode::Busy, "this node has as many connections as it takes")
}
