//! Kafka is away, and ingest is killed, its disk full or its files damaged: what was accepted arrives once.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use devstack::Server;
use http::Method;
use rand::RngExt;
use serde_json::{Value, json};
use service::client::{Answer, ApiClient};
use service::config::Loader;
use service::{Running, Shutdown};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::landing::delivery;
use crate::support::{
    ADMIN_TOKEN, Stack, WRITE_KEY, component_at, event, events, eventually, health_at, health_is, healthy, post,
    post_at,
};

const CHILD: &str = "INGEST_TEST_CHILD";
/// The longest file that the process may write, in bytes: what a full disk is to it.
const FILE_LIMIT: &str = "INGEST_TEST_FILE_LIMIT";

/// What the tests below run as a process of its own: an ingest, configured by the environment.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests run it, as a process to be killed"]
async fn ingest_process() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let limit = std::env::var(FILE_LIMIT).ok().map(|limit| limit.parse().unwrap());
    if let Some(limit) = limit {
        // Handled, the signal ends no process, and the write fails as on a full disk.
        let exceeded = tokio::signal::unix::SignalKind::from_raw(25);
        drop(tokio::signal::unix::signal(exceeded).unwrap());
        let limit = rustix::process::Rlimit { current: Some(limit), maximum: Some(limit) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    }
    let mut loader = Loader::new(None, std::env::vars()).unwrap();
    let config = ingest::Config::read(&mut loader);
    loader.finish().unwrap();
    let shutdown = service::shutdown::on_signal().unwrap();
    ingest::start(config, shutdown).await.unwrap().wait().await.unwrap();
}

/// Killed with SIGKILL when it is dropped.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    async fn start(stack: &Stack, more: &[(&str, &str)]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "spool::ingest_process", "--ignored", "--nocapture"]);
        command.envs(stack.environment.iter().cloned()).envs(more.iter().copied()).env(CHILD, "1");
        command.env("TONEARM_INGEST_LISTEN", &listen).env("TONEARM_INGEST_ID", "killed");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let process = Self { child, url: format!("http://{listen}") };
        health_at(&process.url, 200).await;
        process
    }

    async fn post(&self, body: &Value) -> Answer {
        post_at(&self.url, "application/json", body.to_string()).await.unwrap()
    }

    /// As `kill -9` does.
    fn kill(self) {
        drop(self);
    }

    /// As an orderly stop does.
    async fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap();
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spool_dir(stack: &Stack) -> PathBuf {
    stack.folder.path().join("spool")
}

/// The segments that are there, oldest first.
fn segments(stack: &Stack) -> Vec<PathBuf> {
    let entries = fs::read_dir(spool_dir(stack)).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "spool")).collect();
    segments.sort();
    segments
}

/// One that lost its broker while it joined would take a minute to join anew.
async fn joined_sink(stack: &Stack) -> Running {
    let sink = stack.sink(&[]).await;
    healthy(&sink).await;
    sink
}

