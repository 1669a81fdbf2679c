//! Roll-ups and other tables that know listeners: every table with a column `user_id`, found by asking.

use clickhouse::Row;
use serde::Deserialize;

use super::Erasure;
use super::find::PLAY;
use super::rows::{Taken, take};
use super::store::Store;

#[derive(Debug, Row, Deserialize)]
struct Target {
    name: String,
    /// It has a row a play, so that the listener's plays are found without a name in them, too.
    by_play: bool,
}

/// How many rows each lost. The events must still be there: they say which plays are meant. Where so many plays
/// wait for the sink, tables that cannot tell one play from another wait for them.
pub(super) async fn clean(store: &Store, erasure: &Erasure, waiting: u64) -> anyhow::Result<Vec<(String, Taken)>> {
    let targets = "SELECT t.name AS name, \
                   hasAll(groupArray(c.name), ['app', 'session_id', 'track_id', 'play_id']) AS by_play \
                   FROM system.tables AS t INNER JOIN system.columns AS c ON c.database = t.database AND c.table = t.name \
                   WHERE t.database = currentDatabase() AND t.engine LIKE '%MergeTree' AND t.name != 'events' \
                   GROUP BY name HAVING has(groupArray(c.name), 'user_id') ORDER BY name";
    let targets: Vec<Target> = store.client().query(targets).fetch_all().await?;
    let plays = |by| format!("({PLAY}) IN (SELECT {PLAY} FROM events WHERE {})", erasure.written_down("events", by));
    let mut taken = Vec::with_capacity(targets.len());
    for Target { name, by_play } in targets {
        let named = format!("user_id IN ({})", erasure.hashes_sql());
        let condition = |by| match by_play {
            true => format!("({} OR {named}) AND {}", plays(by), erasure.settled()),
            false => named.clone(),
        };
        if !by_play && waiting > 0 {
            continue;
        }
        let of_it = take(store, &name, condition).await?;
        taken.push((name, of_it));
    }
    Ok(taken)
}
