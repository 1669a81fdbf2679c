//! Batches of delivery records on their way to ingest.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use service::backoff::Backoff;
use service::client::ApiClient;
use service::health::Status;
use service::{Health, Shutdown};
use tokio::sync::mpsc::Receiver;
use wire::delivery::{Delivery, DeliveryBatch};
use wire::{EdgeId, PopId};

use super::Record;
use crate::metrics::Metrics;

/// Records of a batch, and how long the first of them waits for more.
const BATCH: usize = 500;
const LINGER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Sender {
    pub edge: EdgeId,
    pub pop: PopId,
    /// Full URL of ingest's `POST /v1/deliveries`.
    pub url: String,
    pub client: ApiClient,
    pub health: Health,
    pub metrics: Arc<Metrics>,
}

enum Verdict {
    Taken,
    /// Ingest will not take it however often it is sent.
    Refused(String),
    Again(String),
}

impl Sender {
    /// Sends until the queue is closed and empty, or until `give_up`.
    pub async fn run(self, mut queue: Receiver<Record>, give_up: Shutdown) {
        while let Some(batch) = self.collect(&mut queue).await {
            tokio::select! {
                () = self.deliver(&batch) => {}
                () = give_up.cancelled() => {
                    let lost = batch.deliveries.len() + queue.len();
                    self.metrics.deliveries_lost.increment(lost as u64);
                    tracing::error!(lost, "delivery records are lost: ingest did not take them in time");
                    return;
                }
            }
        }
    }

    async fn collect(&self, queue: &mut Receiver<Record>) -> Option<DeliveryBatch> {
        let mut deliveries = Vec::new();
        while deliveries.is_empty() {
            deliveries.extend(self.delivery(queue.recv().await?));
        }
        let due = tokio::time::Instant::now() + LINGER;
        while deliveries.len() < BATCH {
            match tokio::time::timeout_at(due, queue.recv()).await {
                Ok(Some(record)) => deliveries.extend(self.delivery(record)),
                Ok(None) | Err(_) => break,
            }
        }
        Some(DeliveryBatch { deliveries })
    }

    fn delivery(&self, record: Record) -> Option<Delivery> {
        let delivery = record.into_delivery(&self.edge, &self.pop);
        self.metrics.deliveries_unnamed.increment(u64::from(delivery.is_none()));
        delivery
    }

    /// Tries until ingest has taken or refused the batch.
    async fn deliver(&self, batch: &DeliveryBatch) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let records = batch.deliveries.len() as u64;
        loop {
            match self.send(batch).await {
                Verdict::Taken => {
                    self.health.set("ingest", Status::Ok);
                    return self.metrics.deliveries_sent.increment(records);
                }
                Verdict::Refused(words) => {
                    tracing::error!(records, words, "ingest refused delivery records");
                    return self.metrics.deliveries_refused.increment(records);
                }
                Verdict::Again(words) => {
                    let reason =
                        format!("delivery records wait in memory and are lost beyond {}: {words}", super::QUEUE);
                    self.health.set("ingest", Status::Degraded(reason));
                    backoff.wait().await;
                }
            }
        }
    }

    async fn send(&self, batch: &DeliveryBatch) -> Verdict {
        let answer = match self.client.send_json(Method::POST, &self.url, batch).await {
            Ok(answer) => answer,
            Err(error) => return Verdict::Again(error.root_cause().to_string()),
        };
        let status = answer.status;
        if status.is_success() {
            return Verdict::Taken;
        }
        // A wrong token is the operator's to put right; the records are good.
        let passing = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        let soon = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        let again = !status.is_client_error() || passing.contains(&status) || soon.contains(&status);
        let words = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
        if again {
            Verdict::Again(format!("it answered {status}"))
        } else {
            Verdict::Refused(format!("{status}: {words}"))
        }
    }
}
