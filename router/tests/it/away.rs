//! What the router stands on goes away and comes back. These tests stop servers that the others use.

use std::time::Duration;

use devstack::{Server, TestServers};
use http::{Method, StatusCode};
use serde_json::json;

use crate::edge::IDLE;
use crate::kafka::decisions;
use crate::stage::{SERVERS, Stage, eventually, problem};

/// A server that is stopped, and started again however the test ends: the others need it.
struct Stopped {
    servers: &'static TestServers,
    server: Option<Server>,
}

impl Stopped {
    async fn new(stage: &Stage, server: Server) -> Self {
        stage.servers.stop(server).await;
        Self { servers: stage.servers, server: Some(server) }
    }

    async fn start(mut self) {
        self.servers.start(self.server.take().unwrap()).await;
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(self.servers.start(server)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_the_last_snapshot_serves_even_after_a_restart() {
    let _alone = SERVERS.write().await;
    let mut stage = Stage::open().await;
    let edge = stage.edge("fra-1", Duration::ZERO, IDLE).await;
    stage.publish("song").await;
    let before = stage.routed("song", |_| true).await;
    stage.health("postgres", "ok", "").await;

    let stopped = Stopped::new(&stage, Server::Postgres).await;
    stage.health("postgres", "degraded", "serving from the snapshot of 20").await;
    let after = stage.routed("song", |_| true).await;
    assert_eq!(before.candidates[0].inputs.edge, after.candidates[0].inputs.edge);
    assert_eq!(stage.get("/health").await.status, StatusCode::OK);
    assert_eq!(stage.get("/v1/route?track=unknown").await.status, StatusCode::NOT_FOUND);
    let put = stage.admin(Method::PUT, "/v1/fleet/edges/fra-1", &edge.registration()).await;
    assert_eq!(problem(&put), (503, "unavailable".into(), None));

    stage.stop().await;
    stage.start().await;
    stage.routed("song", |_| true).await;
    stage.health("postgres", "degraded", "serving from the snapshot of 20").await;

    stopped.start().await;
    stage.health("postgres", "ok", "").await;
    stage.health("tracks", "ok", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_decisions_are_answered_and_logged_later() {
    let _alone = SERVERS.write().await;
    let stage = Stage::open().await;
    let _edge = stage.edge("fra-1", Duration::ZERO, IDLE).await;
    stage.publish("song").await;
    stage.routed("song", |_| true).await;
    let stopped = Stopped::new(&stage, Server::Kafka).await;
    let id = stage.routed("song", |_| true).await.decision_id.to_string();
    stage.health("kafka", "degraded", "Kafka does not acknowledge").await;
    stopped.start().await;
    decisions(&stage.config.kafka, std::slice::from_ref(&id)).await;
    stage.health("kafka", "ok", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_drops_counts_and_answers_on() {
    let _alone = SERVERS.write().await;
    let stage = Stage::with(|config| config.log_queue = 2).await;
    let _edge = stage.edge("fra-1", Duration::ZERO, IDLE).await;
    stage.publish("song").await;
    stage.routed("song", |_| true).await;
    let stopped = Stopped::new(&stage, Server::Kafka).await;
    eventually("full queue", || async {
        for _ in 0..10 {
            assert_eq!(stage.get("/v1/route?track=song").await.status, StatusCode::OK);
        }
        let health = String::from_utf8(stage.get("/health/detailed").await.body.to_vec()).unwrap();
        if health.contains("the queue of decisions is full") { Ok(()) } else { Err(health) }
    })
    .await;
    let metrics = String::from_utf8(stage.get("/metrics").await.body.to_vec()).unwrap();
    let dropped = metrics
        .lines()
        .find(|line| line.starts_with("tonearm_router_decisions_logged_total{") && line.contains("\"dropped\""));
    let count: u64 = dropped.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count > 0, "{dropped:?}");
    stopped.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_clickhouse_recent_decisions_are_told_and_older_ones_unavailable() {
    let _servers = SERVERS.read().await;
    let mut stage = Stage::open().await;
    stage.stop().await;
    // Nobody listens there: as good as a server that is away, and the neighbours keep theirs.
    stage.config.clickhouse.url = "http://127.0.0.1:1".into();
    stage.start().await;
    let _edge = stage.edge("fra-1", Duration::ZERO, IDLE).await;
    stage.publish("song").await;
    let id = stage.routed("song", |_| true).await.decision_id;
    assert_eq!(stage.admin_get(&format!("/v1/decisions/{id}")).await.status, StatusCode::OK);
    let other = wire::DecisionId::generate();
    let answer = stage.admin_get(&format!("/v1/decisions/{other}")).await;
    assert_eq!(problem(&answer), (503, "unavailable".into(), None));
    assert!(answer.headers.contains_key("retry-after"));
    let body = json!({ "decision_id": id, "edges": [] });
    assert_eq!(problem(&stage.admin(Method::POST, "/v1/measurements", &body).await).2, Some("edges".into()));
}
