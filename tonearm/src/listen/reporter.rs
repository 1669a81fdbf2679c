//! Posting play events: in the background, in batches, again until they are accepted.

use std::time::Duration;

use anyhow::{anyhow, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use service::backoff::Backoff;
use service::client::ApiClient;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wire::Timestamp;
use wire::event::{BatchAnswer, Event};

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
        match post(&api, &url, &mut batch).await {
            Ok(answer) => {
                reported.accepted += answer.accepted;
                reported.lost.extend(answer.errors.into_iter().map(|e| e.detail));
            }
            Err(error) => reported.lost.extend(batch.iter().map(|_| format!("{error:#}"))),
        }
        batch.clear();
    }
    reported
}

/// Sending the same events again is safe: each has its id.
async fn post(api: &ApiClient, url: &str, batch: &mut [Event]) -> anyhow::Result<BatchAnswer> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let now = Timestamp::now();
        batch.iter_mut().for_each(|event| event.sent_at = Some(now));
        let body: Bytes = serde_json::to_vec(batch)?.into();
        let failure = match api.send(Method::POST, url, Some(("application/json", body))).await {
            Ok(answer) if transient(answer.status) => anyhow!("ingest answered {}", answer.status),
            Ok(answer) if answer.status == StatusCode::BAD_REQUEST => return answer.json(),
            Ok(answer) => return answer.success()?.json(),
            Err(error) => error,
        };
        if backoff.attempts() >= TRIES {
            bail!("gave up after {TRIES} tries: {failure:#}");
        }
        backoff.wait().await;
    }
}

fn transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}
