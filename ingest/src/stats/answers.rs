//! Answers that are kept: fresh ones are given again, many who ask the same wait for one query, and
//! while ClickHouse is away or slow the last one is given and says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use moka::Expiry;
use moka::sync::Cache;
use service::health::Status;
use service::{Health, Problem};
use tokio::time::Instant;
use wire::Timestamp;

use super::metrics;
use super::questions::Question;
use super::store::{Store, Trouble};

const COMPONENT: &str = "statistics";
/// How long a new answer is waited for where there is an old one.
const PATIENCE: Duration = Duration::from_secs(1);
/// After a failure the same question is not asked again for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// Different questions under way; further ones are refused, or get an old answer.
const MOST_FLIGHTS: usize = 64;
/// What an entry takes beside its answer, roughly.
const ENTRY: usize = 512;

/// One answer of ClickHouse.
#[derive(Debug)]
pub(super) struct Kept {
    /// A JSON object.
    pub(super) data: Bytes,
    /// When ClickHouse was asked.
    pub(super) as_of: Timestamp,
    asked: Instant,
}

impl Kept {
    pub(super) fn age(&self) -> Duration {
        self.asked.elapsed()
    }
}

/// How an answer was come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    Hit,
    Asked,
    /// It is older than it should be, for this reason.
    Stale(Trouble),
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kept: Arc<Kept>,
    pub(super) how: How,
}

type Asked = Result<Arc<Kept>, Trouble>;
type Flight = Shared<BoxFuture<'static, Asked>>;

pub(super) struct Answers {
    store: Store,
    health: Health,
    kept: Cache<Question, Arc<Kept>>,
    failed: Cache<Question, Trouble>,
    flights: Mutex<HashMap<Question, Flight>>,
}

impl Answers {
    /// Keeps at most `most_bytes` of answers, each at most for `stale_for`.
    pub(super) fn new(store: Store, health: Health, most_bytes: u64, stale_for: Duration) -> Arc<Self> {
        let weigh = |question: &Question, kept: &Arc<Kept>| {
            u32::try_from(kept.data.len() + question.size() + ENTRY).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().max_capacity(most_bytes).weigher(weigh).expire_after(Lifetime(stale_for)).build();
        let failed = Cache::builder().max_capacity(1_000).time_to_live(PAUSE).build();
        Arc::new(Self { store, health, kept, failed, flights: Mutex::default() })
    }

    /// # Errors
    /// 503 when there is no answer, not even an old one.
    pub(super) async fn get(self: &Arc<Self>, question: Question) -> Result<Answer, Problem> {
        let old = self.kept.get(&question);
        if let Some(kept) = old.as_ref().filter(|kept| kept.age() < question.fresh_for()) {
            return Ok(counted(Answer { kept: kept.clone(), how: How::Hit }));
        }
        let patience = if old.is_some() { PATIENCE } else { self.store.patience() };
        let asked = match self.join(question) {
            Ok(flight) => tokio::time::timeout(patience, flight).await.unwrap_or(Err(Trouble::Slow)),
            Err(trouble) => Err(trouble),
        };
        match (asked, old) {
            (Ok(kept), _) => Ok(counted(Answer { kept, how: How::Asked })),
            (Err(trouble), Some(kept)) => Ok(counted(Answer { kept, how: How::Stale(trouble) })),
            (Err(trouble), None) => {
                metrics::answer("none");
                Err(Problem::unavailable(format!("there is no answer yet: {trouble}"), 2))
            }
        }
    }

    /// The query for this question: the one under way, or a new one. It goes on when whoever asked leaves.
    fn join(self: &Arc<Self>, question: Question) -> Result<Flight, Trouble> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&question) {
            return Ok(flight.clone());
        }
        // One that has just landed; looked at under the lock, so that there is never a second query.
        if let Some(kept) = self.kept.get(&question).filter(|kept| kept.age() < question.fresh_for()) {
            return Ok(futures_util::future::ready(Ok(kept)).boxed().shared());
        }
        if let Some(trouble) = self.failed.get(&question) {
            return Err(trouble);
        }
        if flights.len() >= MOST_FLIGHTS {
            return Err(Trouble::Busy);
        }
        let asking = tokio::spawn(self.clone().ask(question.clone()));
        let landed = asking.map(|asked| asked.unwrap_or_else(|_| Err(Trouble::Failed("the query broke off".into()))));
        let flight = landed.boxed().shared();
        flights.insert(question, flight.clone());
        Ok(flight)
    }

    async fn ask(self: Arc<Self>, question: Question) -> Asked {
        let _landing = Landing(&self, &question);
        let (as_of, asked) = (Timestamp::now(), Instant::now());
        let answer = question.ask(&self.store).await;
        metrics::QUERY.histogram(&[("question", question.name().to_owned())]).record(asked.elapsed());
        match answer {
            Ok(data) => {
                let kept = Arc::new(Kept { data, as_of, asked });
                self.kept.insert(question.clone(), kept.clone());
                self.failed.invalidate(&question);
                self.health.set(COMPONENT, Status::Ok);
                Ok(kept)
            }
            Err(trouble) => {
                self.failed.insert(question.clone(), trouble.clone());
                // Being busy is no news of ClickHouse.
                if trouble != Trouble::Busy {
                    self.health.set(COMPONENT, Status::Degraded(format!("answers may be old: {trouble}")));
                }
                Err(trouble)
            }
        }
    }
}

/// How long answers are kept at most.
struct Lifetime(Duration);

impl Expiry<Question, Arc<Kept>> for Lifetime {
    fn expire_after_create(&self, question: &Question, _: &Arc<Kept>, _: std::time::Instant) -> Option<Duration> {
        Some(question.stale_for(self.0))
    }

    fn expire_after_update(
        &self,
        question: &Question,
        _: &Arc<Kept>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(question.stale_for(self.0))
    }
}

/// Takes the flight off the list, also when it panics.
struct Landing<'a>(&'a Answers, &'a Question);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(self.1);
    }
}

fn counted(answer: Answer) -> Answer {
    metrics::answer(match answer.how {
        How::Hit => "hit",
        How::Asked => "asked",
        How::Stale(_) => "stale",
    });
    answer
}
