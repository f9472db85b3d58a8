//! The first words on every connection, and the frames of the data plane.
//!
//! Every connection, to the service's port and to the data port, begins with one [`Greeting`] frame from the side
//! that connects and one [`Welcome`] frame back. A stranger, a removed node or another protocol is refused before
//! anything else is decoded. On the service's port tarpc follows; on the data port, more frames, each a request or an
//! answer, and after some of them the payload as plain bytes of a length that the frame tells.
//!
//! A frame: `"CRN1" | protocol u16 | kind u16 | length u32 | crc32c u32 | body`, little-endian. The length is at most
//! [`BODY_BYTES_MAX`]; the checksum covers the header before it and the body; the body is bincode, bounded.

use std::time::Duration;

use bincode::Options;
use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId};
use cairn_store::name::Name;
use cairn_store::segment::{Epoch, Receipt, Version};
use cairn_store::time::LogTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"CRN1";
/// Raised when old and new nodes can no longer talk.
pub const PROTOCOL: u16 = 2;
/// The bytes before a frame's body.
pub const HEADER_BYTES: usize = 16;
/// The longest body of a frame, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// What a frame is. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// [`Greeting`].
    Greeting = 1,
    /// [`Welcome`].
    Welcome = 2,
    /// [`Push`].
    Push = 3,
    /// [`PushAnswer`].
    PushAnswer = 4,
    /// [`Sealed`].
    Sealed = 5,
    /// [`PushDone`].
    PushDone = 6,
    /// [`Pull`].
    Pull = 7,
    /// [`PullAnswer`].
    PullAnswer = 8,
    /// A snapshot of the replicated state: node to node only.
    Snapshot = 9,
    /// A piece of a snapshot.
    SnapshotPiece = 10,
    /// The answer to a snapshot.
    SnapshotDone = 11,
    /// [`AskBackup`].
    AskBackup = 12,
    /// [`BackupAnswer`].
    BackupAnswer = 13,
    /// A piece of a backup; an empty one ends it.
    BackupPiece = 14,
}

/// A body that knows its kind of frame.
pub trait Body: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: Kind;
}

macro_rules! bodies {
    ($($body:ident),*) => { $(impl Body for $body { const KIND: Kind = Kind::$body; })* };
}
bodies!(Greeting, Welcome, Push, PushAnswer, Sealed, PushDone, Pull, PullAnswer, AskBackup, BackupAnswer);

/// Who connects, and to whom it means to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// An application, an operator, a node that wants to join.
    Client,
    /// A member.
    Node {
        /// Its cluster.
        cluster: ClusterId,
        /// Who it is.
        from: (NodeId, Incarnation),
        /// Whom it means to reach.
        to: (NodeId, Incarnation),
    },
}

/// The answer to a greeting.
pub type WelcomeResult = Result<(), Refusal>;

/// Whether one may go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome(pub WelcomeResult);

/// Sends a version's bytes to a new holder. The answer decides whether the payload follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The client's request that this is for, so that one save can be followed over all nodes.
    pub request: RequestId,
    /// The segment.
    pub segment: SegmentId,
    /// Its name.
    pub name: Name,
    /// The version that the bytes are, or are to become.
    pub version: Version,
    /// The ownership under which they are saved; a holder that knows a newer one refuses a save.
    pub epoch: Epoch,
    /// Whether this is a save (and not a repair).
    pub save: bool,
    /// The copy to make.
    pub copy: CopyId,
    /// In bytes.
    pub size: u64,
}

/// Whether the holder takes the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushAnswer(pub Result<(), Refusal>);

/// Follows the payload of a push, and is followed by the block table as plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The digest of what was sent.
    pub digest: Digest,
    /// The length of the table that follows, in bytes.
    pub table: u64,
    /// The sender's log time: a holder that is behind with its log must not give a word that has run out already.
    pub time: LogTime,
}

/// The holder's word, once the copy is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushDone(pub Result<Receipt, Refusal>);

/// Asks for a copy's bytes. On a good answer the block table follows, then the payload from `from_block` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The client's request that this is for.
    pub request: RequestId,
    /// The copy.
    pub copy: CopyId,
    /// The first block to send.
    pub from_block: u64,
}

/// What the copy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullAnswer(pub Result<Offer, Refusal>);

/// A copy that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// In bytes.
    pub size: u64,
    /// Of the bytes.
    pub digest: Digest,
    /// The length of the table that follows, in bytes.
    pub table: u64,
}

/// Asks for a backup of a cluster's metadata ([`cairn_store::meta::Backup`]); of this one, as new as the moment of asking. On a
/// good answer its records follow, cut into pieces of any length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskBackup {
    /// How long to wait for a quorum.
    pub wait: Duration,
    /// Of what.
    pub of: BackupOf,
}

