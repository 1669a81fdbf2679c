//! The keys at one moment. Requests read it without a lock; the refresher puts a new one in its place.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wire::Timestamp;

use super::grant::Grant;
use super::rate::{Bucket, Rate};
use super::secret::Digest;
use crate::privacy::Pseudonyms;

/// A key that has not been revoked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) key_id: String,
    pub(super) digest: Digest,
    #[serde(flatten)]
    pub(super) grant: Grant,
}

/// A key with what it has spent.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) key: Key,
    pub(super) bucket: Bucket,
    /// What the key's rate is, as answers tell it: made once, for it goes into each.
    pub(super) policy: Option<HeaderValue>,
}

impl Entry {
    fn new(key: Key, bucket: Bucket) -> Arc<Self> {
        let policy = key.grant.rate().map(Rate::policy);
        Arc::new(Self { key, bucket, policy })
    }
}

/// A row of the table, as it is now.
#[derive(Debug)]
pub(super) enum Change {
    Live(Key),
    Revoked(Digest),
}

pub(super) type Entries = HashMap<[u8; 8], Arc<Entry>>;

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// When PostgreSQL last confirmed it; none before anything was read.
    pub(super) confirmed_at: Option<Timestamp>,
    pub(super) entries: Arc<Entries>,
    /// With what users are hashed; some once anything was read.
    pub(super) pseudonyms: Option<Arc<Pseudonyms>>,
}

impl Snapshot {
    pub(super) fn empty() -> Self {
        Self { confirmed_at: None, entries: Arc::default(), pseudonyms: None }
    }

    pub(super) fn find(&self, secret: &str) -> Option<Arc<Entry>> {
        let digest = Digest::of(secret);
        self.entries.get(&digest.place()).filter(|entry| entry.key.digest.is(&digest)).cloned()
    }
}

/// These keys and no others; those that were known keep what they have spent.
pub(super) fn whole(keys: Vec<Key>, old: &Entries) -> Entries {
    keys.into_iter().map(|key| (key.digest.place(), entry(key, old))).collect()
}

/// The old keys with changes, at most `max`; none where nothing is new.
pub(super) fn changed(changes: Vec<Change>, old: &Entries, max: usize) -> Option<Entries> {
    let new: Vec<Change> = changes.into_iter().filter(|change| is_new(change, old)).collect();
    if new.is_empty() {
        return None;
    }
    let mut entries = old.clone();
    for change in new {
        match change {
            Change::Revoked(digest) => drop(entries.remove(&digest.place())),
            Change::Live(key) if entries.len() < max || entries.contains_key(&key.digest.place()) => {
                entries.insert(key.digest.place(), entry(key, old));
            }
            // The next whole reading finds that there are too many, and says so.
            Change::Live(_) => {}
        }
    }
    Some(entries)
}

fn is_new(change: &Change, old: &Entries) -> bool {
    match change {
        Change::Live(key) => old.get(&key.digest.place()).is_none_or(|known| known.key != *key),
        Change::Revoked(digest) => old.contains_key(&digest.place()),
    }
}

fn entry(key: Key, old: &Entries) -> Arc<Entry> {
    match old.get(&key.digest.place()) {
        Some(known) if known.key == key => known.clone(),
        Some(known) => Entry::new(key, Bucket::like(&known.bucket)),
        None => Entry::new(key, Bucket::full()),
    }
}

/// The current snapshot, and a count of those that differed from the one before.
#[derive(Debug)]
pub(super) struct Snapshots {
    current: ArcSwap<Snapshot>,
    versions: watch::Sender<u64>,
}

impl Snapshots {
    pub(super) fn new(first: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(first), versions: watch::Sender::new(0) }
    }

    pub(super) fn current(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Only the refresher calls this, so nothing comes between its reading and its writing.
    pub(super) fn put(&self, next: Snapshot) {
        let next = Arc::new(next);
        let before = self.current.swap(next.clone());
        let same_pseudonyms = match (&before.pseudonyms, &next.pseudonyms) {
            (Some(before), Some(next)) => Arc::ptr_eq(before, next),
            _ => false,
        };
        let differs = !same_pseudonyms || !Arc::ptr_eq(&before.entries, &next.entries);
        if differs {
            self.versions.send_modify(|version| *version += 1);
        }
    }

    /// Tells of each new one; those in between may be skipped.
    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::keys) fn key(secret: &str, app: &str) -> Key {
        let grant = Grant::Write { app: app.into(), origins: vec!["*".parse().unwrap()], rate: None };
        Key { key_id: format!("tw_{app}"), digest: Digest::of(secret), grant }
    }

    fn app(entries: &Entries, secret: &str) -> Option<String> {
        let snapshot = Snapshot { entries: Arc::new(entries.clone()), ..Snapshot::empty() };
        snapshot.find(secret).and_then(|entry| entry.key.grant.app().map(str::to_owned))
    }

    #[test]
    fn changes_come_in_and_revoked_keys_go() {
        let old = whole(vec![key("one", "a"), key("two", "b")], &Entries::new());
        assert!(changed(vec![Change::Live(key("one", "a")), Change::Revoked(Digest::of("x"))], &old, 9).is_none());
        let changes = vec![Change::Live(key("one", "c")), Change::Revoked(Digest::of("two"))];
        let new = changed(changes, &old, 9).unwrap();
        assert_eq!((app(&new, "one"), app(&new, "two"), app(&new, "three")), (Some("c".into()), None, None));
        assert_eq!(app(&whole(vec![key("three", "d")], &new), "one"), None);
    }

    #[test]
    fn no_more_than_the_bound() {
        let old = whole(vec![key("one", "a")], &Entries::new());
        assert_eq!(changed(vec![Change::Live(key("two", "b"))], &old, 1).unwrap().len(), 1);
        let new = changed(vec![Change::Revoked(Digest::of("one")), Change::Live(key("two", "b"))], &old, 1).unwrap();
        assert_eq!((app(&new, "one"), app(&new, "two")), (None, Some("b".into())));
    }
}
