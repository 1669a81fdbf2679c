//! All objects that this edge can serve: those it holds and those it can get from the origin.

pub mod open;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::Handle;
use wire::{ObjectKey, Timestamp};

use crate::cache::Cache;
use crate::metrics::Metrics;
use crate::object::{Description, Life, Object};
use crate::origin::Origin;
use crate::{freshness, respond};
use open::Opening;

/// Keys remembered as missing; a crawler of missing ones pushes its own out.
const MISSING_KEYS: u64 = 10_000;

#[derive(Debug)]
pub struct Library {
    pub cache: Arc<Cache>,
    pub origin: Origin,
    pub metrics: Arc<Metrics>,
    /// Where fills run: the serving threads do nothing but serve.
    pub background: Handle,
    /// What is being asked of the origin for the first time or again, by key: at most one a key, each
    /// ends with the origin's timeouts, and each is waited for by a connection or a warm order.
    openings: Mutex<HashMap<String, Opening>>,
    missing: moka::sync::Cache<String, ()>,
    default_ttl: Duration,
}

impl Library {
    #[must_use]
    pub fn new(
        cache: Arc<Cache>,
        origin: Origin,
        metrics: Arc<Metrics>,
        background: Handle,
        default_ttl: Duration,
        negative_ttl: Duration,
    ) -> Self {
        let missing = moka::sync::Cache::builder().max_capacity(MISSING_KEYS).time_to_live(negative_ttl).build();
        Self { cache, origin, metrics, background, openings: Mutex::default(), missing, default_ttl }
    }

    /// The object, where it may be served without asking the origin.
    #[must_use]
    pub fn servable(&self, key: &str, now: Timestamp) -> Option<Arc<Object>> {
        self.cache.index.get(key).filter(|object| object.is_fresh(now) || object.is_excused(now))
    }

    /// Forgets that the origin had no such object.
    pub fn forget_missing(&self, key: &ObjectKey) {
        self.missing.invalidate(key.as_str());
    }

    /// Forgets what is held under a key, for good. True where something was.
    pub async fn purge(&self, key: &ObjectKey) -> bool {
        self.forget_missing(key);
        let Some(object) = self.cache.index.get(key.as_str()) else { return false };
        // Ended by us and not by the index's listener, so that we can wait until it is off the disk.
        let first = object.end();
        self.cache.drop_version(&object);
        if first {
            self.cache.disk.remove_for_good(object).await;
        }
        first
    }

    fn life(&self, headers: &HeaderMap, delay: Duration) -> (Life, bool) {
        let policy = freshness::policy(headers, std::time::SystemTime::now(), self.default_ttl);
        (Life::new(policy, headers, Timestamp::now(), delay), policy.storable)
    }

    fn new_object(
        &self,
        key: &ObjectKey,
        description: Description,
        headers: &HeaderMap,
        delay: Duration,
    ) -> Arc<Object> {
        let (life, storable) = self.life(headers, delay);
        let id = self.cache.new_id();
        Arc::new(Object::new(id, key.clone(), description, storable, life, &respond::shared_head()))
    }
}
