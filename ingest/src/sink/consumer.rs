//! The Kafka side: a consumer whose group's changes come as values, and what the group has committed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use service::backoff::Backoff;
use service::config::KafkaConfig;
use service::health::Status;
use service::{Health, Shutdown};

use super::intent::Intent;
use super::metrics::LAG;
use super::partition::Commit;

pub(super) type Consumer = BaseConsumer<Events>;

/// A partition of a topic.
pub(super) type Place = (String, i32);

/// A change of what this sink owns; in the order they happened.
#[derive(Debug)]
pub(super) enum Change {
    Assigned(anyhow::Result<HashMap<Place, Standing>>),
    Revoked(Vec<Place>),
}

/// What librdkafka tells by callbacks, all of them inside `poll`, kept for whoever polls.
#[derive(Debug)]
pub(super) struct Events {
    changes: Mutex<Vec<Change>>,
    no_broker: AtomicBool,
    health: Health,
    shutdown: Shutdown,
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
            // librdkafka keeps figures of partitions that were ours, and says -1 where it does not know.
            let ours = topic.partitions.values().filter(|partition| partition.fetch_state != "none");
            let lag: i64 = ours.map(|partition| partition.consumer_lag.max(0)).sum();
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
    /// Partitions begin where the group stands, at an offset that is named: where librdkafka has to look one up,
    /// and the partition is paused meanwhile, an answer that comes late sends it back to the beginning.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                self.note(Change::Revoked(places(list)));
                // A pause outlasts the assignment: they would come back with it.
                if let Err(error) = consumer.resume(list) {
                    tracing::debug!(%error, "cannot resume what is revoked");
                }
                consumer.incremental_unassign(list)
            }
            _ => consumer.unassign(),
        };
        if let Err(error) = done {
            tracing::warn!(%error, ?what, "the group's rebalance failed");
        }
    }
}

impl Events {
    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        let standings = self.standings(consumer, &places(list));
        for ((topic, partition), Standing { next, .. }) in standings.iter().flatten() {
            list.set_partition_offset(topic, *partition, Offset::Offset(*next))?;
        }
        self.note(Change::Assigned(standings));
        consumer.incremental_assign(list)
    }

    /// Learns where the group stands in partitions that are ours now. Not one message may be taken
    /// before that, so nothing else is done meanwhile.
    fn standings(&self, consumer: &Consumer, places: &[Place]) -> anyhow::Result<HashMap<Place, Standing>> {
        let deadline = Instant::now() + ADOPT_WITHIN;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            match standings(consumer, places) {
                Ok(found) => return Ok(found),
                Err(error) if Instant::now() > deadline || self.shutdown.is_cancelled() => return Err(error),
                // Nobody polls meanwhile, so nobody else says it.
                Err(error) => self.health.set("kafka", Status::Degraded(format!("{error:#}; asking again"))),
            }
            std::thread::sleep(backoff.next_delay());
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
pub(super) fn join(
    config: &KafkaConfig,
    id: &str,
    topics: &[String],
    health: Health,
    shutdown: Shutdown,
) -> anyhow::Result<Consumer> {
    let events = Events { changes: Mutex::default(), no_broker: AtomicBool::new(false), health, shutdown };
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
        .create_with_context(events)
        .context("cannot make a Kafka consumer")?;
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&names).context("cannot subscribe to the topics")?;
    Ok(consumer)
}

/// Where the group stands in a partition: the offset to go on at, and what was announced there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) next: i64,
    pub(super) intent: Option<Intent>,
}

const ASK: Duration = Duration::from_secs(5);
/// In place of a time, what asks Kafka's `ListOffsets` for the first offset.
const EARLIEST: Offset = Offset::Beginning;
const ADOPT_WITHIN: Duration = Duration::from_secs(60);

/// # Errors
/// When the coordinator does not answer in time, or not for every partition.
fn standings(consumer: &Consumer, places: &[Place]) -> anyhow::Result<HashMap<Place, Standing>> {
    if places.is_empty() {
        return Ok(HashMap::new());
    }
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition(topic, *partition);
    }
    let answer = consumer.committed_offsets(list, ASK).context("cannot ask for committed offsets")?;
    let (mut found, mut unknown) = (HashMap::new(), TopicPartitionList::new());
    for element in answer.elements() {
        element.error().with_context(|| format!("{} {}", element.topic(), element.partition()))?;
        match element.offset() {
            Offset::Offset(next) => {
                let standing = Standing { next, intent: Intent::left(element.metadata(), next) };
                found.insert((element.topic().to_owned(), element.partition()), standing);
            }
            _ => unknown.add_partition_offset(element.topic(), element.partition(), EARLIEST)?,
        }
    }
    // The group was never there: it reads all that Kafka has.
    for (place, next) in first_offsets(consumer, unknown)? {
        found.insert(place, Standing { next, intent: None });
    }
    ensure!(found.len() == places.len(), "Kafka told the offsets of {} of {} partitions", found.len(), places.len());
    Ok(found)
}

/// The partitions' first offsets that Kafka still has; each stands in the list at [`EARLIEST`].
fn first_offsets(consumer: &Consumer, list: TopicPartitionList) -> anyhow::Result<HashMap<Place, i64>> {
    if list.count() == 0 {
        return Ok(HashMap::new());
    }
    let answer = consumer.offsets_for_times(list, ASK).context("cannot ask for first offsets")?;
    let first = answer.elements().into_iter().map(|element| {
        let place = (element.topic().to_owned(), element.partition());
        element.error().with_context(|| format!("the first offset of {} {}", place.0, place.1))?;
        match element.offset() {
            Offset::Offset(first) => Ok((place, first)),
            other => bail!("Kafka told {other:?} as the first offset of {} {}", place.0, place.1),
        }
    });
    first.collect()
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
