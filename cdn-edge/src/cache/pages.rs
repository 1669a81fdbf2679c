//! Memory that sockets take as it is: a file without a name, whose pages are handed on without a copy.
//!
//! What is sent so lies in the socket's queue by reference, until the client has acknowledged it. So a page is never
//! written twice: bytes that are given back lose their pages, by a hole in the file, and whoever takes their
//! place next gets others.

mod pipe;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create, sendfile};

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

    /// Whether these very bytes are here.
    #[must_use]
    pub fn have(&self, bytes: &[u8]) -> bool {
        self.place(bytes).is_some()
    }

    fn place(&self, bytes: &[u8]) -> Option<u64> {
        let at = bytes.as_ptr().addr().checked_sub(self.map.as_ptr().addr())?;
        (at < self.map.len()).then_some(at as u64)
    }

    /// Hands as many of these bytes, which must be here, to a socket as it takes now.
    ///
    /// # Errors
    /// The socket's: `WouldBlock` where it takes nothing.
    #[allow(unsafe_code, reason = "pages that are on their way are never written again")]
    pub fn send(&self, socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        let mut at = self.place(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: what is here is written once, and its pages leave the file before others take their place.
        if let Some(sent) = unsafe { pipe::send(&socket, bytes) } {
            return sent;
        }
        Ok(sendfile(socket, &self.file, Some(&mut at), bytes.len())?)
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
        assert_eq!(pages.send(&server, &kept).unwrap(), LEAST);
        drop(kept);
        let next = keep(&[2; LEAST]);
        assert_eq!(pages.place(&next), Some(0), "the same place");
        let mut came = [0; LEAST];
        client.read_exact(&mut came).unwrap();
        assert!(came == [1; LEAST]);
    }

    #[test]
    fn a_socket_takes_what_it_can_and_nothing_twice() {
        let pages = Pages::new(2 * CHUNK).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let whole: Vec<u8> = (0..CHUNK as usize).map(|n| (n % 251) as u8).collect();
        let kept = pages.keep([&whole[..]].into_iter()).unwrap();
        // From the midst of a page, again and again, until the socket is full.
        let (mut sent, mut partly) = (Vec::new(), false);
        loop {
            match pages.send(&server, &kept[9..]) {
                Ok(n) => {
                    sent.extend_from_slice(&whole[9..9 + n]);
                    partly |= n < whole.len() - 9;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(partly && sent.len() > 2 * LEAST, "{}", sent.len());
        let mut came = vec![0; sent.len()];
        client.read_exact(&mut came).unwrap();
        assert!(came == sent);
        // Nothing of what the socket did not take comes with the next.
        assert_eq!(pages.send(&server, &kept[..LEAST]).unwrap(), LEAST);
        client.read_exact(&mut came[..LEAST]).unwrap();
        assert!(came[..LEAST] == whole[..LEAST]);
        assert!(pages.send(&server, &whole).is_err(), "not here");
    }
}
