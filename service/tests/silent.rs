//! A peer that connects and says nothing holds its place only for the time of a head.

#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use service::config::{HttpConfig, Span};
use service::{Health, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

async fn serve(config: HttpConfig) -> (SocketAddr, Shutdown, JoinHandle<()>) {
    let listener = service::http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Health::new("test");
    health.ready();
    let routes = service::limits::complete(Router::new(), "{}", &health, &config);
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(service::http::serve(listener, routes, config, health, shutdown.clone()));
    (address, shutdown, serving)
}

#[tokio::test]
async fn silence_is_ended_and_the_next_one_served() {
    let config = HttpConfig { header_timeout: Span::from_millis(200), max_connections: 3, ..HttpConfig::default() };
    let (address, shutdown, serving) = serve(config).await;

    let mut peers = Vec::new();
    for words in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(words.as_bytes()).await.unwrap();
        peers.push(peer);
    }
    // All places are taken; this one is served once they are free again.
    let mut asking = TcpStream::connect(address).await.unwrap();
    asking.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let read = asking.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("served in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for mut peer in peers {
        let end = tokio::time::timeout(Duration::from_secs(10), peer.read_to_end(&mut Vec::new())).await;
        // A reset is an end too.
        drop(end.expect("ended in time"));
    }
    shutdown.cancel();
    serving.await.unwrap();
}

/// A connection's heads have one timer between them: it runs again after each answer, from its end.
#[tokio::test]
async fn silence_after_an_answer_is_ended_too() {
    let config = HttpConfig { header_timeout: Span::from_millis(400), ..HttpConfig::default() };
    let (address, shutdown, serving) = serve(config).await;

    let mut peer = TcpStream::connect(address).await.unwrap();
    let mut answer = [0; 1024];
    let asked = Instant::now();
    // Together they take longer than one head may.
    for _ in 0..3 {
        peer.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let read = peer.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(asked.elapsed() > Duration::from_millis(700));
    let end = tokio::time::timeout(Duration::from_secs(10), peer.read_to_end(&mut Vec::new())).await;
    drop(end.expect("ended in time"));
    shutdown.cancel();
    serving.await.unwrap();
}
