//! `GET /.tonearm/ping` on a connection that is kept open and known to be warm.
//!
//! A pool would hide whether a request had to connect first. Here the first round trip of a new
//! connection is thrown away (TCP's and TLS's handshakes, cold caches on both sides) and a second one
//! measured at once.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::{Outcome, Probe, note, within};
use crate::signals::Signals;

/// A ping's answer is a few bytes; more is no ping.
const MAX_ANSWER: usize = 4096;

#[derive(Debug)]
pub(super) struct Ping {
    uri: Uri,
    connector: HttpsConnector<HttpConnector>,
    timeout: Duration,
    warm: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Ping {
    pub(super) fn new(uri: &Uri, timeout: Duration) -> Self {
        let connector = service::client::connector(timeout);
        Self { uri: uri.clone(), connector, timeout, warm: None }
    }

    async fn attempt(&self, warm: Option<Connection>) -> anyhow::Result<(Option<f64>, Option<Connection>)> {
        // Failing on a kept connection may mean no more than that the edge closed it while it was idle.
        if let Some(mut connection) = warm
            && let Ok(rtt_ms) = connection.round_trip(&self.uri).await
        {
            return Ok((Some(rtt_ms), Some(connection)));
        }
        let mut connection = self.connect().await?;
        connection.round_trip(&self.uri).await?;
        let rtt_ms = connection.round_trip(&self.uri).await.ok();
        Ok((rtt_ms, rtt_ms.is_some().then_some(connection)))
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = self.connector.clone().oneshot(self.uri.clone()).await.map_err(|e| anyhow::anyhow!(e))?;
        let (sender, connection) = http1::handshake(stream).await?;
        // A connection's end shows as the failure of the next request.
        let driver = tokio::spawn(async move { _ = connection.await });
        Ok(Connection { sender, driver })
    }
}

impl Probe for Ping {
    const KIND: &'static str = "http";

    async fn probe(&mut self) -> Outcome {
        let warm = self.warm.take();
        let attempt = async {
            let attempt = self.attempt(warm).await;
            attempt.inspect_err(|error| tracing::debug!(%error, uri = %self.uri, "a probe failed")).ok()
        };
        let Some((rtt_ms, connection)) = within(self.timeout, attempt).await else { return Outcome::Lost };
        self.warm = connection;
        Outcome::Answered(rtt_ms)
    }

    /// An edge is up or down by what listeners use.
    fn note(signals: &mut Signals, outcome: Outcome) {
        note(&mut signals.http, outcome);
        signals.liveness = signals.liveness.after(outcome != Outcome::Lost);
    }
}

impl Connection {
    /// Milliseconds from the request to the answer's head.
    async fn round_trip(&mut self, uri: &Uri) -> anyhow::Result<f64> {
        self.sender.ready().await?;
        let request = request(uri)?;
        let sent = Instant::now();
        let answer = self.sender.send_request(request).await?;
        let rtt = sent.elapsed();
        ensure!(answer.status().is_success(), "the edge answered {}", answer.status());
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        body.map_err(|e| anyhow::anyhow!(e)).context("cannot read the answer")?;
        Ok(rtt.as_secs_f64() * 1000.0)
    }
}

fn request(uri: &Uri) -> anyhow::Result<Request<Empty<Bytes>>> {
    let authority = uri.authority().context("a ping's URL has an authority")?;
    let path = uri.path_and_query().context("a ping's URL has a path")?;
    Ok(Request::get(path.as_str())
        .header(header::HOST, HeaderValue::from_str(authority.as_str())?)
        .header(header::USER_AGENT, "tonearm-router")
        .body(Empty::new())?)
}
