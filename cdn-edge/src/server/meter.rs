//! What really reached the socket.
//!
//! hyper takes a body's bytes before the socket does, so a client that leaves would be counted as
//! having got what still lay in a buffer. The meter follows the written stream instead: a head up to
//! its empty line, then the body as its head framed it, then the next head.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::clients::Place;
use super::counters::Counters;
use super::tcp::{Tcp, Wire};
use crate::delivery::transcript::{Deliveries, Sent, Transcript};

/// A connection's meter, shared by its socket and its service. Never contended: both run on one thread.
#[derive(Debug)]
pub struct Meter {
    state: Mutex<State>,
    counters: Arc<Counters>,
    deliveries: Deliveries,
    tcp: Arc<Tcp>,
}

#[derive(Debug, Default)]
struct State {
    /// Responses not yet wholly written, in order; more than one only with pipelining.
    responses: VecDeque<Outgoing>,
    /// How much of the head's end, CR LF CR LF, the last bytes were.
    matched: usize,
}

/// How a body ends on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

#[derive(Debug)]
struct Outgoing {
    body: Body,
    sent: u64,
    head_sent: bool,
    first_byte: Option<Instant>,
    transcript: Option<Arc<Transcript>>,
}

const HEAD_END: &[u8; 4] = b"\r\n\r\n";

impl Meter {
    #[must_use]
    pub fn new(counters: Arc<Counters>, deliveries: Deliveries, tcp: Arc<Tcp>) -> Self {
        Self { state: Mutex::default(), counters, deliveries, tcp }
    }

    /// A response whose body is framed so is about to be written.
    pub fn expect(&self, framing: Framing, transcript: Option<Arc<Transcript>>) {
        let body = Body::new(framing);
        let outgoing = Outgoing { body, sent: 0, head_sent: false, first_byte: None, transcript };
        self.state().responses.push_back(outgoing);
    }

    /// Whether a body is on its way that only the connection's end ends.
    #[must_use]
    pub fn is_open_ended(&self) -> bool {
        self.state().responses.front().is_some_and(|response| response.body.ends_with_connection())
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
            if !response.head_sent {
                return;
            }
            let (used, body) = response.body.take(bytes);
            response.sent += body;
            self.counters.body_bytes.fetch_add(body, Relaxed);
            bytes = &bytes[used..];
            if !response.body.is_over() {
                if let Some(transcript) = &response.transcript {
                    transcript.sent(response.so_far(false), now);
                }
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
        if self.deliveries.wanted() {
            self.deliveries.push(transcript.record(response.so_far(complete), self.tcp.note(), now));
        }
    }
}

impl Outgoing {
    fn so_far(&self, complete: bool) -> Sent {
        Sent { bytes: self.sent, complete, first_byte: self.first_byte }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let now = Instant::now();
        let left: Vec<Outgoing> = self.state().responses.drain(..).collect();
        left.iter().for_each(|response| self.over(response, response.body.ends_with_connection(), now));
    }
}

/// Follows a body on the wire.
#[derive(Debug, Clone, Copy)]
enum Body {
    Left(u64),
    Chunks(Chunk),
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// Its size so far, and whether the digits are over.
    Size(u64, bool),
    Data(u64),
    DataEnd,
    /// After the last chunk: whether the line has anything in it.
    Trailer(bool),
    Over,
}

impl Body {
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Left(length),
            Framing::Chunked => Self::Chunks(Chunk::Size(0, false)),
            Framing::Close => Self::Close,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Left(0) | Self::Chunks(Chunk::Over))
    }

    fn ends_with_connection(&self) -> bool {
        matches!(self, Self::Close)
    }

    /// How many of the bytes are of this body's frame, and how many of them are body.
    fn take(&mut self, bytes: &[u8]) -> (usize, u64) {
        match self {
            Self::Close => (bytes.len(), bytes.len() as u64),
            Self::Left(left) => {
                let some = (*left).min(bytes.len() as u64);
                *left -= some;
                (usize::try_from(some).expect("at most what is there"), some)
            }
            Self::Chunks(chunk) => {
                let (mut at, mut body) = (0, 0);
                while at < bytes.len() && *chunk != Chunk::Over {
                    let (used, data) = chunk.take(&bytes[at..]);
                    (at, body) = (at + used, body + data);
                }
                (at, body)
            }
        }
    }
}

