//! From the change to Kafka: together, once, in order.

use std::collections::HashMap;

use serde_json::json;
use service::client::Answer;
use wire::content::ContentChange;

use crate::kafka::events;
use crate::stage::{Stage, eventually, spec};

#[tokio::test]
async fn a_release_is_in_kafka_once_and_whole() {
    let stage = Stage::new().await;
    stage.pop("fra").await;
    let catalog = stage.catalog().await;
    catalog.api.release("t", &["fra"]).await;
    catalog.api.until_state("t", "live").await;
    catalog.api.withdraw("t").await;
    let unsent = "SELECT count(*) FROM outbox WHERE sent_at IS NULL";
    eventually("both are sent", async || (stage.number(unsent).await == 0).then_some(())).await;

    let events = events(&stage.kafka).await;
    let told: Vec<_> = events.iter().map(|e| (e.change, e.version)).collect();
    assert_eq!(told, [(ContentChange::Published, 1), (ContentChange::Withdrawn, 1)]);
    let published = &events[0];
    assert_eq!(json!(published.pops), json!(["fra"]));
    assert_eq!(json!(published.objects), spec("t", 3)["objects"]);
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT event_id FROM outbox ORDER BY id").fetch_all(&stage.pool).await.unwrap();
    assert_eq!(ids, events.iter().map(|e| e.event_id).collect::<Vec<_>>());
    catalog.stop().await;
}

#[tokio::test]
async fn a_change_and_its_event_fall_together() {
    let stage = Stage::new().await;
    let catalog = stage.catalog().await;
    assert_eq!(catalog.api.put("t", &spec("t", 1)).await.status, 201);
    // The event cannot be written; then the connection dies while it is written.
    for (fault, status) in [
        ("RAISE EXCEPTION 'the outbox is full'", 500),
        ("PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW", 503),
    ] {
        let trigger = format!(
            "CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {fault}; END $$;
             CREATE OR REPLACE TRIGGER fault BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION fault();"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&stage.pool).await.unwrap();
        assert_eq!(catalog.api.publish("t", &[]).await.status, status, "{fault}");
        let track = catalog.api.track("t").await;
        assert_eq!((&track["state"], &track["version"]), (&json!("ready"), &json!(0)), "{fault}");
        assert_eq!(stage.number("SELECT count(*) FROM outbox").await, 0, "{fault}");
    }
    stage.sql("DROP TRIGGER fault ON outbox").await;
    assert_eq!(catalog.api.publish("t", &[]).await.status, 202);
    catalog.api.until_state("t", "live").await;
    assert_eq!(events(&stage.kafka).await.len(), 1, "only what was committed was sent");
    catalog.stop().await;
}

/// A backlog that two relays fight over, and publications through both catalogs on top of it.
#[tokio::test]
async fn side_by_side_relays_keep_each_tracks_order() {
    let stage = Stage::new().await;
    stage.pop("fra").await;
    stage.sql(BACKLOG).await;
    let mut config = stage.config();
    // Small batches make the two meet often.
    config.catalog.outbox_batch = 7;
    let catalogs = [crate::stage::Catalog::start(config.clone()).await, crate::stage::Catalog::start(config).await];
    let mut writers = tokio::task::JoinSet::new();
    for track in 0..8 {
        let apis = [catalogs[0].api.clone(), catalogs[1].api.clone()];
        writers.spawn(async move {
            let track = format!("live{track}");
            let spec = spec(&track, 1);
            insist(|| apis[0].put(&track, &spec), 201).await;
            for version in 0..12 {
                // Another order each time, so that each is a new version.
                let pops: &[&str] = if version % 2 == 0 { &["fra"] } else { &[] };
                insist(|| apis[version / 2 % 2].publish(&track, pops), 202).await;
            }
        });
    }
    writers.join_all().await;
    let unsent = "SELECT count(*) FROM outbox WHERE sent_at IS NULL";
    eventually("all are sent", async || (stage.number(unsent).await == 0).then_some(())).await;

    let mut versions: HashMap<String, Vec<u32>> = HashMap::new();
    for event in events(&stage.kafka).await {
        versions.entry(event.track_id.to_string()).or_default().push(event.version);
    }
    assert_eq!(versions.len(), 25 + 8);
    for (track, versions) in versions {
        let last = if track.starts_with("live") { 12 } else { 40 };
        assert_eq!(versions, (1..=last).collect::<Vec<_>>(), "{track}");
    }
    for catalog in catalogs {
        catalog.stop().await;
    }
}

/// Asks again while PostgreSQL has no connection to spare: a busy machine is no fault here.
async fn insist<F: Future<Output = Answer>>(mut ask: impl FnMut() -> F, wanted: u16) {
    for _ in 0..10 {
        let status = ask().await.status;
        if status != 503 {
            return assert_eq!(status, wanted);
        }
    }
    panic!("PostgreSQL never had a connection to spare");
}

/// 40 versions of each of 25 tracks, neighbours in the outbox.
static BACKLOG: &str = "INSERT INTO outbox (event_id, track_id, payload)
    SELECT gen_random_uuid(), 'waits' || track, json_build_object(
             'event_id', gen_random_uuid(), 'change', 'published', 'track_id', 'waits' || track, 'version', version,
             'occurred_at', '2026-11-21T09:00:00Z', 'pops', '[]'::json, 'objects', '[]'::json)
      FROM generate_series(1, 25) track, generate_series(1, 40) version ORDER BY track, version";

#[tokio::test]
async fn only_what_was_sent_long_ago_is_trimmed() {
    let stage = Stage::new().await;
    stage.sql(BACKLOG).await;
    stage.sql("UPDATE outbox SET sent_at = now() - interval '8 days' WHERE id % 2 = 0").await;
    stage.sql("UPDATE outbox SET sent_at = now() - interval '6 days' WHERE id % 2 = 1").await;
    let catalog = stage.catalog().await;
    eventually("half is trimmed", async || (stage.number("SELECT count(*) FROM outbox").await == 500).then_some(()))
        .await;
    assert_eq!(stage.number("SELECT count(*) FROM outbox WHERE sent_at < now() - interval '7 days'").await, 0);
    catalog.stop().await;
}
