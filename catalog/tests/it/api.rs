//! What operators can say, and what they are answered.

use http::Method;
use serde_json::{Value, json};
use service::client::ApiClient;
use wire::track::{TrackState, TrackStatus};

use crate::stage::{Stage, spec};

#[tokio::test]
async fn a_track_is_registered_replaced_and_told() {
    let stage = Stage::new().await;
    let catalog = stage.catalog().await;
    let api = &catalog.api;
    // The path is percent-decoded: `AC/DC ♪`.
    let created = api.put("AC%2FDC%20%E2%99%AA", &spec("a", 3)).await;
    assert_eq!(created.status, 201);
    let status: TrackStatus = created.json().unwrap();
    assert_eq!((status.track_id.as_str(), status.state, status.version), ("AC/DC ♪", TrackState::Ready, 0));

    let told = api.track("AC%2FDC%20%E2%99%AA").await;
    for field in ["title", "artist", "duration_ms", "renditions", "objects"] {
        assert_eq!(told[field], spec("a", 3)[field], "{field}");
    }
    let row = "SELECT md5(t::text) FROM tracks t";
    let before: String = sqlx::query_scalar(row).fetch_one(&stage.pool).await.unwrap();
    let mut shuffled = spec("a", 3);
    shuffled["objects"].as_array_mut().unwrap().reverse();
    assert_eq!(api.put("AC%2FDC%20%E2%99%AA", &shuffled).await.status, 200);
    let after: String = sqlx::query_scalar(row).fetch_one(&stage.pool).await.unwrap();
    assert_eq!(before, after, "the same specification again changes nothing");

    assert_eq!(api.put("AC%2FDC%20%E2%99%AA", &spec("b", 2)).await.status, 200);
    assert_eq!(api.track("AC%2FDC%20%E2%99%AA").await["objects"], spec("b", 2)["objects"]);
    catalog.stop().await;
}

