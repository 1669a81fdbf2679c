//! A fill: one request to the origin for one run of chunks, followed by every reader that wants them.
//!
//! Readers get bytes as they arrive, from the chunk that is being put together, or from the last
//! [`WINDOW`] whole chunks; whoever is slower finds them in the cache. No reader is ever waited for.
//! A fill ends at the first chunk that another fill has taken over, and, once nobody follows, where
//! more than [`run::FINISH_ALONE`] would be left to fetch. It may begin in the midst of a chunk, where
//! what lies before is held, or where the origin sent another part than it was asked for.

pub mod run;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use crate::cache::room::Room;
use crate::object::CHUNK;
use crate::origin::OriginError;

/// Whole chunks that a fill keeps at hand for those who follow closely, in case memory admits none
/// and the disk is slow: 2 MiB a fill, and there are at most `origin_concurrency` fills.
const WINDOW: usize = 8;

/// A reader this many chunks ahead of a fill waits for it rather than asking the origin itself.
const JOIN_AHEAD: u32 = 1;

/// Pieces smaller than this are put together, so that an origin that sends byte by byte costs time
/// and not memory.
const SMALL_PIECE: usize = 4096;

#[derive(Debug)]
pub struct Fill {
    pub first: u32,
    /// Where in the first chunk it begins.
    pub base: u64,
    /// The first chunk that is not its own any more; shrinks, and grows again only where who took over has failed.
    end: AtomicU32,
    /// Whoever is ahead of it waits, however far: the origin sends nothing but the whole.
    patient: bool,
    state: Mutex<State>,
    /// Counts what has arrived, only to wake followers.
    progress: watch::Sender<u64>,
    followers: AtomicUsize,
}

#[derive(Debug)]
struct State {
    /// The chunk that is being put together.
    at: u32,
    pieces: Vec<Piece>,
    /// Where in the chunk the pieces begin and end.
    base: u64,
    have: u64,
    window: VecDeque<(u32, Run)>,
    ended: Option<Result<(), OriginError>>,
}

/// Bytes of one chunk, from `base` on.
#[derive(Debug, Clone)]
pub struct Run {
    pub base: u64,
    pub bytes: Bytes,
}

#[derive(Debug)]
struct Piece {
    /// In the chunk.
    start: u64,
    bytes: Bytes,
}

/// What a fill has for a reader at one place.
#[derive(Debug)]
enum Look {
    Bytes(Bytes),
    Wait,
    /// Not here any more, or never: look in the cache, or start another fill.
    Elsewhere,
    Failed(OriginError),
}

