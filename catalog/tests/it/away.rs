//! Without Kafka or PostgreSQL, and after their return.

use std::net::SocketAddr;
use std::sync::Arc;

use devstack::Server;
use serde_json::Value;
use service::config::{PostgresConfig, Secret};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::kafka::events;
use crate::stage::{Api, Catalog, Stage, eventually, spec};

async fn until_component(api: &Api, component: &str, wanted: &str) {
    eventually(&format!("{component} is {wanted}"), async || {
        let health: Value = api.get("/health/detailed").await.json().unwrap();
        (health["components"][component]["status"] == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn changes_wait_for_kafka_and_arrive_after_its_return() {
    let stage = Stage::alone().await;
    let before = stage.catalog().await;
    before.api.release("before", &[]).await;
    before.api.until_state("before", "live").await;
    stage.servers.stop(Server::Kafka).await;
    // One that ran, and one that starts while Kafka is away.
    let after = stage.catalog().await;
    for api in [&before.api, &after.api] {
        until_component(api, "postgres", "ok").await;
        until_component(api, "kafka", "degraded").await;
        assert_eq!(api.get("/health").await.status, 200, "changes are still accepted");
    }
    for i in 0..5 {
        before.api.release(&format!("one{i}"), &[]).await;
        after.api.release(&format!("two{i}"), &[]).await;
    }
    assert_eq!(stage.number("SELECT count(*) FROM outbox WHERE sent_at IS NULL").await, 10);
    stage.servers.start(Server::Kafka).await;
    for i in 0..5 {
        after.api.until_state(&format!("one{i}"), "live").await;
        after.api.until_state(&format!("two{i}"), "live").await;
    }
    for api in [&before.api, &after.api] {
        until_component(api, "kafka", "ok").await;
        until_component(api, "outbox", "ok").await;
    }
    let mut ids: Vec<_> = events(&stage.kafka).await.into_iter().map(|e| e.event_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 11, "every change has arrived");
    before.stop().await;
    after.stop().await;
}

/// A way to PostgreSQL that can be closed.
struct Door {
    addr: SocketAddr,
    open: Option<JoinSet<()>>,
}

impl Door {
    async fn closed() -> Self {
        let addr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        Self { addr, open: None }
    }

    async fn open(&mut self, to: &str) {
        let listener = TcpListener::bind(self.addr).await.unwrap();
        let to: Arc<str> = to.into();
        let mut door = JoinSet::new();
        door.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let to = to.clone();
                connections.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(&*to).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        self.open = Some(door);
    }

    async fn close(&mut self) {
        self.open.take().unwrap().shutdown().await;
    }
}

#[tokio::test]
async fn postgres_may_come_late_and_go_for_a_while() {
    let stage = Stage::new().await;
    let mut door = Door::closed().await;
    let (login, place) = stage.postgres.split_once('@').unwrap();
    let (host, database) = place.split_once('/').unwrap();
    let mut config = stage.config();
    let url = Secret::new(format!("{login}@{}/{database}", door.addr));
    config.postgres = PostgresConfig { url, max_connections: 8 };
    let catalog = Catalog::start(config).await;
    let api = &catalog.api;
    assert_eq!(api.get("/health").await.status, 503, "it does not claim to be ready");
    until_component(api, "postgres", "down").await;
    let refused = api.put("t", &spec("t", 1)).await;
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains_key("retry-after"));

    door.open(host).await;
    until_component(api, "postgres", "ok").await;
    assert_eq!(api.get("/health").await.status, 200);
    api.release("t", &[]).await;
    api.until_state("t", "live").await;

    door.close().await;
    until_component(api, "postgres", "down").await;
    assert_eq!(api.publish("t", &[]).await.status, 503);
    door.open(host).await;
    until_component(api, "postgres", "ok").await;
    api.release("u", &[]).await;
    api.until_state("u", "live").await;
    assert_eq!(events(&stage.kafka).await.len(), 2);
    catalog.stop().await;
}
