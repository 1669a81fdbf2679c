//! Kept delivery records on their way to ingest: in order, each batch settled whole before the next.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use service::backoff::Backoff;
use service::client::{Answer, ApiClient};
use service::health::Status;
use service::journal::Chunk;
use service::{Health, Shutdown};
use tokio::sync::mpsc;
use wire::event::BatchAnswer;

use super::keeper::Spool;
use crate::metrics::Metrics;

/// Bytes of a batch: some 600 records. So many may be sent again after a kill.
const BATCH: usize = 256 << 10;
/// How long the first of a batch waits for more.
const LINGER: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Sender {
    pub spool: Arc<Spool>,
    /// Records that the disk does not take; closed once no more are made.
    pub direct: mpsc::Receiver<Vec<Bytes>>,
    /// Full URL of ingest's `POST /v1/deliveries`.
    pub url: String,
    pub client: ApiClient,
    pub health: Health,
    pub metrics: Arc<Metrics>,
}

/// What became of a batch at ingest.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Those at these places are to be sent again, and so many will never be taken.
    Told {
        again: Vec<usize>,
        refused: usize,
    },
    /// They are too many at a time.
    TooLarge,
    Again(String),
}

impl Sender {
    /// Sends until no more records are made and all are sent, or until `give_up`; what is left then lies on disk.
    pub async fn run(mut self, give_up: Shutdown) {
        if give_up.run_until_cancelled(self.send_all()).await.is_none() {
            let records = self.spool.journal.waiting();
            tracing::warn!(records, "delivery records wait on disk: ingest did not take them in time");
            while let Some(unkept) = self.direct.recv().await {
                self.metrics.deliveries_lost.increment(unkept.len() as u64);
            }
        }
    }

    async fn send_all(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut over = false;
        loop {
            match self.read().await {
                Ok(Some(chunk)) => {
                    self.drain(chunk).await;
                    backoff.reset();
                }
                Ok(None) if over => return,
                Ok(None) => over = self.more().await,
                Err(error) => {
                    tracing::error!(%error, "the spool of delivery records cannot be read; it is tried again");
                    backoff.wait().await;
                }
            }
        }
    }

    /// Waits for records; true once there will be no more.
    async fn more(&mut self) -> bool {
        tokio::select! {
            direct = self.direct.recv() => match direct {
                Some(payloads) => {
                    self.deliver(&payloads).await;
                    false
                }
                None => true,
            },
            () = self.spool.readable.notified() => {
                tokio::time::sleep(LINGER).await;
                false
            }
        }
    }

    async fn read(&self) -> std::io::Result<Option<Chunk>> {
        let spool = self.spool.clone();
        #[allow(clippy::cast_precision_loss, reason = "a gauge needs no more than 52 bits")]
        self.metrics.spooled.set(spool.journal.waiting() as f64);
        blocking(move || spool.journal.read(BATCH)).await
    }

    /// Sends what is a record, and moves on.
    async fn drain(&self, chunk: Chunk) {
        let payloads: Vec<Bytes> = chunk.records.iter().map(|record| record.payload.clone()).collect();
        if !payloads.is_empty() {
            self.deliver(&payloads).await;
        }
        let spool = self.spool.clone();
        let moved = blocking(move || settle(&spool, &chunk)).await;
        if let Err(error) = moved {
            tracing::error!(%error, "cannot note what ingest has; it is sent again, under the same ids");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Tries until ingest has said of each of them that it has it or never will.
    async fn deliver(&self, payloads: &[Bytes]) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut places: Vec<usize> = (0..payloads.len()).collect();
        let mut most = places.len();
        while !places.is_empty() {
            let rest = places.split_off(places.len().min(most));
            match self.send(payloads, &places).await {
                Verdict::Told { again, refused } => {
                    let (sent, left) = (places.len() - again.len() - refused, again.len());
                    self.metrics.deliveries_sent.increment(sent as u64);
                    self.metrics.deliveries_refused.increment(refused as u64);
                    places = again.into_iter().map(|at| places[at]).collect();
                    if left > 0 {
                        self.wait(&mut backoff, "it keeps a part of them only").await;
                    }
                }
                Verdict::TooLarge if places.len() > 1 => most = places.len() / 2,
                Verdict::TooLarge => self.wait(&mut backoff, "one of them alone is too large for it").await,
                Verdict::Again(words) => self.wait(&mut backoff, &words).await,
            }
            places.extend(rest);
        }
        self.health.set("ingest", Status::Ok);
    }

    async fn wait(&self, backoff: &mut Backoff, words: &str) {
        self.health.set("ingest", Status::Degraded(format!("delivery records wait on disk: {words}")));
        backoff.wait().await;
    }

    async fn send(&self, payloads: &[Bytes], places: &[usize]) -> Verdict {
        let body = body(payloads, places);
        match self.client.send(Method::POST, &self.url, Some(("application/json", body))).await {
            Ok(answer) => verdict(&answer, places.len()),
            Err(error) => Verdict::Again(error.root_cause().to_string()),
        }
    }
}

/// `{"deliveries":[…]}` of records that are JSON already.
fn body(payloads: &[Bytes], places: &[usize]) -> Bytes {
    let mut body = b"{\"deliveries\":[".to_vec();
    for (count, place) in places.iter().enumerate() {
        body.extend_from_slice(if count == 0 { b"" } else { b"," });
        body.extend_from_slice(&payloads[*place]);
    }
    body.extend_from_slice(b"]}");
    body.into()
}

/// Only what is said of each of so many records settles them: whatever else answers in ingest's place, a portal or a
/// proxy with a limit, is for the operator to put right, and the records are good.
fn verdict(answer: &Answer, records: usize) -> Verdict {
    let status = answer.status;
    if (status.is_success() || status == StatusCode::BAD_REQUEST)
        && let Ok(told) = answer.json::<BatchAnswer>()
        && let Some(verdict) = of_each(&told, records)
    {
        return verdict;
    }
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge,
        status if status.is_success() => Verdict::Again(format!("it answered {status}, and not as ingest does")),
        status => Verdict::Again(format!("it answered {status}")),
    }
}

