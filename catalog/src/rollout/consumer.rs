//! Reads content events and has each one's rows in PostgreSQL before its offset is committed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rdkafka::Message;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use service::Shutdown;
use service::backoff::Backoff;
use service::config::KafkaConfig;
use sqlx::PgPool;
use tokio::sync::Notify;
use wire::content::ContentEvent;
use wire::topic::Topic;

use super::plan::{Planned, plan};
use crate::metrics;
use crate::stored::{blames_value, in_time};

/// librdkafka queues one error a try while brokers are away, and events come behind them: a growing
/// wait here would outlast the outage. This only keeps an unforeseen storm of errors from spinning.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// The rollout's side of the content topic; catalogs side by side share its partitions.
pub(crate) struct Consumer {
    events: StreamConsumer,
    producer: FutureProducer,
    dead_letters: String,
    pool: PgPool,
    deadline: Duration,
    /// Wakes the worker once rows have been written.
    wake: Arc<Notify>,
}

impl Consumer {
    /// # Errors
    /// When librdkafka refuses the configuration; a broker that is away is no error.
    pub(crate) fn new(
        kafka: &KafkaConfig,
        producer: FutureProducer,
        pool: PgPool,
        deadline: Duration,
        wake: Arc<Notify>,
    ) -> anyhow::Result<Self> {
        let prefix = &kafka.topic_prefix;
        let events: StreamConsumer = service::kafka::client_config(kafka)
            .set("group.id", format!("{prefix}.rollout"))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            // A topic that is made after our start is seen within seconds, not within five minutes.
            .set("topic.metadata.refresh.interval.ms", "5000")
            .create()
            .context("cannot make a Kafka consumer for rollouts")?;
        events.subscribe(&[&Topic::Content.name(prefix)]).context("cannot subscribe to the content topic")?;
        Ok(Self { events, producer, dead_letters: Topic::Content.dead_letter_name(prefix), pool, deadline, wake })
    }

    /// Runs until the shutdown. What was read and not finished is read again.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        // Dropping the work at any point is safe: the offset is committed last.
        tokio::select! {
            () = self.read() => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn read(&self) {
        loop {
            match self.events.recv().await {
                Ok(message) => {
                    self.handle(&message).await;
                    self.commit(&message);
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot read content events; librdkafka tries again");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    async fn handle(&self, message: &BorrowedMessage<'_>) {
        let payload = message.payload().unwrap_or_default();
        match wire::field::parse::<ContentEvent>(payload) {
            Ok(event) => self.plan(message, &event).await,
            Err(error) => self.dead_letter(message, &error.to_string()).await,
        }
    }

    /// Tries until PostgreSQL has it. While it is away the partition waits; past Kafka's
    /// `max.poll.interval.ms` of five minutes another catalog, which may reach it, gets the partition.
    async fn plan(&self, message: &BorrowedMessage<'_>, event: &ContentEvent) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match in_time(plan(&self.pool, event, self.deadline)).await {
                Ok(Planned::Rows) => {
                    metrics::content_event("planned");
                    return self.wake.notify_one();
                }
                Ok(Planned::Superseded) => return metrics::content_event("superseded"),
                Err(error) if blames_value(&error) => return self.dead_letter(message, &error.to_string()).await,
                Err(error) => {
                    if backoff.attempts() == 0 {
                        tracing::warn!(%error, track.id = %event.track_id, "a rollout waits for PostgreSQL");
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    /// Puts a message that nobody here can act on beside the topic, as it came, until Kafka has it.
    async fn dead_letter(&self, message: &BorrowedMessage<'_>, reason: &str) {
        tracing::error!(
            partition = message.partition(),
            offset = message.offset(),
            reason,
            "content event dead-lettered"
        );
        metrics::content_event("dead_lettered");
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let headers = OwnedHeaders::new().insert(Header { key: "reason", value: Some(reason) });
            let record = FutureRecord::to(&self.dead_letters).headers(headers);
            let record = record.key(message.key().unwrap_or_default()).payload(message.payload().unwrap_or_default());
            match self.producer.send(record, Duration::from_secs(5)).await {
                Ok(_) => return,
                Err((error, _)) => tracing::warn!(%error, "cannot dead-letter a content event; it is tried again"),
            }
            backoff.wait().await;
        }
    }

    /// A commit that fails is made good by the next one, or the event is read again and changes nothing.
    fn commit(&self, message: &BorrowedMessage<'_>) {
        if let Err(error) = self.events.commit_message(message, CommitMode::Async) {
            tracing::debug!(%error, "cannot commit the offset of a content event");
        }
    }
}
