//! Whether Kafka is there, as the listener must know it: a request that comes while Kafka is known to
//! be away is answered at once, before anything of it could arrive later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use rdkafka::producer::{FutureProducer, Producer};
use service::health::Status;
use service::{Health, Problem, Shutdown};

const COMPONENT: &str = "kafka";
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const WHILE_WELL: Duration = Duration::from_secs(3);
const WHILE_AWAY: Duration = Duration::from_millis(500);

/// Down while the topics' metadata cannot be had, degraded while messages are not acknowledged.
#[derive(Debug)]
pub(crate) struct KafkaWatch {
    health: Health,
    away: AtomicBool,
    failing: AtomicBool,
}

impl KafkaWatch {
    /// Asks for the topics' metadata now and then, until the shutdown.
    pub(crate) fn start(
        producer: FutureProducer,
        topics: Vec<String>,
        health: Health,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        health.set(COMPONENT, Status::Down("kafka has not answered yet; events are refused with 503".into()));
        let watch = Arc::new(Self { health, away: AtomicBool::new(true), failing: AtomicBool::new(false) });
        let watching = watch.clone();
        tokio::spawn(async move {
            shutdown.run_until_cancelled(watching.probe_for_ever(producer, topics.into())).await;
        });
        watch
    }

    /// # Errors
    /// 503 when Kafka is known to be away.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Problem::unavailable(
                "kafka is away and nothing else may keep the elements; send them again",
                2,
            ));
        }
        Ok(())
    }

    /// Kafka acknowledged a message.
    pub(crate) fn acknowledged(&self) {
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            self.health.set(COMPONENT, Status::Ok);
        }
    }

    /// Kafka did not acknowledge a message.
    pub(crate) fn failed(&self, reason: &dyn std::fmt::Display) {
        if !self.away.load(Ordering::Relaxed) && !self.failing.swap(true, Ordering::Relaxed) {
            self.health.set(COMPONENT, Status::Degraded(format!("messages are not acknowledged: {reason}")));
        }
    }

    async fn probe_for_ever(&self, producer: FutureProducer, topics: Arc<[String]>) {
        loop {
            let (producer, topics) = (producer.clone(), topics.clone());
            let probe = tokio::task::spawn_blocking(move || probe(&producer, &topics)).await;
            let pause = match probe.context("the probe panicked").flatten() {
                Ok(()) => self.found(),
                Err(error) => self.missed(&error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn found(&self) -> Duration {
        if self.away.swap(false, Ordering::Relaxed) {
            self.failing.store(false, Ordering::Relaxed);
            self.health.set(COMPONENT, Status::Ok);
        }
        WHILE_WELL
    }

    fn missed(&self, error: &anyhow::Error) -> Duration {
        self.away.store(true, Ordering::Relaxed);
        self.health.set(COMPONENT, Status::Down(format!("{error:#}; events are refused with 503")));
        WHILE_AWAY
    }
}

fn probe(producer: &FutureProducer, topics: &[String]) -> anyhow::Result<()> {
    for topic in topics {
        let metadata = producer.client().fetch_metadata(Some(topic), PROBE_TIMEOUT).context("kafka does not answer")?;
        let found = metadata.topics().first().context("kafka told nothing about the topic")?;
        ensure!(found.error().is_none() && !found.partitions().is_empty(), "kafka has no topic {topic}");
    }
    Ok(())
}
