//! Opening an object: learning from the origin what it is, once for all who ask at the same time.
//!
//! A cold object is opened by asking for the chunks that the first request wants; the answer's head
//! makes the object known, and its body is the first fill. A stale object is opened by asking whether
//! it still holds.

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::watch;
use wire::{ObjectKey, Timestamp};

use super::Library;
use crate::fill::{Fill, run};
use crate::object::{CHUNK, Object};
use crate::origin::{Ask, Found, OriginError, Reply};
use crate::range::RangeSpec;

/// How long a stale object is served without asking an origin that has just failed.
const EXCUSED_MS: i64 = 2000;

/// Why an object cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the origin has no such object")]
    NotFound,
    #[error(transparent)]
    Origin(#[from] OriginError),
}

/// An object that may be served now, and how it came to that.
#[derive(Debug, Clone)]
pub struct Opened {
    pub object: Arc<Object>,
    pub how: How,
}

/// RFC 9211's reasons, as far as they are known before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Held and fresh.
    Held,
    /// Not known before.
    Cold,
    /// Was stale; the origin was asked and it holds.
    Revalidated,
    /// Was stale; the origin has another version.
    Replaced,
    /// Is stale; the origin cannot be asked.
    Stale,
}

type Outcome = Result<Opened, OpenError>;

pub(super) type Opening = watch::Receiver<Option<Outcome>>;

/// What an opening leaves to be filled, and from which answer.
type Begun = Option<(Arc<Fill>, Box<Found>)>;

enum Joined {
    Known(Arc<Object>),
    Missing,
    Opening(Opening, bool),
}

impl Library {
    /// The object, asking the origin where it must be asked. True where another request had asked already.
    ///
    /// # Errors
    /// [`OpenError`] where there is nothing to serve.
    pub async fn open(
        self: &Arc<Self>,
        key: &ObjectKey,
        wanted: Option<Range<u64>>,
    ) -> Result<(Opened, bool), OpenError> {
        let (mut opening, joined) = match self.join(key, wanted) {
            Joined::Known(object) => return Ok((held(object), false)),
            Joined::Missing => return Err(OpenError::NotFound),
            Joined::Opening(opening, joined) => (opening, joined),
        };
        // An error says that the opening's task was ended with its runtime.
        let outcome = opening.wait_for(Option::is_some).await.map_err(|_| OriginError::Abandoned)?;
        let opened = outcome.clone().expect("waited until there is one")?;
        Ok((opened, joined))
    }

    fn join(self: &Arc<Self>, key: &ObjectKey, wanted: Option<Range<u64>>) -> Joined {
        let mut openings = self.openings.lock().unwrap_or_else(PoisonError::into_inner);
        // An opening publishes its object before it leaves the map: looked up under the map's lock,
        // an object is either known or still being opened, and the origin is asked once.
        if let Some(object) = self.servable(key.as_str(), Timestamp::now()) {
            return Joined::Known(object);
        }
        if self.missing.contains_key(key.as_str()) {
            return Joined::Missing;
        }
        if let Some(opening) = openings.get(key.as_str()) {
            return Joined::Opening(opening.clone(), true);
        }
        let (tell, opening) = watch::channel(None);
        openings.insert(key.as_str().to_owned(), opening.clone());
        let (library, key) = (self.clone(), key.clone());
        self.background.spawn(async move { library.run_opening(key, wanted, tell).await });
        Joined::Opening(opening, false)
    }

    async fn run_opening(
        self: Arc<Self>,
        key: ObjectKey,
        wanted: Option<Range<u64>>,
        tell: watch::Sender<Option<Outcome>>,
    ) {
        let leaving = Leaving { library: &self, key: &key };
        let (outcome, begun) = match self.cache.index.get(key.as_str()) {
            Some(stale) => (self.revalidate(&key, stale).await, None),
            None => match self.fetch_head(&key, wanted.unwrap_or(0..CHUNK)).await {
                Ok((opened, begun)) => (Ok(opened), begun),
                Err(error) => (Err(error), None),
            },
        };
        if matches!(outcome, Err(OpenError::NotFound)) {
            self.missing.insert(key.as_str().to_owned(), ());
        }
        let object = outcome.as_ref().ok().map(|opened| opened.object.clone());
        tell.send_replace(Some(outcome));
        drop(leaving);
        if let (Some(object), Some((fill, found))) = (object, begun) {
            run::go_on(&self, &object, &fill, found.body, found.bytes.start).await;
        }
    }

    async fn fetch_head(&self, key: &ObjectKey, wanted: Range<u64>) -> Result<(Opened, Begun), OpenError> {
        let (found, first, end) = self.ask_cold(key, wanted).await?;
        let object = self.new_object(key, found.description.clone(), &found.headers, found.delay);
        let fill = (first < object.chunks()).then(|| Arc::new(Fill::new(first, end.min(object.chunks()))));
        object.running_fills().extend(fill.clone());
        if object.storable {
            self.cache.publish(&object);
        }
        Ok((Opened { object, how: How::Cold }, fill.map(|fill| (fill, Box::new(found)))))
    }

