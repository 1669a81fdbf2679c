//! What a test plays on: a database and topics of its own, catalogs that it starts.

use std::any::Any;
use std::time::{Duration, Instant};

use devstack::TestServers;
use http::Method;
use serde_json::{Value, json};
use service::client::{Answer, ApiClient};
use service::config::{AuthConfig, HttpConfig, KafkaConfig, Loader, LogConfig, PostgresConfig, Secret, Span};
use service::{Running, Shutdown};
use sqlx::PgPool;
use tokio::sync::RwLock;

pub(crate) const TOKEN: &str = "an-admin-token-for-tests";

/// Read by tests that need Kafka to stay, written by those that stop it.
static KAFKA: RwLock<()> = RwLock::const_new(());

pub(crate) struct Stage {
    pub(crate) servers: &'static TestServers,
    pub(crate) postgres: String,
    pub(crate) kafka: KafkaConfig,
    pub(crate) pool: PgPool,
    _kafka_stays: Box<dyn Any + Send>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::set(Box::new(KAFKA.read().await)).await
    }

    /// With Kafka for this test alone, so that it may be stopped.
    pub(crate) async fn alone() -> Self {
        Self::set(Box::new(KAFKA.write().await)).await
    }

    async fn set(kafka_stays: Box<dyn Any + Send>) -> Self {
        let level = std::env::var("TONEARM_LOG_LEVEL").unwrap_or_else(|_| "off".into());
        service::telemetry::start(&LogConfig { level, ..LogConfig::default() });
        let servers = TestServers::shared().await;
        let postgres = servers.fresh_postgres().await;
        let database = PostgresConfig { url: Secret::new(&postgres), max_connections: 4 };
        service::postgres::migrate(&database).await.unwrap();
        let kafka = KafkaConfig {
            brokers: servers.kafka.clone(),
            topic_prefix: servers.fresh_name("catalog"),
            partitions: 3,
            replication: 1,
        };
        service::kafka::create_topics(&kafka).await.unwrap();
        let pool = service::postgres::pool(&database).unwrap();
        Self { servers, postgres, kafka, pool, _kafka_stays: kafka_stays }
    }

    pub(crate) fn config(&self) -> catalog::Config {
        let mut catalog = catalog::config::CatalogConfig::default();
        catalog.listen.set_port(0);
        catalog.warm_timeout = Span::from_secs(2);
        catalog::Config {
            catalog,
            http: HttpConfig::default(),
            kafka: self.kafka.clone(),
            postgres: PostgresConfig { url: Secret::new(&self.postgres), max_connections: 8 },
            auth: AuthConfig { admin_token: Secret::new(TOKEN) },
        }
    }

    pub(crate) async fn catalog(&self) -> Catalog {
        Catalog::start(self.config()).await
    }

    pub(crate) async fn sql(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn pop(&self, pop: &str) {
        let sql = "INSERT INTO pops (pop_id) VALUES ($1) ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(pop).execute(&self.pool).await.unwrap();
    }

    /// Registers an edge that has this operators' address.
    pub(crate) async fn edge_at(&self, edge: &str, pop: &str, admin_url: &str) {
        self.pop(pop).await;
        let sql = "INSERT INTO edges (edge_id, pop_id, url, admin_url, capacity_bps, state)
                   VALUES ($1, $2, 'http://listeners.invalid', $3, 1000000000, 'active')";
        sqlx::query(sql).bind(edge).bind(pop).bind(admin_url).execute(&self.pool).await.unwrap();
    }
}

/// A catalog that was started, seen by its API.
pub(crate) struct Catalog {
    pub(crate) running: Running,
    pub(crate) api: Api,
}

impl Catalog {
    pub(crate) async fn start(config: catalog::Config) -> Self {
        let running = catalog::start(config, Shutdown::new()).await.unwrap();
        let api = Api::at(&running.url());
        Self { running, api }
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await.unwrap();
    }
}

#[derive(Clone)]
pub(crate) struct Api {
    url: String,
    client: ApiClient,
}

impl Api {
    pub(crate) fn at(url: &str) -> Self {
        let client = ApiClient::new(Duration::from_secs(30)).with_bearer(TOKEN);
        Self { url: url.to_owned(), client }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.client.get(&format!("{}{path}", self.url)).await.unwrap()
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        let body = ("application/json", body.into().into());
        self.client.send(method, &format!("{}{path}", self.url), Some(body)).await.unwrap()
    }

    pub(crate) async fn put(&self, track: &str, spec: &Value) -> Answer {
        self.send(Method::PUT, &format!("/v1/tracks/{track}"), spec.to_string()).await
    }

    pub(crate) async fn publish(&self, track: &str, pops: &[&str]) -> Answer {
        self.send(Method::POST, &format!("/v1/tracks/{track}/publish"), json!({ "pops": pops }).to_string()).await
    }

    pub(crate) async fn withdraw(&self, track: &str) -> Answer {
        self.send(Method::POST, &format!("/v1/tracks/{track}/withdraw"), "").await
    }

    /// Registers and publishes.
    pub(crate) async fn release(&self, track: &str, pops: &[&str]) {
        assert_eq!(self.put(track, &spec(track, 3)).await.status, 201);
        assert_eq!(self.publish(track, pops).await.status, 202);
    }

    pub(crate) async fn track(&self, track: &str) -> Value {
        let answer = self.get(&format!("/v1/tracks/{track}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json().unwrap()
    }

    pub(crate) async fn state(&self, track: &str) -> String {
        self.track(track).await["state"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn until_state(&self, track: &str, wanted: &str) -> Value {
        eventually(&format!("{track} is {wanted}"), async || {
            let track = self.track(track).await;
            (track["state"] == wanted).then_some(track)
        })
        .await
    }
}

/// A track of that many objects.
pub(crate) fn spec(track: &str, objects: usize) -> Value {
    let key = |i: usize| format!("{track}/{i:05}.m4a");
    let object = |i| json!({"key": key(i), "bytes": 100, "content_type": "audio/mp4"});
    json!({
        "title": "Title", "artist": "Artist", "duration_ms": 60_000,
        "renditions": [{"kind": "progressive", "key": key(0), "codec": "mp4a.40.2", "bitrate_kbps": 128}],
        "objects": (0..objects).map(object).collect::<Vec<_>>(),
    })
}

/// Asks until there is an answer, half a minute at most.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A configuration as a process of its own reads it.
pub(crate) fn read_environment() -> catalog::Config {
    let mut loader = Loader::new(None, std::env::vars()).unwrap();
    let config = catalog::Config::read(&mut loader);
    loader.finish().unwrap();
    config
}
