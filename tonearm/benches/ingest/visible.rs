//! From the moment a player posts an event until a query finds its row, for every event of a steady stream of single
//! posts, 5,000 a second.
//!
//! An event is stamped with the moment it was due, so a server that falls behind does not hide it. The row says where
//! in Kafka it was; of each partition it is looked up again and again how far the table is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use clickhouse::Client;
use tokio::sync::mpsc;
use uuid::Uuid;
use wire::Timestamp;

use crate::poster;
use crate::support::figure::{Figure, quantile};
use crate::support::process::Core;
use crate::support::stack::Stack;
use crate::support::traffic::{Plan, Traffic};

const RATE: usize = 5000;
const TIME: Duration = Duration::from_secs(20);
/// Not counted: connections are opened, and everything runs for the first time.
const WARM_UP: Duration = Duration::from_secs(4);
const CONNECTIONS: usize = 128;
/// Each look reads the whole table on the cores that are measured, so not too often; what it adds to a wait counts.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ARRIVED_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let stack = Stack::start(Core::Any).await?;
    let (_ingest, url) = stack.role("ingest", &[]).await?;
    let (_sink, _) = stack.role("sink", &[]).await?;
    let client = Client::default().with_url(&stack.servers.clickhouse_http).with_database(&stack.database);
    let looking = tokio::spawn(look(client.clone()));
    let posted = post(poster::address(&url)?).await?;
    let sights = looking.await??;
    let mut waits = waits(&client, &sights, posted).await?;
    Ok(vec![
        Figure::new("POST to visible, 5,000 events/s, p50", quantile(&mut waits, 50), "ms"),
        Figure::new("POST to visible, 5,000 events/s, p99", quantile(&mut waits, 99), "ms").at_most(2000.0),
    ])
}

/// When the first event that counts was due.
async fn post(addr: SocketAddr) -> anyhow::Result<Timestamp> {
    let (requests, receiver) = mpsc::channel(RATE * 10);
    let counted = Timestamp::now().saturating_add_millis(i64::try_from(WARM_UP.as_millis())?);
    let pacing = tokio::task::spawn_blocking(move || pace(&requests));
    poster::post_all(addr, receiver, CONNECTIONS).await?;
    pacing.await??;
    Ok(counted)
}

/// Every 2 ms the events that are due, each stamped with this moment.
fn pace(requests: &mpsc::Sender<Bytes>) -> anyhow::Result<()> {
    const TICK: Duration = Duration::from_millis(2);
    let mut traffic = Traffic::new(Plan { listeners: 50_000, ..Plan::default() });
    let since = Instant::now();
    for tick in 1.. {
        let due = TICK * tick;
        if due > TIME + WARM_UP {
            break;
        }
        std::thread::sleep(due.saturating_sub(since.elapsed()));
        for accepted in traffic.by_ref().take(RATE * 2 / 1000) {
            let late = i64::try_from(since.elapsed().saturating_sub(due).as_millis())?;
            let mut event = accepted.event;
            event.client_ts = Timestamp::now().saturating_add_millis(-late);
            (event.sent_at, event.event_id) = (Some(event.client_ts), Uuid::now_v7());
            // Where ingest falls ten seconds behind this waits, and what is due meanwhile is stamped as such all the
            // same. A closed channel ends it: who posts knows why.
            if requests.blocking_send(poster::request(&[event])).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// How far the table was, at which moment, by partition.
struct Sight {
    at: Timestamp,
    offsets: HashMap<u32, u64>,
    rows: u64,
}

/// Looks until all are there.
async fn look(client: Client) -> anyhow::Result<Vec<Sight>> {
    let expected = (RATE * usize::try_from((TIME + WARM_UP).as_secs())?) as u64;
    let deadline = Instant::now() + TIME + WARM_UP + ARRIVED_WITHIN;
    let mut sights = Vec::new();
    loop {
        let sql = "SELECT _partition, max(_offset), count() FROM events GROUP BY _partition";
        let found: Vec<(u32, u64, u64)> = client.query(sql).fetch_all().await?;
        let rows = found.iter().map(|(_, _, rows)| rows).sum();
        let offsets = found.into_iter().map(|(partition, offset, _)| (partition, offset)).collect();
        sights.push(Sight { at: Timestamp::now(), offsets, rows });
        if rows >= expected {
            return Ok(sights);
        }
        ensure!(Instant::now() < deadline, "{rows} of {expected} rows are there");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Of each event that counts, in milliseconds, by the first sight after which its partition was as far.
#[allow(clippy::cast_precision_loss, reason = "a few seconds")]
async fn waits(client: &Client, sights: &[Sight], counted: Timestamp) -> anyhow::Result<Vec<f64>> {
    let sql = "SELECT _partition, _offset, toUnixTimestamp64Milli(client_ts) FROM events \
               WHERE toUnixTimestamp64Milli(client_ts) >= ?";
    let rows: Vec<(u32, u64, i64)> = client.query(sql).bind(counted.as_millis()).fetch_all().await?;
    ensure!(!rows.is_empty(), "no event counts");
    ensure!(sights.windows(2).all(|pair| pair[0].rows <= pair[1].rows), "rows went away");
    let seen = |partition: u32, offset: u64| {
        let before = |sight: &Sight| sight.offsets.get(&partition).is_none_or(|far| *far < offset);
        sights[sights.partition_point(before)].at.as_millis()
    };
    Ok(rows.into_iter().map(|(partition, offset, due)| (seen(partition, offset) - due) as f64).collect())
}
