//! The sink against bare inserts: Kafka is filled first, then the sink drains it. The bare side sends rows that lie in
//! memory into the same tables and views of another database, with the sink's settings, as many inserts at a time and
//! as many rows in each as the sink had.
//!
//! Both rates are read the same way: rows that became visible between the first sight of some and nine tenths of all.
//! The sink keeps the end of what comes for `batch_wait`, in case there is more; that is a delay, which `visible` measures,
//! and no rate. Each side begins when ClickHouse has merged what the other one left, and each is the first in turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use clickhouse::Client;
use ingest::sink::{INSERT_SETTINGS, INSERTS_AT_A_TIME, Incoming, Table};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use service::client::ApiClient;
use service::config::ClickHouseConfig;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wire::event::AcceptedEvent;
use wire::topic::Topic;

use crate::messages;
use crate::support::figure::{Figure, median};
use crate::support::process::Core;
use crate::support::stack::Stack;
use crate::support::traffic::{Plan, Traffic};

/// Rows of a round.
const ROWS: usize = 500_000;
const ROUNDS: usize = 4;
const PARTITIONS: usize = 6;
const PEER: &str = "bare RowBinary";
const LOOK_EVERY: Duration = Duration::from_millis(20);
const DRAINED_WITHIN: Duration = Duration::from_secs(300);
/// No merge was under way for so long.
const CALM: Duration = Duration::from_secs(1);
const CALM_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let stack = Stack::start(Core::Any).await?;
    let ours = client(&stack, &stack.database);
    let theirs = bare_database(&stack).await?;
    let mut traffic = Traffic::new(Plan::default());
    let (mut here, mut there, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    // Of an insert of the sink, on average.
    let mut batch = 0;
    for round in 1..=ROUNDS {
        let events: Vec<AcceptedEvent> = traffic.by_ref().take(ROWS).collect();
        let events = Arc::new(events);
        fill(&stack, events.clone()).await?;
        if round % 2 == 0 {
            there.push(insert(&theirs, encode(&events, batch, round)?, round * ROWS).await?);
        }
        let sunk = drain(&stack, &ours, round * ROWS).await?;
        here.push(sunk.rows_s);
        cpu.push(sunk.cpu_us);
        batch = sunk.batch;
        if round % 2 == 1 {
            there.push(insert(&theirs, encode(&events, batch, round)?, round * ROWS).await?);
        }
        eprintln!(
            "the sink inserted {batch} rows at a time, {:.0} a second; bare {:.0}",
            sunk.rows_s,
            there[round - 1]
        );
    }
    Ok(vec![
        Figure::new("sink, rows a second", median(here), "row/s").against(PEER, median(there)).ratio_at_least(0.9),
        Figure::new("sink, CPU", median(cpu), "us/ev"),
        Figure::new("stored in raw", stored(&ours).await?, "B/event").at_most(30.0),
    ])
}

fn client(stack: &Stack, database: &str) -> Client {
    Client::default().with_url(&stack.servers.clickhouse_http).with_database(database)
}

async fn bare_database(stack: &Stack) -> anyhow::Result<Client> {
    let (url, database) = (stack.servers.clickhouse_http.clone(), stack.servers.fresh_name("bare"));
    let config = ClickHouseConfig { url, database, ..ClickHouseConfig::default() };
    service::clickhouse::migrate(&config).await?;
    let client = service::clickhouse::client(&config);
    Ok(INSERT_SETTINGS.iter().fold(client, |client, (name, value)| client.with_setting(*name, *value)))
}

