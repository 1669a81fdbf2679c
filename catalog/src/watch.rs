//! Whether PostgreSQL and Kafka are there, asked every other second.

use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, Producer};
use service::Shutdown;
use service::health::{Health, Status};
use sqlx::PgPool;

use crate::stored::in_time;

const EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(3);

/// Without PostgreSQL no request can be served; without Kafka changes wait in the outbox.
pub(crate) struct Watch {
    pub(crate) pool: PgPool,
    pub(crate) producer: FutureProducer,
    pub(crate) topic: String,
    pub(crate) health: Health,
}

impl Watch {
    /// Before the first answer nothing is known to be there.
    pub(crate) fn begin(&self) {
        self.health.set("postgres", Status::Down("not reached yet".into()));
        self.health.set("kafka", Status::Degraded("not reached yet; changes wait in the outbox".into()));
    }

    pub(crate) async fn run(self, shutdown: Shutdown) {
        let watch = std::sync::Arc::new(self);
        tokio::select! {
            () = watch.postgres() => {}
            () = watch.kafka() => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn postgres(&self) {
        loop {
            // The schema matters as much as the server.
            let asked = in_time(sqlx::query("SELECT FROM rollouts LIMIT 1").fetch_optional(&self.pool)).await;
            let status = match asked {
                Ok(_) => Status::Ok,
                Err(error) => Status::Down(error.to_string()),
            };
            self.health.set("postgres", status);
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn kafka(&self) {
        loop {
            let (producer, topic) = (self.producer.clone(), self.topic.clone());
            // librdkafka asks in a call that blocks.
            let asked = tokio::task::spawn_blocking(move || ask_kafka(&producer, &topic)).await;
            let status = match asked {
                Ok(Ok(())) => Status::Ok,
                Ok(Err(error)) => Status::Degraded(format!("changes wait in the outbox: {error}")),
                Err(error) => Status::Degraded(format!("cannot be asked: {error}")),
            };
            self.health.set("kafka", status);
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn ask_kafka(producer: &FutureProducer, topic: &str) -> Result<(), KafkaError> {
    let metadata = producer.client().fetch_metadata(Some(topic), PATIENCE)?;
    match metadata.topics().first().and_then(|topic| topic.error()) {
        Some(error) => Err(KafkaError::MetadataFetch(error.into())),
        None => Ok(()),
    }
}
