//! Chunks in memory, within a budget of bytes. What is asked for often stays through a scan ([`super::fifo`]).

use bytes::Bytes;

use super::fifo::{Change, S3Fifo, Weigh};
use super::room::Room;

/// What an entry takes beside its bytes: its slot in a table that is two thirds full, its place in a queue, and what
/// counts the references to the bytes. Without it a million tiny objects would take more than their budget.
const ENTRY_BYTES: usize = 200;

/// Of the processor's caches.
const LINE: usize = 64;
const LINES_AHEAD: usize = 8;

/// What is held of a chunk: one run of its bytes, mostly all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where in the chunk the bytes begin.
    pub start: u32,
    pub bytes: Bytes,
}

impl Part {
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.start) + self.bytes.len() as u64
    }

    #[must_use]
    pub fn is_whole(&self, chunk_len: u64) -> bool {
        self.start == 0 && self.bytes.len() as u64 == chunk_len
    }

    /// The bytes from this place in the chunk on; none where they are not among these.
    #[must_use]
    pub fn from(&self, offset: u64) -> Option<Bytes> {
        let at = offset.checked_sub(u64::from(self.start))?;
        (offset < self.end()).then(|| self.bytes.slice(at as usize..))
    }

    /// Both as one where they touch, else the longer.
    fn joined(self, other: Self, room: &Room) -> Self {
        let (first, second) = if self.start <= other.start { (self, other) } else { (other, self) };
        if first.end() >= second.end() {
            return first;
        }
        if first.end() < u64::from(second.start) {
            return if first.bytes.len() >= second.bytes.len() { first } else { second };
        }
        let rest = &second.bytes[(first.end() - u64::from(second.start)) as usize..];
        Self { start: first.start, bytes: room.gather([&first.bytes, rest].into_iter()) }
    }
}

#[derive(Debug, Clone)]
struct Chunk {
    object: u64,
    number: u32,
    part: Part,
}

impl Weigh for Chunk {
    fn weight(&self) -> u32 {
        u32::try_from(Room::taken(self.part.bytes.len()) + ENTRY_BYTES).unwrap_or(u32::MAX)
    }
}

#[derive(Debug)]
pub struct Memory {
    chunks: S3Fifo<Chunk>,
    /// Where the bytes of all parts are to lie.
    pub room: Room,
}

/// Nobody but us chooses the numbers of objects, so that any mixture will do.
#[allow(clippy::cast_possible_truncation, reason = "the upper half of the product is the well mixed one")]
fn hash(object: u64, chunk: u32) -> u32 {
    let mixed = (object ^ u64::from(chunk).rotate_right(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

fn is(object: u64, chunk: u32) -> impl Fn(&Chunk) -> bool {
    move |held| held.object == object && held.number == chunk
}

/// Has the processor fetch the first lines of what is about to be sent while other things are still looked at: of many
/// bodies none is in its caches.
#[allow(unsafe_code, reason = "there is no safe name for the instruction")]
fn fetch_ahead(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(LINE).take(LINES_AHEAD) {
        // SAFETY: it has no effect on memory, whatever the address.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) };
    }
}

impl Memory {
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self { chunks: S3Fifo::new(budget), room: Room::new(budget) }
    }

    fn change(&self, object: u64, number: u32, with: impl FnOnce(Option<&Part>) -> Change<Part>) {
        let evicted = self.chunks.change(hash(object, number), is(object, number), |held| {
            match with(held.map(|held| &held.part)) {
                Change::Put(part) => Change::Put(Chunk { object, number, part }),
                Change::Remove => Change::Remove,
                Change::None => Change::None,
            }
        });
        drop(evicted);
    }

    /// To see what there is.
    #[must_use]
    pub fn get(&self, object: u64, chunk: u32) -> Option<Part> {
        self.chunks.peek(hash(object, chunk), is(object, chunk)).map(|held| held.part)
    }

    /// For what is then sent.
    #[must_use]
    pub fn read(&self, object: u64, chunk: u32) -> Option<Part> {
        self.chunks.look(hash(object, chunk), is(object, chunk), |held| {
            fetch_ahead(&held.part.bytes);
            held.part.clone()
        })
    }

    #[must_use]
    pub fn has(&self, object: u64, chunk: u32) -> bool {
        self.chunks.contains(hash(object, chunk), is(object, chunk))
    }

    /// Puts a part to what is there; all that is then held of the chunk.
    pub fn put(&self, object: u64, chunk: u32, part: Part, whole: bool) -> Part {
        let mut joined = part;
        self.change(object, chunk, |held| {
            if let Some(held) = held.filter(|_| !whole) {
                joined = held.clone().joined(joined.clone(), &self.room);
            }
            Change::Put(joined.clone())
        });
        joined
    }

    pub fn remove(&self, object: u64, chunk: u32) {
        self.change(object, chunk, |held| held.map_or(Change::None, |_| Change::Remove));
    }

    /// Bytes held, entries included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_where_they_touch() {
        let room = Room::new(1 << 20);
        let part = |start: u32, text: &'static str| Part { start, bytes: Bytes::from_static(text.as_bytes()) };
        for (one, other, wanted) in [
            (part(0, "abc"), part(3, "def"), part(0, "abcdef")),
            (part(2, "cdef"), part(0, "abc"), part(0, "abcdef")),
            (part(0, "abcdef"), part(2, "cd"), part(0, "abcdef")),
            (part(0, "ab"), part(3, "def"), part(3, "def")),
            (part(0, "abc"), part(9, "z"), part(0, "abc")),
        ] {
            assert_eq!(one.clone().joined(other.clone(), &room), wanted);
            assert_eq!(other.joined(one, &room), wanted);
        }
        assert_eq!(part(2, "cde").from(3).as_deref(), Some(&b"de"[..]));
        assert!(part(2, "cde").from(1).is_none() && part(2, "cde").from(5).is_none());
    }
}
