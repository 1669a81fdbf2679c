//! One MaxMind DB file, held in memory and read again when it changes.

use std::fmt;
use std::fs::{self, Metadata};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use maxminddb::Reader;
use serde::Deserialize;

/// The largest that are published, of cities, are below 200 MB. Not mapped: a file that is cut short while
/// it is mapped ends the process.
const MAX_BYTES: u64 = 1 << 30;

/// What we read of an entry: as MaxMind's files have it, or as ip-location-db's.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    country: Option<Country<'a>>,
    #[serde(borrow)]
    country_code: Option<&'a str>,
    #[serde(rename = "autonomous_system_number")]
    pub(super) asn: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Country<'a> {
    #[serde(borrow)]
    iso_code: Option<&'a str>,
}

impl Record<'_> {
    pub(super) fn country(&self) -> Option<String> {
        let code = self.country.as_ref().and_then(|country| country.iso_code).or(self.country_code)?;
        let legal = code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphabetic());
        legal.then(|| code.to_ascii_uppercase())
    }
}

pub(super) struct Database {
    file: Option<PathBuf>,
    held: ArcSwapOption<Reader<Vec<u8>>>,
    /// What the file was when it was last looked at, whether it could be read or not.
    seen: Mutex<Option<(Mark, Result<(), String>)>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.file).finish()
    }
}

/// Tells one version of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self { inode: metadata.ino(), bytes: metadata.size(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

impl Database {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, held: ArcSwapOption::empty(), seen: Mutex::new(None) }
    }

    /// None where the file does not know the address, is none, or is for the other kind of addresses.
    pub(super) fn find<T>(&self, address: IpAddr, take: impl FnOnce(&Record<'_>) -> Option<T>) -> Option<T> {
        let held = self.held.load();
        let record = held.as_ref()?.lookup(address).ok()?.decode::<Record<'_>>().ok()??;
        take(&record)
    }

    /// Reads the file if it is another than the last time; blocks.
    ///
    /// # Errors
    /// Why the file is not in force, as long as it is not.
    pub(super) fn look(&self) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let metadata = fs::metadata(file).map_err(|e| format!("cannot find {}: {e}", file.display()))?;
        let mark = Mark::of(&metadata);
        if let Some((_, result)) = seen.as_ref().filter(|(known, _)| *known == mark) {
            return result.clone();
        }
        let result = read(file, &metadata).map(|reader| {
            tracing::info!(file = %file.display(), build = reader.metadata().build_epoch, "read a geo database");
            self.held.store(Some(reader.into()));
        });
        *seen = Some((mark, result.clone()));
        result
    }
}

fn read(file: &Path, metadata: &Metadata) -> Result<Reader<Vec<u8>>, String> {
    if metadata.len() > MAX_BYTES {
        return Err(format!("{} is larger than {MAX_BYTES} bytes", file.display()));
    }
    let bytes = fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    Reader::from_source(bytes).map_err(|e| format!("{} is no MaxMind DB: {e}", file.display()))
}
