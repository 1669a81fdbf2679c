//! The one thread that talks to Kafka: it polls, lets partitions advance, and commits.
//!
//! Commits wait for Kafka's answer right here. That is what makes a revocation safe: it arrives inside
//! `poll`, so when it is seen no commit of ours is on its way, and none for a revoked partition follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use service::backoff::Backoff;
use service::health::Status;
use service::{Health, Shutdown};
use tokio::runtime::Handle;
use wire::Timestamp;

use super::Config;
use super::batch::Limits;
use super::consumer::{self, Change, Consumer, Place, Standing};
use super::metrics;
use super::owned::Owned;
use super::partition::Partition;
use super::pulse::Pulse;
use super::received;
use super::rows::Table;
use super::store::Store;

/// How long a poll may wait: inserts that end meanwhile wait as long for their commit.
const POLL: Duration = Duration::from_millis(10);
/// Partitions are looked through this often; a busy poll returns far more often than they change.
const STEP: Duration = Duration::from_millis(5);
/// Between two attempts of a commit.
const POLLS_FIRST: Duration = Duration::from_millis(200);
/// How long librdkafka's own thread may still be at a rebalance that it has announced.
const SETTLE: Duration = Duration::from_millis(200);
const REPORT: Duration = Duration::from_secs(1);

pub(super) struct Mover {
    consumer: Arc<Consumer>,
    store: Arc<Store>,
    /// Which table a topic goes into.
    tables: HashMap<String, Table>,
    /// By table and partition.
    owned: HashMap<(Table, i32), Owned>,
    limits: Limits,
    max_buffered: usize,
    repeat_window: u32,
    health: Health,
    pulse: Arc<Pulse>,
    shutdown: Shutdown,
    drain: Duration,
    commit_backoff: Backoff,
    commit_after: Instant,
    joined: bool,
    rebalanced: Instant,
}

