//! Bodies of requests on their way to an origin, streamed as the client sends them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

#[derive(Debug)]
pub struct Upload {
    incoming: Option<Incoming>,
    moved: Moved,
}

/// Counts what has passed, so that a long upload is told from a silent origin.
#[derive(Debug, Clone, Default)]
pub struct Moved(Arc<AtomicU64>);

impl Moved {
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Upload {
    #[must_use]
    pub fn none() -> Self {
        Self { incoming: None, moved: Moved::default() }
    }

    #[must_use]
    pub fn of(incoming: Incoming) -> Self {
        let incoming = Some(incoming).filter(|incoming| !incoming.is_end_stream());
        Self { incoming, moved: Moved::default() }
    }

    #[must_use]
    pub fn is_none(&self) -> bool {
        self.incoming.is_none()
    }

    #[must_use]
    pub fn moved(&self) -> Moved {
        self.moved.clone()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(context));
        this.moved.0.fetch_add(1, Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
