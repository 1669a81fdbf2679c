//! One installation for one test: its own topics and its own database on the shared servers.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clickhouse::Client;
use devstack::{Alone, TestServers};
use http::{HeaderName, Method};
use http_body_util::{BodyExt, Full};
use ingest::audit::{Hours, InstanceAudit};
use ingest::keys::{Grant, NewKey};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::groups::GroupMemberInfo;
use rdkafka::producer::FutureRecord;
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::{Value, json};
use service::client::{Answer, ApiClient};
use service::config::{ClickHouseConfig, KafkaConfig, Loader, PostgresConfig, Secret};
use service::{Running, Shutdown};
use sqlx::PgPool;
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;
use wire::Timestamp;
use wire::topic::Topic;

pub(crate) const WRITE_KEY: &str = "write-key-of-the-test";
pub(crate) const ADMIN_TOKEN: &str = "admin-token-of-the-test";

/// How long a state may take to come about. Rows that wait behind a killed server go in many small batches, each through
/// every view, beside the other tests: two minutes of work on two busy cores.
const PATIENCE: Duration = Duration::from_secs(480);

/// Databases of tests that have ended, and their server: their rankings would be computed every minute until the last
/// test.
static ENDED: std::sync::Mutex<Vec<(String, String)>> = std::sync::Mutex::new(Vec::new());

pub(crate) struct Stack {
    pub(crate) servers: &'static TestServers,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) kafka: KafkaConfig,
    pub(crate) clickhouse: Client,
    /// The database, where no other test uses it.
    own: Option<String>,
    pub(crate) postgres: PgPool,
    pub(crate) folder: tempfile::TempDir,
    _alone: Option<Alone>,
}

impl Drop for Stack {
    fn drop(&mut self) {
        let server = &self.servers.clickhouse_http;
        ENDED.lock().unwrap().extend(self.own.take().map(|name| (server.clone(), name)));
    }
}

impl Stack {
    /// Beside other tests.
    pub(crate) async fn new() -> Self {
        Self::on(TestServers::shared().await, None, None).await
    }

    /// On servers of its own, for a test that stops them.
    pub(crate) async fn alone() -> Self {
        let alone = TestServers::alone().await;
        Self::on(alone.servers(), Some(alone), None).await
    }

    /// Beside other tests, in the one database that the account `analyst` reads: whoever asks holds it alone.
    pub(crate) async fn of_analysts() -> (Self, MutexGuard<'static, ()>) {
        static DATABASE: Mutex<()> = Mutex::const_new(());
        let held = DATABASE.lock().await;
        let name = devstack::clickhouse::DATABASE;
        let servers = TestServers::shared().await;
        let drop = format!("DROP DATABASE IF EXISTS {name} SYNC");
        Client::default().with_url(&servers.clickhouse_http).query(&drop).execute().await.unwrap();
        (Self::on(servers, None, Some(name)).await, held)
    }

    /// ClickHouse as analysts reach it, in the database of [`Self::of_analysts`].
    pub(crate) fn analyst(&self) -> Client {
        let client = Client::default().with_url(&self.servers.clickhouse_http);
        client.with_user("analyst").with_password(&self.servers.analyst_password)
    }

