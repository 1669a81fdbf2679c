//! `kill -9` of ingest and of an edge in mid-stream: every delivery is in ClickHouse, and none twice; also those that
//! were under way, with what was sent until then.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devstack::s3client::S3Client;
use service::client::ApiClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::process::{Core, free_port};
use crate::support::stack::Stack;

/// Deliveries that a listener got whole, by the decision in their URL.
type Heard = Arc<Mutex<BTreeSet<Uuid>>>;

const LONG: usize = 32 << 20;
const SOME: usize = 300_000;

/// Listens until told to stop, each time under a decision of its own, to whatever edge has the port.
async fn listen(edge: String, heard: Heard, stop: CancellationToken) {
    let api = ApiClient::new(Duration::from_secs(5));
    while !stop.is_cancelled() {
        let decision = Uuid::now_v7();
        let answer = api.get(&format!("{edge}/song?decision_id={decision}")).await;
        match answer {
            Ok(answer) if answer.status == 200 && answer.body.len() == 100_000 => {
                heard.lock().unwrap().insert(decision);
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Listens to some of an object, and takes no more until the connection ends.
async fn begin(edge: &str) -> (Uuid, TcpStream) {
    let decision = Uuid::now_v7();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(edge.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap();
    let request = format!("GET /long?decision_id={decision} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut vec![0; SOME]).await.unwrap();
    (decision, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_neither_lost_nor_doubled() {
    let stack = Stack::start(Core::Any).await.unwrap();
    let bytes = vec![7; 100_000].into();
    let bucket = S3Client::new(&stack.s3).unwrap();
    bucket.put("song", "audio/mp4", bytes).await.unwrap();
    bucket.put("long", "audio/mp4", vec![8; LONG].into()).await.unwrap();
    let (edge_port, ingest_port) = (free_port().unwrap(), free_port().unwrap());
    let (ingest_url, cache) = (format!("http://127.0.0.1:{ingest_port}"), stack.folder("edge"));
    let environment =
        [("TONEARM_EDGE_INGEST", ingest_url.as_str()), ("TONEARM_EDGE_CACHE_DIR", cache.to_str().unwrap())];
    let edge = || stack.role_on(edge_port, "edge", &environment, Stdio::inherit());
    let ingest = || stack.role_on(ingest_port, "ingest", &[], Stdio::inherit());
    let (heard, stop) = (Heard::default(), CancellationToken::new());
    let edge_url = format!("http://127.0.0.1:{edge_port}");
    let listening = tokio::spawn(listen(edge_url.clone(), heard.clone(), stop.clone()));
    let (_sink, _) = stack.role("sink", &[]).await.unwrap();

    // With ingest: killed while batches are on their way. Without: killed while they wait.
    let (first_edge, _) = edge().await.unwrap();
    let (first_ingest, _) = ingest().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    first_ingest.kill();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (second_ingest, _) = ingest().await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let slow = begin(&edge_url).await;
    first_edge.kill();
    let (second_edge, _) = edge().await.unwrap();
    second_ingest.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let slower = begin(&edge_url).await;
    second_edge.kill();
    let (_third_edge, _) = edge().await.unwrap();
    let (_third_ingest, _) = ingest().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    listening.await.unwrap();

    let heard = heard.lock().unwrap().clone();
    assert!(heard.len() > 100, "{} deliveries", heard.len());
    let clickhouse =
        clickhouse::Client::default().with_url(&stack.servers.clickhouse_http).with_database(&stack.database);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let rows = "SELECT toString(assumeNotNull(decision_id)), count(), uniqExact(delivery_id) FROM deliveries \
                    WHERE decision_id IS NOT NULL GROUP BY decision_id";
        let stored: Vec<(String, u64, u64)> = clickhouse.query(rows).fetch_all().await.unwrap();
        assert!(stored.iter().all(|(_, rows, ids)| (*rows, *ids) == (1, 1)), "doubled");
        let stored: BTreeSet<Uuid> = stored.iter().map(|(id, ..)| id.parse().unwrap()).collect();
        let begun = BTreeSet::from([slow.0, slower.0]);
        let missing = heard.union(&begun).filter(|id| !stored.contains(id)).count();
        if missing == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{missing} of {} are lost", heard.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (decision, _) in [slow, slower] {
        let sql = format!("SELECT bytes_sent, complete FROM deliveries WHERE decision_id = '{decision}'");
        let (sent, complete): (u64, bool) = clickhouse.query(&sql).fetch_one().await.unwrap();
        assert!((SOME as u64..LONG as u64).contains(&sent) && !complete, "{sent} bytes, complete {complete}");
    }
}
