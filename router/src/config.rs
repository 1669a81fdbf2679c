//! `[router]`, and the shared sections that this role reads.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use service::config::{
    AuthConfig, ClickHouseConfig, HttpConfig, KafkaConfig, Loader, PostgresConfig, Problems, Section, Span,
};

use crate::policy::Policy;

/// Everything `tonearm router` is told.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Config {
    pub router: RouterConfig,
    pub http: HttpConfig,
    pub kafka: KafkaConfig,
    pub postgres: PostgresConfig,
    /// For looking up decisions that have left memory.
    pub clickhouse: ClickHouseConfig,
    pub auth: AuthConfig,
}

impl Config {
    pub fn read(loader: &mut Loader) -> Self {
        Self {
            router: loader.section(),
            http: loader.section(),
            kafka: loader.section(),
            postgres: loader.section(),
            clickhouse: loader.section(),
            auth: loader.section(),
        }
    }
}

/// `[router]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterConfig {
    /// This router's name in the decisions that it stores.
    pub id: String,
    pub listen: SocketAddr,
    /// Holds the last good snapshot of fleet and tracks.
    pub data_dir: PathBuf,
    pub policy: Policy,
    /// An edge whose busiest resource is over this share gets no new listeners.
    pub load_max: f64,
    /// How long a listener may keep to a decision, in seconds.
    pub ttl_s: u32,
    /// From one probe of an edge to the next.
    pub probe_interval: Span,
    /// How long one probe may take, connecting included.
    pub probe_timeout: Span,
    /// An edge whose newest load report is older gets no new listeners.
    pub report_max_age: Span,
    /// How often PostgreSQL is asked for changes of fleet and tracks.
    pub refresh_interval: Span,
    /// Live tracks held in memory, at about 300 bytes each; one more is looked up when it is asked for.
    pub tracks_max: usize,
    /// Recent decisions held as JSON, oldest dropped first; later they are looked up in ClickHouse.
    pub recent_memory: ByteSize,
    /// Decisions that wait to be sent to Kafka, and as many again that are under way, at about 200 bytes
    /// per edge of the fleet each; further ones are answered, not logged, and counted.
    pub log_queue: usize,
    /// Listener networks (/24, /48) whose measurements are held, at about 100 bytes per measured edge.
    pub networks_max: u64,
    /// JWK Set with the key that tokens of media URLs are made with; without it URLs are not signed. It is read
    /// again when it changes.
    pub url_keys: Option<PathBuf>,
    /// The id of that key in the set.
    pub url_key: String,
    /// How long a URL is good: longer than anybody listens without asking again.
    pub url_ttl: Span,
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            id: "router-1".into(),
            listen: SocketAddr::from(([0, 0, 0, 0], 7000)),
            data_dir: PathBuf::from("data/router"),
            policy: Policy::ThreeNearest,
            load_max: 0.80,
            ttl_s: 30,
            probe_interval: Span::from_secs(1),
            probe_timeout: Span::from_secs(1),
            report_max_age: Span::from_secs(5),
            refresh_interval: Span::from_secs(1),
            tracks_max: 1_000_000,
            recent_memory: ByteSize::mib(32),
            log_queue: 8192,
            networks_max: 100_000,
            url_keys: None,
            url_key: String::new(),
            url_ttl: Span::from_secs(6 * 3600),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Section for RouterConfig {
    const NAME: &'static str = "router";

    fn check(&self, problems: &mut Problems<'_>) {
        problems.require("id", &self.id);
        if self.id.len() > 63 || self.id.chars().any(char::is_control) {
            problems.add("id", "must be 1 to 63 bytes with no control character");
        }
        if !(self.load_max > 0.0 && self.load_max <= 1.0) {
            problems.add("load_max", "must be above 0 and at most 1");
        }
        if !(1..=86_400).contains(&self.ttl_s) {
            problems.add("ttl_s", "must be 1 to 86400 seconds");
        }
        for (key, span) in [
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
            ("report_max_age", self.report_max_age),
            ("refresh_interval", self.refresh_interval),
        ] {
            if !(Span::from_millis(10)..=Span::from_secs(3600)).contains(&span) {
                problems.add(key, "must be 10 ms to 1 h");
            }
        }
        if self.url_keys.is_some() {
            problems.require("url_key", &self.url_key);
        }
        if !(Span::from_secs(60)..=Span::from_secs(30 * 24 * 3600)).contains(&self.url_ttl) {
            problems.add("url_ttl", "must be 1 minute to 30 days");
        }
        for (key, none) in [
            ("tracks_max", self.tracks_max == 0),
            ("recent_memory", self.recent_memory.as_u64() == 0),
            ("log_queue", self.log_queue == 0),
            ("networks_max", self.networks_max == 0),
        ] {
            if none {
                problems.add(key, "must be above 0");
            }
        }
    }
}
