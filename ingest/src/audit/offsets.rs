//! Every offset below the watermark, in exactly one place.

use std::ops::Range;

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Grade};
use super::forgotten::UNFINISHED;
use super::places::Place;
use super::sources::Sources;
use super::store::Store;
use super::weigh::{BUCKET, Bucket, weigh};

/// Of holes and of doubles each, for a partition.
pub(super) const LISTED: usize = 100;
/// Buckets that are looked into for them; what lies in further ones is counted, not listed.
const LOOKED_INTO: usize = 8;

/// One partition, weighed.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionAudit {
    #[serde(flatten)]
    pub place: Place,
    /// The first offset that was judged, ...
    pub first: u64,
    /// ... and the one after the last.
    pub end: u64,
    pub counts: Counts,
    pub missing: u64,
    pub doubled: u64,
    /// Of these, what an erasure has written down and not yet taken.
    #[serde(skip)]
    pub(super) half_erased: u64,
    /// The first hundred.
    pub holes: Vec<Hole>,
    /// The first hundred.
    pub doubles: Vec<Double>,
}

/// Rows in the judged range, by where they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub raw: u64,
    pub repeats: u64,
    pub dead_letter: u64,
    pub erased: u64,
}

/// Numbers in a row that are nowhere, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct Hole {
    pub first: i64,
    pub last: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct Double {
    pub offset: u64,
    pub rows: u64,
    /// Where; `raw, raw` is a row stored twice.
    pub places: Vec<String>,
}

#[derive(Debug, Row, Deserialize)]
struct Counted {
    p: u32,
    bucket: u64,
    raw: u64,
    repeats: u64,
    dead_letter: u64,
    erased: u64,
    different: u64,
}

impl Counted {
    fn rows(&self) -> u64 {
        self.raw + self.repeats + self.dead_letter + self.erased
    }
}

pub(super) async fn weigh_all(
    store: &Store,
    sources: &Sources,
    partitions: &mut [PartitionAudit],
) -> anyhow::Result<()> {
    let counted = count(store, sources, partitions).await?;
    for partition in partitions {
        let buckets: Vec<&Counted> = counted.iter().filter(|found| found.p == partition.place.partition).collect();
        for found in &buckets {
            partition.counts.add(found);
        }
        let buckets: Vec<Bucket> = buckets
            .iter()
            .map(|found| Bucket { index: found.bucket, rows: found.rows(), different: found.different })
            .collect();
        let weighed = weigh(partition.first..partition.end, &buckets);
        partition.missing = weighed.missing;
        partition.doubled = weighed.doubled;
        let p = partition.place.partition;
        for range in weighed.holes.into_iter().take(LOOKED_INTO) {
            let room = LISTED - partition.holes.len();
            partition.holes.extend(holes(store, &sources.select(&within(p, &range)), range, room).await?);
        }
        if partition.doubled > 0 {
            partition.half_erased = half_erased(store, sources, p, &(partition.first..partition.end)).await?;
        }
        for range in weighed.doubles.into_iter().take(LOOKED_INTO) {
            let room = LISTED - partition.doubles.len();
            partition.doubles.extend(doubles(store, &sources.select(&within(p, &range)), room).await?);
        }
    }
    Ok(())
}

/// One pass over the judged ranges of all partitions.
async fn count(store: &Store, sources: &Sources, partitions: &[PartitionAudit]) -> anyhow::Result<Vec<Counted>> {
    let ranges: Vec<String> = partitions
        .iter()
        .filter(|partition| partition.first < partition.end)
        .map(|partition| within(partition.place.partition, &(partition.first..partition.end)))
        .collect();
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sources.select(&ranges.join(" OR "));
    let sql = format!(
        "SELECT p, intDiv(o, {BUCKET}) AS bucket, countIf(source = 'raw') AS raw, \
         countIf(source = 'repeats') AS repeats, countIf(source = 'dead_letter') AS dead_letter, \
         countIf(source = 'erased') AS erased, toUInt64(groupBitmap(toUInt32(o % {BUCKET}))) AS different \
         FROM ({rows}) GROUP BY p, bucket ORDER BY p, bucket"
    );
    store.all("the offsets that are stored", &sql).await
}

fn within(partition: u32, range: &Range<u64>) -> String {
    format!("(_partition = {partition} AND _offset >= {} AND _offset < {})", range.start, range.end)
}

