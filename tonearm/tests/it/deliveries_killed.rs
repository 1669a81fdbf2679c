//! `kill -9` of ingest and of an edge in mid-stream: every delivery is in ClickHouse, and none twice.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devstack::s3client::S3Client;
use service::client::ApiClient;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::process::{Core, free_port};
use crate::support::stack::Stack;

/// A record that is younger than this when its edge is killed may not be on disk yet on a busy machine;
/// an idle one has it there within some 20 ms.
const YOUNG: Duration = Duration::from_secs(1);

/// Deliveries that a listener got whole, by the decision in their URL, and when each was over.
type Heard = Arc<Mutex<BTreeMap<Uuid, Instant>>>;

/// Listens until told to stop, each time under a decision of its own, to whatever edge has the port.
async fn listen(edge: String, heard: Heard, stop: CancellationToken) {
    let api = ApiClient::new(Duration::from_secs(5));
    while !stop.is_cancelled() {
        let decision = Uuid::now_v7();
        let answer = api.get(&format!("{edge}/song?decision_id={decision}")).await;
        match answer {
            Ok(answer) if answer.status == 200 && answer.body.len() == 100_000 => {
                heard.lock().unwrap().insert(decision, Instant::now());
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_neither_lost_nor_doubled() {
    let stack = Stack::start(Core::Any).await.unwrap();
    let bytes = vec![7; 100_000].into();
    S3Client::new(&stack.s3).unwrap().put("song", "audio/mp4", bytes).await.unwrap();
    let (edge_port, ingest_port) = (free_port().unwrap(), free_port().unwrap());
    let (ingest_url, cache) = (format!("http://127.0.0.1:{ingest_port}"), stack.folder("edge"));
    let environment =
        [("TONEARM_EDGE_INGEST", ingest_url.as_str()), ("TONEARM_EDGE_CACHE_DIR", cache.to_str().unwrap())];
    let edge = || stack.role_on(edge_port, "edge", &environment, Stdio::inherit());
    let ingest = || stack.role_on(ingest_port, "ingest", &[], Stdio::inherit());
    let (heard, stop) = (Heard::default(), CancellationToken::new());
    let listening = tokio::spawn(listen(format!("http://127.0.0.1:{edge_port}"), heard.clone(), stop.clone()));
    let (_sink, _) = stack.role("sink", &[]).await.unwrap();
    let mut exempt = Vec::new();

    // With ingest: killed while batches are on their way. Without: killed while they wait.
    let (first_edge, _) = edge().await.unwrap();
    let (first_ingest, _) = ingest().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    first_ingest.kill();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (second_ingest, _) = ingest().await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    first_edge.kill();
    exempt.push(Instant::now());
    let (second_edge, _) = edge().await.unwrap();
    second_ingest.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    second_edge.kill();
    exempt.push(Instant::now());
    let (_third_edge, _) = edge().await.unwrap();
    let (_third_ingest, _) = ingest().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    listening.await.unwrap();

    let heard = heard.lock().unwrap().clone();
    let young = |at: &Instant| exempt.iter().any(|kill| at <= kill && *kill - *at < YOUNG);
    let sure: Vec<&Uuid> = heard.iter().filter(|(_, at)| !young(at)).map(|(id, _)| id).collect();
    assert!(sure.len() > 100, "{} of {} deliveries", sure.len(), heard.len());
    let clickhouse =
        clickhouse::Client::default().with_url(&stack.servers.clickhouse_http).with_database(&stack.database);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let rows = "SELECT toString(assumeNotNull(decision_id)), count(), uniqExact(delivery_id) FROM deliveries \
                    WHERE decision_id IS NOT NULL GROUP BY decision_id";
        let stored: Vec<(String, u64, u64)> = clickhouse.query(rows).fetch_all().await.unwrap();
        assert!(stored.iter().all(|(_, rows, ids)| (*rows, *ids) == (1, 1)), "doubled");
        let stored: BTreeMap<Uuid, ()> = stored.iter().map(|(id, ..)| (id.parse().unwrap(), ())).collect();
        let missing = sure.iter().filter(|id| !stored.contains_key(id)).count();
        if missing == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{missing} of {} are lost", sure.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
