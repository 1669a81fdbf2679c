//! A distance: a TCP relay that delays each direction by half the round trip, and throttles nothing.
//!
//! Each direction is a delay line: what is read gets the time when it is due, waits in order, and is
//! written then. The kernel accepts a connection before we can delay that, so the handshake's round trip
//! is charged before the first byte: a request on a new connection takes two, as on a real line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

/// What one direction of one connection holds in flight: 600 Mbit/s at New York's distance. When it is
/// reached, reading pauses, and TCP tells the sender.
const IN_FLIGHT: usize = 4 << 20;
const CHUNK: usize = 64 << 10;
/// Tokio's timer counts milliseconds and rounds up, and so does the poll below it: measured, a
/// sleep takes 1.2 ms longer than asked. Without this each round trip would have 2.5 ms too many.
const TIMER_LATE: Duration = Duration::from_millis(1);
/// Beyond these, connections wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distance {
    pub round_trip: Duration,
    /// How far apart the fastest and the slowest way are, in each direction.
    pub jitter: Duration,
}

impl Distance {
    fn one_way(self) -> Duration {
        let spread = self.jitter.mul_f64(rand::rng().random::<f64>());
        (self.round_trip / 2 + spread).saturating_sub(self.jitter / 2 + TIMER_LATE)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// `host:port`; a name is looked up for every connection, for a container may move.
    pub to: String,
    pub distance: Distance,
}

impl Relay {
    /// Relays until its listener fails for good, which is never.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn listen(self, listen: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
        self.serve(listener).await;
        Ok(())
    }

    pub async fn serve(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((near, _)) => drop(tokio::spawn(self.clone().connect(near, place))),
                // Out of file handles, most likely: those in use come back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// A far side that refuses closes the near one, which is all that a client of a dead edge would see.
    async fn connect(self, near: TcpStream, place: OwnedSemaphorePermit) {
        tokio::time::sleep(self.distance.round_trip).await;
        let Ok(far) = TcpStream::connect(self.to.as_str()).await else { return };
        // Without it our own small writes would wait for acknowledgements; with an error they only do so.
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        let distance = self.distance;
        tokio::join!(distance.carry(near_read, far_write), distance.carry(far_read, near_write));
        drop(place);
    }
}

impl Distance {
    /// One direction, to the end of what is read or the first failure to write.
    async fn carry(self, from: OwnedReadHalf, to: OwnedWriteHalf) {
        let (line, due) = mpsc::channel(IN_FLIGHT / CHUNK * 4);
        tokio::select! {
            // The writer ends last: after the reader it has what is still in flight.
            () = deliver(due, to) => {}
            () = async { self.collect(from, line).await; std::future::pending().await } => {}
        }
    }

    async fn collect(self, mut from: OwnedReadHalf, line: mpsc::Sender<InFlight>) {
        let room = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let mut last = Instant::now();
        // A reset is, to the other side, an end.
        while let Ok(1..) = from.read_buf(&mut buffer).await {
            last = last.max(Instant::now() + self.one_way());
            let bytes = buffer.split().freeze();
            let size = u32::try_from(bytes.len()).expect("a chunk is small");
            let room = room.clone().acquire_many_owned(size).await.expect("the semaphore is never closed");
            if line.send(InFlight { due: last, bytes, _room: room }).await.is_err() {
                return;
            }
            buffer.reserve(CHUNK);
        }
    }
}

#[derive(Debug)]
struct InFlight {
    due: Instant,
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

async fn deliver(mut line: mpsc::Receiver<InFlight>, mut to: OwnedWriteHalf) {
    while let Some(flying) = line.recv().await {
        tokio::time::sleep_until(flying.due).await;
        if to.write_all(&flying.bytes).await.is_err() {
            return;
        }
    }
    // Says that no more comes; where the other side has gone, it knows.
    let _ = to.shutdown().await;
}

/// A duration as the command line takes it: `24ms`.
///
/// # Errors
/// When it is not a number of milliseconds followed by `ms`.
pub fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix("ms").and_then(|number| number.parse::<u32>().ok());
    number.map(|ms| Duration::from_millis(ms.into())).ok_or_else(|| format!("{text:?} must look like 24ms"))
}
