//! Response bodies: none, bytes at hand, an object's as a reader brings them, or an origin's as they come.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::delivery::transcript::Transcript;
use crate::multipart::Parts;
use crate::origin::{self, OriginError};
use crate::reader::Reader;

#[derive(Debug)]
pub enum EdgeBody {
    /// Taken once sent.
    Bytes(Option<Bytes>),
    /// As many at a time as there are permits.
    Limited(Option<Bytes>, OwnedSemaphorePermit),
    Media(MediaBody),
    /// Several parts of an object.
    Parts(Box<PartsBody>),
    /// Not stored: straight from the origin, as fast as the client takes it, its trailers with it.
    Passed(Box<origin::Body>),
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
            Self::Parts(parts) => parts.poll(context).map(|next| next.map(|bytes| bytes.map(Frame::data))),
            Self::Passed(body) => body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) | Self::Limited(bytes, _) => bytes.is_none(),
            Self::Media(media) => media.left == Some(0),
            Self::Parts(parts) => parts.left == 0,
            Self::Passed(body) => body.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) | Self::Limited(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Media(media) => media.left.map_or_else(SizeHint::new, SizeHint::with_exact),
            Self::Parts(parts) => SizeHint::with_exact(parts.left),
            Self::Passed(body) => body.size_hint(),
        }
    }
}

type Read = Result<Option<Bytes>, OriginError>;
type Waiting = Pin<Box<dyn Future<Output = (Reader, Read)> + Send>>;

/// An object's bytes. What is in memory goes out without a wait; for the rest a future is made.
pub struct MediaBody {
    /// Bytes read before the head was sent, so that a failure up to there could still be told by it.
    first: Option<Bytes>,
    state: State,
    /// None as long as nobody knows where the object ends.
    left: Option<u64>,
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
        let left = reader.left().map(|left| left + first.len() as u64);
        transcript.saw(reader.source());
        Self { first: Some(first).filter(|first| !first.is_empty()), state: State::Reading(reader), left, transcript }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, OriginError>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let read = match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => ready!(self.poll_reader(context)),
        };
        match &read {
            Ok(Some(bytes)) => self.left = self.left.map(|left| left - bytes.len() as u64),
            Ok(None) | Err(_) => self.state = State::Over,
        }
        // Whoever was told a length must not take an early end for the end.
        if matches!(read, Ok(None)) && self.left.is_some() {
            return Poll::Ready(Some(Err(OriginError::Broken)));
        }
        Poll::Ready(read.transpose())
    }

    fn poll_reader(&mut self, context: &mut Context<'_>) -> Poll<Read> {
        if let State::Reading(reader) = &mut self.state
            && let Some(bytes) = reader.ready()
        {
            return Poll::Ready(Ok(Some(bytes)));
        }
        let mut waiting = match std::mem::replace(&mut self.state, State::Over) {
            State::Reading(reader) => wait(reader),
            State::Waiting(waiting) => waiting,
            State::Over => return Poll::Ready(Ok(None)),
        };
        let Poll::Ready((reader, read)) = waiting.as_mut().poll(context) else {
            self.state = State::Waiting(waiting);
            return Poll::Pending;
        };
        self.transcript.saw(reader.source());
        self.state = State::Reading(reader);
        Poll::Ready(read)
    }
}

/// The parts of a `multipart/byteranges`, each with its head, one reader for all of them.
pub struct PartsBody {
    parts: Parts,
    /// The part that is being read, or its reader.
    current: Option<MediaBody>,
    idle: Option<Reader>,
    left: u64,
    transcript: Arc<Transcript>,
}

impl PartsBody {
    #[must_use]
    pub fn new(parts: Parts, reader: Reader, transcript: Arc<Transcript>) -> Self {
        let left = parts.len();
        Self { parts, current: None, idle: Some(reader), left, transcript }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, OriginError>>> {
        if let Some(current) = &mut self.current {
            if let Some(read) = ready!(current.poll(context)) {
                self.left -= read.as_ref().map_or(0, |bytes| bytes.len() as u64);
                return Poll::Ready(Some(read));
            }
            self.idle = self.current.take().and_then(MediaBody::into_reader);
        }
        let Some((head, range)) = self.parts.next() else { return Poll::Ready(None) };
        self.left -= head.len() as u64;
        if let (Some(range), Some(mut reader)) = (range, self.idle.take()) {
            reader.turn_to(range);
            self.current = Some(MediaBody::new(Bytes::new(), reader, self.transcript.clone()));
        }
        Poll::Ready(Some(Ok(head)))
    }
}

impl MediaBody {
    fn into_reader(self) -> Option<Reader> {
        if let State::Reading(reader) = self.state { Some(reader) } else { None }
    }
}

impl std::fmt::Debug for PartsBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartsBody").field("left", &self.left).finish_non_exhaustive()
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
