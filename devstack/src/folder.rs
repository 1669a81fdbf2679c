//! Where things lie: the workspace, its `.tonearm` folder, the cache, and the programs beside us.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::progress::during;

/// The workspace that this crate was built in.
#[must_use]
pub fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// What `make up` owns: `TONEARM_DIR`, for a second stack beside the first, or a folder that git ignores.
#[must_use]
pub fn dot_tonearm() -> PathBuf {
    std::env::var_os("TONEARM_DIR").map_or_else(|| workspace().join(".tonearm"), PathBuf::from)
}

/// What is fetched or made once, for every stack: `TONEARM_CACHE`, or a folder that `make reset` leaves.
#[must_use]
pub fn cache() -> PathBuf {
    std::env::var_os("TONEARM_CACHE").map_or_else(|| workspace().join(".tonearm/cache"), PathBuf::from)
}

/// A binary of this workspace, in the folder of the running one or, for a test, in the folder above.
#[must_use]
pub fn binary(name: &str) -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let folder = here.parent()?;
    let beside = [Some(folder), folder.parent()];
    beside.into_iter().flatten().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A program of the `PATH`.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Holds a folder for as long as it lives; the kernel lets go when its process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// The lock, or none when another process holds it.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn try_take(file: &Path) -> Result<Option<Self>> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let handle = File::options().read(true).write(true).create(true).truncate(false).open(file);
        let handle = handle.with_context(|| format!("open {}", file.display()))?;
        match handle.try_lock() {
            Ok(()) => Ok(Some(Self { file: handle })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", file.display())),
        }
    }
}

impl Lock {
    /// The lock, once the process that holds it has let go; `doing` says what that one does.
    ///
    /// # Errors
    /// When it holds it for longer than `within`, or the file cannot be opened.
    pub async fn wait(file: &Path, doing: &str, within: Duration) -> Result<Self> {
        let deadline = Instant::now() + within;
        let taken = async {
            loop {
                if let Some(lock) = Self::try_take(file)? {
                    return Ok(lock);
                }
                if Instant::now() > deadline {
                    bail!("another process that {doing} has held {} for {within:?}", file.display());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        during(&format!("waiting for another process that {doing}"), taken).await
    }

    /// Leaves a word in the lock's file for those who find it taken, or left behind.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, text: &str) -> Result<()> {
        self.file.set_len(0).context("empty a lock's file")?;
        self.file.write_all_at(text.as_bytes(), 0).context("write a lock's file")
    }
}

impl Drop for Lock {
    /// Closing alone would not do: a child that another thread is just starting has the file too, until
    /// it runs its program.
    fn drop(&mut self) {
        // It fails only where there is no lock left to let go of.
        let _ = self.file.unlock();
    }
}

/// Refuses to begin what the disk cannot hold.
///
/// # Errors
/// When fewer than `needed_gib` are free.
pub fn check_space(folder: &Path, needed_gib: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(folder).with_context(|| format!("ask how much space {} has", folder.display()))?;
    let free_mib = stat.f_bavail * stat.f_frsize / (1 << 20);
    if free_mib < needed_gib * 1024 {
        bail!(
            "{} has {free_mib} MiB free and {needed_gib} GiB are needed: free some, or set TONEARM_CACHE to another disk",
            folder.display()
        );
    }
    Ok(())
}
