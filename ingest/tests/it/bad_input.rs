//! Whatever is posted gets an answer that says what was wrong; good neighbours are not touched.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use service::Running;
use service::client::ApiClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::event::BatchAnswer;

use crate::support::{ADMIN_TOKEN, Stack, WRITE_KEY, event, events, kind, post, post_raw, post_with, send};

fn with(field: &str, value: Value) -> Value {
    let mut event = event();
    event[field] = value;
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_element_of_any_kind_is_refused_alone_by_its_index() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let deep: Value = serde_json::from_str(&("[".repeat(100) + &"]".repeat(100))).unwrap();
    let bad = [
        (json!(null), "."),
        (json!(true), "."),
        (json!(1e300), "."),
        (json!("event"), "."),
        (json!([event()]), "."),
        (deep, "."),
        (json!({}), "event_id"),
        (with("type", json!("dance")), "type"),
        (with("event_id", json!("not-a-uuid")), "event_id"),
        (with("session_id", json!("")), "session_id"),
        (with("session_id", json!("x".repeat(129))), "session_id"),
        (with("track_id", json!({"$ne": 1})), "track_id"),
        (with("track_id", json!("nul\u{0}")), "track_id"),
        (with("device", json!("x".repeat(257))), "device"),
        (with("position_ms", json!(-1)), "position_ms"),
        (with("position_ms", json!(1.5)), "position_ms"),
        (with("played_ms", json!(u64::MAX)), "played_ms"),
        (with("bitrate_kbps", json!(1e12)), "bitrate_kbps"),
        (with("seq", json!(u64::from(u32::MAX) + 1)), "seq"),
        (with("client_ts", json!("yesterday")), "client_ts"),
        (with("client_ts", json!(i64::MAX)), "client_ts"),
        (with("sent_at", json!(-5)), "sent_at"),
        (with("pop", json!("../fra")), "pop"),
        (with("decision_id", json!("7")), "decision_id"),
    ];
    // Good, bad, good, bad, ..., good.
    let mut batch = vec![event()];
    for (element, _) in &bad {
        batch.extend([element.clone(), event()]);
    }
    let answer = post(&ingest, &json!(batch)).await;
    assert_eq!(answer.status, 207);
    let told: BatchAnswer = answer.json().unwrap();
    assert_eq!(told.accepted, bad.len() + 1);
    for (i, (error, (element, field))) in told.errors.iter().zip(&bad).enumerate() {
        assert_eq!((error.index, error.status, error.retryable), (2 * i + 1, 400, false), "{element}");
        assert_eq!(error.field.as_deref(), Some(*field), "{element}: {}", error.detail);
    }
    assert_eq!(told.errors.len(), bad.len());
    stack.adds_up(bad.len() as u64 + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_no_parser_should_trust() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    for number in ["NaN", "1e999", "-0", "99999999999999999999999999", "0x10", "01", "Infinity"] {
        let good = event();
        let body = format!("{good}\n{}\n{good}", with("played_ms", json!("#")).to_string().replace("\"#\"", number));
        let answer = post_raw(&ingest, "application/x-ndjson", body).await;
        let told: BatchAnswer = answer.json().unwrap();
        assert_eq!((told.accepted, told.errors.len()), (2, 1), "{number} {told:?}");
        assert_eq!(told.errors[0].index, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_lines_are_refused_alone() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let mut body = Vec::new();
    for line in [event().to_string().as_bytes(), b"{\"event_id\":", b"\xff\xfe\x00", event().to_string().as_bytes()] {
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    let answer = post_raw(&ingest, "application/x-ndjson", body).await;
    assert_eq!(answer.status, 207);
    let told: BatchAnswer = answer.json().unwrap();
    assert_eq!((told.accepted, told.errors.iter().map(|e| e.index).collect::<Vec<_>>()), (2, vec![1, 2]));
    stack.adds_up(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_read_get_a_problem() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[("TONEARM_HTTP_MAX_BODY", "64KiB")]).await;
    let json = "application/json";
    let too_many = format!("[{}]", vec!["1"; 10_001].join(","));
    for (content_type, body, expected) in [
        (json, "", (400, "empty-batch")),
        (json, "[]", (400, "empty-batch")),
        (json, "{\"events\":[]}", (400, "empty-batch")),
        (json, "{\"events\":7}", (400, "bad-field")),
        (json, "{", (400, "not-json")),
        (json, "[{}", (400, "not-json")),
        (json, "7", (400, "not-json")),
        (json, "\u{feff}{}", (400, "not-json")),
        (json, &too_many, (413, "too-many-elements")),
        (json, &" ".repeat(65 * 1024), (413, "body-too-large")),
        (json, &"[".repeat(60_000), (400, "not-json")),
        ("application/xml", "{}", (415, "unsupported-type")),
        ("", "{}", (415, "unsupported-type")),
    ] {
        let answer = post_raw(&ingest, content_type, body.to_owned()).await;
        let brief: String = body.chars().take(40).collect();
        assert_eq!(kind(&answer), (expected.0, expected.1.to_owned()), "{content_type} {brief}");
    }
    // A batch of nothing but refused elements has the answer of a batch.
    let answer = post(&ingest, &json!([1, {}])).await;
    assert_eq!((answer.status.as_u16(), answer.json::<BatchAnswer>().unwrap().errors.len()), (400, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_key_and_token_open() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let url = ingest.url();
    let good = event().to_string();
    for (path, token) in [
        ("/v1/events", None),
        ("/v1/events", Some("write-key-of-the-tesT")),
        ("/v1/events?key=wrong", None),
        ("/v1/events?key=", None),
        ("/v1/events", Some(ADMIN_TOKEN)),
        ("/v1/deliveries", None),
        ("/v1/deliveries", Some(WRITE_KEY)),
    ] {
        let api = ApiClient::new(Duration::from_secs(30));
        let api = token.map_or(api.clone(), |token| api.with_bearer(token));
        let body = Some(("application/json", good.clone().into()));
        let answer = api.send(Method::POST, &format!("{url}{path}"), body).await.unwrap();
        assert_eq!(kind(&answer), (401, "unauthorized".into()), "{path} {token:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_paths() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let api = ApiClient::new(Duration::from_secs(30));
    let events = format!("{}/v1/events", ingest.url());
    let wrong = api.get(&events).await.unwrap();
    assert_eq!(kind(&wrong), (405, "method-not-allowed".into()));
    assert!(wrong.headers["allow"].to_str().unwrap().contains("POST"), "{:?}", wrong.headers);
    assert_eq!(kind(&api.get(&format!("{}/v1/nothing", ingest.url())).await.unwrap()), (404, "not-found".into()));
    let described: Value = api.get(&format!("{}/openapi.json", ingest.url())).await.unwrap().json().unwrap();
    assert!(described["paths"]["/v1/events"]["post"]["responses"]["207"].is_object());
    assert!(told_metrics(&api, &ingest).await.contains("tonearm_ingest_accepted_total{kind=\"event\"}"));
}

async fn told_metrics(api: &ApiClient, ingest: &Running) -> String {
    let answer = api.get(&format!("{}/metrics", ingest.url())).await.unwrap();
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_flight_are_bounded_for_all_requests_together() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[("TONEARM_HTTP_MAX_BODY", "8MiB"), ("TONEARM_INGEST_MAX_IN_FLIGHT", "1MiB")]).await;
    let answer = post_raw(&ingest, "application/json", " ".repeat(2 << 20)).await;
    assert_eq!(kind(&answer), (503, "unavailable".into()));
    assert_eq!(answer.headers["retry-after"], "1");
    // What was refused no longer counts.
    assert_eq!(post(&ingest, &json!(events(1000))).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_asks_before_it_posts() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let origin = ("origin", "https://music.example");
    // A page may set any of these; a beacon with JSON in a Blob asks with credentials.
    let asks = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-encoding,content-type,idempotency-key"),
    ];
    let preflight = send(&ingest, Method::OPTIONS, "/v1/events", &asks, Bytes::new()).await;
    assert_eq!(preflight.status, 200);
    let header = |name: &str| preflight.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("access-control-allow-origin"), origin.1);
    assert_eq!(header("access-control-allow-credentials"), "true");
    assert_eq!(header("access-control-allow-methods"), "POST");
    assert_eq!(header("access-control-allow-headers"), asks[2].1);
    let json = ("content-type", "application/json");
    let answer = post_with(&ingest, &[origin, json], event().to_string()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers["access-control-allow-origin"].to_str().unwrap()),
        (202, origin.1)
    );
    // A page reads why it was refused, too.
    let refused = post_with(&ingest, &[origin, json], "{").await;
    assert_eq!(
        (refused.status.as_u16(), refused.headers["access-control-allow-origin"].to_str().unwrap()),
        (400, origin.1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_strange_but_legal_is_kept() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let deep: Value = serde_json::from_str(&("[".repeat(100) + &"]".repeat(100))).unwrap();
    let odd = [
        with("deep", deep),
        with("nul", json!("a\u{0}b")),
        with("client_ts", json!("1970-01-01T00:00:00Z")),
        with("client_ts", json!("2100-01-01T00:00:00Z")),
        with("extra", json!({"mood": "calm"})),
    ];
    let mut lines: Vec<String> = odd.iter().map(Value::to_string).collect();
    lines.push(with("huge", json!("#")).to_string().replace("\"#\"", "99999999999999999999999999"));
    let answer = post_raw(&ingest, "application/x-ndjson", lines.join("\n")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    stack.adds_up(6).await;
    for (what, wanted) in [
        ("length(extra) = 209", 1),
        ("JSONExtractString(extra, 'nul') = 'a\\0b'", 1),
        ("toYear(client_ts) = 1970 AND event_ts = received_at AND clock_suspect", 1),
        ("toYear(client_ts) = 2100 AND event_ts = received_at AND clock_suspect", 1),
        ("extra = '{\"mood\":\"calm\"}'", 1),
        ("extra = '{\"huge\":99999999999999999999999999}'", 1),
        ("extra = ''", 2),
    ] {
        assert_eq!(stack.number(&format!("SELECT count() FROM events WHERE {what}")).await, wanted, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_given_twice_and_fields_too_long_are_refused_alone() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let twice = |name: &str| event().to_string().replacen('{', &format!("{{\"{name}\":1,\"{name}\":2,"), 1);
    let long = with("mood", json!("x".repeat(5000))).to_string();
    let lines = [event().to_string(), twice("seq"), twice("mood"), long, event().to_string()].join("\n");
    let told: BatchAnswer = post_raw(&ingest, "application/x-ndjson", lines).await.json().unwrap();
    let fields: Vec<_> = told.errors.iter().map(|e| (e.index, e.field.as_deref().unwrap())).collect();
    assert_eq!((told.accepted, fields), (2, vec![(1, "seq"), (2, "mood"), (3, "extra")]));
    // Far too many: told at once, before any of them is looked at.
    let answer = post_raw(&ingest, "application/x-ndjson", "1\n".repeat(100_000)).await;
    assert_eq!(kind(&answer), (413, "too-many-elements".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[("TONEARM_INGEST_BODY_TIMEOUT", "300ms")]).await;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITE_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{\"event_id\""
    );
    let mut stream = tokio::net::TcpStream::connect(ingest.url().trim_start_matches("http://")).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let n = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..n]);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("urn:tonearm:problem:timeout"), "{answer}");
}
