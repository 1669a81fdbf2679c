//! The relay keeps bytes whole and in order, delays them by what it was told, and does not throttle.

#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there and show it")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use devstack::relay::{Distance, Relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LOOPBACK: (&str, u16) = ("127.0.0.1", 0);

/// A server that sends back what it gets, behind a relay.
async fn distant_echo(round_trip: Duration, jitter: Duration) -> SocketAddr {
    let echo = TcpListener::bind(LOOPBACK).await.unwrap();
    let to = echo.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Relay { to: to.to_string(), distance: Distance { round_trip, jitter } }.serve(listener));
    address
}

async fn round_trip(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.write_all(b"?").await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_connection_costs_two_round_trips_and_a_kept_one_costs_one() {
    let told = Duration::from_millis(100);
    let address = distant_echo(told, Duration::ZERO).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The timer's rounding is taken off beforehand, so a way may be a millisecond short.
    let least = told - Duration::from_millis(4);
    assert!(round_trip(&mut stream).await >= least * 2);
    let mut measured = Vec::new();
    for _ in 0..10 {
        measured.push(round_trip(&mut stream).await);
    }
    measured.sort();
    assert!(measured[0] >= least, "{measured:?}");
    // Another process may take the core for a while, but not each time.
    assert!(measured[4] < told * 2, "{measured:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jitter_neither_reorders_nor_loses() {
    let address = distant_echo(Duration::from_millis(20), Duration::from_millis(15)).await;
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let copy = sent.clone();
    let sender = tokio::spawn(async move {
        for piece in copy.chunks(70_001) {
            write.write_all(piece).await.unwrap();
        }
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), read.read_to_end(&mut got)).await.unwrap().unwrap();
    sender.await.unwrap();
    assert!(got == sent, "{} of {} bytes came back, or in another order", got.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_delays_a_stream_once_not_each_piece() {
    let told = Duration::from_millis(200);
    let address = distant_echo(told, Duration::ZERO).await;
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let began = Instant::now();
    let sender = tokio::spawn(async move { write.write_all(&vec![7; 1 << 20]).await.map(|()| write) });
    read.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
    // At least sixteen pieces; one after the other they would take over three seconds.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    sender.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_far_side_that_refuses_closes_the_near_one() {
    let to = TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap();
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    let distance = Distance { round_trip: Duration::from_millis(10), jitter: Duration::ZERO };
    tokio::spawn(Relay { to: to.to_string(), distance }.serve(listener));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0])).await.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)));
}
