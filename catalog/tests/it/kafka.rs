//! What Kafka holds.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use service::config::KafkaConfig;
use wire::content::ContentEvent;
use wire::topic::Topic;

/// A message as it lies there.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) payload: Vec<u8>,
}

/// All content events that are in Kafka now, each partition in its order.
pub(crate) async fn events(kafka: &KafkaConfig) -> Vec<ContentEvent> {
    let records = records(kafka, Topic::Content.name(&kafka.topic_prefix)).await;
    let event = |record: Record| {
        let event: ContentEvent = serde_json::from_slice(&record.payload).unwrap();
        assert_eq!(record.key, event.track_id.as_str(), "events are keyed by their track");
        event
    };
    records.into_iter().map(event).collect()
}

pub(crate) async fn records(kafka: &KafkaConfig, topic: String) -> Vec<Record> {
    let client = service::kafka::client_config(kafka);
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.clone().set("group.id", "looks-on").create().unwrap();
        read_all(&consumer, &topic)
    })
    .await
    .unwrap()
}

fn read_all(consumer: &BaseConsumer, topic: &str) -> Vec<Record> {
    let patience = Duration::from_secs(20);
    let metadata = consumer.fetch_metadata(Some(topic), patience).unwrap();
    let mut from_start = TopicPartitionList::new();
    let mut expected = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), patience).unwrap();
        expected += high - low;
        from_start.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&from_start).unwrap();
    let mut records = Vec::new();
    while (records.len() as i64) < expected {
        let message = consumer.poll(patience).expect("what lies below the watermark can be read");
        let Ok(message) = message else { continue };
        records.push(Record {
            key: String::from_utf8(message.key().unwrap_or_default().to_vec()).unwrap(),
            payload: message.payload().unwrap_or_default().to_vec(),
        });
    }
    records
}