/// What a backup is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupOf {
    /// This cluster, as it is now.
    Cluster,
    /// The newest that a cluster has put into the global tier: this one, or the only other one that has.
    Stored(Option<ClusterId>),
    /// What a cluster's manifests in the global tier tell.
    Manifests(Option<ClusterId>),
}

/// Whether a backup follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupAnswer(pub Result<(), Refusal>);

/// Why the other side says no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind.
    pub code: RefusalCode,
    /// In words.
    pub message: String,
}

/// The kinds of refusal. Grows at the end only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// Another cluster, another node, or another life of it.
    Stranger,
    /// Another protocol version.
    Protocol,
    /// As many connections or transfers as it takes.
    Busy,
    /// No room.
    Full,
    /// A newer epoch is known.
    StaleEpoch,
    /// No such copy.
    Gone,
    /// The bytes do not match.
    Corrupt,
    /// Something else.
    Other,
    /// The node was a member, and was removed.
    Removed,
}

/// What can go wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// Not our protocol at all.
    #[error("the other side does not speak Cairn's protocol")]
    Magic,
    /// Another version of it.
    #[error("the other side speaks protocol {0}, this one speaks {PROTOCOL}")]
    Protocol(u16),
    /// A frame that does not belong here.
    #[error("a frame of kind {found} came where {wanted} was due")]
    Kind {
        /// What came.
        found: u16,
        /// What was due.
        wanted: u16,
    },
    /// A frame that claims more than any frame has.
    #[error("a frame claims {0} bytes, more than the {BODY_BYTES_MAX} allowed")]
    TooLong(u32),
    /// Damage on the way.
    #[error("a frame's checksum does not match")]
    Checksum,
    /// A body that cannot be decoded.
    #[error("a frame's body cannot be decoded: {0}")]
    Body(String),
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(BODY_BYTES_MAX as u64)
}

/// A frame's bytes.
pub fn encode(kind: Kind, body: &[u8]) -> Result<Vec<u8>, WireError> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > BODY_BYTES_MAX {
        return Err(WireError::TooLong(length));
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&PROTOCOL.to_le_bytes());
    bytes.extend_from_slice(&(kind as u16).to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), body);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind's number.
    pub kind: u16,
    /// The body's length, within bounds.
    pub length: usize,
    seed: u32,
    crc: u32,
}

impl Header {
    /// Decodes and checks everything but the body's checksum.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        let [m0, m1, m2, m3, p0, p1, k0, k1, l0, l1, l2, l3, c0, c1, c2, c3] = *bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(WireError::Magic);
        }
        let (protocol, length) = (u16::from_le_bytes([p0, p1]), u32::from_le_bytes([l0, l1, l2, l3]));
        if protocol != PROTOCOL {
            return Err(WireError::Protocol(protocol));
        }
        if length as usize > BODY_BYTES_MAX {
            return Err(WireError::TooLong(length));
        }
        let covered = [m0, m1, m2, m3, p0, p1, k0, k1, l0, l1, l2, l3];
        Ok(Self {
            kind: u16::from_le_bytes([k0, k1]),
            length: length as usize,
            seed: crc32c::crc32c(&covered),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        })
    }

    /// Whether `body` is the one that was sent.
    pub fn check(&self, body: &[u8]) -> Result<(), WireError> {
        if crc32c::crc32c_append(self.seed, body) == self.crc { Ok(()) } else { Err(WireError::Checksum) }
    }
}

/// Sends one frame.
pub async fn send<B: Body>(stream: &mut (impl AsyncWrite + Unpin + ?Sized), body: &B) -> Result<(), WireError> {
    let body = options().serialize(body).map_err(|e| WireError::Body(e.to_string()))?;
    send_bytes(stream, B::KIND, &body).await
}

/// Sends one frame with a body that is encoded already.
pub async fn send_bytes(
    stream: &mut (impl AsyncWrite + Unpin + ?Sized),
    kind: Kind,
    body: &[u8],
) -> Result<(), WireError> {
    stream.write_all(&encode(kind, body)?).await?;
    stream.flush().await?;
    Ok(())
}

/// Receives the frame that is due.
pub async fn receive<B: Body>(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> Result<B, WireError> {
    let (kind, body) = receive_bytes(stream).await?;
    if kind != B::KIND as u16 {
        return Err(WireError::Kind { found: kind, wanted: B::KIND as u16 });
    }
    decode(&body)
}

/// Receives any frame: its kind's number and its body, the checksum verified.
pub async fn receive_bytes(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> Result<(u16, Vec<u8>), WireError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let header = Header::decode(&header)?;
    let mut body = vec![0; header.length];
    stream.read_exact(&mut body).await?;
    header.check(&body)?;
    Ok((header.kind, body))
}

/// Decodes a body.
pub fn decode<B: Body>(body: &[u8]) -> Result<B, WireError> {
    options().deserialize(body).map_err(|e| WireError::Body(e.to_string()))
}

#[cfg(test)]
mod tests;
