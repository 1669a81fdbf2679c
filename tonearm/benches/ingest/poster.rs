//! Players in a crowd: kept connections that post whole requests, made beforehand, as cheaply as can be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use service::client::ApiClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use wire::event::Event;

use crate::support::process::Server;
use crate::support::stack::WRITE_KEY;
use crate::support::traffic::{Plan, Traffic};

/// What one run of a load showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests_s: f64,
    /// Of the server, for each request.
    pub(crate) cpu_us: f64,
}

/// A whole request with these events.
pub(crate) fn request(events: &[Event]) -> Bytes {
    let body = match events {
        [event] => serde_json::to_vec(event),
        _ => serde_json::to_vec(events),
    };
    let body = body.expect("events are texts and numbers");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {WRITE_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Bytes::from([head.into_bytes(), body].concat())
}

/// So many requests of so many events of a crowd.
pub(crate) fn requests(count: usize, events: usize) -> Arc<Vec<Bytes>> {
    let mut traffic = Traffic::new(Plan::default()).map(|accepted| accepted.event);
    let request = |_| request(&traffic.by_ref().take(events).collect::<Vec<_>>());
    Arc::new((0..count).map(request).collect())
}

/// Posts each once, and waits until what was spooled before Kafka was found is in Kafka too.
pub(crate) async fn warm_up(url: &str, requests: &Arc<Vec<Bytes>>) -> anyhow::Result<SocketAddr> {
    let addr = address(url)?;
    let (sender, receiver) = mpsc::channel(requests.len());
    for request in requests.iter() {
        sender.try_send(request.clone())?;
    }
    drop(sender);
    post_all(addr, receiver, 16).await?;
    let (api, deadline) = (ApiClient::new(Duration::from_secs(5)), Instant::now() + Duration::from_secs(30));
    loop {
        let metrics = api.get(&format!("{url}/metrics")).await?.success()?;
        if String::from_utf8_lossy(&metrics.body).lines().any(|line| line == "tonearm_ingest_spool_records 0") {
            return Ok(addr);
        }
        ensure!(Instant::now() < deadline, "the spool of {url} is not emptied");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Over `connections`, each with its next request once the last is answered, for so long.
pub(crate) async fn closed_loop(
    server: &Server,
    addr: SocketAddr,
    requests: &Arc<Vec<Bytes>>,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Load> {
    let (next, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let (since, before) = (Instant::now(), server.cpu_us()?);
    let mut running = JoinSet::new();
    for _ in 0..connections {
        let (requests, next, answered) = (requests.clone(), next.clone(), answered.clone());
        running.spawn(async move {
            let mut connection = Connection::open(addr).await?;
            while since.elapsed() < time {
                let nth = next.fetch_add(1, Ordering::Relaxed) % requests.len();
                connection.post(&requests[nth]).await?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    ended(running).await?;
    #[allow(clippy::cast_precision_loss, reason = "a few million")]
    let answered = answered.load(Ordering::Relaxed) as f64;
    Ok(Load { requests_s: answered / since.elapsed().as_secs_f64(), cpu_us: (server.cpu_us()? - before) / answered })
}

/// Posts what comes over the channel until it is closed, over so many connections.
pub(crate) async fn post_all(
    addr: SocketAddr,
    requests: mpsc::Receiver<Bytes>,
    connections: usize,
) -> anyhow::Result<()> {
    let requests = Arc::new(Mutex::new(requests));
    let mut running = JoinSet::new();
    for _ in 0..connections {
        let requests = requests.clone();
        running.spawn(async move {
            let mut connection = Connection::open(addr).await?;
            loop {
                let next = requests.lock().await.recv().await;
                let Some(request) = next else { return Ok(()) };
                connection.post(&request).await?;
            }
        });
    }
    ended(running).await
}

async fn ended(mut running: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// Where a URL of this machine leads.
pub(crate) fn address(url: &str) -> anyhow::Result<SocketAddr> {
    url.trim_start_matches("http://").trim_end_matches('/').parse().with_context(|| url.to_owned())
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(1024) })
    }

    /// A benchmark of refusals measures nothing: anything but a 202 is an error.
    async fn post(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the server closed the connection");
            let Some(whole) = length(&self.answer)? else { continue };
            match self.answer.len() >= whole {
                true if self.answer.starts_with(b"HTTP/1.1 202 ") => return Ok(()),
                true => bail!("the answer is {}", String::from_utf8_lossy(&self.answer)),
                false => {}
            }
        }
    }
}

/// Of an answer, once its head is there.
fn length(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head])?;
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: ")).context("no content-length")?;
    Ok(Some(head + 4 + body.parse::<usize>()?))
}
