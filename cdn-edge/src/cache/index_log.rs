//! The index log: what is on disk, appended as it changes, read once at the start.
//!
//! A record is its length and CRC-32C, four bytes each, little-endian, then JSON. Reading stops at the
//! first record that is torn. A chunk's record follows its bytes, and the bytes are checked by the
//! checksum in it, so a record that outlived its bytes in a crash serves nothing wrong.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::freshness::Life;
use crate::key::CacheKey;
use crate::object::chunks::MOST;
use crate::object::{CHUNK, Description};

/// No record is longer: a key has 1 KiB, the headers of an origin a few.
const MAX_RECORD: usize = 1 << 20;

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
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut replay = Replay::default();
    let mut rest = bytes.as_slice();
    while let Some((record, tail)) = next(rest) {
        replay.take(record, max_object);
        rest = tail;
    }
    replay.torn = rest.len() as u64;
    Ok(replay)
}

fn next(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > MAX_RECORD || len > rest.len() {
        return None;
    }
    let (json, rest) = rest.split_at(len);
    if crc32c::crc32c(json) != u32::from_le_bytes(*crc) {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, rest))
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

/// A log open for appending.
#[derive(Debug)]
pub struct IndexLog {
    file: File,
    len: u64,
}

impl IndexLog {
    /// Replaces the log by one with these records; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rewrite(path: &Path, records: impl Iterator<Item = Record>) -> io::Result<Self> {
        let beside = path.with_extension("log.new");
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(&beside)?;
        let mut out = io::BufWriter::new(file);
        let mut len = 0;
        for record in records {
            let framed = frame(&record);
            out.write_all(&framed)?;
            len += framed.len() as u64;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        Ok(Self { file, len })
    }

    /// # Errors
    /// When it cannot be written; what was written of the record is taken back.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let framed = frame(record);
        let written = self.file.write_all(&framed);
        match written {
            Ok(()) => self.len += framed.len() as u64,
            // A torn record would hide every later one from the next start.
            Err(_) => self.take_back()?,
        }
        written
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.len)).map(drop)
    }

    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.len
    }
}

fn frame(record: &Record) -> Vec<u8> {
    let mut framed = vec![0; 8];
    serde_json::to_writer(&mut framed, record).expect("a record of numbers and texts serialises");
    let len = u32::try_from(framed.len() - 8).expect("a record is far below 4 GiB");
    let crc = crc32c::crc32c(&framed[8..]);
    framed[..4].copy_from_slice(&len.to_le_bytes());
    framed[4..8].copy_from_slice(&crc.to_le_bytes());
    framed
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use proptest::prelude::*;

    use super::*;

    fn records() -> Vec<Record> {
        let key = CacheKey::from("http://x/a/b?c".to_owned());
        let headers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("\"x\""))]);
        let description = Description::new(StatusCode::OK, Some(600_000), &headers, Vec::new());
        let life = Life {
            born: 1,
            fresh_until: 2,
            stale_allowed: true,
            while_revalidate: 0,
            if_error: None,
            immutable: false,
        };
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
            while let Some((record, tail)) = next(rest) {
                prop_assert_eq!(&record, &records()[whole]);
                whole += 1;
                rest = tail;
            }
            prop_assert_eq!(whole, ends.iter().filter(|end| **end <= first_bad.min(bytes.len())).count());
        }
    }
}
