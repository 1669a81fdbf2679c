//! What each ingest process numbered, against what is stored: a number that was promised and is nowhere
//! is an event that was lost before Kafka had it.

use std::collections::HashMap;
use std::fmt::Write as _;

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Grade};
use super::hours::Hours;
use super::offsets::{Hole, LISTED, brief, holes};
use super::store::Store;
use super::tallies::{Latest, Tallies};
use super::weigh::{BUCKET, Bucket, weigh};

/// Buckets that are looked into for the numbers that are missing.
const LOOKED_INTO: usize = 4;

/// One ingest process.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceAudit {
    pub ingest_id: String,
    /// The first number that was judged: 1, unless it counted before the range began.
    pub first: u64,
    /// Every number up to this one was promised, or is void.
    pub settled: u64,
    /// The highest that was given.
    pub given: u64,
    /// It stopped in order.
    pub ended: bool,
    /// Promised, and nowhere.
    pub missing: u64,
    /// Of these, this many may still wait in its spool.
    pub waiting: u64,
    /// Given after it last settled, and nowhere: on their way, or of a process that was killed.
    pub unproven: u64,
    /// The first hundred.
    pub holes: Vec<Hole>,
}

#[derive(Debug, Row, Deserialize)]
struct Counted {
    i: String,
    bucket: u64,
    different: u64,
    above: u64,
}

#[derive(Debug, Row, Deserialize)]
struct First {
    i: String,
    first: u64,
}

pub(super) async fn audit(
    store: &Store,
    listens: &str,
    tallies: &Tallies,
    hours: Hours,
) -> anyhow::Result<Vec<InstanceAudit>> {
    if tallies.latest.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = numbers(listens, &tallies.latest);
    let firsts = firsts(store, tallies, hours).await?;
    let first = |of: &Latest| firsts.get(&of.ingest_id).copied().unwrap_or(1);
    let counted = count(store, &numbers, &tallies.latest, first).await?;
    let mut instances = Vec::with_capacity(tallies.latest.len());
    for latest in &tallies.latest {
        let found: Vec<&Counted> = counted.iter().filter(|found| found.i == latest.ingest_id).collect();
        instances.push(one(store, &numbers, latest, tallies.waiting(latest), &found, first(latest)).await?);
    }
    Ok(instances)
}

/// `SELECT i, n` with the process and the number, of everything that is stored or void.
fn numbers(listens: &str, latest: &[Latest]) -> String {
    // Ours by configuration and a random suffix: no quotes.
    let ids = latest.iter().map(|of| format!("'{}'", of.ingest_id)).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT ingest_id AS i, ingest_seq AS n FROM events WHERE ingest_id IN ({ids}) \
         UNION ALL SELECT ingest_id AS i, ingest_seq AS n FROM repeats WHERE ingest_id IN ({ids}) AND ingest_seq > 0 \
         UNION ALL SELECT ingest_id AS i, ingest_seq AS n FROM erased WHERE ingest_id IN ({ids}) AND ingest_seq > 0 \
         UNION ALL SELECT JSONExtractString(payload, 'ingest_id') AS i, JSONExtractUInt(payload, 'ingest_seq') AS n \
           FROM dead_letter WHERE topic = '{listens}' AND i IN ({ids}) AND n > 0 \
         UNION ALL SELECT i, arrayJoin(range(void.1, void.2 + 1)) AS n FROM (\
           SELECT DISTINCT ingest_id AS i, arrayJoin(arrayZip(voids.first, voids.last)) AS void \
           FROM tallies WHERE ingest_id IN ({ids}))"
    )
}

/// Different numbers by process and bucket, settled ones apart from those above.
async fn count(
    store: &Store,
    numbers: &str,
    latest: &[Latest],
    first: impl Fn(&Latest) -> u64,
) -> anyhow::Result<Vec<Counted>> {
    let (mut ids, mut settled, mut firsts) = (String::new(), String::new(), String::new());
    for (at, of) in latest.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(ids, "{comma}'{}'", of.ingest_id)?;
        write!(settled, "{comma}{}", of.settled)?;
        write!(firsts, "{comma}{}", first(of))?;
    }
    let sql = format!(
        "SELECT i, intDiv(n, {BUCKET}) AS bucket, \
         toUInt64(groupBitmapIf(toUInt32(n % {BUCKET}), n <= s)) AS different, \
         toUInt64(groupBitmapIf(toUInt32(n % {BUCKET}), n > s)) AS above \
         FROM (SELECT i, n, transform(i, [{ids}], [{settled}], 0) AS s FROM ({numbers}) \
               WHERE n >= transform(i, [{ids}], [{firsts}], 1)) GROUP BY i, bucket ORDER BY i, bucket"
    );
    store.all("the numbers that are stored", &sql).await
}

