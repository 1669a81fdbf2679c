//! One replay at a time: whoever is given the one partition of a topic by the group may send.
//!
//! Kafka gives it to nobody else before the owner has been silent for the session's time, and by then whatever a
//! killed command had sent has arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use service::config::KafkaConfig;
use wire::topic::Topic;

const SESSION: Duration = Duration::from_secs(10);
/// Longer than the session of one that was killed just now.
const WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Held until it is dropped.
pub(super) struct Lock {
    held: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    polling: Option<JoinHandle<()>>,
}

impl Lock {
    /// Blocks.
    ///
    /// # Errors
    /// When another command holds it.
    pub(super) fn take(kafka: &KafkaConfig) -> anyhow::Result<Self> {
        let topic = Topic::Listens.dead_letter_name(&kafka.topic_prefix);
        let consumer: BaseConsumer = service::kafka::client_config(kafka)
            .set("group.id", format!("{}.dlq-replay", kafka.topic_prefix))
            .set("session.timeout.ms", SESSION.as_millis().to_string())
            .set("heartbeat.interval.ms", "2000")
            // Who has it keeps it when another comes.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .create()
            .context("cannot make a Kafka consumer")?;
        consumer.subscribe(&[&topic]).context("cannot join the replays' group")?;
        let (held, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let poll = Polling { consumer, topic, held: held.clone(), stop: stop.clone() };
        let polling = std::thread::Builder::new().name("dlq-lock".into()).spawn(move || poll.run())?;
        let lock = Self { held, stop, polling: Some(polling) };
        lock.wait()?;
        Ok(lock)
    }

    fn wait(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + WAIT;
        while !self.held.load(Ordering::Acquire) {
            if Instant::now() > deadline {
                bail!("another replay is running, or Kafka does not answer; nothing was sent");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// # Errors
    /// When it was lost: another command may send by now.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.held.load(Ordering::Acquire), "lost the place as the only replay; run it again");
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(polling) = self.polling.take() {
            // It ends with its next poll; a panic in it has no lock to give back.
            let _ = polling.join();
        }
    }
}

struct Polling {
    consumer: BaseConsumer,
    topic: String,
    held: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Polling {
    fn run(self) {
        while !self.stop.load(Ordering::Acquire) {
            // What is read is of no interest: the topic is there to be owned.
            if let Some(Err(error)) = self.consumer.poll(POLL) {
                tracing::debug!(%error, "the replays' group");
            }
            self.held.store(self.owns(), Ordering::Release);
        }
        self.held.store(false, Ordering::Release);
    }

    fn owns(&self) -> bool {
        let Ok(assigned) = self.consumer.assignment() else { return false };
        let mine = assigned.find_partition(&self.topic, 0).is_some() && !self.consumer.assignment_lost();
        if mine && let Err(error) = self.consumer.pause(&assigned) {
            tracing::debug!(%error, "cannot pause the dead letters' topic");
        }
        mine
    }
}