    async fn on(servers: &'static TestServers, alone: Option<Alone>, database: Option<&str>) -> Self {
        service::metrics::start();
        service::telemetry::start(&service::config::LogConfig::default());
        let server = Client::default().with_url(&servers.clickhouse_http);
        let here = |(at, _): &mut (String, String)| *at == servers.clickhouse_http;
        let ended: Vec<_> = ENDED.lock().unwrap().extract_if(.., here).collect();
        for (_, name) in ended {
            server.query(&format!("DROP DATABASE IF EXISTS {name}")).execute().await.unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let mut environment = environment(servers, &servers.fresh_postgres().await, folder.path());
        environment.extend(database.map(|name| ("TONEARM_CLICKHOUSE_DATABASE".to_owned(), name.to_owned())));
        let mut loader = Loader::new(None, environment.clone()).unwrap();
        let (kafka, clickhouse, postgres): (KafkaConfig, ClickHouseConfig, PostgresConfig) =
            (loader.section(), loader.section(), loader.section());
        loader.finish().unwrap();
        service::postgres::migrate(&postgres).await.unwrap();
        let postgres = service::postgres::pool(&postgres).unwrap();
        service::kafka::create_topics(&kafka).await.unwrap();
        service::clickhouse::migrate(&clickhouse).await.unwrap();
        service::clickhouse::migrate(&clickhouse).await.unwrap();
        let own = database.is_none().then(|| clickhouse.database.clone());
        let clickhouse = service::clickhouse::client(&clickhouse);
        let stack = Self { servers, environment, kafka, clickhouse, own, postgres, folder, _alone: alone };
        let origins = vec!["*".parse().unwrap()];
        stack.key(Grant::Write { app: "web".into(), origins, rate: None }, Some(WRITE_KEY)).await;
        stack
    }

    /// Makes a key, of the given secret or of a random one; its secret.
    pub(crate) async fn key(&self, grant: Grant, secret: Option<&str>) -> String {
        let new = NewKey { grant, note: String::new(), secret: secret.map(Secret::new) };
        ingest::keys::create(&self.postgres, &new).await.unwrap().secret.expose().to_owned()
    }

    pub(crate) fn loader(&self, more: &[(&str, &str)]) -> Loader {
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Loader::new(None, self.environment.iter().cloned().chain(more)).unwrap()
    }

    pub(crate) async fn ingest(&self, more: &[(&str, &str)]) -> Running {
        let running = self.ingest_unready(more).await;
        healthy(&running).await;
        running
    }

    /// One that may lack what it stands on.
    pub(crate) async fn ingest_unready(&self, more: &[(&str, &str)]) -> Running {
        let mut loader = self.loader(more);
        let config = ingest::Config::read(&mut loader);
        loader.finish().unwrap();
        ingest::start(config, Shutdown::new()).await.unwrap()
    }

    pub(crate) async fn sink(&self, more: &[(&str, &str)]) -> Running {
        let mut loader = self.loader(more);
        let config = ingest::sink::Config::read(&mut loader);
        loader.finish().unwrap();
        ingest::sink::start(config, Shutdown::new()).await.unwrap()
    }

    /// Every message that a topic has at this moment.
    pub(crate) async fn messages(&self, topic: Topic) -> Vec<Vec<u8>> {
        let consumer: BaseConsumer = service::kafka::client_config(&self.kafka)
            .set("group.id", self.servers.fresh_name("reader"))
            .create()
            .unwrap();
        let (topic, partitions) = (topic.name(&self.kafka.topic_prefix), self.kafka.partitions);
        tokio::task::spawn_blocking(move || read_to_the_end(&consumer, &topic, partitions)).await.unwrap()
    }

    /// The only value of a query.
    pub(crate) async fn number(&self, sql: &str) -> u64 {
        self.clickhouse.query(&sql.replace('?', "??")).fetch_one().await.unwrap()
    }

    /// Waits until the query gives `wanted`.
    pub(crate) async fn until(&self, sql: &str, wanted: u64) {
        eventually(PATIENCE, || async {
            let found: Result<u64, _> = self.clickhouse.query(sql).fetch_one().await;
            match found {
                Ok(found) if found == wanted => Ok(()),
                found => Err(format!("{sql}: {found:?}, not {wanted}")),
            }
        })
        .await;
        self.inserted().await;
    }

    /// A row can be seen a moment before the views over its table have it: waits for inserts that are under way, unless
    /// there are always some.
    async fn inserted(&self) {
        let running = "SELECT count() FROM system.processes \
                       WHERE current_database = currentDatabase() AND query_kind = 'Insert'";
        for _ in 0..100 {
            if self.clickhouse.query(running).fetch_one::<u64>().await.is_ok_and(|inserts| inserts == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the query gives more than this.
    pub(crate) async fn past(&self, sql: &str, least: u64) {
        eventually(PATIENCE, || async {
            let found = self.number(sql).await;
            if found > least { Ok(()) } else { Err(format!("{sql}: {found}, not above {least}")) }
        })
        .await;
    }

    /// Every event is there once, and no offset of any partition is missing or doubled.
    pub(crate) async fn adds_up(&self, events: u64) {
        self.until("SELECT uniqExact(event_id) FROM events", events).await;
        assert_eq!(self.number("SELECT count() FROM events").await, events);
        self.has_every_offset_once().await;
    }

    /// Each offset of the listens is in one row of one table.
    pub(crate) async fn has_every_offset_once(&self) {
        self.has_every_offset_of(Topic::Listens, "events").await;
    }

    /// Each offset of a topic is in one row of one table. Rows are stored before the repeats among them.
    pub(crate) async fn has_every_offset_of(&self, topic: Topic, table: &str) {
        let topic = topic.name(&self.kafka.topic_prefix);
        let aside = ["repeats", "dead_letter"]
            .map(|aside| format!(" UNION ALL SELECT _partition, _offset FROM {aside} WHERE topic = '{topic}'"))
            .concat();
        let off = format!(
            "SELECT countIf(n != width OR n != different) FROM (SELECT count() AS n, \
             uniqExact(_offset) AS different, max(_offset) + 1 AS width \
             FROM (SELECT _partition, _offset FROM {table}{aside}) GROUP BY _partition)"
        );
        self.until(&off, 0).await;
    }

    /// How many messages a topic has taken.
    pub(crate) async fn kafka_messages(&self, topic: Topic) -> u64 {
        let consumer: BaseConsumer = service::kafka::client_config(&self.kafka).create().unwrap();
        let (topic, partitions) = (topic.name(&self.kafka.topic_prefix), self.kafka.partitions);
        let end = move |partition| consumer.fetch_watermarks(&topic, partition, Duration::from_secs(20)).unwrap().1;
        let ends = tokio::task::spawn_blocking(move || (0..partitions).map(end).sum::<i64>());
        ends.await.unwrap().unsigned_abs()
    }

    /// Each member of the sinks' group, with its number of partitions.
    async fn sinks(&self) -> (String, Vec<usize>) {
        let consumer: BaseConsumer = service::kafka::client_config(&self.kafka).create().unwrap();
        let group = format!("{}.sink", self.kafka.topic_prefix);
        let ask = move || {
            let groups = consumer.fetch_group_list(Some(&group), Duration::from_secs(20)).unwrap();
            let Some(found) = groups.groups().first() else { return (String::new(), Vec::new()) };
            let size = |member: &GroupMemberInfo| member.assignment().map_or(0, <[u8]>::len);
            (found.state().to_owned(), found.members().iter().map(size).collect())
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    /// The ids that Kafka has given to the sinks: one that left and came back has another.
    pub(crate) async fn members(&self) -> Vec<String> {
        let consumer: BaseConsumer = service::kafka::client_config(&self.kafka).create().unwrap();
        let group = format!("{}.sink", self.kafka.topic_prefix);
        let ask = move || {
            let groups = consumer.fetch_group_list(Some(&group), Duration::from_secs(20)).unwrap();
            groups.groups()[0].members().iter().map(|member| member.id().to_owned()).collect()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    /// Waits until two sinks share the partitions.
    pub(crate) async fn both_have_partitions(&self) {
        // An assignment of nothing is a few bytes of versions.
        const NOTHING: usize = 16;
        eventually(Duration::from_secs(60), || async {
            let (state, sizes) = self.sinks().await;
            let sharing = state == "Stable" && sizes.len() == 2 && sizes.iter().all(|size| *size > NOTHING);
            if sharing { Ok(()) } else { Err(format!("{state}, {sizes:?}")) }
        })
        .await;
    }

    /// Hands messages to Kafka as they are.
    pub(crate) async fn produce(&self, topic: Topic, key: &str, payloads: &[String]) {
        let producer = service::kafka::producer(&self.kafka).unwrap();
        let topic = topic.name(&self.kafka.topic_prefix);
        for payload in payloads {
            let record = FutureRecord::to(&topic).key(key).payload(payload);
            producer.send(record, Duration::from_secs(20)).await.unwrap();
        }
    }
}

fn read_to_the_end(consumer: &BaseConsumer, topic: &str, partitions: i32) -> Vec<Vec<u8>> {
    let wait = Duration::from_secs(20);
    let mut list = TopicPartitionList::new();
    let mut there = 0;
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        there += consumer.fetch_watermarks(topic, partition, wait).unwrap().1;
    }
    consumer.assign(&list).unwrap();
    (0..there).map(|_| consumer.poll(wait).unwrap().unwrap().payload().unwrap_or_default().to_vec()).collect()
}

impl Stack {
    /// No number that an ingest process promised is nowhere, as an audit finds; waits for the last words of those
    /// that end in order.
    pub(crate) async fn has_no_hole(&self) {
        let mut loader = Loader::new(None, self.environment.clone()).unwrap();
        let config = ingest::audit::Config::read(&mut loader);
        eventually(Duration::from_secs(120), || async {
            let audit = ingest::audit::run(&config, Hours::default()).await.map_err(|e| format!("{e:#}"))?;
            let off = |one: &&InstanceAudit| one.missing > 0 || !one.ended && !one.ingest_id.starts_with("killed");
            let off: Vec<_> = audit.instances.iter().filter(off).collect();
            if off.is_empty() && !audit.instances.is_empty() { Ok(()) } else { Err(format!("{off:?}")) }
        })
        .await;
    }
}

fn environment(servers: &TestServers, postgres: &str, folder: &Path) -> Vec<(String, String)> {
    let pairs = [
        ("TONEARM_KAFKA", servers.kafka.clone()),
        ("TONEARM_KAFKA_TOPIC_PREFIX", servers.fresh_name("ingest")),
        ("TONEARM_KAFKA_PARTITIONS", "3".into()),
        ("TONEARM_CLICKHOUSE", servers.clickhouse_http.clone()),
        ("TONEARM_CLICKHOUSE_DATABASE", servers.fresh_name("ingest")),
        ("TONEARM_AUTH_ADMIN_TOKEN", ADMIN_TOKEN.into()),
        ("TONEARM_POSTGRES", postgres.to_owned()),
        ("TONEARM_KEYS_SNAPSHOT", folder.join("keys.json").display().to_string()),
        ("TONEARM_KEYS_REFRESH_INTERVAL", "100ms".into()),
        ("TONEARM_INGEST_LISTEN", "127.0.0.1:0".into()),
        ("TONEARM_INGEST_SPOOL_DIR", folder.join("spool").display().to_string()),
        ("TONEARM_SINK_LISTEN", "127.0.0.1:0".into()),
        ("TONEARM_SINK_BATCH_WAIT", "100ms".into()),
        ("TONEARM_HTTP_DRAIN_TIMEOUT", "5s".into()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

pub(crate) async fn healthy(running: &Running) {
    health_is(running, 200).await;
}

pub(crate) async fn health_is(running: &Running, status: u16) {
    health_at(&running.url(), status).await;
}

pub(crate) async fn health_at(url: &str, status: u16) {
    let api = ApiClient::new(Duration::from_secs(5));
    let url = format!("{url}/health");
    eventually(PATIENCE, || async {
        let answer = api.get(&url).await.map_err(|e| e.to_string())?;
        if answer.status == status { Ok(()) } else { Err(format!("health is {}", answer.status)) }
    })
    .await;
}

/// Waits until health says so of a component.
pub(crate) async fn component_is(role: &Running, component: &str, wanted: &str) {
    component_at(&role.url(), component, wanted).await;
}

pub(crate) async fn component_at(url: &str, component: &str, wanted: &str) {
    let api = ApiClient::new(Duration::from_secs(5));
    eventually(PATIENCE, || async {
        let answer = api.get(&format!("{url}/health/detailed")).await.map_err(|e| e.to_string())?;
        let told: Value = answer.json().map_err(|e| e.to_string())?;
        if told["components"][component]["status"] == wanted { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
}

/// Asks until the answer is good or the deadline has passed.
pub(crate) async fn eventually<F: Future<Output = Result<(), String>>>(within: Duration, ask: impl Fn() -> F) {
    let deadline = Instant::now() + within;
    while let Err(not_yet) = ask().await {
        assert!(Instant::now() < deadline, "after {within:?}: {not_yet}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn event() -> Value {
    json!({
        "event_id": Uuid::now_v7(), "type": "progress", "session_id": format!("s-{}", Uuid::now_v7().as_u128() % 97),
        "play_id": "p-1", "track_id": "t-1", "client_ts": Timestamp::now(), "played_ms": 31_000,
    })
}

pub(crate) fn events(n: usize) -> Vec<Value> {
    (0..n).map(|_| event()).collect()
}

/// Posts a body as it is, with the write key.
pub(crate) async fn post_raw(ingest: &Running, content_type: &str, body: impl Into<Bytes>) -> Answer {
    post_at(&ingest.url(), content_type, body).await.unwrap()
}

/// The same, at an ingest that may be gone.
pub(crate) async fn post_at(url: &str, content_type: &str, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
    let api = ApiClient::new(Duration::from_secs(60)).with_bearer(WRITE_KEY);
    api.send(Method::POST, &format!("{url}/v1/events"), Some((content_type, body.into()))).await
}

pub(crate) async fn post(ingest: &Running, body: &Value) -> Answer {
    post_raw(ingest, "application/json", body.to_string()).await
}

/// Posts as a proxy does that speaks for this address.
pub(crate) async fn post_from(ingest: &Running, address: &str, body: &Value) -> Answer {
    let forwarded = (HeaderName::from_static("x-forwarded-for"), address.parse().unwrap());
    let api = ApiClient::new(Duration::from_secs(60)).with_bearer(WRITE_KEY).with_header(forwarded.0, forwarded.1);
    api.send_json(Method::POST, &format!("{}/v1/events", ingest.url()), body).await.unwrap()
}

/// Sends a request with the given headers and no other.
pub(crate) async fn send(
    ingest: &Running,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let mut request = http::Request::builder().method(method).uri(format!("{}{path}", ingest.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let pool = service::client::pool(Duration::from_secs(30), 1);
    let (head, body) = pool.request(request).await.unwrap().into_parts();
    Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
}

/// Posts to `/v1/events` with the write key and these headers.
pub(crate) async fn post_with(ingest: &Running, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let key = format!("Bearer {WRITE_KEY}");
    let headers = [&[("authorization", key.as_str())], headers].concat();
    send(ingest, Method::POST, "/v1/events", &headers, body.into()).await
}

/// The kind of a problem, which names it to clients.
pub(crate) fn kind(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    let body: Value = answer.json().unwrap();
    assert_eq!(body["status"], answer.status.as_u16());
    (answer.status.as_u16(), body["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned())
}
