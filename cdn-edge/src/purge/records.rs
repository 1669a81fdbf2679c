//! The purges that may still concern something, by what they name.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// Keys, prefixes and tags known at a time, at about 100 bytes and their own length each.
pub const MOST: usize = 100_000;

/// What a purge is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// As [`crate::key::CacheKey`] writes it.
    Key(Box<str>),
    /// Of keys so written.
    Prefix(Box<str>),
    Tag(Box<str>),
}

/// One purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub purge: u64,
    pub soft: bool,
    /// When, in milliseconds since the epoch.
    pub at: i64,
    pub targets: Vec<Target>,
}

impl Entry {
    #[must_use]
    pub fn new(purge: u64, soft: bool, at: i64, targets: Vec<Target>) -> Self {
        Self { purge, soft, at, targets }
    }
}

/// The newest purges of one thing; 0 where there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    pub hard: u64,
    pub soft: u64,
    /// When the soft one was.
    pub soft_at: i64,
}

impl Stamp {
    fn join(&mut self, other: Self) {
        self.hard = self.hard.max(other.hard);
        if other.soft > self.soft {
            (self.soft, self.soft_at) = (other.soft, other.soft_at);
        }
    }

    fn forget_through(&mut self, purge: u64) -> bool {
        if self.hard <= purge {
            self.hard = 0;
        }
        if self.soft <= purge {
            (self.soft, self.soft_at) = (0, 0);
        }
        *self == Self::default()
    }
}

type ByName = HashMap<Box<str>, Stamp>;

#[derive(Debug, Clone, Default)]
pub struct Records {
    keys: ByName,
    tags: ByName,
    prefixes: ByName,
    /// How many prefixes there are of each length: a key is looked up once a length.
    lengths: BTreeMap<usize, usize>,
}

impl Records {
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len() + self.tags.len() + self.prefixes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all of them name keys, which can be looked up.
    #[must_use]
    pub fn names_keys_only(&self) -> bool {
        self.tags.is_empty() && self.prefixes.is_empty()
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(AsRef::as_ref)
    }

    /// False where there would be too many; nothing is added then.
    #[must_use]
    pub fn add(&mut self, entry: &Entry) -> bool {
        if self.len() + entry.targets.len() > MOST {
            return false;
        }
        let stamp = match entry.soft {
            true => Stamp { soft: entry.purge, soft_at: entry.at, hard: 0 },
            false => Stamp { hard: entry.purge, ..Stamp::default() },
        };
        for target in &entry.targets {
            let (by_name, name) = match target {
                Target::Key(key) => (&mut self.keys, key),
                Target::Tag(tag) => (&mut self.tags, tag),
                Target::Prefix(prefix) => {
                    if !self.prefixes.contains_key(prefix) {
                        *self.lengths.entry(prefix.len()).or_default() += 1;
                    }
                    (&mut self.prefixes, prefix)
                }
            };
            by_name.entry(name.clone()).or_default().join(stamp);
        }
        true
    }

    /// The newest purges that an answer with these tags falls under.
    #[must_use]
    pub fn find<'a>(&self, key: &str, tags: impl Iterator<Item = &'a str>) -> Stamp {
        let mut found = self.keys.get(key).copied().unwrap_or_default();
        for length in self.lengths.keys() {
            if let Some(stamp) = key.get(..*length).and_then(|prefix| self.prefixes.get(prefix)) {
                found.join(*stamp);
            }
        }
        if !self.tags.is_empty() {
            tags.filter_map(|tag| self.tags.get(tag)).for_each(|stamp| found.join(*stamp));
        }
        found
    }

    pub fn forget_through(&mut self, purge: u64) {
        let lengths = &mut self.lengths;
        self.keys.retain(|_, stamp| !stamp.forget_through(purge));
        self.tags.retain(|_, stamp| !stamp.forget_through(purge));
        self.prefixes.retain(|prefix, stamp| {
            let gone = stamp.forget_through(purge);
            if gone && let Some(count) = lengths.get_mut(&prefix.len()) {
                *count -= 1;
            }
            !gone
        });
        lengths.retain(|_, count| *count > 0);
    }

    /// The same as entries of one target each.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let keys = self.keys.iter().map(|(name, stamp)| (Target::Key(name.clone()), *stamp));
        let tags = self.tags.iter().map(|(name, stamp)| (Target::Tag(name.clone()), *stamp));
        let prefixes = self.prefixes.iter().map(|(name, stamp)| (Target::Prefix(name.clone()), *stamp));
        keys.chain(tags).chain(prefixes).flat_map(|(target, stamp)| {
            let hard = (stamp.hard > 0).then(|| Entry::new(stamp.hard, false, 0, vec![target.clone()]));
            let soft = (stamp.soft > 0).then(|| Entry::new(stamp.soft, true, stamp.soft_at, vec![target]));
            hard.into_iter().chain(soft)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![
            "[ab]{1,3}".prop_map(|name| Target::Key(name.into())),
            "[ab]{0,3}".prop_map(|name| Target::Prefix(name.into())),
            "[xy]{1,2}".prop_map(|name| Target::Tag(name.into())),
        ]
    }

    fn meant(target: &Target, key: &str, tags: &[String]) -> bool {
        match target {
            Target::Key(name) => **name == *key,
            Target::Prefix(name) => key.starts_with(&**name),
            Target::Tag(name) => tags.iter().any(|tag| **tag == **name),
        }
    }

    proptest! {
        /// The reference is a list of all purges, walked from its end.
        #[test]
        fn as_a_list_of_purges_would_tell(
            orders in proptest::collection::vec((any::<bool>(), proptest::collection::vec(target(), 1..4)), 0..12),
            forgotten in 0u64..12,
            key in "[ab]{1,4}",
            tags in proptest::collection::vec("[xy]{1,2}", 0..3),
        ) {
            let (mut records, mut list) = (Records::default(), Vec::new());
            for (purge, (soft, targets)) in (1u64..).zip(orders) {
                let entry = Entry::new(purge, soft, purge as i64 * 10, targets);
                assert!(records.add(&entry));
                list.push(entry);
            }
            records.forget_through(forgotten);
            let mut copy = Records::default();
            records.entries().for_each(|entry| assert!(copy.add(&entry)));
            let newest = |soft: bool| list.iter().rev().find(|entry| {
                entry.soft == soft && entry.purge > forgotten
                    && entry.targets.iter().any(|target| meant(target, &key, &tags))
            });
            let wanted = Stamp {
                hard: newest(false).map_or(0, |entry| entry.purge),
                soft: newest(true).map_or(0, |entry| entry.purge),
                soft_at: newest(true).map_or(0, |entry| entry.at),
            };
            for records in [&records, &copy] {
                prop_assert_eq!(records.find(&key, tags.iter().map(String::as_str)), wanted);
            }
            records.forget_through(u64::MAX);
            prop_assert!(records.is_empty() && records.lengths.is_empty());
        }
    }

    #[test]
    fn as_many_as_are_bearable() {
        let mut records = Records::default();
        let names = (0..MOST).map(|n| Target::Key(n.to_string().into())).collect();
        assert!(records.add(&Entry::new(1, false, 0, names)));
        assert!(!records.add(&Entry::new(2, false, 0, vec![Target::Tag("x".into())])));
        assert_eq!(records.find("x", ["x"].into_iter()), Stamp::default());
    }
}