impl Chunk {
    fn take(&mut self, bytes: &[u8]) -> (usize, u64) {
        if let Self::Data(left) = self {
            let some = (*left).min(bytes.len() as u64);
            *left -= some;
            if *left == 0 {
                *self = Self::DataEnd;
            }
            return (usize::try_from(some).expect("at most what is there"), some);
        }
        *self = match (*self, bytes[0]) {
            (Self::Size(0, _), b'\n') => Self::Trailer(false),
            (Self::Size(size, _), b'\n') => Self::Data(size),
            (Self::Size(size, false), digit) if digit.is_ascii_hexdigit() => {
                let digit = u64::from(char::from(digit).to_digit(16).unwrap_or(0));
                Self::Size((size << 4) | digit, false)
            }
            (Self::Size(size, _), _) => Self::Size(size, true),
            (Self::DataEnd, b'\n') => Self::Size(0, false),
            (Self::Trailer(false), b'\n') => Self::Over,
            (Self::Trailer(true), b'\n') => Self::Trailer(false),
            (Self::Trailer(filled), byte) => Self::Trailer(filled || byte != b'\r'),
            (same, _) => same,
        };
        (1, 0)
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
pub struct MeteredIo<S: Wire> {
    socket: TokioIo<S>,
    /// None where answers cannot be told apart by what is written.
    meter: Option<Arc<Meter>>,
    tcp: Arc<Tcp>,
    /// None where nothing limits the client.
    place: Option<Arc<Place>>,
    /// Runs while the client is ahead of its bandwidth.
    paused: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    /// Runs while the socket takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: Wire> MeteredIo<S> {
    #[must_use]
    pub fn new(
        socket: S,
        meter: Option<Arc<Meter>>,
        tcp: Arc<Tcp>,
        place: Option<Arc<Place>>,
        patience: Duration,
    ) -> Self {
        Self { socket: TokioIo::new(socket), meter, tcp, place, paused: None, patience, stalled: None }
    }

    /// Ready once the client's bandwidth has room.
    fn pace(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(place) = &self.place else { return Poll::Ready(()) };
        loop {
            if let Some(paused) = &mut self.paused {
                ready!(paused.as_mut().poll(context));
                self.paused = None;
            }
            let Some(wait) = place.wait(Instant::now()) else { return Poll::Ready(()) };
            self.paused = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }

    fn wrote(&self, slices: &[IoSlice<'_>], mut n: usize) {
        let now = Instant::now();
        self.tcp.look(self.socket.inner(), now);
        if let Some(place) = &self.place {
            place.sent(n, now);
        }
        let Some(meter) = &self.meter else { return };
        for slice in slices {
            let part = n.min(slice.len());
            meter.wrote(&slice[..part], now);
            n -= part;
        }
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

impl<S: Wire> Drop for MeteredIo<S> {
    fn drop(&mut self) {
        self.tcp.end(self.socket.inner());
    }
}

impl<S: AsyncRead + Wire + Unpin> Read for MeteredIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Wire + Unpin> Write for MeteredIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.pace(context));
        let wrote = Pin::new(&mut self.socket).poll_write(context, bytes);
        if let Poll::Ready(Ok(n)) = wrote {
            self.wrote(&[IoSlice::new(bytes)], n);
        }
        self.watch(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.pace(context));
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(n)) = wrote {
            self.wrote(slices, n);
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

    #[test]
    fn chunked_bodies_are_counted_wherever_they_are_cut() {
        let wire = b"a;x=1\r\n0123456789\r\n2\r\nab\r\n0\r\nsum: 1\r\n\r\nHTTP/1.1 200";
        let end = wire.len() - 12;
        for cut in 0..end {
            let mut body = Body::new(Framing::Chunked);
            let (first, some) = body.take(&wire[..cut]);
            assert!(first == cut && !body.is_over(), "{cut}");
            let (second, rest) = body.take(&wire[cut..]);
            assert_eq!((first + second, some + rest, body.is_over()), (end, 12, true), "{cut}");
        }
    }
}