    /// The answer to a first request, with the run of chunks to fill from it.
    async fn ask_cold(&self, key: &ObjectKey, wanted: Range<u64>) -> Result<(Found, u32, u32), OpenError> {
        let (first, end) = chunks(&wanted);
        let range = u64::from(first) * CHUNK..u64::from(end) * CHUNK;
        match self.origin.get(key, &Ask { range: Some(range), ..Ask::default() }).await? {
            Reply::Found(found) => Ok((found, first, end)),
            Reply::NotFound => Err(OpenError::NotFound),
            // Past the end, or an empty object, of which no range exists: what it is, the whole tells.
            Reply::OutOfRange => match self.origin.get(key, &Ask::default()).await? {
                Reply::Found(found) => Ok((found, 0, 1)),
                Reply::NotFound => Err(OpenError::NotFound),
                _ => Err(OriginError::Nonsense("a refusal of the whole object").into()),
            },
            _ => Err(OriginError::Nonsense("an answer to a condition that was not set").into()),
        }
    }

    /// Asks for one byte under `If-None-Match`: an origin that knows conditions sends none, one that
    /// does not still shows its validator.
    async fn revalidate(&self, key: &ObjectKey, stale: Arc<Object>) -> Outcome {
        let range = (stale.size() > 0).then_some(0..1);
        let ask = Ask { range, if_none_match: stale.etag().cloned(), if_match: None };
        match self.origin.get(key, &ask).await {
            Ok(Reply::NotModified(headers)) => Ok(self.confirm(stale, &headers, Duration::ZERO)),
            Ok(Reply::Found(found)) if found.description.same_version(&stale.description) => {
                Ok(self.confirm(stale, &found.headers, found.delay))
            }
            Ok(Reply::Found(found)) => Ok(self.replace(key, found)),
            Ok(Reply::NotFound) => {
                self.cache.drop_version(&stale);
                Err(OpenError::NotFound)
            }
            // The new version is empty: the next request opens it as a cold one.
            Ok(Reply::OutOfRange | Reply::Changed) => {
                self.cache.drop_version(&stale);
                Err(OriginError::Changed.into())
            }
            Err(error) => excused(stale, error),
        }
    }

    /// A 304 without `Cache-Control` confirms the lifetime that was told with the body.
    fn confirm(&self, object: Arc<Object>, headers: &HeaderMap, delay: Duration) -> Opened {
        let told = headers.contains_key(http::header::CACHE_CONTROL) || headers.contains_key(http::header::EXPIRES);
        let (life, _) = self.life(if told { headers } else { &object.head }, delay);
        object.refresh(life);
        self.cache.disk.refreshed(object.clone());
        Opened { object, how: How::Revalidated }
    }

    fn replace(&self, key: &ObjectKey, found: Found) -> Opened {
        let object = self.new_object(key, found.description, &found.headers, found.delay);
        self.cache.publish(&object);
        if !object.storable {
            self.cache.drop_version(&object);
        }
        Opened { object, how: How::Replaced }
    }
}

/// Takes the opening out of the map however its task ends.
struct Leaving<'a> {
    library: &'a Library,
    key: &'a ObjectKey,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut openings = self.library.openings.lock().unwrap_or_else(PoisonError::into_inner);
        openings.remove(self.key.as_str());
    }
}

fn held(object: Arc<Object>) -> Opened {
    let how = if object.is_fresh(Timestamp::now()) { How::Held } else { How::Stale };
    Opened { object, how }
}

fn excused(stale: Arc<Object>, error: OriginError) -> Outcome {
    if !stale.life().stale_allowed {
        return Err(error.into());
    }
    stale.excuse(Timestamp::now().saturating_add_millis(EXCUSED_MS));
    Ok(Opened { object: stale, how: How::Stale })
}

/// The run of whole chunks around the bytes that are wanted; absurd offsets end at the last chunk
/// that a number can name.
fn chunks(wanted: &Range<u64>) -> (u32, u32) {
    let last = u32::MAX - run::RUN - 1;
    let first = u32::try_from(wanted.start / CHUNK).unwrap_or(last).min(last);
    let end = u32::try_from(wanted.end.div_ceil(CHUNK)).unwrap_or(last);
    (first, end.clamp(first + 1, first + run::RUN))
}

/// What a request would first read of an object whose size it does not know: for a suffix that is
/// nothing yet, so the first chunk stands for it.
#[must_use]
pub fn wanted(range: Option<RangeSpec>) -> Option<Range<u64>> {
    match range {
        None => Some(0..u64::MAX),
        Some(RangeSpec::From { first, last }) => Some(first..last.map_or(u64::MAX, |last| last.saturating_add(1))),
        Some(RangeSpec::Suffix(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_whole_chunks() {
        for (wanted, run) in [
            (0..1, (0, 1)),
            (CHUNK - 1..CHUNK + 1, (0, 2)),
            (3 * CHUNK..4 * CHUNK, (3, 4)),
            (5 * CHUNK..u64::MAX, (5, 5 + run::RUN)),
        ] {
            assert_eq!(chunks(&wanted), run, "{wanted:?}");
        }
        let (first, end) = chunks(&(u64::MAX - 1..u64::MAX));
        assert!(first < end);
    }
}