/// Between each number of `rows` (a query of `o`) and the one before it; the range's ends count as numbers.
pub(super) async fn holes(store: &Store, rows: &str, range: Range<u64>, room: usize) -> anyhow::Result<Vec<Hole>> {
    let sql = format!(
        "SELECT before + 1 AS first, o - 1 AS last FROM (\
           SELECT o, lagInFrame(o, 1, toInt64({start}) - 1) \
             OVER (ORDER BY o ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before \
           FROM (SELECT DISTINCT toInt64(o) AS o FROM ({rows}) UNION ALL SELECT toInt64({end}) AS o)\
         ) WHERE o > before + 1 ORDER BY first LIMIT {room}",
        start = range.start,
        end = range.end,
    );
    store.all("the missing offsets", &sql).await
}

async fn doubles(store: &Store, rows: &str, room: usize) -> anyhow::Result<Vec<Double>> {
    let sql = format!(
        "SELECT o AS offset, count() AS rows, arraySort(groupArray(8)(source)) AS places \
         FROM ({rows}) GROUP BY o HAVING rows > 1 ORDER BY o LIMIT {room}"
    );
    store.all("the doubled offsets", &sql).await
}

/// Where erased rows lie is written down before they go: how many are told and still there, and nothing else twice.
async fn half_erased(store: &Store, sources: &Sources, partition: u32, range: &Range<u64>) -> anyhow::Result<u64> {
    let told = format!("_offset IN (SELECT _offset FROM erased WHERE {})", within(partition, range));
    let rows = sources.select(&format!("{} AND {told}", within(partition, range)));
    let sql = format!(
        "SELECT count() FROM (SELECT o FROM ({rows}) GROUP BY o HAVING count() = 2 AND countIf(source = 'erased') = 1)"
    );
    store.one("what is half erased", &sql).await
}

impl Counts {
    fn add(&mut self, found: &Counted) {
        self.raw += found.raw;
        self.repeats += found.repeats;
        self.dead_letter += found.dead_letter;
        self.erased += found.erased;
    }
}

impl PartitionAudit {
    pub(super) fn new(place: Place, judged: Range<u64>) -> Self {
        Self {
            place,
            first: judged.start,
            end: judged.end,
            counts: Counts::default(),
            missing: 0,
            doubled: 0,
            half_erased: 0,
            holes: Vec::new(),
            doubles: Vec::new(),
        }
    }

    pub(super) fn judge(&self, about: &str, findings: &mut Vec<Finding>) {
        self.judge_watermark(about, findings);
        let mut tell = |grade, what: String| findings.push(Finding::new(grade, about, what));
        if self.missing > 0 {
            let listed = self.holes.iter().map(Hole::to_string).collect::<Vec<_>>();
            tell(Grade::Off, format!("{} offsets are nowhere: {}", self.missing, brief(&listed)));
        }
        if self.doubled > 0 {
            let name = |double: &Double| format!("{} ({})", double.offset, double.places.join(", "));
            let listed = self.doubles.iter().map(name).collect::<Vec<_>>();
            match self.doubled == self.half_erased {
                true => tell(Grade::Unjudged, UNFINISHED.into()),
                false => tell(Grade::Off, format!("{} rows too many: {}", self.doubled, brief(&listed))),
            }
        }
        if self.counts.dead_letter > 0 {
            tell(Grade::Holds, format!("{} dead letters; `tonearm dlq list` names them", self.counts.dead_letter));
        }
    }

    fn judge_watermark(&self, about: &str, findings: &mut Vec<Finding>) {
        let Place { low, high, committed, .. } = self.place;
        let mut tell = |grade, what: String| findings.push(Finding::new(grade, about, what));
        match committed {
            None if high > 0 => tell(
                Grade::Unjudged,
                "the sink's group has committed nothing here, so there is no watermark to speak for".into(),
            ),
            Some(committed) if committed > high => tell(
                Grade::Unjudged,
                format!("committed up to {committed}, but Kafka ends at {high}: the topic was made anew"),
            ),
            Some(committed) if committed < low => tell(
                Grade::Off,
                format!("Kafka's retention overtook the sink: {committed} to {} were never stored", low - 1),
            ),
            _ => {}
        }
    }
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// As many as a line bears; the JSON has more.
pub(super) fn brief(listed: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = listed.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if listed.len() > SHOWN { format!("{shown}, ...") } else { shown }
}
