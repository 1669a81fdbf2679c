//! What players measured: believed a little, from those who were really sent somewhere.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use service::client::Answer;
use wire::decision::{RouteAnswer, RttSource};

use crate::edge::{Edge, IDLE};
use crate::stage::{SERVERS, Stage, problem};

/// A router that believes its peer's `X-Forwarded-For`, and an edge 20 ms away.
async fn open() -> (Stage, Edge) {
    let stage = Stage::with(|config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let edge = stage.edge("fra-1", Duration::from_millis(20), IDLE).await;
    stage.publish("song").await;
    stage.routed("song", |answer| answer.candidates[0].inputs.rtt_ms.is_some()).await;
    (stage, edge)
}

/// As a listener at this address.
async fn ask(stage: &Stage, address: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder().method(method).uri(stage.url(path)).header("x-forwarded-for", address);
    let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
    let (head, body) = service::client::pool(Duration::from_secs(5), 1).request(request).await.unwrap().into_parts();
    Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
}

async fn route(stage: &Stage, address: &str) -> RouteAnswer {
    ask(stage, address, Method::GET, "/v1/route?track=song", None).await.success().unwrap().json().unwrap()
}

async fn measure(stage: &Stage, address: &str, body: Value) -> Answer {
    ask(stage, address, Method::POST, "/v1/measurements", Some(body)).await
}

fn pings(routed: &RouteAnswer, rtt_ms: f64) -> Value {
    json!({ "decision_id": routed.decision_id, "edges": [{ "edge": "fra-1", "rtt_ms": [rtt_ms, rtt_ms, rtt_ms] }] })
}

fn counted(answer: &Answer) -> bool {
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    answer.json::<Value>().unwrap()["counted"].as_bool().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_move_the_estimate_of_their_own_network() {
    let _servers = SERVERS.read().await;
    let (stage, _edge) = open().await;
    for host in 1..=60 {
        let address = format!("203.0.113.{host}");
        let routed = route(&stage, &address).await;
        assert!(counted(&measure(&stage, &address, pings(&routed, 60.0)).await));
    }
    let theirs = route(&stage, "203.0.113.200").await.candidates[0].inputs.clone();
    assert_eq!(theirs.rtt_source, RttSource::Listeners);
    // 60 samples near 60 ms against a probe of a bit more than 20 that weighs 20.
    assert!((45.0..60.0).contains(&theirs.rtt_ms.unwrap()), "{theirs:?}");
    let others = route(&stage, "198.51.100.1").await.candidates[0].inputs.clone();
    assert_eq!(others.rtt_source, RttSource::Probe);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_measurements_of_one_address_move_it_little() {
    let _servers = SERVERS.read().await;
    let (stage, _edge) = open().await;
    let honest = route(&stage, "203.0.113.1").await.candidates[0].inputs.rtt_ms.unwrap();
    let mut taken = 0;
    for _ in 0..100 {
        let routed = route(&stage, "203.0.113.1").await;
        taken += u32::from(counted(&measure(&stage, "203.0.113.1", pings(&routed, 10_000.0)).await));
    }
    assert_eq!(taken, 1);
    let after = route(&stage, "203.0.113.1").await.candidates[0].inputs.clone();
    assert_eq!(after.rtt_source, RttSource::Listeners);
    // A seventh by the sample; as much again for the probe's own movement on a busy machine.
    assert!(after.rtt_ms.unwrap() < honest * 2.0, "{honest} became {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_of_the_decision_is_refused() {
    let _servers = SERVERS.read().await;
    let (stage, _edge) = open().await;
    let routed = route(&stage, "203.0.113.1").await;
    let good = pings(&routed, 20.0);
    let refused = async |address: &str, body: &Value| problem(&measure(&stage, address, body.clone()).await);
    let bad_field = |field: &str| (400, "bad-field".to_owned(), Some(field.to_owned()));
    let other = |field: &str| (422, "other-decision".to_owned(), Some(field.to_owned()));

    let mut unknown = good.clone();
    unknown["decision_id"] = json!(wire::DecisionId::generate());
    assert_eq!(refused("203.0.113.1", &unknown).await, (404, "not-found".into(), None));
    assert_eq!(refused("198.51.100.1", &good).await, other("decision_id"));
    let with = |edges: Value| json!({ "decision_id": routed.decision_id, "edges": edges });
    let elsewhere = with(json!([{ "edge": "waw-1", "rtt_ms": [1.0] }]));
    assert_eq!(refused("203.0.113.1", &elsewhere).await, other("edges[0].edge"));
    let twice = with(json!([{ "edge": "fra-1", "rtt_ms": [1.0] }, { "edge": "fra-1", "rtt_ms": [1.0] }]));
    assert_eq!(refused("203.0.113.1", &twice).await, other("edges[1].edge"));
    for bad in [json!(-1), json!(0), json!(1e9)] {
        let body = with(json!([{ "edge": "fra-1", "rtt_ms": [1.0, bad] }]));
        assert_eq!(refused("203.0.113.1", &body).await, bad_field("edges[0].rtt_ms[1]"));
    }
    assert_eq!(refused("203.0.113.1", &json!({ "edges": [] })).await, bad_field("decision_id"));

    assert!(counted(&measure(&stage, "203.0.113.1", good.clone()).await));
    assert!(!counted(&measure(&stage, "203.0.113.2", good).await), "a decision counts once, whoever sends it");
}
