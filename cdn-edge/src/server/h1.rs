//! HTTP/1.1 as players speak it: requests without a body, one after another, answered here.
//!
//! hyper can do everything, and a hit pays for that with a tenth of its CPU. So a connection begins here, and the first
//! request that is anything else (a body, an upgrade, another version, a head that is not clean) takes the
//! connection to hyper, with all that was read of it.

mod write;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use bytes::BytesMut;
use http::request::Parts;
use http::{Method, Version};
use http_body_util::BodyExt;
use hyper::body::Body;
use service::Shutdown;
use service::http::head::{After, Found, Heads, Taken};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Sleep;

use super::answer::{Answered, Answerer, framing};
use super::meter::Framing;
use super::tcp::{Tcp, Wire};
use crate::origin::upload::Upload;
use write::{LAST_CHUNK, Outgoing, chunk_line, render};

/// Read at a time.
const READ: usize = 4 << 10;

/// How a connection ended here.
#[derive(Debug)]
pub enum End {
    Closed,
    /// It goes on elsewhere, from these bytes on.
    Unusual(BytesMut),
}

/// The client has left, or must.
#[derive(Debug, thiserror::Error)]
enum Gone {
    #[error("the client left")]
    Left,
    #[error("the body could not be had")]
    NoBody,
    #[error(transparent)]
    Io(#[from] io::Error),
}

struct Lane<'a, S> {
    stream: &'a mut S,
    answerer: &'a Answerer,
    tcp: &'a Tcp,
    heads: Heads,
    buffer: BytesMut,
    out: Vec<u8>,
    /// When the next head must be there.
    due: Instant,
}

/// Serves until a request is not of this kind, the client is gone, or it is time to `stop`. A head larger than
/// `most` is not of this kind.
pub async fn serve<S: AsyncRead + AsyncWrite + Wire + Unpin>(
    stream: &mut S,
    answerer: &Answerer,
    tcp: &Tcp,
    stop: &Shutdown,
    most: usize,
) -> End {
    let patience = answerer.shared.http.header_timeout.0;
    let (heads, buffer, out) = (Heads::default(), BytesMut::new(), Vec::new());
    let mut lane = Lane { stream, answerer, tcp, heads, buffer, out, due: Instant::now() + patience };
    let mut stopped = pin!(stop.cancelled());
    let mut timer = pin!(tokio::time::sleep(patience));
    loop {
        match lane.heads.take(&mut lane.buffer) {
            Found::Request(Taken { mut parts, after, .. }) => {
                let after = if stop.is_cancelled() { After::Close } else { after };
                if let Err(gone) = lane.answer(&mut parts, after).await {
                    tracing::debug!(%gone, "a connection ended early");
                    return End::Closed;
                }
                lane.heads.done(parts);
                if after == After::Close || stop.is_cancelled() {
                    // A client that does not take the end is gone all the same.
                    let _ = tokio::time::timeout(patience, lane.stream.shutdown()).await;
                    return End::Closed;
                }
                lane.due = Instant::now() + patience;
            }
            Found::Partial if lane.buffer.len() < most => {
                lane.buffer.reserve(READ);
                let more = tokio::select! {
                    biased;
                    read = lane.stream.read_buf(&mut lane.buffer) => read.is_ok_and(|bytes| bytes > 0),
                    () = stopped.as_mut() => false,
                    () = until(timer.as_mut(), lane.due) => false,
                };
                if !more {
                    return End::Closed;
                }
            }
            Found::Partial | Found::Unusual => return End::Unusual(lane.buffer),
        }
    }
}

/// A timer that is set only when it has run out: most requests come long before.
async fn until(mut timer: Pin<&mut Sleep>, due: Instant) {
    loop {
        timer.as_mut().await;
        if Instant::now() >= due {
            return;
        }
        timer.as_mut().reset(due.into());
    }
}

impl<S: AsyncRead + AsyncWrite + Wire + Unpin> Lane<'_, S> {
    async fn answer(&mut self, request: &mut Parts, after: After) -> Result<(), Gone> {
        let is_head = request.method == Method::HEAD;
        let answered = self.wait(request).await?;
        let framing = framing(is_head, Version::HTTP_11, &answered.response);
        self.out.clear();
        render(&mut self.out, &answered, Some(framing).filter(|_| !is_head), after);
        let Answered { response, transcript, .. } = answered;
        let mut body = response.into_body();
        let Answerer { counters, shared, .. } = self.answerer;
        let mut outgoing = Outgoing {
            counters,
            deliveries: &shared.deliveries,
            tcp: self.tcp,
            place: self.answerer.place.as_deref(),
            transcript,
            length: if let Framing::Length(length) = framing { Some(length) } else { None },
            sent: 0,
            first_byte: None,
            complete: false,
            patience: shared.write_timeout,
            pages: shared.library.cache.memory.room.pages(),
        };
        if framing != Framing::Length(0) {
            let is_chunk = framing == Framing::Chunked;
            while let Some(frame) = self.next(&mut body).await? {
                if is_chunk {
                    chunk_line(&mut self.out, frame.len());
                }
                outgoing.write(self.stream, &self.out, &frame, is_chunk).await?;
                self.out.clear();
            }
            if is_chunk {
                self.out.extend_from_slice(LAST_CHUNK);
            }
        }
        if !self.out.is_empty() {
            outgoing.write(self.stream, &self.out, &[], false).await?;
        }
        // Who was told a length must not take what follows for the rest of it.
        if matches!(framing, Framing::Length(length) if length != outgoing.sent) {
            return Err(Gone::NoBody);
        }
        outgoing.complete = true;
        Ok(())
    }

    /// The answer; what the origin says before it is passed on before it.
    async fn wait(&mut self, request: &mut Parts) -> Result<Answered, Gone> {
        let interims = self.answerer.interims.as_ref().expect("a connection that is served here has them");
        interims.begin();
        let mut answering = pin!(self.answerer.answer(request, Upload::none()));
        let answered = match poll_fn(|context| Poll::Ready(answering.as_mut().poll(context))).await {
            // A hit waits for nothing.
            Poll::Ready(answered) => answered,
            Poll::Pending => loop {
                let head = tokio::select! {
                    biased;
                    answered = answering.as_mut() => break answered,
                    head = interims.next() => head,
                    () = left(self.stream, &mut self.buffer) => return Err(Gone::Left),
                };
                self.interim(&head).await?;
            },
        };
        // Both may have come at once.
        while let Some(head) = interims.take() {
            self.interim(&head).await?;
        }
        Ok(answered)
    }

    async fn interim(&mut self, head: &[u8]) -> Result<(), Gone> {
        let written = tokio::time::timeout(self.answerer.shared.write_timeout, self.stream.write_all(head)).await;
        Ok(written.map_err(|_| Gone::Left)??)
    }

    /// The next bytes of a body.
    async fn next<B: Body<Data = bytes::Bytes> + Unpin>(&mut self, body: &mut B) -> Result<Option<bytes::Bytes>, Gone> {
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = left(self.stream, &mut self.buffer) => return Err(Gone::Left),
            };
            // Who takes trailers says so, and is served by hyper.
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(Gone::NoBody),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }
}

/// Returns when the client has closed its end; keeps what it sends meanwhile, as far as there is room.
async fn left<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) {
    while buffer.len() < READ {
        buffer.reserve(READ);
        if !stream.read_buf(buffer).await.is_ok_and(|bytes| bytes > 0) {
            return;
        }
    }
    std::future::pending().await
}
