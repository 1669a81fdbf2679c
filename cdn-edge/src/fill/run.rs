//! Running a fill: from the origin's bytes to chunks in the cache.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::HeaderMap;

use super::Fill;
use crate::library::Library;
use crate::object::{CHUNK, Object};
use crate::origin::{Answer, Body, OriginError};

/// Chunks of one run, 32 MiB: what one request for a part is for at most. A longer read is several
/// runs, so a fill that nobody follows any more is never far from its end.
pub const RUN: u32 = 128;

/// A fill without followers goes on where at most this is left, so that the next listener hits.
pub const FINISH_ALONE: u64 = 8 << 20;

/// Chunks that a fill brings before it looks for followers: those who opened the object may still be
/// on their way to it.
const HEAD_START: u32 = 8;

/// The bytes of an answer, and where in the object they lie.
#[derive(Debug)]
pub struct Source {
    pub body: Body,
    pub start: u64,
    /// None where the answer came without its length: its end is the object's.
    pub end: Option<u64>,
}

/// Ends the fill however its task ends, so that no follower waits for ever.
struct Ending<'a> {
    library: &'a Library,
    object: &'a Arc<Object>,
    fill: &'a Arc<Fill>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.fill.finish(Err(OriginError::Abandoned));
        self.object.running_fills().remove(self.fill);
        self.fill.release();
        self.library.metrics.fills.decrement(1.0);
        self.library.fills.fetch_sub(1, Relaxed);
    }
}

/// Starts a fill of a known object where what is wanted begins, or finds the one to follow instead. None where the
/// bytes have come in the meantime. `asking` is how the client would ask.
///
/// # Errors
/// Where the object is not of a kind of which more could be fetched.
pub fn start(
    library: &Arc<Library>,
    object: &Arc<Object>,
    wanted: Range<u64>,
    asking: Option<&Arc<HeaderMap>>,
) -> Result<Option<(Arc<Fill>, bool)>, OriginError> {
    let position = wanted.start;
    let (chunk, offset) = (u32::try_from(position / CHUNK).expect("within the object"), position % CHUNK);
    let mut running = object.running_fills();
    if let Some(fill) = running.iter().find(|fill| fill.serves(chunk, offset)) {
        return Ok(Some((fill.clone(), false)));
    }
    let held = library.cache.in_memory(object, chunk);
    if library.cache.holds_part(object, chunk, offset, offset + 1) {
        return Ok(None);
    }
    if !object.combinable || object.size().is_none() {
        return Err(OriginError::Changed);
    }
    // Where what lies before is held, the rest is asked for; else the whole chunk, which the disk can keep.
    let begin = if held.is_some_and(|part| part.end() == offset) { position } else { u64::from(chunk) * CHUNK };
    // First the fills behind us end here, then what is left of the others bounds us.
    let cut: Vec<_> =
        running.iter().filter_map(|fill| Some(Cut { before: fill.give_up_from(chunk)?, fill: fill.clone() })).collect();
    let end = run_end(library, object, chunk..u32::try_from(wanted.end.div_ceil(CHUNK)).unwrap_or(u32::MAX), &running);
    let fill = Arc::new(Fill::new(begin, end, object.ignores_ranges()));
    running.push(fill.clone());
    drop(running);
    let (library, object, begun, asking) = (library.clone(), object.clone(), fill.clone(), asking.cloned());
    library.background.clone().spawn(async move { fetch(&library, &object, &begun, cut, asking.as_deref()).await });
    Ok(Some((fill, true)))
}

/// Up to the first chunk that is held or that another fill is going to bring, at most [`RUN`].
fn run_end(library: &Library, object: &Object, wanted: Range<u32>, running: &[Arc<Fill>]) -> u32 {
    let first = wanted.start;
    let limit = wanted.end.min(object.chunks()).min(first.saturating_add(RUN)).max(first + 1);
    let taken = running.iter().filter_map(|fill| fill.first_ahead(first + 1..limit)).min().unwrap_or(limit);
    (first + 1..taken).find(|&chunk| library.cache.holds(object, chunk)).unwrap_or(taken)
}

/// A fill that was to end where another begins.
struct Cut {
    fill: Arc<Fill>,
    before: u32,
}

async fn fetch(library: &Library, object: &Arc<Object>, fill: &Arc<Fill>, cut: Vec<Cut>, asking: Option<&HeaderMap>) {
    let _ending = begin(library, object, fill);
    let outcome = match library.ask_for_part(object, fill.start()..fill.end_byte(), asking, &[]).await {
        Ok(source) => bring(library, object, fill, source, asking).await,
        Err(error) => {
            cut.into_iter().for_each(|Cut { fill: behind, before }| behind.go_on_after(fill.first, before));
            Err(error)
        }
    };
    conclude(library, object, fill, outcome);
}

/// Goes on with an answer whose head made the object known.
pub async fn go_on(library: &Library, object: &Arc<Object>, fill: &Arc<Fill>, source: Source) {
    let _ending = begin(library, object, fill);
    let outcome = bring(library, object, fill, source, None).await;
    conclude(library, object, fill, outcome);
}

/// The source that an answer is, as far as the whole object or a part of it goes.
#[must_use]
pub fn source(answer: Answer) -> Source {
    let start = answer.part.as_ref().map_or(0, |part| part.bytes.start);
    let end = answer.part.as_ref().map_or(answer.length, |part| Some(part.bytes.end));
    Source { body: answer.body, start, end }
}

