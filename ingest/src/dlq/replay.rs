//! Sending letters again.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;
use clickhouse::Client;
use futures_util::future::try_join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use service::config::KafkaConfig;
use service::kafka::MESSAGE_TIMEOUT;

use super::letters::{self, Filter, Letter, Place};
use super::lock::Lock;
use super::{Config, doubts, journal};
use crate::sink::SENT_AGAIN;

/// Letters that are read, written down and sent together; each may be a megabyte.
const AT_A_TIME: usize = 100;
/// One run sends no more; the next goes on. Their places take 50 MiB.
const MOST: usize = 1_000_000;
const ASK: Duration = Duration::from_secs(20);

/// How far a replay is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Letters that are to be sent by this run.
    pub letters: usize,
    pub sent: usize,
    /// An earlier run had sent them and was killed before it could tell.
    pub found: usize,
    /// Of these nobody can say whether an earlier run had sent them; they are left alone.
    pub unknown: usize,
}

/// Sends those that wait to the partitions that they came from, and tells how far it is after each step.
///
/// # Errors
/// When another replay runs, or one of the servers does not answer; run again, it goes on where it was.
pub async fn replay(config: &Config, filter: &Filter, told: impl Fn(&Progress)) -> anyhow::Result<Progress> {
    let kafka = config.kafka.clone();
    let lock = tokio::task::spawn_blocking(move || Lock::take(&kafka)).await.context("taking the lock panicked")??;
    let replay = Replay { client: letters::client(config), producer: service::kafka::producer(&config.kafka)?, lock };
    let (mut progress, unknown) = replay.settle(&config.kafka).await?;
    let mut places = letters::waiting(&replay.client, filter, MOST).await?;
    places.retain(|place| !unknown.contains(place));
    progress.letters = places.len();
    told(&progress);
    for of_partition in places.chunk_by(|one, other| (&one.topic, one.partition) == (&other.topic, other.partition)) {
        for places in of_partition.chunks(AT_A_TIME) {
            progress.sent += replay.send(places).await?;
            told(&progress);
        }
    }
    // Leaving the group waits for Kafka.
    tokio::task::spawn_blocking(move || drop(replay)).await.context("giving the lock back panicked")?;
    Ok(progress)
}

struct Replay {
    client: Client,
    producer: FutureProducer,
    lock: Lock,
}

impl Replay {
    /// Finds out what an earlier run has sent.
    async fn settle(&self, kafka: &KafkaConfig) -> anyhow::Result<(Progress, HashSet<Place>)> {
        let (doubts, kafka) = (journal::doubts(&self.client).await?, kafka.clone());
        let resolved = tokio::task::spawn_blocking(move || doubts::resolve(&kafka, doubts)).await;
        let answers = resolved.context("looking for letters panicked")??;
        for (place, offset, from_offset) in &answers.sent {
            journal::sent(&self.client, &[(place.clone(), *offset)], *from_offset).await?;
        }
        let progress = Progress { found: answers.sent.len(), unknown: answers.unknown.len(), ..Progress::default() };
        Ok((progress, answers.unknown.into_iter().collect()))
    }

    /// Letters of one partition; how many.
    async fn send(&self, places: &[Place]) -> anyhow::Result<usize> {
        let letters = letters::read(&self.client, places).await?;
        let Some(first) = letters.first() else { return Ok(0) };
        let from_offset = self.end_of(&first.place).await?;
        let places: Vec<Place> = letters.iter().map(|letter| letter.place.clone()).collect();
        journal::sending(&self.client, &places, from_offset).await?;
        self.lock.check()?;
        let offsets = try_join_all(letters.iter().map(|letter| self.produce(letter))).await?;
        let sent: Vec<(Place, u64)> = places.into_iter().zip(offsets).collect();
        journal::sent(&self.client, &sent, from_offset).await?;
        Ok(sent.len())
    }

    async fn end_of(&self, place: &Place) -> anyhow::Result<u64> {
        let (producer, topic, partition) = (self.producer.clone(), place.topic.clone(), signed(place)?);
        let ask = move || producer.client().fetch_watermarks(&topic, partition, ASK);
        let watermarks = tokio::task::spawn_blocking(ask).await.context("asking Kafka panicked")?;
        Ok(watermarks
            .with_context(|| format!("cannot ask where {} {} ends", place.topic, place.partition))?
            .1
            .unsigned_abs())
    }

    /// Where it lies now.
    async fn produce(&self, letter: &Letter) -> anyhow::Result<u64> {
        let name = doubts::name(&letter.place);
        let headers = OwnedHeaders::new().insert(Header { key: SENT_AGAIN, value: Some(&name) });
        let record = FutureRecord::to(&letter.place.topic)
            .partition(signed(&letter.place)?)
            .key(&letter.key)
            .payload(&letter.payload)
            .headers(headers);
        let sent = self.producer.send(record, MESSAGE_TIMEOUT).await.map_err(|(error, _)| error);
        let at = sent.with_context(|| format!("kafka did not take {}", letter.place))?;
        Ok(at.offset.unsigned_abs())
    }
}

fn signed(place: &Place) -> anyhow::Result<i32> {
    i32::try_from(place.partition).context("a partition is beyond Kafka's range")
}
