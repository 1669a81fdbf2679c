//! To Kafka, and the answer once Kafka has said its last word on every element.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use service::Problem;
use uuid::Uuid;
use wire::event::{BatchAnswer, ElementError};

use crate::accept::{Message, Refusal};
use crate::kafka_watch::KafkaWatch;
use crate::metrics::Counters;

/// The producer for one topic.
pub(crate) struct Publisher {
    pub(crate) producer: FutureProducer,
    pub(crate) topic: String,
    pub(crate) watch: Arc<KafkaWatch>,
    pub(crate) counters: &'static Counters,
}

/// A batch that librdkafka has in its queue.
pub(crate) struct Pending<'a> {
    publisher: &'a Publisher,
    since: Instant,
    waiting: Vec<Waiting>,
    errors: Vec<ElementError>,
}

struct Waiting {
    index: usize,
    id: Uuid,
    acknowledgement: DeliveryFuture,
}

impl Publisher {
    /// Hands the accepted elements to librdkafka, in their order; a full queue refuses the rest.
    pub(crate) fn send(
        &self,
        elements: &[&[u8]],
        mut accept: impl FnMut(&[u8]) -> Result<Message, Refusal>,
    ) -> Pending<'_> {
        let waiting = Vec::with_capacity(elements.len());
        let mut pending = Pending { publisher: self, since: Instant::now(), waiting, errors: Vec::new() };
        for (index, element) in elements.iter().enumerate() {
            match accept(element).and_then(|message| self.enqueue(&message)) {
                Ok((id, acknowledgement)) => pending.waiting.push(Waiting { index, id, acknowledgement }),
                Err(refusal) => pending.refuse(index, refusal),
            }
        }
        pending
    }

    fn enqueue(&self, message: &Message) -> Result<(Uuid, DeliveryFuture), Refusal> {
        let record = FutureRecord::to(&self.topic).key(&message.key).payload(&message.payload);
        let sent = self.producer.send_result(record);
        sent.map(|future| (message.id, future)).map_err(|(error, _)| self.not_kept(message.id, &error))
    }

    fn not_kept(&self, id: Uuid, error: &KafkaError) -> Refusal {
        let refusal =
            |status, kind, detail: String| Refusal { id: Some(id.to_string()), status, kind, field: None, detail };
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            let detail = "the element is larger than Kafka takes".into();
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "element-too-large", detail);
        }
        self.watch.failed(error);
        let detail = "kafka did not acknowledge it in time; send it again with the same id".into();
        refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }
}

impl Pending<'_> {
    /// Waits for every acknowledgement. Bounded by the producer's own deadline, after which a message
    /// that was not acknowledged is never sent again: waiting any shorter would let one arrive after
    /// it was refused.
    pub(crate) async fn answer(mut self) -> Response {
        let mut accepted = 0;
        for Waiting { index, id, acknowledgement } in std::mem::take(&mut self.waiting) {
            let result = match acknowledgement.await {
                Ok(delivered) => delivered.map(drop).map_err(|(error, _)| error),
                Err(_) => Err(KafkaError::Canceled),
            };
            match result {
                Ok(()) => accepted += 1,
                Err(error) => self.refuse(index, self.publisher.not_kept(id, &error)),
            }
        }
        self.count(accepted);
        self.errors.sort_by_key(|error| error.index);
        respond(BatchAnswer { accepted, errors: self.errors })
    }

    fn refuse(&mut self, index: usize, refusal: Refusal) {
        self.publisher.counters.refused(refusal.kind);
        self.errors.push(refusal.at(index));
    }

    fn count(&self, accepted: usize) {
        self.publisher.counters.accepted.increment(accepted as u64);
        if accepted > 0 {
            self.publisher.watch.acknowledged();
            self.publisher.counters.ack.record(self.since.elapsed());
        }
    }
}

/// 202, 207 or 400 with the answer; 503 when nothing was accepted but may be when it is sent again.
fn respond(answer: BatchAnswer) -> Response {
    let status = match (answer.accepted, answer.errors.len()) {
        (_, 0) => StatusCode::ACCEPTED,
        (0, _) if answer.errors.iter().any(|error| error.retryable) => {
            let detail = "kafka did not acknowledge the elements in time; send them again with the same ids";
            return Problem::unavailable(detail, 2).into_response();
        }
        (0, _) => StatusCode::BAD_REQUEST,
        _ => StatusCode::MULTI_STATUS,
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}
