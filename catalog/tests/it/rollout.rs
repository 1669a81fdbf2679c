//! From the event to edges that hold the track, and to listeners.

use rdkafka::producer::FutureRecord;
use serde_json::{Value, json};
use service::config::Span;
use std::time::Duration;
use wire::topic::Topic;

use crate::edge::{Edge, Mood};
use crate::kafka::records;
use crate::stage::{Catalog, Stage, eventually, spec};

/// One field of the orders that the track's rollout is made of, by edge.
fn rollout<'a>(track: &'a Value, field: &str) -> Vec<(&'a str, &'a Value)> {
    let rows = track["rollout"].as_array().unwrap().iter();
    rows.map(|row| (row["edge_id"].as_str().unwrap(), &row[field])).collect()
}

#[tokio::test]
async fn the_named_pops_are_warm_before_the_track_is_live() {
    let stage = Stage::new().await;
    let fra_1 = Edge::new(&stage, "fra-1", "fra", Mood::Obeys).await;
    let fra_2 = Edge::new(&stage, "fra-2", "fra", Mood::Hangs).await;
    let waw_1 = Edge::new(&stage, "waw-1", "waw", Mood::Obeys).await;
    let mut config = stage.config();
    config.catalog.warm_timeout = Span::from_secs(60);
    let catalog = Catalog::start(config).await;
    assert_eq!(catalog.api.put("t", &spec("t", 450)).await.status, 201);
    assert_eq!(catalog.api.publish("t", &["fra"]).await.status, 202);

    eventually("fra-2 has an order and fra-1 is done", async || {
        let track = catalog.api.track("t").await;
        let done = rollout(&track, "state") == [("fra-1", &json!("done")), ("fra-2", &json!("waiting"))];
        (done && !fra_2.orders().is_empty()).then_some(())
    })
    .await;
    assert_eq!(catalog.api.state("t").await, "rolling_out", "one of two edges is not warm");
    fra_2.becomes(Mood::Obeys);
    let track = catalog.api.until_state("t", "live").await;

    let keys: Vec<String> = (0..450).map(|i| format!("t/{i:05}.m4a")).collect();
    for edge in [&fra_1, &fra_2] {
        assert_eq!(edge.keys("/v1/warm"), keys);
        let sizes: Vec<usize> = edge.orders().iter().map(|order| order.keys.len()).collect();
        assert_eq!(sizes, [200, 200, 50], "in slices, each once");
    }
    assert!(waw_1.orders().is_empty(), "nobody named waw");
    assert_eq!(rollout(&track, "bytes"), [("fra-1", &json!(45_000)), ("fra-2", &json!(45_000))]);
    catalog.stop().await;
}

#[tokio::test]
async fn a_live_track_stays_on_the_air_while_its_next_version_rolls_out() {
    let stage = Stage::new().await;
    let edge = Edge::new(&stage, "fra-1", "fra", Mood::Obeys).await;
    let catalog = stage.catalog().await;
    let on_air = "SELECT count(*) FROM routable_tracks WHERE live";
    assert_eq!(catalog.api.put("t", &spec("t", 2)).await.status, 201);
    edge.becomes(Mood::Hangs);
    assert_eq!(catalog.api.publish("t", &[]).await.status, 202);
    assert_eq!(stage.number(on_air).await, 0, "a first version is not heard before it is warm");
    edge.becomes(Mood::Obeys);
    catalog.api.until_state("t", "live").await;
    edge.becomes(Mood::Hangs);
    assert_eq!(catalog.api.put("t", &spec("t", 3)).await.status, 200);
    assert_eq!(catalog.api.publish("t", &[]).await.status, 202);
    assert_eq!(catalog.api.state("t").await, "rolling_out");
    assert_eq!(stage.number(on_air).await, 1, "listeners are not sent away");
    assert_eq!(catalog.api.withdraw("t").await.status, 202);
    assert_eq!(stage.number(on_air).await, 0);
    catalog.stop().await;
}

