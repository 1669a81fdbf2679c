//! What the catalog is told at its start.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use service::config::{AuthConfig, HttpConfig, KafkaConfig, Loader, PostgresConfig, Problems, Section, Span};

/// The sections that the catalog reads.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    pub catalog: CatalogConfig,
    pub http: HttpConfig,
    pub kafka: KafkaConfig,
    pub postgres: PostgresConfig,
    pub auth: AuthConfig,
}

impl Config {
    pub fn read(loader: &mut Loader) -> Self {
        Self {
            catalog: loader.section(),
            http: loader.section(),
            kafka: loader.section(),
            postgres: loader.section(),
            auth: loader.section(),
        }
    }
}

/// `[catalog]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogConfig {
    pub listen: SocketAddr,
    /// From the arrival of a track's event to when it goes live without the edges that are not warm.
    pub rollout_deadline: Span,
    /// Edges that are given orders at a time, by one catalog; each gets one order at a time.
    pub warm_concurrency: usize,
    /// How long an edge may take for one slice of an order, at most 200 objects.
    pub warm_timeout: Span,
    /// Events that a relay brings to Kafka in one transaction.
    pub outbox_batch: u32,
    /// How often the outbox is looked at for what other processes wrote; one's own writes wake it.
    pub outbox_poll: Span,
    /// How long an event stays in the outbox after it was sent.
    pub outbox_keep: Span,
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 7300).into(),
            rollout_deadline: Span::from_secs(120),
            warm_concurrency: 16,
            warm_timeout: Span::from_secs(30),
            outbox_batch: 500,
            outbox_poll: Span::from_millis(200),
            outbox_keep: Span::from_secs(7 * 24 * 3600),
        }
    }
}

impl Section for CatalogConfig {
    const NAME: &'static str = "catalog";

    fn check(&self, problems: &mut Problems<'_>) {
        if !(1..=1_024).contains(&self.warm_concurrency) {
            problems.add("warm_concurrency", "must be between 1 and 1024");
        }
        if !(1..=10_000).contains(&self.outbox_batch) {
            problems.add("outbox_batch", "must be between 1 and 10000");
        }
        for (key, span, max_s) in [
            ("rollout_deadline", self.rollout_deadline, 7 * 24 * 3600),
            ("warm_timeout", self.warm_timeout, 3600),
            ("outbox_poll", self.outbox_poll, 60),
            ("outbox_keep", self.outbox_keep, 3650 * 24 * 3600),
        ] {
            if span < Span::from_millis(10) || span > Span::from_secs(max_s) {
                problems.add(key, format!("must be between 10ms and {}", Span::from_secs(max_s)));
            }
        }
    }
}
