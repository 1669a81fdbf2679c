//! Reading the decisions' topic.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use service::config::KafkaConfig;
use wire::decision::Decision;
use wire::topic::Topic;

/// Reads decisions, keyed by the message's key, until those wanted are there.
///
/// # Panics
/// When they are not within 30 s.
pub(crate) async fn decisions(config: &KafkaConfig, wanted: &[String]) -> HashMap<String, Decision> {
    let consumer: StreamConsumer = service::kafka::client_config(config)
        .set("group.id", format!("{}-reader", config.topic_prefix))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[&Topic::Decisions.name(&config.topic_prefix)]).unwrap();
    let mut read = HashMap::new();
    let reading = async {
        while !wanted.iter().all(|id| read.contains_key(id)) {
            // Errors of a broker that comes back are told here and pass.
            let Ok(message) = consumer.recv().await else { continue };
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            read.insert(key, serde_json::from_slice(message.payload().unwrap()).unwrap());
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(30), reading).await;
    assert!(result.is_ok(), "{wanted:?} are not all in Kafka: {:?}", read.keys());
    read
}
