//! The spool's folder: one process at a time, an id that stays, and the files in it.
//!
//! ```text
//! lock               held while a process has the folder
//! id                 a UUID, made once
//! position           how far it is acknowledged
//! 00000000000000000007.spool   a segment; a number is never used twice
//! damaged/7-1024     bytes of segment 7 at 1024 that were no record
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

const EXTENSION: &str = "spool";
/// Enough that a disk which takes it takes a group too.
const PROBE_BYTES: usize = 1 << 20;

/// Why a spool cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the spool {} is in use by another process; each needs a spool_dir of its own", .0.display())]
    InUse(PathBuf),
    #[error("cannot use the spool {}: {error}", dir.display())]
    Unusable { dir: PathBuf, error: io::Error },
}

#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    lock: File,
    id: Uuid,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing alone would leave it locked while a child of this process still has the descriptor.
        self.release();
    }
}

impl Folder {
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::lock(dir).map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse(dir.to_owned()),
            TryLockError::Error(error) => OpenError::Unusable { dir: dir.to_owned(), error },
        })
    }

    fn lock(dir: &Path) -> Result<Self, TryLockError> {
        fs::create_dir_all(dir.join("damaged")).map_err(TryLockError::Error)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"));
        let lock = lock.map_err(TryLockError::Error)?;
        lock.try_lock()?;
        let id = id(dir).map_err(TryLockError::Error)?;
        Ok(Self { dir: dir.to_owned(), lock, id })
    }

    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Lets another process have it.
    pub fn release(&self) {
        // It goes with the process in any case.
        let _ = self.lock.unlock();
    }

    pub fn position(&self) -> PathBuf {
        self.dir.join("position")
    }

    pub fn segment(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.{EXTENSION}"))
    }

    /// The segments that are there, oldest first.
    pub fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let number = |name: &str| name.strip_suffix(EXTENSION)?.strip_suffix('.')?.parse::<u64>().ok();
            numbers.extend(name.to_str().and_then(number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A new segment that a power loss does not take away again.
    pub fn create(&self, number: u64) -> io::Result<File> {
        let file = OpenOptions::new().create_new(true).write(true).open(self.segment(number))?;
        self.sync()?;
        Ok(file)
    }

    pub fn remove(&self, number: u64) {
        // One that stays is found to be acknowledged at the next start, and goes then.
        if let Err(error) = fs::remove_file(self.segment(number))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, segment = number, "cannot remove a segment of the spool that is done");
        }
    }

    /// Keeps bytes that are no record where a person can look at them.
    pub fn set_aside(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let folder = self.dir.join("damaged");
        let mut file = File::create(folder.join(format!("{segment}-{offset}")))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        sync(&folder)
    }

    /// Whether something was set aside and nobody has taken it away since.
    pub fn has_damage(&self) -> bool {
        fs::read_dir(self.dir.join("damaged")).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Whether the disk takes bytes.
    pub fn probe(&self) -> io::Result<()> {
        let path = self.dir.join("probe");
        let probed = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_data()
        });
        let removed = fs::remove_file(&path);
        probed.and(removed)
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.dir)
    }
}

/// The folder's id; made where there is none.
fn id(dir: &Path) -> io::Result<Uuid> {
    let path = dir.join("id");
    let known = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    if let Some(id) = known {
        return Ok(id);
    }
    let (id, beside) = (Uuid::now_v7(), dir.join("id.new"));
    let mut file = File::create(&beside)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    fs::rename(&beside, &path)?;
    sync(dir)?;
    // The folder itself may be new.
    dir.parent().map_or(Ok(()), sync)?;
    Ok(id)
}

fn sync(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}
