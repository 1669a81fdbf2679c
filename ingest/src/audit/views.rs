//! Every roll-up against its raw table, by the hour in which rows were received.
//!
//! Which ones there are ClickHouse is asked, so none can be forgotten, and ours are known, so none can be gone: each
//! materialized view over a raw table has a target with the column `received_hour` and one that counts raw rows, named
//! after the raw table or `events`. One that has not is itself a finding.
//!
//! A batch is in the raw table a moment before it is in the views, so a running hour is bracketed: a view
//! has at least what was below the watermark, and at most what the raw table has after the view was
//! read. Where nothing came meanwhile the two are one number, and the comparison is exact.

use std::collections::BTreeMap;
use std::time::Duration;

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wire::Timestamp;

use super::finding::{Finding, Grade};
use super::forgotten::UNFINISHED;
use super::hours::Hours;
use super::measure::{GONE, Measure};
use super::offsets::brief;
use super::store::Store;
use super::topics::TopicAudit;

/// Of hours that are off, for a view.
const LISTED: usize = 100;
/// A batch that is on its way into raw table and views has arrived by then.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);

/// One comparison of a view's target.
#[derive(Debug, Clone, Serialize)]
pub struct ViewAudit {
    pub view: String,
    pub target: String,
    /// What was compared: rows, or plays.
    pub measure: &'static str,
    /// How many the view counts in the range.
    pub counted: u64,
    /// Hours that were compared, ...
    pub hours: u64,
    /// ... and of these, hours in which nothing came meanwhile.
    pub exact: u64,
    pub hours_off: u64,
    /// The first hundred of these.
    pub off: Vec<HourOff>,
    /// Why it could not be compared at all.
    pub unjudged: Option<&'static str>,
}

/// An hour in which a view counts otherwise than its raw table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HourOff {
    pub hour: Timestamp,
    pub counted: u64,
    /// What it should count at least, and at most.
    pub least: u64,
    pub most: u64,
}

#[derive(Debug, Row, Deserialize)]
struct InRaw {
    hour: u32,
    stored: u64,
    rows: u64,
}

#[derive(Debug, Row, Deserialize)]
struct InView {
    hour: u32,
    counted: u64,
}

/// Compares each, and what does not fit again, until it does or patience ends: once for all of them.
pub(super) async fn audit(store: &Store, topics: &[TopicAudit], hours: Hours) -> anyhow::Result<Vec<ViewAudit>> {
    let measures = Measure::all(store, topics, hours).await?;
    let mut audits = Vec::with_capacity(measures.len());
    for measure in &measures {
        audits.push(compare(store, measure).await?);
    }
    let deadline = Instant::now() + PATIENCE;
    while audits.iter().any(|audit| audit.hours_off > 0) && Instant::now() < deadline {
        tokio::time::sleep(AGAIN).await;
        for (audit, measure) in audits.iter_mut().zip(&measures).filter(|(audit, _)| audit.hours_off > 0) {
            *audit = compare(store, measure).await?;
        }
    }
    Ok(audits)
}

async fn compare(store: &Store, measure: &Measure) -> anyhow::Result<ViewAudit> {
    let (raw, view) = match &measure.sql {
        Ok(sql) => sql,
        Err(why) => return Ok(measure.audit(Some(why))),
    };
    let mut audit = measure.audit(None);
    let before: Vec<InRaw> = store.all("raw rows by hour", raw).await?;
    let counted: Vec<InView> = store.all("what a view counts by hour", view).await?;
    let after: Vec<InRaw> = store.all("raw rows by hour", raw).await?;
    let mut hours: BTreeMap<u32, (u64, u64, u64)> = BTreeMap::new();
    before.iter().for_each(|found| hours.entry(found.hour).or_default().0 = found.stored);
    after.iter().for_each(|found| hours.entry(found.hour).or_default().1 = found.rows);
    counted.iter().for_each(|found| hours.entry(found.hour).or_default().2 = found.counted);
    for (hour, (least, most, counted)) in hours {
        audit.add(hour, least, most, counted);
    }
    Ok(audit)
}

impl ViewAudit {
    fn add(&mut self, hour: u32, least: u64, most: u64, counted: u64) {
        self.hours += 1;
        self.exact += u64::from(least == most);
        self.counted += counted;
        if (least..=most).contains(&counted) {
            return;
        }
        self.hours_off += 1;
        if let Some(hour) = Timestamp::from_millis(i64::from(hour) * 1000).filter(|_| self.off.len() < LISTED) {
            self.off.push(HourOff { hour, counted, least, most });
        }
    }

    /// `caught_up`: the sink has stored what Kafka had when the audit began. `erasing`: a listener's events are being
    /// taken out, from one table after another.
    pub(super) fn judge(&self, caught_up: bool, erasing: bool, findings: &mut Vec<Finding>) {
        let mut tell = |grade, what: String| findings.push(Finding::new(grade, &self.target, what));
        if let Some(why) = self.unjudged {
            let grade = if why == GONE { Grade::Off } else { Grade::Unjudged };
            return tell(grade, format!("cannot be compared with its raw table: {why}"));
        }
        if self.hours_off == 0 {
            return;
        }
        // A sink that died in the middle of an insert leaves a batch in some tables only, until another repeats it.
        let unfinished = !caught_up && self.off.iter().all(|hour| hour.counted > hour.most);
        let grade = if unfinished || erasing { Grade::Unjudged } else { Grade::Off };
        let listed: Vec<String> = self.off.iter().map(HourOff::to_string).collect();
        let (n, measure) = (self.hours_off, self.measure);
        let why = if erasing { format!("{UNFINISHED}; ") } else { String::new() };
        tell(grade, format!("{why}counts other {measure} than its raw table in {n} hours: {}", brief(&listed)));
    }
}

impl std::fmt::Display for HourOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { hour, counted, least, most } = self;
        let hour = hour.to_datetime().format("%Y-%m-%dT%HZ");
        if least == most {
            write!(f, "{hour} {counted}, not {least}")
        } else {
            write!(f, "{hour} {counted}, not {least} to {most}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> ViewAudit {
        Measure { view: "v".into(), target: "t".into(), name: "rows", sql: Err(GONE) }.audit(None)
    }

    fn graded(least: u64, most: u64, counted: u64, caught_up: bool) -> Option<Grade> {
        let mut audit = empty();
        audit.add(1_795_219_200, least, most, counted);
        let mut findings = Vec::new();
        audit.judge(caught_up, false, &mut findings);
        findings.first().map(|finding| finding.grade)
    }

    #[test]
    fn a_running_hour_is_bracketed_and_a_closed_one_exact() {
        assert_eq!(graded(10, 10, 10, true), None);
        assert_eq!(graded(10, 15, 12, true), None);
        assert_eq!(graded(10, 10, 9, true), Some(Grade::Off));
        assert_eq!(graded(10, 10, 11, true), Some(Grade::Off));
        // Something is on its way that the raw table does not have yet.
        assert_eq!(graded(10, 10, 11, false), Some(Grade::Unjudged));
        assert_eq!(graded(10, 15, 9, false), Some(Grade::Off));
    }

    #[test]
    fn hours_that_are_off_are_named() {
        let mut audit = empty();
        audit.add(1_795_219_200, 3, 3, 2);
        audit.add(1_795_222_800, 3, 5, 7);
        let named: Vec<String> = audit.off.iter().map(HourOff::to_string).collect();
        assert_eq!(named, ["2026-11-21T00Z 2, not 3", "2026-11-21T01Z 7, not 3 to 5"]);
    }
}
