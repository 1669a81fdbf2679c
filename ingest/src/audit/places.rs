//! What Kafka says of each partition, and how far the sink's group has committed.

use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;
use service::config::KafkaConfig;

use super::hours::Hours;

/// For each question to the cluster.
const ASK: Duration = Duration::from_secs(20);

/// A partition as Kafka knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub partition: u32,
    /// The first offset that Kafka still holds.
    pub low: u64,
    /// The offset that the next message will have.
    pub high: u64,
    /// The sink has stored everything below it: the watermark that the audit speaks for.
    pub committed: Option<u64>,
    /// The first message at or after the range's beginning.
    #[serde(skip)]
    pub(super) from: u64,
    /// The first message at or after the range's end; none where the range has none or Kafka cannot tell.
    #[serde(skip)]
    pub(super) to: Option<u64>,
}

/// Of each topic, in their order. Blocks.
///
/// # Errors
/// When Kafka does not answer in time, or not for every partition.
pub(super) fn ask(kafka: &KafkaConfig, topics: &[String], hours: Hours) -> anyhow::Result<Vec<Vec<Place>>> {
    let consumer: BaseConsumer = service::kafka::client_config(kafka)
        .set("group.id", crate::sink::group(kafka))
        .set("allow.auto.create.topics", "false")
        .create()
        .context("cannot make a Kafka consumer")?;
    let ask = |topic: &String| of(&consumer, topic, hours).with_context(|| format!("cannot ask Kafka about {topic}"));
    topics.iter().map(ask).collect()
}

fn of(consumer: &BaseConsumer, topic: &str, hours: Hours) -> anyhow::Result<Vec<Place>> {
    let partitions = partitions(consumer, topic)?;
    // First of all: what is below a commit that was made earlier is stored now, whatever comes meanwhile.
    let committed = committed(consumer, topic, &partitions)?;
    let from = at_time(consumer, topic, &partitions, hours.first_ms())?;
    let to = hours.to.map(|to| at_time(consumer, topic, &partitions, to.as_millis())).transpose()?;
    let mut places = Vec::with_capacity(partitions.len());
    for (index, partition) in partitions.iter().enumerate() {
        let (low, high) = consumer.fetch_watermarks(topic, *partition, ASK)?;
        let (low, high) = (low.unsigned_abs(), high.unsigned_abs());
        places.push(Place {
            partition: partition.unsigned_abs(),
            low,
            high,
            committed: committed[index],
            from: from[index].unwrap_or(high),
            to: to.as_ref().and_then(|to| to[index]),
        });
    }
    Ok(places)
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { bail!("no such topic") };
    if let Some(error) = found.error() {
        bail!("{}", rdkafka::types::RDKafkaErrorCode::from(error));
    }
    let mut ids: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn committed(consumer: &BaseConsumer, topic: &str, partitions: &[i32]) -> anyhow::Result<Vec<Option<u64>>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    let answer = consumer.committed_offsets(list, ASK).context("cannot ask for committed offsets")?;
    in_order(topic, partitions, &answer)
}

/// The first offset of each partition whose message is not older; none where all are.
fn at_time(consumer: &BaseConsumer, topic: &str, partitions: &[i32], ms: i64) -> anyhow::Result<Vec<Option<u64>>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(topic, *partition, Offset::Offset(ms))?;
    }
    let answer = consumer.offsets_for_times(list, ASK).context("cannot ask for offsets by time")?;
    in_order(topic, partitions, &answer)
}

fn in_order(topic: &str, partitions: &[i32], answer: &TopicPartitionList) -> anyhow::Result<Vec<Option<u64>>> {
    let mut found = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let element = answer.find_partition(topic, *partition).context("Kafka did not answer for every partition")?;
        element.error()?;
        found.push(match element.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        });
    }
    Ok(found)
}
