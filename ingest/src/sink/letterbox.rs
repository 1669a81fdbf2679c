//! The dead-letter topics, where a tool of any kind can read what was set aside.

use std::time::Duration;

use futures_util::StreamExt;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use service::backoff::Backoff;
use service::config::KafkaConfig;
use service::kafka::MESSAGE_TIMEOUT;

use super::dead_letter::DeadLetter;
use super::rows::Table;

/// Letters that wait for Kafka's acknowledgement at a time.
const AT_A_TIME: usize = 256;

pub(super) struct Letterbox {
    producer: FutureProducer,
    prefix: String,
    /// For reading a message again.
    pub(super) kafka: KafkaConfig,
}

impl Letterbox {
    pub(super) fn new(kafka: &KafkaConfig) -> anyhow::Result<Self> {
        let producer = service::kafka::producer(kafka)?;
        Ok(Self { producer, prefix: kafka.topic_prefix.clone(), kafka: kafka.clone() })
    }

    /// Returns once Kafka has all of them. May write one twice after a crash; the headers tell which message each is.
    pub(super) async fn post_all(&self, letters: &[DeadLetter], topic: &str, partition: i32, table: Table) {
        let to = table.topic().dead_letter_name(&self.prefix);
        let post = |letter| self.post(letter, &to, topic, partition);
        futures_util::stream::iter(letters).for_each_concurrent(AT_A_TIME, post).await;
    }

    async fn post(&self, letter: &DeadLetter, to: &str, topic: &str, partition: i32) {
        let (partition, offset) = (partition.to_string(), letter.offset.to_string());
        let values =
            [("reason", letter.reason.as_str()), ("topic", topic), ("partition", &partition), ("offset", &offset)];
        let headers = values
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            let record = FutureRecord::to(to).key(&letter.key).payload(&letter.payload).headers(headers.clone());
            match self.producer.send(record, MESSAGE_TIMEOUT).await {
                Ok(_) => return,
                Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    return tracing::error!(
                        topic,
                        partition,
                        offset,
                        "too large for the dead-letter topic; the table has it"
                    );
                }
                Err(_) => backoff.wait().await,
            }
        }
    }
}
