//! An answer on its way out: its head, its body's pieces as they come, and what reached the socket of them.

use std::io::{self, IoSlice, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, StatusCode, header, response};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::head::After;
use crate::delivery::transcript::{Deliveries, Sent, Transcript};
use crate::server::clients::Place;
use crate::server::counters::Counters;
use crate::server::meter::Framing;
use crate::server::tcp::{Tcp, Wire};

/// Ends a body in chunks.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";

/// Writes a head as it goes out. `framing` is none of an answer to HEAD: its length is not that of what it lacks
/// (RFC 9110, section 8.6).
pub(super) fn render(out: &mut Vec<u8>, head: &response::Parts, framing: Option<Framing>, after: After) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(LINE_END);
    for (name, value) in &head.headers {
        field(out, name.as_str(), value.as_bytes());
    }
    if !head.headers.contains_key(header::DATE) {
        field(out, "date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    }
    match framing {
        Some(Framing::Chunked) => field(out, "transfer-encoding", b"chunked"),
        Some(Framing::Length(length))
            if has_length(head.status) && !head.headers.contains_key(header::CONTENT_LENGTH) =>
        {
            field(out, "content-length", HeaderValue::from(length).as_bytes());
        }
        Some(Framing::Length(_) | Framing::Close) | None => {}
    }
    if after == After::Close {
        field(out, "connection", b"close");
    }
    out.extend_from_slice(LINE_END);
}

fn has_length(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(LINE_END);
}

/// The line before a chunk of so many bytes.
pub(super) fn chunk_line(out: &mut Vec<u8>, length: usize) {
    // A Vec takes all that is written to it.
    let _ = write!(out, "{length:x}\r\n");
}

/// An answer while it goes out. Its record is made when it is dropped, however that comes.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) counters: &'a Counters,
    pub(super) deliveries: &'a Deliveries,
    pub(super) tcp: &'a Tcp,
    /// None where nothing limits the client.
    pub(super) place: Option<&'a Place>,
    pub(super) transcript: Option<Arc<Transcript>>,
    pub(super) sent: u64,
    pub(super) first_byte: Option<Instant>,
    pub(super) complete: bool,
}

impl Outgoing<'_> {
    /// Writes what stands before a piece, the piece, and the end of its chunk where it is one.
    ///
    /// # Errors
    /// When the client is gone, or takes nothing for as long as `patience`.
    pub(super) async fn write<S: AsyncWrite + Wire + Unpin>(
        &mut self,
        stream: &mut S,
        before: &[u8],
        piece: &[u8],
        is_chunk: bool,
        patience: Duration,
    ) -> io::Result<()> {
        let mut parts = [before, piece, if is_chunk { LINE_END } else { b"" }];
        while parts.iter().any(|part| !part.is_empty()) {
            while let Some(ahead) = self.place.and_then(|place| place.wait(Instant::now())) {
                tokio::time::sleep(ahead).await;
            }
            let slices = parts.map(IoSlice::new);
            let writing = stream.write_vectored(&slices);
            let mut wrote = tokio::time::timeout(patience, writing).await.map_err(|_| io::ErrorKind::TimedOut)??;
            if wrote == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let now = Instant::now();
            self.first_byte.get_or_insert(now);
            self.tcp.look(stream, now);
            if let Some(place) = self.place {
                place.sent(wrote, now);
            }
            for (at, part) in parts.iter_mut().enumerate() {
                let some = wrote.min(part.len());
                (*part, wrote) = (&part[some..], wrote - some);
                if at == 1 {
                    self.sent += some as u64;
                    self.counters.body_bytes.fetch_add(some as u64, Relaxed);
                }
            }
        }
        // TLS may hold some back.
        tokio::time::timeout(patience, stream.flush()).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        let Some(transcript) = &self.transcript else { return };
        self.counters.answered(transcript.cache_status());
        if self.deliveries.wanted() {
            let sent = Sent { bytes: self.sent, complete: self.complete, first_byte: self.first_byte };
            self.deliveries.push(transcript.record(sent, self.tcp.note(), Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_8_6_no_length_is_made_up() {
        let has_length = |status: u16, framing| {
            let (head, ()) = http::Response::builder().status(status).body(()).unwrap().into_parts();
            let mut out = Vec::new();
            render(&mut out, &head, framing, After::Next);
            String::from_utf8(out).unwrap().contains("content-length: 0\r\n")
        };
        assert!(has_length(200, Some(Framing::Length(0))));
        assert!(!has_length(200, None), "an answer to HEAD");
        assert!(!has_length(204, Some(Framing::Length(0))) && !has_length(304, Some(Framing::Length(0))));
    }
}
