//! Who may send: keys that come, go and outlive PostgreSQL.

use std::time::{Duration, Instant};

use devstack::Server;
use http::{HeaderName, HeaderValue, Method, header};
use ingest::keys::{Grant, Rate};
use serde_json::{Value, json};
use service::Running;
use service::client::{Answer, ApiClient};

use crate::support::{ADMIN_TOKEN, Stack, component_is, event, events, eventually, health_is};

/// What a revocation may take.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

fn write(app: &str, rate: Option<Rate>) -> Grant {
    Grant::Write { app: app.into(), origins: Vec::new(), rate }
}

async fn post_with(ingest: &Running, key: &str, body: &Value) -> Answer {
    let api = ApiClient::new(Duration::from_secs(30)).with_bearer(key);
    api.send_json(Method::POST, &format!("{}/v1/events", ingest.url()), body).await.unwrap()
}

/// Until an event posted with the key is answered so.
async fn until(ingest: &Running, key: &str, status: u16, within: Duration) {
    eventually(within, || async {
        let answer = post_with(ingest, key, &event()).await;
        if answer.status == status { Ok(()) } else { Err(format!("{} is not {status}", answer.status)) }
    })
    .await;
}

/// The id of a key that was made, by its secret.
fn id(secret: &str) -> &str {
    &secret[..15]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_used_and_revoked() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[("TONEARM_KEYS_REFRESH_INTERVAL", "1s")]).await, stack.sink(&[]).await);
    let key = stack.key(write("the-app", None), None).await;
    until(&ingest, &key, 202, REVOKED_WITHIN).await;
    stack.until("SELECT count() FROM events WHERE app = 'the-app'", 1).await;
    assert!(ingest::keys::revoke(&stack.postgres, id(&key)).await.unwrap());
    let revoked = Instant::now();
    until(&ingest, &key, 401, REVOKED_WITHIN).await;
    assert!(revoked.elapsed() < REVOKED_WITHIN);
    let refused = post_with(&ingest, &key, &event()).await;
    assert!(!String::from_utf8_lossy(&refused.body).contains(&key));
    assert!(!ingest::keys::revoke(&stack.postgres, "tw_000000000000").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_secret_is_the_same_key_again_until_it_is_revoked() {
    let stack = Stack::new().await;
    let given = "a-secret-of-the-provisioning";
    stack.key(write("one", None), Some(given)).await;
    stack.key(write("two", None), Some(given)).await;
    let listed = ingest::keys::list(&stack.postgres, None, true, 100).await.unwrap();
    let apps: Vec<_> = listed.iter().filter_map(|key| key.app.as_deref()).collect();
    assert_eq!(apps, ["web", "two"]);
    let other = Grant::User { app: "lb".into(), user_id: "u-1".into(), rate: None };
    let new =
        |grant| ingest::keys::NewKey { grant, note: String::new(), secret: Some(service::config::Secret::new(given)) };
    assert!(ingest::keys::create(&stack.postgres, &new(other)).await.is_err());
    assert!(ingest::keys::revoke(&stack.postgres, &listed[1].key_id).await.unwrap());
    let error = ingest::keys::create(&stack.postgres, &new(write("two", None))).await.unwrap_err();
    assert!(error.to_string().contains("revoked") && !error.to_string().contains(given), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_opens_its_own_doors() {
    let stack = Stack::new().await;
    let user = stack.key(Grant::User { app: "lb".into(), user_id: "u-1".into(), rate: None }, None).await;
    let operator = stack.key(Grant::Operator, None).await;
    let ingest = stack.ingest(&[]).await;
    for (key, events, deliveries) in [(&*user, 401, 401), (&*operator, 401, 400), (ADMIN_TOKEN, 401, 400)] {
        assert_eq!(post_with(&ingest, key, &event()).await.status, events);
        let api = ApiClient::new(Duration::from_secs(30)).with_bearer(key);
        let answer = api.send_json(Method::POST, &format!("{}/v1/deliveries", ingest.url()), &json!([{}])).await;
        assert_eq!(answer.unwrap().status, deliveries);
    }
    assert_eq!(ingest::keys::forget_user(&stack.postgres, "u-1").await.unwrap(), 1);
    let left = ingest::keys::list(&stack.postgres, Some(ingest::keys::Kind::User), true, 10).await.unwrap();
    assert_eq!((left.len(), left[0].user_id.as_deref(), left[0].revoked_at.is_some()), (1, None, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_the_last_keys_go_on_also_after_a_restart() {
    let stack = Stack::alone().await;
    let (key, gone) = (stack.key(write("kept", None), None).await, stack.key(write("gone", None), None).await);
    let ingest = stack.ingest(&[]).await;
    assert_eq!(post_with(&ingest, &key, &event()).await.status, 202);
    assert!(ingest::keys::revoke(&stack.postgres, id(&gone)).await.unwrap());
    until(&ingest, &gone, 401, REVOKED_WITHIN).await;
    stack.servers.stop(Server::Postgres).await;
    keys_are(&ingest, "degraded").await;
    assert_eq!(post_with(&ingest, &key, &event()).await.status, 202);
    assert_eq!(post_with(&ingest, "unknown-key-of-nobody", &event()).await.status, 401);
    ingest.stop().await.unwrap();
    let again = stack.ingest(&[]).await;
    keys_are(&again, "degraded").await;
    assert_eq!(post_with(&again, &key, &event()).await.status, 202);
    assert_eq!(post_with(&again, &gone, &event()).await.status, 401);
    let nowhere = tempfile::tempdir().unwrap();
    let file = nowhere.path().join("keys.json").display().to_string();
    let spool = nowhere.path().join("spool").display().to_string();
    let bare = stack.ingest_unready(&[("TONEARM_KEYS_SNAPSHOT", &file), ("TONEARM_INGEST_SPOOL_DIR", &spool)]).await;
    health_is(&bare, 503).await;
    let answer = post_with(&bare, &key, &event()).await;
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key("retry-after")), (503, true));
    stack.servers.start(Server::Postgres).await;
    health_is(&bare, 200).await;
    keys_are(&again, "ok").await;
    assert_eq!(post_with(&bare, &key, &event()).await.status, 202);
}

async fn keys_are(ingest: &Running, wanted: &str) {
    component_is(ingest, "keys", wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_posts_no_faster_than_its_rate() {
    let stack = Stack::new().await;
    let key = stack.key(write("slow", Some(Rate { events_per_s: 1, burst: 20 })), None).await;
    let free = stack.key(write("free", None), None).await;
    let ingest = stack.ingest(&[]).await;
    let first = post_with(&ingest, &key, &json!(events(15))).await;
    assert_eq!(
        (first.status.as_u16(), &first.headers["ratelimit-policy"]),
        (202, &"\"key\";q=20;w=20;qu=\"events\"".parse().unwrap())
    );
    // A second or two may have passed since.
    let left = first.headers["ratelimit"].to_str().unwrap();
    assert!((5..9).any(|r| left == format!("\"key\";r={r};t={}", 20 - r)), "{left}");
    let second = post_with(&ingest, &key, &json!(events(15))).await;
    assert_eq!(
        (second.status.as_u16(), second.headers["content-type"].to_str().unwrap()),
        (429, "application/problem+json")
    );
    let wait: u32 = second.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((5..=10).contains(&wait), "{wait}");
    assert!(second.headers.contains_key("ratelimit"));
    // What was refused has cost nothing; others pay for themselves.
    assert_eq!(post_with(&ingest, &key, &json!(events(5))).await.status, 202);
    let other = post_with(&ingest, &free, &json!(events(100))).await;
    assert_eq!((other.status.as_u16(), other.headers.contains_key("ratelimit")), (202, false));
    // A bad body is answered with the headers too.
    assert!(post_with(&ingest, &key, &json!(7)).await.headers.contains_key("ratelimit"));
}

/// A browser's request from a page of this origin.
async fn from_page(ingest: &Running, method: Method, key: &str, origin: &str, in_query: bool) -> Answer {
    let api = ApiClient::new(Duration::from_secs(30)).with_header(header::ORIGIN, origin.parse().unwrap());
    let ask = ("access-control-request-headers", "authorization,content-type");
    let url = format!("{}/v1/events", ingest.url());
    if method == Method::OPTIONS {
        let api = api.with_header(HeaderName::from_static(ask.0), HeaderValue::from_static(ask.1));
        let api = api.with_header(HeaderName::from_static("access-control-request-method"), "POST".parse().unwrap());
        return api.send(method, &url, None).await.unwrap();
    }
    if in_query {
        let body = Some(("text/plain", event().to_string().into()));
        return api.send(method, &format!("{url}?key={key}"), body).await.unwrap();
    }
    api.with_bearer(key).send_json(method, &url, &event()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_uses_a_key_only_where_its_origin_is_allowed() {
    let stack = Stack::new().await;
    let origins = ["https://*.example.com", "http://localhost:*"].map(|origin| origin.parse().unwrap());
    let key = stack.key(Grant::Write { app: "web".into(), origins: origins.to_vec(), rate: None }, None).await;
    let native = stack.key(write("native", None), None).await;
    let ingest = stack.ingest(&[]).await;
    for good in ["https://app.example.com", "http://localhost:5173"] {
        let preflight = from_page(&ingest, Method::OPTIONS, &key, good, false).await;
        assert_eq!(
            (preflight.status.as_u16(), &preflight.headers["access-control-allow-origin"]),
            (200, &good.parse().unwrap())
        );
        assert!(preflight.headers["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
        for in_query in [false, true] {
            let answer = from_page(&ingest, Method::POST, &key, good, in_query).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.headers["access-control-allow-origin"]),
                (202, &good.parse().unwrap())
            );
            assert!(answer.headers["vary"].to_str().unwrap().contains("origin"), "{answer:?}");
        }
    }
    for (key, origin) in
        [(&key, "https://example.com.evil.test"), (&key, "null"), (&key, ""), (&native, "https://app.example.com")]
    {
        for in_query in [false, true] {
            let refused = from_page(&ingest, Method::POST, key, origin, in_query).await;
            let problem: Value = refused.json().unwrap();
            assert_eq!(
                (refused.status.as_u16(), &problem["type"]),
                (403, &json!("urn:tonearm:problem:origin-refused"))
            );
            assert!(!refused.headers.contains_key("access-control-allow-origin"), "{refused:?}");
        }
    }
    // A page with a wrong key may read that it is wrong; what is no page needs no origin.
    let wrong = from_page(&ingest, Method::POST, "no-key-of-anybody", "https://a.example", false).await;
    assert_eq!(
        (wrong.status.as_u16(), &wrong.headers["access-control-allow-origin"]),
        (401, &"https://a.example".parse().unwrap())
    );
    assert_eq!(post_with(&ingest, &native, &event()).await.status, 202);
}
