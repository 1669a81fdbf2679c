//! From mapped memory to a socket without a copy: a pipe takes references to the pages, and the socket takes them over.
//!
//! `sendfile` does the same and looks each page up in the file; these are found where they are mapped, many at a time,
//! which saves a tenth of what 256 KiB cost.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::Errno;
use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice, vmsplice};

use crate::object::CHUNK;

/// It has a slot a page: room for a chunk that does not begin at a page's start.
const SIZE: usize = 2 * CHUNK as usize;

thread_local! {
    /// Empty between two uses.
    static PIPE: Cell<Option<Pipe>> = const { Cell::new(None) };
}

/// The system does not let us, a container's filter for example: asked once.
static REFUSED: AtomicBool = AtomicBool::new(false);

struct Pipe {
    end: OwnedFd,
    start: OwnedFd,
    /// Takes what a socket did not.
    sink: File,
}

/// Hands on as many of these as the socket takes now; none where the system gives no pipe.
///
/// # Errors
/// The socket's: `WouldBlock` where it takes nothing.
///
/// # Safety
/// As long as anything refers to their memory, it is never written again.
#[allow(unsafe_code, reason = "who takes memory by reference cannot say for how long")]
pub(super) unsafe fn send(socket: impl AsFd, bytes: &[u8]) -> Option<io::Result<usize>> {
    if REFUSED.load(Relaxed) {
        return None;
    }
    let pipe = PIPE.take().or_else(|| Pipe::new().ok())?;
    // SAFETY: this is the end that is written to, and the caller promises the rest.
    let held = unsafe { vmsplice(&pipe.start, &[IoSliceRaw::from_slice(bytes)], SpliceFlags::NONBLOCK) };
    let held = held.inspect_err(|_| REFUSED.store(true, Relaxed)).ok()?;
    let taken = splice(&pipe.end, None, socket, None, held, SpliceFlags::NONBLOCK);
    let left = held - *taken.as_ref().unwrap_or(&0);
    // Dropped, it gives back whatever is left in it.
    if left == 0 || pipe.discard(left).is_ok() {
        PIPE.set(Some(pipe));
    }
    Some(taken.map_err(io::Error::from))
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (end, start) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&start, SIZE)?;
        Ok(Self { end, start, sink: File::options().write(true).open("/dev/null")? })
    }

    fn discard(&self, mut left: usize) -> rustix::io::Result<()> {
        while left > 0 {
            match splice(&self.end, None, &self.sink, None, left, SpliceFlags::NONBLOCK)? {
                0 => return Err(Errno::IO),
                some => left -= some,
            }
        }
        Ok(())
    }
}
