//! How much disk an event takes, on traffic like a real crowd's.

use ingest::sink::{Incoming, Table};
use service::clickhouse::{client, migrate};
use service::config::ClickHouseConfig;

use crate::support::traffic::{Plan, Traffic};

const EVENTS: usize = 100_000;
/// As the topic's key spreads sessions.
const PARTITIONS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_takes_at_most_30_bytes() {
    let servers = devstack::TestServers::shared().await;
    let (url, database) = (servers.clickhouse_http.clone(), servers.fresh_name("stored"));
    let config = ClickHouseConfig { url, database, ..ClickHouseConfig::default() };
    migrate(&config).await.unwrap();
    let clickhouse = client(&config);
    let mut insert = clickhouse.insert_formatted_with(Table::Events.insert());
    insert.send(rows().into()).await.unwrap();
    insert.end().await.unwrap();
    clickhouse.query("OPTIMIZE TABLE events FINAL").execute().await.unwrap();
    let sql = "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts \
               WHERE database = currentDatabase() AND table = 'events' AND active";
    let (rows, bytes): (u64, u64) = clickhouse.query(sql).fetch_one().await.unwrap();
    assert_eq!(rows, EVENTS as u64);
    assert!(bytes <= 30 * rows, "{bytes} bytes for {rows} events");
}

fn rows() -> Vec<u8> {
    let mut offsets = [0; PARTITIONS];
    let mut rows = Vec::new();
    for accepted in Traffic::new(Plan { listeners: 1000, ..Plan::default() }).take(EVENTS) {
        let session = accepted.event.session_id.as_str().bytes();
        let partition = session.fold(0, |sum, byte| (sum * 31 + usize::from(byte)) % PARTITIONS);
        let payload = serde_json::to_vec(&accepted).unwrap();
        let message = Incoming {
            partition: i32::try_from(partition).unwrap(),
            offset: offsets[partition],
            received_at: accepted.received_at,
            key: b"",
            payload: &payload,
            is_sent_again: false,
        };
        Table::Events.append(&message, &mut rows).unwrap();
        offsets[partition] += 1;
    }
    rows
}
