//! Nothing is lost and nothing doubled, whoever is killed in mid-stream.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use devstack::Server;
use rand::RngExt;
use rustix::process::Pid;
use serde_json::json;
use service::config::Loader;
use service::{Running, Shutdown};
use tokio::task::JoinHandle;

use crate::support::{Stack, events, post};

const CHILD: &str = "INGEST_TEST_CHILD";
const BATCH: usize = 50;
/// Between two batches: enough comes that some is always on its way, and no more than is stored soon after.
const PACE: Duration = Duration::from_millis(100);

/// Posts batches until it is told to stop; tells how many events were accepted.
pub(crate) fn stream(ingest: Arc<Running>, stop: Shutdown) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let (mut accepted, mut pace) = (0, tokio::time::interval(PACE));
        while !stop.is_cancelled() {
            pace.tick().await;
            let answer = post(&ingest, &json!(events(BATCH))).await;
            assert_eq!(answer.status, 202, "{:?}", answer.body);
            accepted += BATCH as u64;
        }
        accepted
    })
}

/// What the tests below run as a process of its own: a sink, configured by the environment.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests run it, as a process to be killed"]
async fn sink_process() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut loader = Loader::new(None, std::env::vars()).unwrap();
    let config = ingest::sink::Config::read(&mut loader);
    loader.finish().unwrap();
    ingest::sink::start(config, Shutdown::new()).await.unwrap().wait().await.unwrap();
}

/// Killed with SIGKILL when it is dropped.
pub(crate) struct SinkProcess(Child);

impl SinkProcess {
    pub(crate) fn start(stack: &Stack, more: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "killed::sink_process", "--ignored", "--nocapture"]);
        command.envs(stack.environment.iter().cloned()).envs(more.iter().copied()).env(CHILD, "1");
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl SinkProcess {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for SinkProcess {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub(crate) async fn random_moment(within_ms: u64) {
    let moment = rand::rng().random_range(0..within_ms);
    tokio::time::sleep(Duration::from_millis(moment)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_killed_again_and_again() {
    let stack = Stack::new().await;
    let ingest = Arc::new(stack.ingest(&[]).await);
    let stop = Shutdown::new();
    let streaming = stream(ingest.clone(), stop.clone());
    let small = [("TONEARM_SINK_BATCH_ROWS", "40"), ("TONEARM_SINK_BATCH_WAIT", "20ms")];
    for _ in 0..12 {
        let _sink = SinkProcess::start(&stack, &small);
        random_moment(1500).await;
    }
    stop.cancel();
    let accepted = streaming.await.unwrap();
    let _sink = SinkProcess::start(&stack, &small);
    stack.adds_up(accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_that_come_and_go() {
    let stack = Stack::new().await;
    let ingest = Arc::new(stack.ingest(&[]).await);
    let stop = Shutdown::new();
    let streaming = stream(ingest.clone(), stop.clone());
    let stays = stack.sink(&[("TONEARM_SINK_ID", "one"), ("TONEARM_SINK_BATCH_ROWS", "40")]).await;
    for _ in 0..2 {
        let comes = stack.sink(&[("TONEARM_SINK_ID", "two"), ("TONEARM_SINK_BATCH_ROWS", "40")]).await;
        crate::support::healthy(&comes).await;
        random_moment(500).await;
        comes.stop().await.unwrap();
        let _killed = SinkProcess::start(&stack, &[("TONEARM_SINK_ID", "two")]);
        random_moment(1500).await;
    }
    stop.cancel();
    let accepted = streaming.await.unwrap();
    stack.adds_up(accepted).await;
    stays.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_killed_in_mid_stream() {
    let stack = Stack::alone().await;
    let ingest = Arc::new(stack.ingest(&[]).await);
    let sink = stack.sink(&[("TONEARM_SINK_BATCH_ROWS", "40"), ("TONEARM_SINK_BATCH_WAIT", "20ms")]).await;
    let stop = Shutdown::new();
    let streaming = stream(ingest.clone(), stop.clone());
    let kills = std::env::var("KILLS").map_or(3, |kills| kills.parse().expect("KILLS is a number"));
    for _ in 0..kills {
        random_moment(1500).await;
        stack.servers.kill(Server::ClickHouse).await;
        random_moment(500).await;
        stack.servers.start(Server::ClickHouse).await;
    }
    stop.cancel();
    let accepted = streaming.await.unwrap();
    stack.adds_up(accepted).await;
    crate::support::healthy(&sink).await;
    sink.stop().await.unwrap();
}

/// As a player does: the same batch again, until it is accepted.
fn insistent_stream(ingest: Arc<Running>, stop: Shutdown) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let (mut accepted, mut pace) = (0, tokio::time::interval(PACE));
        while !stop.is_cancelled() {
            pace.tick().await;
            let batch = json!(events(BATCH));
            while post(&ingest, &batch).await.status != 202 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            accepted += BATCH as u64;
        }
        accepted
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_killed_in_mid_stream() {
    let stack = Stack::alone().await;
    let ingest = Arc::new(stack.ingest(&[]).await);
    let sink = stack.sink(&[("TONEARM_SINK_BATCH_ROWS", "40"), ("TONEARM_SINK_BATCH_WAIT", "20ms")]).await;
    crate::support::healthy(&sink).await;
    let stop = Shutdown::new();
    let streaming = insistent_stream(ingest.clone(), stop.clone());
    for _ in 0..2 {
        random_moment(1500).await;
        stack.servers.kill(Server::Kafka).await;
        random_moment(500).await;
        stack.servers.start(Server::Kafka).await;
        crate::support::healthy(&ingest).await;
    }
    stop.cancel();
    let accepted = streaming.await.unwrap();
    // What was refused and sent again may be twice in Kafka; it is once in the raw table all the same.
    stack.adds_up(accepted).await;
    sink.stop().await.unwrap();
}
