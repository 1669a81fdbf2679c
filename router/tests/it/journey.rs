//! Registration, probe, report, route, decision in Kafka.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use wire::decision::{RttSource, Via};

use crate::edge::Load;
use crate::kafka::decisions;
use crate::stage::{SERVERS, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_is_sent_to_the_least_loaded_of_the_three_nearest() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    let at = |ms, network| (Duration::from_millis(ms), Load { cpu: 0.2, network });
    let mut edges = Vec::new();
    for (id, (latency, load)) in
        [("waw-1", at(5, 0.5)), ("fra-1", at(15, 0.1)), ("fra-2", at(25, 0.3)), ("nyc-1", at(80, 0.0))]
    {
        edges.push(stage.edge(id, latency, load).await);
    }
    stage.publish("song").await;

    // Until every edge has been probed and has reported.
    let all_known = |answer: &wire::decision::RouteAnswer| {
        let further = |e: &wire::decision::Excluded| e.reason.contains("further than") && e.reason.ends_with(" ms");
        answer.candidates.iter().all(|c| c.inputs.rtt_ms.is_some()) && answer.excluded.iter().any(further)
    };
    let routed = stage.routed("song", all_known).await;
    let routed_edges: Vec<&str> = routed.candidates.iter().map(|c| c.inputs.edge.as_str()).collect();
    assert_eq!(routed_edges, ["fra-1", "fra-2", "waw-1"]);
    let first = &routed.candidates[0];
    let query = format!("?decision_id={}", routed.decision_id);
    assert_eq!(first.url, Some(format!("{}/t/song/all%20of%20it.m4a{query}", edges[1].url())));
    assert_eq!(first.hls_url, Some(format!("{}/t/song/master.m3u8{query}", edges[1].url())));
    assert_eq!(first.probe_url, format!("{}/.tonearm/ping", edges[1].url()));
    assert_eq!(first.inputs.reason, "lowest network load of the 3 nearest");
    assert_eq!(routed.candidates[1].inputs.reason, "2nd: network load 0.30 against 0.10");
    assert!(first.inputs.rtt_ms.unwrap() >= 15.0 && first.inputs.rtt_source == RttSource::Probe);
    assert_eq!(routed.excluded[0].edge.as_str(), "nyc-1");

    let id = routed.decision_id.to_string();
    let logged = decisions(&stage.config.kafka, std::slice::from_ref(&id)).await;
    let told = stage.admin_get(&format!("/v1/decisions/{id}")).await;
    assert_eq!(told.json::<wire::decision::Decision>().unwrap(), logged[&id]);
    let decision = &logged[&id];
    assert_eq!((decision.via, decision.client_net.as_str()), (Via::Route, "127.0.0.0/24"));
    assert_eq!((decision.router_id.as_str(), decision.policy.as_str()), ("router-test", "three-nearest"));
    assert_eq!(decision.candidates[0], first.inputs);
    assert!(decision.snapshot_version > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn play_redirects_to_the_first_candidate() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    let edge = stage.edge("fra-1", Duration::ZERO, crate::edge::IDLE).await;
    stage.publish("a/b ♪").await;
    stage.routed("a%2Fb+%E2%99%AA", |_| true).await;
    let answer = stage.get("/v1/play/a%2Fb%20%E2%99%AA").await;
    assert_eq!(answer.status, StatusCode::FOUND);
    let location = answer.headers["location"].to_str().unwrap();
    let base = format!("{}/t/a/b%20%E2%99%AA/all%20of%20it.m4a?decision_id=", edge.url());
    let id = location.strip_prefix(&base).unwrap_or_else(|| panic!("{location}")).to_owned();
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(decisions(&stage.config.kafka, std::slice::from_ref(&id)).await[&id].via, Via::Play);
}

#[tokio::test(flavor = "multi_thread")]
async fn players_on_any_origin_may_ask() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    let preflight = http::Request::builder()
        .method(Method::OPTIONS)
        .uri(stage.url("/v1/measurements"))
        .header("origin", "https://player.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .body(http_body_util::Full::default())
        .unwrap();
    let answer = service::client::pool(Duration::from_secs(5), 1).request(preflight).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert!(answer.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    // What is refused can be read as well.
    let answer = stage.get("/v1/route").await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_made_before_the_stop_reach_kafka() {
    let _servers = SERVERS.read().await;
    let mut stage = Stage::open().await;
    let _edge = stage.edge("fra-1", Duration::ZERO, crate::edge::IDLE).await;
    stage.publish("song").await;
    let mut ids = vec![stage.routed("song", |_| true).await.decision_id.to_string()];
    for _ in 0..50 {
        let routed: Value = stage.get("/v1/route?track=song").await.success().unwrap().json().unwrap();
        ids.push(routed["decision_id"].as_str().unwrap().to_owned());
    }
    stage.stop().await;
    decisions(&stage.config.kafka, &ids).await;
}
