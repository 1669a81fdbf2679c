//! Whether a letter was sent by a command that was killed: Kafka has it then, with a header that names it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use service::config::KafkaConfig;

use super::journal::Doubt;
use super::letters::Place;
use crate::sink::SENT_AGAIN;

const ASK: Duration = Duration::from_secs(20);

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Kafka has them: with the offset, and where their partition ended before.
    pub(super) sent: Vec<(Place, u64, u64)>,
    /// Kafka's retention has passed the place to look at.
    pub(super) unknown: Vec<Place>,
}

/// Reads each partition once, from where its first doubtful letter would lie. Blocks.
///
/// # Errors
/// When Kafka does not answer.
pub(super) fn resolve(kafka: &KafkaConfig, doubts: Vec<Doubt>) -> anyhow::Result<Answers> {
    let mut partitions: BTreeMap<(String, u32), Vec<Doubt>> = BTreeMap::new();
    for doubt in doubts {
        partitions.entry((doubt.place.topic.clone(), doubt.place.partition)).or_default().push(doubt);
    }
    let mut answers = Answers::default();
    for ((topic, partition), doubts) in partitions {
        let consumer = consumer(kafka)?;
        let partition = i32::try_from(partition).context("a partition is beyond Kafka's range")?;
        look(&consumer, &topic, partition, doubts, &mut answers)
            .with_context(|| format!("cannot look for letters that were sent to {topic} {partition}"))?;
    }
    Ok(answers)
}

fn consumer(kafka: &KafkaConfig) -> anyhow::Result<BaseConsumer> {
    service::kafka::client_config(kafka)
        // Required by librdkafka; nothing is ever committed under it.
        .set("group.id", format!("{}.dlq-replay.look", kafka.topic_prefix))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .create()
        .context("cannot make a Kafka consumer")
}

fn look(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    doubts: Vec<Doubt>,
    answers: &mut Answers,
) -> anyhow::Result<()> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, ASK)?;
    let (told, lost): (Vec<Doubt>, Vec<Doubt>) =
        doubts.into_iter().partition(|doubt| doubt.from_offset >= low.unsigned_abs());
    answers.unknown.extend(lost.into_iter().map(|doubt| doubt.place));
    let Some(from) = told.iter().map(|doubt| doubt.from_offset).min() else { return Ok(()) };
    let found = sent_again(consumer, topic, partition, from.cast_signed()..high)?;
    for doubt in told {
        if let Some(offset) = found.get(&name(&doubt.place)) {
            answers.sent.push((doubt.place, *offset, doubt.from_offset));
        }
    }
    Ok(())
}

/// Every letter in the range, by its name, and where it lies.
fn sent_again(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    range: std::ops::Range<i64>,
) -> anyhow::Result<HashMap<String, u64>> {
    let mut found = HashMap::new();
    if range.is_empty() {
        return Ok(found);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(range.start))?;
    consumer.assign(&list)?;
    let mut heard = Instant::now();
    loop {
        ensure!(heard.elapsed() < ASK, "kafka gave no message for {ASK:?}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        heard = Instant::now();
        if let Some(name) = named(&message).filter(|_| message.offset() < range.end) {
            found.insert(name, message.offset().unsigned_abs());
        }
        if message.offset() + 1 >= range.end {
            return Ok(found);
        }
    }
}

fn named(message: &BorrowedMessage<'_>) -> Option<String> {
    let header = message.headers()?.iter().find(|header| header.key == SENT_AGAIN)?;
    Some(String::from_utf8_lossy(header.value?).into_owned())
}

/// As the header names a letter, in its own topic.
pub(super) fn name(place: &Place) -> String {
    format!("{}/{}", place.partition, place.offset)
}
