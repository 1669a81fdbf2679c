//! What the sink role is told.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use service::config::{ClickHouseConfig, HttpConfig, KafkaConfig, Loader, Problems, Section, Span};

/// `[sink]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkConfig {
    /// Different for every sink of an installation, the same after a restart: Kafka knows the member by
    /// it, gives a restarted sink its partitions back at once, and shuts out an older process of the same id.
    pub id: String,
    pub listen: SocketAddr,
    /// A batch is closed when it has this many rows, ...
    pub batch_rows: usize,
    /// ... or this many bytes, ...
    pub batch_bytes: ByteSize,
    /// ... or when its first row is this old.
    pub batch_wait: Span,
    /// Memory of all batches together; beyond it the sink takes no more from Kafka until some are stored.
    pub max_buffered: ByteSize,
    /// A message is a repeat when one of so many before it in its partition had the same id; repeats beyond it are
    /// stored again. Each partition takes 30 bytes for each of these, once it has had so many.
    pub repeat_window: u32,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            id: "sink".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7101)),
            batch_rows: 100_000,
            batch_bytes: ByteSize::mib(16),
            batch_wait: Span::from_secs(1),
            max_buffered: ByteSize::mib(96),
            repeat_window: 100_000,
        }
    }
}

/// ClickHouse would cut a larger insert into blocks of its own choice.
const MAX_ROWS: usize = 1_000_000;

/// What an intent asks for must fit into memory too.
pub(super) const MAX_WINDOW: u32 = 5_000_000;

impl Section for SinkConfig {
    const NAME: &'static str = "sink";

    fn check(&self, problems: &mut Problems<'_>) {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !(1..=63).contains(&self.id.len()) || !self.id.bytes().all(legal) {
            problems.add("id", "must be 1 to 63 of a-z, A-Z, 0-9, dot, underscore, hyphen");
        }
        if !(1..=MAX_ROWS).contains(&self.batch_rows) {
            problems.add("batch_rows", format!("must be between 1 and {MAX_ROWS}"));
        }
        if !(ByteSize::kib(1)..=ByteSize::mib(128)).contains(&self.batch_bytes) {
            problems.add("batch_bytes", "must be between 1 KiB and 128 MiB");
        }
        if self.batch_wait.0 > Duration::from_secs(60) {
            problems.add("batch_wait", "must be at most 60s");
        }
        if !(1..=MAX_WINDOW).contains(&self.repeat_window) {
            problems.add("repeat_window", format!("must be between 1 and {MAX_WINDOW}"));
        }
        if self.max_buffered < self.batch_bytes {
            problems.add("max_buffered", "must be at least batch_bytes");
        }
    }
}

/// All that the role reads.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    pub sink: SinkConfig,
    pub http: HttpConfig,
    pub kafka: KafkaConfig,
    pub clickhouse: ClickHouseConfig,
}

impl Config {
    pub fn read(loader: &mut Loader) -> Self {
        Self { sink: loader.section(), http: loader.section(), kafka: loader.section(), clickhouse: loader.section() }
    }
}