#[tokio::test]
async fn bad_input_is_refused_by_its_field() {
    let stage = Stage::new().await;
    let catalog = stage.catalog().await;
    let api = &catalog.api;
    assert_eq!(api.put("t", &spec("t", 2)).await.status, 201);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut spec = spec("t", 2);
        change(&mut spec);
        spec.to_string()
    };
    let table: Vec<(String, &str)> = vec![
        ("".into(), "."),
        ("[]".into(), "."),
        ("\"\u{0}\"".into(), "."),
        ("[".repeat(10_000), "."),
        (with(&|s| s["title"] = json!("")), "title"),
        (with(&|s| s["title"] = json!(7)), "title"),
        (with(&|s| s["artist"] = json!("a\u{0}b")), "artist"),
        (with(&|s| s["artist"] = json!("x".repeat(600))), "artist"),
        (with(&|s| s["duration_ms"] = json!(0)), "duration_ms"),
        (with(&|s| s["duration_ms"] = json!(-1)), "duration_ms"),
        (with(&|s| s["duration_ms"] = json!(1e300)), "duration_ms"),
        (with(&|s| drop(s.as_object_mut().unwrap().remove("objects"))), "objects"),
        (with(&|s| s["objects"] = json!([])), "objects"),
        (with(&|s| s["objects"][1]["key"] = json!("../x")), "objects[1].key"),
        (with(&|s| s["objects"][1] = s["objects"][0].clone()), "objects[1].key"),
        (with(&|s| s["objects"][1]["bytes"] = json!(u64::MAX)), "objects[1].bytes"),
        (with(&|s| s["objects"][1]["content_type"] = json!("a\nb")), "objects[1].content_type"),
        (with(&|s| s["objects"][1]["content_type"] = json!("")), "objects[1].content_type"),
        (with(&|s| s["renditions"] = json!([])), "renditions"),
        (with(&|s| s["renditions"][0]["kind"] = json!("vinyl")), "renditions[0].kind"),
        (with(&|s| s["renditions"][0]["key"] = json!("elsewhere")), "renditions[0].key"),
        (with(&|s| s["renditions"][0]["codec"] = json!("")), "renditions[0].codec"),
        (with(&|s| s["renditions"][0]["bitrate_kbps"] = json!(0)), "renditions[0].bitrate_kbps"),
        (with(&|s| s["renditions"][0]["bitrate_kbps"] = json!(4_000_000_000_u32)), "renditions[0].bitrate_kbps"),
        (with(&|s| s["renditions"] = json!([s["renditions"][0], s["renditions"][0]])), "renditions[1].key"),
        (long_objects(), "objects"),
    ];
    for (body, field) in table {
        let start: String = body.chars().take(200).collect();
        let answer = api.send(Method::PUT, "/v1/tracks/t", body).await;
        assert_problem(&answer, 400, Some(field), &start);
    }
    for (body, field) in [
        (json!({"pops": ["nowhere"]}), "pops[0]"),
        (json!({"pops": ["NO"]}), "pops[0]"),
        (json!({"pops": "fra"}), "pops"),
        (json!({"pops": vec!["x"; 2000]}), "pops"),
        (json!([]), "."),
    ] {
        let answer = api.send(Method::POST, "/v1/tracks/t/publish", body.to_string()).await;
        assert_problem(&answer, 400, Some(field), &body.to_string());
    }
    for (path, field) in [
        ("/v1/tracks?limit=0", "limit"),
        ("/v1/tracks?limit=9999999999999", "limit"),
        ("/v1/tracks?limit=1&limit=2", "query"),
        ("/v1/tracks?after=%00", "after"),
        ("/v1/tracks/%00", "track_id"),
        ("/v1/tracks/%FF", "track_id"),
    ] {
        assert_problem(&api.get(path).await, 400, Some(field), path);
    }
    assert_problem(&api.get(&format!("/v1/tracks/{}", "x".repeat(129))).await, 400, Some("track_id"), "long id");
    assert_eq!(api.send(Method::PUT, "/v1/tracks/t", "{").await.status, 400, "broken off");
    let huge = api.send(Method::PUT, "/v1/tracks/t", vec![b' '; (1 << 20) + 1]).await;
    assert_problem(&huge, 413, None, "huge");
    assert_eq!(api.track("t").await["objects"], spec("t", 2)["objects"], "refusals change nothing");
    assert_eq!(stage.number("SELECT count(*) FROM outbox").await, 0);
    catalog.stop().await;
}

/// Below the body's limit, above what one Kafka message holds.
fn long_objects() -> String {
    let mut spec = spec("t", 900);
    for object in spec["objects"].as_array_mut().unwrap().iter_mut().skip(1) {
        object["key"] = json!(format!("{}/{}", "k".repeat(900), object["key"].as_str().unwrap()));
    }
    spec.to_string()
}

fn assert_problem(answer: &service::client::Answer, status: u16, field: Option<&str>, input: &str) {
    assert_eq!(answer.status, status, "{input}: {answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{input}");
    let problem: Value = answer.json().unwrap();
    assert_eq!(problem["field"].as_str(), field, "{input}: {problem}");
}

