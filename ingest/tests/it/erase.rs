//! A listener is forgotten everywhere, and the numbers still add up.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::Method;
use ingest::audit::{Audit, Finding, Grade, Hours};
use ingest::erase::Proof;
use rdkafka::producer::FutureRecord;
use serde_json::{Value, json};
use service::client::ApiClient;
use service::config::Loader;
use uuid::Uuid;
use wire::topic::Topic;

use crate::landing::delivery;
use crate::support::{ADMIN_TOKEN, Stack, event, eventually, post};

const DECISION: &str = "01935b0e-0000-7000-8000-00000000000d";

async fn erase(stack: &Stack, user: &str) -> Proof {
    let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
    let config = ingest::erase::Config::read(&mut loader);
    ingest::erase::run(&config, user).await.unwrap()
}

async fn audit(stack: &Stack) -> Audit {
    let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
    let config = ingest::audit::Config::read(&mut loader);
    ingest::audit::run(&config, Hours::default()).await.unwrap()
}

fn played(user: Option<&str>, session: &str, play: &str) -> Value {
    let mut event = event();
    (event["session_id"], event["play_id"]) = (json!(session), json!(play));
    if let Some(user) = user {
        event["user_id"] = json!(user);
        event["decision_id"] = json!(DECISION);
    }
    event
}

/// Four plays in two sessions: Anna's, one of nobody in her session, Bert's in her session, Bert's own.
fn story() -> Vec<Value> {
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(played(Some("anna"), "s-anna", "p-1"));
        all.push(played(None, "s-anna", "p-1"));
        all.push(played(None, "s-anna", "p-2"));
        all.push(played(Some("bert"), "s-anna", "p-3"));
        all.push(played(Some("bert"), "s-bert", "p-4"));
    }
    all
}

