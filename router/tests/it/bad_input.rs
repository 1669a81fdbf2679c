//! What must be refused, each with the field's name.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use wire::Timestamp;

use crate::edge::{Edge, IDLE, report};
use crate::stage::{SERVERS, Stage, problem};

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    let long = "x".repeat(129);
    for path in [
        "/v1/route",
        "/v1/route?trak=a",
        "/v1/route?track=",
        "/v1/route?track=a&track=b",
        "/v1/route?track=a%00b",
        "/v1/route?track=a%0Ab",
        "/v1/route?track=a%FF",
        &format!("/v1/route?track={long}"),
        "/v1/play/a%00b",
        "/v1/play/%FF",
        &format!("/v1/play/{long}"),
    ] {
        assert_eq!(problem(&stage.get(path).await), (400, "bad-field".into(), Some("track".into())), "{path}");
    }
    for path in ["/v1/route?track=unknown", "/v1/play/unknown", "/v1/play/", "/nothing"] {
        assert_eq!(problem(&stage.get(path).await), (404, "not-found".into(), None), "{path}");
    }
    let wrong_method = stage.player.send(Method::POST, &stage.url("/v1/route?track=a"), None).await.unwrap();
    assert_eq!(problem(&wrong_method).0, 405);
    stage.publish("song").await;
    let no_edge = crate::stage::eventually("503", || async {
        let answer = stage.get("/v1/route?track=song").await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE { Ok(answer) } else { Err(answer.status.to_string()) }
    })
    .await;
    assert_eq!(problem(&no_edge), (503, "unavailable".into(), None));
    assert_eq!(no_edge.headers["retry-after"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_described_is_there() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    let api: Value = stage.get("/openapi.json").await.json().unwrap();
    for (path, operations) in api["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let url = stage.url(&path.replace(['{', '}'], ""));
            let answer = stage.player.send(method.clone(), &url, None).await.unwrap();
            let described = &operations[method.as_str().to_lowercase()]["responses"][answer.status.as_str()];
            assert!(described.is_object(), "{method} {path} answered {}", answer.status);
            let nowhere = String::from_utf8_lossy(&answer.body).contains("nothing at this path");
            assert!(!nowhere, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_need_the_token() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    for (method, path) in [
        (Method::GET, "/v1/pops"),
        (Method::GET, "/v1/decisions/01935b0e-0000-7000-8000-000000000000"),
        (Method::POST, "/v1/fleet/reports"),
        (Method::PUT, "/v1/fleet/edges/fra-1"),
        (Method::DELETE, "/v1/fleet/edges/fra-1"),
        (Method::POST, "/v1/fleet/edges/fra-1/drain"),
        (Method::POST, "/v1/fleet/edges/fra-1/undrain"),
    ] {
        let wrong = stage.player.clone().with_bearer("0123456789abcdef-wrong");
        for client in [&stage.player, &wrong] {
            let answer = client.send_json(method.clone(), &stage.url(path), &json!({})).await.unwrap();
            assert_eq!(problem(&answer), (401, "unauthorized".into(), None), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_edges() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    let edge = Edge::listen("fra-1", Duration::ZERO).await;
    let with = |field: &str, value: Value| {
        let mut registration = edge.registration();
        registration[field] = value;
        registration
    };
    for (field, body) in [
        ("url", with("url", json!("http://"))),
        ("url", with("url", json!("http://a:99999"))),
        ("admin_url", with("admin_url", json!("gopher://a"))),
        ("capacity_bps", with("capacity_bps", json!(-1))),
        ("edge_id", with("edge_id", json!("fra-2"))),
        ("icmp_host", with("icmp_host", json!("nobody"))),
        ("pop", with("pop", json!("\0"))),
        ("place.city", with("place", json!({ "city": "\0", "country": "DE", "latitude": 1, "longitude": 1 }))),
        (".", json!([edge.registration()])),
    ] {
        let answer = stage.admin(Method::PUT, "/v1/fleet/edges/fra-1", &body).await;
        assert_eq!(problem(&answer), (400, "bad-field".into(), Some(field.into())), "{body}");
    }
    let answer = stage.admin(Method::PUT, "/v1/fleet/edges/FRA", &edge.registration()).await;
    assert_eq!(problem(&answer).2, Some("id".into()));
    let huge = with("junk", json!("x".repeat(100_000)));
    let answer = stage.admin(Method::PUT, "/v1/fleet/edges/fra-1", &huge).await;
    assert_eq!(problem(&answer), (413, "body-too-large".into(), None));
    assert_eq!(problem(&stage.admin_get("/v1/decisions/1").await).2, Some("id".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_reports() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    let edge = Edge::listen("fra-1", Duration::ZERO).await;
    stage.register(&edge).await;
    let good = report("fra-1", "fra", Timestamp::now(), 1, IDLE);
    let with = |field: &str, value: Value| {
        let mut report = good.clone();
        report[field] = value;
        report
    };
    for (field, body) in [
        ("cpu", with("cpu", json!(-0.1))),
        ("cpu", with("cpu", json!(1e300))),
        ("cpu", with("cpu", Value::Null)),
        ("network_capacity_bps", with("network_capacity_bps", json!(0))),
        ("seq", with("seq", json!(-1))),
        ("started_at", with("started_at", json!("yesterday"))),
        ("pop", with("pop", json!("waw"))),
        (".", json!("report")),
    ] {
        let answer = stage.admin(Method::POST, "/v1/fleet/reports", &body).await;
        assert_eq!(problem(&answer), (400, "bad-field".into(), Some(field.into())), "{body}");
    }
    let unknown = stage.admin(Method::POST, "/v1/fleet/reports", &with("edge_id", json!("fra-9"))).await;
    assert_eq!(problem(&unknown), (404, "not-found".into(), None));
    let garbage = Some(("application/json", bytes::Bytes::from_static(b"{\"edge_id\":")));
    let answer = stage.operator.send(Method::POST, &stage.url("/v1/fleet/reports"), garbage).await.unwrap();
    assert_eq!(problem(&answer).0, 400);
}
