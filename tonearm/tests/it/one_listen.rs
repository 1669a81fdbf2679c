//! One listen, end to end, on the stack that `make up` starts; then every role is killed in turn.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use service::client::ApiClient;

use crate::local_stack::{LocalStack, Role, text};

const ROLES: [Role; 6] = [
    Role { command: "router", edge: None },
    Role { command: "ingest", edge: None },
    Role { command: "sink", edge: None },
    Role { command: "catalog", edge: None },
    Role { command: "edge", edge: Some("waw-1") },
    Role { command: "edge", edge: Some("nyc-2") },
];

#[tokio::test(flavor = "multi_thread")]
async fn one_listen_end_to_end() {
    let stack = tokio::task::spawn_blocking(LocalStack::up).await.unwrap();
    the_listen_is_in_clickhouse(&stack).await;
    the_audio_is_the_origins(&stack).await;
    a_second_up_says_where_it_is(&stack);
    for role in &ROLES {
        the_rest_serves_while_it_is_dead(&stack, role).await;
        it_is_started_again(&stack, role).await;
    }
    stack.listen_well("trk-005");
    let down = stack.down();
    assert!(down.status.success(), "{}", text(&down));
    assert_eq!(stack.left(), Vec::<i32>::new(), "processes are left");
}

/// The listen that `up` plays: its decision, its deliveries and its events, joined.
async fn the_listen_is_in_clickhouse(stack: &LocalStack) {
    let at = &stack.endpoints;
    let sql = "SELECT uniqExact(d.decision_id), uniqExact(e.event_id), uniqExact(v.delivery_id), any(d.chosen_edge),
                      any(v.edge_id)
               FROM decisions d JOIN events e USING (decision_id) JOIN deliveries v USING (decision_id)
               FORMAT JSONCompactEachRow";
    // As an analyst would.
    let login = format!("user={}&password={}", at.analyst_user, at.analyst_password);
    let url = format!("{}/?database={}&{login}", at.clickhouse_http, at.clickhouse_database);
    let answer = ApiClient::new(Duration::from_secs(20))
        .send(Method::POST, &url, Some(("text/plain", Bytes::from_static(sql.as_bytes()))))
        .await
        .unwrap();
    let row: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{:?}", answer.body));
    let number = |at: usize| row[at].as_str().map_or_else(|| row[at].as_u64(), |n| n.parse().ok()).unwrap();
    assert_eq!(number(0), 1, "{row}");
    // At least play_start and the end; at least two playlists, an init and two segments.
    assert!(number(1) >= 2 && number(2) >= 5, "{row}");
    assert_eq!(row[3], row[4], "served by the edge that was chosen: {row}");
}

/// Byte for byte, and ffprobe reads it.
async fn the_audio_is_the_origins(stack: &LocalStack) {
    let at = &stack.endpoints;
    let api = ApiClient::new(Duration::from_secs(20));
    let played = api.get(&format!("{}/v1/play/trk-003", at.router)).await.unwrap();
    assert_eq!(played.status, 302);
    let url = played.headers["location"].to_str().unwrap().to_owned();
    let served = api.get(&url).await.unwrap().success().unwrap();
    let key = url.split('?').next().unwrap().splitn(4, '/').nth(3).unwrap();
    assert_eq!(served.body, origin_object(stack, key).await, "{key}");
    let file = tempfile::NamedTempFile::with_suffix(".m4a").unwrap();
    std::fs::write(file.path(), &served.body).unwrap();
    let probe = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"])
        .arg(file.path())
        .output()
        .unwrap();
    let seconds: f64 = String::from_utf8(probe.stdout).unwrap().trim().parse().unwrap();
    assert!(seconds > 60.0, "{seconds} s");
}

async fn origin_object(stack: &LocalStack, key: &str) -> Bytes {
    let s3 = &stack.endpoints.s3;
    let credentials = rusty_s3::Credentials::new(s3.access_key.as_str(), s3.secret_key.as_str());
    let endpoint = s3.endpoint.parse().unwrap();
    let bucket = rusty_s3::Bucket::new(endpoint, rusty_s3::UrlStyle::Path, s3.bucket.clone(), "us-east-1").unwrap();
    let url = rusty_s3::S3Action::sign(&bucket.get_object(Some(&credentials), key), Duration::from_secs(60));
    let request = http::Request::get(url.as_str()).body(http_body_util::Full::default()).unwrap();
    let response = service::client::pool(Duration::from_secs(5), 1).request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap().to_bytes()
}

fn a_second_up_says_where_it_is(stack: &LocalStack) {
    let output = stack.up_again();
    assert!(output.status.success() && text(&output).contains("already up"), "{}", text(&output));
}

/// What does not stand on the dead role answers as before.
async fn the_rest_serves_while_it_is_dead(stack: &LocalStack, role: &Role) {
    stack.kill(role);
    let at = &stack.endpoints;
    let api = ApiClient::new(Duration::from_secs(20));
    if role.command != "router" {
        let answer = api.get(&format!("{}/v1/route?track=trk-002", at.router)).await.unwrap();
        assert_eq!(answer.status, 200, "{role:?}: {:?}", answer.body);
    }
    if role.command != "ingest" {
        let answer = api
            .clone()
            .with_bearer(&at.write_key)
            .with_header(http::header::ORIGIN, http::HeaderValue::from_static("http://localhost:5173"))
            .send_json(Method::POST, &format!("{}/v1/events", at.ingest), &event())
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{role:?}: {:?}", answer.body);
    }
    if role.command != "catalog" {
        let url = format!("{}/v1/tracks/trk-002", at.catalog);
        let answer = api.clone().with_bearer(&at.admin_token).get(&url).await.unwrap();
        assert_eq!(answer.status, 200, "{role:?}: {:?}", answer.body);
    }
    for edge in at.edges.iter().filter(|edge| role.edge != Some(edge.id.as_str())) {
        let answer = api.get(&format!("{}/tracks/trk-002/v1/master.m3u8", edge.url)).await.unwrap();
        assert_eq!(answer.status, 200, "{role:?}: {}: {:?}", edge.id, answer.body);
    }
}

fn event() -> Value {
    json!({
        "event_id": uuid::Uuid::now_v7(), "type": "pause", "session_id": "s", "track_id": "trk-002",
        "client_ts": wire::Timestamp::now(),
    })
}

/// A listen right after the kill is whole: other candidates stand in for an edge, retries for ingest,
/// and devstack brings back the rest.
async fn it_is_started_again(stack: &LocalStack, role: &Role) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while stack.pid_of(role).is_none() {
        assert!(Instant::now() < deadline, "{role:?} was not started again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if role.command == "router" {
        until_routed(stack).await;
    }
    tokio::task::block_in_place(|| stack.listen_well("trk-004"));
}

/// A router that has just started first probes its edges.
async fn until_routed(stack: &LocalStack) {
    let api = ApiClient::new(Duration::from_secs(5));
    let url = format!("{}/v1/route?track=trk-004", stack.endpoints.router);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match api.get(&url).await {
            Ok(answer) if answer.status == 200 => return,
            last => assert!(Instant::now() < deadline, "the router does not route: {last:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
