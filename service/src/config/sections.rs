//! The sections that more than one role reads.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{Problems, Secret, Section, Span};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// `[log]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A level or a filter in `tracing`'s syntax, such as `info,router=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

impl Section for LogConfig {
    const NAME: &'static str = "log";

    fn check(&self, problems: &mut Problems<'_>) {
        if let Err(e) = tracing_subscriber::EnvFilter::builder().parse(&self.level) {
            problems.add("level", e.to_string());
        }
    }
}

/// `[http]`: limits of every listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// From accepting a connection, or its last answer, to the end of a request's head.
    pub header_timeout: Span,
    /// From a request's head to its answer's.
    pub request_timeout: Span,
    /// A connection whose peer takes nothing of what is sent for so long is closed; players of an edge
    /// have `edge.write_timeout` instead.
    pub write_timeout: Span,
    /// Largest request body.
    pub max_body: ByteSize,
    /// Connections at a time; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// How long a stop waits for running requests.
    pub drain_timeout: Span,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            header_timeout: Span::from_secs(10),
            request_timeout: Span::from_secs(30),
            write_timeout: Span::from_secs(30),
            max_body: ByteSize::mib(1),
            max_connections: 10_000,
            drain_timeout: Span::from_secs(10),
        }
    }
}

impl Section for HttpConfig {
    const NAME: &'static str = "http";

    fn check(&self, problems: &mut Problems<'_>) {
        if self.max_connections == 0 {
            problems.add("max_connections", "must be above 0");
        }
    }
}

/// `[kafka]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// Before every topic and consumer group, for clusters that are shared.
    pub topic_prefix: String,
    /// Partitions of a topic that we create.
    pub partitions: i32,
    /// Replicas of a topic that we create; 3 in production.
    pub replication: i32,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self { brokers: "127.0.0.1:9092".into(), topic_prefix: "tonearm".into(), partitions: 6, replication: 1 }
    }
}

impl Section for KafkaConfig {
    const NAME: &'static str = "kafka";

    fn check(&self, problems: &mut Problems<'_>) {
        problems.require("brokers", &self.brokers);
        let name = &self.topic_prefix;
        let legal = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if name.is_empty() || name.len() > 100 || !legal {
            problems.add("topic_prefix", "must be 1 to 100 of a-z, A-Z, 0-9, dot, underscore, hyphen");
        }
        if self.partitions < 1 || self.replication < 1 {
            problems.add("partitions", "partitions and replication must be above 0");
        }
    }
}

/// `[clickhouse]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouseConfig {
    /// The HTTP interface.
    pub url: String,
    pub database: String,
    pub user: String,
    pub password: Secret,
}

impl Default for ClickHouseConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8123".into(),
            database: "tonearm".into(),
            user: "default".into(),
            password: Secret::default(),
        }
    }
}

impl Section for ClickHouseConfig {
    const NAME: &'static str = "clickhouse";

    fn check(&self, problems: &mut Problems<'_>) {
        if url::Url::parse(&self.url).is_err() {
            problems.add("url", "must be an http or https URL");
        }
        // The name is put into DDL, where no placeholder can stand.
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if self.database.is_empty() || !self.database.bytes().all(legal) {
            problems.add("database", "must be of a-z, A-Z, 0-9 and underscore");
        }
    }
}

/// `[analyst]`: a ClickHouse account that `tonearm migrate` makes for people who ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnalystConfig {
    pub user: String,
    /// Empty: no account is made.
    pub password: Secret,
    /// The longest that a question may take.
    pub max_execution_time: Span,
    /// What a question may hold in memory; half of it, and grouping goes on on disk.
    pub max_memory: ByteSize,
    /// Rows of an answer; a longer one is an error.
    pub max_result_rows: u64,
    /// Questions in an hour, of all who use the account.
    pub max_queries_per_hour: u64,
    /// How long the questions of an hour may take together, side by side or not.
    pub max_time_per_hour: Span,
}

impl Default for AnalystConfig {
    fn default() -> Self {
        Self {
            user: "analyst".into(),
            password: Secret::default(),
            max_execution_time: Span::from_secs(60),
            max_memory: ByteSize::gib(4),
            max_result_rows: 1_000_000,
            max_queries_per_hour: 10_000,
            max_time_per_hour: Span::from_secs(2 * 3600),
        }
    }
}

impl Section for AnalystConfig {
    const NAME: &'static str = "analyst";

    fn check(&self, problems: &mut Problems<'_>) {
        // The name is put into DDL, where no placeholder can stand.
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let begins = self.user.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if !begins || self.user.len() > 63 || !self.user.bytes().all(legal) {
            problems.add("user", "must be 1 to 63 of a-z, A-Z, 0-9 and underscore, a letter first");
        }
        if (1..12).contains(&self.password.expose().len()) {
            problems.add("password", "must have at least 12 characters");
        }
        if self.max_memory.as_u64() < 1 << 20 {
            problems.add("max_memory", "must be at least 1 MiB");
        }
        // To ClickHouse 0 is as many as there are.
        let counts = [("max_result_rows", self.max_result_rows), ("max_queries_per_hour", self.max_queries_per_hour)];
        for (name, _) in counts.into_iter().filter(|(_, most)| *most == 0) {
            problems.add(name, "must be above 0");
        }
    }
}

/// `[postgres]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`
    pub url: Secret,
    pub max_connections: u32,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self { url: Secret::new("postgres://tonearm@127.0.0.1:5432/tonearm"), max_connections: 8 }
    }
}

impl Section for PostgresConfig {
    const NAME: &'static str = "postgres";

    fn check(&self, problems: &mut Problems<'_>) {
        if self.url.expose().parse::<sqlx::postgres::PgConnectOptions>().is_err() {
            problems.add("url", "must be postgres://user:password@host:port/database");
        }
        if self.max_connections == 0 {
            problems.add("max_connections", "must be above 0");
        }
    }
}

/// `[s3]`: the origin.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    pub access_key: String,
    pub secret_key: Secret,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:9000".into(),
            region: "us-east-1".into(),
            bucket: "tonearm".into(),
            access_key: String::new(),
            secret_key: Secret::default(),
        }
    }
}

impl Section for S3Config {
    const NAME: &'static str = "s3";

    fn check(&self, problems: &mut Problems<'_>) {
        if url::Url::parse(&self.endpoint).is_err() {
            problems.add("endpoint", "must be an http or https URL");
        }
        problems.require("bucket", &self.bucket);
        problems.require("access_key", &self.access_key);
        problems.require("secret_key", self.secret_key.expose());
    }
}

/// `[auth]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// What operators, edges and the catalog show each other. Players and readers of statistics have keys of their own.
    pub admin_token: Secret,
}

impl Section for AuthConfig {
    const NAME: &'static str = "auth";

    fn check(&self, problems: &mut Problems<'_>) {
        problems.require("admin_token", self.admin_token.expose());
        if (1..16).contains(&self.admin_token.expose().len()) {
            problems.add("admin_token", "must have at least 16 characters");
        }
    }
}
