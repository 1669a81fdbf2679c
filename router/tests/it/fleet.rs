//! Edges come, go, drain, die and fill up; tracks too.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use wire::Timestamp;
use wire::decision::RouteAnswer;

use crate::edge::{Edge, IDLE, Load, report};
use crate::stage::{SERVERS, Stage, eventually, problem};

/// Two edges that both get listeners.
async fn two_edges() -> (Stage, Edge, Edge) {
    let stage = Stage::open().await;
    let one = stage.edge("fra-1", Duration::ZERO, Load { cpu: 0.2, network: 0.1 }).await;
    let other = stage.edge("fra-2", Duration::ZERO, Load { cpu: 0.2, network: 0.2 }).await;
    stage.publish("song").await;
    stage.routed("song", |answer| answer.candidates.len() == 2).await;
    (stage, one, other)
}

fn excluded<'a>(answer: &'a RouteAnswer, edge: &str) -> Option<&'a str> {
    answer.excluded.iter().find(|e| e.edge.as_str() == edge).map(|e| e.reason.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_whose_listener_died_is_left_out_and_comes_back() {
    let _servers = SERVERS.read().await;
    let (stage, one, _other) = two_edges().await;
    one.kill_listener().await;
    let down = |answer: &RouteAnswer| excluded(answer, "fra-1").is_some_and(|reason| reason.starts_with("down: "));
    let routed = stage.routed("song", down).await;
    assert_eq!(routed.candidates[0].inputs.edge.as_str(), "fra-2");
    stage.health("edges", "degraded", "1 of 2 edges get no listeners: fra-1").await;
    one.listen_again().await;
    stage.routed("song", |answer| answer.candidates.len() == 2).await;
    stage.health("edges", "ok", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_edge_is_left_out_and_all_full_fail_open() {
    let _servers = SERVERS.read().await;
    let (stage, one, other) = two_edges().await;
    one.set_load(Some(Load { cpu: 0.86, network: 0.1 }));
    let routed = stage.routed("song", |answer| answer.candidates.len() == 1).await;
    assert_eq!(excluded(&routed, "fra-1"), Some("load 0.86 over 0.80"));
    other.set_load(Some(Load { cpu: 0.3, network: 0.95 }));
    let routed = stage.routed("song", |answer| answer.candidates.len() == 2).await;
    assert_eq!(routed.candidates[0].inputs.reason, "every edge is over load 0.80: the lowest is 0.86");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_falls_silent_is_left_out() {
    let _servers = SERVERS.read().await;
    let (stage, one, _other) = two_edges().await;
    one.set_load(None);
    let silent = |answer: &RouteAnswer| excluded(answer, "fra-1").is_some_and(|r| r.starts_with("no load report for "));
    stage.routed("song", silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_undrain_and_delete_hold_at_once() {
    let _servers = SERVERS.read().await;
    let (stage, _one, _other) = two_edges().await;
    let now = async || stage.get("/v1/route?track=song").await.json::<RouteAnswer>().unwrap();
    let drained = stage.admin(Method::POST, "/v1/fleet/edges/fra-1/drain", &json!({})).await;
    assert_eq!(drained.json::<Value>().unwrap(), json!({ "edge_id": "fra-1", "state": "drain" }));
    assert_eq!(excluded(&now().await, "fra-1"), Some("drain"));
    stage.admin(Method::POST, "/v1/fleet/edges/fra-1/undrain", &json!({})).await.success().unwrap();
    assert_eq!(now().await.candidates.len(), 2);
    let deleted = stage.admin(Method::DELETE, "/v1/fleet/edges/fra-1", &json!({})).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let routed = now().await;
    assert_eq!((routed.candidates.len(), routed.excluded.len()), (1, 0));
    for (method, path) in [(Method::DELETE, "/v1/fleet/edges/fra-1"), (Method::POST, "/v1/fleet/edges/fra-1/drain")] {
        assert_eq!(problem(&stage.admin(method, path, &json!({})).await), (404, "not-found".into(), None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pops_show_what_the_router_sees() {
    let _servers = SERVERS.read().await;
    let (stage, one, _other) = two_edges().await;
    let mut registration = one.registration();
    registration["place"] = json!({ "city": "Frankfurt", "country": "DE", "latitude": 50.1, "longitude": 8.7 });
    stage.admin(Method::PUT, "/v1/fleet/edges/fra-1", &registration).await.success().unwrap();
    let pops: Value = stage.admin_get("/v1/pops").await.json().unwrap();
    let pop = &pops["pops"][0];
    assert_eq!((&pop["pop"], &pop["place"]["city"]), (&json!("fra"), &json!("Frankfurt")));
    let edge = &pop["edges"][0];
    assert_eq!((&edge["edge_id"], &edge["fit"], &edge["loss"]), (&json!("fra-1"), &json!(true), &json!(0.0)));
    assert!(edge["rtt_ms"].as_f64().unwrap() > 0.0 && edge["report"]["load"] == 0.2, "{edge}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_entry_in_the_database_blocks_nothing() {
    let _servers = SERVERS.read().await;
    let (stage, _one, other) = two_edges().await;
    let spoil = "UPDATE edges SET url = 'not a url' WHERE edge_id = 'fra-1'";
    sqlx::query(spoil).execute(&stage.pool).await.unwrap();
    let routed = stage.routed("song", |answer| answer.candidates.len() == 1).await;
    assert_eq!(routed.candidates[0].inputs.edge.as_str(), other.id);
    let pops: Value = stage.admin_get("/v1/pops").await.json().unwrap();
    assert!(pops["refused"]["fra-1"].as_str().unwrap().starts_with("url: "), "{pops}");
    stage.health("edges", "degraded", "1 of the fleet's entries refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn icmp_tells_the_nearer_round_trip_of_a_slow_edge() {
    if surge_ping::Client::new(&surge_ping::Config::default()).is_err() {
        eprintln!("skipped: no ICMP socket (needs root, CAP_NET_RAW or net.ipv4.ping_group_range)");
        return;
    }
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    let slow = stage.edge("fra-1", Duration::from_millis(200), IDLE).await;
    stage.publish("song").await;
    let by_http = stage.routed("song", |answer| answer.candidates[0].inputs.rtt_ms.is_some()).await;
    assert!(by_http.candidates[0].inputs.rtt_ms.unwrap() >= 200.0);
    let mut registration = slow.registration();
    registration["icmp_host"] = json!("127.0.0.1");
    stage.admin(Method::PUT, "/v1/fleet/edges/fra-1", &registration).await.success().unwrap();
    stage.routed("song", |answer| answer.candidates[0].inputs.rtt_ms.is_some_and(|rtt| rtt < 200.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_reports_change_nothing() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    let edge = Edge::listen("fra-1", Duration::ZERO).await;
    stage.register(&edge).await;
    let started = Timestamp::now();
    let post = async |started, seq, cpu| {
        let report = report("fra-1", "fra", started, seq, Load { cpu, network: 0.1 });
        let answer = stage.admin(Method::POST, "/v1/fleet/reports", &report).await;
        answer.success().unwrap().json::<Value>().unwrap()["accepted"].as_bool().unwrap()
    };
    assert!(post(started, 7, 0.3).await);
    assert!(!post(started, 6, 0.9).await && !post(started, 7, 0.9).await);
    assert!(!post(started.saturating_add_millis(-60_000), 99, 0.9).await);
    let pops: Value = stage.admin_get("/v1/pops").await.json().unwrap();
    assert_eq!(pops["pops"][0]["edges"][0]["report"]["load"], 0.3);
    assert!(post(started.saturating_add_millis(1), 1, 0.4).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_published_this_second_is_looked_up() {
    let _servers = SERVERS.read().await;
    // The snapshot is read at the start and not again.
    let stage = Stage::with(|config| config.refresh_interval = service::config::Span::from_secs(3600)).await;
    let _edge = stage.edge("fra-1", Duration::ZERO, IDLE).await;
    assert_eq!(problem(&stage.get("/v1/route?track=new").await), (404, "not-found".into(), None));
    stage.publish("new").await;
    stage.publish("newer").await;
    // "No such track" is remembered for a moment; one never asked for is there at once.
    stage.routed("newer", |_| true).await;
    stage.routed("new", |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_track_is_gone_soon() {
    let _servers = SERVERS.read().await;
    let (stage, _one, _other) = two_edges().await;
    let withdraw = "UPDATE tracks SET state = 'withdrawn', changed_at = now() WHERE track_id = 'song'";
    sqlx::query(withdraw).execute(&stage.pool).await.unwrap();
    eventually("404", || async {
        let status = stage.get("/v1/play/song").await.status;
        if status == StatusCode::NOT_FOUND { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}
