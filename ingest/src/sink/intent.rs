//! What is about to be inserted, as Kafka's commit metadata carries it.

use serde::{Deserialize, Serialize};

use super::config::MAX_WINDOW;

/// The offsets of one batch, both ends included, and all that decides which of its messages become which rows.
///
/// The token names offsets and version. A newer sink that finds an older one's intent keeps the older version in
/// the token, or ClickHouse would not know the batch again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) version: u32,
    /// How many offsets back an id counts as a repeat: a setting that has changed since must not decide anew.
    pub(super) window: u32,
    /// The range is one message whose row ClickHouse refused, for this reason: it goes to the dead letters, even if
    /// ClickHouse would take it by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
}

/// Kafka keeps 4096 bytes of metadata.
const MAX_REASON: usize = 1000;

impl Intent {
    /// Counts changes of what a row, or a view's row, is made of.
    pub(super) const VERSION: u32 = 2;
    /// Since this one, views say how far each partition came into their targets.
    pub(super) const UPTO: u32 = 2;

    pub(super) fn at(offset: i64, window: u32) -> Self {
        Self { first: offset, last: offset, version: Self::VERSION, window, refused: None }
    }

    pub(super) fn refuse(&mut self, reason: &str) {
        self.refused = Some(reason.chars().take(MAX_REASON / 4).collect());
    }

    pub(super) fn to_metadata(&self) -> String {
        serde_json::to_string(&self).expect("a struct of numbers and a text serialises")
    }

    /// The intent that was left at `committed`; none where there was none, or where an operator moved the offset since.
    pub(super) fn left(metadata: &str, committed: i64) -> Option<Self> {
        let intent: Self = serde_json::from_str(metadata).ok()?;
        let whole = intent.refused.is_none() || intent.first == intent.last;
        let sound = intent.last >= intent.first && intent.window <= MAX_WINDOW && whole;
        (intent.first == committed && sound).then_some(intent)
    }

    /// ClickHouse's `insert_deduplication_token`: the same offsets have the same one, for ever.
    pub(super) fn token(&self, topic: &str, partition: i32) -> String {
        format!("{topic}/{partition}/{}-{}/{}", self.first, self.last, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_left() {
        let intent = Intent { last: 9, version: 3, ..Intent::at(7, 50) };
        assert_eq!(Intent::left(&intent.to_metadata(), 7), Some(intent.clone()));
        assert_eq!(intent.token("tonearm.listens.v1", 2), "tonearm.listens.v1/2/7-9/3");
        let mut refused = Intent::at(7, 50);
        refused.refuse(&"\u{1f3b5}\"".repeat(9999));
        assert!(refused.to_metadata().len() < 3000);
        assert_eq!(Intent::left(&refused.to_metadata(), 7), Some(refused));
    }

    #[test]
    fn what_is_none_is_none() {
        let moved = Intent { last: 9, ..Intent::at(7, 50) }.to_metadata();
        let backwards = r#"{"first":7,"last":6,"version":1,"window":50}"#;
        let too_many = r#"{"first":7,"last":8,"version":1,"window":50,"refused":"why"}"#;
        for (metadata, committed) in [("", 7), ("{}", 7), (&moved, 8), (backwards, 7), (too_many, 7)] {
            assert_eq!(Intent::left(metadata, committed), None, "{metadata}");
        }
    }
}
