//! A log of records that are appended as things change and read once, at the start.
//!
//! A record is its length and CRC-32C, four bytes each, little-endian, then JSON. Reading stops at the
//! first record that is torn.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// No record is longer: a key has 1 KiB, the headers of an origin a few.
pub const MAX_RECORD: usize = 1 << 20;

/// A log open for appending.
#[derive(Debug)]
pub struct FramedLog<R> {
    file: File,
    len: u64,
    records: PhantomData<fn(R)>,
}

impl<R: Serialize> FramedLog<R> {
    /// Replaces the log by one with these records; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rewrite(path: &Path, records: impl Iterator<Item = R>) -> io::Result<Self> {
        let beside = path.with_extension("log.new");
        let written = Self::write(&beside, records).and_then(|log| std::fs::rename(&beside, path).map(|()| log));
        if written.is_err() {
            // Half a log helps nobody, and may take the room that others need.
            let _ = std::fs::remove_file(&beside);
        }
        written
    }

    fn write(path: &Path, records: impl Iterator<Item = R>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        let mut out = io::BufWriter::new(file);
        let mut len = 0;
        for record in records {
            let framed = frame(&record);
            out.write_all(&framed)?;
            len += framed.len() as u64;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(Self { file, len, records: PhantomData })
    }

    /// Goes on with the log that there is, or with none: what a full disk has room for. What is torn at its end goes.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn go_on(path: &Path) -> io::Result<Self>
    where
        R: DeserializeOwned,
    {
        let torn = read::<R>(path, drop)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let len = file.metadata()?.len().saturating_sub(torn);
        let mut log = Self { file, len, records: PhantomData };
        log.take_back()?;
        Ok(log)
    }

    /// # Errors
    /// When it cannot be written; what was written of the record is taken back.
    pub fn append(&mut self, record: &R) -> io::Result<()> {
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

/// Whether there is no room for what was to be written, and nothing else is wrong.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Hands out a log's records; one that does not exist is empty. Bytes after the last whole record.
///
/// # Errors
/// When the file cannot be read.
pub fn read<R: DeserializeOwned>(path: &Path, mut take: impl FnMut(R)) -> io::Result<u64> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut rest = bytes.as_slice();
    while let Some((record, tail)) = next(rest) {
        take(record);
        rest = tail;
    }
    Ok(rest.len() as u64)
}

/// The first record, where it is whole, and what follows it.
#[must_use]
pub fn next<R: DeserializeOwned>(bytes: &[u8]) -> Option<(R, &[u8])> {
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

pub(crate) fn frame<R: Serialize>(record: &R) -> Vec<u8> {
    let mut framed = vec![0; 8];
    serde_json::to_writer(&mut framed, record).expect("a record of numbers and texts serialises");
    seal(framed)
}

/// A frame around what may be no record.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn frame_json(json: &[u8]) -> Vec<u8> {
    seal([&[0; 8], json].concat())
}

/// Fills in the first eight bytes.
fn seal(mut framed: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(framed.len() - 8).expect("a record is far below 4 GiB");
    let crc = crc32c::crc32c(&framed[8..]);
    framed[..4].copy_from_slice(&len.to_le_bytes());
    framed[4..8].copy_from_slice(&crc.to_le_bytes());
    framed
}
