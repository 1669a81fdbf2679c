//! The HTTP server: hyper with a limit on connections, a time for heads, and a drain under a deadline.
//!
//! axum's own `serve` has neither header timeouts nor a bound on connections, which a public listener
//! needs; the routes are axum's all the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::config::HttpConfig;
use crate::{Health, Shutdown};

/// Binds a listener; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be had, with the address and the reason in the message.
pub async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))
}

/// Serves `routes` until `shutdown`, then lets running requests finish until the drain's deadline.
///
/// Handlers find the peer's address as `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, routes: Router, config: HttpConfig, health: Health, shutdown: Shutdown) {
    let server = builder(&config);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(config.max_connections));
    while let Some((stream, peer)) = accept(&listener, &slots, &shutdown).await {
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (server, routes, watcher) = (server.clone(), routes.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection(server, stream, peer, routes, watcher).await;
            drop(slot);
        });
    }
    drop(listener);
    health.draining();
    if tokio::time::timeout(config.drain_timeout.0, graceful.shutdown()).await.is_err() {
        tracing::warn!("the drain's deadline has passed; the rest of the requests is ended");
    }
}

/// HTTP/1.1 alone: telling HTTP/2 from it by the first bytes has no time limit in hyper-util, and a peer
/// that sends none would hold its place for ever. Here the head's time runs from the accept.
fn builder(config: &HttpConfig) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(config.header_timeout.0);
    server
}

/// The next connection, once there is room for it; none when it is time to stop.
async fn accept(listener: &TcpListener, slots: &Semaphore, shutdown: &Shutdown) -> Option<(TcpStream, SocketAddr)> {
    loop {
        // Only looks for room: the slot is taken after the accept, and nobody else accepts here.
        let room = tokio::select! {
            () = shutdown.cancelled() => return None,
            room = slots.acquire() => room,
        };
        drop(room);
        tokio::select! {
            () = shutdown.cancelled() => return None,
            accepted = listener.accept() => match accepted {
                Ok(connection) => return Some(connection),
                // Out of file descriptors: a pause lets some come back instead of spinning.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

async fn connection(server: http1::Builder, stream: TcpStream, peer: SocketAddr, routes: Router, watcher: Watcher) {
    // Answers are small: waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.clone().oneshot(request)
    });
    let served = server.serve_connection(TokioIo::new(stream), service);
    // A broken connection is the client's affair; what matters of it has been counted by the handler.
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
