//! Batches of 100 events, until Kafka has acknowledged them, against a bare rdkafka producer that hands over the same
//! messages in the same batches.
//!
//! Both are one process on core 0, with the same producer configuration and as many batches on their way. Ours is fed
//! over HTTP by this process, which competes with Kafka for the rest of the machine; the bare one has its bytes already.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use serde::{Deserialize, Serialize};
use wire::topic::Topic;

use crate::messages::{self, Message};
use crate::poster;
use crate::support::figure::{Figure, median};
use crate::support::process::{Core, cpu_us_of};
use crate::support::stack::Stack;

const BATCH: usize = 100;
/// Batches that are posted in turn.
const BATCHES: usize = 200;
const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(4);
/// One player's patience, and a crowd's haste.
const IN_FLIGHT: [usize; 2] = [1, 16];
const PEER: &str = "bare rdkafka";

/// Set in the process that is to become the bare producer.
const BECOME: &str = "TONEARM_BENCH_PRODUCER";

#[derive(Serialize, Deserialize)]
struct Order {
    brokers: String,
    topic: String,
    messages: String,
    in_flight: usize,
    time: Duration,
}

#[derive(Serialize, Deserialize)]
struct Done {
    events_s: f64,
    cpu_us: f64,
}

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let stack = Stack::start(Core::First).await?;
    let (server, url) = stack.role("ingest", &[]).await?;
    let requests = poster::requests(BATCHES, BATCH);
    let addr = poster::warm_up(&url, &requests).await?;
    let mut order = prepare(&stack).await?;
    let mut figures = Vec::new();
    for in_flight in IN_FLIGHT {
        order.in_flight = in_flight;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(poster::closed_loop(&server, addr, &requests, in_flight, TIME).await?);
            theirs.push(bare(&order)?);
        }
        #[allow(clippy::cast_precision_loss, reason = "it is 100")]
        let batch = BATCH as f64;
        let rate = median(ours.iter().map(|load| load.requests_s * batch).collect());
        let cpu = median(ours.iter().map(|load| load.cpu_us / batch).collect());
        figures.extend([
            Figure::new(format!("batches of 100, {in_flight} in flight"), rate, "event/s")
                .against(PEER, median(theirs.iter().map(|done| done.events_s).collect()))
                .ratio_at_least(0.8),
            Figure::new(format!("batches of 100, {in_flight} in flight, CPU"), cpu, "us/ev")
                .against(PEER, median(theirs.iter().map(|done| done.cpu_us).collect())),
        ]);
    }
    Ok(figures)
}

/// What ingest wrote is what the bare producer writes, into a topic of its own.
async fn prepare(stack: &Stack) -> anyhow::Result<Order> {
    let (ours, brokers) = (messages::kafka(&stack.servers.kafka, &stack.database), stack.servers.kafka.clone());
    let theirs = messages::kafka(&brokers, &stack.servers.fresh_name("bare"));
    service::kafka::create_topics(&theirs).await?;
    let path = stack.folder("messages");
    let topic = Topic::Listens.name(&ours.topic_prefix);
    let read = move || messages::read_back(&ours, &topic, BATCH * BATCHES);
    messages::save(&tokio::task::spawn_blocking(read).await??, &path)?;
    let (topic, messages) = (Topic::Listens.name(&theirs.topic_prefix), path.display().to_string());
    Ok(Order { brokers, topic, messages, in_flight: 1, time: TIME })
}

/// This program again, as the bare producer on core 0.
fn bare(order: &Order) -> anyhow::Result<Done> {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(std::env::current_exe()?).env(BECOME, serde_json::to_string(order)?);
    let output = command.output().context("taskset is not installed")?;
    ensure!(output.status.success(), "the bare producer: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Call first in `main`: in the child this produces, tells how it went, and does not return.
pub(crate) fn become_producer_if_asked() -> anyhow::Result<()> {
    let Ok(order) = std::env::var(BECOME) else { return Ok(()) };
    let done = produce(&serde_json::from_str(&order)?)?;
    println!("{}", serde_json::to_string(&done)?);
    std::process::exit(0)
}

/// Counts each batch down; says which one is acknowledged.
struct Acknowledged {
    left: Vec<AtomicUsize>,
    batches: Sender<Result<usize, KafkaError>>,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, which: usize) {
        let last = self.left[which].fetch_sub(1, Ordering::AcqRel) == 1;
        let told = match result {
            Err((error, _)) => Err(error.clone()),
            Ok(_) if last => Ok(which),
            Ok(_) => return,
        };
        // Nobody listens any more only after an error.
        let _ = self.batches.send(told);
    }
}

fn produce(order: &Order) -> anyhow::Result<Done> {
    let messages = messages::load(&order.messages)?;
    let (batches, acknowledged) = mpsc::channel();
    let left = (0..order.in_flight).map(|_| AtomicUsize::new(0)).collect();
    let config = messages::kafka(&order.brokers, "bare");
    let producer: ThreadedProducer<Acknowledged> =
        service::kafka::producer_config(&config).create_with_context(Acknowledged { left, batches })?;
    producer.client().fetch_metadata(Some(&order.topic), Duration::from_secs(10))?;
    let mut from = messages.chunks_exact(BATCH).cycle();
    let mut send = |which| send(&producer, &order.topic, which, from.next().context("no batch")?);
    let (since, before) = (Instant::now(), cpu_us_of("self")?);
    let mut done = 0;
    (0..order.in_flight).try_for_each(&mut send)?;
    while since.elapsed() < order.time {
        send(acknowledged.recv()??)?;
        done += BATCH;
    }
    let (time, cpu) = (since.elapsed(), cpu_us_of("self")? - before);
    #[allow(clippy::cast_precision_loss, reason = "a few million")]
    let done = done as f64;
    Ok(Done { events_s: done / time.as_secs_f64(), cpu_us: cpu / done })
}

fn send(producer: &ThreadedProducer<Acknowledged>, topic: &str, which: usize, batch: &[Message]) -> anyhow::Result<()> {
    producer.context().left[which].store(batch.len(), Ordering::Release);
    for Message { key, payload } in batch {
        let record = BaseRecord::with_opaque_to(topic, which).key(key).payload(payload);
        producer.send(record).map_err(|(error, _)| anyhow!(error))?;
    }
    Ok(())
}
