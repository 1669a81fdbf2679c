//! What ingest is told of keys.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service::config::{Problems, Section, Span};

/// `[keys]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// The file that keeps the keys' digests across restarts, readable by its owner alone.
    pub snapshot: PathBuf,
    /// How often changes are asked for; a revocation is known this much later at most.
    pub refresh_interval: Span,
    /// Keys that are held, at about 300 bytes each; those beyond open nothing, and health says so.
    pub max: usize,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self { snapshot: PathBuf::from("data/ingest/keys.json"), refresh_interval: Span::from_secs(1), max: 1_000_000 }
    }
}

impl Section for KeysConfig {
    const NAME: &'static str = "keys";

    fn check(&self, problems: &mut Problems<'_>) {
        if self.snapshot.file_name().is_none() {
            problems.add("snapshot", "must name a file");
        }
        // With the query's own deadline that leaves a revocation its five seconds.
        if !(Span::from_millis(10)..=Span::from_secs(2)).contains(&self.refresh_interval) {
            problems.add("refresh_interval", "must be 10 ms to 2 s");
        }
        if self.max == 0 {
            problems.add("max", "must be above 0");
        }
    }
}
