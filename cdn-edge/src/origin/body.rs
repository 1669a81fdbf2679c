//! The bytes of an origin's answer, as they come.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use wire::EdgeId;

use super::OriginError;
use crate::shield::member::Busy;

/// The bytes of an answer, each piece within the idle timeout.
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
    narrowed: Option<Narrowed>,
    idle_timeout: Duration,
    /// Runs while nothing comes.
    waiting: Option<Pin<Box<Sleep>>>,
    /// The other edge that it comes from, where it does.
    edge: Option<Busy>,
    _permit: OwnedSemaphorePermit,
}

/// Of what comes, so many bytes are passed over, and so many are left to give out.
#[derive(Debug)]
struct Narrowed {
    skip: u64,
    left: u64,
}

impl Body {
    pub(super) fn new(incoming: Incoming, idle_timeout: Duration, permit: OwnedSemaphorePermit) -> Self {
        Self { incoming, narrowed: None, idle_timeout, waiting: None, edge: None, _permit: permit }
    }

    /// Gives out `left` bytes of those that come after the first `skip`.
    pub(super) fn narrow(&mut self, skip: u64, left: u64) {
        self.narrowed = Some(Narrowed { skip, left });
    }

    /// It comes from another edge, which is busy with it as long as it lasts.
    pub(crate) fn keeps(&mut self, edge: Busy) {
        self.edge = Some(edge);
    }

    /// The other edge that it comes from.
    #[must_use]
    pub fn edge(&self) -> Option<EdgeId> {
        self.edge.as_ref().map(|edge| edge.edge().id.clone())
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// [`OriginError::Broken`] or [`OriginError::Timeout`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        let Some(edge) = self.edge.as_ref().map(Busy::edge) else { return self.piece().await };
        tokio::select! {
            biased;
            piece = self.piece() => piece,
            () = edge.gone() => Err(OriginError::Broken),
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, OriginError> {
        loop {
            match poll_fn(|context| self.poll_frame(context)).await {
                None => return Ok(None),
                // Trailers are not stored (RFC 9110, section 6.5).
                Some(frame) => match frame?.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    /// The next piece or the trailers; none at the end.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        loop {
            if self.narrowed.as_ref().is_some_and(|narrowed| narrowed.left == 0) {
                return Poll::Ready(None);
            }
            let frame = ready!(self.poll_incoming(context));
            let Some(narrowed) = &mut self.narrowed else { return Poll::Ready(frame) };
            // Shorter than its head said.
            let Some(frame) = frame else { return Poll::Ready(Some(Err(OriginError::Broken))) };
            match frame?.into_data().map(|data| narrowed.of(data)) {
                Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                _ => {}
            }
        }
    }

    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| OriginError::Broken)));
        }
        let idle_timeout = self.idle_timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle_timeout)));
        waiting.as_mut().poll(context).map(|()| Some(Err(OriginError::Timeout("between two pieces of a body"))))
    }

    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.narrowed.as_ref().map_or_else(|| self.incoming.is_end_stream(), |narrowed| narrowed.left == 0)
    }

    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        self.narrowed.as_ref().map_or_else(|| self.incoming.size_hint(), |narrowed| SizeHint::with_exact(narrowed.left))
    }
}

impl Narrowed {
    fn of(&mut self, mut data: Bytes) -> Bytes {
        let skipped = data.split_to(self.skip.min(data.len() as u64) as usize);
        data.truncate(self.left.min(data.len() as u64) as usize);
        self.skip -= skipped.len() as u64;
        self.left -= data.len() as u64;
        data
    }
}
