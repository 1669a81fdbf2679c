//! Whether what was counted by bucket is a range without holes, decided without looking at single numbers.

use std::ops::Range;

/// A bucket's width: a bitmap of it has 128 KiB at most.
pub(super) const BUCKET: u64 = 1 << 20;

/// What was found in one bucket of consecutive numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    /// The bucket's first number, divided by its width.
    pub(super) index: u64,
    /// Rows in it.
    pub(super) rows: u64,
    /// Different numbers among them.
    pub(super) different: u64,
}

/// The balance of a range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Weighed {
    pub(super) missing: u64,
    /// Rows more than numbers.
    pub(super) doubled: u64,
    /// Where to look closer, in order; each within one bucket, or a run of buckets without a row.
    pub(super) holes: Vec<Range<u64>>,
    pub(super) doubles: Vec<Range<u64>>,
}

/// Buckets come in order, and hold nothing from outside the range.
pub(super) fn weigh(range: Range<u64>, buckets: &[Bucket]) -> Weighed {
    let mut weighed = Weighed::default();
    let mut next = range.start;
    for bucket in buckets {
        let first = (bucket.index * BUCKET).max(range.start);
        let end = ((bucket.index + 1) * BUCKET).min(range.end);
        weighed.hole(next..first, first - next.min(first));
        weighed.hole(first..end, (end - first).saturating_sub(bucket.different));
        let doubled = bucket.rows.saturating_sub(bucket.different);
        weighed.doubled += doubled;
        if doubled > 0 {
            weighed.doubles.push(first..end);
        }
        next = end;
    }
    weighed.hole(next..range.end, range.end - next.min(range.end));
    weighed
}

impl Weighed {
    fn hole(&mut self, range: Range<u64>, missing: u64) {
        self.missing += missing;
        if missing > 0 {
            self.holes.push(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What ClickHouse answers about these numbers.
    fn count(numbers: &BTreeMap<u64, u64>) -> Vec<Bucket> {
        let mut buckets: BTreeMap<u64, Bucket> = BTreeMap::new();
        for (number, rows) in numbers {
            let index = number / BUCKET;
            let bucket = buckets.entry(index).or_insert(Bucket { index, rows: 0, different: 0 });
            bucket.rows += rows;
            bucket.different += 1;
        }
        buckets.into_values().collect()
    }

    #[test]
    fn a_whole_range_has_nothing_to_look_at() {
        let range = 5..3 * BUCKET + 7;
        let full = |index, rows| Bucket { index, rows, different: rows };
        let buckets = [full(0, BUCKET - 5), full(1, BUCKET), full(2, BUCKET), full(3, 7)];
        assert_eq!(weigh(range.clone(), &buckets), Weighed::default());
        let weighed = weigh(range.clone(), &buckets[1..3]);
        assert_eq!(weighed.missing, BUCKET - 5 + 7);
        assert_eq!(weighed.holes, [5..BUCKET, 3 * BUCKET..range.end]);
        assert_eq!(weigh(7..7, &[]), Weighed::default());
    }

    proptest! {
        #[test]
        fn agrees_with_counting_one_by_one(
            start in 0..3 * BUCKET,
            width in 0..4 * BUCKET,
            picks in prop::collection::btree_map(0..4 * BUCKET, 1..3u64, 0..50),
        ) {
            let numbers: BTreeMap<u64, u64> =
                picks.into_iter().filter(|(at, _)| *at < width).map(|(at, rows)| (start + at, rows)).collect();
            let weighed = weigh(start..start + width, &count(&numbers));
            prop_assert_eq!(weighed.missing, width - numbers.len() as u64);
            prop_assert_eq!(weighed.doubled, numbers.values().sum::<u64>() - numbers.len() as u64);
            let within = |ranges: &[Range<u64>], number| ranges.iter().any(|range| range.contains(&number));
            prop_assert!(numbers.iter().all(|(number, rows)| *rows == 1 || within(&weighed.doubles, *number)));
            let looked_at: u64 = weighed.holes.iter().map(|range| range.end - range.start).sum();
            prop_assert!(looked_at <= width);
        }
    }
}