impl Fill {
    /// A fill from a byte of the object to the end of the chunk before `end`.
    #[must_use]
    pub fn new(start: u64, end: u32, patient: bool) -> Self {
        let (first, base) = (u32::try_from(start / CHUNK).expect("within an object"), start % CHUNK);
        let state = State { at: first, pieces: Vec::new(), base, have: base, window: VecDeque::new(), ended: None };
        Self {
            first,
            base,
            end: AtomicU32::new(end),
            patient,
            state: Mutex::new(state),
            progress: watch::Sender::new(0),
            followers: AtomicUsize::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn end(&self) -> u32 {
        self.end.load(Relaxed)
    }

    /// The first byte that it brings.
    #[must_use]
    pub fn start(&self) -> u64 {
        u64::from(self.first) * CHUNK + self.base
    }

    /// The first byte after its last chunk; the object may end before.
    #[must_use]
    pub fn end_byte(&self) -> u64 {
        u64::from(self.end()) * CHUNK
    }

    /// The origin sends less than it was asked for.
    pub fn end_at(&self, end: u32) {
        self.end.fetch_min(end, Relaxed);
    }

    /// Whether a reader at this place should follow this fill.
    #[must_use]
    pub fn serves(&self, chunk: u32, offset: u64) -> bool {
        let state = self.state();
        if chunk < state.at {
            return state.window.iter().any(|(held, run)| *held == chunk && offset >= run.base);
        }
        let near = self.patient || chunk <= state.at.saturating_add(JOIN_AHEAD);
        let here = chunk > state.at || offset >= state.base;
        state.ended.is_none() && chunk < self.end() && near && here
    }

    /// Whether it has brought, or is going to bring, all of a chunk.
    #[must_use]
    pub fn brings(&self, chunk: u32) -> bool {
        let state = self.state();
        let begun_before = chunk > self.first || (chunk == self.first && self.base == 0);
        let ahead = state.ended.is_none() && chunk >= state.at && chunk < self.end();
        begun_before && (ahead || state.window.iter().any(|(held, _)| *held == chunk))
    }

    /// Another fill takes over from `chunk` on, where that lies ahead: where this one would have ended.
    #[must_use]
    pub fn give_up_from(&self, chunk: u32) -> Option<u32> {
        let state = self.state();
        if chunk <= state.at {
            return None;
        }
        Some(self.end.fetch_min(chunk, Relaxed)).filter(|before| *before > chunk)
    }

    /// The other one has failed: this one goes on to where it would have ended, if it is not there yet.
    pub fn go_on_after(&self, chunk: u32, before: u32) {
        // Not where a third one has taken over from earlier on.
        let _ = self.end.compare_exchange(chunk, before, Relaxed, Relaxed);
    }

    /// The first chunk of `range` that this fill is going to bring.
    #[must_use]
    pub fn first_ahead(&self, range: std::ops::Range<u32>) -> Option<u32> {
        let state = self.state();
        let ahead = state.at.max(range.start);
        (state.ended.is_none() && ahead < self.end().min(range.end)).then_some(ahead)
    }

    /// Counts in a reader for as long as it holds what it gets.
    #[must_use]
    pub fn follow(self: &Arc<Self>) -> Following {
        self.followers.fetch_add(1, Relaxed);
        Following(self.clone())
    }

    fn look(&self, chunk: u32, offset: u64) -> Look {
        let state = self.state();
        if chunk == state.at && (state.base..state.have).contains(&offset) {
            return Look::Bytes(state.piece_at(offset));
        }
        if chunk < state.at || (chunk == state.at && offset < state.base) {
            let held = state.window.iter().find(|(held, _)| *held == chunk);
            let at = held.and_then(|(_, run)| Some((run, offset.checked_sub(run.base)?)));
            return at.map_or(Look::Elsewhere, |(run, at)| Look::Bytes(run.bytes.slice(at as usize..)));
        }
        match &state.ended {
            Some(Err(error)) => Look::Failed(error.clone()),
            Some(Ok(())) => Look::Elsewhere,
            None if chunk >= self.end() => Look::Elsewhere,
            None => Look::Wait,
        }
    }

    /// More bytes of the chunk that is being put together; all of it, where they complete it.
    fn add(&self, bytes: Bytes, chunk_len: u64, room: &Room) -> Option<Run> {
        let mut state = self.state();
        state.add(bytes);
        let whole = (state.have == chunk_len).then(|| state.run(room));
        drop(state);
        self.progress.send_modify(|count| *count += 1);
        whole
    }

    /// What there is of the chunk that is being put together.
    fn begun(&self, room: &Room) -> Option<(u32, Run)> {
        let state = self.state();
        (state.have > state.base).then(|| (state.at, state.run(room)))
    }

    /// On to the next chunk, once this one has been handed to the cache.
    fn advance(&self, run: Run) {
        let mut state = self.state();
        let done = state.at;
        state.window.push_back((done, run));
        if state.window.len() > WINDOW {
            state.window.pop_front();
        }
        state.at += 1;
        state.pieces.clear();
        (state.base, state.have) = (0, 0);
        drop(state);
        self.progress.send_modify(|count| *count += 1);
    }

    fn finish(&self, outcome: Result<(), OriginError>) {
        self.state().ended.get_or_insert(outcome);
        self.progress.send_modify(|count| *count += 1);
    }

    /// Lets go of all bytes: a slow reader holds its fill for long after it has ended, and must not
    /// hold them with it.
    fn release(&self) {
        let mut state = self.state();
        state.window.clear();
        state.pieces.clear();
        state.have = state.base;
    }
}

impl State {
    fn add(&mut self, bytes: Bytes) {
        let start = self.have;
        self.have += bytes.len() as u64;
        match self.pieces.last_mut() {
            Some(last) if last.bytes.len() < SMALL_PIECE => {
                let mut joined = BytesMut::with_capacity(last.bytes.len() + bytes.len());
                joined.extend_from_slice(&last.bytes);
                joined.extend_from_slice(&bytes);
                last.bytes = joined.freeze();
            }
            _ => self.pieces.push(Piece { start, bytes }),
        }
    }

    fn piece_at(&self, offset: u64) -> Bytes {
        let after = self.pieces.partition_point(|piece| piece.start <= offset);
        let piece = &self.pieces[after - 1];
        piece.bytes.slice((offset - piece.start) as usize..)
    }

    /// One piece of memory of exactly the size: what the cache holds must be what it counts.
    fn run(&self, room: &Room) -> Run {
        Run { base: self.base, bytes: room.gather(self.pieces.iter().map(|piece| &piece.bytes[..])) }
    }
}

/// A reader's interest in a fill.
#[derive(Debug)]
pub struct Following(Arc<Fill>);

impl Following {
    #[must_use]
    pub fn is(&self, fill: &Arc<Fill>) -> bool {
        Arc::ptr_eq(&self.0, fill)
    }

    /// Bytes from this place on, as soon as there are any; none where they are to be had elsewhere.
    ///
    /// # Errors
    /// What the fill broke off with.
    pub async fn bytes(&self, chunk: u32, offset: u64) -> Result<Option<Bytes>, OriginError> {
        let mut progress = self.0.progress.subscribe();
        loop {
            match self.0.look(chunk, offset) {
                Look::Bytes(bytes) => return Ok(Some(bytes)),
                Look::Elsewhere => return Ok(None),
                Look::Failed(error) => return Err(error),
                // Cannot fail: the sender lives in the fill that we hold. Ends: run's guard finishes every fill.
                Look::Wait => drop(progress.changed().await),
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room::new(1 << 20)
    }

    fn look(fill: &Fill, chunk: u32, offset: u64) -> String {
        match fill.look(chunk, offset) {
            Look::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn pieces_are_read_at_any_offset() {
        let fill = Fill::new(3 * CHUNK, 5, false);
        assert!(fill.add(Bytes::from(vec![b'a'; SMALL_PIECE]), CHUNK, &room()).is_none());
        for text in ["bc", "d", "ef"] {
            assert!(fill.add(Bytes::from_static(text.as_bytes()), CHUNK, &room()).is_none());
        }
        let small = SMALL_PIECE as u64;
        assert_eq!(look(&fill, 3, small - 1), "a");
        assert_eq!(look(&fill, 3, small), "bcdef");
        assert_eq!(look(&fill, 3, small + 4), "f");
        assert_eq!(look(&fill, 3, small + 5), "Wait");
        assert_eq!(
            (look(&fill, 4, 0), look(&fill, 5, 0), look(&fill, 2, 0)),
            ("Wait".into(), "Elsewhere".into(), "Elsewhere".into())
        );
    }

    #[test]
    fn a_fill_is_joined_near_and_cut_far() {
        let fill = Fill::new(0, 10, false);
        assert!(fill.serves(0, 0) && fill.serves(1, 9) && !fill.serves(2, 0));
        assert!(Fill::new(0, 10, true).serves(9, 0));
        assert_eq!(fill.first_ahead(5..20), Some(5));
        assert_eq!(fill.give_up_from(4), Some(10));
        assert_eq!((fill.end(), fill.first_ahead(5..20), fill.first_ahead(0..20)), (4, None, Some(0)));
        assert_eq!((fill.give_up_from(0), fill.give_up_from(7)), (None, None));
        assert_eq!(fill.end(), 4, "the chunk under way stays its own");
        fill.go_on_after(6, 10);
        assert_eq!(fill.end(), 4, "another has taken over since");
        fill.go_on_after(4, 10);
        assert_eq!(fill.end(), 10);
    }

    #[test]
    fn followers_get_what_arrived_and_then_the_failure() {
        let fill = Fill::new(0, 2, false);
        let whole = fill.add(Bytes::from_static(b"abcd"), 4, &room()).unwrap();
        fill.advance(whole);
        fill.add(Bytes::from_static(b"ef"), 4, &room());
        fill.finish(Err(OriginError::Broken));
        fill.finish(Ok(()));
        assert_eq!((look(&fill, 0, 1), look(&fill, 1, 0)), ("bcd".into(), "ef".into()));
        assert_eq!(look(&fill, 1, 2), "Failed(Broken)");
        fill.release();
        assert_eq!((look(&fill, 0, 1), look(&fill, 1, 0)), ("Elsewhere".into(), "Failed(Broken)".into()));
    }

    #[test]
    fn a_fill_that_begins_within_a_chunk_serves_what_it_has() {
        let fill = Fill::new(CHUNK + 5, 3, false);
        assert!(fill.add(Bytes::from_static(b"fgh"), CHUNK, &room()).is_none());
        assert_eq!(
            (look(&fill, 1, 6), look(&fill, 1, 4), look(&fill, 1, 8)),
            ("gh".into(), "Elsewhere".into(), "Wait".into())
        );
        assert!(fill.serves(1, 5) && !fill.serves(1, 4) && fill.serves(2, 0));
        assert!(!fill.brings(1) && fill.brings(2) && !fill.brings(3));
        let run = fill.add(Bytes::from_static(b"ij"), 10, &room()).unwrap();
        assert_eq!((run.base, &run.bytes[..]), (5, &b"fghij"[..]));
        fill.advance(run);
        assert_eq!((look(&fill, 1, 9), look(&fill, 1, 2)), ("j".into(), "Elsewhere".into()));
    }
}
