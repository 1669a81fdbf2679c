//! Decisions looked up again: from memory while they are recent, from ClickHouse after that.

use std::time::Duration;

use anyhow::Context;
use clickhouse::Client;
use tokio::sync::Semaphore;
use wire::DecisionId;
use wire::decision::Decision;

/// A look-up that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Look-ups at a time; more wait, within their time.
const AT_ONCE: usize = 4;
/// A decision's id holds the millisecond it was made in, by the same clock as `decided_at`; the table is
/// sorted by hour, so a bound on the time spares the rest of the year.
const SLACK_MS: i64 = 60_000;

/// Each row comes back as the JSON of a [`Decision`]. The inner names differ from the outer ones, for
/// `candidates.pop` would else be taken for a part of `candidates`.
const QUERY: &str = "SELECT decision_id, at AS decided_at, router_id, via, policy, track_id, client_net, snapshot_version,
       ttl_s, c AS candidates, e AS excluded
  FROM (
    SELECT d.decision_id AS decision_id, toUnixTimestamp64Milli(d.decided_at) AS at, d.router_id AS router_id,
           d.via AS via, d.policy AS policy, d.track_id AS track_id, d.client_net AS client_net,
           d.snapshot_version AS snapshot_version, d.ttl_s AS ttl_s,
           arrayMap((a, b, c, d, e, f, g, h, i, j) -> CAST((a, b, c, d, e, f, g, h, i, j),
               'Tuple(pop String, edge String, rtt_ms Nullable(Float64), rtt_source String, jitter_ms Float64,
                      loss Float64, load Float64, network_load Float64, rank UInt32, reason String)'),
               d.`candidates.pop`, d.`candidates.edge`, d.`candidates.rtt_ms`, d.`candidates.rtt_source`,
               d.`candidates.jitter_ms`, d.`candidates.loss`, d.`candidates.load`, d.`candidates.network_load`,
               d.`candidates.rank`, d.`candidates.reason`) AS c,
           arrayMap((a, b, c) -> CAST((a, b, c), 'Tuple(pop String, edge String, reason String)'),
               d.`excluded.pop`, d.`excluded.edge`, d.`excluded.reason`) AS e
      FROM decisions AS d
     WHERE d.decision_id = toUUID(?) AND d.decided_at BETWEEN fromUnixTimestamp64Milli(?) AND fromUnixTimestamp64Milli(?)
     LIMIT 1
  )";

pub(crate) struct Archive {
    client: Client,
    turns: Semaphore,
}

impl Archive {
    pub(crate) fn new(client: Client) -> Self {
        let client = client
            .with_setting("output_format_json_quote_64bit_integers", "0")
            .with_setting("output_format_json_named_tuples_as_objects", "1");
        Self { client, turns: Semaphore::new(AT_ONCE) }
    }

    /// The decision as it was logged; none where ClickHouse has no such one.
    ///
    /// # Errors
    /// When ClickHouse does not answer in time, or not with a decision.
    pub(crate) async fn find(&self, id: DecisionId) -> anyhow::Result<Option<Decision>> {
        let Some(made_at) = made_at_ms(id) else { return Ok(None) };
        let row = tokio::time::timeout(TIMEOUT, self.ask(id, made_at)).await.context("ClickHouse took too long")??;
        if row.trim_ascii().is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&row).map(Some).context("ClickHouse's row is no decision")
    }

    async fn ask(&self, id: DecisionId, made_at: i64) -> anyhow::Result<Vec<u8>> {
        let _turn = self.turns.acquire().await?;
        let query = self.client.query(QUERY).bind(id.to_string()).bind(made_at - SLACK_MS).bind(made_at + SLACK_MS);
        let mut cursor = query.fetch_bytes("JSONEachRow")?;
        Ok(cursor.collect().await.context("cannot ask ClickHouse")?.to_vec())
    }
}

/// None for an id that no router made.
fn made_at_ms(id: DecisionId) -> Option<i64> {
    let (seconds, nanos) = id.0.get_timestamp()?.to_unix();
    i64::try_from(seconds).ok()?.checked_mul(1000)?.checked_add(i64::from(nanos / 1_000_000))
}