/// None where it is not about so many records.
fn of_each(told: &BatchAnswer, records: usize) -> Option<Verdict> {
    let places: BTreeSet<usize> = told.errors.iter().map(|error| error.index).filter(|at| *at < records).collect();
    if places.len() != told.errors.len() || told.accepted + places.len() != records {
        return None;
    }
    for error in told.errors.iter().filter(|error| !error.retryable) {
        tracing::error!(field = error.field, detail = error.detail, "ingest refused a delivery record for good");
    }
    let again: Vec<usize> = told.errors.iter().filter(|error| error.retryable).map(|error| error.index).collect();
    let refused = told.errors.len() - again.len();
    Some(Verdict::Told { again, refused })
}

/// Sets aside what is no record and notes how far ingest has it.
fn settle(spool: &Spool, chunk: &Chunk) -> std::io::Result<()> {
    for (offset, bytes) in &chunk.damage {
        spool.journal.folder().set_aside(chunk.to.segment, *offset, bytes)?;
        tracing::error!(
            offset,
            bytes = bytes.len(),
            "bytes of the spool are no record; they lie in its folder damaged/"
        );
    }
    spool.journal.advance(chunk.to, chunk.records.len() as u64)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To a batch of three.
    fn answered(status: u16, body: &str) -> Verdict {
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        verdict(&Answer { status, headers: http::HeaderMap::new(), body }, 3)
    }

    #[test]
    fn only_what_is_said_of_each_settles_it() {
        let error = |index: u32, retryable: bool| {
            format!(r#"{{"index":{index},"status":400,"type":"t","detail":"d","retryable":{retryable}}}"#)
        };
        let told =
            |accepted: u32, errors: &[String]| format!(r#"{{"accepted":{accepted},"errors":[{}]}}"#, errors.join(","));
        let mixed = told(1, &[error(0, false), error(2, true)]);
        assert_eq!(answered(207, &mixed), Verdict::Told { again: vec![2], refused: 1 });
        assert_eq!(answered(202, &told(3, &[])), Verdict::Told { again: vec![], refused: 0 });
        let none = told(0, &[error(0, false), error(1, false), error(2, false)]);
        assert_eq!(answered(400, &none), Verdict::Told { again: vec![], refused: 3 });
        for strange in [
            "".to_owned(),
            "{}".to_owned(),
            "<html>log in</html>".to_owned(),
            told(0, &[]),
            told(2, &[]),
            told(4, &[]),
            told(2, &[error(3, true)]),
            told(1, &[error(1, true), error(1, true)]),
        ] {
            for status in [200, 202, 204, 400] {
                assert!(matches!(answered(status, &strange), Verdict::Again(_)), "{status} {strange}");
            }
        }
        assert_eq!(answered(413, ""), Verdict::TooLarge);
        for again in [302, 401, 403, 404, 408, 415, 422, 429, 500, 503] {
            assert!(matches!(answered(again, ""), Verdict::Again(_)), "{again}");
        }
    }

    #[test]
    fn a_batch_is_put_together_of_what_is_left() {
        let payloads: Vec<Bytes> = ["1", "2", "3"].iter().map(|one| Bytes::from_static(one.as_bytes())).collect();
        assert_eq!(body(&payloads, &[0, 2]), r#"{"deliveries":[1,3]}"#);
    }
}
