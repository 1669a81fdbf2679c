//! `make up DETACH=1`: the stack in the background, its progress in the foreground until it is up.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use super::hold::{ready_file, unmark};
use crate::session::Ended;

/// The first run fetches servers and makes the library.
const UP_WITHIN: Duration = Duration::from_secs(30 * 60);
const PAUSE: Duration = Duration::from_millis(100);

/// Starts `devstack up` in a session of its own, and returns when it is up.
///
/// # Errors
/// When it ends before that, or we are told to stop.
pub async fn up(root: &Path) -> Result<()> {
    // A killed stack left its mark, and the new one has not begun: nobody else may be asked to remove it.
    unmark(root);
    let mut story = Story::begin(root)?;
    let mut ended = Ended::listen()?;
    let us = std::env::current_exe().context("find our own binary")?;
    let mut command = Command::new(us);
    command.args(["up", "--background"]).stdin(Stdio::null());
    command
        .stdout(File::options().append(true).open(&story.log)?)
        .stderr(File::options().append(true).open(&story.log)?);
    let mut child = command.spawn().context("start the stack in the background")?;
    tokio::select! {
        up = follow(root, &mut child, &mut story) => up,
        () = ended.signalled() => abandon(&mut child).await,
    }
}

async fn follow(root: &Path, child: &mut Child, story: &mut Story) -> Result<()> {
    let deadline = Instant::now() + UP_WITHIN;
    loop {
        // Asked before the log is read: what it said last must not be lost.
        let (ready, status) = (ready_file(root).exists(), child.try_wait()?);
        story.tell_on()?;
        if let Some(status) = status {
            bail!("the stack did not come up ({status}); the whole story is in {}", story.log.display());
        }
        if ready {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the stack is not up after {UP_WITHIN:?}; see {}; `make down` stops it", story.log.display());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn abandon(child: &mut Child) -> Result<()> {
    if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
        // It fails only where it has ended.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    child.wait().await?;
    bail!("told to stop before the stack was up")
}

/// The background process's log, told on to this terminal.
#[derive(Debug)]
struct Story {
    log: PathBuf,
    read: File,
}

impl Story {
    fn begin(root: &Path) -> Result<Self> {
        let log = root.join("log/stack.log");
        fs::create_dir_all(root.join("log")).with_context(|| format!("create {}", root.join("log").display()))?;
        fs::write(&log, "").with_context(|| format!("write {}", log.display()))?;
        let read = File::open(&log)?;
        Ok(Self { log, read })
    }

    fn tell_on(&mut self) -> Result<()> {
        let mut new = Vec::new();
        self.read.read_to_end(&mut new)?;
        std::io::stdout().write_all(&new)?;
        Ok(std::io::stdout().flush()?)
    }
}
