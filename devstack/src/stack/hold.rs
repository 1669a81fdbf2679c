//! Who runs the stack: a lock that its process holds, with its pid inside.
//!
//! The kernel lets go of the lock when the process ends, however it ends. So a lock that is taken means a
//! stack that runs, and a pid in a free one a stack that was killed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::folder::Lock;
use crate::progress::{during, say};

/// Roles drain, servers flush.
const DOWN_WITHIN: Duration = Duration::from_secs(60);
const KILLED_WITHIN: Duration = Duration::from_secs(10);

fn lock_file(root: &Path) -> PathBuf {
    root.join("stack.pid")
}

/// The mark of a stack that is up, not only starting.
#[must_use]
pub fn ready_file(root: &Path) -> PathBuf {
    root.join("ready")
}

/// The stack is ours to run, for as long as this lives.
#[derive(Debug)]
pub struct Hold {
    lock: Lock,
    root: PathBuf,
}

impl Hold {
    /// None where another process runs the stack.
    ///
    /// # Errors
    /// When the folder does not let us.
    pub fn try_take(root: &Path) -> Result<Option<Self>> {
        let left = pid(root);
        let Some(lock) = Lock::try_take(&lock_file(root))? else { return Ok(None) };
        if let Some(pid) = left {
            say(&format!(
                "the last run (pid {}) did not end in order; going on with the data it left",
                pid.as_raw_nonzero()
            ));
        }
        lock.write(&std::process::id().to_string())?;
        let hold = Self { lock, root: root.to_path_buf() };
        unmark(root);
        Ok(Some(hold))
    }

    /// # Errors
    /// When the folder does not take the mark.
    pub fn mark_ready(&self) -> Result<()> {
        std::fs::write(ready_file(&self.root), "").context("mark the stack as ready")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        unmark(&self.root);
        // An old pid left inside costs the next run a word.
        let _ = self.lock.write("");
    }
}

pub(super) fn unmark(root: &Path) {
    // Mostly there is none.
    let _ = std::fs::remove_file(ready_file(root));
}

fn pid(root: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(lock_file(root)).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

/// The process that runs the stack.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn holder(root: &Path) -> Result<Option<Pid>> {
    if !is_held(root)? {
        return Ok(None);
    }
    // Taken, with its pid not yet inside: it has begun this very moment.
    pid(root).map(Some).context("a stack is just starting; try again")
}

fn is_held(root: &Path) -> Result<bool> {
    Ok(lock_file(root).exists() && Lock::try_take(&lock_file(root))?.is_none())
}

/// Stops the stack, whoever runs it, and waits until it is gone.
///
/// # Errors
/// When it does not end.
pub async fn down(root: &Path) -> Result<()> {
    let Some(pid) = holder(root)? else {
        match pid(root) {
            Some(pid) => say(&format!(
                "not running; the last run (pid {}) did not end in order, and left no process",
                pid.as_raw_nonzero()
            )),
            None => say("not running"),
        }
        return Ok(());
    };
    say(&format!("stopping the stack (pid {})", pid.as_raw_nonzero()));
    kill_process(pid, Signal::TERM)
        .with_context(|| format!("signal pid {}: is it another user's?", pid.as_raw_nonzero()))?;
    if during("stopping", gone(root, DOWN_WITHIN)).await? {
        say("stopped");
        return Ok(());
    }
    say(&format!("it did not stop within {DOWN_WITHIN:?}; killing it"));
    kill_process(pid, Signal::KILL).context("kill the stack")?;
    if gone(root, KILLED_WITHIN).await? { Ok(()) } else { bail!("pid {} does not end", pid.as_raw_nonzero()) }
}

async fn gone(root: &Path, within: Duration) -> Result<bool> {
    let deadline = Instant::now() + within;
    // Its last moment is one without a pid.
    while is_held(root)? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_is_about_to_go_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::try_take(&lock_file(folder.path())).unwrap().unwrap();
        lock.write("").unwrap();
        assert!(holder(folder.path()).is_err());
        assert!(!gone(folder.path(), Duration::ZERO).await.unwrap());
        drop(lock);
        assert!(gone(folder.path(), Duration::ZERO).await.unwrap());
    }
}
