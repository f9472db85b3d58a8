//! The codec of every tarpc connection: bincode in frames, both bounded by [`FRAME_BYTES_MAX`].
//!
//! [`transport`] is for either side of a service. The side that answers takes [`answering`]: tarpc adds the time that a
//! caller still waits to its own clock while it decodes, and panics if there is no such time.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bincode::Options;
use bincode::config::{Bounded, WithOtherLimit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tarpc::context::{self, Context};
use tarpc::serde_transport::{self, Transport};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_serde::{Deserializer, Serializer};
use tarpc::{ClientMessage, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::api::FRAME_BYTES_MAX;

/// The longest that a caller may say it waits. Beyond some two years tarpc's own timers panic.
pub const PATIENCE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// tarpc's own deadline of a call. It only has to be longer than any of ours: the time-outs here are tokio's.
const CALL_MAX: Duration = Duration::from_secs(3600);
/// So much later is it than that of the call before.
const LATER: Duration = Duration::from_secs(1);
/// After so many calls it begins anew.
const LATER_CALLS_MAX: u32 = 100_000;

/// The context of a call.
///
/// tarpc counts deadlines by the real clock, and wakes a task for one that is earlier than those that wait already. In the
/// simulation it would hang on the machine's load then who runs first; so each is later than the one before.
pub fn context() -> Context {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let mut context = context::current();
    context.deadline += CALL_MAX + LATER * (CALLS.fetch_add(1, Ordering::Relaxed) % LATER_CALLS_MAX);
    context
}

/// Bincode with variable-length integers, bounded.
pub type Codec<Item, SinkItem> = Bincode<Item, SinkItem, WithOtherLimit<bincode::DefaultOptions, Bounded>>;

/// tarpc's transport over a stream that was greeted already, for either side and any service.
pub fn transport<S, Item, SinkItem>(stream: S) -> Transport<S, Item, SinkItem, Codec<Item, SinkItem>>
where
    S: AsyncRead + AsyncWrite,
    Item: for<'de> Deserialize<'de>,
    SinkItem: Serialize,
{
    serde_transport::new(framed(stream), Bincode::from(options()))
}

/// The same for the side that answers: a message that would make tarpc panic is an error.
pub fn answering<S, Req, Resp>(stream: S) -> Transport<S, ClientMessage<Req>, Response<Resp>, Answering>
where
    S: AsyncRead + AsyncWrite,
    Req: DeserializeOwned,
    Resp: Serialize,
{
    serde_transport::new(framed(stream), Answering)
}

fn framed<S: AsyncRead + AsyncWrite>(stream: S) -> Framed<S, LengthDelimitedCodec> {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_framed(stream)
}

fn options() -> WithOtherLimit<bincode::DefaultOptions, Bounded> {
    bincode::DefaultOptions::new().with_limit(FRAME_BYTES_MAX as u64)
}

/// [`Codec`], with a look at how long a caller says it waits.
#[derive(Clone, Copy, Debug)]
pub struct Answering;

/// How a [`ClientMessage`] begins.
#[derive(Deserialize)]
enum Begin {
    Request(Duration),
    Cancel,
}

impl<T: DeserializeOwned> Deserializer<ClientMessage<T>> for Answering {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, message: &BytesMut) -> io::Result<ClientMessage<T>> {
        match options().allow_trailing_bytes().deserialize(message).map_err(invalid)? {
            Begin::Request(patience) if patience > PATIENCE_MAX => {
                Err(invalid(format!("a caller says that it waits {} seconds", patience.as_secs())))
            }
            Begin::Request(_) | Begin::Cancel => options().deserialize(message).map_err(invalid),
        }
    }
}

impl<T: Serialize> Serializer<T> for Answering {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, message: &T) -> io::Result<Bytes> {
        options().serialize(message).map(Bytes::from).map_err(invalid)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tarpc::{Request, context};

    use super::*;

    async fn received(message: &[u8]) -> Option<io::Result<ClientMessage<String>>> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let stream = [&length[..], message].concat();
        let stream = tokio::io::join(&stream[..], tokio::io::sink());
        answering::<_, String, String>(stream).next().await
    }

    /// As [`Request`], but with the time as it travels.
    fn asked(patience: Duration) -> Vec<u8> {
        let trace = context::current().trace_context;
        options().serialize(&(0_u32, (patience, trace), 7_u64, "question")).unwrap()
    }

    #[tokio::test]
    async fn what_a_client_sends_is_taken() {
        let request = Request { context: context::current(), id: 7, message: "question".to_owned() };
        let sent = options().serialize(&ClientMessage::Request(request)).unwrap();
        for bytes in [sent, asked(PATIENCE_MAX)] {
            let Some(Ok(ClientMessage::Request(request))) = received(&bytes).await else { panic!("{bytes:?}") };
            assert_eq!((request.id, request.message.as_str()), (7, "question"));
        }
    }

    #[tokio::test]
    async fn a_time_that_does_not_exist_is_an_error() {
        for patience in [PATIENCE_MAX + Duration::from_nanos(1), Duration::MAX] {
            let refused = received(&asked(patience)).await.unwrap().unwrap_err();
            assert!(refused.to_string().contains("a caller says that it waits"), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_frame_beyond_the_bound_is_an_error() {
        let length = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
        let stream = tokio::io::join(&length[..], tokio::io::sink());
        assert!(answering::<_, String, String>(stream).next().await.unwrap().is_err());
    }
}
