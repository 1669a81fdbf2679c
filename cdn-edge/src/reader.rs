//! Reading a part of an object: from memory, else from disk, else from a fill.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use wire::delivery::CacheStatus;

use crate::fill::{Following, run};
use crate::library::Library;
use crate::object::{CHUNK, Object};
use crate::origin::OriginError;

/// A chunk that slips away so often between fill, memory and disk is given up as an error.
const ATTEMPTS: u32 = 8;

/// Where bytes have come from so far; the later variants outweigh the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Memory,
    Disk,
    /// A fill that another reader had started.
    Joined,
    Filled,
}

impl Source {
    #[must_use]
    pub fn cache_status(self) -> CacheStatus {
        match self {
            Self::Memory => CacheStatus::Hit,
            Self::Disk => CacheStatus::HitDisk,
            Self::Joined => CacheStatus::Collapsed,
            Self::Filled => CacheStatus::Miss,
        }
    }
}

/// Keeps what there is of an object while it is read, though another version takes its place.
#[derive(Debug)]
pub struct Reading {
    library: Arc<Library>,
    object: Arc<Object>,
}

impl Reading {
    #[must_use]
    pub fn new(library: Arc<Library>, object: Arc<Object>) -> Self {
        object.begin_reading();
        Self { library, object }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.object.end_reading() {
            self.library.cache.disk.remove(self.object.clone());
        }
    }
}

#[derive(Debug)]
pub struct Reader {
    reading: Reading,
    next: u64,
    end: u64,
    following: Option<Following>,
    source: Source,
    /// As the client would ask the origin for what is missing; none where nothing was.
    asking: Option<Arc<HeaderMap>>,
}

impl Reader {
    /// `range` must lie within the object, as far as its size is known.
    #[must_use]
    pub fn new(library: Arc<Library>, object: Arc<Object>, range: Range<u64>) -> Self {
        let (reading, following, source, asking) = (Reading::new(library, object), None, Source::Memory, None);
        Self { reading, next: range.start, end: range.end, following, source, asking }
    }

    #[must_use]
    pub fn object(&self) -> &Arc<Object> {
        &self.reading.object
    }

    fn library(&self) -> &Arc<Library> {
        &self.reading.library
    }

    /// What is missing is asked for as its client would, who may have to show who he is.
    pub fn ask_as(&mut self, headers: HeaderMap) {
        self.asking = Some(Arc::new(headers));
    }

    /// None as long as nobody knows where the object ends.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.object().size() {
            None if self.end == u64::MAX => None,
            size => Some(self.end.min(size.unwrap_or(u64::MAX)).saturating_sub(self.next)),
        }
    }

    /// Where it will read on.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Reads another range of the same object from now on.
    pub fn turn_to(&mut self, range: Range<u64>) {
        (self.next, self.end) = (range.start, range.end);
    }

    /// The furthest that bytes had to be fetched from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// What this request started, it did not join, though it then follows like all others.
    pub fn started_the_fill(&mut self) {
        self.source = Source::Filled;
    }

    /// Follows a fill that is running, so that it does not stop before the first read. Of what cannot be fetched
    /// again there is one fill, and whoever is far behind it needs it to go on, too.
    pub fn follow(&mut self) {
        let (chunk, offset) = self.place();
        let alone = !self.object().combinable;
        let fill = self.object().running_fills().iter().find(|fill| alone || fill.serves(chunk, offset)).cloned();
        self.following = fill.map(|fill| fill.follow());
    }

    /// Whether what comes next is on its way already.
    #[must_use]
    pub fn has_a_fill(&self) -> bool {
        self.following.is_some()
    }

    /// The next bytes, where they are in memory.
    #[must_use]
    pub fn ready(&mut self) -> Option<Bytes> {
        let (chunk, offset) = self.place();
        let bytes = self.library().cache.memory.read(self.object().id, chunk)?.from(offset)?;
        Some(self.advance(&bytes, 0, Source::Memory))
    }

    /// The next bytes, at least one; none at the end.
    ///
    /// # Errors
    /// What the fill broke off with. The reader is of no use after it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        for _ in 0..ATTEMPTS {
            if self.left() == Some(0) {
                return Ok(None);
            }
            if let Some(bytes) = self.ready() {
                return Ok(Some(bytes));
            }
            let (chunk, offset) = self.place();
            if let Some(bytes) = self.library().cache.from_disk(self.object(), chunk).await {
                return Ok(Some(self.advance(&bytes, offset, Source::Disk)));
            }
            if let Some(bytes) = self.fill_bytes(chunk, offset).await? {
                return Ok(Some(bytes));
            }
        }
        Err(OriginError::Abandoned)
    }

    async fn fill_bytes(&mut self, chunk: u32, offset: u64) -> Result<Option<Bytes>, OriginError> {
        let Some((fill, started)) =
            run::start(self.library(), self.object(), self.next..self.end, self.asking.as_ref())?
        else {
            return Ok(None);
        };
        let following = match self.following.take().filter(|following| following.is(&fill)) {
            Some(following) => following,
            None => fill.follow(),
        };
        let found = following.bytes(chunk, offset).await;
        self.following = Some(following);
        let source = if started { Source::Filled } else { Source::Joined };
        Ok(found?.map(|bytes| self.advance(&bytes, 0, source)))
    }

    fn place(&self) -> (u32, u64) {
        (u32::try_from(self.next / CHUNK).expect("within the object"), self.next % CHUNK)
    }

    fn advance(&mut self, bytes: &Bytes, offset: u64, source: Source) -> Bytes {
        let len = (bytes.len() as u64 - offset).min(self.end - self.next);
        let part = bytes.slice(offset as usize..(offset + len) as usize);
        self.next += len;
        self.source = self.source.max(source);
        part
    }
}
