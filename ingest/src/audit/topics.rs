//! One topic and its raw table.

use serde::Serialize;
use wire::topic::Topic;

use super::extent;
use super::finding::{Finding, Grade};
use super::hours::Hours;
use super::ids::{self, IdsAudit};
use super::offsets::{self, PartitionAudit};
use super::places::Place;
use super::sources::Sources;
use super::store::Store;

/// A topic that the sink moves, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) topic: Topic,
    pub(super) table: &'static str,
    /// The column that is made once by whoever sent the row.
    pub(super) id: &'static str,
}

impl Stream {
    pub(super) const ALL: [Self; 4] = [
        Self { topic: Topic::Listens, table: "events", id: "event_id" },
        Self { topic: Topic::Deliveries, table: "deliveries", id: "delivery_id" },
        Self { topic: Topic::Decisions, table: "decisions", id: "decision_id" },
        Self { topic: Topic::Tallies, table: "tallies", id: "tally_id" },
    ];
}

#[derive(Debug, Clone, Serialize)]
pub struct TopicAudit {
    pub topic: String,
    pub table: &'static str,
    pub partitions: Vec<PartitionAudit>,
    pub ids: IdsAudit,
}

pub(super) async fn audit(
    stream: &Stream,
    topic: String,
    places: Vec<Place>,
    store: &Store,
    hours: Hours,
) -> anyhow::Result<TopicAudit> {
    let sources = Sources::of(stream.table, &topic);
    let rows = extent::ask(store, &sources, hours).await?;
    let mut partitions = Vec::with_capacity(places.len());
    for place in places {
        let judged = extent::judged(&place, rows.get(&place.partition), hours);
        partitions.push(PartitionAudit::new(place, judged));
    }
    offsets::weigh_all(store, &sources, &mut partitions).await?;
    let ids = ids::audit(store, stream, hours).await?;
    Ok(TopicAudit { topic, table: stream.table, partitions, ids })
}

impl TopicAudit {
    pub(super) fn judge(&self, findings: &mut Vec<Finding>) {
        for partition in &self.partitions {
            partition.judge(&format!("{} {}", self.topic, partition.place.partition), findings);
        }
        self.ids.judge(self.table, findings);
        if self.partitions.is_empty() {
            findings.push(Finding::new(Grade::Unjudged, &self.topic, "the topic has no partitions"));
        }
    }

    pub(super) fn sum(&self, of: impl Fn(&PartitionAudit) -> u64) -> u64 {
        self.partitions.iter().map(of).sum()
    }
}
