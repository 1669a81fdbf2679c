//! Response bodies: none, bytes at hand, or an object's as a reader brings them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::delivery::transcript::Transcript;
use crate::origin::OriginError;
use crate::reader::Reader;

#[derive(Debug)]
pub enum EdgeBody {
    /// Taken once sent.
    Bytes(Option<Bytes>),
    /// As many at a time as there are permits.
    Limited(Option<Bytes>, OwnedSemaphorePermit),
    Media(MediaBody),
}

impl EdgeBody {
    #[must_use]
    pub fn empty() -> Self {
        Self::Bytes(None)
    }
}

impl<T: Into<Bytes>> From<T> for EdgeBody {
    fn from(bytes: T) -> Self {
        Self::Bytes(Some(bytes.into()))
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        match self.get_mut() {
            Self::Bytes(bytes) | Self::Limited(bytes, _) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Media(media) => media.poll(context).map(|next| next.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) | Self::Limited(bytes, _) => bytes.is_none(),
            Self::Media(media) => media.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) | Self::Limited(bytes, _) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Media(media) => media.left,
        })
    }
}

type Waiting = Pin<Box<dyn Future<Output = (Reader, Result<Bytes, OriginError>)> + Send>>;

/// An object's bytes. What is in memory goes out without a wait; for the rest a future is made.
pub struct MediaBody {
    /// Bytes read before the head was sent, so that a failure up to there could still be told by it.
    first: Option<Bytes>,
    state: State,
    left: u64,
    transcript: Arc<Transcript>,
}

enum State {
    Reading(Reader),
    Waiting(Waiting),
    /// All read, or failed.
    Over,
}

impl MediaBody {
    #[must_use]
    pub fn new(first: Bytes, reader: Reader, transcript: Arc<Transcript>) -> Self {
        let left = first.len() as u64 + reader.left();
        transcript.saw(reader.source());
        Self { first: Some(first), state: State::Reading(reader), left, transcript }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, OriginError>>> {
        if let Some(first) = self.first.take() {
            self.left -= first.len() as u64;
            return Poll::Ready(Some(Ok(first)));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let read = ready!(self.poll_reader(context));
        match &read {
            Some(Ok(bytes)) => self.left -= bytes.len() as u64,
            Some(Err(_)) | None => self.state = State::Over,
        }
        Poll::Ready(read)
    }

    fn poll_reader(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, OriginError>>> {
        if let State::Reading(reader) = &mut self.state
            && let Some(bytes) = reader.ready()
        {
            return Poll::Ready(Some(Ok(bytes)));
        }
        let mut waiting = match std::mem::replace(&mut self.state, State::Over) {
            State::Reading(reader) => wait(reader),
            State::Waiting(waiting) => waiting,
            State::Over => return Poll::Ready(None),
        };
        let Poll::Ready((reader, read)) = waiting.as_mut().poll(context) else {
            self.state = State::Waiting(waiting);
            return Poll::Pending;
        };
        self.transcript.saw(reader.source());
        self.state = State::Reading(reader);
        Poll::Ready(Some(read))
    }
}

fn wait(mut reader: Reader) -> Waiting {
    Box::pin(async move {
        let read = reader.next().await;
        (reader, read)
    })
}

impl std::fmt::Debug for MediaBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaBody").field("left", &self.left).finish_non_exhaustive()
    }
}
