//! Posting play events: in the background, in batches, again until they are accepted.

use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use http::{Method, StatusCode};
use service::backoff::Backoff;
use service::client::ApiClient;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wire::Timestamp;
use wire::event::{BatchAnswer, ElementError, Event};

/// Events that wait to be posted; a player that is further behind than this waits.
const WAITING: usize = 256;
/// About a minute of trying, beyond which the player says what it lost.
const TRIES: u32 = 10;

/// What became of a play's events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) accepted: usize,
    /// Refused by ingest or never answered, each with the reason.
    pub(crate) lost: Vec<String>,
}

/// Takes events and posts them behind the player's back.
#[derive(Debug)]
pub(crate) struct Reporter {
    events: mpsc::Sender<Event>,
    task: JoinHandle<Reported>,
}

impl Reporter {
    pub(crate) fn start(api: ApiClient, ingest: &str) -> Self {
        let (events, waiting) = mpsc::channel(WAITING);
        let url = format!("{ingest}/v1/events");
        Self { events, task: tokio::spawn(post_all(api, url, waiting)) }
    }

    pub(crate) async fn send(&self, event: Event) {
        // The task ends only once this sender is gone, so there is always a receiver.
        let _ = self.events.send(event).await;
    }

    /// Waits until everything has been posted.
    pub(crate) async fn finish(self) -> Reported {
        drop(self.events);
        self.task.await.unwrap_or_default()
    }
}

async fn post_all(api: ApiClient, url: String, mut waiting: mpsc::Receiver<Event>) -> Reported {
    let mut reported = Reported::default();
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, WAITING).await > 0 {
        post(&api, &url, &mut batch, &mut reported).await;
        batch.clear();
    }
    reported
}

/// Posts until every event is accepted or refused for good. Sending the same events again is safe: each
/// has its id.
async fn post(api: &ApiClient, url: &str, batch: &mut Vec<Event>, reported: &mut Reported) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let failure = match post_once(api, url, batch).await {
            Ok(answer) => {
                take(answer, batch, reported);
                "ingest refused some for the moment".to_owned()
            }
            Err(error) => format!("{error:#}"),
        };
        if batch.is_empty() {
            return;
        }
        if backoff.attempts() == 0 {
            tracing::warn!(error = failure, "events are not accepted; trying for about a minute");
        }
        if backoff.attempts() >= TRIES {
            reported.lost.extend(batch.iter().map(|_| format!("gave up after {TRIES} tries: {failure}")));
            return;
        }
        backoff.wait().await;
    }
}

/// An answer that speaks of each event, or why there is none.
async fn post_once(api: &ApiClient, url: &str, batch: &mut [Event]) -> anyhow::Result<BatchAnswer> {
    let now = Timestamp::now();
    batch.iter_mut().for_each(|event| event.sent_at = Some(now));
    let body: Bytes = serde_json::to_vec(batch)?.into();
    let answer = api.send(Method::POST, url, Some(("application/json", body))).await?;
    if transient(answer.status) {
        bail!("ingest answered {}", answer.status);
    }
    match answer.json() {
        Ok(answer) => Ok(answer),
        // Not a word of the events: a wrong key, a body that is too large. It will not get better.
        Err(_) => {
            let detail = String::from_utf8_lossy(&answer.body).into_owned();
            let error = |index| ElementError {
                index,
                event_id: None,
                status: answer.status.as_u16(),
                problem_type: String::new(),
                field: None,
                detail: detail.clone(),
                retryable: false,
            };
            Ok(BatchAnswer { accepted: 0, errors: (0..batch.len()).map(error).collect() })
        }
    }
}

/// Leaves in the batch what is to be sent again.
fn take(answer: BatchAnswer, batch: &mut Vec<Event>, reported: &mut Reported) {
    reported.accepted += answer.accepted;
    let (again, lost): (Vec<_>, Vec<_>) = answer.errors.into_iter().partition(|error| error.retryable);
    reported.lost.extend(lost.into_iter().map(|error| error.detail));
    let again: Vec<usize> = again.into_iter().map(|error| error.index).collect();
    let mut index = 0..;
    batch.retain(|_| index.next().is_some_and(|index| again.contains(&index)));
}

fn transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}
