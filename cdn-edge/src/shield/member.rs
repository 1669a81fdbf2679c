//! Another edge that may be asked: where it is, how much of ours it has to do, and whether it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderValue, StatusCode};
use service::client::ApiClient;
use service::health::Status;
use service::{Health, Shutdown};
use tokio::sync::watch;
use wire::EdgeId;

use crate::seal::EDGE;

/// Between two probes, and how long one may take. Two that fail one after another leave an edge out: at most
/// 0.9 s after it has gone.
const EVERY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_millis(350);

/// A probe that took so much longer than it may says that we have no time ourselves, and nothing of the other
/// edge; for so many rounds that is believed.
const LATE: Duration = Duration::from_millis(150);
const LATE_ROUNDS: u32 = 3;

#[derive(Debug)]
pub struct Member {
    pub id: EdgeId,
    pub scheme: Scheme,
    pub authority: Authority,
    /// Requests of ours that it has not answered to the end.
    load: AtomicUsize,
    up: watch::Sender<bool>,
}

/// One of its requests, for as long as it lives.
#[derive(Debug)]
pub struct Busy(Arc<Member>);

impl Busy {
    #[must_use]
    pub fn edge(&self) -> Arc<Member> {
        self.0.clone()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Relaxed);
    }
}

impl Member {
    /// # Errors
    /// When the URL names no server.
    pub fn new(id: &EdgeId, url: &str) -> anyhow::Result<Self> {
        let parts = url.parse::<Uri>().with_context(|| format!("the edge {url} is no URL"))?.into_parts();
        let scheme = parts.scheme.with_context(|| format!("the edge {url} has no scheme"))?;
        let authority = parts.authority.with_context(|| format!("the edge {url} has no host"))?;
        Ok(Self { id: id.clone(), scheme, authority, load: AtomicUsize::new(0), up: watch::Sender::new(true) })
    }

    #[must_use]
    pub fn load(&self) -> usize {
        self.load.load(Relaxed)
    }

    #[must_use]
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.load.fetch_add(1, Relaxed);
        Busy(self.clone())
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// A request has found it gone; the next probe that it answers brings it back.
    pub fn is_gone(&self) {
        self.up.send_replace(false);
    }

    /// Returns once it is found to be gone.
    pub async fn gone(&self) {
        // The sender is ours, so it is not dropped while we wait.
        let _ = self.up.subscribe().wait_for(|up| !up).await;
    }

    /// Asks it again and again whether it is there, and knows us by what `sign` gives for a path.
    pub async fn watch(
        self: Arc<Self>,
        sign: impl Fn(&str) -> HeaderValue + Send + 'static,
        health: Health,
        ended: Shutdown,
    ) {
        let client = ApiClient::new(PATIENCE);
        let url = format!("{}://{}{PING}", self.scheme, self.authority);
        let component: &'static str = "shield";
        let (mut since, mut late) = (Instant::now(), 0);
        while ended.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let client = client.clone().with_header(EDGE, sign(PING));
            let mut said = ping(&client, &url).await;
            if said == Said::Nothing {
                said = ping(&client, &url).await;
            }
            let answers = said == Said::Yes;
            late = if since.elapsed() > EVERY + 2 * PATIENCE + LATE { late + 1 } else { 0 };
            since = Instant::now();
            if said == Said::Nothing && (1..=LATE_ROUNDS).contains(&late) {
                continue;
            }
            let before = self.up.send_replace(answers);
            if answers != before {
                tracing::info!(edge.id = %self.id, answers, "another edge is left out, or asked again");
            }
            if !answers {
                let why = match said {
                    Said::Stranger => "does not know us: auth.admin_token or the clock differs; it",
                    Said::Yes | Said::Nothing => "does not answer and",
                };
                let words = format!("{} {why} is left out", self.id);
                health.set(component, Status::Degraded(words));
            } else if !before {
                health.set(component, Status::Ok);
            }
        }
    }
}

const PING: &str = "/.tonearm/ping";

/// To a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Yes,
    /// It takes us for nobody of its fleet.
    Stranger,
    Nothing,
}

async fn ping(client: &ApiClient, url: &str) -> Said {
    match client.get(url).await {
        Ok(answer) if answer.status.is_success() => Said::Yes,
        Ok(answer) if answer.status == StatusCode::FORBIDDEN => Said::Stranger,
        Ok(_) | Err(_) => Said::Nothing,
    }
}
