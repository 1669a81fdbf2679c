//! What is about to be inserted, as Kafka's commit metadata carries it.

use serde::{Deserialize, Serialize};

/// The offsets of one batch, both ends included, and the version of the rows made of them.
///
/// The token names all three. A newer sink that finds an older one's intent keeps the older version in
/// the token, or ClickHouse would not know the batch again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) version: u32,
}

impl Intent {
    /// Counts changes of what a row is made of.
    pub(super) const VERSION: u32 = 1;

    pub(super) fn to_metadata(self) -> String {
        serde_json::to_string(&self).expect("a struct of numbers serialises")
    }

    /// The intent that was left at `committed`; none where there was none, or where an operator moved the offset since.
    pub(super) fn left(metadata: &str, committed: i64) -> Option<Self> {
        let intent: Self = serde_json::from_str(metadata).ok()?;
        (intent.first == committed && intent.last >= intent.first).then_some(intent)
    }

    /// ClickHouse's `insert_deduplication_token`: the same offsets have the same one, for ever.
    pub(super) fn token(self, topic: &str, partition: i32) -> String {
        format!("{topic}/{partition}/{}-{}/{}", self.first, self.last, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_left() {
        let intent = Intent { first: 7, last: 9, version: 3 };
        assert_eq!(Intent::left(&intent.to_metadata(), 7), Some(intent));
        assert_eq!(intent.token("tonearm.listens.v1", 2), "tonearm.listens.v1/2/7-9/3");
    }

    #[test]
    fn what_is_none_is_none() {
        let moved = Intent { first: 7, last: 9, version: 1 }.to_metadata();
        for (metadata, committed) in [("", 7), ("{}", 7), (&moved, 8), (r#"{"first":7,"last":6,"version":1}"#, 7)] {
            assert_eq!(Intent::left(metadata, committed), None, "{metadata}");
        }
    }
}
