//! A body that goes at a given rate, or breaks off.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use s3s::StdError;
use tokio::time::Instant;

use crate::faults::Fault;

/// Bytes that are let through at once where there is a rate: a slow body trickles.
const PIECE_BYTES: usize = 16 << 10;

/// Time for what went before a cut to be sent.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// Whether a body of the request or of its reply was cut.
#[derive(Clone, Default)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    /// Whether it was.
    pub(crate) fn happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A body, paced.
pub(crate) struct Paced {
    frames: BoxStream<'static, Result<Frame<Bytes>, StdError>>,
    /// As it was at first: the length that is announced must not depend on the fault.
    size: SizeHint,
}

impl Paced {
    /// `body`, as `fault` says.
    pub(crate) fn new<B>(body: B, fault: &Fault, cut: &Cut) -> Self
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let size = body.size_hint();
        if fault.rate.is_none() && fault.cut.is_none() {
            let frames = http_body_util::BodyStream::new(body).map(|frame| frame.map_err(Into::into)).boxed();
            return Self { frames, size };
        }
        let rate = fault.rate.map(|rate| rate.get());
        let flow = Flow {
            body,
            rest: Bytes::new(),
            passed: 0,
            since: Instant::now(),
            rate,
            end: fault.cut,
            cut: cut.clone(),
        };
        Self { frames: futures::stream::try_unfold(flow, Flow::next).boxed(), size }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        self.frames.poll_next_unpin(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.size.exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

/// How far a body is.
struct Flow<B> {
    body: B,
    /// What has come and is not let through.
    rest: Bytes,
    passed: u64,
    since: Instant,
    rate: Option<u64>,
    /// Bytes after which it breaks off.
    end: Option<u64>,
    cut: Cut,
}

impl<B> Flow<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    /// The next frame, when it is due.
    async fn next(mut self) -> Result<Option<(Frame<Bytes>, Self)>, StdError> {
        while self.rest.is_empty() {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            match frame.map_err(Into::into)?.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Ok(Some((trailers, self))),
            }
        }
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.passed));
        if left == 0 {
            self.cut.0.store(true, Ordering::Release);
            tokio::time::sleep(BEFORE_CUT).await;
            return Err("cut off, as wished".into());
        }
        let most = self.rate.map_or(usize::MAX, |_| PIECE_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX));
        let piece = self.rest.split_to(self.rest.len().min(most));
        self.passed += piece.len() as u64;
        if let Some(rate) = self.rate {
            tokio::time::sleep_until(self.since + Duration::from_secs_f64(self.passed as f64 / rate as f64)).await;
        }
        Ok(Some((Frame::data(piece), self)))
    }
}
