//! The producer: what Kafka acknowledges is kept, what it does not goes to the spool.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use service::config::KafkaConfig;
use service::journal::record;
use wire::topic::Topic;

use crate::batch::Parcel;
use crate::kafka_watch::KafkaWatch;
use crate::replay::Sent;
use crate::spool::{Job, PRODUCER_BYTES, Spool};

/// How long Kafka has to acknowledge a message before the spool keeps it. A rolling restart of brokers
/// takes less; a player that waits has its answer soon after.
pub(crate) const ACK_WITHIN: Duration = Duration::from_secs(5);
/// The largest message, key and envelope included: what librdkafka counts and less than brokers take by default.
pub(crate) const MESSAGE_BYTES: usize = 1_000_000;
/// What Kafka's format adds to a message, at most; librdkafka counts fewer than a hundred.
pub(crate) const ENVELOPE_BYTES: usize = 128;
/// What a topic has to take: a batch of one such message with its own head.
pub(crate) const TOPIC_BYTES: usize = MESSAGE_BYTES + 1024;

pub(crate) type Producer = ThreadedProducer<Deliveries>;

/// Whom an acknowledgement is for.
pub(crate) enum Receipt {
    Fresh(Parcel),
    Replayed(Sent),
}

/// What becomes of messages; librdkafka calls it from its own thread.
pub(crate) struct Deliveries {
    pub(crate) spool: Spool,
    pub(crate) watch: Arc<KafkaWatch>,
}

pub(crate) fn start(config: &KafkaConfig, deliveries: Deliveries) -> anyhow::Result<Producer> {
    let mut client = service::kafka::producer_config(config);
    client
        .set("message.timeout.ms", ACK_WITHIN.as_millis().to_string())
        .set("message.max.bytes", MESSAGE_BYTES.to_string())
        .set("queue.buffering.max.kbytes", (PRODUCER_BYTES >> 10).to_string())
        // The spool is drained as soon as Kafka is back.
        .set("reconnect.backoff.max.ms", "2000");
    Ok(client.create_with_context(deliveries)?)
}

/// Hands over one message, which librdkafka copies. A full queue or a broken producer gives it back.
pub(crate) fn send(
    producer: &Producer,
    topic: &str,
    key: &[u8],
    payload: &[u8],
    receipt: Receipt,
) -> Result<(), (KafkaError, Receipt)> {
    let record = BaseRecord::with_opaque_to(topic, Box::new(receipt)).key(key).payload(payload);
    producer.send(record).map_err(|(error, record)| (error, *record.delivery_opaque))
}

/// A full queue is our own haste; everything else is Kafka's.
pub(crate) fn is_haste(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Self::DeliveryOpaque) {
        match (result, *receipt) {
            (Ok(_), Receipt::Fresh(parcel)) => parcel.kept(),
            (Ok(_), Receipt::Replayed(sent)) => sent.acknowledged(),
            (Err((error, message)), Receipt::Fresh(parcel)) => {
                self.watch.failed(error);
                self.rescue(message.key().unwrap_or_default(), message.payload().unwrap_or_default(), parcel);
            }
            (Err((error, _)), Receipt::Replayed(sent)) => {
                self.watch.failed(error);
                sent.failed();
            }
        }
    }
}

impl Deliveries {
    fn rescue(&self, key: &[u8], payload: &[u8], parcel: Parcel) {
        let mut records = Vec::new();
        record::append(&mut records, parcel.topic(), key, payload);
        self.spool.rescue(Job { records, parcels: vec![parcel] });
    }
}

/// The names of topics.
#[derive(Debug, Clone)]
pub(crate) struct Topics([(Topic, String); 5]);

impl Topics {
    /// Those that ingest writes to.
    const OURS: [Topic; 3] = [Topic::Listens, Topic::Deliveries, Topic::Tallies];

    pub(crate) fn new(prefix: &str) -> Self {
        Self(Topic::ALL.map(|topic| (topic, topic.name(prefix))))
    }

    pub(crate) fn ours(&self) -> impl Iterator<Item = &str> {
        Self::OURS.into_iter().map(|topic| self.name(topic))
    }

    pub(crate) fn name(&self, topic: Topic) -> &str {
        let found = self.0.iter().find(|(known, _)| *known == topic);
        found.map(|(_, name)| name.as_str()).expect("all topics are in the list")
    }
}
