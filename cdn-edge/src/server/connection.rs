//! A connection: accepted where there is room, served by hyper, drained at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use service::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::Shared;
use super::answer::Answerer;
use super::counters::Counters;
use super::meter::{Meter, MeteredIo};

/// What a response holds beside the socket: with more, hyper would take a second chunk before the
/// first has left.
const BUFFER: usize = 64 << 10;

/// A request's head; keys are at most 1 KiB, and players send no large cookies here.
const HEAD: usize = 32 << 10;

/// Accepts until `shutdown`, then waits for connections to end, at most for the drain's deadline.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>, counters: Arc<Counters>, shutdown: Shutdown) {
    let connections = TaskTracker::new();
    // One a thread: each connection's wait for the stop then touches no other core's memory.
    let stop = shutdown.child_token();
    while let Some(place) = tokio::select! {
        () = stop.cancelled() => None,
        place = shared.connections.clone().acquire_owned() => place.ok(),
    } {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let served = serve(stream, peer, shared.clone(), counters.clone(), stop.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            // Out of file descriptors: a pause lets some come back instead of spinning.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(shared.http.drain_timeout.0, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "the drain's deadline has passed; the rest is ended");
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, counters: Arc<Counters>, stop: Shutdown) {
    // Bodies go out in large pieces: waiting to fill a segment would only delay their ends.
    let _ = stream.set_nodelay(true);
    let _open = Open::new(counters.clone());
    let meter = Arc::new(Meter::new(counters.clone(), shared.deliveries.clone()));
    let io = MeteredIo::new(stream, meter.clone(), shared.write_timeout);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(shared.http.header_timeout.0)
        .max_buf_size(BUFFER)
        .max_header_size(HEAD);
    let answerer = Arc::new(Answerer { shared, counters, meter, client: peer.ip(), https: false });
    let service = service_fn(move |request| {
        let answerer = answerer.clone();
        async move { Ok::<_, Infallible>(answerer.answer(request).await) }
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Counts a connection for as long as it is open.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: Arc<Counters>) -> Self {
        counters.connections.fetch_add(1, Relaxed);
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
