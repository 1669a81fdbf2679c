//! `make bench-stores`: the same events and the same questions, in ClickHouse and in PostgreSQL.
//!
//! Both real servers, as devstack starts them; the events are of `support/traffic`. Every batch goes to one
//! and then to the other, so that what else the machine does falls on both. Questions are asked of the raw
//! tables, and their answers have to be the same.

#[path = "../support/mod.rs"]
mod support;

#[path = "stores/copy.rs"]
mod copy;
#[path = "stores/questions.rs"]
mod questions;
#[path = "stores/schema.rs"]
mod schema;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clickhouse::{Client, Compression};
use devstack::{Server, TestServers};
use ingest::sink::{Incoming, Table};
use service::config::ClickHouseConfig;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use support::figure::{Figure, median, publish};
use support::traffic::{Plan, Traffic};
use wire::event::AcceptedEvent;

/// `EVENTS=` says otherwise.
const EVENTS: usize = 2_000_000;
const BATCH: usize = 100_000;
/// Of each question; the middle one counts.
const TIMES: usize = 5;
const PARTITIONS: usize = 6;
const PEER: &str = "PostgreSQL";

/// What is acknowledged is on the disk; memory and log as one sets them on a machine of 24 GB that does other things too.
const POSTGRES: [(&str, &str); 5] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("shared_buffers", "4GB"),
    ("effective_cache_size", "12GB"),
    ("max_wal_size", "8GB"),
];

struct Stores {
    clickhouse: Client,
    postgres: PgConnection,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let events = std::env::var("EVENTS").map_or(Ok(EVENTS), |text| text.parse()).context("EVENTS is no number")?;
    let mut stores = stores().await?;
    let mut figures = insert(&mut stores, events).await?;
    settle(&mut stores).await?;
    figures.extend(sizes(&mut stores, events).await?);
    let chosen = questions::Chosen::of(&stores.clickhouse).await?;
    for question in questions::ALL {
        figures.push(ask(&mut stores, question, &chosen).await?);
    }
    publish("stores", &figures)
}

async fn stores() -> anyhow::Result<Stores> {
    let servers = TestServers::shared().await;
    let (url, database) = (servers.clickhouse_http.clone(), servers.fresh_name("stores"));
    let config = ClickHouseConfig { url, database, ..ClickHouseConfig::default() };
    service::clickhouse::migrate(&config).await?;
    // On loopback compressing costs more than it saves; COPY does not either.
    let clickhouse = service::clickhouse::client(&config).with_compression(Compression::None);
    // The raw table without roll-ups, which PostgreSQL has none of either.
    clickhouse.query("CREATE TABLE bare AS events").execute().await?;
    let mut postgres = PgConnection::connect(&durable(servers).await?).await?;
    for statement in schema::STATEMENTS {
        sqlx::query(*statement).execute(&mut postgres).await?;
    }
    told(&clickhouse, &mut postgres).await?;
    Ok(Stores { clickhouse, postgres })
}

/// PostgreSQL as a service would run it, which the servers of tests are not: a new database after a restart.
async fn durable(servers: &TestServers) -> anyhow::Result<String> {
    let mut postgres = PgConnection::connect(&servers.postgres).await?;
    for (name, value) in POSTGRES {
        sqlx::query(AssertSqlSafe(format!("ALTER SYSTEM SET {name} = '{value}'"))).execute(&mut postgres).await?;
    }
    postgres.close().await?;
    servers.stop(Server::Postgres).await;
    servers.start(Server::Postgres).await;
    Ok(servers.fresh_postgres().await)
}

/// What the figures stand for.
async fn told(clickhouse: &Client, postgres: &mut PgConnection) -> anyhow::Result<()> {
    let version: String = clickhouse.query("SELECT version()").fetch_one().await?;
    println!("ClickHouse {version}, fsync_after_insert = 1");
    let settings = ["server_version", "max_parallel_workers_per_gather"].into_iter();
    for setting in settings.chain(POSTGRES.map(|(name, _)| name)) {
        let value: String =
            sqlx::query_scalar(AssertSqlSafe(format!("SHOW {setting}"))).fetch_one(&mut *postgres).await?;
        println!("PostgreSQL {setting} = {value}");
    }
    Ok(())
}

/// Batch by batch into each; only the time that a store takes is counted.
async fn insert(stores: &mut Stores, events: usize) -> anyhow::Result<Vec<Figure>> {
    let plan = Plan { listeners: 1000, ..Plan::default() };
    let mut traffic = Traffic::new(plan);
    let mut offsets = [0; PARTITIONS];
    let [mut bare, mut with_views, mut indexed, mut plain] = [Duration::ZERO; 4];
    let mut done = 0;
    while done < events {
        let batch: Vec<AcceptedEvent> = traffic.by_ref().take(BATCH.min(events - done)).collect();
        let (rows, text) = encode(&batch, &mut offsets)?;
        bare += row_binary(&stores.clickhouse, "bare", &rows).await?;
        indexed += copy::into(&mut stores.postgres, "events", &text).await?;
        with_views += row_binary(&stores.clickhouse, "events", &rows).await?;
        plain += copy::into(&mut stores.postgres, "plain", &text).await?;
        done += batch.len();
    }
    stores.clickhouse.query("DROP TABLE bare SYNC").execute().await?;
    sqlx::query("DROP TABLE plain").execute(&mut stores.postgres).await?;
    #[allow(clippy::cast_precision_loss, reason = "a few million")]
    let rate = |time: Duration| events as f64 / time.as_secs_f64();
    let named = |name, ours, theirs| Figure::new(name, rate(ours), "rows/s").against(PEER, rate(theirs));
    Ok(vec![
        named("insert: RowBinary, raw table | COPY, no index", bare, plain),
        named("insert: with all roll-ups | COPY, 4 indexes", with_views, indexed),
    ])
}