async fn post_delivery(url: &str) -> Answer {
    let api = ApiClient::new(Duration::from_secs(30)).with_bearer(ADMIN_TOKEN);
    api.send_json(Method::POST, &format!("{url}/v1/deliveries"), &json!({"deliveries": [delivery()]})).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_while_kafka_is_away_and_killed_before_it_is_back() {
    let stack = Stack::alone().await;
    let sink = joined_sink(&stack).await;
    let first = Process::start(&stack, &[]).await;
    assert_eq!(first.post(&json!(events(20))).await.status, 202);
    stack.servers.stop(Server::Kafka).await;
    component_at(&first.url, "kafka", "degraded").await;
    for _ in 0..10 {
        assert_eq!(first.post(&json!(events(20))).await.status, 202);
    }
    assert_eq!(post_delivery(&first.url).await.status, 202);
    first.kill();
    // What a write leaves that was cut off: the beginning of a record.
    let last = segments(&stack).pop().unwrap();
    let torn = fs::read(&last).unwrap()[..30].to_vec();
    fs::OpenOptions::new().append(true).open(&last).unwrap().write_all(&torn).unwrap();
    let second = Process::start(&stack, &[]).await;
    assert_eq!(second.post(&json!(events(20))).await.status, 202);
    second.kill();
    let third = Process::start(&stack, &[]).await;
    stack.servers.start(Server::Kafka).await;
    component_at(&third.url, "spool", "ok").await;
    assert_eq!(third.post(&json!(events(20))).await.status, 202);
    stack.adds_up(260).await;
    stack.until("SELECT uniqExact(delivery_id) FROM deliveries", 1).await;
    third.stop().await;
    stack.has_no_hole().await;
    assert_eq!(segments(&stack), Vec::<PathBuf>::new());
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_set_aside_and_said_and_its_neighbours_arrive() {
    let stack = Stack::alone().await;
    let sink = joined_sink(&stack).await;
    let first = Process::start(&stack, &[]).await;
    stack.servers.stop(Server::Kafka).await;
    component_at(&first.url, "kafka", "degraded").await;
    assert_eq!(first.post(&json!(events(20))).await.status, 202);
    first.kill();
    let segment = segments(&stack).pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&segment, bytes).unwrap();
    let second = Process::start(&stack, &[]).await;
    stack.servers.start(Server::Kafka).await;
    stack.adds_up(19).await;
    component_at(&second.url, "spool", "degraded").await;
    let damaged: Vec<_> = fs::read_dir(spool_dir(&stack).join("damaged")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(damaged.len(), 1);
    assert!(fs::metadata(&damaged[0]).unwrap().len() > 100, "the bytes are kept for a person to look at");
    fs::remove_file(&damaged[0]).unwrap();
    component_at(&second.url, "spool", "ok").await;
    second.stop().await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_refuses_and_takes_again_once_it_has_drained() {
    let stack = Stack::alone().await;
    let (ingest, sink) = (stack.ingest(&[("TONEARM_INGEST_SPOOL_MAX", "1MiB")]).await, joined_sink(&stack).await);
    stack.servers.stop(Server::Kafka).await;
    component_at(&ingest.url(), "kafka", "degraded").await;
    let mut accepted = 0;
    let refused = loop {
        let batch = json!(events(100));
        let answer = post(&ingest, &batch).await;
        if answer.status != 202 {
            assert_eq!((answer.status.as_u16(), answer.headers.contains_key("retry-after")), (503, true));
            break batch;
        }
        accepted += 100;
        assert!(accepted < 10_000, "1 MiB holds no 10,000 events");
    };
    assert!(accepted > 1000, "1 MiB holds more than {accepted} events");
    let bytes: u64 = segments(&stack).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes");
    // One that is small enough finds room until there is none at all, and then health says so.
    while post(&ingest, &event()).await.status == 202 {
        accepted += 1;
    }
    health_is(&ingest, 503).await;
    stack.servers.start(Server::Kafka).await;
    health_is(&ingest, 200).await;
    component_at(&ingest.url(), "spool", "ok").await;
    stack.adds_up(accepted).await;
    assert_eq!(post(&ingest, &refused).await.status, 202);
    stack.adds_up(accepted + 100).await;
    ingest.stop().await.unwrap();
    stack.has_no_hole().await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_what_was_accepted_before_arrives() {
    let stack = Stack::alone().await;
    let sink = joined_sink(&stack).await;
    let ingest = Process::start(&stack, &[(FILE_LIMIT, "300000")]).await;
    stack.servers.stop(Server::Kafka).await;
    component_at(&ingest.url, "kafka", "degraded").await;
    let mut accepted = Vec::new();
    let refused = loop {
        let batch = json!(events(100));
        let answer = ingest.post(&batch).await;
        if answer.status != 202 {
            assert_eq!((answer.status.as_u16(), answer.headers.contains_key("retry-after")), (503, true));
            break batch;
        }
        accepted.push(batch);
        assert!(accepted.len() < 30, "the limit holds no 3000 events");
    };
    assert!(accepted.len() > 3, "the limit holds more than {} batches", accepted.len());
    health_at(&ingest.url, 503).await;
    assert_eq!(ingest.post(&refused).await.status, 503);
    stack.servers.start(Server::Kafka).await;
    // The disk is still full; Kafka takes them.
    health_at(&ingest.url, 200).await;
    component_at(&ingest.url, "kafka", "ok").await;
    assert_eq!(ingest.post(&refused).await.status, 202);
    let all = accepted.len() as u64 * 100 + 100;
    stack.adds_up(all).await;
    ingest.stop().await;
    stack.until("SELECT toUInt64(max(ended)) FROM tallies", 1).await;
    stack.has_no_hole().await;
    // The batch that met the full disk had its numbers.
    stack
        .until("SELECT uniqExact(first, last) FROM tallies ARRAY JOIN voids.first AS first, voids.last AS last", 1)
        .await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_cannot_be_had_leaves_kafka() {
    let stack = Stack::alone().await;
    fs::write(stack.folder.path().join("file"), "no folder").unwrap();
    let nowhere = stack.folder.path().join("file/spool").display().to_string();
    let (ingest, sink) = (stack.ingest(&[("TONEARM_INGEST_SPOOL_DIR", &nowhere)]).await, joined_sink(&stack).await);
    component_at(&ingest.url(), "spool", "degraded").await;
    assert_eq!(post(&ingest, &json!(events(10))).await.status, 202);
    stack.adds_up(10).await;
    stack.servers.stop(Server::Kafka).await;
    health_is(&ingest, 503).await;
    let answer = post(&ingest, &json!(events(10))).await;
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key("retry-after")), (503, true));
    // Someone puts it right.
    fs::remove_file(stack.folder.path().join("file")).unwrap();
    health_is(&ingest, 200).await;
    assert_eq!(post(&ingest, &json!(events(10))).await.status, 202);
    stack.servers.start(Server::Kafka).await;
    stack.adds_up(20).await;
    ingest.stop().await.unwrap();
    stack.has_no_hole().await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_cannot_share_a_spool() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
    let config = ingest::Config::read(&mut loader);
    let error = ingest::start(config.clone(), Shutdown::new()).await.unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    assert!(error.contains(&spool_dir(&stack).display().to_string()), "{error}");
    ingest.stop().await.unwrap();
    ingest::start(config, Shutdown::new()).await.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stop_leaves_the_next_start_sends() {
    let stack = Stack::alone().await;
    let sink = joined_sink(&stack).await;
    let ingest = stack.ingest(&[]).await;
    stack.servers.stop(Server::Kafka).await;
    component_at(&ingest.url(), "kafka", "degraded").await;
    assert_eq!(post(&ingest, &json!(events(30))).await.status, 202);
    ingest.stop().await.unwrap();
    let again = stack.ingest(&[]).await;
    stack.servers.start(Server::Kafka).await;
    stack.adds_up(30).await;
    again.stop().await.unwrap();
    stack.has_no_hole().await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_changes_nothing() {
    let stack = Stack::alone().await;
    let (ingest, sink) = (stack.ingest(&[]).await, joined_sink(&stack).await);
    // Its acknowledgement would take until Kafka's time is over.
    stack.servers.kill(Server::Kafka).await;
    let batch = json!(events(10)).to_string();
    let mut stream = TcpStream::connect(ingest.addr).await.unwrap();
    let head = format!(
        "POST /v1/events?key={WRITE_KEY} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        batch.len()
    );
    stream.write_all(format!("{head}{batch}").as_bytes()).await.unwrap();
    // The handler has read it once the body's bytes are counted.
    let api = ApiClient::new(Duration::from_secs(5));
    eventually(Duration::from_secs(10), || async {
        let metrics = api.get(&format!("{}/metrics", ingest.url())).await.map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        if text.contains("tonearm_ingest_body_bytes_total{kind=\"event\"}") { Ok(()) } else { Err(text) }
    })
    .await;
    drop(stream);
    component_at(&ingest.url(), "spool", "degraded").await;
    stack.servers.start(Server::Kafka).await;
    stack.adds_up(10).await;
    ingest.stop().await.unwrap();
    stack.has_no_hole().await;
    sink.stop().await.unwrap();
}

/// As a player does: each batch again, until it is accepted by whichever process there is.
fn player(url: watch::Receiver<String>, stop: Shutdown) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut accepted = 0;
        while !stop.is_cancelled() {
            let batch = json!(events(20)).to_string();
            loop {
                let url = url.borrow().clone();
                if post_at(&url, "application/json", batch.clone()).await.is_ok_and(|answer| answer.status == 202) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            accepted += 20;
        }
        accepted
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_and_kafka_killed_in_mid_stream() {
    let stack = Stack::alone().await;
    let sink = joined_sink(&stack).await;
    let mut ingest = Process::start(&stack, &[]).await;
    let (at, url) = watch::channel(ingest.url.clone());
    let stop = Shutdown::new();
    let players: Vec<_> = (0..4).map(|_| player(url.clone(), stop.clone())).collect();
    for round in 0..6 {
        let moment = rand::rng().random_range(0..1500);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        if round % 3 == 1 {
            stack.servers.kill(Server::Kafka).await;
        }
        ingest.kill();
        ingest = Process::start(&stack, &[]).await;
        at.send_replace(ingest.url.clone());
        if round % 3 == 2 {
            stack.servers.start(Server::Kafka).await;
        }
    }
    stop.cancel();
    let mut accepted = 0;
    for player in players {
        accepted += player.await.unwrap();
    }
    component_at(&ingest.url, "spool", "ok").await;
    ingest.stop().await;
    assert!(accepted > 0);
    stack.until("SELECT uniqExact(event_id) FROM events", accepted).await;
    stack.has_no_hole().await;
    sink.stop().await.unwrap();
}
