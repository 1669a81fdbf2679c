//! What the ingest role is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use service::config::{
    AuthConfig, ClickHouseConfig, HttpConfig, KafkaConfig, Loader, PostgresConfig, Problems, Section, Span,
};

use crate::geo::GeoConfig;
use crate::keys::KeysConfig;
use crate::producer::ACK_WITHIN;
use crate::stats::StatsConfig;

/// `[ingest]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Goes into every event, with a suffix that is new at every start.
    pub id: String,
    pub listen: SocketAddr,
    /// Body bytes of all requests that wait for their answer; beyond it requests get 503.
    pub max_in_flight: ByteSize,
    /// From a request's head to the last byte of its body; a slower one gets 408.
    pub body_timeout: Span,
    /// Largest body of a compressed request once it is decompressed; `http.max_body` bounds it as it comes.
    pub max_inflated: ByteSize,
    /// Bytes that each compressed byte may become, beyond the first 64 KiB.
    pub max_ratio: u32,
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Keeps what Kafka does not take now. Each process needs one of its own, on a disk that outlives it.
    pub spool_dir: PathBuf,
    /// Bytes it may hold; with Kafka away and the spool full, requests get 503. What is on its way to Kafka
    /// when that fails may add 80 MiB.
    pub spool_max: ByteSize,
}

impl Default for IngestConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 7100));
        Self {
            id: "ingest".into(),
            listen,
            max_in_flight: ByteSize::mib(64),
            body_timeout: Span::from_secs(15),
            max_inflated: ByteSize::mib(10),
            max_ratio: 100,
            trusted_proxies: Vec::new(),
            spool_dir: PathBuf::from("data/ingest/spool"),
            spool_max: ByteSize::gib(4),
        }
    }
}

impl Section for IngestConfig {
    const NAME: &'static str = "ingest";

    fn check(&self, problems: &mut Problems<'_>) {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !(1..=63).contains(&self.id.len()) || !self.id.bytes().all(legal) {
            problems.add("id", "must be 1 to 63 of a-z, A-Z, 0-9, dot, underscore, hyphen");
        }
        if !(1..=4096).contains(&(self.max_in_flight.as_u64() >> 20)) {
            problems.add("max_in_flight", "must be between 1 MiB and 4 GiB");
        }
        if self.body_timeout.0.is_zero() {
            problems.add("body_timeout", "must be above 0");
        }
        if self.max_inflated.as_u64() == 0 {
            problems.add("max_inflated", "must be above 0");
        }
        if self.max_ratio == 0 {
            problems.add("max_ratio", "must be above 0");
        }
        if self.spool_dir.as_os_str().is_empty() {
            problems.add("spool_dir", "must be a folder");
        }
        if self.spool_max.as_u64() < 1 << 20 {
            problems.add("spool_max", "must be at least 1 MiB");
        }
    }
}

/// All that the role reads.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    pub ingest: IngestConfig,
    pub http: HttpConfig,
    pub kafka: KafkaConfig,
    pub postgres: PostgresConfig,
    /// What the statistics API asks.
    pub clickhouse: ClickHouseConfig,
    pub stats: StatsConfig,
    pub auth: AuthConfig,
    pub keys: KeysConfig,
    pub geo: GeoConfig,
}

/// Reading a body, a sync of the spool, and answering after them.
const AROUND_KAFKA: Duration = Duration::from_secs(5);

impl Config {
    pub fn read(loader: &mut Loader) -> Self {
        Self {
            ingest: loader.section(),
            http: loader.section(),
            kafka: loader.section(),
            postgres: loader.section(),
            clickhouse: loader.section(),
            stats: loader.section(),
            auth: loader.section(),
            keys: loader.section(),
            geo: loader.section(),
        }
    }

    /// # Errors
    /// When a request could be given up before Kafka or the spool has answered for its events.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let needed = ACK_WITHIN + AROUND_KAFKA;
        anyhow::ensure!(
            self.http.request_timeout.0 >= needed,
            "http.request_timeout must be at least {needed:?} for ingest, which answers after Kafka or the spool"
        );
        Ok(())
    }
}
