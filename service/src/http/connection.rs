//! One connection, from its first byte to its last, or to the protocol that it was upgraded to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::ServiceExt;

use super::front::Front;
use super::host::host;
use super::hot;
use super::moved_timer::MovedTimer;
use super::patient::PatientIo;
use super::rewound::Rewound;
use crate::config::HttpConfig;
use crate::{Problem, Shutdown, limits};

/// A connection's place among those that the listener takes; free once the last clone is dropped.
///
/// Every request carries it as an extension. A handler that upgrades its connection keeps a clone for as
/// long as that lasts, for hyper is done with the connection by then.
#[derive(Debug, Clone)]
pub struct Place {
    _held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    _slot: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

impl Place {
    pub(super) fn new(slot: OwnedSemaphorePermit, token: TaskTrackerToken) -> Self {
        Self { _held: Arc::new(Held { _slot: slot, _token: token }) }
    }
}

/// What the kernel holds for a peer that reads slowly. Answers here are small; without a bound it is
/// megabytes each, and what streams goes on into them long after its peer stopped reading.
const SEND_BUFFER: usize = 128 << 10;

/// A request's head, with which no player and no operator comes near it; roles' `/openapi.json` name it.
const HEAD: usize = 64 << 10;

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Server<F> {
    http: http1::Builder,
    pub(super) front: F,
    routes: Router,
    pub(super) header_timeout: Duration,
    /// From a request's head to its answer's; the routes have theirs themselves.
    pub(super) request_timeout: Duration,
    write_timeout: Duration,
    /// Running requests finish, and no further one begins.
    pub(super) stop: Shutdown,
    /// After the stop, and the deadline has passed: whatever still runs ends.
    pub(super) given_up: Shutdown,
}

impl<F: Front> Server<F> {
    /// HTTP/1.1 alone: telling HTTP/2 from it by the first bytes has no time limit in hyper-util, and a peer
    /// that sends none would hold its place for ever. Here the head's time runs from the accept.
    pub(super) fn new(front: F, routes: Router, config: &HttpConfig, stop: Shutdown, given_up: Shutdown) -> Self {
        let mut http = http1::Builder::new();
        // Who has said all and waits for the answer may say so (RFC 9112, section 9.6).
        http.header_read_timeout(config.header_timeout.0).half_close(true).max_header_size(HEAD);
        let (header_timeout, request_timeout) = (config.header_timeout.0, config.request_timeout.0);
        let write_timeout = config.write_timeout.0;
        Self { http, front, routes, header_timeout, request_timeout, write_timeout, stop, given_up }
    }

    pub(super) async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        // Answers are small: waiting to fill a segment would only delay them.
        let _ = stream.set_nodelay(true);
        // Without it the connection works as well.
        let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        // A broken connection is the client's affair; what matters of it has been counted by the handler.
        if let Some(Err(error)) = self.serve(stream, peer, place).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// None where it was ended, or has ended without hyper.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place) -> Option<hyper::Result<()>> {
        let mut io = PatientIo::new(stream, self.write_timeout);
        let read = match self.front.posts() {
            None => BytesMut::new(),
            Some(posts) => match hot::serve(&mut io, self, posts, peer).await {
                hot::End::Closed => return None,
                hot::End::Unusual(read) => read,
            },
        };
        let requests = MovedTimer::new();
        let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
            let (place, time) = (place.clone(), &requests);
            async move {
                if let Some(refusal) = misaddressed(&request) {
                    return Ok(refusal);
                }
                if self.front.takes(&request) {
                    let time = time.after(self.request_timeout);
                    return Ok(limits::bounded(time, self.front.answer(request, peer)).await);
                }
                // In a box, for hyper moves what answers about, and this is large.
                Box::pin(self.routed(request, peer, place)).await
            }
        });
        let io = TokioIo::new(Rewound::new(read, io));
        let mut http = self.http.clone();
        http.timer(MovedTimer::new());
        let mut served = pin!(http.serve_connection(io, service).with_upgrades());
        tokio::select! {
            biased;
            ended = served.as_mut() => Some(ended),
            () = self.stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                self.given_up.run_until_cancelled(served).await
            }
        }
    }

    async fn routed(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        place: Place,
    ) -> Result<Response, Infallible> {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(place);
        self.routes.clone().oneshot(request).await
    }
}

/// The answer to a request that does not say which host it is for (RFC 9112, section 3.2).
pub(super) fn misaddressed<B>(request: &Request<B>) -> Option<Response> {
    let refused = host(request.uri(), request.headers(), request.version()).err()?;
    Some(Problem::field(refused).into_response())
}
