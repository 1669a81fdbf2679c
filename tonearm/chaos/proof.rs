//! After a round: the audit, and every accepted id stored once.

use std::collections::HashMap;
use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use clickhouse::Row;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::load::Load;
use crate::memory::Memory;
use crate::site::Site;

/// Until sinks have stored all, and ingest has said what it settled: on a busy machine, after both sinks and Kafka.
const DRAIN: Duration = Duration::from_secs(180);

/// What was proved.
pub(crate) struct Proof {
    events: usize,
    deliveries: usize,
    repeats: u64,
}

#[derive(Debug, Row, Deserialize)]
struct Stored {
    id: String,
    rows: u64,
}

/// # Panics
/// With what is lost or doubled.
pub(crate) async fn of(site: &Site, load: &Load) -> Proof {
    let audit = audit(site).await;
    let events = compare(site, "events", "event_id", &load.events).await;
    let deliveries = compare(site, "deliveries", "delivery_id", &load.deliveries).await;
    let of_topics = |partition: &Value| partition["counts"]["repeats"].as_u64().unwrap_or(0);
    let topics = audit["topics"].as_array().unwrap().iter();
    let repeats = topics.flat_map(|topic| topic["partitions"].as_array().unwrap()).map(of_topics).sum();
    Proof { events, deliveries, repeats }
}

/// `tonearm audit` until it holds of everything that Kafka has; what is off is off at once.
async fn audit(site: &Site) -> Value {
    let deadline = Instant::now() + DRAIN;
    loop {
        let config = site.stack.config();
        let ask = move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tonearm"));
            command.args(["audit", "--json", "--config"]).arg(config).output().unwrap()
        };
        let output = tokio::task::spawn_blocking(ask).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let audit: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        match (output.status.code(), audit) {
            (Some(0), Some(audit)) if is_whole(&audit) => return audit,
            (Some(1), audit) => panic!("the audit does not add up: {}", findings(audit.as_ref())),
            (code, audit) if Instant::now() > deadline => {
                panic!("the audit did not come to an end: {code:?}: {said} {}", findings(audit.as_ref()))
            }
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

/// Its watermark is all that Kafka has, for nothing is being sent.
fn is_whole(audit: &Value) -> bool {
    let partitions =
        audit["topics"].as_array().unwrap().iter().flat_map(|topic| topic["partitions"].as_array().unwrap());
    partitions.into_iter().all(|partition| partition["high"] == 0 || partition["committed"] == partition["high"])
}

fn findings(audit: Option<&Value>) -> String {
    audit.map_or_else(String::new, |audit| serde_json::to_string_pretty(&audit["findings"]).unwrap())
}

async fn compare(site: &Site, table: &str, id: &str, memory: &Memory) -> usize {
    let servers = site.stack.servers;
    let client = clickhouse::Client::default().with_url(&servers.clickhouse_http).with_database(&site.stack.database);
    let sql = format!("SELECT toString({id}) AS id, count() AS rows FROM {table} GROUP BY id");
    let rows: Vec<Stored> = client.query(&sql).fetch_all().await.unwrap();
    let stored: HashMap<Uuid, u64> = rows.into_iter().map(|row| (row.id.parse().unwrap(), row.rows)).collect();
    let wrong = memory.compare(&stored);
    assert!(wrong.is_empty(), "{table}: {}", wrong.join("; "));
    stored.len()
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, deliveries, repeats } = self;
        write!(
            f,
            "{events} events and {deliveries} deliveries stored once, {repeats} repeats kept out; the audit holds"
        )
    }
}
