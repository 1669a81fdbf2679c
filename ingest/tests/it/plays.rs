//! What roll-ups and plays make of events, on the real ClickHouse.

use serde_json::{Value, json};

use crate::rows::{DAY, HOUR, MIDNIGHT, SECOND, accepted, insert};
use crate::support::Stack;

async fn heard(stack: &Stack, session: &str) -> (u64, u64, u8) {
    let sql = "SELECT claimed_ms, heard_ms, is_stream FROM plays WHERE session_id = ?";
    stack.clickhouse.query(sql).bind(session).fetch_one().await.unwrap()
}

fn played(at: i64, session: &str, played_ms: u64) -> Value {
    accepted(at, "progress", session, &json!({"played_ms": played_ms}))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_heard_faster_than_time_passes() {
    let stack = Stack::new().await;
    let start = |session: &str| accepted(MIDNIGHT, "play_start", session, &json!({"played_ms": 0}));
    let mut listen = played(MIDNIGHT, "listenbrainz", 200_000);
    listen["wire_format"] = json!("listenbrainz");
    listen["received_at"] = json!(MIDNIGHT + 150 * SECOND);
    let position = |at: i64, ms: u64| accepted(at, "progress", "position", &json!({"position_ms": ms}));
    let events = [
        start("honest"),
        played(MIDNIGHT + 30 * SECOND, "honest", 29_900),
        played(MIDNIGHT + 60 * SECOND, "honest", 59_900),
        start("liar"),
        played(MIDNIGHT + 20 * SECOND, "liar", 3_600_000),
        // Twice as fast: what was heard is time, not media.
        start("fast"),
        played(MIDNIGHT + 40 * SECOND, "fast", 80_000),
        played(MIDNIGHT, "single", 180_000),
        listen,
        position(MIDNIGHT, 10_000),
        position(MIDNIGHT + 45 * SECOND, 50_000),
    ];
    insert(&stack, "1", &events).await;
    assert_eq!(heard(&stack, "honest").await, (59_900, 59_900, 1));
    assert_eq!(heard(&stack, "liar").await, (3_600_000, 25_000, 0));
    assert_eq!(heard(&stack, "fast").await, (80_000, 45_000, 1));
    assert_eq!(heard(&stack, "single").await, (180_000, 5_000, 0));
    assert_eq!(heard(&stack, "listenbrainz").await, (200_000, 155_000, 1));
    assert_eq!(heard(&stack, "position").await, (40_000, 40_000, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_play_is_one_row_over_batches_midnight_late_events_and_repeats() {
    let stack = Stack::new().await;
    let late = MIDNIGHT - 20 * SECOND;
    let stall = accepted(MIDNIGHT + 5 * SECOND, "stall", "s", &json!({"stall_ms": 700, "played_ms": 25_000}));
    let end = accepted(MIDNIGHT + 30 * SECOND, "complete", "s", &json!({"played_ms": 48_000, "pop": "fra"}));
    insert(&stack, "1", &[end.clone(), stall.clone()]).await;
    assert_eq!(heard(&stack, "s").await, (48_000, 30_000, 1));
    // The same batch again is dropped by its token; the same events in another batch count once in the play.
    insert(&stack, "1", &[end.clone(), stall.clone()]).await;
    let start = accepted(late, "play_start", "s", &json!({"user_id": "u", "stall_ms": 90}));
    insert(&stack, "2", &[stall, start, end]).await;
    let sql = "SELECT count() = 1 AND any(heard_ms) = 48000 AND any(stalls) = 1 AND any(stalled_ms) = 700 \
               AND any(completed) = 1 AND any(events) = 5 AND any(pop) = 'fra' AND any(user_id) = 'u' \
               AND any(startup_ms) = 90 AND any(toDate(started_at)) = '2026-11-20' AS ok FROM ";
    for source in ["plays", "plays_of(first_day = '2026-11-20', last_day = '2026-11-20')"] {
        assert_eq!(stack.number(&format!("SELECT count() FROM ({sql}{source}) WHERE ok")).await, 1, "{source}");
    }
    let other_day = "SELECT count() FROM plays_of(first_day = '2026-11-21', last_day = '2026-11-21')";
    assert_eq!(stack.number(other_day).await, 0);
}

/// Each raw row is once in each roll-up, by the hour it was received in.
pub(crate) async fn rollups_add_up(stack: &Stack) {
    for target in ["listen_states", "quality_states", "play_states"] {
        let sql = format!(
            "SELECT count() FROM (SELECT toStartOfHour(received_at) AS hour, count() AS n FROM events GROUP BY hour) AS raw \
             FULL JOIN (SELECT received_hour AS hour, sum(events) AS n FROM {target} GROUP BY hour) AS kept USING (hour) \
             WHERE raw.n != kept.n"
        );
        assert_eq!(stack.number(&sql).await, 0, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_count_every_row_once_and_say_what_was_played() {
    let stack = Stack::new().await;
    let mut events = Vec::new();
    for i in 0..50_i64 {
        let (session, at) = (format!("s-{i}"), MIDNIGHT + i * 600 * SECOND);
        let user = json!({"user_id": format!("u-{}", i % 10), "device": "d", "pop": "fra", "stall_ms": 100 + i});
        events.push(accepted(at, "play_start", &session, &user));
        let kind = if i % 2 == 0 { "complete" } else { "skip" };
        events.push(accepted(at + 40 * SECOND, kind, &session, &json!({"played_ms": 40_000, "pop": "fra"})));
    }
    insert(&stack, "1", &events).await;
    insert(&stack, "1", &events).await;
    rollups_add_up(&stack).await;
    let sums = "SELECT sum(starts) * 10000 + sum(completes) * 100 + sum(skips) FROM listens_by_hour";
    assert_eq!(stack.number(sums).await, 50 * 10_000 + 25 * 100 + 25);
    assert_eq!(stack.number("SELECT uniqCombined64Merge(14)(listeners) FROM listen_states").await, 60);
    let startup = "SELECT toUInt64(round(quantilesTDigestMerge(0.5, 0.95, 0.99)(startup)[1])) FROM quality_states";
    assert!((123..=126).contains(&stack.number(startup).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn rankings_are_ready_and_know_what_rises() {
    let stack = Stack::new().await;
    let now = wire::Timestamp::now().as_millis();
    let mut events = Vec::new();
    let mut play = |track: &str, at: i64, who: usize| {
        let session = format!("{track}-{at}-{who}");
        let known = json!({"track_id": track, "user_id": format!("u-{who}")});
        events.push(accepted(at - 40 * SECOND, "play_start", &session, &known));
        let mut heard = known;
        heard["played_ms"] = json!(40_000);
        events.push(accepted(at, "complete", &session, &heard));
    };
    for day in 1..=3 {
        (0..40).for_each(|who| play("old", now - day * DAY - HOUR, who));
        (0..10).for_each(|who| play("waking", now - day * DAY - HOUR, who));
    }
    (0..12).for_each(|who| play("old", now, who));
    (0..20).for_each(|who| play("waking", now, who));
    (0..6).for_each(|who| play("new", now, who));
    // One listener is no crowd.
    (0..30).for_each(|n| play("looped", now - n * SECOND, 1));
    insert(&stack, "1", &events).await;
    for view in ["top_tracks_of_day_refresh", "top_tracks_of_week_refresh", "rising_tracks_refresh"] {
        stack.clickhouse.query(&format!("SYSTEM REFRESH VIEW {view}")).execute().await.unwrap();
        stack.clickhouse.query(&format!("SYSTEM WAIT VIEW {view}")).execute().await.unwrap();
    }
    let tracks = |sql: &'static str| stack.clickhouse.query(sql).fetch_all::<String>();
    let rising = tracks("SELECT track_id FROM rising_tracks ORDER BY rank").await.unwrap();
    assert_eq!(rising, ["new", "waking"]);
    let week = tracks("SELECT track_id FROM top_tracks WHERE period = 'week' ORDER BY rank").await.unwrap();
    assert_eq!(week, ["old", "waking", "looped", "new"]);
    assert_eq!(stack.number("SELECT streams FROM top_tracks WHERE period = 'hour' AND rank = 1").await, 30);
}