fn begin<'a>(library: &'a Library, object: &'a Arc<Object>, fill: &'a Arc<Fill>) -> Ending<'a> {
    library.metrics.fills.increment(1.0);
    library.fills.fetch_add(1, Relaxed);
    Ending { library, object, fill }
}

fn conclude(library: &Library, object: &Arc<Object>, fill: &Fill, outcome: Result<(), OriginError>) {
    if let Some((chunk, run)) = fill.begun(&library.cache.memory.room) {
        library.cache.keep(object, chunk, run.base, run.bytes);
    }
    if let Err(error) = &outcome {
        library.metrics.fills_failed.increment(1);
        tracing::warn!(object.key = %object.key(), %error, "a fill broke off");
    }
    // Its readers must not get bytes of another version, and what cannot be completed is of no more use
    // (RFC 9111, section 3.3); the next request asks anew.
    let denied = matches!(outcome, Err(OriginError::Changed | OriginError::Status(401 | 403)));
    let of_use = object.combinable && object.size().is_some() && !denied;
    if outcome.is_err() && !of_use {
        library.cache.drop_version(object);
    }
    fill.finish(outcome);
}

/// How far a fill is: a chunk, and bytes of it.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u32,
    have: u64,
}

impl Place {
    fn position(self) -> u64 {
        u64::from(self.at) * CHUNK + self.have
    }
}

/// Where another edge breaks off, the rest is had from elsewhere: its readers need not notice.
async fn bring(
    library: &Library,
    object: &Arc<Object>,
    fill: &Fill,
    source: Source,
    asking: Option<&HeaderMap>,
) -> Result<(), OriginError> {
    let mut place = Place { at: fill.first, have: fill.base };
    let (mut source, mut lost) = (source, Vec::new());
    loop {
        let edge = source.body.edge().filter(|_| object.combinable && object.size().is_some());
        let outcome = pump(library, object, fill, source, &mut place).await;
        let (Some(edge), Err(OriginError::Broken | OriginError::Timeout(_))) = (edge, &outcome) else { return outcome };
        // Each edge but once: at last it is the origin.
        library.origin.broke_off(&edge);
        lost.push(edge);
        source = library.ask_for_part(object, place.position()..fill.end_byte(), asking, &lost).await?;
    }
}

/// The source begins at the place, or before it where the origin knows no ranges.
async fn pump(
    library: &Library,
    object: &Arc<Object>,
    fill: &Fill,
    source: Source,
    place: &mut Place,
) -> Result<(), OriginError> {
    let Source { mut body, start, end } = source;
    let mut skip = place.position() - start;
    let mut position = start;
    let Place { at, have } = place;
    if let Some(end) = end {
        fill.end_at(u32::try_from(end.div_ceil(CHUNK)).expect("the configuration bounds the size"));
    }
    while end.is_none_or(|end| position < end) && *at < fill.end() {
        if is_pointless(object, fill, *at, *have) {
            // What is here is of use only where the rest can be had another time.
            return if object.combinable && object.size().is_some() { Ok(()) } else { Err(OriginError::Abandoned) };
        }
        let Some(mut data) = body.next().await? else { return at_the_end(library, object, fill, end, position) };
        library.metrics.origin_bytes.increment(data.len() as u64);
        position += data.len() as u64;
        if end.is_some_and(|end| position > end) {
            return Err(OriginError::Nonsense("more bytes than it told"));
        }
        if position > library.max_object {
            return Err(OriginError::TooLarge);
        }
        let skipped = data.split_to(skip.min(data.len() as u64) as usize);
        skip -= skipped.len() as u64;
        while !data.is_empty() && *at < fill.end() {
            let len = object.chunk_len(*at);
            let piece = data.split_to((len - *have).min(data.len() as u64) as usize);
            *have += piece.len() as u64;
            if take(library, object, fill, *at, piece).await {
                (*at, *have) = (*at + 1, 0);
            }
        }
    }
    Ok(())
}

/// A body has ended: as it should have, or where it did not say when.
fn at_the_end(
    library: &Library,
    object: &Arc<Object>,
    fill: &Fill,
    end: Option<u64>,
    position: u64,
) -> Result<(), OriginError> {
    if end.is_some() {
        return Err(OriginError::Broken);
    }
    object.set_size(position);
    if let Some((chunk, run)) = fill.begun(&library.cache.memory.room) {
        library.cache.keep(object, chunk, run.base, run.bytes);
    }
    library.cache.disk.sized(object.clone());
    Ok(())
}

/// True where the piece completed its chunk.
async fn take(library: &Library, object: &Arc<Object>, fill: &Fill, at: u32, piece: Bytes) -> bool {
    let Some(run) = fill.add(piece, object.chunk_len(at), &library.cache.memory.room) else { return false };
    if !object.combinable {
        // A reader who falls behind could not get it anywhere else.
        library.cache.disk.room().await;
    }
    // First the cache, then the fill: whoever no longer finds the chunk here finds it there.
    library.cache.keep(object, at, run.base, run.bytes.clone());
    fill.advance(run);
    true
}

/// Nobody follows, much is left: stop at a chunk's end.
fn is_pointless(object: &Object, fill: &Fill, at: u32, have: u64) -> bool {
    let left = fill.end_byte().min(object.size().unwrap_or(u64::MAX)) - u64::from(at) * CHUNK;
    have == 0 && fill.followers.load(Relaxed) == 0 && at - fill.first >= HEAD_START && left > FINISH_ALONE
}