/// Events as ingest hands them to Kafka.
async fn fill(stack: &Stack, events: Arc<Vec<AcceptedEvent>>) -> anyhow::Result<()> {
    let config = messages::kafka(&stack.servers.kafka, &stack.database);
    tokio::task::spawn_blocking(move || {
        let producer: ThreadedProducer<DefaultProducerContext> = service::kafka::producer_config(&config).create()?;
        let topic = Topic::Listens.name(&config.topic_prefix);
        for event in events.iter() {
            let payload = serde_json::to_vec(event)?;
            let mut record = BaseRecord::to(&topic).key(event.event.session_id.as_str()).payload(&payload);
            while let Err((error, back)) = producer.send(record) {
                ensure!(is_full(&error), anyhow!("cannot fill {topic}: {error}"));
                std::thread::sleep(Duration::from_millis(5));
                record = back;
            }
        }
        producer.flush(Duration::from_secs(60)).context("kafka did not take all events")
    })
    .await?
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

struct Sunk {
    rows_s: f64,
    cpu_us: f64,
    /// Rows of an insert, on average.
    batch: usize,
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
async fn drain(stack: &Stack, client: &Client, until: usize) -> anyhow::Result<Sunk> {
    calm(client).await?;
    let (sink, url) = stack.role("sink", &[]).await?;
    let rows_s = watch(client, until).await?;
    let cpu_us = sink.cpu_us()? / ROWS as f64;
    let metrics = ApiClient::new(Duration::from_secs(5)).get(&format!("{url}/metrics")).await?.success()?;
    let metrics = String::from_utf8(metrics.body.to_vec())?;
    let batch = counter(&metrics, "tonearm_sink_rows_total")? / counter(&metrics, "tonearm_sink_batches_total")?;
    sink.terminate()?;
    Ok(Sunk { rows_s, cpu_us, batch: batch.round() as usize })
}

fn counter(metrics: &str, name: &str) -> anyhow::Result<f64> {
    let mark = format!("{name}{{table=\"events\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&mark)).with_context(|| format!("no {name}"))?;
    Ok(value.trim().parse()?)
}

/// Rows a second, from the first sight of new ones until nine tenths are there; ends when all are.
#[allow(clippy::cast_precision_loss, reason = "a few million")]
async fn watch(client: &Client, until: usize) -> anyhow::Result<f64> {
    let deadline = Instant::now() + DRAINED_WITHIN;
    let (before, most) = ((until - ROWS) as u64, (until - ROWS / 10) as u64);
    let (mut first, mut rate) = (None, None);
    loop {
        let rows: u64 = client.query("SELECT count() FROM events").fetch_one().await?;
        let now = Instant::now();
        match first {
            None if rows > before => first = Some((rows, now)),
            Some((had, since)) if rows >= most => {
                let sunk = (rows - had) as f64 / now.duration_since(since).as_secs_f64();
                let rate = *rate.get_or_insert(sunk);
                if rows >= until as u64 {
                    return Ok(rate);
                }
            }
            _ => {}
        }
        ensure!(now < deadline, "{rows} of {until} rows are there");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until ClickHouse has nothing left to merge, for a while at most.
async fn calm(client: &Client) -> anyhow::Result<()> {
    let deadline = Instant::now() + CALM_WITHIN;
    let mut since = Instant::now();
    while since.elapsed() < CALM && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        let merges: u64 = client.query("SELECT count() FROM system.merges").fetch_one().await?;
        if merges > 0 {
            since = Instant::now();
        }
    }
    Ok(())
}

/// Rows as the sink makes them, one session's in one partition, a token for each insert.
fn encode(events: &[AcceptedEvent], batch: usize, round: usize) -> anyhow::Result<Vec<(String, Bytes)>> {
    let mut offsets = [round * ROWS; PARTITIONS];
    let mut filling: [(usize, Vec<u8>); PARTITIONS] = Default::default();
    let mut batches = Vec::new();
    for accepted in events {
        let session = accepted.event.session_id.as_str().bytes();
        let partition = session.fold(0, |sum: usize, byte| sum * 31 % 1_000_003 + usize::from(byte)) % PARTITIONS;
        let (count, rows) = &mut filling[partition];
        append(accepted, partition, offsets[partition], rows)?;
        (offsets[partition], *count) = (offsets[partition] + 1, *count + 1);
        if *count == batch {
            batches.push(std::mem::take(&mut filling[partition]).1);
        }
    }
    batches.extend(filling.into_iter().filter(|(count, _)| *count > 0).map(|(_, rows)| rows));
    let named = batches.into_iter().enumerate().map(|(nth, rows)| (format!("bare/{round}/{nth}"), rows.into()));
    Ok(named.collect())
}

fn append(accepted: &AcceptedEvent, partition: usize, offset: usize, rows: &mut Vec<u8>) -> anyhow::Result<()> {
    let payload = serde_json::to_vec(accepted)?;
    let message = Incoming {
        partition: i32::try_from(partition)?,
        offset: i64::try_from(offset)?,
        received_at: accepted.received_at,
        key: b"",
        payload: &payload,
        is_sent_again: false,
    };
    let appended = Table::Events.append(&message, rows);
    ensure!(appended.is_ok(), "the traffic made an event that is no row: {appended:?}");
    Ok(())
}

async fn insert(client: &Client, batches: Vec<(String, Bytes)>, until: usize) -> anyhow::Result<f64> {
    calm(client).await?;
    let slots = Arc::new(Semaphore::new(INSERTS_AT_A_TIME));
    let mut running = JoinSet::new();
    for (token, rows) in batches {
        let (client, slots) = (client.clone().with_setting("insert_deduplication_token", token), slots.clone());
        running.spawn(async move {
            let _slot = slots.acquire().await;
            let mut insert = client.insert_formatted_with(Table::Events.insert());
            insert.send(rows).await?;
            insert.end().await
        });
    }
    let rows_s = watch(client, until).await?;
    while let Some(inserted) = running.join_next().await {
        inserted??;
    }
    Ok(rows_s)
}

/// As they lie when nobody has written for a while.
async fn stored(client: &Client) -> anyhow::Result<f64> {
    client.query("OPTIMIZE TABLE events FINAL").execute().await?;
    let sql = "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts \
               WHERE database = currentDatabase() AND active AND table = 'events'";
    Ok(client.query(sql).fetch_one().await?)
}
