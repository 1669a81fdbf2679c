//! How far what a journal holds is acknowledged.
//!
//! Two slots, written in turn: a write that was torn leaves the one before it. A position that is too
//! old costs repeats, which are known by their ids; one that is too new cannot be, for it follows the acknowledgement.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A place in the spool: everything before it is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub segment: u64,
    pub offset: u64,
}

const SLOT: usize = 28;

#[derive(Debug)]
pub struct PositionFile {
    file: File,
    /// Counts writes; the higher of two slots is the newer.
    count: u64,
    place: Place,
}

impl PositionFile {
    /// A file that is new or unreadable says the beginning: everything that is there is sent again.
    ///
    /// # Errors
    /// When it cannot be opened or read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut bytes = [0; 2 * SLOT];
        let mut slots = Vec::new();
        if file.metadata()?.len() >= bytes.len() as u64 {
            file.read_exact_at(&mut bytes, 0)?;
            slots.extend(bytes.chunks_exact(SLOT).filter_map(parse));
        }
        let (count, place) = slots.into_iter().max_by_key(|(count, _)| *count).unwrap_or_default();
        if file.metadata()?.len() > 0 && count == 0 {
            tracing::error!(path = %path.display(), "the spool's position is unreadable; all that it holds is sent again");
        }
        file.set_len(bytes.len() as u64)?;
        Ok(Self { file, count, place })
    }

    pub fn place(&self) -> Place {
        self.place
    }

    /// # Errors
    /// When it cannot be written; the position before it stands.
    pub fn store(&mut self, place: Place) -> io::Result<()> {
        let count = self.count + 1;
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(&count.to_le_bytes());
        slot[8..16].copy_from_slice(&place.segment.to_le_bytes());
        slot[16..24].copy_from_slice(&place.offset.to_le_bytes());
        let sum = crc32c::crc32c(&slot[..24]);
        slot[24..].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&slot, (count % 2) * SLOT as u64)?;
        self.file.sync_data()?;
        (self.count, self.place) = (count, place);
        Ok(())
    }
}

fn parse(slot: &[u8]) -> Option<(u64, Place)> {
    let number = |at: usize| slot.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let sum = u32::from_le_bytes(slot.get(24..SLOT)?.try_into().ok()?);
    if crc32c::crc32c(&slot[..24]) != sum {
        return None;
    }
    Some((number(0)?, Place { segment: number(8)?, offset: number(16)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_one_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("position");
        let (one, two) = (Place { segment: 1, offset: 10 }, Place { segment: 2, offset: 20 });
        let mut position = PositionFile::open(&path).unwrap();
        assert_eq!(position.place(), Place::default());
        position.store(one).unwrap();
        position.store(two).unwrap();
        assert_eq!(PositionFile::open(&path).unwrap().place(), two);
        let mut bytes = std::fs::read(&path).unwrap();
        // The second write went to the first slot.
        bytes[9] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(PositionFile::open(&path).unwrap().place(), one);
        bytes[SLOT + 9] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(PositionFile::open(&path).unwrap().place(), Place::default());
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(PositionFile::open(&path).unwrap().place(), Place::default());
    }
}
