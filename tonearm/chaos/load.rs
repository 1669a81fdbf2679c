//! Players and edges that send everything until it is accepted, and remember what was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use service::client::{Answer, ApiClient};
use tokio::sync::{Mutex, RwLock, watch};
use tokio::task::JoinSet;
use uuid::Uuid;
use wire::Timestamp;
use wire::event::BatchAnswer;

use crate::memory::{Memory, Total};
use crate::site::Site;
use crate::support::stack::{ADMIN_TOKEN, WRITE_KEY};

const PLAYERS: u64 = 3;
/// Sessions of each player; Kafka's partition goes by the session, which an event keeps when it is sent again.
const SESSIONS: u64 = 24;
/// Shorter than ingest may take for its answer, so that what is sent again races what is on its way.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(150);
/// From the end of the blows until the last batch is accepted.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Events,
    Deliveries,
}

/// Goes on until it is dropped, except while it rests.
pub(crate) struct Load {
    pub(crate) events: Arc<Memory>,
    pub(crate) deliveries: Arc<Memory>,
    running: watch::Sender<bool>,
    /// Read-locked by each sender while it sends.
    busy: Arc<RwLock<()>>,
    senders: Mutex<JoinSet<()>>,
}

struct Sender {
    what: What,
    api: ApiClient,
    url: watch::Receiver<String>,
    memory: Arc<Memory>,
    random: StdRng,
    running: watch::Receiver<bool>,
    busy: Arc<RwLock<()>>,
}

struct Batch {
    ids: Vec<Uuid>,
    body: Value,
}

impl Load {
    pub(crate) fn start(site: &Site, seed: u64) -> Self {
        let (events, deliveries) = (Arc::<Memory>::default(), Arc::<Memory>::default());
        let (running, busy) = (watch::Sender::new(false), Arc::default());
        let mut senders = JoinSet::new();
        for number in 0..=PLAYERS {
            let what = if number == PLAYERS { What::Deliveries } else { What::Events };
            let key = if what == What::Events { WRITE_KEY } else { ADMIN_TOKEN };
            let memory = if what == What::Events { &events } else { &deliveries };
            let sender = Sender {
                what,
                api: ApiClient::new(TIMEOUT).with_bearer(key),
                url: site.url(),
                memory: memory.clone(),
                random: StdRng::seed_from_u64(seed.wrapping_add(1 + number)),
                running: running.subscribe(),
                busy: Arc::clone(&busy),
            };
            senders.spawn(sender.send());
        }
        Self { events, deliveries, running, busy, senders: Mutex::new(senders) }
    }

    pub(crate) fn run(&self) {
        self.running.send_replace(true);
    }

    /// Returns when every batch that was begun is accepted or given up.
    pub(crate) async fn rest(&self) {
        self.running.send_replace(false);
        let all = tokio::time::timeout(PATIENCE, self.busy.write()).await;
        drop(all.unwrap_or_else(|_| panic!("a batch was not accepted within {PATIENCE:?} of the last blow")));
        if let Some(ended) = self.senders.lock().await.try_join_next() {
            panic!("a sender ended: {ended:?}");
        }
    }

    pub(crate) fn total(&self) -> String {
        let Total { accepted, .. } = self.deliveries.total();
        format!("events: {}; deliveries: {accepted} accepted", self.events.total())
    }
}

impl Sender {
    async fn send(mut self) {
        while self.running.wait_for(|running| *running).await.is_ok() {
            let busy = Arc::clone(&self.busy);
            let turn = busy.read().await;
            // The rest may have begun while we waited for our turn.
            if !*self.running.borrow() {
                continue;
            }
            let batch = self.batch();
            self.deliver(&batch).await;
            drop(turn);
            tokio::time::sleep(Duration::from_millis(self.random.random_range(5..60))).await;
        }
    }

    async fn deliver(&mut self, batch: &Batch) {
        let since = Instant::now();
        while !self.attempt(batch).await {
            self.memory.failed();
            // A player that was closed, or an edge that died: what it sent may be stored or not.
            if self.random.random_bool(0.03) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "a batch was refused for {PATIENCE:?}");
            tokio::time::sleep(PAUSE).await;
        }
        // Its answer was lost on the way, say.
        if self.random.random_bool(0.1) {
            self.memory.again();
            self.attempt(batch).await;
        }
    }

    /// Whether all of it was accepted.
    async fn attempt(&mut self, batch: &Batch) -> bool {
        self.memory.sent(&batch.ids);
        let path = if self.what == What::Events { "events" } else { "deliveries" };
        let url = format!("{}/v1/{path}", *self.url.borrow());
        let Ok(answer) = self.api.send_json(Method::POST, &url, &batch.body).await else { return false };
        match answer.status {
            StatusCode::ACCEPTED => {
                self.memory.accepted(&batch.ids);
                true
            }
            StatusCode::MULTI_STATUS => {
                self.memory.accepted(&accepted(batch, &answer));
                false
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => false,
            other => panic!("{other} to a good batch: {:?}", answer.body),
        }
    }

    fn batch(&mut self) -> Batch {
        let n = if self.random.random_bool(0.2) { 1 } else { self.random.random_range(1..120) };
        let ids: Vec<Uuid> = (0..n).map(|_| Uuid::now_v7()).collect();
        let elements: Vec<Value> = ids.iter().map(|id| self.element(*id)).collect();
        let body = if self.what == What::Events { json!(elements) } else { json!({ "deliveries": elements }) };
        Batch { ids, body }
    }

    fn element(&mut self, id: Uuid) -> Value {
        let (pop, edge) = [("fra", "fra-1"), ("fra", "fra-2"), ("waw", "waw-1")][self.random.random_range(0..3)];
        let track = format!("trk-{}", self.random.random_range(0..40));
        let now = Timestamp::now();
        if self.what == What::Deliveries {
            return json!({
                "delivery_id": id, "decision_id": null, "edge_id": edge, "pop": pop, "key": format!("{track}/1.m4s"),
                "method": "GET", "status": 206, "cache_status": "hit", "range_start": 0, "bytes_sent": 48_000,
                "object_bytes": 96_000, "ttfb_us": 300, "duration_us": 9_000, "complete": true, "started_at": now,
                "client_net": "192.0.2.0/24"
            });
        }
        let kind = ["play_start", "progress", "progress", "stall", "complete", "skip"][self.random.random_range(0..6)];
        let session = self.random.random_range(0..SESSIONS);
        json!({
            "event_id": id, "type": kind, "session_id": format!("session-{session}"), "track_id": track,
            "play_id": format!("play-{session}-{track}"), "user_id": format!("user-{}", session % 7),
            "client_ts": now, "sent_at": now, "position_ms": 31_000, "played_ms": self.random.random_range(0..60_000),
            "stall_ms": if kind == "stall" { json!(120) } else { Value::Null }, "bitrate_kbps": 128,
            "device": "Pixel 9", "pop": pop, "edge_id": edge
        })
    }
}

/// Of a batch with refusals, the ids that have none.
fn accepted(batch: &Batch, answer: &Answer) -> Vec<Uuid> {
    let refused: BatchAnswer = answer.json().unwrap();
    assert!(refused.errors.iter().all(|error| error.retryable), "a good element was refused: {:?}", refused.errors);
    let is_accepted = |index: &usize| refused.errors.iter().all(|error| error.index != *index);
    (0..batch.ids.len()).filter(is_accepted).map(|index| batch.ids[index]).collect()
}
