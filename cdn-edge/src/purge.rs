//! Purges: what operators have declared wrong, by key, by prefix, by tag.
//!
//! A purge is a record with a number, and touches no object: it costs the same whether one object or a
//! million are meant. An answer knows which purge was the newest when its origin was asked
//! ([`crate::freshness::Life::asked`]), so a record concerns whatever was asked for before it, also what is
//! still on its way. A hit compares two numbers, the newest purge and the newest that the object's head has
//! seen ([`crate::object::Head::has_seen`]); only where they differ are the [`records`] looked at, once an
//! object and purge. A hard purge drops the object then, a soft one makes it stale.
//!
//! A record is in the [`log`], synced, before its order is answered. [`sweep`] looks at every object behind
//! everybody's back, and once nothing older is held or being asked for, forgets the record: at most
//! [`records::MOST`] are known at a time, and further orders are told to come later.

pub mod log;
pub mod order;
pub mod records;
pub mod sweep;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use http::{HeaderMap, HeaderName};
use tokio::sync::Notify;

use crate::cache::framed_log::is_full;
use crate::key::{CacheKey, KeyRef};
use log::PurgeLog;
use records::{Entry, Records, Stamp};

/// Where an origin names tags: with commas between them, or with spaces. A bucket says so in metadata.
const COMMAS: [HeaderName; 2] = [HeaderName::from_static("cache-tag"), HeaderName::from_static("x-amz-meta-cache-tag")];
const SPACES: [HeaderName; 2] =
    [HeaderName::from_static("surrogate-key"), HeaderName::from_static("x-amz-meta-surrogate-key")];

/// The tags of an answer.
pub fn tags(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = |name: HeaderName| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let commas = COMMAS.into_iter().flat_map(values).flat_map(|text| text.split(','));
    let spaces = SPACES.into_iter().flat_map(values).flat_map(|text| text.split(' '));
    commas.chain(spaces).map(str::trim).filter(|tag| !tag.is_empty())
}

/// Why a purge did not come about as ordered.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error("too many purges are still being looked at")]
    Full,
    /// It is in force until a restart.
    #[error("the purge is in force, but a restart would forget it: {0}")]
    NotKept(std::io::Error),
}

#[derive(Debug)]
pub struct Purges {
    /// Changes with the records, under their lock; read without it.
    latest: AtomicU64,
    records: RwLock<Records>,
    log: Mutex<PurgeLog>,
    /// How many questions to the origin are under way, by the purge that was the newest when they began.
    /// As many as requests to the origin.
    asking: Mutex<BTreeMap<u64, usize>>,
    added: Notify,
}

impl Purges {
    /// With the log of the last run, of which these are left to be done; none of its answers was asked for
    /// after `latest`. On a full disk that log goes on.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn new(log: &Path, latest: u64, left: Records) -> std::io::Result<Self> {
        let fresh = PurgeLog::rewrite(log, latest, &left);
        let log = fresh.or_else(|error| if is_full(&error) { PurgeLog::go_on(log) } else { Err(error) })?;
        Ok(Self {
            latest: AtomicU64::new(latest),
            records: RwLock::new(left),
            log: Mutex::new(log),
            asking: Mutex::default(),
            added: Notify::new(),
        })
    }

    /// The newest purge.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.latest.load(Acquire)
    }

    /// Puts a purge in force, from now on.
    ///
    /// # Errors
    /// [`PurgeError::Full`].
    pub fn add(&self, make: impl FnOnce(u64) -> Entry) -> Result<Entry, PurgeError> {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        let entry = make(self.latest() + 1);
        if !records.add(&entry) {
            return Err(PurgeError::Full);
        }
        self.latest.store(entry.purge, Release);
        drop(records);
        self.added.notify_one();
        Ok(entry)
    }

    /// Returns once a restart would not forget the purge.
    ///
    /// # Errors
    /// [`PurgeError::NotKept`].
    pub async fn keep(self: &Arc<Self>, entry: Entry) -> Result<(), PurgeError> {
        let purges = self.clone();
        let kept = tokio::task::spawn_blocking(move || purges.log().append(entry));
        kept.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic))).map_err(PurgeError::NotKept)
    }

    fn log(&self) -> MutexGuard<'_, PurgeLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest purges that an answer falls under.
    #[must_use]
    pub fn of(&self, key: &KeyRef<'_>, headers: &HeaderMap) -> Stamp {
        self.records().find(&key.to_string(), tags(headers))
    }

    /// The newest purge of a key, whatever its tags.
    #[must_use]
    pub fn of_key(&self, key: &CacheKey) -> u64 {
        let records = self.records();
        if records.is_empty() {
            return 0;
        }
        let stamp = records.find(&key.to_string(), std::iter::empty());
        stamp.hard.max(stamp.soft)
    }

    fn records(&self) -> std::sync::RwLockReadGuard<'_, Records> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a question to the origin.
    #[must_use]
    pub fn ask(self: &Arc<Self>) -> Asking {
        let mut asking = self.asking();
        let since = self.latest();
        *asking.entry(since).or_default() += 1;
        Asking(Arc::new(Begun { since, purges: self.clone() }))
    }

    fn asking(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a question is under way that was begun before this purge.
    #[must_use]
    pub fn asked_before(&self, purge: u64) -> bool {
        self.asking().keys().next().is_some_and(|&since| since < purge)
    }

    /// Forgets the records up to this purge: they have been looked at for all that they could concern.
    ///
    /// # Errors
    /// When the log cannot be written anew; it then tells more than is needed.
    pub fn forget_through(&self, purge: u64) -> std::io::Result<()> {
        // First the log's lock, so that no purge is appended to the old one meanwhile.
        let mut log = self.log();
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        records.forget_through(purge);
        let (left, latest) = (records.clone(), self.latest());
        drop(records);
        log.replace(latest, &left)
    }
}

/// A question to the origin that is under way; it ends with the last of its copies.
#[derive(Debug, Clone)]
pub struct Asking(Arc<Begun>);

#[derive(Debug)]
struct Begun {
    since: u64,
    purges: Arc<Purges>,
}

impl Asking {
    /// The newest purge when it began: only newer ones concern the answer.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.0.since
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut asking = self.purges.asking();
        if let Some(count) = asking.get_mut(&self.since) {
            *count -= 1;
            if *count == 0 {
                asking.remove(&self.since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_in_both_spellings() {
        let headers: HeaderMap = [("cache-tag", "a, b c,,"), ("cache-tag", "d"), ("surrogate-key", "e  f,g")]
            .into_iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            });
        assert_eq!(tags(&headers).collect::<Vec<_>>(), ["a", "b c", "d", "e", "f,g"]);
    }

    #[test]
    fn questions_hold_back_the_purges_that_they_might_fall_under() {
        let dir = tempfile::tempdir().unwrap();
        let purges = Arc::new(Purges::new(&dir.path().join("purge.log"), 4, Records::default()).unwrap());
        let (early, again) = (purges.ask(), purges.ask());
        purges.add(|purge| Entry::new(purge, false, 0, vec![records::Target::Tag("x".into())])).unwrap();
        let late = purges.ask();
        assert_eq!((early.since(), late.since(), purges.latest()), (4, 5, 5));
        assert!(purges.asked_before(5) && !purges.asked_before(4));
        drop(early.clone());
        drop(early);
        assert!(purges.asked_before(5));
        drop(again);
        assert!(!purges.asked_before(5) && purges.asked_before(6));
    }
}
