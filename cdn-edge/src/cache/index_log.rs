//! The index log: what is on disk, appended as it changes, read once at the start.
//!
//! A chunk's record follows its bytes, and the bytes are checked by the checksum in it, so a record that
//! outlived its bytes in a crash serves nothing wrong.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::framed_log::{self, FramedLog};
use crate::freshness::Life;
use crate::key::CacheKey;
use crate::object::chunks::MOST;
use crate::object::{CHUNK, Description};

pub type IndexLog = FramedLog<Record>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A version, before its first chunk.
    Object { id: u64, key: CacheKey, description: Description, life: Life },
    /// A chunk is in the version's file.
    Chunk { id: u64, chunk: u32, crc: u32 },
    /// The origin confirmed the version.
    Life { id: u64, life: Life },
    /// The origin confirmed the version with newer fields.
    Head { id: u64, description: Description, life: Life },
    /// The version, which came without its length, is whole.
    Size { id: u64, size: u64 },
    /// The version is not held any more.
    Gone { id: u64 },
}

impl Record {
    #[must_use]
    pub fn id(&self) -> u64 {
        match self {
            Self::Object { id, .. }
            | Self::Chunk { id, .. }
            | Self::Life { id, .. }
            | Self::Head { id, .. }
            | Self::Size { id, .. }
            | Self::Gone { id } => *id,
        }
    }
}

/// One version as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    pub key: CacheKey,
    pub description: Description,
    pub life: Life,
    pub chunks: HashMap<u32, u32>,
}

/// What a log adds up to.
#[derive(Debug, Default)]
pub struct Replay {
    pub objects: HashMap<u64, Logged>,
    /// No version had this id or a higher one.
    pub next_id: u64,
    /// Bytes after the last whole record.
    pub torn: u64,
}

/// Reads a log; one that does not exist is empty. Objects over `max_object` are not taken.
///
/// # Errors
/// When the file cannot be read.
pub fn replay(path: &Path, max_object: u64) -> io::Result<Replay> {
    let mut replay = Replay::default();
    replay.torn = framed_log::read(path, |record| replay.take(record, max_object))?;
    Ok(replay)
}

impl Replay {
    fn take(&mut self, record: Record, max_object: u64) {
        let object = self.objects.get_mut(&record.id());
        match (record, object) {
            (Record::Object { id, key, description, life }, _) => {
                self.next_id = self.next_id.max(id.saturating_add(1));
                if description.size.unwrap_or(0) <= max_object {
                    self.objects.insert(id, Logged { key, description, life, chunks: HashMap::new() });
                }
            }
            (Record::Gone { id }, _) => drop(self.objects.remove(&id)),
            // A version that is larger than it may be now.
            (_, None) => {}
            (Record::Chunk { chunk, crc, .. }, Some(object)) => {
                let chunks = object.description.size.map_or(MOST, |size| size.div_ceil(CHUNK));
                if u64::from(chunk) < chunks {
                    object.chunks.insert(chunk, crc);
                }
            }
            (Record::Life { life, .. }, Some(object)) => object.life = life,
            (Record::Head { description, life, .. }, Some(object)) => {
                let size = object.description.size;
                (object.description, object.life) = (description.with_size(size), life);
            }
            (Record::Size { id, size }, Some(object)) => {
                object.description.size = Some(size);
                object.chunks.retain(|chunk, _| u64::from(*chunk) < size.div_ceil(CHUNK));
                if size > max_object {
                    self.objects.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use proptest::prelude::*;

    use super::*;
    use framed_log::{frame, next};

    fn records() -> Vec<Record> {
        let key = CacheKey::from("http://x/a/b?c".to_owned());
        let headers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("\"x\""))]);
        let description = Description::new(StatusCode::OK, Some(600_000), &headers, Vec::new());
        let life = Life { fresh_until: 2, ..Life::of_age(1) };
        let growing = description.clone().with_size(None);
        vec![
            Record::Object { id: 7, key: key.clone(), description: description.clone(), life },
            Record::Chunk { id: 7, chunk: 0, crc: 11 },
            Record::Chunk { id: 7, chunk: 2, crc: 12 },
            Record::Chunk { id: 7, chunk: 3, crc: 13 },
            Record::Life { id: 7, life: Life { fresh_until: 9, ..life } },
            Record::Object { id: 8, key, description: description.clone(), life },
            Record::Head { id: 7, description, life: Life { fresh_until: 10, ..life } },
            Record::Gone { id: 8 },
            Record::Object { id: 9, key: CacheKey::from("k".to_owned()), description: growing, life },
            Record::Chunk { id: 9, chunk: 0, crc: 14 },
            Record::Chunk { id: 9, chunk: 5, crc: 15 },
            Record::Size { id: 9, size: 10 },
        ]
    }

    #[test]
    fn adds_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.log");
        let mut log = IndexLog::rewrite(&path, records().into_iter().take(2)).unwrap();
        records().iter().skip(2).for_each(|record| log.append(record).unwrap());
        let replay = replay(&path, u64::MAX).unwrap();
        assert_eq!((replay.next_id, replay.torn, replay.objects.len()), (10, 0, 2));
        assert_eq!((replay.objects[&9].description.size, replay.objects[&9].chunks.len()), (Some(10), 1));
        let object = &replay.objects[&7];
        assert_eq!(object.life.fresh_until, 10);
        assert_eq!(object.chunks, HashMap::from([(0, 11), (2, 12)]), "a chunk past the end is not taken");
        assert_eq!(log.bytes(), std::fs::metadata(&path).unwrap().len());
    }

    proptest! {
        #[test]
        fn any_damage_leaves_a_prefix(cut in 0usize..3000, at in 0usize..3000, flip in 0u8..=255) {
            let mut bytes: Vec<u8> = records().iter().flat_map(frame).collect();
            let ends: Vec<usize> = records().iter().scan(0, |end, r| { *end += frame(r).len(); Some(*end) }).collect();
            bytes.truncate(cut);
            let first_bad = match bytes.get_mut(at) {
                Some(byte) if flip != 0 => { *byte ^= flip; at }
                _ => bytes.len(),
            };
            let mut whole = 0;
            let mut rest = bytes.as_slice();
            while let Some((record, tail)) = next::<Record>(rest) {
                prop_assert_eq!(&record, &records()[whole]);
                whole += 1;
                rest = tail;
            }
            prop_assert_eq!(whole, ends.iter().filter(|end| **end <= first_bad.min(bytes.len())).count());
        }
    }
}
