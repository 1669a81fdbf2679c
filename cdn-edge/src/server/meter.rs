//! What really reached the socket.
//!
//! hyper takes a body's bytes before the socket does, so a client that leaves would be counted as
//! having got what still lay in a buffer. The meter follows the written stream instead: a head up to
//! its empty line, then as many body bytes as the response has, then the next head.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::counters::Counters;
use crate::delivery::transcript::{Deliveries, Transcript};

/// A connection's meter, shared by its socket and its service. Never contended: both run on one thread.
#[derive(Debug)]
pub struct Meter {
    state: Mutex<State>,
    counters: Arc<Counters>,
    deliveries: Deliveries,
}

#[derive(Debug, Default)]
struct State {
    /// Responses not yet wholly written, in order; more than one only with pipelining.
    responses: VecDeque<Outgoing>,
    /// How much of the head's end, CR LF CR LF, the last bytes were.
    matched: usize,
}

#[derive(Debug)]
struct Outgoing {
    body: u64,
    sent: u64,
    head_sent: bool,
    first_byte: Option<Instant>,
    transcript: Option<Arc<Transcript>>,
}

const HEAD_END: &[u8; 4] = b"\r\n\r\n";

impl Meter {
    #[must_use]
    pub fn new(counters: Arc<Counters>, deliveries: Deliveries) -> Self {
        Self { state: Mutex::default(), counters, deliveries }
    }

    /// A response with a body of this length is about to be written.
    pub fn expect(&self, body: u64, transcript: Option<Arc<Transcript>>) {
        let outgoing = Outgoing { body, sent: 0, head_sent: false, first_byte: None, transcript };
        self.state().responses.push_back(outgoing);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrote(&self, mut bytes: &[u8], now: Instant) {
        let mut state = self.state();
        while !bytes.is_empty() {
            let State { responses, matched } = &mut *state;
            // What hyper answers by itself, to a head it could not read, ends the connection.
            let Some(response) = responses.front_mut() else { return };
            response.first_byte.get_or_insert(now);
            if !response.head_sent {
                let (rest, ended) = after_head(bytes, matched);
                (bytes, response.head_sent) = (rest, ended);
            }
            let body = (response.body - response.sent).min(bytes.len() as u64);
            response.sent += body;
            self.counters.body_bytes.fetch_add(body, Relaxed);
            bytes = &bytes[usize::try_from(body).expect("at most what is there")..];
            if !response.head_sent || response.sent < response.body {
                return;
            }
            if let Some(response) = responses.pop_front() {
                self.over(&response, true, now);
            }
        }
    }

    fn over(&self, response: &Outgoing, complete: bool, now: Instant) {
        let Some(transcript) = &response.transcript else { return };
        self.counters.answered(transcript.cache_status());
        self.deliveries.push(transcript.record(response.sent, complete, response.first_byte, now));
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let now = Instant::now();
        let left: Vec<Outgoing> = self.state().responses.drain(..).collect();
        left.iter().for_each(|response| self.over(response, false, now));
    }
}

/// What follows the head's end, and whether it was reached.
fn after_head<'a>(bytes: &'a [u8], matched: &mut usize) -> (&'a [u8], bool) {
    for (at, byte) in bytes.iter().enumerate() {
        *matched = if *byte == HEAD_END[*matched] { *matched + 1 } else { usize::from(*byte == b'\r') };
        if *matched == HEAD_END.len() {
            *matched = 0;
            return (&bytes[at + 1..], true);
        }
    }
    (&[], false)
}

/// A socket with a meter, and with a limit to how long its client may take nothing.
#[derive(Debug)]
pub struct MeteredIo {
    socket: TokioIo<TcpStream>,
    meter: Arc<Meter>,
    patience: Duration,
    /// Runs while the socket takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl MeteredIo {
    #[must_use]
    pub fn new(socket: TcpStream, meter: Arc<Meter>, patience: Duration) -> Self {
        Self { socket: TokioIo::new(socket), meter, patience, stalled: None }
    }

    fn watch(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Read for MeteredIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl Write for MeteredIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(context, bytes);
        if let Poll::Ready(Ok(n)) = wrote {
            self.meter.wrote(&bytes[..n], Instant::now());
        }
        self.watch(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(mut n)) = wrote {
            let now = Instant::now();
            for slice in slices {
                let part = n.min(slice.len());
                self.meter.wrote(&slice[..part], now);
                n -= part;
            }
        }
        self.watch(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_end_wherever_they_are_cut() {
        let head = b"HTTP/1.1 200 OK\r\na: b\r\r\n\r\n";
        for cut in 0..head.len() {
            let mut matched = 0;
            assert_eq!(after_head(&head[..cut], &mut matched), (&b""[..], false));
            let rest = [&head[cut..], b"body"].concat();
            assert_eq!(after_head(&rest, &mut matched), (&b"body"[..], true), "{cut}");
        }
    }
}
