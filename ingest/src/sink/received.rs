//! What a poll brought: a message as we see it, and what is worth a line in the log.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use wire::Timestamp;

use super::metrics;
use super::partition::Order;
use super::rows::Incoming;

/// Brokers that cannot be reached are told several times a second; health says it once.
pub(super) fn complain(error: &KafkaError) {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    match error.rdkafka_error_code() {
        Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut | Resolve) => {
            tracing::debug!(%error, "cannot read from Kafka");
        }
        _ => tracing::warn!(%error, "cannot read from Kafka"),
    }
}

/// The header of a dead letter that an operator sends to its topic again: which one it was.
pub(crate) const SENT_AGAIN: &str = "tonearm-dead-letter";

pub(super) fn incoming<'a>(message: &'a BorrowedMessage<'_>) -> Incoming<'a> {
    let at = message.timestamp().to_millis().and_then(Timestamp::from_millis);
    Incoming {
        partition: message.partition(),
        offset: message.offset(),
        // A message without a time is none of ours; the epoch says so.
        received_at: at.or_else(|| Timestamp::from_millis(0)).expect("the epoch is an instant"),
        key: message.key().unwrap_or_default(),
        payload: message.payload().unwrap_or_default(),
        is_sent_again: is_sent_again(message),
    }
}

fn is_sent_again(message: &BorrowedMessage<'_>) -> bool {
    message.headers().is_some_and(|headers| headers.iter().any(|header| header.key == SENT_AGAIN))
}

/// Holes are not the sink's doing, but nobody else sees them.
pub(super) fn tell(order: Order, message: &BorrowedMessage<'_>) {
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    match order {
        Order::Contiguous => {}
        Order::Missing(missing) => {
            metrics::MISSING.counter(&[("topic", topic.to_owned())]).increment(missing.unsigned_abs());
            tracing::error!(topic, partition, offset, missing, "kafka no longer has what should come");
        }
        Order::Backwards => {
            tracing::error!(topic, partition, offset, "the topic was made anew; reading it from here");
        }
    }
}
