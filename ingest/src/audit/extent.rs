//! Which offsets of a partition the range of hours stands for.

use std::collections::HashMap;
use std::ops::Range;

use clickhouse::Row;
use serde::Deserialize;

use super::hours::Hours;
use super::places::Place;
use super::sources::Sources;
use super::store::Store;

/// The first and the last offset of a partition that has a row received in the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Deserialize)]
pub(super) struct Extent {
    p: u32,
    first: u64,
    last: u64,
}

pub(super) async fn ask(store: &Store, sources: &Sources, hours: Hours) -> anyhow::Result<HashMap<u32, Extent>> {
    let rows = sources.select(&hours.sql("received_at"));
    let sql = format!("SELECT p, min(o) AS first, max(o) AS last FROM ({rows}) GROUP BY p");
    let found: Vec<Extent> = store.all("the offsets of the range", &sql).await?;
    Ok(found.into_iter().map(|extent| (extent.p, extent)).collect())
}

/// Offsets to judge, below the watermark: from Kafka's own index where Kafka still holds the range, so
/// that a loss at its ends shows, and from the rows where it does not.
pub(super) fn judged(place: &Place, rows: Option<&Extent>, hours: Hours) -> Range<u64> {
    let watermark = place.committed.unwrap_or(0);
    let first = rows.map_or(place.from, |rows| rows.first.min(place.from));
    let end = match (hours.to, place.to) {
        (None, _) | (Some(_), None) => watermark,
        // What Kafka says of a time before its own beginning is that beginning.
        (Some(_), Some(to)) if to > place.low => rows.map_or(to, |rows| to.max(rows.last + 1)),
        (Some(_), Some(_)) => rows.map_or(first, |rows| rows.last + 1),
    };
    let end = end.min(watermark);
    first.min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(low: u64, from: u64, to: Option<u64>, committed: Option<u64>) -> Place {
        Place { partition: 0, low, high: 1000, committed, from, to }
    }

    fn hours(to: bool) -> Hours {
        let hour = Hours::parse("2026-11-20").ok();
        Hours { from: hour, to: hour.filter(|_| to) }
    }

    #[test]
    fn without_an_end_it_reaches_to_the_watermark() {
        let rows = Extent { p: 0, first: 10, last: 20 };
        assert_eq!(judged(&place(0, 0, None, Some(500)), Some(&rows), hours(false)), 0..500);
        // Kafka no longer has the first ones; the rows say where they began.
        assert_eq!(judged(&place(100, 100, None, Some(500)), Some(&rows), hours(false)), 10..500);
        assert_eq!(judged(&place(100, 100, None, Some(500)), None, hours(false)), 100..500);
        assert_eq!(judged(&place(0, 0, None, None), Some(&rows), hours(false)), 0..0);
    }

    #[test]
    fn an_end_is_kafkas_or_that_of_the_rows() {
        let rows = Extent { p: 0, first: 110, last: 190 };
        assert_eq!(judged(&place(0, 105, Some(200), Some(500)), Some(&rows), hours(true)), 105..200);
        assert_eq!(judged(&place(0, 105, Some(200), Some(150)), Some(&rows), hours(true)), 105..150);
        // Spooled while Kafka was away: received in the range, handed over after it.
        let late = Extent { p: 0, first: 110, last: 300 };
        assert_eq!(judged(&place(0, 105, Some(200), Some(500)), Some(&late), hours(true)), 105..301);
        // The whole range is older than what Kafka holds.
        assert_eq!(judged(&place(400, 400, Some(400), Some(500)), Some(&rows), hours(true)), 110..191);
        assert_eq!(judged(&place(400, 400, Some(400), Some(500)), None, hours(true)), 400..400);
        // No message is that late.
        assert_eq!(judged(&place(0, 105, None, Some(500)), Some(&rows), hours(true)), 105..500);
    }
}
