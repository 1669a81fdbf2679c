//! Clients that others wrote, against real roles and servers; each event is looked for in ClickHouse.
//!
//! `make check-clients` runs this: it needs packages from PyPI, curl, zstd and Chromium, so nothing else does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;
use wire::Timestamp;

use crate::support::process::{Core, Server, free_port, ready};
use crate::support::stack::{Stack, WRITE_KEY};

const PACKAGES: [&str; 2] = ["liblistenbrainz==0.7.0", "cloudevents==2.2.0"];

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a client to its end; what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{warned}", output.status);
    said.into_owned()
}

/// A Python with these packages, in `target/`.
pub(crate) fn python(packages: &[&str]) -> PathBuf {
    let venv = run(Command::new(repository().join("scripts/python-env")).args(packages));
    Path::new(venv.trim()).join("bin/python")
}

/// Waits until the query over the events gives `wanted`.
async fn found(stack: &Stack, wanted: u64, condition: &str) {
    let clickhouse =
        clickhouse::Client::default().with_url(&stack.servers.clickhouse_http).with_database(&stack.database);
    let sql = format!("SELECT uniqExact(event_id) FROM events WHERE {condition}");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found: u64 = clickhouse.query(&sql).fetch_one().await.unwrap();
        if found == wanted {
            println!("{found:>5}  {sql}");
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {found}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PyPI, curl, zstd and Chromium: make check-clients"]
async fn each_has_posted_events_that_a_query_finds() {
    let python = python(&PACKAGES);
    let stack = Stack::start(Core::Any).await.unwrap();
    let (_ingest, url) = stack.role("ingest", &[]).await.unwrap();
    let (_sink, _) = stack.role("sink", &[("TONEARM_SINK_BATCH_WAIT", "200ms")]).await.unwrap();
    listenbrainz(&stack, &python, &url).await;
    cloud_events(&stack, &python, &url).await;
    curl(&stack, &url).await;
    beacon(&stack, &python, &url).await;
}

async fn listenbrainz(stack: &Stack, python: &Path, url: &str) {
    let printed = stack.tonearm(&["keys", "create", "user", "--user", "ada", "--json"]).unwrap();
    let key: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let token = key["secret"].as_str().unwrap();
    // A wrong token, and then the good one, which ingest knows within a second.
    let script = repository().join("scripts/clients/listens.py");
    until_known(url, token).await;
    run(Command::new(python).arg(script).args([url, token, "no-such-token"]));
    found(stack, 101, "wire_format = 'listenbrainz' AND type = 'complete' AND played_ms = 61000 AND user_id != ''")
        .await;
    found(stack, 1, "wire_format = 'listenbrainz' AND type = 'play_start'").await;
}

async fn until_known(url: &str, token: &str) {
    let api = service::client::ApiClient::new(Duration::from_secs(5));
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = api.get(&format!("{url}/1/validate-token?token={token}")).await.unwrap();
        if answer.json::<serde_json::Value>().unwrap()["valid"] == true {
            return;
        }
        assert!(Instant::now() < deadline, "the token is not known: {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn cloud_events(stack: &Stack, python: &Path, url: &str) {
    run(Command::new(python).arg(repository().join("scripts/clients/cloud_events.py")).args([url, WRITE_KEY]));
    found(
        stack,
        6,
        "wire_format = 'cloudevents' AND track_id = 'cloud-events' AND JSONExtractString(extra, 'region') = 'ex é'",
    )
    .await;
    for (session, events) in [("ce-structured", 1), ("ce-binary", 1), ("ce-packed", 1), ("ce-batch", 3)] {
        found(stack, events, &format!("session_id = '{session}' AND type = 'progress'")).await;
    }
}

async fn curl(stack: &Stack, url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("file.ndjson");
    let line = || {
        json!({
            "event_id": Uuid::now_v7(), "type": "pause", "session_id": "curl", "track_id": "curl",
            "client_ts": Timestamp::now(), "shelf": "home",
        })
    };
    let lines: String = (0..2000).map(|_| format!("{}\n", line())).collect();
    std::fs::write(&plain, lines).unwrap();
    run(Command::new("zstd").arg("-q").arg(&plain));
    let body = format!("@{}.zst", plain.display());
    let authorization = format!("Authorization: Bearer {WRITE_KEY}");
    let headers = ["-H", "Content-Type: application/x-ndjson", "-H", "Content-Encoding: zstd", "-H", &authorization];
    let target = format!("{url}/v1/events");
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail-with-body", "--data-binary", &body]).args(headers).arg(target);
    assert_eq!(run(&mut command), "{\"accepted\":2000,\"errors\":[]}");
    found(stack, 2000, "session_id = 'curl' AND extra = '{\"shelf\":\"home\"}'").await;
}

async fn beacon(stack: &Stack, python: &Path, url: &str) {
    let port = free_port().unwrap().to_string();
    let folder = repository().join("scripts/clients");
    let serve = ["-m", "http.server", &port, "--bind", "127.0.0.1", "--directory", folder.to_str().unwrap()];
    let _pages = Server::start(Core::Any, python.to_str().unwrap(), &serve, &[]).unwrap();
    let page = format!("http://127.0.0.1:{port}/beacon.html");
    ready(&page).await.unwrap();
    let profile = tempfile::tempdir().unwrap();
    let user_data = format!("--user-data-dir={}", profile.path().display());
    let page = format!("{page}#{url}%20{WRITE_KEY}");
    // As root there is no sandbox; the page is ours.
    let options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", &user_data];
    let dump = ["--dump-dom", "--virtual-time-budget=15000", &page];
    let shown = run(Command::new("chromium").args(options).args(dump));
    assert!(shown.contains("<title>true true 202</title>"), "{shown}");
    for session in ["beacon-text", "beacon-blob", "beacon-fetch"] {
        found(stack, 1, &format!("session_id = '{session}' AND type = 'skip' AND device LIKE '%Chrome%'")).await;
    }
}
