//! What ClickHouse holds of one listen, by its decision.

use std::time::Duration;

use clickhouse::{Client, Row};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;
use wire::DecisionId;
use wire::endpoints::Endpoints;

/// The sink gathers a second of events; ten times that is a fault.
const PATIENCE: Duration = Duration::from_secs(15);

/// The three streams of one listen, joined by `decision_id`.
pub(super) const QUERY: &str = "\
SELECT * FROM (
  SELECT 'decision' AS what, concat(chosen_edge, ': ', chosen_reason) AS story, toUInt64(1) AS n
  FROM decisions WHERE decision_id = ?
  UNION ALL
  SELECT 'delivery', concat(edge_id, ': ', cache_status, ', ', formatReadableSize(sum(bytes_sent))), count()
  FROM deliveries WHERE decision_id = ? GROUP BY edge_id, cache_status
  UNION ALL
  SELECT 'event', concat(type, ', heard ', toString(assumeNotNull(max(played_ms))), ' ms'), count()
  FROM events WHERE decision_id = ? GROUP BY type
) ORDER BY what, story";

/// One line of the answer.
#[derive(Debug, Row, Deserialize)]
pub(super) struct Line {
    pub(super) what: String,
    pub(super) story: String,
    pub(super) n: u64,
}

#[derive(Debug, PartialEq, Eq, Row, Deserialize)]
struct Counts {
    decisions: u64,
    delivered: u64,
    events: u64,
}

/// Waits until all of a listen has arrived, then reads it.
///
/// # Errors
/// When it has not arrived in time: how much of what is missing.
pub(super) async fn arrived(
    stack: &Endpoints,
    decision: DecisionId,
    bytes: u64,
    events: u64,
) -> anyhow::Result<Vec<Line>> {
    let client = client(stack)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = counts(&client, decision.0).await?;
        if found.decisions == 1 && found.delivered >= bytes && found.events == events {
            return lines(&client, decision.0).await;
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "after {PATIENCE:?} ClickHouse holds {} of 1 decision, {} of {bytes} bytes delivered, {} of {events} events",
            found.decisions,
            found.delivered,
            found.events,
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One's own server may have its user and password in the URL.
fn client(stack: &Endpoints) -> anyhow::Result<Client> {
    let url: Url = stack.clickhouse_http.parse()?;
    let mut client =
        Client::default().with_url(url.origin().ascii_serialization()).with_database(&stack.clickhouse_database);
    if !url.username().is_empty() {
        client = client.with_user(url.username()).with_password(url.password().unwrap_or_default());
    }
    Ok(client)
}

async fn counts(client: &Client, decision: Uuid) -> anyhow::Result<Counts> {
    // A scalar subquery may be null as far as ClickHouse's types go.
    let sql = "SELECT assumeNotNull((SELECT count() FROM decisions WHERE decision_id = ?)) AS decisions,
                      assumeNotNull((SELECT sum(bytes_sent) FROM deliveries WHERE decision_id = ?)) AS delivered,
                      assumeNotNull((SELECT count() FROM events WHERE decision_id = ?)) AS events";
    Ok(client.query(sql).bind(decision).bind(decision).bind(decision).fetch_one().await?)
}

async fn lines(client: &Client, decision: Uuid) -> anyhow::Result<Vec<Line>> {
    Ok(client.query(QUERY).bind(decision).bind(decision).bind(decision).fetch_all().await?)
}
