//! `tonearm keys` as an operator types it, and what of all that a log may show.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use service::client::{Answer, ApiClient};
use uuid::Uuid;
use wire::Timestamp;

use crate::support::process::Core;
use crate::support::stack::{ADMIN_TOKEN, Stack, WRITE_KEY};

const LISTENER: &str = "203.0.113.77";

fn created(stack: &Stack, args: &[&str]) -> (String, String) {
    let printed = stack.tonearm(&[&["keys", "create"], args, &["--json"]].concat()).unwrap();
    let key: Value = serde_json::from_str(&printed).unwrap();
    (key["key_id"].as_str().unwrap().to_owned(), key["secret"].as_str().unwrap().to_owned())
}

async fn post(ingest: &str, key: &str, user: &str) -> Answer {
    let forwarded = (HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(LISTENER));
    let api = ApiClient::new(Duration::from_secs(40)).with_bearer(key).with_header(forwarded.0, forwarded.1);
    let event = json!({
        "event_id": Uuid::now_v7(), "type": "progress", "session_id": "s-1", "track_id": "t-1", "user_id": user,
        "client_ts": Timestamp::now(),
    });
    api.send_json(Method::POST, &format!("{ingest}/v1/events"), &event).await.unwrap()
}

async fn until(ingest: &str, key: &str, status: u16) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = post(ingest, key, "u-of-the-test").await;
        if answer.status == status {
            return;
        }
        assert!(Instant::now() < deadline, "{} is not {status}: {:?}", answer.status, answer.body);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_and_revoked_and_no_log_shows_one() {
    let stack = Stack::start(Core::Any).await.unwrap();
    let log = stack.folder("ingest.log");
    // Everything of ours, and more of others' than anybody turns on who looks for a fault.
    let environment = [("TONEARM_LOG_LEVEL", "debug"), ("TONEARM_INGEST_TRUSTED_PROXIES", "['127.0.0.1/32']")];
    let file = File::create(&log).unwrap();
    let (server, ingest) = stack.role_with_log("ingest", &environment, file.into()).await.unwrap();
    let (id, secret) =
        created(&stack, &["write", "--app", "radio", "--origin", "https://*.example.com", "--rate", "100"]);
    let (_, user) = created(&stack, &["user", "--user", "u-9"]);
    let (_, operator) = created(&stack, &["operator", "--note", "the dashboard"]);
    assert!(secret.starts_with(&id) && user.starts_with("tu_") && operator.starts_with("to_"));
    until(&ingest, &secret, 202).await;
    let listed = stack.tonearm(&["keys", "list"]).unwrap();
    for shown in [&*id, "radio", "https://*.example.com", "100 (1000)", "u-9", "the dashboard", "stack"] {
        assert!(listed.contains(shown), "{shown} is not in:\n{listed}");
    }
    assert!(![&*secret, &*user, &*operator, WRITE_KEY].iter().any(|secret| listed.contains(secret)), "{listed}");
    stack.tonearm(&["keys", "revoke", &id]).unwrap();
    until(&ingest, &secret, 401).await;
    assert!(!stack.tonearm(&["keys", "list"]).unwrap().contains(&id));
    assert!(stack.tonearm(&["keys", "list", "--all", "--kind", "write"]).unwrap().contains("revoked"));
    assert!(stack.tonearm(&["keys", "revoke", "tw_000000000000"]).is_err());
    // Keys in the query and of the wrong kind, bodies that break: what a fault would be looked for by.
    for wrong in [&*user, &*operator, ADMIN_TOKEN, "no-key-of-anybody-0123456"] {
        assert_eq!(post(&ingest, wrong, "u-of-the-test").await.status, 401);
    }
    let api = ApiClient::new(Duration::from_secs(40));
    let body = Some(("application/json", "{\"user_id\":\"u-of-the-test\",".into()));
    let url = format!("{ingest}/v1/events?key={WRITE_KEY}");
    assert_eq!(api.send(Method::POST, &url, body).await.unwrap().status, 400);
    assert!(server.terminate().unwrap().success());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("ingest listens"), "{log}");
    for secret in [&*secret, &*user, &*operator, WRITE_KEY, ADMIN_TOKEN, "no-key-of-anybody", LISTENER, "u-of-the-test"]
    {
        assert!(!log.contains(secret), "{secret} is in:\n{log}");
    }
}
