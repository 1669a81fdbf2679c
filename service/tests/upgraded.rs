//! A connection that a request upgraded still counts: for the bound on connections and for the drain.

#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there")]

use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use hyper_util::rt::TokioIo;
use service::config::{HttpConfig, Span};
use service::http::Place;
use service::{Health, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const UPGRADE: &[u8] = b"GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// Echoes until its peer is done or the shutdown; then says goodbye.
async fn upgrade(Extension(place): Extension<Place>, stop: Shutdown, request: axum::extract::Request) -> Response {
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let _place = place;
        let mut io = TokioIo::new(upgraded.await.unwrap());
        let mut byte = [0];
        loop {
            let read = tokio::select! {
                read = io.read(&mut byte) => read.unwrap_or(0),
                () = stop.cancelled() => 0,
            };
            if read == 0 {
                // The peer may be gone.
                let _ = io.write_all(b"bye").await;
                let _ = io.shutdown().await;
                return;
            }
            io.write_all(&byte).await.unwrap();
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")]).into_response()
}

async fn start(config: HttpConfig, shutdown: &Shutdown) -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener: TcpListener = service::http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Health::new("test");
    health.ready();
    let stop = shutdown.clone();
    let routes = Router::new()
        .route("/up", get(move |place, request| upgrade(place, stop.clone(), request)))
        .route("/long", get(|| async { "x".repeat(64 << 20) }));
    let routes = service::limits::complete(routes, "{}", &health, &config);
    (address, tokio::spawn(service::http::serve(listener, routes, config, health, shutdown.clone())))
}

async fn upgraded(address: std::net::SocketAddr) -> TcpStream {
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(UPGRADE).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    peer.write_all(b"a").await.unwrap();
    assert_eq!(peer.read_u8().await.unwrap(), b'a');
    peer
}

#[tokio::test]
async fn upgraded_connections_keep_their_places_until_they_end() {
    let shutdown = Shutdown::new();
    let config = HttpConfig { max_connections: 2, ..HttpConfig::default() };
    let (address, serving) = start(config, &shutdown).await;
    let (first, mut second) = (upgraded(address).await, upgraded(address).await);
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), third.read_u8()).await;
    assert!(early.is_err(), "there was no place for a third one");
    drop(first);
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(10), third.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    shutdown.cancel();
    let mut goodbye = Vec::new();
    second.read_to_end(&mut goodbye).await.unwrap();
    assert_eq!(goodbye, b"bye");
    tokio::time::timeout(Duration::from_secs(5), serving).await.expect("drained before its deadline").unwrap();
}

#[tokio::test]
async fn who_takes_nothing_is_let_go() {
    let shutdown = Shutdown::new();
    let config = HttpConfig { max_connections: 1, write_timeout: Span::from_millis(300), ..HttpConfig::default() };
    let (address, serving) = start(config, &shutdown).await;
    let mut stuck = TcpStream::connect(address).await.unwrap();
    stuck.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Nothing of the 64 MiB is read, and still its only place is free again for the next one.
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(20), next.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    shutdown.cancel();
    serving.await.unwrap();
}