/// Where processes that counted before the range began are within it.
async fn firsts(store: &Store, tallies: &Tallies, hours: Hours) -> anyhow::Result<HashMap<String, u64>> {
    let earlier: Vec<String> =
        tallies.latest.iter().filter(|of| of.earlier).map(|of| format!("'{}'", of.ingest_id)).collect();
    if earlier.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT ingest_id AS i, min(ingest_seq) AS first FROM events WHERE ingest_id IN ({}) AND {} GROUP BY i",
        earlier.join(", "),
        hours.sql("received_at")
    );
    let found: Vec<First> = store.all("where processes stood when the range began", &sql).await?;
    Ok(found.into_iter().map(|found| (found.i, found.first)).collect())
}

async fn one(
    store: &Store,
    numbers: &str,
    latest: &Latest,
    waiting: u64,
    found: &[&Counted],
    first: u64,
) -> anyhow::Result<InstanceAudit> {
    let settled = latest.settled;
    let judged = first..(settled + 1).max(first);
    let buckets: Vec<Bucket> = found
        .iter()
        .filter(|found| found.different > 0)
        .map(|found| Bucket { index: found.bucket, rows: found.different, different: found.different })
        .collect();
    let weighed = weigh(judged, &buckets);
    let above: u64 = found.iter().map(|found| found.above).sum();
    let mut listed = Vec::new();
    for range in weighed.holes.into_iter().take(LOOKED_INTO) {
        let rows = format!(
            "SELECT n AS o FROM ({numbers}) WHERE i = '{}' AND n >= {} AND n < {}",
            latest.ingest_id, range.start, range.end
        );
        listed.extend(holes(store, &rows, range, LISTED - listed.len()).await?);
    }
    Ok(InstanceAudit {
        ingest_id: latest.ingest_id.clone(),
        first,
        settled,
        given: latest.given,
        ended: latest.ended,
        missing: weighed.missing,
        waiting: waiting.min(weighed.missing),
        unproven: latest.given.saturating_sub(settled).saturating_sub(above),
        holes: listed,
    })
}

impl InstanceAudit {
    /// `caught_up`: the sink has stored what Kafka had when the tallies were read.
    pub(super) fn judge(&self, caught_up: bool, findings: &mut Vec<Finding>) {
        let listed = brief(&self.holes.iter().map(Hole::to_string).collect::<Vec<_>>());
        let mut tell = |grade, what: String| findings.push(Finding::new(grade, &self.ingest_id, what));
        let lost = self.missing - self.waiting;
        match (lost, self.waiting) {
            (0, 0) => {}
            _ if !caught_up => tell(
                Grade::Unjudged,
                format!("{} accepted events are not stored, but the sink has not caught up: {listed}", self.missing),
            ),
            (0, waiting) => tell(Grade::Unjudged, format!("{waiting} accepted events wait in its spool: {listed}")),
            (lost, waiting) => {
                let beside =
                    if waiting > 0 { format!(" beside {waiting} that wait in its spool") } else { String::new() };
                tell(Grade::Off, format!("{lost} accepted events are nowhere{beside}: {listed}"));
            }
        }
        if self.unproven > 0 && !self.ended {
            let unproven = self.unproven;
            tell(Grade::Holds, format!("{unproven} numbers after {} are on their way, or it was killed", self.settled));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graded(missing: u64, waiting: u64, caught_up: bool) -> Option<Grade> {
        let instance = InstanceAudit {
            ingest_id: "ingest-1".into(),
            first: 1,
            settled: 10,
            given: 10,
            ended: false,
            missing,
            waiting,
            unproven: 0,
            holes: vec![Hole { first: 3, last: 5 }],
        };
        let mut findings = Vec::new();
        instance.judge(caught_up, &mut findings);
        findings.first().map(|finding| finding.grade)
    }

    #[test]
    fn a_number_is_lost_only_where_it_can_be_nowhere_else() {
        assert_eq!(graded(0, 0, true), None);
        assert_eq!(graded(3, 0, true), Some(Grade::Off));
        assert_eq!(graded(3, 1, true), Some(Grade::Off));
        assert_eq!(graded(3, 3, true), Some(Grade::Unjudged));
        assert_eq!(graded(3, 0, false), Some(Grade::Unjudged));
    }
}