#[tokio::test]
async fn tracks_are_listed_page_by_page() {
    let stage = Stage::new().await;
    let catalog = stage.catalog().await;
    let api = &catalog.api;
    assert_eq!(api.get("/v1/tracks").await.json::<Value>().unwrap(), json!({"tracks": [], "next": null}));
    for i in 0..5 {
        assert_eq!(api.put(&format!("t{i}"), &spec("t", 1)).await.status, 201);
    }
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let page: Value = api.get(&format!("/v1/tracks?limit=2{after}")).await.json().unwrap();
        let ids: Vec<String> = page["tracks"].as_array().unwrap().iter().map(|t| t["track_id"].to_string()).collect();
        pages.push(ids.join(","));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(pages, [r#""t0","t1""#, r#""t2","t3""#, r#""t4""#]);
    catalog.stop().await;
}

#[tokio::test]
async fn publishing_again_changes_nothing_until_something_changed() {
    let stage = Stage::new().await;
    stage.pop("fra").await;
    stage.pop("waw").await;
    let catalog = stage.catalog().await;
    let api = &catalog.api;
    api.release("t", &["fra", "waw", "fra"]).await;
    api.until_state("t", "live").await;
    for pops in [&["fra", "waw"][..], &["waw", "fra"]] {
        let again = api.publish("t", pops).await;
        assert_eq!((again.status.as_u16(), again.json::<TrackStatus>().unwrap().version), (200, 1));
    }
    let other_pops = api.publish("t", &["fra"]).await;
    assert_eq!((other_pops.status.as_u16(), other_pops.json::<TrackStatus>().unwrap().version), (202, 2));
    api.until_state("t", "live").await;
    assert_eq!(api.put("t", &spec("t", 4)).await.status, 200);
    assert_eq!(api.track("t").await["revised"], true);
    let revised = api.publish("t", &["fra"]).await;
    assert_eq!((revised.status.as_u16(), revised.json::<TrackStatus>().unwrap().version), (202, 3));
    assert_eq!(api.until_state("t", "live").await["revised"], false);
    assert_eq!(stage.number("SELECT count(*) FROM outbox").await, 3, "one event a version");
    catalog.stop().await;
}

#[tokio::test]
async fn impossible_steps_are_conflicts() {
    let stage = Stage::new().await;
    let catalog = stage.catalog().await;
    let api = &catalog.api;
    assert_problem(&api.publish("unknown", &[]).await, 404, None, "unknown");
    assert_problem(&api.withdraw("unknown").await, 404, None, "unknown");
    api.put("t", &spec("t", 1)).await;
    assert_problem(&api.withdraw("t").await, 409, None, "withdraw before publish");
    // Nobody listens there, so the track stays rolling out.
    stage.edge_at("fra-1", "fra", "http://127.0.0.1:9").await;
    assert_eq!(api.publish("t", &[]).await.status, 202);
    assert_eq!(api.put("t", &spec("t", 1)).await.status, 200, "the same specification is no change");
    assert_problem(&api.put("t", &spec("t", 2)).await, 409, None, "replace while rolling out");
    assert_eq!(api.withdraw("t").await.status, 202);
    assert_eq!(api.withdraw("t").await.status, 200);
    assert_problem(&api.publish("t", &[]).await, 409, None, "publish while withdrawn");
    assert_eq!(api.put("t", &spec("t", 1)).await.json::<TrackStatus>().unwrap().state, TrackState::Ready);
    assert_eq!(api.publish("t", &[]).await.json::<TrackStatus>().unwrap().version, 2);
    catalog.stop().await;
}

#[tokio::test]
async fn only_operators_may_ask() {
    let stage = Stage::new().await;
    let catalog = stage.catalog().await;
    let url = catalog.running.url();
    for client in [ApiClient::new(std::time::Duration::from_secs(5)), wrong_token()] {
        for path in ["/v1/tracks", "/v1/tracks/t"] {
            assert_problem(&client.get(&format!("{url}{path}")).await.unwrap(), 401, None, path);
        }
        for path in ["/v1/tracks/t/publish", "/v1/tracks/t/withdraw"] {
            let answer = client.send(Method::POST, &format!("{url}{path}"), None).await.unwrap();
            assert_problem(&answer, 401, None, path);
        }
    }
    let paths = catalog.api.get("/openapi.json").await.json::<Value>().unwrap()["paths"].clone();
    for path in ["/v1/tracks", "/v1/tracks/{track_id}", "/v1/tracks/{track_id}/publish", "/health/detailed"] {
        assert!(paths[path].is_object(), "{path} is described");
    }
    catalog.stop().await;
}

fn wrong_token() -> ApiClient {
    ApiClient::new(std::time::Duration::from_secs(5)).with_bearer("not-the-admin-token")
}
