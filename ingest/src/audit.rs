//! Whether the numbers add up: `tonearm audit`.
//!
//! The path of one audit: [`places`] asks Kafka what each partition holds and how far the sink's group
//! has committed, which is the watermark that the audit speaks for; [`offsets`] asks ClickHouse for every
//! offset below it, which must lie in exactly one of the raw table, `repeats`, `dead_letter` and, where a
//! listener was forgotten, `erased`; [`instances`] looks for holes in what each ingest process counted;
//! [`ids`] for an id that is stored twice; [`views`] compares every roll-up with its raw table, hour by
//! hour. What is wrong becomes a [`finding`], and [`told`] says it to people.
//!
//! Promised: it can run beside everything else, for nothing below the watermark changes any more; what
//! it cannot judge (Kafka away, an hour that is still being written) it says, and never calls it right;
//! what has expired, in Kafka or here, is said and not called lost. The servers do the counting, in
//! bounded memory: offsets are weighed by the bucket of a million, and only what does not fit is listed,
//! a hundred of a kind at most, with counts that are whole.
//! Not promised: an answer about events that an ingest process took in its last second before it was
//! killed, or that lie in a spool on its disk; the audit says how many they may be.

mod extent;
mod finding;
mod forgotten;
mod hours;
mod ids;
mod instances;
mod measure;
mod offsets;
mod places;
mod sources;
mod store;
mod tallies;
mod told;
mod topics;
mod views;
mod watermark;
mod weigh;

use std::time::Duration;

use serde::Serialize;
use service::config::{ClickHouseConfig, KafkaConfig, Loader};
use wire::Timestamp;

pub use finding::{Finding, Grade};
pub use forgotten::Forgotten;
pub use hours::{Hours, NotAnHour};
pub use ids::IdsAudit;
pub use instances::InstanceAudit;
pub use offsets::PartitionAudit;
pub use topics::TopicAudit;
pub use views::{HourOff, ViewAudit};

use forgotten::{Erasing, UNFINISHED};
use store::Store;
use topics::Stream;
use watermark::Watermark;

/// All that the audit reads.
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

/// How far the sink has come, after a moment's wait for it to store all that Kafka has now.
///
/// # Errors
/// When Kafka does not answer.
pub(crate) async fn reached(kafka: &KafkaConfig) -> anyhow::Result<Watermark> {
    Ok(watermark::reach(kafka, Hours::default()).await?.of_listens())
}

/// What was looked at and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// When Kafka was asked for its watermarks.
    pub at: Timestamp,
    /// The received hours it speaks for.
    pub hours: Hours,
    pub verdict: Grade,
    pub findings: Vec<Finding>,
    pub topics: Vec<TopicAudit>,
    pub instances: Vec<InstanceAudit>,
    pub views: Vec<ViewAudit>,
    pub forgotten: Forgotten,
}

/// Looks beside an erasure, which shows rows on their way, and between two of them.
const LOOKS: usize = 5;
const BETWEEN: Duration = Duration::from_secs(1);

/// Audits the received hours; none given means all that are kept. What is off while a listener is being erased is looked
/// at again, for the tables are not read at one moment.
///
/// # Errors
/// When Kafka or ClickHouse cannot be asked, or there is no such hour: then nothing was judged.
pub async fn run(config: &Config, hours: Hours) -> anyhow::Result<Audit> {
    let hours = hours.within_retention(Timestamp::now())?;
    let store = Store::new(&config.clickhouse);
    let listens = Stream::ALL[0].topic.name(&config.kafka.topic_prefix);
    let mut before = Erasing::now(&store, &listens, hours).await?;
    let mut earlier = None;
    for _ in 1..LOOKS {
        let audit = look(config, &store, &listens, hours).await?;
        if audit.verdict != Grade::Off {
            return Ok(audit);
        }
        let after = Erasing::now(&store, &listens, hours).await?;
        let off = Some(audit.off());
        // The same twice beside an erasure that stands still, for it was cut off, is not on its way anywhere.
        if after.is_none_since(before) || (off == earlier && !after.has_written_since(before)) {
            return Ok(audit);
        }
        (before, earlier) = (after, off);
        tokio::time::sleep(BETWEEN).await;
    }
    let mut audit = look(config, &store, &listens, hours).await?;
    if audit.verdict == Grade::Off && !Erasing::now(&store, &listens, hours).await?.is_none_since(before) {
        audit.leave_open();
    }
    Ok(audit)
}

async fn look(config: &Config, store: &Store, listens: &str, hours: Hours) -> anyhow::Result<Audit> {
    let at = Timestamp::now();
    let mut findings = Vec::new();
    // In this order: what a tally speaks of was in Kafka before it, so the sink gets there soon.
    let tallies = tallies::latest(store, hours).await?;
    let reached = watermark::reach(&config.kafka, hours).await?;
    let mut topics = Vec::new();
    for (stream, places) in Stream::ALL.iter().zip(reached.places) {
        let name = stream.topic.name(&config.kafka.topic_prefix);
        let topic = topics::audit(stream, name, places, store, hours).await?;
        topic.judge(&mut findings);
        topics.push(topic);
    }
    let instances = instances::audit(store, listens, &tallies, hours).await?;
    for instance in &instances {
        instance.judge(reached.caught_up, &mut findings);
    }
    let views = views::audit(store, &topics, hours).await?;
    let is_off = views.iter().any(|view| view.hours_off > 0);
    let erasing = is_off && Erasing::now(store, listens, hours).await?.is_under_way();
    for view in &views {
        view.judge(reached.caught_up, erasing, &mut findings);
    }
    let forgotten = forgotten::audit(store, listens).await?;
    forgotten.judge(&mut findings);
    let verdict = Grade::of(&findings);
    Ok(Audit { at, hours, verdict, findings, topics, instances, views, forgotten })
}

impl Audit {
    fn off(&self) -> Vec<Finding> {
        self.findings.iter().filter(|finding| finding.grade == Grade::Off).cloned().collect()
    }

    /// Nobody can tell what of it is an erasure's work.
    fn leave_open(&mut self) {
        for finding in self.findings.iter_mut().filter(|finding| finding.grade == Grade::Off) {
            finding.grade = Grade::Unjudged;
        }
        self.findings.push(Finding::new(Grade::Unjudged, "events", UNFINISHED));
        self.verdict = Grade::of(&self.findings);
    }
}
