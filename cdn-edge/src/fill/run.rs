//! Running a fill: from the origin's bytes to whole chunks in the cache.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::Fill;
use crate::library::Library;
use crate::object::{CHUNK, Object};
use crate::origin::{Ask, Body, Found, OriginError, Reply};

/// Chunks of one run, 32 MiB: what one request to the origin is for at most. A longer read is several
/// runs, so a fill that nobody follows any more is never far from its end.
pub const RUN: u32 = 128;

/// A fill without followers goes on where at most this is left, so that the next listener hits.
pub const FINISH_ALONE: u64 = 8 << 20;

/// Chunks that a fill brings before it looks for followers: those who opened the object may still be
/// on their way to it.
const HEAD_START: u32 = 8;

/// Ends the fill however its task ends, so that no follower waits for ever.
struct Ending<'a> {
    library: &'a Library,
    object: &'a Object,
    fill: &'a Arc<Fill>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.fill.finish(Err(OriginError::Abandoned));
        self.object.running_fills().retain(|other| !Arc::ptr_eq(other, self.fill));
        self.fill.release();
        self.library.metrics.fills.decrement(1.0);
    }
}

/// Starts a fill of a known object at `first`, or finds the one to follow instead. None where the
/// chunk has come in the meantime.
pub fn start(library: &Arc<Library>, object: &Arc<Object>, first: u32, wanted: u32) -> Option<(Arc<Fill>, bool)> {
    let mut running = object.running_fills();
    if let Some(fill) = running.iter().find(|fill| fill.serves(first)) {
        return Some((fill.clone(), false));
    }
    if library.cache.holds(object, first) {
        return None;
    }
    // First the fills behind us end here, then what is left of the others bounds us.
    running.iter().for_each(|fill| fill.give_up_from(first));
    let end = run_end(library, object, first..wanted, &running);
    let fill = Arc::new(Fill::new(first, end));
    running.push(fill.clone());
    drop(running);
    let (library, object, begun) = (library.clone(), object.clone(), fill.clone());
    library.background.clone().spawn(async move { fetch(&library, &object, &begun).await });
    Some((fill, true))
}

/// Up to the first chunk that is held or that another fill is going to bring, at most [`RUN`].
fn run_end(library: &Library, object: &Object, wanted: Range<u32>, running: &[Arc<Fill>]) -> u32 {
    let first = wanted.start;
    let limit = wanted.end.min(first.saturating_add(RUN)).max(first + 1);
    let taken = running.iter().filter_map(|fill| fill.first_ahead(first + 1..limit)).min().unwrap_or(limit);
    (first + 1..taken).find(|&chunk| library.cache.holds(object, chunk)).unwrap_or(taken)
}

async fn fetch(library: &Library, object: &Arc<Object>, fill: &Arc<Fill>) {
    let _ending = begin(library, object, fill);
    let outcome = match ask(library, object, fill).await {
        Ok(found) => pump(library, object, fill, found.body, found.bytes.start).await,
        Err(error) => Err(error),
    };
    conclude(library, object, fill, outcome);
}

/// Goes on with an answer whose head made the object known.
pub async fn go_on(library: &Library, object: &Arc<Object>, fill: &Arc<Fill>, body: Body, position: u64) {
    let _ending = begin(library, object, fill);
    let outcome = pump(library, object, fill, body, position).await;
    conclude(library, object, fill, outcome);
}

fn begin<'a>(library: &'a Library, object: &'a Object, fill: &'a Arc<Fill>) -> Ending<'a> {
    library.metrics.fills.increment(1.0);
    Ending { library, object, fill }
}

fn conclude(library: &Library, object: &Arc<Object>, fill: &Fill, outcome: Result<(), OriginError>) {
    if let Err(error) = &outcome {
        library.metrics.fills_failed.increment(1);
        tracing::warn!(object.key = %object.key, %error, "a fill broke off");
    }
    // Its readers must not get bytes of another version; the next request asks anew.
    if outcome == Err(OriginError::Changed) {
        library.cache.drop_version(object);
    }
    fill.finish(outcome);
}

/// Asks for the rest of a known version, and for no other.
async fn ask(library: &Library, object: &Object, fill: &Fill) -> Result<Found, OriginError> {
    let range = u64::from(fill.first) * CHUNK..(u64::from(fill.end()) * CHUNK).min(object.size());
    // A weak tag never matches strongly; its comparison below has to do.
    let if_match = object.etag().filter(|etag| !etag.as_bytes().starts_with(b"W/")).cloned();
    let ask = Ask { range: Some(range), if_match, if_none_match: None };
    match library.origin.get(&object.key, &ask).await? {
        Reply::Found(found) if found.description.same_version(&object.description) => Ok(found),
        Reply::Found(_) | Reply::Changed | Reply::NotFound | Reply::OutOfRange => Err(OriginError::Changed),
        Reply::NotModified(_) => Err(OriginError::Nonsense("304 to a question without If-None-Match")),
    }
}

/// `position` is where the body begins: at the fill's first chunk, or before it where the origin
/// knows no ranges.
async fn pump(
    library: &Library,
    object: &Arc<Object>,
    fill: &Fill,
    mut body: Body,
    position: u64,
) -> Result<(), OriginError> {
    let mut skip = u64::from(fill.first) * CHUNK - position;
    let mut at = fill.first;
    let mut have = 0;
    while at < fill.end() && !is_pointless(object, fill, at, have) {
        let Some(mut data) = body.next().await? else { return Err(OriginError::Broken) };
        library.metrics.origin_bytes.increment(data.len() as u64);
        let skipped = data.split_to(skip.min(data.len() as u64) as usize);
        skip -= skipped.len() as u64;
        while !data.is_empty() && at < fill.end() {
            let len = object.chunk_len(at);
            let piece = data.split_to((len - have).min(data.len() as u64) as usize);
            have += piece.len() as u64;
            if take(library, object, fill, at, piece) {
                (at, have) = (at + 1, 0);
            }
        }
    }
    Ok(())
}

/// True where the piece completed its chunk.
fn take(library: &Library, object: &Arc<Object>, fill: &Fill, at: u32, piece: Bytes) -> bool {
    let Some(whole) = fill.add(piece, object.chunk_len(at)) else { return false };
    // First the cache, then the fill: whoever no longer finds the chunk here finds it there.
    library.cache.keep(object, at, &whole);
    fill.advance(whole);
    true
}

/// Nobody follows, much is left: stop at a chunk's end.
fn is_pointless(object: &Object, fill: &Fill, at: u32, have: u64) -> bool {
    let left = (u64::from(fill.end()) * CHUNK).min(object.size()) - u64::from(at) * CHUNK;
    have == 0 && fill.followers.load(Relaxed) == 0 && at - fill.first >= HEAD_START && left > FINISH_ALONE
}
