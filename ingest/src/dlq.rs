//! Dead letters and what becomes of them: `tonearm dlq`.
//!
//! The path of one replay: [`lock`] sees to it that no other replay runs; [`doubts`] finds out what a replay that
//! was killed has sent; [`letters`] names those that wait, and reads their bytes, a few hundred at a time;
//! [`replay`] writes down that they are about to be sent, sends them to the partition they came from, and writes
//! down where they lie now ([`journal`]).
//!
//! Promised: a letter is sent once, though the command is killed at any point and run again; its bytes are those
//! that were set aside. What comes of it is the sink's to say: a row, a repeat, or a dead letter once more, which is
//! a letter of its own.
//! Not promised: a letter of which nobody can say whether it was sent, because Kafka's retention has passed since the
//! command was killed, is not sent again, and told.

mod doubts;
mod journal;
mod letters;
mod lock;
mod replay;

use serde::Serialize;
use service::config::{ClickHouseConfig, KafkaConfig, Loader};

pub use letters::{Filter, Group, Letter, list, show};
pub use replay::{Progress, replay};

/// All that the commands read.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    pub kafka: KafkaConfig,
    pub clickhouse: ClickHouseConfig,
}

impl Config {
    pub fn read(loader: &mut Loader) -> Self {
        Self { kafka: loader.section(), clickhouse: loader.section() }
    }
}
