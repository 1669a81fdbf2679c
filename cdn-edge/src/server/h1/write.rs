//! An answer on its way out: its head, its body's pieces as they come, and what reached the socket of them.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write as _};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, StatusCode, header};
use rustix::net::{SendFlags, send};
use service::http::field::line;
use service::http::head::After;
use tokio::io::{AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::cache::pages::{LEAST, Pages};
use crate::delivery::transcript::{Deliveries, Sent, Transcript};
use crate::server::answer::Answered;
use crate::server::clients::Place;
use crate::server::counters::Counters;
use crate::server::meter::Framing;
use crate::server::tcp::{Tcp, Wire};

/// Ends a body in chunks.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";

/// Writes a head as it goes out. `framing` is none of an answer to HEAD: its length is not that of what it lacks
/// (RFC 9110, section 8.6).
pub(super) fn render(out: &mut Vec<u8>, answered: &Answered, framing: Option<Framing>, after: After) {
    let (status, headers) = (answered.response.status(), answered.response.headers());
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(LINE_END);
    for (name, value) in headers {
        line(out, name.as_str(), value.as_bytes());
    }
    match &answered.fields {
        Some(fields) => fields.lines().iter().for_each(|lines| out.extend_from_slice(lines)),
        None if headers.contains_key(header::DATE) => {}
        None => line(out, "date", httpdate::fmt_http_date(SystemTime::now()).as_bytes()),
    }
    match framing {
        Some(Framing::Chunked) => line(out, "transfer-encoding", b"chunked"),
        // An object's fields say its length, where it is known.
        Some(Framing::Length(length))
            if has_length(status) && answered.fields.is_none() && !headers.contains_key(header::CONTENT_LENGTH) =>
        {
            line(out, "content-length", HeaderValue::from(length).as_bytes());
        }
        Some(Framing::Length(_) | Framing::Close) | None => {}
    }
    if after == After::Close {
        line(out, "connection", b"close");
    }
    out.extend_from_slice(LINE_END);
}

fn has_length(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The line before a chunk of so many bytes.
pub(super) fn chunk_line(out: &mut Vec<u8>, length: usize) {
    // A Vec takes all that is written to it.
    let _ = write!(out, "{length:x}\r\n");
}

/// Most is done at once, and needs no timer.
async fn within<T>(patience: Duration, doing: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut doing = pin!(doing);
    match poll_fn(|context| Poll::Ready(doing.as_mut().poll(context))).await {
        Poll::Ready(done) => done,
        Poll::Pending => tokio::time::timeout(patience, doing).await.map_err(|_| io::ErrorKind::TimedOut)?,
    }
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
    /// Of the body, where it is known before.
    pub(super) length: Option<u64>,
    pub(super) sent: u64,
    pub(super) first_byte: Option<Instant>,
    pub(super) complete: bool,
    pub(super) patience: Duration,
    pub(super) pages: Option<&'a Pages>,
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
    ) -> io::Result<()> {
        if let (Some(pages), Some(socket)) = (self.pages, stream.plain())
            && piece.len() >= LEAST
            && pages.have(piece)
        {
            self.send_head(socket, before).await?;
            self.send_pages(socket, pages, piece).await?;
            return if is_chunk { self.write_parts(stream, [LINE_END, b"", b""]).await } else { Ok(()) };
        }
        self.write_parts(stream, [before, piece, if is_chunk { LINE_END } else { b"" }]).await?;
        // TLS may hold some back.
        within(self.patience, stream.flush()).await
    }

    /// Of the parts the second one is body.
    async fn write_parts<S: AsyncWrite + Wire + Unpin>(
        &mut self,
        stream: &mut S,
        mut parts: [&[u8]; 3],
    ) -> io::Result<()> {
        while parts.iter().any(|part| !part.is_empty()) {
            self.pace().await;
            let slices = parts.map(IoSlice::new);
            let writing = poll_fn(|context| {
                self.intend(parts[1].len());
                let wrote = Pin::new(&mut *stream).poll_write_vectored(context, &slices);
                if wrote.is_pending() {
                    self.withhold();
                }
                wrote
            });
            let wrote = within(self.patience, writing).await?;
            let mut left = wrote;
            for (at, part) in parts.iter_mut().enumerate() {
                let some = left.min(part.len());
                (*part, left) = (&part[some..], left - some);
                if at == 1 {
                    self.sent += some as u64;
                    self.counters.body_bytes.fetch_add(some as u64, Relaxed);
                }
            }
            self.wrote(stream, wrote)?;
        }
        Ok(())
    }

    /// Told that more follows, the kernel puts head and body into one segment.
    async fn send_head(&mut self, socket: &TcpStream, mut head: &[u8]) -> io::Result<()> {
        while !head.is_empty() {
            self.pace().await;
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let sending = socket.async_io(Interest::WRITABLE, || Ok(send(socket, head, flags)?));
            let wrote = within(self.patience, sending).await?;
            head = &head[wrote..];
            self.wrote(socket, wrote)?;
        }
        Ok(())
    }

    async fn send_pages(&mut self, socket: &TcpStream, pages: &Pages, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            self.pace().await;
            let sending = socket.async_io(Interest::WRITABLE, || {
                self.intend(piece.len());
                pages.send(socket, piece).inspect_err(|_| self.withhold())
            });
            let wrote = within(self.patience, sending).await?;
            piece = &piece[wrote..];
            self.sent += wrote as u64;
            self.counters.body_bytes.fetch_add(wrote as u64, Relaxed);
            self.wrote(socket, wrote)?;
        }
        Ok(())
    }

    /// So much of the body is about to be handed to the socket.
    fn intend(&self, body: usize) {
        if let Some(transcript) = &self.transcript {
            let sent = self.sent + body as u64;
            transcript.intend(sent, self.length == Some(sent));
        }
    }

    /// The socket took nothing.
    fn withhold(&self) {
        if let Some(transcript) = &self.transcript {
            transcript.intend(0, false);
        }
    }

    /// Waits until the client's bandwidth has room.
    async fn pace(&self) {
        while let Some(ahead) = self.place.and_then(|place| place.wait(Instant::now())) {
            tokio::time::sleep(ahead).await;
        }
    }

    fn wrote(&mut self, stream: &impl Wire, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let now = Instant::now();
        self.first_byte.get_or_insert(now);
        self.tcp.look(stream, now);
        if let Some(place) = self.place {
            place.sent(bytes, now);
        }
        if let Some(transcript) = &self.transcript {
            transcript.sent(self.so_far(self.length == Some(self.sent)), now);
        }
        Ok(())
    }

    fn so_far(&self, complete: bool) -> Sent {
        Sent { bytes: self.sent, complete, first_byte: self.first_byte }
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        let Some(transcript) = &self.transcript else { return };
        self.counters.answered(transcript.cache_status());
        if self.deliveries.wanted() {
            self.deliveries.push(transcript.record(self.so_far(self.complete), self.tcp.note(), Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::EdgeBody;

    #[test]
    fn rfc9110_8_6_no_length_is_made_up() {
        let has_length = |status: u16, framing| {
            let response = http::Response::builder().status(status).body(EdgeBody::empty()).unwrap();
            let mut out = Vec::new();
            render(&mut out, &response.into(), framing, After::Next);
            String::from_utf8(out).unwrap().contains("content-length: 0\r\n")
        };
        assert!(has_length(200, Some(Framing::Length(0))));
        assert!(!has_length(200, None), "an answer to HEAD");
        assert!(!has_length(204, Some(Framing::Length(0))) && !has_length(304, Some(Framing::Length(0))));
    }
}