async fn said(stack: &Stack, table: &str, hashes: &[String]) -> u64 {
    let list = hashes.iter().map(|hash| format!("'{hash}'")).collect::<Vec<_>>().join(", ");
    stack.number(&format!("SELECT count() FROM {table} WHERE user_id IN ({list})")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_is_forgotten_and_the_audit_still_holds() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let story = story();
    assert_eq!(post(&ingest, &json!(story)).await.status, 202);
    assert_eq!(post(&ingest, &json!(story[..5])).await.status, 202, "sent again");
    let api = ApiClient::new(Duration::from_secs(30)).with_bearer(ADMIN_TOKEN);
    let url = format!("{}/v1/deliveries", ingest.url());
    let mut other = delivery();
    (other["delivery_id"], other["decision_id"]) = (json!(Uuid::now_v7()), json!(Uuid::now_v7()));
    let mut undecided = delivery();
    (undecided["delivery_id"], undecided["decision_id"]) = (json!(Uuid::now_v7()), Value::Null);
    undecided["cmcd"] = json!({"sid": "s-anna"});
    let batch = json!({"deliveries": [delivery(), other, undecided]});
    let sent = api.send_json(Method::POST, &url, &batch).await.unwrap();
    assert_eq!(sent.status, 202);
    stack.until("SELECT count() FROM deliveries", 3).await;
    stack.until("SELECT uniqExact(event_id) FROM events", 50).await;
    let hashes = set_aside_a_letter(&stack).await;
    eventually(Duration::from_secs(60), || async {
        let audit = audit(&stack).await;
        if audit.verdict == Grade::Holds { Ok(()) } else { Err(audit.to_string()) }
    })
    .await;

    let proof = erase(&stack, "anna").await;
    let kept = stack.number("SELECT count() FROM events").await;
    assert_eq!(
        (proof.rows("dead_letter"), proof.rows("deliveries.client_net"), proof.complete),
        (1, 2, true),
        "{proof}"
    );
    assert!(proof.rows("events") >= 30 && proof.earlier.is_none(), "{proof}");
    assert_eq!(kept, stack.number("SELECT count() FROM events WHERE play_id IN ('p-3', 'p-4')").await);
    assert_eq!(stack.number("SELECT uniqExact(event_id) FROM events").await, 20, "Bert's are there");
    assert_eq!(stack.number("SELECT count() FROM deliveries WHERE client_net = '' AND empty(cmcd)").await, 2);
    assert_eq!(stack.number("SELECT count() FROM deliveries WHERE notEmpty(cmcd)").await, 1);
    assert_eq!(said(&stack, "events", &hashes).await, 0);
    assert!(proof.remains.iter().any(|remains| remains.place.starts_with("Kafka") && remains.until.is_some()));
    let told = audit(&stack).await;
    assert_eq!(told.verdict, Grade::Holds, "{told}");
    let erased: u64 = told.topics[0].partitions.iter().map(|partition| partition.counts.erased).sum();
    assert_eq!(erased, stack.number("SELECT count() FROM erased").await, "{told}");
    nothing_names_the_listener(&stack, &hashes).await;

    let again = erase(&stack, "anna").await;
    assert_eq!((again.total(), again.complete, again.earlier), (0, true, Some(proof.erased_at)), "{again}");
    assert_eq!(stack.number("SELECT count() FROM erasures").await, 1);
    what_comes_back_is_named(&stack, &hashes).await;
}

/// Events without a name go on in the sessions of listeners who are being forgotten. What one erasure wrote down and
/// could not take yet, or was cut off in, another takes; each event is in one proof, its listener's.
#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_listening_is_forgotten_whole_and_the_audit_holds() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let users: Vec<String> = (0..3).map(|n| format!("user-{n}")).collect();
    let of = |user: &str| [played(Some(user), user, "named"), played(None, user, "nameless")];
    let all: Vec<Value> = users.iter().flat_map(|user| of(user)).collect();
    assert_eq!(post(&ingest, &json!(all)).await.status, 202);
    let nameless: Vec<Value> = users.iter().map(|user| played(None, user, "nameless")).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let going_on = {
        let (ingest, stop) = (Arc::new(ingest), stop.clone());
        tokio::spawn(async move {
            let mut rounds = 0;
            while !stop.load(Relaxed) {
                rounds += 1;
                let again: Vec<Value> = nameless.iter().map(played_again).collect();
                assert_eq!(post(&ingest, &json!(again)).await.status, 202);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            rounds
        })
    };
    let mut proofs: Vec<Vec<Proof>> = vec![Vec::new(); users.len()];
    // Where an erasure did not reach all, what is left of it is named.
    let holds = |told: &Audit, all_complete: bool| {
        let is_left = |finding: &Finding| !all_complete && finding.what.contains("run `tonearm erase`");
        assert!(told.findings.iter().all(|finding| finding.grade != Grade::Off || is_left(finding)), "{told}");
    };
    let mut all_complete = true;
    for (user, proofs) in users.iter().zip(&mut proofs) {
        for _ in 0..3 {
            let cut_off = Duration::from_millis(rand::random_range(50..1000));
            proofs.extend(tokio::time::timeout(cut_off, erase(&stack, user)).await);
        }
        let mut erasing = pin!(erase(&stack, user));
        // Whatever comes and goes in the meantime, nothing is counted otherwise than it is stored.
        let proof = loop {
            tokio::select! {
                proof = erasing.as_mut() => break proof,
                told = audit(&stack) => holds(&told, false),
            }
        };
        all_complete &= proof.complete;
        proofs.push(proof);
        holds(&audit(&stack).await, all_complete);
    }
    stop.store(true, Relaxed);
    let rounds: u64 = going_on.await.unwrap();
    for (user, proofs) in users.iter().zip(&mut proofs) {
        proofs.push(erase(&stack, user).await);
        let complete: Vec<bool> = proofs.iter().map(|proof| proof.complete).collect();
        assert_eq!(complete.last(), Some(&true), "{proofs:?}");
        let told: u64 = proofs.iter().map(|proof| proof.rows("events")).sum();
        assert_eq!(told, 2 + rounds, "of {user}, complete {complete:?}: {proofs:#?}");
    }
    assert_eq!(stack.number("SELECT count() FROM events").await, 0);
    assert_eq!(stack.number("SELECT sum(events)::UInt64 FROM play_states").await, 0);
    let told = audit(&stack).await;
    assert_eq!(told.verdict, Grade::Holds, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn erasures_at_the_same_time_each_count_their_own() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let users = ["anna", "bert", "cleo"];
    let of = |user: &'static str| (0..10).map(move |_| played(Some(user), user, user));
    let all: Vec<Value> = users.into_iter().flat_map(of).collect();
    assert_eq!(post(&ingest, &json!(all)).await.status, 202);
    stack.until("SELECT count() FROM events", 30).await;
    let proofs = futures_util::future::join_all(users.map(|user| erase(&stack, user))).await;
    for proof in proofs {
        assert_eq!((proof.rows("events"), proof.complete), (10, true), "{proof}");
    }
    // One listener twice at once: the second finds nothing.
    let again = futures_util::future::join(erase(&stack, "anna"), erase(&stack, "anna")).await;
    assert!(again.0.complete && again.1.complete);
    assert_eq!(stack.number("SELECT count() FROM erased").await, 30);
    let told = audit(&stack).await;
    assert_eq!(told.verdict, Grade::Holds, "{told}");
}

fn played_again(event: &Value) -> Value {
    let mut again = event.clone();
    again["event_id"] = crate::support::event()["event_id"].clone();
    again
}

/// Events that are set aside are found by their plays and sessions, and lead to others of their play and session.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_goes_with_its_play_and_leads_to_it() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let hash = &hashes(&stack, "anna").await[0];
    let mut stored = Vec::new();
    for (user, session, play) in [
        (Some("anna"), "s-1", "p-1"),
        (None, "s-1", "p-1"),
        // Named by what was set aside alone.
        (None, "s-2", "p-1"),
        (None, "s-2", "p-2"),
        (Some("bert"), "s-2", "p-3"),
        (None, "s-3", "p-1"),
    ] {
        stored.push(played(user, session, play));
    }
    assert_eq!(post(&ingest, &json!(stored)).await.status, 202);
    for (user, session, play) in
        [(None, "s-1", "p-1"), (None, "s-1", "p-2"), (Some(hash), "s-2", "p-1"), (None, "s-3", "p-1")]
    {
        // No sink reads it: most of it is missing.
        let mut event = played(None, session, play);
        event["user_id"] = json!(user);
        send(&stack, &json!({"event": event, "app": "web"})).await;
    }
    stack.until("SELECT count() FROM dead_letter", 4).await;
    stack.until("SELECT count() FROM events", 6).await;

    let proof = settled(&stack, "anna").await;
    assert_eq!((proof.rows("events"), proof.rows("dead_letter")), (4, 3), "{proof}");
    let left = "SELECT count() FROM dead_letter WHERE position(payload, 's-3') > 0";
    assert_eq!((stack.number("SELECT count() FROM dead_letter").await, stack.number(left).await), (1, 1));
    assert_eq!(stack.number("SELECT count() FROM events WHERE session_id IN ('s-2', 's-3')").await, 2);
    // What named the session has gone, and it is still theirs.
    assert_eq!(post(&ingest, &json!([played(None, "s-2", "p-4")])).await.status, 202);
    stack.until("SELECT count() FROM events", 3).await;
    let again = settled(&stack, "anna").await;
    assert_eq!((again.rows("events"), again.rows("dead_letter")), (1, 0), "{again}");
    let told = audit(&stack).await;
    assert_ne!(told.verdict, Grade::Off, "{told}");
}

/// An erasure for which nothing waits.
async fn settled(stack: &Stack, user: &str) -> Proof {
    eventually(Duration::from_secs(60), || async {
        let told = audit(stack).await;
        if told.verdict == Grade::Unjudged { Err(told.to_string()) } else { Ok(()) }
    })
    .await;
    let proof = erase(stack, user).await;
    assert!(proof.complete, "{proof}");
    proof
}

async fn hashes(stack: &Stack, user: &str) -> Vec<String> {
    let pseudonyms = ingest::privacy::read(&stack.postgres).await.unwrap();
    pseudonyms.all(ingest::privacy::Subject::User, user)
}

async fn send(stack: &Stack, message: &Value) {
    let producer = service::kafka::producer(&stack.kafka).unwrap();
    let (topic, payload) = (Topic::Listens.name(&stack.kafka.topic_prefix), message.to_string());
    producer.send(FutureRecord::to(&topic).key("k").payload(&payload), Duration::from_secs(20)).await.unwrap();
}

/// A message that no sink reads, with Anna's hash in it.
async fn set_aside_a_letter(stack: &Stack) -> Vec<String> {
    let hashes = hashes(stack, "anna").await;
    send(stack, &json!({"event": {"user_id": hashes[0], "event_id": "none"}, "app": "web"})).await;
    stack.until("SELECT count() FROM dead_letter", 1).await;
    hashes
}

/// Whatever table has a column of text: the hash stands in none but the proof.
async fn nothing_names_the_listener(stack: &Stack, hashes: &[String]) {
    let columns = "SELECT concat(table, '.', name) FROM system.columns WHERE database = currentDatabase() \
                   AND default_kind != 'ALIAS' AND type IN ('String', 'LowCardinality(String)', \
                   'SimpleAggregateFunction(max, String)') AND table IN (SELECT name FROM system.tables \
                   WHERE database = currentDatabase() AND engine LIKE '%MergeTree') AND table != 'erasures'";
    let columns: Vec<String> = stack.clickhouse.query(columns).fetch_all().await.unwrap();
    assert!(columns.len() > 40, "{columns:?}");
    for column in columns {
        let (table, name) = column.split_once('.').unwrap();
        let sql = format!("SELECT count() FROM {table} WHERE position(`{name}`, '{}') > 0", hashes[0]);
        assert_eq!(stack.number(&sql).await, 0, "{column}");
    }
}

/// Events that were received before the erasure and are stored after it, as those from a spool would be.
async fn what_comes_back_is_named(stack: &Stack, hashes: &[String]) {
    // One names her, one is of the same play, and one names nobody in her session.
    for (seq, (hash, play)) in [(Some(&hashes[0]), "p-9"), (None, "p-9"), (None, "p-10")].into_iter().enumerate() {
        let mut late = played(None, "s-anna", play);
        late["user_id"] = json!(hash);
        let accepted = json!({
            "event": late, "app": "web", "ingest_id": "ingest-late", "received_at": "2026-11-01T00:00:00Z",
            "event_ts": "2026-11-01T00:00:00Z", "skew_ms": 0, "wire_format": "json", "ingest_seq": seq + 1
        });
        send(stack, &accepted).await;
    }
    eventually(Duration::from_secs(60), || async {
        let reason: String = stack.clickhouse.query("SELECT max(reason) FROM dead_letter").fetch_one().await.unwrap();
        match stack.number("SELECT count() FROM events WHERE play_id IN ('p-9', 'p-10')").await {
            3 => Ok(()),
            n => Err(format!("{n} events; {reason}")),
        }
    })
    .await;
    let told = audit(stack).await;
    assert!(told.verdict == Grade::Off && told.to_string().contains("3 events of 1 listeners came back"), "{told}");
    let proof = erase(stack, "anna").await;
    assert_eq!(proof.rows("events"), 3, "{proof}");
    let told = audit(stack).await;
    assert_eq!(told.verdict, Grade::Holds, "{told}");
}
