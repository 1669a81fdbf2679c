//! The watermark, once the sink has had a moment to come as far as Kafka was when the audit began.

use std::time::Duration;

use anyhow::Context;
use service::config::KafkaConfig;
use tokio::time::Instant;
use wire::topic::Topic;

use super::hours::Hours;
use super::places::{self, Place};
use super::topics::Stream;

/// A sink that keeps up is there in a second or two; one that does not is judged as far as it got.
const PATIENCE: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(250);

pub(super) struct Reached {
    /// Of each stream, in their order.
    pub(super) places: Vec<Vec<Place>>,
    /// The sink has stored everything that Kafka had when the audit began.
    pub(super) caught_up: bool,
}

/// Of the topic of listens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watermark {
    pub(crate) caught_up: bool,
    /// Each partition, the offset below which everything is stored and no sink touches it again, and Kafka's next one.
    pub(crate) places: Vec<(u32, u64, u64)>,
}

impl Reached {
    pub(super) fn of_listens(&self) -> Watermark {
        let places = Stream::ALL.iter().zip(&self.places).filter(|(stream, _)| stream.topic == Topic::Listens);
        let places = places.flat_map(|(_, places)| places);
        let places = places.map(|place| (place.partition, place.committed.unwrap_or(0), place.high)).collect();
        Watermark { caught_up: self.caught_up, places }
    }
}

/// # Errors
/// When Kafka does not answer.
pub(super) async fn reach(kafka: &KafkaConfig, hours: Hours) -> anyhow::Result<Reached> {
    let begun = ask(kafka, hours).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let places = ask(kafka, hours).await?;
        let caught_up = begun.iter().flatten().zip(places.iter().flatten()).all(|(then, now)| stored(then, now));
        if caught_up || Instant::now() >= deadline {
            return Ok(Reached { places, caught_up });
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn ask(kafka: &KafkaConfig, hours: Hours) -> anyhow::Result<Vec<Vec<Place>>> {
    let topics: Vec<String> = Stream::ALL.iter().map(|stream| stream.topic.name(&kafka.topic_prefix)).collect();
    let kafka = kafka.clone();
    let asking = tokio::task::spawn_blocking(move || places::ask(&kafka, &topics, hours));
    asking.await.context("asking Kafka panicked")?
}

/// What Kafka had then is stored now; a partition without a message needs no commit.
fn stored(then: &Place, now: &Place) -> bool {
    then.high == 0 || now.committed.is_some_and(|committed| committed >= then.high)
}
