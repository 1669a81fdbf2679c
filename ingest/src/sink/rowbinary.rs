//! ClickHouse's RowBinary: a row is its values one after another, little-endian, with nothing between.

use std::collections::BTreeMap;

use uuid::Uuid;
use wire::Timestamp;

use super::native;

/// Appends values to a buffer of rows.
pub(super) struct Row<'a>(pub(super) &'a mut Vec<u8>);

macro_rules! number {
    ($($name:ident)*) => {
        $(pub(super) fn $name(&mut self, value: $name) -> &mut Self {
            self.0.extend_from_slice(&value.to_le_bytes());
            self
        })*
    };
}

impl Row<'_> {
    number!(u16 u32 u64 i64 f64);

    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.0.push(u8::from(value));
        self
    }

    /// `DateTime64(3)`.
    pub(super) fn time(&mut self, value: Timestamp) -> &mut Self {
        self.i64(value.as_millis())
    }

    /// Two numbers of 64 bits, the high one first, each little-endian.
    pub(super) fn uuid(&mut self, value: Uuid) -> &mut Self {
        let (high, low) = value.as_u64_pair();
        self.u64(high).u64(low)
    }

    /// `String` and `LowCardinality(String)`; ClickHouse's strings are bytes.
    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.length(value.len());
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// What was not sent is the empty string: no column where that would mean something else is written so.
    pub(super) fn optional_text(&mut self, value: Option<&str>) -> &mut Self {
        self.text(value.unwrap_or_default())
    }

    /// `Nullable`: a byte that is 1 for null, then the value, if any.
    pub(super) fn nullable<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T) -> &mut Self) -> &mut Self {
        self.bool(value.is_none());
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }

    /// `Array`: its length, then the values.
    pub(super) fn array<T>(
        &mut self,
        values: &[T],
        write: impl for<'r> Fn(&'r mut Self, &T) -> &'r mut Self,
    ) -> &mut Self {
        self.length(values.len());
        for value in values {
            write(self, value);
        }
        self
    }

    /// `Map` of texts: its length, then each key and its value.
    pub(super) fn texts(&mut self, map: &BTreeMap<String, String>) -> &mut Self {
        self.length(map.len());
        for (key, value) in map {
            self.text(key).text(value);
        }
        self
    }

    fn length(&mut self, length: usize) {
        native::push_length(self.0, length);
    }
}
