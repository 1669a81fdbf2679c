//! What is posted lands in ClickHouse with its values.

use std::time::Duration;

use clickhouse::Row;
use http::Method;
use ingest::privacy::Subject;
use rdkafka::producer::FutureRecord;
use serde::Deserialize;
use serde_json::{Value, json};
use service::client::ApiClient;
use wire::event::BatchAnswer;
use wire::topic::Topic;

use crate::support::{ADMIN_TOKEN, Stack, event, events, post, post_raw};

const ID: &str = "01935b0e-0000-7000-8000-000000000001";
const DECISION: &str = "01935b0e-0000-7000-8000-00000000000d";

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_an_event_lands_in_its_column() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let sent = json!({
        "event_id": ID, "type": "stall", "session_id": "s-1", "play_id": "p-1", "seq": 3, "user_id": "u-17",
        "anon_id": "a-1", "track_id": "trk-1", "position_ms": 30000, "duration_ms": 180000, "played_ms": 29800,
        "stall_ms": 250, "client_ts": "2026-11-21T09:00:00.123Z", "sent_at": "2026-11-21T09:00:01Z",
        "device": "iPhone15,4", "os": "iOS 19", "app_version": "4.2", "bitrate_kbps": 128, "codec": "mp4a.40.2",
        "pop": "fra", "edge_id": "fra-1", "decision_id": DECISION, "cache_status": "hit", "error_code": "E7",
        "unknown": {"is": "ignored"}
    });
    assert_eq!(post(&ingest, &sent).await.status, 202);
    stack.until("SELECT count() FROM events", 1).await;
    let mut wanted = sent.clone();
    for gone in ["client_ts", "sent_at", "unknown"] {
        wanted.as_object_mut().unwrap().remove(gone);
    }
    let added = json!({"app": "web", "ingest_seq": 1, "_offset": 0, "wire_format": "json", "schema_version": 1});
    wanted.as_object_mut().unwrap().extend(added.as_object().unwrap().clone());
    // Of whom it tells, hashes and the network are kept.
    let pseudonyms = ingest::privacy::read(&stack.postgres).await.unwrap();
    wanted["user_id"] = pseudonyms.current(Subject::User, "u-17").into();
    wanted["anon_id"] = pseudonyms.current(Subject::Anon, "a-1").into();
    wanted["client_net"] = "127.0.0.0/24".into();
    let columns: Vec<&str> = wanted.as_object().unwrap().keys().map(String::as_str).collect();
    let row: Value = one(&stack, &format!("SELECT {} FROM events", columns.join(", "))).await;
    assert_eq!(row, wanted);
    let times = "SELECT toUInt64(client_ts = '2026-11-21 09:00:00.123' AND received_at > now() - 60 \
                 AND skew_ms = dateDiff('ms', toDateTime64('2026-11-21 09:00:01', 3, 'UTC'), received_at) \
                 AND ingest_id LIKE 'ingest-%') FROM events";
    assert_eq!(stack.number(times).await, 1);
}

