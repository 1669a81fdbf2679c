//! Single events, as players post them: the CPU of ingest against a bare hyper server that takes the same request,
//! hands a message of ingest's to Kafka and answers once it is acknowledged. It reads no key, looks into no body.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use wire::topic::Topic;

use crate::messages::{self, Message};
use crate::poster;
use crate::support::figure::{Figure, median};
use crate::support::process::{Core, Server, free_port, ready};
use crate::support::stack::Stack;

/// Different requests, posted in turn.
const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 64;
/// Many short ones in turn: what else this machine does meets both alike.
const ROUNDS: usize = 9;
const TIME: Duration = Duration::from_secs(2);
const PEER: &str = "bare hyper";

/// Set in the process that is to become the bare server.
const BECOME: &str = "TONEARM_BENCH_POST";

#[derive(Serialize, Deserialize)]
struct Order {
    port: u16,
    brokers: String,
    topic: String,
    messages: String,
}

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let stack = Stack::start(Core::First).await?;
    let (ours, url) = stack.role("ingest", &[]).await?;
    let requests = poster::requests(REQUESTS, 1);
    let addr = poster::warm_up(&url, &requests).await?;
    let (theirs, bare_addr) = start_bare(&stack).await?;
    poster::closed_loop(&theirs, bare_addr, &requests, CONNECTIONS, TIME).await?;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        here.push(poster::closed_loop(&ours, addr, &requests, CONNECTIONS, TIME).await?);
        there.push(poster::closed_loop(&theirs, bare_addr, &requests, CONNECTIONS, TIME).await?);
    }
    let cpu = |loads: &[poster::Load]| median(loads.iter().map(|load| load.cpu_us).collect());
    let rate = |loads: &[poster::Load]| median(loads.iter().map(|load| load.requests_s).collect());
    Ok(vec![
        Figure::new("single events, CPU", cpu(&here), "us/ev").against(PEER, cpu(&there)).ratio_at_most(1.25),
        Figure::new("single events, 64 in flight", rate(&here), "event/s").against(PEER, rate(&there)),
    ])
}

/// This program again, as the bare server on core 0, with a topic of its own.
async fn start_bare(stack: &Stack) -> anyhow::Result<(Server, SocketAddr)> {
    let (ours, brokers) = (messages::kafka(&stack.servers.kafka, &stack.database), stack.servers.kafka.clone());
    let theirs = messages::kafka(&brokers, &stack.servers.fresh_name("bare"));
    service::kafka::create_topics(&theirs).await?;
    let (topic, path) = (Topic::Listens.name(&ours.topic_prefix), stack.folder("messages"));
    let read = move || messages::read_back(&ours, &topic, REQUESTS);
    messages::save(&tokio::task::spawn_blocking(read).await??, &path)?;
    let (port, topic) = (free_port()?, Topic::Listens.name(&theirs.topic_prefix));
    let order = Order { port, brokers, topic, messages: path.display().to_string() };
    let this = std::env::current_exe()?.display().to_string();
    let server = Server::start(Core::First, &this, &[], &[(BECOME, &serde_json::to_string(&order)?)])?;
    ready(&format!("http://127.0.0.1:{port}/")).await?;
    Ok((server, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

/// Call first in `main`: in the child this serves and does not return.
pub(crate) fn become_server_if_asked() -> anyhow::Result<()> {
    let Ok(order) = std::env::var(BECOME) else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(serde_json::from_str(&order)?))
}

struct Bare {
    producer: FutureProducer,
    topic: String,
    messages: Vec<Message>,
    next: AtomicUsize,
}

async fn serve(order: Order) -> anyhow::Result<()> {
    let messages = messages::load(&order.messages)?;
    let producer = service::kafka::producer(&messages::kafka(&order.brokers, "bare"))?;
    let bare = Arc::new(Bare { producer, topic: order.topic, messages, next: AtomicUsize::new(0) });
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, order.port))).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let bare = bare.clone();
        let service = service_fn(move |request| answer(bare.clone(), request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn answer(bare: Arc<Bare>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let posted = request.method() == http::Method::POST;
    // Unread bodies would close the connection.
    let _ = request.into_body().collect().await;
    let status = match posted && !bare.produce().await {
        true => 503,
        false if posted => 202,
        false => 200,
    };
    let response = Response::builder().status(status).header("content-type", "application/json");
    let body = Full::new(Bytes::from_static(b"{\"accepted\":1,\"errors\":[]}"));
    Ok(response.body(body).expect("a status and a header make a response"))
}

impl Bare {
    /// Whether Kafka has acknowledged it.
    async fn produce(&self) -> bool {
        let nth = self.next.fetch_add(1, Ordering::Relaxed) % self.messages.len();
        let Message { key, payload } = &self.messages[nth];
        let record = FutureRecord::to(&self.topic).key(key).payload(payload);
        match self.producer.send_result(record) {
            Ok(acknowledged) => matches!(acknowledged.await, Ok(Ok(_))),
            Err(_) => false,
        }
    }
}