#[tokio::test]
async fn a_dead_edge_is_gone_without_at_the_deadline() {
    let stage = Stage::new().await;
    let fra_1 = Edge::new(&stage, "fra-1", "fra", Mood::Obeys).await;
    Edge::new(&stage, "fra-2", "fra", Mood::Hangs).await;
    stage.edge_at("fra-3", "fra", "http://127.0.0.1:9").await;
    let fra_4 = Edge::new(&stage, "fra-4", "fra", Mood::Refuses).await;
    stage.edge_at("fra-5", "fra", "http://127.0.0.1:9").await;
    stage.sql("UPDATE edges SET state = 'maintenance' WHERE edge_id = 'fra-5'").await;
    let mut config = stage.config();
    config.catalog.rollout_deadline = Span::from_secs(4);
    config.catalog.warm_timeout = Span::from_millis(500);
    let catalog = Catalog::start(config).await;
    // Several at once: an edge that hangs must not keep the others from theirs.
    for track in ["a", "b", "c"] {
        catalog.api.release(track, &[]).await;
    }
    for name in ["a", "b", "c"] {
        let track = catalog.api.until_state(name, "live").await;
        let (done, failed) = (json!("done"), json!("failed"));
        let expected = [("fra-1", &done), ("fra-2", &failed), ("fra-3", &failed), ("fra-4", &failed)];
        assert_eq!(rollout(&track, "state"), expected);
        let errors: Vec<String> = rollout(&track, "error").iter().map(|(_, error)| error.to_string()).collect();
        assert_eq!(errors[0], "null");
        for (error, words) in errors[1..].iter().zip(["no answer within|deadline", "refused|deadline", "400"]) {
            assert!(words.split('|').any(|word| error.contains(word)), "{name}: {error}");
        }
    }
    assert_eq!(fra_1.keys("/v1/warm").len(), 9);
    assert_eq!(fra_4.orders().len(), 3, "what is refused is not asked again");
    catalog.stop().await;
}

#[tokio::test]
async fn an_edge_that_failed_is_tried_again() {
    let stage = Stage::new().await;
    let edge = Edge::new(&stage, "fra-1", "fra", Mood::Fails).await;
    let catalog = stage.catalog().await;
    catalog.api.release("t", &[]).await;
    eventually("it was tried twice", async || (edge.orders().len() >= 2).then_some(())).await;
    let error = eventually("its failure is told", async || {
        let track = catalog.api.track("t").await;
        track["rollout"][0]["error"].as_str().map(ToOwned::to_owned)
    });
    assert!(error.await.contains("503"));
    edge.becomes(Mood::Obeys);
    let track = catalog.api.until_state("t", "live").await;
    assert_eq!(rollout(&track, "error"), [("fra-1", &Value::Null)]);
    catalog.stop().await;
}

#[tokio::test]
async fn without_edges_a_track_is_live_at_once() {
    let stage = Stage::new().await;
    let catalog = stage.catalog().await;
    catalog.api.release("t", &[]).await;
    let track = catalog.api.until_state("t", "live").await;
    assert_eq!(track["rollout"], json!([]));
    catalog.stop().await;
}

#[tokio::test]
async fn withdrawal_ends_a_rollout_and_purges_every_edge() {
    let stage = Stage::new().await;
    let fra_1 = Edge::new(&stage, "fra-1", "fra", Mood::Hangs).await;
    let waw_1 = Edge::new(&stage, "waw-1", "waw", Mood::Obeys).await;
    let catalog = stage.catalog().await;
    catalog.api.release("t", &["fra"]).await;
    eventually("fra-1 has its order", async || (!fra_1.orders().is_empty()).then_some(())).await;
    assert_eq!(catalog.api.withdraw("t").await.status, 202);
    fra_1.becomes(Mood::Obeys);
    let all = ["t/00000.m4a", "t/00001.m4a", "t/00002.m4a"];
    eventually("both are purged", async || {
        [&fra_1, &waw_1].iter().all(|edge| edge.keys("/v1/purge") == all).then_some(())
    })
    .await;
    let noted = "SELECT count(*) FROM rollouts WHERE step = 'purge' AND state = 'done'";
    eventually("both are noted", async || (stage.number(noted).await == 2).then_some(())).await;
    assert_eq!(catalog.api.state("t").await, "withdrawn");
    assert_eq!(stage.number("SELECT count(*) FROM rollouts WHERE state = 'waiting'").await, 0);
    assert!(waw_1.keys("/v1/warm").is_empty());
    catalog.stop().await;
}

#[tokio::test]
async fn an_event_that_nobody_can_read_is_set_aside() {
    let stage = Stage::new().await;
    let producer = service::kafka::producer(&stage.kafka).unwrap();
    let topic = Topic::Content.name(&stage.kafka.topic_prefix);
    for bad in ["no json", r#"{"change":"exploded"}"#] {
        let record = FutureRecord::to(&topic).key("t").payload(bad);
        producer.send(record, Duration::from_secs(20)).await.unwrap();
    }
    let catalog = stage.catalog().await;
    catalog.api.release("t", &[]).await;
    catalog.api.until_state("t", "live").await;
    let dead = records(&stage.kafka, Topic::Content.dead_letter_name(&stage.kafka.topic_prefix)).await;
    let payloads: Vec<_> = dead.iter().map(|r| (r.key.as_str(), String::from_utf8_lossy(&r.payload))).collect();
    assert_eq!(payloads, [("t", "no json".into()), ("t", r#"{"change":"exploded"}"#.into())]);
    catalog.stop().await;
}
