//! Bytes against seconds, and the names of tracks, on the real ClickHouse and PostgreSQL.

use devstack::servers::Server;
use serde_json::json;
use service::config::{ClickHouseConfig, Loader, PostgresConfig};
use uuid::Uuid;

use crate::rows::{MIDNIGHT, SECOND, accepted, insert};
use crate::support::Stack;

/// 180 s at 128 kbit/s.
const WHOLE: u64 = 180 * 128_000 / 8;

async fn delivered(stack: &Stack, decision: Option<Uuid>, bytes: u64) {
    let decision = decision.map_or_else(|| "NULL".into(), |id| format!("'{id}'"));
    let sql = format!(
        "INSERT INTO deliveries (delivery_id, decision_id, started_at, received_at, pop, edge_id, key, method, status, bytes_sent) \
         VALUES ('{}', {decision}, fromUnixTimestamp64Milli({MIDNIGHT}), fromUnixTimestamp64Milli({MIDNIGHT}), 'fra', 'fra-1', 'k', 'GET', 206, {bytes})",
        Uuid::now_v7()
    );
    stack.clickhouse.query(&sql).execute().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn plays_that_do_not_fit_their_bytes_are_named() {
    let stack = Stack::new().await;
    let mut events = Vec::new();
    let mut play = |session: &str, heard_s: i64, decisions: &[Uuid]| {
        for (at, decision) in [0, heard_s].into_iter().zip([decisions[0], decisions[decisions.len() - 1]]) {
            let more = json!({"play_id": session, "played_ms": at * SECOND, "decision_id": decision, "bitrate_kbps": 128, "pop": "fra"});
            events.push(accepted(MIDNIGHT + at * SECOND, "progress", session, &more));
        }
    };
    let ids: Vec<Uuid> = (0..7).map(|_| Uuid::now_v7()).collect();
    play("honest", 180, &ids[0..1]);
    play("liar", 180, &ids[1..2]);
    play("prefetched", 2, &ids[2..3]);
    play("moved", 180, &ids[3..5]);
    play("shared-1", 90, &ids[5..6]);
    play("shared-2", 90, &ids[5..6]);
    insert(&stack, "1", &events).await;
    delivered(&stack, Some(ids[0]), WHOLE).await;
    delivered(&stack, Some(ids[2]), 2 * WHOLE).await;
    delivered(&stack, Some(ids[3]), WHOLE / 2).await;
    delivered(&stack, Some(ids[4]), WHOLE / 2).await;
    delivered(&stack, Some(ids[5]), WHOLE).await;
    delivered(&stack, Some(ids[6]), WHOLE).await;
    delivered(&stack, None, WHOLE).await;
    let plays = "SELECT concat(play_id, ': ', verdict) FROM reconciled_plays(first_day = '2026-11-21', last_day = '2026-11-21') ORDER BY ALL";
    let told: Vec<String> = stack.clickhouse.query(plays).fetch_all().await.unwrap();
    let wanted = [
        ": bytes without seconds",
        ": bytes without seconds",
        "honest: fits",
        "liar: seconds without bytes",
        "moved: fits",
        "prefetched: bytes without seconds",
        "shared-1: fits",
        "shared-2: fits",
    ];
    assert_eq!(told, wanted);
    let day = "SELECT count() FROM reconciled_tracks(first_day = '2026-11-21', last_day = '2026-11-21') \
               WHERE track_id = 't' AND pop = 'fra' AND plays = 6 AND heard_s = 722 \
               AND seconds_without_bytes = ['liar'] AND bytes_without_seconds = ['prefetched']";
    assert_eq!(stack.number(day).await, 1);
    let unplayed =
        "SELECT sum(bytes_without_play) FROM reconciled_tracks(first_day = '2026-11-21', last_day = '2026-11-21')";
    assert_eq!(stack.number(unplayed).await, 2 * WHOLE);
    assert_eq!(stack.number("SELECT count() FROM reconciliation WHERE day > today() + 1").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tracks_have_names_also_while_postgres_is_away() {
    let stack = Stack::alone().await;
    let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
    let (clickhouse, postgres): (ClickHouseConfig, PostgresConfig) = (loader.section(), loader.section());
    let row = "INSERT INTO tracks (track_id, title, artist, duration_ms, state) VALUES ('t', 'Known', 'Someone', 1000, 'ready')";
    sqlx::query(row).execute(&stack.postgres).await.unwrap();
    for _ in 0..2 {
        service::clickhouse::follow_tracks(&clickhouse, &postgres).await.unwrap();
    }
    stack.until("SELECT count() FROM tracks WHERE title = 'Known' AND duration_ms = 1000", 1).await;
    let events = ["t", "made-up"].map(|track| accepted(MIDNIGHT, "play_start", "s", &json!({"track_id": track})));
    insert(&stack, "1", &events).await;
    stack.servers.stop(Server::Postgres).await;
    let refreshed = async {
        stack.clickhouse.query("SYSTEM REFRESH VIEW tracks_refresh").execute().await?;
        stack.clickhouse.query("SYSTEM WAIT VIEW tracks_refresh").execute().await
    };
    assert!(refreshed.await.is_err(), "PostgreSQL is away");
    let unknown: Vec<String> = stack.clickhouse.query("SELECT track_id FROM unknown_tracks").fetch_all().await.unwrap();
    assert_eq!(unknown, ["made-up"]);
    assert_eq!(stack.number("SELECT count() FROM tracks").await, 1);
    stack.servers.start(Server::Postgres).await;
}
