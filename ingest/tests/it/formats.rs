//! What players send that is not our own JSON, into ClickHouse; and requests that are sent again.

use serde_json::{Value, json};
use uuid::Uuid;
use wire::event::BatchAnswer;

use crate::support::{Stack, event, events, kind, post_with};

const JSON: (&str, &str) = ("content-type", "application/json");

fn cloud_event(id: &str, more: &Value) -> Value {
    let mut all = json!({
        "specversion": "1.0", "id": id, "source": "/player/7", "type": "com.example.player.progress",
        "time": "2026-11-21T09:00:00Z", "data": {"session_id": "s", "track_id": "t", "played_ms": 5},
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_cloud_event_lands() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let structured = ("content-type", "application/cloudevents+json; charset=utf-8");
    let id = Uuid::now_v7();
    let one = cloud_event(&id.to_string(), &json!({"region": "eu"}));
    assert_eq!(post_with(&ingest, &[structured], one.to_string()).await.status, 202);
    let batch = json!([
        cloud_event("1", &json!({})),
        cloud_event("2", &json!({"type": "dance"})),
        7,
        cloud_event("3", &json!({}))
    ]);
    let answer = post_with(&ingest, &[("content-type", "application/cloudevents-batch+json")], batch.to_string()).await;
    let told: BatchAnswer = answer.json().unwrap();
    let errors: Vec<_> = told.errors.iter().map(|e| (e.index, e.event_id.as_deref(), e.field.as_deref())).collect();
    assert_eq!((answer.status.as_u16(), told.accepted), (207, 2));
    assert_eq!(errors, [(1, Some("2"), Some("type")), (2, None, Some("."))]);
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", "4"),
        ("ce-source", "/player/7"),
        ("ce-type", "skip"),
        ("ce-time", "2026-11-21T09:00:00Z"),
        ("ce-region", "eu"),
    ];
    let data = r#"{"session_id":"s","track_id":"t"}"#;
    assert_eq!(post_with(&ingest, &[&attributes[..], &[JSON]].concat(), data).await.status, 202);
    assert_eq!(post_with(&ingest, &attributes, data).await.status, 202);
    let answer = post_with(&ingest, &attributes[1..], data).await;
    let told: BatchAnswer = answer.json().unwrap();
    assert_eq!((answer.status.as_u16(), told.errors[0].field.as_deref()), (400, Some("ce-specversion")));
    stack.until("SELECT uniqExact(event_id) FROM events WHERE wire_format = 'cloudevents'", 4).await;
    for (what, wanted) in [
        (format!("event_id = '{id}' AND type = 'progress' AND played_ms = 5"), 1),
        ("JSONExtractString(extra, 'region') = 'eu'".into(), 2),
        ("JSONExtractString(extra, 'ce_source') = '/player/7'".into(), 4),
        ("event_ts = '2026-11-21 09:00:00'".into(), 4),
    ] {
        assert_eq!(
            stack.number(&format!("SELECT uniqExact(event_id) FROM events WHERE {what}")).await,
            wanted,
            "{what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_under_its_key_has_the_same_answer_and_no_other_effect() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let key = ("idempotency-key", "\"01935b0e-7c1f\"");
    let body = json!([event(), {}]).to_string();
    let first = post_with(&ingest, &[JSON, key], body.clone()).await;
    let again = post_with(&ingest, &[JSON, key], body.clone()).await;
    assert_eq!((first.status, again.status, &first.body), (again.status, first.status, &again.body));
    assert_eq!(first.headers["content-type"], again.headers["content-type"]);
    assert_eq!(
        (first.headers.get("idempotency-replayed"), &again.headers["idempotency-replayed"]),
        (None, &"true".parse().unwrap())
    );
    let other = post_with(&ingest, &[JSON, key], event().to_string()).await;
    assert_eq!(kind(&other), (422, "idempotency-key-reused".into()));
    assert_eq!(other.json::<Value>().unwrap()["field"], "Idempotency-Key");
    for bad in ["", &"x".repeat(256), "\u{e9}"] {
        assert_eq!(
            kind(&post_with(&ingest, &[JSON, ("idempotency-key", bad)], body.clone()).await),
            (400, "bad-field".into())
        );
    }
    // A request that was refused whole may be put right under the same key.
    let fresh = ("idempotency-key", "another");
    assert_eq!(post_with(&ingest, &[JSON, fresh], "{").await.status, 400);
    assert_eq!(post_with(&ingest, &[JSON, fresh], event().to_string()).await.status, 202);
    stack.adds_up(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_requests_at_a_time_under_one_key_one_is_carried_out() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let body = json!(events(200)).to_string();
    let key = ("idempotency-key", "at-once");
    let headers = [JSON, key];
    let post = || post_with(&ingest, &headers, body.clone());
    let (a, b, c, d) = tokio::join!(post(), post(), post(), post());
    let mut fresh = 0;
    for answer in [a, b, c, d] {
        match answer.status.as_u16() {
            202 => fresh += usize::from(!answer.headers.contains_key("idempotency-replayed")),
            _ => assert_eq!(kind(&answer), (409, "idempotency-conflict".into())),
        }
    }
    assert_eq!(fresh, 1);
    stack.adds_up(200).await;
}
