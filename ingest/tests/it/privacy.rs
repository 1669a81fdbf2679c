//! What is kept of whom: hashes, networks, and with consent denied not even these.

use std::fs;
use std::path::Path;
use std::time::Duration;

use http::Method;
use ingest::keys::Grant;
use ingest::privacy::Subject;
use mmdb_writer::{Value, Writer};
use serde_json::{Value as Json, json};
use service::Running;

use crate::support::{Stack, event, eventually, post, post_from, send};

const LISTENER: &str = "203.0.113.77";

/// A MaxMind DB in which `network` has this value.
fn write_db(file: &Path, kind: &str, network: &str, value: Value) {
    let mut writer = Writer::new(kind);
    writer.insert_value(network.parse::<ipnet::IpNet>().unwrap(), value).unwrap();
    let beside = file.with_extension("new");
    fs::write(&beside, writer.to_bytes().unwrap()).unwrap();
    fs::rename(beside, file).unwrap();
}

fn country(code: &str) -> Value {
    Value::map([("country", Value::map([("iso_code", Value::from(code))]))])
}

fn by(user: &str, consent: Option<&str>) -> Json {
    let mut event = event();
    event["user_id"] = json!(user);
    event["device"] = json!("iPhone15,4");
    event["mood"] = json!("blue");
    if let Some(consent) = consent {
        event["consent"] = json!(consent);
    }
    event
}

/// Behind a proxy on this machine.
const TRUSTED: (&str, &str) = ("TONEARM_INGEST_TRUSTED_PROXIES", "['127.0.0.0/8']");

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_looked_up_and_the_address_is_cut() {
    let stack = Stack::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (countries, systems) = (folder.path().join("country.mmdb"), folder.path().join("asn.mmdb"));
    write_db(&countries, "GeoLite2-Country", "203.0.113.0/24", country("PL"));
    let asn = Value::map([("autonomous_system_number", Value::from(64_496_u32))]);
    write_db(&systems, "GeoLite2-ASN", "203.0.113.0/24", asn);
    let ingest = stack
        .ingest(&[
            TRUSTED,
            ("TONEARM_GEO_COUNTRY_DB", &countries.display().to_string()),
            ("TONEARM_GEO_ASN_DB", &systems.display().to_string()),
            ("TONEARM_GEO_CHECK_INTERVAL", "50ms"),
        ])
        .await;
    let _sink = stack.sink(&[]).await;
    assert_eq!(post_from(&ingest, LISTENER, &by("u-17", None)).await.status, 202);
    let found = "SELECT count() FROM events WHERE country = 'PL' AND asn = 64496 AND client_net = '203.0.113.0/24'";
    stack.until(found, 1).await;
    // Nobody knows this one, which is no address of the file's.
    assert_eq!(post_from(&ingest, "2001:db8:1:2::9", &by("u-18", None)).await.status, 202);
    let unknown = "SELECT count() FROM events WHERE country = '' AND asn = 0 AND client_net = '2001:db8:1::/48'";
    stack.until(unknown, 1).await;
    // A new file, as a weekly update brings it, in ip-location-db's form.
    let other_form = Value::map([("country_code", Value::from("DE"))]);
    write_db(&countries, "ip-location-db", "203.0.113.0/24", other_form);
    until_in(&stack, &ingest, "DE").await;
    // One that is none leaves the last good one in force.
    fs::write(&countries, "no database").unwrap();
    until_geo_is(&ingest, "degraded").await;
    until_in(&stack, &ingest, "DE").await;
}

/// Posts from the listener's address until an event that is stored was in the country.
async fn until_in(stack: &Stack, ingest: &Running, country: &str) {
    eventually(Duration::from_secs(30), || async {
        let sent = by("u-17", None);
        assert_eq!(post_from(ingest, LISTENER, &sent).await.status, 202);
        let id = sent["event_id"].as_str().unwrap();
        stack.until(&format!("SELECT count() FROM events WHERE event_id = '{id}'"), 1).await;
        let there = format!("SELECT count() FROM events WHERE event_id = '{id}' AND country = '{country}'");
        if stack.number(&there).await == 1 { Ok(()) } else { Err(format!("not in {country}")) }
    })
    .await;
}

async fn until_geo_is(ingest: &Running, wanted: &str) {
    crate::support::component_is(ingest, "geo", wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_peer_says_whom_it_speaks_for() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    assert_eq!(post_from(&ingest, LISTENER, &by("u-17", None)).await.status, 202);
    stack.until("SELECT count() FROM events WHERE client_net = '127.0.0.0/24'", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_hashes_that_every_version_of_the_key_finds() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let old = ingest::privacy::read(&stack.postgres).await.unwrap();
    assert_eq!(post(&ingest, &by("u-17", Some("granted"))).await.status, 202);
    assert_eq!(ingest::privacy::rotate(&stack.postgres).await.unwrap(), 2);
    let new = ingest::privacy::read(&stack.postgres).await.unwrap();
    let (first, second) = (old.current(Subject::User, "u-17"), new.current(Subject::User, "u-17"));
    assert_eq!(new.all(Subject::User, "u-17"), [first.clone(), second.clone()]);
    let with = |hash: &str| format!("SELECT count() FROM events WHERE user_id = '{hash}'");
    eventually(Duration::from_secs(60), || async {
        assert_eq!(post(&ingest, &by("u-17", None)).await.status, 202);
        let found = stack.number(&with(&second)).await;
        if found > 0 { Ok(()) } else { Err("nothing has the second version's hash".into()) }
    })
    .await;
    stack.until(&format!("SELECT uniqExact(user_id) FROM events WHERE user_id IN ('{first}', '{second}')"), 2).await;
    assert_eq!(stack.number("SELECT count() FROM events WHERE user_id LIKE '%u-17%'").await, 0);
}

/// Apps are doors to one service, and its accounts are theirs together.
#[tokio::test(flavor = "multi_thread")]
async fn one_listener_is_the_same_in_every_app() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let other = stack.key(Grant::Write { app: "ios".into(), origins: Vec::new(), rate: None }, None).await;
    assert_eq!(post(&ingest, &by("u-17", None)).await.status, 202);
    let authorization = format!("Bearer {other}");
    eventually(Duration::from_secs(60), || async {
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let body = by("u-17", None).to_string().into();
        let answer = send(&ingest, Method::POST, "/v1/events", &headers, body).await;
        // The key was made this very moment.
        if answer.status == 202 { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .await;
    stack.until("SELECT uniqExact(app) FROM events", 2).await;
    assert_eq!(stack.number("SELECT uniqExact(user_id) FROM events").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_consent_keeps_what_was_played_alone() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[TRUSTED]).await;
    let _sink = stack.sink(&[]).await;
    let mut sent = by("u-17", Some("denied"));
    sent["anon_id"] = json!("device-9");
    assert_eq!(post_from(&ingest, LISTENER, &sent).await.status, 202);
    let kept = "SELECT count() FROM events WHERE user_id = '' AND anon_id = '' AND device = '' AND extra = '' \
                AND client_net = '' AND asn = 0 AND consent = 'denied' AND played_ms = 31000 AND track_id = 't-1'";
    stack.until(kept, 1).await;
    // Nor is it in Kafka, where a row would be read from again.
    let payload = stack.messages(wire::topic::Topic::Listens).await.concat();
    let text = String::from_utf8_lossy(&payload);
    for gone in ["u-17", "device-9", "iPhone15,4", "blue", "203.0.113"] {
        assert!(text.contains("t-1") && !text.contains(gone), "{gone} is in {text}");
    }
}
