//! A message read from Kafka once more: of a row that ClickHouse refuses, only the row is still at hand.

use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use service::config::KafkaConfig;
use wire::Timestamp;

use super::dead_letter::DeadLetter;
use super::insert::Job;
use super::received;
use super::rows::{Incoming, Table};
use super::store::{self, Store};
use super::trouble::Severity;

const READ_WITHIN: Duration = Duration::from_secs(20);

/// Where a message lies.
#[derive(Debug, Clone)]
struct At {
    table: Table,
    topic: String,
    partition: i32,
    offset: i64,
}

/// The dead letter of a batch's only message; asked for until Kafka answers.
pub(super) async fn letter(store: &Store, job: &Job, reason: &str) -> DeadLetter {
    let at = At { table: job.table, topic: job.topic.clone(), partition: job.partition, offset: job.batch.range.first };
    let mut backoff = store::backoff();
    let mut trouble = store.troubles.of(format!("{}/{}/{}: its message", at.topic, at.partition, at.offset));
    loop {
        let (kafka, there, why) = (store.letterbox.kafka.clone(), at.clone(), reason.to_owned());
        let read = tokio::task::spawn_blocking(move || there.read(&kafka, &why)).await;
        match read.context("reading it panicked").flatten() {
            Ok(Some(letter)) => {
                trouble.over();
                return letter;
            }
            Ok(None) => return at.lost(&job.batch.rows, reason),
            Err(error) => trouble.tell(Severity::Passing, format!("{error:#}")),
        }
        backoff.wait().await;
    }
}

impl At {
    /// None where Kafka no longer has it.
    fn read(&self, kafka: &KafkaConfig, reason: &str) -> anyhow::Result<Option<DeadLetter>> {
        let consumer: BaseConsumer = service::kafka::client_config(kafka)
            // Required by librdkafka; nothing is ever committed under it.
            .set("group.id", format!("{}.sink.again", kafka.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .create()
            .context("cannot make a Kafka consumer")?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, self.partition, Offset::Offset(self.offset))?;
        consumer.assign(&list).context("cannot read a message again")?;
        let deadline = Instant::now() + READ_WITHIN;
        while Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.offset() == self.offset => return Ok(Some(self.letter(&message, reason))),
                Some(Ok(_)) => return Ok(None),
                Some(Err(KafkaError::MessageConsumption(rdkafka::types::RDKafkaErrorCode::AutoOffsetReset))) => {
                    return Ok(None);
                }
                Some(Err(error)) => received::complain(&error),
                None => {}
            }
        }
        anyhow::bail!("kafka did not give a message again in {READ_WITHIN:?}")
    }

    fn letter(&self, message: &BorrowedMessage<'_>, reason: &str) -> DeadLetter {
        let incoming = received::incoming(message);
        // It could be read before, or it would be no row; an id that is missing now is only a filter less.
        let id = self.table.append(&incoming, &mut Vec::new()).ok();
        DeadLetter::refused(&incoming, id, reason)
    }

    /// Kafka's retention was shorter than the wait: the row is what is left.
    fn lost(&self, row: &[u8], reason: &str) -> DeadLetter {
        tracing::error!(
            topic = self.topic,
            partition = self.partition,
            offset = self.offset,
            "kafka lost a refused message"
        );
        let message = Incoming {
            partition: self.partition,
            offset: self.offset,
            received_at: Timestamp::now(),
            key: b"",
            payload: row,
            is_sent_again: false,
        };
        DeadLetter::refused(
            &message,
            None,
            &format!("{reason} (its row as RowBinary: Kafka no longer had the message)"),
        )
    }
}
