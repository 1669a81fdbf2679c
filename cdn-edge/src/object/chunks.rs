//! Which chunks of an object are on disk, with their checksums.
//!
//! Of an object whose size is known there is one slot a chunk. Of one that comes without its length the
//! slots are made as they are needed, in blocks of doubling size, so that none ever moves.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// More chunks than any object may have: 4 TiB.
pub const MOST: u64 = (1 << BLOCKS) - 1;

const BLOCKS: usize = 24;

/// A slot is a CRC-32C with this bit, or 0.
const PRESENT: u64 = 1 << 32;

type Block = Box<[AtomicU64]>;

#[derive(Debug)]
#[allow(clippy::box_collection, reason = "a Vec is three pointers in each of very many objects")]
pub enum Chunks {
    /// Of most objects there is one, and it needs no memory of its own.
    One(AtomicU64),
    /// A pointer and no more, for most have none.
    Counted(Box<Vec<AtomicU64>>),
    /// Block n has the slots from 2ⁿ - 1 on, 2ⁿ of them.
    Growing(Box<[OnceLock<Block>; BLOCKS]>),
}

fn block<B: FromIterator<AtomicU64>>(slots: usize) -> B {
    (0..slots).map(|_| AtomicU64::new(0)).collect()
}

impl Chunks {
    #[must_use]
    pub fn new(count: Option<u64>) -> Self {
        match count {
            Some(1) => Self::One(AtomicU64::new(0)),
            Some(count) => {
                Self::Counted(Box::new(block(usize::try_from(count).expect("the configuration bounds the size"))))
            }
            None => Self::Growing(Box::new(std::array::from_fn(|_| OnceLock::new()))),
        }
    }

    /// Slots that have been made.
    #[must_use]
    pub fn slots(&self) -> u32 {
        let slots = match self {
            Self::One(_) => 1,
            Self::Counted(block) => block.len(),
            Self::Growing(blocks) => (1 << blocks.iter().take_while(|block| block.get().is_some()).count()) - 1,
        };
        u32::try_from(slots).expect("the configuration bounds the size")
    }

    fn slot(&self, chunk: u32, make: bool) -> Option<&AtomicU64> {
        let blocks = match self {
            Self::One(slot) => return (chunk == 0).then_some(slot),
            Self::Counted(block) => return block.get(chunk as usize),
            Self::Growing(blocks) => blocks,
        };
        let number = (u64::from(chunk) + 1).ilog2() as usize;
        if make {
            // Those before it too, so that `slots` finds no gap.
            for (n, slots) in blocks.iter().enumerate().take(number + 1) {
                slots.get_or_init(|| block(1 << n));
            }
        }
        blocks.get(number)?.get()?.get(chunk as usize + 1 - (1 << number))
    }

    #[must_use]
    pub fn get(&self, chunk: u32) -> Option<u32> {
        let slot = self.slot(chunk, false)?.load(Relaxed);
        #[allow(clippy::cast_possible_truncation, reason = "the low half is the checksum")]
        (slot & PRESENT != 0).then_some(slot as u32)
    }

    /// True where it was not there before.
    pub fn set(&self, chunk: u32, crc: u32) -> bool {
        self.slot(chunk, true).is_some_and(|slot| slot.swap(PRESENT | u64::from(crc), Relaxed) == 0)
    }

    /// True where it was there.
    pub fn clear(&self, chunk: u32) -> bool {
        self.slot(chunk, false).is_some_and(|slot| slot.swap(0, Relaxed) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_keep_what_they_are_given() {
        for chunks in [Chunks::new(Some(100)), Chunks::new(None)] {
            for chunk in [0, 1, 2, 3, 6, 7, 62, 63, 99] {
                assert_eq!(chunks.get(chunk), None);
                assert!(chunks.set(chunk, chunk) && !chunks.set(chunk, chunk + 1));
                assert_eq!(chunks.get(chunk), Some(chunk + 1));
            }
            assert!(chunks.slots() >= 100);
            assert!(chunks.clear(7) && !chunks.clear(7) && chunks.get(7).is_none());
        }
        let one = Chunks::new(Some(1));
        assert!(one.set(0, 7) && !one.set(0, 8) && one.get(0) == Some(8) && one.slots() == 1 && one.clear(0));
        assert!(!one.set(1, 1) && !Chunks::new(Some(2)).set(2, 1), "past the end");
        assert_eq!(Chunks::new(None).slots(), 0);
    }
}
