//! The HTTP server: hyper with a limit on connections, a time for heads and for writes, and a drain
//! under a deadline.
//!
//! axum's own `serve` has neither timeouts nor a bound on connections, which a public listener
//! needs; the routes are axum's all the same. A request may turn its connection into something else
//! (a WebSocket): it then keeps its [`Place`], so that the bound and the drain still count it.

mod connection;
pub mod field;
mod front;
pub mod head;
mod host;
mod hot;
mod moved_timer;
mod patient;
pub mod rewound;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::config::HttpConfig;
use crate::{Health, Shutdown};

pub use connection::Place;
use connection::Server;
pub use front::Front;
pub use host::host;

/// Binds a listener; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be had, with the address and the reason in the message.
pub async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))
}

/// Serves `routes` until `shutdown`, then lets running requests finish until the drain's deadline.
///
/// Handlers find the peer's address as `ConnectInfo<SocketAddr>` and the connection's [`Place`]. What
/// streams without an end of its own must watch the same `shutdown`.
pub async fn serve(listener: TcpListener, routes: Router, config: HttpConfig, health: Health, shutdown: Shutdown) {
    serve_behind((), listener, routes, config, health, shutdown).await;
}

/// As [`serve`], behind what is asked before the routes are.
pub async fn serve_behind(
    front: impl Front,
    listener: TcpListener,
    routes: Router,
    config: HttpConfig,
    health: Health,
    shutdown: Shutdown,
) {
    let places = TaskTracker::new();
    let given_up = Shutdown::new();
    let server = Arc::new(Server::new(front, routes, &config, shutdown.clone(), given_up.clone()));
    let slots = Arc::new(Semaphore::new(config.max_connections));
    while let Some((stream, peer)) = accept(&listener, &slots, &shutdown).await {
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let place = Place::new(slot, places.token());
        tokio::spawn(server.clone().connection(stream, peer, place));
    }
    drop(listener);
    health.draining();
    places.close();
    if tokio::time::timeout(config.drain_timeout.0, places.wait()).await.is_err() {
        tracing::warn!(
            connections = places.len(),
            "the drain's deadline has passed; the rest of the requests is ended"
        );
    }
    given_up.cancel();
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
