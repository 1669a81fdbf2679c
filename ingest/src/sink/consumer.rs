//! The Kafka side: a consumer whose group's changes come as values, and what the group has committed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use service::config::KafkaConfig;

use super::intent::Intent;
use super::metrics::LAG;
use super::partition::Commit;

pub(super) type Consumer = BaseConsumer<Events>;

/// A partition of a topic.
pub(super) type Place = (String, i32);

/// A change of what this sink owns; in the order they happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Assigned(Vec<Place>),
    Revoked(Vec<Place>),
}

/// What librdkafka tells by callbacks, all of them inside `poll`, kept for whoever polls.
#[derive(Debug, Default)]
pub(super) struct Events {
    changes: Mutex<Vec<Change>>,
    no_broker: AtomicBool,
}

impl Events {
    pub(super) fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a broker could be reached, as of the last statistics.
    pub(super) fn has_broker(&self) -> bool {
        !self.no_broker.load(Ordering::Relaxed)
    }

    fn note(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

impl ClientContext for Events {
    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        self.no_broker.store(!up, Ordering::Relaxed);
        for (name, topic) in &statistics.topics {
            // librdkafka says -1 where it does not know.
            let lag: i64 = topic.partitions.values().map(|partition| partition.consumer_lag.max(0)).sum();
            #[allow(clippy::cast_precision_loss, reason = "a gauge needs no more than 52 bits")]
            LAG.gauge(&[("topic", name.clone())]).set(lag as f64);
        }
    }

    // Health tells when no broker is left; each connection that broke, some a second, is no news.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }
}

impl ConsumerContext for Events {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.note(Change::Assigned(places(list))),
            Rebalance::Revoke(list) => self.note(Change::Revoked(places(list))),
            Rebalance::Error(error) => tracing::warn!(%error, "the group's rebalance failed"),
        }
    }
}

fn places(list: &TopicPartitionList) -> Vec<Place> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

/// The group whose commits say what is stored.
pub(crate) fn group(config: &KafkaConfig) -> String {
    format!("{}.sink", config.topic_prefix)
}

/// A member `id` of the group that moves `topics`.
///
/// # Errors
/// When librdkafka refuses the configuration.
pub(super) fn join(config: &KafkaConfig, id: &str, topics: &[String]) -> anyhow::Result<Consumer> {
    let consumer: Consumer = service::kafka::client_config(config)
        .set("group.id", group(config))
        // A sink that comes back under its id gets its partitions at once, without a rebalance.
        .set("group.instance.id", id)
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "2000")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("allow.auto.create.topics", "false")
        // Topics may be made after the sink has started; five minutes, the default, is long to wait.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("socket.timeout.ms", "10000")
        .set("fetch.wait.max.ms", "100")
        // What is fetched ahead of the poll counts beside `max_buffered`.
        .set("queued.max.messages.kbytes", "16384")
        // And when that is full, look again soon: a second, the default, is longer than emptying it takes.
        .set("fetch.queue.backoff.ms", "20")
        .set("statistics.interval.ms", "5000")
        .create_with_context(Events::default())
        .context("cannot make a Kafka consumer")?;
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&names).context("cannot subscribe to the topics")?;
    Ok(consumer)
}

/// Where the group stands in a partition: the committed offset, and what was announced there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) committed: Option<i64>,
    pub(super) intent: Option<Intent>,
}

const ASK: Duration = Duration::from_secs(10);

/// # Errors
/// When the coordinator does not answer in time, or not for every partition.
pub(super) fn standings(consumer: &Consumer, places: &[Place]) -> anyhow::Result<HashMap<Place, Standing>> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition(topic, *partition);
    }
    let answer = consumer.committed_offsets(list, ASK).context("cannot ask for committed offsets")?;
    let mut found = HashMap::new();
    for element in answer.elements() {
        element.error().with_context(|| format!("{} {}", element.topic(), element.partition()))?;
        let committed = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        let intent = committed.and_then(|offset| Intent::left(element.metadata(), offset));
        found.insert((element.topic().to_owned(), element.partition()), Standing { committed, intent });
    }
    ensure!(found.len() == places.len(), "Kafka told the offsets of {} of {} partitions", found.len(), places.len());
    Ok(found)
}

/// Commits and waits. All of one topic, so that a topic that is gone or forbidden fails as a whole:
/// librdkafka tells no error when only some partitions of a commit fail.
///
/// # Errors
/// When Kafka did not take them; then it has none of them.
pub(super) fn commit(consumer: &Consumer, topic: &str, commits: &[(i32, Commit)]) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for (partition, commit) in commits {
        let mut element = list.add_partition(topic, *partition);
        element.set_offset(Offset::Offset(commit.offset))?;
        element.set_metadata(&commit.metadata);
    }
    consumer.commit(&list, CommitMode::Sync)
}
