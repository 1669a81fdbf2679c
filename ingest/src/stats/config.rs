//! What the statistics API is told.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use service::config::{Problems, Section, Span};

/// `[stats]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatsConfig {
    /// Memory for answers that are kept.
    pub cache: ByteSize,
    /// How old an answer may be that is given while ClickHouse is away or slow; one about a user, 5 minutes at most.
    pub stale_for: Span,
    /// Queries to ClickHouse at a time; further ones wait for as long as a query may take.
    pub queries: usize,
    /// How long a query may take.
    pub query_timeout: Span,
    /// How many may follow `GET /v1/stats/live` at a time.
    pub live_subscribers: usize,
    /// How long the listens topic is read on for the live figures after somebody last looked at them.
    pub live_linger: Span,
}

impl Default for StatsConfig {
    fn default() -> Self {
        Self {
            cache: ByteSize::mib(32),
            stale_for: Span::from_secs(3600),
            queries: 4,
            query_timeout: Span::from_secs(5),
            live_subscribers: 1_000,
            live_linger: Span::from_secs(60),
        }
    }
}

impl Section for StatsConfig {
    const NAME: &'static str = "stats";

    fn check(&self, problems: &mut Problems<'_>) {
        if !(1..=4096).contains(&(self.cache.as_u64() >> 20)) {
            problems.add("cache", "must be between 1 MiB and 4 GiB");
        }
        if !(1..=100).contains(&self.queries) {
            problems.add("queries", "must be between 1 and 100");
        }
        // Two of these and a second more are the longest that an answer takes, which has to be a request's time.
        if !(1..=10).contains(&self.query_timeout.0.as_secs()) {
            problems.add("query_timeout", "must be between 1s and 10s");
        }
        if !(1..=100_000).contains(&self.live_subscribers) {
            problems.add("live_subscribers", "must be between 1 and 100000");
        }
    }
}
