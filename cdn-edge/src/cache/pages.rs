//! Memory that sockets take as it is: a file without a name, whose pages `sendfile` hands on without a copy.
//!
//! What is sent so lies in the socket's queue by reference, until the client has acknowledged it. So a page is never
//! written twice: bytes that are given back lose their pages, by a hole in the file, and whoever takes their
//! place next gets others.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

use super::places::Places;
use crate::object::CHUNK;

/// Below this a copy is cheaper than a second system call.
pub const LEAST: usize = 32 << 10;

/// Each of the largest number of chunks that a budget can hold has a place of a chunk's size, most of it a hole.
#[derive(Debug)]
pub struct Pages {
    file: File,
    map: Mmap,
    places: Mutex<Places>,
}

impl Pages {
    /// Room for as many bytes. Takes address space, and memory only as it is filled.
    ///
    /// # Errors
    /// When the system has no such memory or too little address space.
    pub fn new(budget: u64) -> io::Result<Arc<Self>> {
        let all = u32::try_from(budget.div_ceil(LEAST as u64)).unwrap_or(u32::MAX).max(1);
        let file = File::from(memfd_create("tonearm-cache", MemfdFlags::CLOEXEC)?);
        file.set_len(u64::from(all) * CHUNK)?;
        let map = map(&file)?;
        Ok(Arc::new(Self { file, map, places: Mutex::new(Places::new(all)) }))
    }

    /// A copy of these, one behind another; none where they are too few, more than a chunk, or there is no room.
    #[must_use]
    pub fn keep<'a>(self: &Arc<Self>, parts: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Bytes> {
        let length = parts.clone().map(<[u8]>::len).sum();
        if length < LEAST || length as u64 > CHUNK {
            return None;
        }
        let place = self.places().take()?;
        let kept = Kept { pages: self.clone(), place, length };
        let mut at = start(place);
        for part in parts {
            // Where this fails, what was written is given back.
            self.file.write_all_at(part, at).ok()?;
            at += part.len() as u64;
        }
        Some(Bytes::from_owner(kept))
    }

    /// Where these very bytes stand in [`Pages::file`]; none where they are not here.
    #[must_use]
    pub fn place(&self, bytes: &[u8]) -> Option<u64> {
        let at = bytes.as_ptr().addr().checked_sub(self.map.as_ptr().addr())?;
        (at < self.map.len()).then_some(at as u64)
    }

    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(place: u32) -> u64 {
    u64::from(place) * CHUNK
}

#[allow(unsafe_code, reason = "a mapping is sound as long as nobody changes what is borrowed of it")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: nobody else has the file, it never shrinks, and bytes are written only at a place whose one owner has
    // not been handed out yet.
    unsafe { MmapOptions::new().map(file) }
}

/// A place that is taken.
struct Kept {
    pages: Arc<Pages>,
    place: u32,
    length: usize,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        let start = usize::try_from(start(self.place)).expect("it is mapped");
        &self.pages.map[start..start + self.length]
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // A place that keeps its pages is never taken again.
        if fallocate(&self.pages.file, flags, start(self.place), CHUNK).is_ok() {
            self.pages.places().give_back(self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::sendfile;

    use super::*;

    #[test]
    fn what_is_kept_is_found_and_what_is_dropped_takes_no_memory() {
        let pages = Pages::new(4 * CHUNK).unwrap();
        let blocks = || pages.file.metadata().unwrap().blocks() * 512;
        let whole = vec![7; CHUNK as usize];
        let keep = |bytes: &[u8]| pages.keep([bytes].into_iter());
        let kept = keep(&whole).unwrap();
        let other = keep(&whole[..LEAST + 1]).unwrap();
        assert_eq!((&kept[..], other.len()), (&whole[..], LEAST + 1));
        assert_eq!(pages.place(&kept.slice(5..)), Some(5));
        assert_eq!(pages.place(&other), Some(CHUNK));
        assert_eq!(pages.place(&whole), None);
        assert_eq!(blocks(), CHUNK + LEAST as u64 + 4096);
        let part = kept.slice(9..10);
        drop((kept, other));
        assert_eq!((blocks(), part[0]), (CHUNK, 7), "a part of it is still read");
        drop(part);
        assert_eq!(blocks(), 0);
    }

    #[test]
    fn there_is_no_more_room_than_there_is() {
        let pages = Pages::new(2 * LEAST as u64).unwrap();
        let keep = |bytes: &[u8]| pages.keep([bytes].into_iter());
        let bytes = [1; LEAST];
        let kept = [keep(&bytes).unwrap(), pages.keep([&bytes[..9], &bytes[9..]].into_iter()).unwrap()];
        assert!(kept[0] == kept[1] && keep(&bytes).is_none());
        drop(kept);
        assert_eq!(keep(&[2; LEAST]).unwrap()[..], [2; LEAST]);
        assert!(keep(&bytes[1..]).is_none() && keep(&vec![0; CHUNK as usize + 1]).is_none());
    }

    #[test]
    fn what_is_on_its_way_stays_as_it_was() {
        let pages = Pages::new(LEAST as u64).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let keep = |bytes: &[u8]| pages.keep([bytes].into_iter()).unwrap();
        let kept = keep(&[1; LEAST]);
        let mut at = pages.place(&kept).unwrap();
        assert_eq!(sendfile(&server, pages.file(), Some(&mut at), LEAST).unwrap(), LEAST);
        drop(kept);
        let next = keep(&[2; LEAST]);
        assert_eq!(pages.place(&next), Some(0), "the same place");
        let mut came = [0; LEAST];
        client.read_exact(&mut came).unwrap();
        assert!(came == [1; LEAST]);
    }
}
