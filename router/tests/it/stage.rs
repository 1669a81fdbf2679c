//! A router of the test's own, on databases and topics of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devstack::TestServers;
use http::{Method, StatusCode};
use router::{Config, RouterConfig};
use serde_json::{Value, json};
use service::client::{Answer, ApiClient};
use service::config::{AuthConfig, ClickHouseConfig, HttpConfig, KafkaConfig, PostgresConfig, Secret, Span};
use service::{Running, Shutdown};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::sync::RwLock;
use wire::decision::RouteAnswer;

use crate::edge::{Edge, Load};

pub(crate) const TOKEN: &str = "0123456789abcdef-admin";

/// Held for reading by tests that need all servers, for writing by those that stop one.
pub(crate) static SERVERS: RwLock<()> = RwLock::const_new(());

pub(crate) struct Stage {
    pub(crate) servers: &'static TestServers,
    pub(crate) config: Config,
    pub(crate) operator: ApiClient,
    pub(crate) player: ApiClient,
    pub(crate) pool: PgPool,
    router: Option<Running>,
    _data: TempDir,
}

impl Stage {
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut RouterConfig)) -> Self {
        service::metrics::start();
        let servers = TestServers::shared().await;
        let data = tempfile::tempdir().unwrap();
        let mut config = config(servers, data.path().join("router")).await;
        change(&mut config.router);
        service::postgres::migrate(&config.postgres).await.unwrap();
        service::kafka::create_topics(&config.kafka).await.unwrap();
        let pool = service::postgres::pool(&config.postgres).unwrap();
        let player = ApiClient::new(Duration::from_secs(10));
        let operator = player.clone().with_bearer(TOKEN);
        let mut stage = Self { servers, config, operator, player, pool, router: None, _data: data };
        stage.start().await;
        stage
    }

    /// Starts the router, on the same address each time.
    pub(crate) async fn start(&mut self) {
        let running = router::start(self.config.clone(), Shutdown::new()).await.unwrap();
        self.config.router.listen = running.addr;
        self.router = Some(running);
    }

    pub(crate) async fn stop(&mut self) {
        self.router.take().unwrap().stop().await.unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.config.router.listen)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.player.get(&self.url(path)).await.unwrap()
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.operator.send_json(method, &self.url(path), body).await.unwrap()
    }

    pub(crate) async fn admin_get(&self, path: &str) -> Answer {
        self.operator.get(&self.url(path)).await.unwrap()
    }

    /// An edge that listens, is registered and reports its load.
    pub(crate) async fn edge(&self, id: &str, latency: Duration, load: Load) -> Edge {
        let edge = Edge::listen(id, latency).await;
        self.register(&edge).await;
        edge.report_to(self.operator.clone(), self.url("/v1/fleet/reports"), load);
        edge
    }

    pub(crate) async fn register(&self, edge: &Edge) {
        let path = format!("/v1/fleet/edges/{}", edge.id);
        let answer = self.admin(Method::PUT, &path, &edge.registration()).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    }

    /// In one transaction, as the catalog does.
    pub(crate) async fn publish(&self, track: &str) {
        let mut transaction = self.pool.begin().await.unwrap();
        let insert = "INSERT INTO tracks (track_id, title, artist, duration_ms, state, version)
            VALUES ($1, 'a', 'b', 1000, 'live', 1)";
        sqlx::query(insert).bind(track).execute(&mut *transaction).await.unwrap();
        let insert =
            "INSERT INTO renditions (track_id, kind, key, codec, bitrate_kbps) VALUES ($1, $2, $3, 'mp4a.40.2', 128)";
        for (kind, key) in [("hls", "master.m3u8"), ("progressive", "all of it.m4a")] {
            let key = format!("t/{track}/{key}");
            sqlx::query(insert).bind(track).bind(kind).bind(key).execute(&mut *transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }

    /// The next answer to `GET /v1/route` that is as wanted.
    pub(crate) async fn routed(&self, track: &str, wanted: impl Fn(&RouteAnswer) -> bool) -> RouteAnswer {
        let path = format!("/v1/route?track={track}");
        eventually("an answer as wanted", || async {
            let answer = self.get(&path).await;
            if answer.status != StatusCode::OK {
                return Err(format!("{} {:?}", answer.status, answer.body));
            }
            let routed: RouteAnswer = answer.json().unwrap();
            if wanted(&routed) { Ok(routed) } else { Err(format!("{routed:?}")) }
        })
        .await
    }

    /// Until the component has this status in `/health/detailed`, with a reason that holds these words.
    pub(crate) async fn health(&self, component: &str, status: &str, words: &str) {
        eventually("a state of health", || async {
            let health: Value = self.get("/health/detailed").await.json().unwrap();
            let found = &health["components"][component];
            let reason = found["reason"].as_str().unwrap_or_default();
            if found["status"] == status && reason.contains(words) { Ok(()) } else { Err(health.to_string()) }
        })
        .await;
    }
}

async fn config(servers: &TestServers, data_dir: PathBuf) -> Config {
    Config {
        router: RouterConfig {
            id: "router-test".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir,
            probe_interval: Span::from_millis(100),
            refresh_interval: Span::from_millis(200),
            report_max_age: Span::from_secs(2),
            ..RouterConfig::default()
        },
        http: HttpConfig { drain_timeout: Span::from_secs(5), ..HttpConfig::default() },
        kafka: KafkaConfig {
            brokers: servers.kafka.clone(),
            topic_prefix: servers.fresh_name("router"),
            partitions: 1,
            ..KafkaConfig::default()
        },
        postgres: PostgresConfig { url: Secret::new(servers.fresh_postgres().await), ..PostgresConfig::default() },
        clickhouse: ClickHouseConfig {
            url: servers.clickhouse_http.clone(),
            database: servers.fresh_name("router"),
            ..ClickHouseConfig::default()
        },
        auth: AuthConfig { admin_token: Secret::new(TOKEN) },
    }
}

/// Asks again until the answer is there, for 30 s at most.
///
/// # Panics
/// When it is not, with the last answer.
pub(crate) async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let last = Arc::new(std::sync::Mutex::new(String::new()));
    let asking = async {
        loop {
            match ask().await {
                Ok(value) => return value,
                Err(state) => *last.lock().unwrap() = state,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(30), asking).await {
        Ok(value) => value,
        Err(_) => panic!("no {what} in 30 s; at last: {}", last.lock().unwrap()),
    }
}

/// What a problem says of itself: status, type's last part, field.
pub(crate) fn problem(answer: &Answer) -> (u16, String, Option<String>) {
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    let body: Value = answer.json().unwrap();
    let kind = body["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    assert_eq!(body["status"], json!(answer.status.as_u16()));
    (answer.status.as_u16(), kind, body["field"].as_str().map(str::to_owned))
}