impl Mover {
    pub(super) fn new(config: &Config, health: Health, shutdown: Shutdown) -> anyhow::Result<Self> {
        let tables: HashMap<String, Table> =
            Table::ALL.into_iter().map(|table| (table.topic().name(&config.kafka.topic_prefix), table)).collect();
        let topics: Vec<String> = tables.keys().cloned().collect();
        health.set("kafka", Status::Down("joining the group".into()));
        let size = |bytes: bytesize::ByteSize| usize::try_from(bytes.as_u64()).unwrap_or(usize::MAX);
        let sink = &config.sink;
        Ok(Self {
            consumer: Arc::new(consumer::join(&config.kafka, &sink.id, &topics, health.clone(), shutdown.clone())?),
            store: Arc::new(Store::new(&config.clickhouse, &config.kafka, health.clone())?),
            tables,
            owned: HashMap::new(),
            limits: Limits { rows: sink.batch_rows, bytes: size(sink.batch_bytes), wait: sink.batch_wait.0 },
            max_buffered: size(sink.max_buffered),
            repeat_window: sink.repeat_window,
            health,
            pulse: Arc::default(),
            shutdown,
            drain: config.http.drain_timeout.0,
            commit_backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(2)),
            commit_after: Instant::now(),
            joined: false,
            rebalanced: Instant::now(),
        })
    }

    /// Moves until the shutdown, then stores what it holds, as far as the drain's deadline allows.
    ///
    /// # Errors
    /// When it cannot go on: another sink took its id, or a partition's state cannot be known.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let watching = {
            let (store, pulse, health) = (self.store.clone(), self.pulse.clone(), self.health.clone());
            Handle::current().spawn(async move { tokio::join!(store.watch(), pulse.watch(&health)) })
        };
        let consumer = self.consumer.clone();
        let (mut stepped, mut reported) = (Instant::now(), Instant::now());
        while !self.shutdown.is_cancelled() {
            let message = consumer.poll(POLL);
            // Before the message: it may be the first of a partition that was just assigned.
            self.change()?;
            let now = Instant::now();
            if self.joined {
                self.pulse.beat(now);
            }
            let full = match message {
                Some(message) => self.receive(message, now)?,
                None => false,
            };
            if full || now.duration_since(stepped) >= STEP {
                self.step(now, false)?;
                stepped = now;
            }
            if now.duration_since(reported) >= REPORT {
                self.report();
                reported = now;
            }
        }
        watching.abort();
        self.finish()
    }

    /// Gives a message to its partition; true when that is full now.
    fn receive(&mut self, message: Result<BorrowedMessage<'_>, KafkaError>, now: Instant) -> anyhow::Result<bool> {
        let message = match message {
            Ok(message) => message,
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                return Err(error).context("kafka shut this sink out; does another one have the same sink.id?");
            }
            Err(error) => {
                received::complain(&error);
                return Ok(false);
            }
        };
        let table = self.tables.get(message.topic()).copied();
        // It was ours when it was fetched; who owns it now reads it again.
        let owned = table.and_then(|table| self.owned.get_mut(&(table, message.partition())));
        let Some(owned) = owned else { return Ok(false) };
        if !owned.admits(message.offset(), now) {
            return Ok(false);
        }
        let order =
            owned.partition.take(&received::incoming(&message), now).with_context(|| message.topic().to_owned())?;
        received::tell(order, &message);
        Ok(owned.partition.is_full(&self.limits))
    }

    /// Follows what the group decided since the last poll.
    fn change(&mut self) -> anyhow::Result<()> {
        for change in self.consumer.context().take_changes() {
            self.rebalanced = Instant::now();
            match change {
                // A stop does not wait for what Kafka does not tell: nothing of these partitions is taken.
                Change::Assigned(Err(error)) if self.shutdown.is_cancelled() => {
                    tracing::info!(error = format!("{error:#}"), "stopped while partitions were being assigned");
                }
                Change::Assigned(standings) => self.adopt(standings?)?,
                Change::Revoked(places) => self.owned.retain(|_, owned| !places.contains(&owned.place)),
            }
        }
        Ok(())
    }

    fn adopt(&mut self, standings: HashMap<Place, Standing>) -> anyhow::Result<()> {
        self.joined = true;
        let new = standings.len();
        for (place, Standing { next, intent }) in standings {
            let Some(table) = self.tables.get(&place.0).copied() else {
                bail!("{} is none of the sink's topics", place.0)
            };
            if let Some(intent) = &intent {
                let (topic, partition) = &place;
                tracing::info!(topic, partition, ?intent, "replaying what an earlier sink announced");
            }
            let partition = Partition::new(table, next, intent, self.repeat_window);
            self.owned.insert((table, place.1), Owned::adopt(place, table, partition, next, &self.store));
        }
        if new > 0 {
            tracing::info!(new, all = self.owned.len(), "partitions assigned");
        }
        Ok(())
    }

    /// Lets every partition go as far as it can.
    fn step(&mut self, now: Instant, stopping: bool) -> anyhow::Result<()> {
        let buffered: usize = self.owned.values().map(|owned| owned.partition.held_bytes()).sum();
        let crowded = buffered >= self.max_buffered;
        for owned in self.owned.values_mut() {
            owned.harvest()?;
            owned.partition.advance(now, &self.limits, stopping || crowded);
        }
        if now >= self.commit_after {
            self.commit(now);
        }
        self.hold(crowded, stopping, now);
        Ok(())
    }

    /// Tells Kafka what it should know; what it then knows may be inserted.
    fn commit(&mut self, now: Instant) {
        for (topic, table) in &self.tables {
            let of_topic = self.owned.iter().filter(|((of, _), _)| of == table);
            let commits: Vec<_> =
                of_topic.filter_map(|((_, id), owned)| Some((*id, owned.partition.commit(now)?))).collect();
            if commits.is_empty() {
                continue;
            }
            if let Err(error) = consumer::commit(&self.consumer, topic, &commits) {
                // In the midst of a rebalance, or the coordinator is away: the same commit is made again. It may
                // have waited long, and what changes the group comes only by polls, so these go first.
                tracing::debug!(%error, topic, "cannot commit yet");
                self.commit_after = Instant::now() + POLLS_FIRST + self.commit_backoff.next_delay();
                return;
            }
            self.commit_backoff.reset();
            for (id, _) in commits {
                if let Some(owned) = self.owned.get_mut(&(*table, id)) {
                    owned.committed(now, &self.store);
                }
            }
        }
    }

    /// Stops the flow from Kafka where a batch cannot go on, or everywhere when all hold too much.
    fn hold(&mut self, crowded: bool, stopping: bool, now: Instant) {
        let calm = now.duration_since(self.rebalanced) >= SETTLE;
        for owned in self.owned.values_mut() {
            let crowded_out = crowded && !owned.partition.is_replaying();
            let wanted = stopping || crowded_out || owned.partition.is_full(&self.limits);
            owned.hold(&self.consumer, wanted, calm, now);
        }
    }

    /// Nothing more is taken; what is held is stored, or left to the next owner at the deadline.
    fn finish(mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.drain;
        let consumer = self.consumer.clone();
        loop {
            let now = Instant::now();
            self.step(now, true)?;
            if now >= deadline || self.owned.values().all(|owned| owned.partition.is_settled()) {
                return Ok(());
            }
            // Paused, so nothing comes but changes of the group.
            if let Some(message) = consumer.poll(POLL) {
                self.receive(message, now)?;
            }
            self.change()?;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "gauges need no more than 52 bits")]
    fn report(&self) {
        let status = if !self.joined {
            Status::Down("joining the group; is Kafka there, and are its topics?".into())
        } else if self.consumer.context().has_broker() {
            Status::Ok
        } else {
            Status::Degraded("no broker can be reached; nothing is moved until one can".into())
        };
        self.health.set("kafka", status);
        let buffered: usize = self.owned.values().map(|owned| owned.partition.held_bytes()).sum();
        metrics::BUFFERED.gauge(&[]).set(buffered as f64);
        metrics::PARTITIONS.gauge(&[]).set(self.owned.len() as f64);
        let now = Timestamp::now().as_millis();
        for (topic, table) in &self.tables {
            let of_topic = self.owned.iter().filter(|((of, _), _)| of == table);
            let oldest = of_topic.filter_map(|(_, owned)| owned.oldest()).min();
            let age_ms = oldest.map_or(0, |oldest| (now - oldest.as_millis()).max(0));
            metrics::OLDEST.gauge(&[("topic", topic.clone())]).set(age_ms as f64 / 1000.0);
        }
    }
}
