//! Numbers a request's elements, hands them over, and answers once each is kept.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use service::Problem;
use tokio::sync::oneshot;
use uuid::Uuid;
use wire::event::{BatchAnswer, ElementError};
use wire::topic::Topic;

use crate::accept::Refusal;
use crate::batch::{Account, Batch};
use crate::ledger::Ledger;
use crate::message::Message;
use crate::metrics::Counters;
use crate::road::{Road, Way};

/// The way into one topic.
pub(crate) struct Publisher {
    pub(crate) road: Arc<Road>,
    pub(crate) topic: Topic,
    /// Counts the elements, where each is numbered.
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) counters: &'static Counters,
}

/// A request whose elements are on their way.
pub(crate) struct Pending<'a> {
    publisher: &'a Publisher,
    /// Where in the request each element that was handed over stood, and its id.
    carried: Vec<(usize, Uuid)>,
    /// Tells the places in `carried` of those that were lost. None where nothing was handed over.
    lost: Option<oneshot::Receiver<Vec<u32>>>,
    errors: Vec<ElementError>,
    /// Why none of the good elements could be taken.
    turned_away: Option<Problem>,
}

impl Publisher {
    /// Hands the accepted elements over, in their order. Whatever may refuse one does so before any has its number.
    pub(crate) fn send<M: Message>(&self, elements: impl ExactSizeIterator<Item = Result<M, Refusal>>) -> Pending<'_> {
        let mut pending = self.pending(Vec::with_capacity(elements.len()));
        let mut messages = Vec::with_capacity(elements.len());
        for (index, element) in elements.enumerate() {
            match element.and_then(|message| message.fits().map(|()| message)) {
                Ok(message) => {
                    pending.carried.push((index, message.id()));
                    messages.push(message);
                }
                Err(refusal) => pending.refuse(index, refusal),
            }
        }
        pending.hand_over(&messages);
        pending
    }

    /// The same of elements of which none has been refused.
    pub(crate) fn send_all<M: Message>(&self, messages: Vec<M>) -> Pending<'_> {
        if messages.iter().any(|message| message.fits().is_err()) {
            return self.send(messages.into_iter().map(Ok));
        }
        let ids = messages.iter().map(Message::id).enumerate();
        let mut pending = self.pending(ids.collect());
        pending.hand_over(&messages);
        pending
    }

    fn pending(&self, carried: Vec<(usize, Uuid)>) -> Pending<'_> {
        Pending { publisher: self, carried, lost: None, errors: Vec::new(), turned_away: None }
    }

    /// From here on, an element is kept by Kafka or by the spool, or its number is void.
    fn carry<M: Message>(&self, way: Way, messages: &[M]) -> oneshot::Receiver<Vec<u32>> {
        let numbered = self.ledger.as_ref().map(|ledger| (ledger.clone(), ledger.open(messages.len())));
        let lent = if let Way::Kafka { lent } = way { lent } else { 0 };
        let account = Account { topic: self.topic, numbered, lent, counters: Some(self.counters) };
        let (batch, lost) = Batch::new(account, self.road.spool.clone(), messages.len());
        self.road.carry(way, messages, &batch);
        lost
    }
}

impl Pending<'_> {
    fn hand_over<M: Message>(&mut self, messages: &[M]) {
        if messages.is_empty() {
            return;
        }
        let room = messages.iter().map(|message| message.room() as u64).sum();
        match self.publisher.road.admit(room) {
            Ok(way) => self.lost = Some(self.publisher.carry(way, messages)),
            Err(problem) => self.turn_away(problem),
        }
    }

    /// Waits until each element is kept or lost. Bounded by Kafka's deadline and a sync of the spool. A client
    /// that does not wait changes nothing.
    pub(crate) async fn answer(mut self) -> Response {
        let mut accepted = 0;
        if let Some(lost) = self.lost.take() {
            // A batch that ends without a word has kept nothing that we know of.
            let lost = lost.await.unwrap_or_else(|_| (0..).take(self.carried.len()).collect());
            accepted = self.carried.len() - lost.len();
            for place in lost {
                let (index, id) = self.carried[place as usize];
                self.refuse(index, not_kept(id));
            }
        }
        self.errors.sort_by_key(|error| error.index);
        match self.turned_away {
            Some(problem) if accepted == 0 => problem.into_response(),
            _ => respond(BatchAnswer { accepted, errors: self.errors }),
        }
    }

    fn turn_away(&mut self, problem: Problem) {
        for (index, id) in std::mem::take(&mut self.carried) {
            self.refuse(index, Refusal { detail: problem.detail.clone(), ..not_kept(id) });
        }
        self.turned_away = Some(problem);
    }

    fn refuse(&mut self, index: usize, refusal: Refusal) {
        self.publisher.counters.refused(refusal.kind);
        self.errors.push(refusal.at(index));
    }
}

/// Both have failed. Kafka may have the element all the same and could not say so; the sink filters
/// what comes twice by its id.
fn not_kept(id: Uuid) -> Refusal {
    Refusal {
        id: Some(id.to_string()),
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "unavailable",
        field: None,
        detail: "neither kafka nor the spool could keep it; send it again with the same id".into(),
    }
}

/// The answer to a single event, which is what most requests are.
const ONE: &str = "{\"accepted\":1,\"errors\":[]}";

/// 202, 207 or 400 with the answer; 503 when nothing was accepted but may be when it is sent again.
fn respond(answer: BatchAnswer) -> Response {
    let status = match (answer.accepted, answer.errors.len()) {
        (_, 0) => StatusCode::ACCEPTED,
        (0, _) if answer.errors.iter().any(|error| error.retryable) => {
            let detail = "neither kafka nor the spool could keep the elements; send them again with the same ids";
            return Problem::unavailable(detail, 2).into_response();
        }
        (0, _) => StatusCode::BAD_REQUEST,
        _ => StatusCode::MULTI_STATUS,
    };
    let mut response = Response::new(match status {
        StatusCode::ACCEPTED if answer.accepted == 1 => Body::from(ONE),
        _ => Body::from(serde_json::to_vec(&answer).expect("an answer is numbers and texts")),
    });
    *response.status_mut() = status;
    // With room for what else it is to tell, so that none of it is moved.
    let headers = response.headers_mut();
    headers.reserve(6);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_answer_is_written_as_any_other() {
        assert_eq!(serde_json::to_string(&BatchAnswer { accepted: 1, errors: Vec::new() }).unwrap(), ONE);
    }
}
