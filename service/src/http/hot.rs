//! Small posts to one path, one after another, answered without hyper.
//!
//! hyper can do everything, and an event costs so little that it would pay a fifth of its CPU for that. So a connection
//! begins here, and the first request that is anything else takes the connection to hyper, with all that was read of
//! it. A body that does not come is hyper's to wait for, too.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use axum::response::Response;
use bytes::BytesMut;
use http::{HeaderValue, Request, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::{Server, misaddressed};
use super::field::line;
use super::front::Front;
use super::head::{After, Found, Heads, Kind, Posts, Taken};
use super::moved_timer::MovedTimer;
use super::patient::PatientIo;
use crate::limits;

/// Read at a time.
const READ: usize = 4 << 10;

/// A head beyond this is hyper's to bound.
const HEAD: usize = 16 << 10;

/// How long a body is waited for that did not come with its head: mostly it is the next packet.
const BODY: Duration = Duration::from_millis(100);

/// How a connection ended here.
#[derive(Debug)]
pub(super) enum End {
    Closed,
    /// It goes on elsewhere, from these bytes on.
    Unusual(BytesMut),
}

/// Serves until a request is not of this kind, the client is gone, or it is time to stop.
pub(super) async fn serve<F: Front>(io: &mut PatientIo, server: &Server<F>, posts: Posts, peer: SocketAddr) -> End {
    let (mut heads, mut buffer, mut out) = (Heads::new(Kind::Posts(posts)), BytesMut::new(), Vec::new());
    let (silence, requests) = (MovedTimer::new(), MovedTimer::new());
    let (mut stopped, mut given_up) = (pin!(server.stop.cancelled()), pin!(server.given_up.cancelled()));
    let (mut due, mut is_late) = (silence.after(server.header_timeout), false);
    loop {
        match heads.take(&mut buffer) {
            Found::Request(Taken { parts, body, after }) => {
                let request = Request::from_parts(*parts, Full::new(body));
                let response = match misaddressed(&request) {
                    Some(refusal) => refusal,
                    None => {
                        let time = requests.after(server.request_timeout);
                        // It is large: whoever waits for it gets no more than its place.
                        let mut answering = pin!(server.front.answer(request, peer));
                        tokio::select! {
                            biased;
                            response = limits::bounded(time, answering.as_mut()) => response,
                            () = given_up.as_mut() => return End::Closed,
                        }
                    }
                };
                let after = if server.stop.is_cancelled() { After::Close } else { after };
                if let Err(error) = answer(io, &mut out, response, after).await {
                    tracing::debug!(%error, "a connection ended early");
                    return End::Closed;
                }
                if after == After::Close {
                    // A client that does not take the end is gone all the same.
                    let _ = io.shutdown().await;
                    return End::Closed;
                }
                (due, is_late) = (silence.after(server.header_timeout), false);
            }
            Found::Partial if buffer.len() < HEAD + posts.most => {
                if heads.awaits_a_body() && !is_late {
                    (is_late, due) = (true, silence.after(BODY));
                }
                buffer.reserve(READ);
                tokio::select! {
                    biased;
                    read = io.read_buf(&mut buffer) => match read {
                        Ok(0) if !buffer.is_empty() => return End::Unusual(buffer),
                        Ok(0) | Err(_) => return End::Closed,
                        Ok(_) => {}
                    },
                    // A request that is under way is answered yet.
                    () = stopped.as_mut() => return if buffer.is_empty() { End::Closed } else { End::Unusual(buffer) },
                    () = &mut due => return if is_late { End::Unusual(buffer) } else { End::Closed },
                }
            }
            Found::Partial | Found::Unusual => return End::Unusual(buffer),
        }
    }
}

/// Head and body in one piece: answers here are small, and whole before the first byte goes out.
async fn answer(io: &mut PatientIo, out: &mut Vec<u8>, response: Response, after: After) -> io::Result<()> {
    let (head, mut body) = response.into_parts();
    let length = body.size_hint().exact().ok_or_else(|| io::Error::other("an answer without a length"))?;
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &head.headers {
        line(out, name.as_str(), value.as_bytes());
    }
    if !head.headers.contains_key(header::DATE) {
        date(out);
    }
    if head.status != StatusCode::NO_CONTENT && !head.headers.contains_key(header::CONTENT_LENGTH) {
        line(out, "content-length", HeaderValue::from(length).as_bytes());
    }
    if after == After::Close {
        line(out, "connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    let mut left = length;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        left = left.checked_sub(data.len() as u64).ok_or_else(|| io::Error::other("more than it told"))?;
        out.extend_from_slice(&data);
    }
    if left > 0 {
        return Err(io::Error::other("less than it told"));
    }
    io.write_all(out).await
}

/// Made once a second by each thread.
fn date(out: &mut Vec<u8>) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(made, text)| {
        if *made != second {
            (*made, *text) = (second, httpdate::fmt_http_date(now));
        }
        line(out, "date", text.as_bytes());
    });
}
