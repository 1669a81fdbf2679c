//! One version of one object: what the origin said of it, which chunks are on disk, which fills run.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use wire::{ObjectKey, Timestamp};

use crate::conditions::Validators;
use crate::fill::Fill;
use crate::freshness::{self, Policy};

/// Bytes of a chunk: one disk read and one memory entry. Large enough that a hit is few frames, small
/// enough that a cold range costs little more than it asked for.
pub const CHUNK: u64 = 256 << 10;

/// The origin's headers that listeners get as they are.
const PASSED_ON: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CONTENT_ENCODING,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    header::EXPIRES,
];

/// What the origin said of a version, as the index log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    pub size: u64,
    /// Those of [`PASSED_ON`] that are plain text.
    pub headers: Vec<(String, String)>,
}

impl Description {
    #[must_use]
    pub fn new(size: u64, headers: &HeaderMap) -> Self {
        let passed = PASSED_ON.iter().filter_map(|name| {
            let value = headers.get(name)?.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        Self { size, headers: passed.collect() }
    }

    fn get(&self, name: &HeaderName) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name.as_str()).map(|(_, value)| value.as_str())
    }

    /// Whether two answers of the origin are parts of the same bytes. Without any validator nobody
    /// can know, so they are not.
    #[must_use]
    pub fn same_version(&self, other: &Self) -> bool {
        let same = match (self.get(&header::ETAG), other.get(&header::ETAG)) {
            (Some(one), Some(other)) => one == other,
            (None, None) => {
                let modified = self.get(&header::LAST_MODIFIED);
                modified.is_some() && modified == other.get(&header::LAST_MODIFIED)
            }
            _ => false,
        };
        same && self.size == other.size
    }

    fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(16);
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                map.insert(name, value);
            }
        }
        map
    }
}

/// How old an object is and how long it is fresh, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When its age was 0.
    pub born: i64,
    pub fresh_until: i64,
    pub stale_allowed: bool,
}

impl Life {
    #[must_use]
    pub fn new(policy: Policy, headers: &HeaderMap, now: Timestamp, response_delay: Duration) -> Self {
        let received = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis().unsigned_abs());
        let age = millis(freshness::initial_age(headers, received, response_delay));
        let born = now.as_millis() - age;
        Self { born, fresh_until: born + millis(policy.lifetime), stale_allowed: policy.stale_allowed }
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Debug)]
pub struct Object {
    /// Unique on this disk: the name of its file and part of its chunks' names in memory.
    pub id: u64,
    pub key: ObjectKey,
    pub description: Description,
    /// The part of every response's head that is the same for all of them.
    pub head: HeaderMap,
    pub last_modified: Option<SystemTime>,
    pub storable: bool,
    born: AtomicI64,
    fresh_until: AtomicI64,
    /// Until when a stale object is served without asking an origin that has just failed.
    excused_until: AtomicI64,
    stale_allowed: AtomicBool,
    /// Superseded, purged or evicted: nothing more is stored of it.
    gone: AtomicBool,
    /// A chunk's CRC-32C with bit 32 set once it is on disk, else 0.
    on_disk: Box<[AtomicU64]>,
    /// At most one a chunk, in practice one or two; locked only where a chunk is missing.
    pub(crate) fills: Mutex<Vec<Arc<Fill>>>,
}

const PRESENT: u64 = 1 << 32;

impl Object {
    /// `shared_head` is what every object's answers carry.
    #[must_use]
    pub fn new(
        id: u64,
        key: ObjectKey,
        description: Description,
        storable: bool,
        life: Life,
        shared_head: &HeaderMap,
    ) -> Self {
        let mut head = description.header_map();
        head.extend(shared_head.iter().map(|(name, value)| (name.clone(), value.clone())));
        head.insert(header::CONTENT_LENGTH, HeaderValue::from(description.size));
        let modified = head.get(header::LAST_MODIFIED).and_then(|value| value.to_str().ok());
        let last_modified = modified.and_then(|text| httpdate::parse_http_date(text).ok());
        let chunks = usize::try_from(description.size.div_ceil(CHUNK)).expect("the configuration bounds the size");
        Self {
            id,
            key,
            last_modified,
            head,
            storable,
            born: AtomicI64::new(life.born),
            fresh_until: AtomicI64::new(life.fresh_until),
            excused_until: AtomicI64::new(0),
            stale_allowed: AtomicBool::new(life.stale_allowed),
            gone: AtomicBool::new(false),
            on_disk: (0..chunks).map(|_| AtomicU64::new(0)).collect(),
            fills: Mutex::new(Vec::new()),
            description,
        }
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.description.size
    }

    #[must_use]
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.on_disk.len()).expect("the configuration bounds the size")
    }

    /// Bytes of a chunk: only the last one is shorter.
    #[must_use]
    pub fn chunk_len(&self, chunk: u32) -> u64 {
        (self.size() - u64::from(chunk) * CHUNK).min(CHUNK)
    }

    #[must_use]
    pub fn etag(&self) -> Option<&HeaderValue> {
        self.head.get(header::ETAG)
    }

    #[must_use]
    pub fn validators(&self) -> Validators<'_> {
        Validators { etag: self.etag(), last_modified: self.last_modified }
    }

    #[must_use]
    pub fn life(&self) -> Life {
        Life {
            born: self.born.load(Relaxed),
            fresh_until: self.fresh_until.load(Relaxed),
            stale_allowed: self.stale_allowed.load(Relaxed),
        }
    }

    /// The origin has said that this version still holds.
    pub fn refresh(&self, life: Life) {
        self.born.store(life.born, Relaxed);
        self.stale_allowed.store(life.stale_allowed, Relaxed);
        self.fresh_until.store(life.fresh_until, Relaxed);
    }

    /// The origin could not be asked: do not ask again before then.
    pub fn excuse(&self, until: Timestamp) {
        self.excused_until.store(until.as_millis(), Relaxed);
    }

    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.as_millis() < self.fresh_until.load(Relaxed)
    }

    /// Stale, but the origin has just failed and stale is allowed.
    #[must_use]
    pub fn is_excused(&self, now: Timestamp) -> bool {
        now.as_millis() < self.excused_until.load(Relaxed) && self.stale_allowed.load(Relaxed)
    }

    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// True for the one caller that ends it.
    pub fn end(&self) -> bool {
        !self.gone.swap(true, Relaxed)
    }

    /// The checksum of a chunk that is on disk.
    #[must_use]
    pub fn on_disk(&self, chunk: u32) -> Option<u32> {
        let slot = self.on_disk[chunk as usize].load(Relaxed);
        (slot & PRESENT != 0).then_some(slot as u32)
    }

    pub fn set_on_disk(&self, chunk: u32, crc: u32) {
        self.on_disk[chunk as usize].store(PRESENT | u64::from(crc), Relaxed);
    }

    pub fn forget_on_disk(&self, chunk: u32) {
        self.on_disk[chunk as usize].store(0, Relaxed);
    }

    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        (0..self.chunks()).filter(|&chunk| self.on_disk(chunk).is_some()).map(|chunk| self.chunk_len(chunk)).sum()
    }

    pub(crate) fn running_fills(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Fill>>> {
        self.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
