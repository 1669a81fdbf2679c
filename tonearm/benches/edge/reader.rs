//! A client that looks at each byte, and at when the first one came.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::origin::is_right;

/// One kept connection.
pub(crate) struct Reader {
    host: String,
    sender: SendRequest<Empty<Bytes>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    pub(crate) ttfb: Duration,
    pub(crate) bytes: u64,
}

impl Reader {
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let host = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { host, sender })
    }

    /// # Errors
    /// When it is not answered, or with a byte that the origin does not have.
    pub(crate) async fn get(&mut self, path: &str, range: Option<(u64, u64)>) -> anyhow::Result<Read> {
        let mut request = Request::get(path).header(header::HOST, &self.host);
        if let Some((first, last)) = range {
            request = request.header(header::RANGE, format!("bytes={first}-{last}"));
        }
        let asked = Instant::now();
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(Empty::new())?).await?;
        let wanted = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        ensure!(answer.status() == wanted, "{path} answered {}", answer.status());
        let (start, mut body, mut at, mut ttfb) = (range.map_or(0, |(first, _)| first), answer.into_body(), 0, None);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the body broke off")?.into_data() else { continue };
            ttfb.get_or_insert_with(|| asked.elapsed());
            ensure!(is_right(start + at, &data), "{path} has a wrong byte after {}", start + at);
            at += data.len() as u64;
        }
        Ok(Read { ttfb: ttfb.unwrap_or_else(|| asked.elapsed()), bytes: at })
    }
}