/// The only row, as ClickHouse writes it in JSON.
async fn one(stack: &Stack, sql: &str) -> Value {
    let settings = "output_format_json_quote_64bit_integers = 0";
    let sql = format!("{sql} FORMAT JSONEachRow SETTINGS {settings}");
    let mut cursor = stack.clickhouse.query(&sql).fetch_bytes("JSONEachRow").unwrap();
    serde_json::from_slice(&cursor.collect().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_shapes_of_a_batch_land() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let lines: String = events(40).iter().map(|event| format!("{event}\r\n\n")).collect();
    assert_eq!(post(&ingest, &event()).await.status, 202);
    assert_eq!(post(&ingest, &json!(events(100))).await.status, 202);
    assert_eq!(post(&ingest, &json!({"events": events(59)})).await.status, 202);
    let answer = post_raw(&ingest, "application/x-ndjson", lines).await;
    assert_eq!((answer.status.as_u16(), answer.json::<BatchAnswer>().unwrap().accepted), (202, 40));
    // As sendBeacon does: no header of its own, the key in the query.
    let beacon = format!("{}/v1/events?key={}", ingest.url(), crate::support::WRITE_KEY);
    let body = Some(("text/plain;charset=UTF-8", event().to_string().into()));
    let api = ApiClient::new(Duration::from_secs(30));
    assert_eq!(api.send(Method::POST, &beacon, body).await.unwrap().status, 202);
    stack.adds_up(201).await;
    let sequence = stack.number("SELECT uniqExact(ingest_seq) FROM events WHERE ingest_seq BETWEEN 1 AND 201").await;
    assert_eq!(sequence, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_and_decisions_land_and_join_the_event() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let mut played = event();
    played["decision_id"] = json!(DECISION);
    assert_eq!(post(&ingest, &played).await.status, 202);
    let good = delivery();
    let mut bad = delivery();
    bad["status"] = json!(7);
    let api = ApiClient::new(Duration::from_secs(30)).with_bearer(ADMIN_TOKEN);
    let url = format!("{}/v1/deliveries", ingest.url());
    let batch = json!({"deliveries": [good, bad, 5, good]});
    let answer = api.send_json(Method::POST, &url, &batch).await.unwrap();
    assert_eq!(answer.status, 207);
    let refused: BatchAnswer = answer.json().unwrap();
    assert_eq!(refused.errors.iter().map(|error| error.index).collect::<Vec<_>>(), [1, 2]);
    let producer = service::kafka::producer(&stack.kafka).unwrap();
    let (topic, payload) = (Topic::Decisions.name(&stack.kafka.topic_prefix), decision().to_string());
    producer.send(FutureRecord::to(&topic).key(DECISION).payload(&payload), Duration::from_secs(20)).await.unwrap();
    stack.until("SELECT toUInt64(responses = 1 AND bytes = 10 AND events = 1) FROM listens", 1).await;
    let listen = one(&stack, "SELECT * EXCEPT (decided_at) FROM listens").await;
    let wanted = json!({
        "decision_id": DECISION, "track_id": "t-1", "chosen_pop": "fra", "chosen_edge": "fra-1", "chosen_reason": "near",
        "served_by": ["fra-1"], "responses": 1, "hits": 1, "bytes": 10, "events": 1, "heard_ms": 31000, "stalls": 0
    });
    assert_eq!(listen, wanted);
    let candidates = "SELECT count() FROM decisions ARRAY JOIN candidates, arrayEnumerate(candidates.edge) AS place \
                      WHERE candidates.rank = place AND excluded.edge = ['waw-1']";
    assert_eq!(stack.number(candidates).await, 2);
    for (view, rows) in [("plays", 1), ("plays_by_track_hour", 1), ("deliveries_by_pop", 1), ("decisions_by_pop", 1)] {
        assert_eq!(stack.number(&format!("SELECT count() FROM {view}")).await, rows, "{view}");
    }
    let told =
        "SELECT count() FROM deliveries WHERE tcp_rtt_us = 18250 AND tcp_retransmits = 2 AND cmcd['sid'] = 's-1'";
    assert_eq!(stack.number(told).await, 1);
    // The edge sent one record twice.
    assert_eq!(stack.number("SELECT sum(deliveries) FROM deliveries_by_pop").await, 1);
    // One event alone proves no time.
    assert_eq!(stack.number("SELECT sum(streams) FROM plays_by_track_hour").await, 0);
}

pub(crate) fn delivery() -> Value {
    json!({
        "delivery_id": ID, "decision_id": DECISION, "edge_id": "fra-1", "pop": "fra", "key": "t/1.m4s", "method": "GET",
        "status": 206, "cache_status": "hit", "range_start": 0, "bytes_sent": 10, "object_bytes": 20, "ttfb_us": 100,
        "duration_us": 200, "complete": true, "started_at": "2026-11-21T09:00:00Z", "client_net": "192.0.2.0/24",
        "tcp_rtt_us": 18250, "tcp_retransmits": 2, "cmcd": {"br": "128", "sid": "s-1"}
    })
}

pub(crate) fn decision() -> Value {
    let candidate = |edge: &str, rank: u32| {
        json!({
            "pop": "fra", "edge": edge, "rtt_ms": if rank == 1 { json!(18.5) } else { Value::Null }, "rtt_source": "probe",
            "jitter_ms": 1.5, "loss": 0.0, "load": 0.25, "network_load": 0.125, "rank": rank, "reason": "near"
        })
    };
    json!({
        "decision_id": DECISION, "decided_at": "2026-11-21T09:00:00Z", "router_id": "r-1", "via": "route",
        "policy": "three-nearest", "track_id": "t-1", "client_net": "192.0.2.0/24", "snapshot_version": 4, "ttl_s": 30,
        "candidates": [candidate("fra-1", 1), candidate("fra-2", 2)],
        "excluded": [{"pop": "waw", "edge": "waw-1", "reason": "load 0.86 over 0.80"}]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_analysts_see_says_what_it_is() {
    let stack = Stack::new().await;
    let mut loader = stack.loader(&[]);
    service::clickhouse::follow_tracks(&loader.section(), &loader.section()).await.unwrap();
    #[derive(Debug, Row, Deserialize)]
    struct Silent {
        what: String,
    }
    let sql = "SELECT name AS what FROM system.tables WHERE database = currentDatabase() AND comment = '' \
               UNION ALL SELECT concat(table, '.', name) FROM system.columns \
               WHERE database = currentDatabase() AND comment = ''";
    let silent: Vec<Silent> = stack.clickhouse.query(sql).fetch_all().await.unwrap();
    assert!(silent.is_empty(), "{:?}", silent.iter().map(|s| &s.what).collect::<Vec<_>>());
    assert!(stack.number("SELECT count() FROM system.columns WHERE database = currentDatabase()").await > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_sink_can_read_is_set_aside_and_its_neighbours_go_on() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let producer = service::kafka::producer(&stack.kafka).unwrap();
    let topic = Topic::Listens.name(&stack.kafka.topic_prefix);
    for payload in [&b"\xff\x00no event"[..], b"{}", b""] {
        let record = FutureRecord::to(&topic).key("k").payload(payload).partition(0);
        producer.send(record, Duration::from_secs(20)).await.unwrap();
    }
    assert_eq!(post(&ingest, &json!(events(30))).await.status, 202);
    let _sink = stack.sink(&[]).await;
    stack.until("SELECT count() FROM events", 30).await;
    stack.until("SELECT count() FROM dead_letter WHERE key = 'k' AND reason != ''", 3).await;
    assert_eq!(stack.number("SELECT count() FROM dead_letter WHERE payload = unhex('FF006E6F206576656E74')").await, 1);
    assert_eq!(dead_letters(&stack).await, 3);
}

/// How many messages the dead-letter topic has.
async fn dead_letters(stack: &Stack) -> i64 {
    let consumer: rdkafka::consumer::BaseConsumer = service::kafka::client_config(&stack.kafka).create().unwrap();
    let topic = Topic::Listens.dead_letter_name(&stack.kafka.topic_prefix);
    let ask = move || rdkafka::consumer::Consumer::fetch_watermarks(&consumer, &topic, 0, Duration::from_secs(20));
    tokio::task::spawn_blocking(ask).await.unwrap().unwrap().1
}
