//! The outbox: content events that were committed with their change, on their way to Kafka.
//!
//! A relay takes the oldest unsent event of each track, hands them to Kafka together, waits for every
//! acknowledgement and marks what was acknowledged, all in one transaction. An event whose track has
//! an older unsent one waits for the next round: so a failure in mid-batch, or a second relay that
//! skips what the first has locked, never lets a track's later event overtake its earlier one. (An
//! advisory lock a track would keep relays apart, but not the two halves of one batch.) Many tracks
//! go as one batch; one track goes one event a round trip.
//!
//! Ids of one track ascend in the order of its commits, because whoever writes an event holds the
//! track's row. Dying between the acknowledgement and the mark sends an event again, with its id.

mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use service::Shutdown;
use service::backoff::Backoff;
use service::health::{Health, Status};
use service::kafka::MESSAGE_TIMEOUT;
use sqlx::{FromRow, PgConnection, PgPool};
use tokio::sync::Notify;
use wire::content::ContentEvent;

use crate::metrics;
use crate::stored::in_time;

pub(crate) use upkeep::Upkeep;

/// Begins a round in which [`take`] walks the index of what is unsent and stops at its limit. A burst is
/// when the planner's statistics are stale: it would then join and sort everything that waits, for
/// every batch (200,000 waiting: 340 ms against 29 ms for 2,000 of them).
const BEGIN: &str = "BEGIN; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
                     SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off";

/// Writes an event into the transaction that changes its track, which must hold the track's row.
pub(crate) async fn add(tx: &mut PgConnection, event: &ContentEvent) -> Result<(), sqlx::Error> {
    let payload = serde_json::to_string(event).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    let sql = "INSERT INTO outbox (event_id, track_id, payload) VALUES ($1, $2, $3::json)";
    let insert = sqlx::query(sql).bind(event.event_id).bind(event.track_id.as_str()).bind(payload);
    insert.execute(tx).await.map(drop)
}

/// Why a round left events behind; they are taken again.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("cannot read or mark the outbox: {0}")]
    Database(#[from] sqlx::Error),
    #[error("Kafka did not acknowledge {unsent} event(s): {error}")]
    Kafka { unsent: usize, error: KafkaError },
}

/// Brings events to Kafka; any number may run side by side.
pub(crate) struct Relay {
    pub(crate) pool: PgPool,
    pub(crate) producer: FutureProducer,
    pub(crate) topic: String,
    pub(crate) batch: u32,
    pub(crate) poll: Duration,
    /// Told when this process has committed an event.
    pub(crate) wake: Arc<Notify>,
    pub(crate) health: Health,
}

#[derive(FromRow)]
struct Unsent {
    id: i64,
    track_id: String,
    payload: String,
}

impl Relay {
    /// Runs until the shutdown; a round that has begun is finished, within its bound.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !shutdown.is_cancelled() {
            let pause = match self.round().await {
                Ok(sent) => {
                    self.health.set("outbox", Status::Ok);
                    backoff.reset();
                    if sent > 0 { Duration::ZERO } else { self.poll }
                }
                Err(error) => {
                    metrics::outbox_failed();
                    self.health.set("outbox", Status::Degraded(format!("events wait: {error}")));
                    backoff.next_delay()
                }
            };
            self.idle(pause, backoff.attempts() == 0, &shutdown).await;
        }
    }

    /// Waits, for a new event at most; after a failure a new event does not make it better.
    async fn idle(&self, pause: Duration, wakeable: bool, shutdown: &Shutdown) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.wake.notified(), if wakeable => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// One batch; how many events it brought to Kafka.
    async fn round(&self) -> Result<usize, RelayError> {
        let mut tx = in_time(self.pool.begin_with(BEGIN)).await?;
        let events = in_time(take(&mut tx, self.batch)).await?;
        if events.is_empty() {
            in_time(tx.rollback()).await?;
            return Ok(0);
        }
        let (sent, failure) = self.send(&events).await;
        in_time(mark(&mut tx, &sent)).await?;
        in_time(tx.commit()).await?;
        metrics::outbox_sent(sent.len());
        match failure {
            Some(error) => Err(RelayError::Kafka { unsent: events.len() - sent.len(), error }),
            None => Ok(sent.len()),
        }
    }

    /// The ids that Kafka acknowledged, and the last failure. Bounded by [`MESSAGE_TIMEOUT`].
    async fn send(&self, events: &[Unsent]) -> (Vec<i64>, Option<KafkaError>) {
        let handed: Vec<_> = events.iter().map(|event| (event.id, self.hand_over(event))).collect();
        let (mut sent, mut failure) = (Vec::with_capacity(events.len()), None);
        for (id, delivery) in handed {
            match acknowledged(delivery).await {
                Ok(()) => sent.push(id),
                Err(error) => failure = Some(error),
            }
        }
        (sent, failure)
    }

    fn hand_over(&self, event: &Unsent) -> Result<DeliveryFuture, KafkaError> {
        let record = FutureRecord::to(&self.topic).key(&event.track_id).payload(&event.payload);
        self.producer.send_result(record).map_err(|(error, _)| error)
    }
}

/// `FOR UPDATE` reads on from the snapshot of the statement's start: an older event that another relay
/// is just marking still counts as unsent here, which errs on the side of waiting.
async fn take(tx: &mut PgConnection, limit: u32) -> Result<Vec<Unsent>, sqlx::Error> {
    let sql = "SELECT id, track_id, payload::text AS payload FROM outbox o
                WHERE sent_at IS NULL
                  AND NOT EXISTS (SELECT FROM outbox older WHERE older.track_id = o.track_id
                                     AND older.sent_at IS NULL AND older.id < o.id)
                ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED";
    sqlx::query_as(sql).bind(i64::from(limit)).fetch_all(tx).await
}

async fn mark(tx: &mut PgConnection, ids: &[i64]) -> Result<(), sqlx::Error> {
    let sql = "UPDATE outbox SET sent_at = clock_timestamp() WHERE id = ANY($1)
               RETURNING extract(epoch FROM clock_timestamp() - created_at)::float8";
    let waited: Vec<f64> = sqlx::query_scalar(sql).bind(ids).fetch_all(tx).await?;
    waited.into_iter().for_each(metrics::outbox_waited);
    Ok(())
}

async fn acknowledged(delivery: Result<DeliveryFuture, KafkaError>) -> Result<(), KafkaError> {
    // librdkafka reports within its message timeout; the rest guards against a client that died.
    match tokio::time::timeout(MESSAGE_TIMEOUT + Duration::from_secs(5), delivery?).await {
        Ok(Ok(Ok(_))) => Ok(()),
        Ok(Ok(Err((error, _)))) => Err(error),
        Ok(Err(_)) | Err(_) => Err(KafkaError::Canceled),
    }
}
