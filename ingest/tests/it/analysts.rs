//! `docs/analysts.md`: every question is asked by the account that analysts have, and the answers are those that stand
//! there. What the account may not do is in `analyst_account.rs`.

use std::fmt::Write;
use std::path::PathBuf;

use ingest::royalties;
use serde_json::json;
use service::config::{ClickHouseConfig, Loader};
use wire::Timestamp;

use crate::rows::{DAY, HOUR, MIDNIGHT, SECOND, accepted, insert};
use crate::support::Stack;

#[path = "../../../tonearm/support"]
#[allow(dead_code, unreachable_pub, reason = "shared with benchmarks, which use more of it")]
mod crowd {
    pub(crate) mod traffic;
}
use crowd::traffic::{Plan, Traffic};

const EVENTS: usize = 12_000;
const TRACKS: usize = 20;
/// Tracks from this one on are unknown to the catalog.
const KNOWN: usize = 18;

/// What edges would have sent for these plays; one in 100 was sent nothing, another three times as much.
const DELIVERIES: &str = "
    INSERT INTO deliveries (delivery_id, decision_id, started_at, received_at, pop, edge_id, key, method, status, cache_status, bytes_sent, complete)
    SELECT reinterpretAsUUID(MD5(play_id)), decision_id, started_at, started_at, pop, edge_id, concat('tracks/', track_id, '/a.m4a'),
           'GET', 206, if(chance % 20 = 3, 'miss', 'hit'), toUInt64((heard_ms + 10000) / 8 * bitrate_to_kbps * if(chance = 1, 3, 1)), true
    FROM (SELECT *, cityHash64(play_id) % 100 AS chance FROM plays) WHERE chance != 0";

async fn load(stack: &Stack) {
    let from = Timestamp::from_millis(MIDNIGHT - DAY).unwrap();
    let plan = Plan { from, listeners: 45, tracks: TRACKS, ..Plan::default() };
    let mut events: Vec<_> =
        Traffic::new(plan).take(EVENTS).map(|event| serde_json::to_value(event).unwrap()).collect();
    // One who says that ten minutes were heard after twenty seconds.
    for (at, played_ms) in [(0, 0), (20 * SECOND, 600_000)] {
        let id = uuid::Uuid::from_u128(played_ms + 1);
        let more = json!({"event_id": id, "track_id": "trk-00003", "played_ms": u64::try_from(played_ms).unwrap(),
            "bitrate_kbps": 128, "pop": "fra", "edge_id": "fra-1", "user_id": "1.liar", "device": "Chrome", "os": "Windows 11"});
        events.push(accepted(MIDNIGHT - DAY + HOUR + at, "progress", "liar", &more));
    }
    insert(stack, "analysts", &events).await;
    let catalog = format!(
        "INSERT INTO tracks SELECT concat('trk-', leftPad(toString(number), 5, '0')), concat('Song ', toString(number)), \
         'Artist', 180000, 'live' FROM numbers({KNOWN})"
    );
    for sql in [DELIVERIES, &catalog] {
        stack.clickhouse.query(sql).execute().await.unwrap();
    }
    let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
    let config: ClickHouseConfig = loader.section();
    royalties::close(&config, from.to_datetime().date_naive()).await.unwrap();
}

async fn ask(stack: &Stack, sql: &str) -> String {
    let settings = [
        ("output_format_pretty_row_numbers", "0"),
        ("output_format_pretty_color", "0"),
        ("output_format_pretty_max_rows", "1000"),
        ("output_format_pretty_single_large_number_tip_threshold", "0"),
        // A t-digest tells a little different numbers by the order in which it was merged.
        ("max_threads", "1"),
    ];
    let client = settings.iter().fold(stack.analyst(), |client, (name, value)| client.with_setting(*name, *value));
    let mut cursor = client.query(&sql.replace('?', "??")).fetch_bytes("PrettyCompactMonoBlock").unwrap();
    let answer = cursor.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    String::from_utf8(answer.to_vec()).unwrap()
}

/// The document with every answer as it is now, and how many questions it has.
async fn answered(stack: &Stack, document: &str) -> (String, usize) {
    let (mut written, mut questions, mut rest) = (String::new(), 0, document);
    while let Some((before, after)) = rest.split_once("```sql\n") {
        let (sql, after) = after.split_once("```\n").unwrap();
        let answer = ask(stack, sql).await;
        write!(written, "{before}```sql\n{sql}```\n").unwrap();
        questions += 1;
        rest = after;
        // A question about now has no answer in the document.
        if let Some(old) = after.strip_prefix("```\n") {
            assert!(answer.lines().count() >= 3, "nothing is answered to\n{sql}");
            write!(written, "```\n{answer}```\n").unwrap();
            rest = old.split_once("```\n").unwrap().1;
        }
    }
    (written + rest, questions)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_has_the_answer_that_stands_beside_it() {
    let (stack, _held) = Stack::of_analysts().await;
    load(&stack).await;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/analysts.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (now, questions) = answered(&stack, &document).await;
    assert!(questions >= 20, "{questions} questions");
    if std::env::var_os("GOLDEN").is_some_and(|mode| mode == "write") {
        std::fs::write(&path, &now).unwrap();
        return;
    }
    for (was, is) in document.lines().zip(now.lines()) {
        assert_eq!(was, is);
    }
    assert_eq!(document, now);
}
