//! The live tracks as this router last saw them.
//!
//! Copied on write in shards: a change of one track copies a 256th of the table, and whoever reads the
//! table before goes on reading it.

mod missing;
pub(crate) mod store;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::{ObjectKey, TrackId};

pub(crate) use missing::Missing;

const SHARDS: usize = 256;

/// Where a player starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Track {
    pub(crate) version: u32,
    pub(crate) hls_key: Option<ObjectKey>,
    pub(crate) progressive_key: Option<ObjectKey>,
}

/// A track as it is now; none where it is not to be heard.
pub(crate) type Change = (TrackId, Option<Arc<Track>>);

#[derive(Debug, Clone)]
pub(crate) struct Tracks {
    shards: Vec<Arc<HashMap<TrackId, Arc<Track>>>>,
    hasher: RandomState,
    len: usize,
    max: usize,
    /// Live tracks that found no room.
    left_out: bool,
}

impl Tracks {
    /// An empty table with room for `max` tracks.
    pub(crate) fn new(max: usize) -> Self {
        Self { shards: vec![Arc::default(); SHARDS], hasher: RandomState::new(), len: 0, max, left_out: false }
    }

    pub(crate) fn get(&self, id: &TrackId) -> Option<&Arc<Track>> {
        self.shards[self.shard(id)].get(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn left_out(&self) -> bool {
        self.left_out
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TrackId, &Arc<Track>)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Applies a change; says whether it was one.
    pub(crate) fn apply(&mut self, (id, track): Change) -> bool {
        let shard = self.shard(&id);
        let known = self.shards[shard].get(&id);
        match track {
            None if known.is_none() => false,
            None => {
                self.len -= 1;
                Arc::make_mut(&mut self.shards[shard]).remove(&id);
                true
            }
            Some(track) if known.is_some_and(|known| *known == track) => false,
            Some(_) if known.is_none() && self.len >= self.max => {
                self.left_out = true;
                false
            }
            Some(track) => {
                self.len += usize::from(known.is_none());
                Arc::make_mut(&mut self.shards[shard]).insert(id, track);
                true
            }
        }
    }

    /// Makes this table hold exactly `whole`; says whether that changed anything.
    pub(crate) fn replace(&mut self, whole: HashMap<TrackId, Arc<Track>>) -> bool {
        let gone: Vec<TrackId> = self.iter().map(|(id, _)| id).filter(|id| !whole.contains_key(id)).cloned().collect();
        let mut changed = !gone.is_empty();
        self.left_out = false;
        gone.into_iter().for_each(|id| _ = self.apply((id, None)));
        for (id, track) in whole {
            changed |= self.apply((id, Some(track)));
        }
        changed
    }

    #[allow(clippy::cast_possible_truncation, reason = "the remainder is below 256")]
    fn shard(&self, id: &TrackId) -> usize {
        (self.hasher.hash_one(id) % SHARDS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn track(version: u32) -> Arc<Track> {
        let hls_key = Some(ObjectKey::new("t/1/master.m3u8").unwrap());
        Arc::new(Track { version, hls_key, progressive_key: None })
    }

    fn id(n: u8) -> TrackId {
        TrackId::new(format!("track-{n}")).unwrap()
    }

    #[test]
    fn a_full_table_takes_changes_but_no_more_tracks() {
        let mut tracks = Tracks::new(2);
        assert!(tracks.apply((id(1), Some(track(1)))) && tracks.apply((id(2), Some(track(1)))));
        assert!(!tracks.apply((id(3), Some(track(1)))) && tracks.left_out());
        assert!(tracks.apply((id(1), Some(track(2)))));
        assert_eq!((tracks.len(), tracks.get(&id(1)).unwrap().version), (2, 2));
    }

    #[test]
    fn readers_of_the_table_before_see_no_change() {
        let mut tracks = Tracks::new(10);
        tracks.apply((id(1), Some(track(1))));
        let before = tracks.clone();
        assert!(tracks.apply((id(1), None)) && !tracks.apply((id(1), None)));
        assert!(before.get(&id(1)).is_some() && tracks.get(&id(1)).is_none());
    }

    proptest! {
        #[test]
        fn is_a_map(changes in prop::collection::vec((0u8..8, prop::option::of(0u32..3)), 0..60), whole in prop::collection::hash_map(0u8..8, 0u32..3, 0..8)) {
            let (mut tracks, mut model) = (Tracks::new(100), HashMap::new());
            for (n, version) in changes {
                let before = match version {
                    Some(version) => model.insert(id(n), track(version)),
                    None => model.remove(&id(n)),
                };
                prop_assert_eq!(tracks.apply((id(n), version.map(track))), before != version.map(track));
            }
            let held = |tracks: &Tracks| tracks.iter().map(|(id, t)| (id.clone(), t.clone())).collect::<HashMap<_, _>>();
            prop_assert_eq!(&held(&tracks), &model);
            let whole: HashMap<_, _> = whole.into_iter().map(|(n, version)| (id(n), track(version))).collect();
            prop_assert_eq!(tracks.replace(whole.clone()), model != whole);
            prop_assert_eq!(tracks.len(), whole.len());
            prop_assert_eq!(held(&tracks), whole);
        }
    }
}
