//! Messages read from Kafka once more, apart from the group: of what the sink holds, only rows are left.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use service::config::KafkaConfig;

use super::received;
use super::rows::Incoming;

const WITHIN: Duration = Duration::from_secs(20);

/// Offsets of a partition, both ends included.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Stretch {
    /// What `of_each` makes of the messages that Kafka has of it, in their order.
    ///
    /// # Errors
    /// When Kafka does not give them in time.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        kafka: &KafkaConfig,
        of_each: impl FnMut(&Incoming<'_>) -> T + Send + 'static,
    ) -> anyhow::Result<Vec<T>> {
        let (stretch, kafka) = (self.clone(), kafka.clone());
        let read = tokio::task::spawn_blocking(move || stretch.read_here(&kafka, of_each));
        read.await.context("reading messages again panicked")?
    }

    fn read_here<T>(&self, kafka: &KafkaConfig, mut of_each: impl FnMut(&Incoming<'_>) -> T) -> anyhow::Result<Vec<T>> {
        let consumer: BaseConsumer = service::kafka::client_config(kafka)
            // Required by librdkafka; nothing is ever committed under it.
            .set("group.id", format!("{}.sink.again", kafka.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .create()
            .context("cannot make a Kafka consumer")?;
        let (low, high) = consumer
            .fetch_watermarks(&self.topic, self.partition, WITHIN)
            .context("cannot see what Kafka has of a partition")?;
        let (first, last) = (self.first.max(low), self.last.min(high - 1));
        let mut read = Vec::new();
        if first > last {
            return Ok(read);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, self.partition, Offset::Offset(first))?;
        consumer.assign(&list).context("cannot read messages again")?;
        let deadline = Instant::now() + WITHIN;
        while Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    if message.offset() <= last {
                        read.push(of_each(&received::incoming(&message)));
                    }
                    if message.offset() >= last {
                        return Ok(read);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(read),
                Some(Err(error)) => received::complain(&error),
                None => {}
            }
        }
        bail!("kafka did not give messages again in {WITHIN:?}")
    }
}
