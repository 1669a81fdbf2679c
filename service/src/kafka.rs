//! Kafka clients as all roles make them: acknowledged by all replicas, idempotent, patient, and quiet
//! while a broker is away.

use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::FutureProducer;
use wire::topic::Topic;

use crate::config::KafkaConfig;

/// How long a message may wait for its acknowledgement. Whoever answers a client waits at least as
/// long, or a message could arrive after its refusal.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// What every client of the cluster has in common.
#[must_use]
pub fn client_config(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "tonearm")
        // librdkafka tries 20 times a second and logs each; half a second to ten is soon enough.
        .set("reconnect.backoff.ms", "500")
        .set("reconnect.backoff.max.ms", "10000")
        .set("log.connection.close", "false")
        .set("socket.keepalive.enable", "true");
    client
}

/// A producer that loses and doubles nothing: acknowledged by all in-sync replicas, idempotent.
///
/// Its queue is bounded; a full one is an error at once, which the caller answers with 503.
///
/// # Errors
/// When librdkafka refuses the configuration.
pub fn producer(config: &KafkaConfig) -> anyhow::Result<FutureProducer> {
    producer_config(config).create().with_context(|| format!("cannot make a Kafka producer for {}", config.brokers))
}

/// The configuration of [`producer`], for who makes another kind of it.
#[must_use]
pub fn producer_config(config: &KafkaConfig) -> ClientConfig {
    let mut client = client_config(config);
    client
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        // Long enough to gather what arrives together, short beside a round trip to a player; the default since Kafka 4.0.
        // Under single events Kafka has fewer than half as many requests to answer as with 2.
        .set("linger.ms", "5")
        .set("message.timeout.ms", MESSAGE_TIMEOUT.as_millis().to_string())
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "131072");
    client
}

/// Creates the topics that are missing, each with its dead-letter topic; existing ones stay as they are.
///
/// # Errors
/// When the cluster does not answer within a minute or refuses.
pub async fn create_topics(config: &KafkaConfig) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        client_config(config).create().context("cannot make a Kafka admin client")?;
    let names: Vec<(String, i32)> = Topic::ALL
        .iter()
        .flat_map(|topic| {
            let prefix = &config.topic_prefix;
            [(topic.name(prefix), config.partitions), (topic.dead_letter_name(prefix), 1)]
        })
        .collect();
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(config.replication)))
        .collect();
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(60)));
    let results = admin.create_topics(&topics, &options).await.context("cannot ask Kafka to create topics")?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => bail!("cannot create the Kafka topic {name}: {code}"),
        }
    }
    Ok(())
}