/// As the sink writes rows, and as COPY reads them.
fn encode(batch: &[AcceptedEvent], offsets: &mut [i64; PARTITIONS]) -> anyhow::Result<(Vec<u8>, String)> {
    let (mut rows, mut text) = (Vec::new(), String::new());
    for accepted in batch {
        let session = accepted.event.session_id.as_str().bytes();
        let partition = session.fold(0, |sum, byte| (sum * 31 + usize::from(byte)) % PARTITIONS);
        let payload = serde_json::to_vec(accepted)?;
        let message = Incoming {
            partition: i32::try_from(partition)?,
            offset: offsets[partition],
            received_at: accepted.received_at,
            key: b"",
            payload: &payload,
            is_sent_again: false,
        };
        let appended = Table::Events.append(&message, &mut rows);
        ensure!(appended.is_ok(), "the traffic made an event that is no row: {appended:?}");
        copy::line(accepted, partition, offsets[partition], &mut text);
        offsets[partition] += 1;
    }
    Ok((rows, text))
}

async fn row_binary(client: &Client, table: &str, rows: &[u8]) -> anyhow::Result<Duration> {
    let sql = Table::Events.insert().replacen("INTO events", &format!("INTO {table}"), 1);
    let since = Instant::now();
    let mut insert = client.insert_formatted_with(sql);
    insert.send(rows.to_vec().into()).await?;
    insert.end().await?;
    Ok(since.elapsed())
}

/// Both as they lie when nobody has written for a while.
async fn settle(stores: &mut Stores) -> anyhow::Result<()> {
    stores.clickhouse.query("OPTIMIZE TABLE events FINAL").execute().await?;
    sqlx::query("VACUUM (ANALYZE) events").execute(&mut stores.postgres).await?;
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a few gigabytes")]
async fn sizes(stores: &mut Stores, events: usize) -> anyhow::Result<Vec<Figure>> {
    let sql = "SELECT sum(bytes_on_disk) FROM system.parts \
               WHERE database = currentDatabase() AND active AND (table = 'events' OR table LIKE '%_states')";
    let everything: u64 = stores.clickhouse.query(sql).fetch_one().await?;
    let raw: u64 = stores.clickhouse.query(&sql.replace(" OR table LIKE '%_states'", "")).fetch_one().await?;
    let sizes = "SELECT pg_table_size('events'), pg_total_relation_size('events')";
    let (heap, total): (i64, i64) = sqlx::query_as(sizes).fetch_one(&mut stores.postgres).await?;
    let per = |bytes: f64| bytes / events as f64;
    Ok(vec![
        Figure::new("disk: raw table | table", per(raw as f64), "B/event").against(PEER, per(heap as f64)),
        Figure::new("disk: with roll-ups | with 4 indexes", per(everything as f64), "B/event")
            .against(PEER, per(total as f64)),
    ])
}

/// One question of both, with the same answer.
async fn ask(
    stores: &mut Stores,
    question: &questions::Question,
    chosen: &questions::Chosen,
) -> anyhow::Result<Figure> {
    let (clickhouse, postgres) = (chosen.fill(question.clickhouse), chosen.fill(question.postgres));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let since = Instant::now();
        let here: Vec<(String, u64)> = stores.clickhouse.query(&clickhouse).fetch_all().await?;
        ours.push(since.elapsed().as_secs_f64() * 1000.0);
        let since = Instant::now();
        let there: Vec<(String, i64)> =
            sqlx::query_as(AssertSqlSafe(postgres.clone())).fetch_all(&mut stores.postgres).await?;
        theirs.push(since.elapsed().as_secs_f64() * 1000.0);
        same(question.name, here, there)?;
    }
    Ok(Figure::new(question.name, median(ours), "ms").against(PEER, median(theirs)))
}

fn same(name: &str, mut here: Vec<(String, u64)>, there: Vec<(String, i64)>) -> anyhow::Result<()> {
    let mut there: Vec<(String, u64)> = there.into_iter().map(|(key, n)| (key, n.unsigned_abs())).collect();
    // A collation is not a byte order.
    here.sort();
    there.sort();
    ensure!(!here.is_empty(), "{name}: no answer");
    let differs = here.iter().zip(&there).find(|(here, there)| here != there);
    ensure!(
        here.len() == there.len() && differs.is_none(),
        "{name}: {differs:?} in {} and {}",
        here.len(),
        there.len()
    );
    Ok(())
}
