//! The very messages that ingest hands to Kafka, for a peer that hands over the same.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use service::config::KafkaConfig;
use wire::event::AcceptedEvent;

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// A Kafka of ours with other topics.
pub(crate) fn kafka(brokers: &str, topic_prefix: &str) -> KafkaConfig {
    KafkaConfig { brokers: brokers.into(), topic_prefix: topic_prefix.into(), ..KafkaConfig::default() }
}

/// The first that ingest wrote, in the order in which they were posted: as they lie, a hundred in a row are of one
/// partition, and whoever sends them so asks Kafka a sixth as often.
pub(crate) fn read_back(config: &KafkaConfig, topic: &str, count: usize) -> anyhow::Result<Vec<Message>> {
    let consumer: BaseConsumer = service::kafka::client_config(config).set("group.id", "bench").create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..config.partitions {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut messages = Vec::with_capacity(count);
    while messages.len() < count {
        ensure!(Instant::now() < deadline, "{topic} has {} of {count} messages", messages.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.context("cannot read back what ingest wrote")?;
        let bytes = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
        messages.push(Message { key: bytes(message.key()), payload: bytes(message.payload()) });
    }
    let mut numbered = messages
        .into_iter()
        .map(|message| Ok((serde_json::from_slice::<AcceptedEvent>(&message.payload)?.ingest_seq, message)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    numbered.sort_by_key(|(number, _)| *number);
    Ok(numbered.into_iter().map(|(_, message)| message).collect())
}

/// Lengths before what they tell of.
pub(crate) fn save(messages: &[Message], path: &Path) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    for part in messages.iter().flat_map(|message| [&message.key, &message.payload]) {
        bytes.extend_from_slice(&u32::try_from(part.len())?.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    Ok(fs::write(path, bytes)?)
}

pub(crate) fn load(path: &str) -> anyhow::Result<Vec<Message>> {
    let bytes = fs::read(path)?;
    let (mut rest, mut messages) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        messages.push(Message { key: part(&mut rest)?, payload: part(&mut rest)? });
    }
    ensure!(!messages.is_empty(), "{path} holds no message");
    Ok(messages)
}

fn part(rest: &mut &[u8]) -> anyhow::Result<Vec<u8>> {
    let (length, after) = rest.split_first_chunk::<4>().context("a length is cut off")?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize).context("a part is cut off")?;
    *rest = after;
    Ok(part.to_vec())
}
