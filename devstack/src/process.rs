//! A child process that cannot outlive us.
//!
//! The kernel sends it a signal when the thread that started it ends, which is why the `devstack` binary
//! supervises on its main thread alone: that thread ends with the process, by `kill -9` as well. Its own
//! process group keeps a terminal's Ctrl-C from reaching it before we stop it in order.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

/// A log that has grown beyond this is set aside.
const MAX_LOG: u64 = 16 << 20;
/// How much of a log an error shows.
const TAIL_LINES: usize = 15;

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, String)>,
    pub dir: PathBuf,
    pub log: PathBuf,
    /// Asks it to stop in order.
    pub quit: Signal,
    /// What the kernel sends it when we are gone.
    pub orphaned: Signal,
}

impl Launch {
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, dir: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: dir.into(),
            log: log.into(),
            quit: Signal::TERM,
            orphaned: Signal::KILL,
        }
    }

    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// # Errors
    /// When its log cannot be opened or the program not be run.
    pub fn start(&self) -> Result<Process> {
        let log = open_log(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().cloned()).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
        die_with_us(&mut command, self.orphaned);
        let child = command.spawn().with_context(|| format!("run {}", self.program.display()))?;
        Ok(Process { child, quit: self.quit })
    }

    /// Sets a log aside that has grown too long under a process that still writes it: what it writes goes on to the
    /// end of the same file, so the file is copied and cut. Lines written between the two are lost.
    ///
    /// # Errors
    /// When it cannot be copied or cut.
    pub fn trim_log(&self) -> Result<()> {
        if fs::metadata(&self.log).is_ok_and(|log| log.len() > MAX_LOG) {
            let doing = || format!("set {} aside", self.log.display());
            fs::copy(&self.log, self.log.with_extension("log.old")).with_context(doing)?;
            File::options().write(true).open(&self.log).and_then(|log| log.set_len(0)).with_context(doing)?;
        }
        Ok(())
    }
}

/// Between fork and exec; the parent may be gone by then, and its death's signal never come.
#[allow(unsafe_code, reason = "pre_exec is unsafe; its closure makes two system calls and allocates nothing")]
fn die_with_us(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::CHILD.into()) }
    };
    // SAFETY: prctl and getppid are safe to call after fork in a process of many threads.
    unsafe { command.pre_exec(before_exec) };
}

fn open_log(file: &Path) -> Result<File> {
    if fs::metadata(file).is_ok_and(|log| log.len() > MAX_LOG) {
        fs::rename(file, file.with_extension("log.old")).with_context(|| format!("set {} aside", file.display()))?;
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    File::options().create(true).append(true).open(file).with_context(|| format!("open {}", file.display()))
}

/// The last lines of a log, for an error's text.
#[must_use]
pub fn tail(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
    format!("the end of {}:\n    {last}", file.display())
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    quit: Signal,
}

impl Process {
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub async fn exited(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.context("wait for a child process")
    }

    /// Asks it to stop, and kills it where it does not within the limit.
    ///
    /// # Errors
    /// When it can neither be stopped nor killed.
    pub async fn stop(&mut self, within: Duration) -> Result<()> {
        self.signal(self.quit);
        if tokio::time::timeout(within, self.child.wait()).await.is_ok() {
            return Ok(());
        }
        self.kill().await
    }

    /// # Errors
    /// When the kernel does not confirm its death.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(group) = self.raw_pid() {
            // It fails only where the group is gone already, which is what we want.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let death = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
        death.map_err(|_| anyhow!("a killed process did not end within 10 s"))?.context("wait for a killed process")?;
        Ok(())
    }

    /// All of it stands still, or goes on.
    pub fn freeze(&self, still: bool) {
        if let Some(group) = self.raw_pid() {
            let signal = if still { Signal::STOP } else { Signal::CONT };
            // It fails only where the group is gone, and whoever waits for its exit learns that.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.raw_pid() {
            // It fails only where the process has ended, and then the wait that follows returns at once.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    fn raw_pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_that_is_being_written_is_set_aside_and_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let launch = Launch::new("true", dir.path(), dir.path().join("role.log"));
        let mut writer = open_log(&launch.log).unwrap();
        writer.write_all(&vec![b'x'; usize::try_from(MAX_LOG).unwrap()]).unwrap();
        launch.trim_log().unwrap();
        assert_eq!(fs::metadata(&launch.log).unwrap().len(), MAX_LOG);
        writer.write_all(b"y").unwrap();
        launch.trim_log().unwrap();
        writer.write_all(b"z\n").unwrap();
        assert_eq!(fs::read(&launch.log).unwrap(), b"z\n");
        assert_eq!(fs::metadata(dir.path().join("role.log.old")).unwrap().len(), MAX_LOG + 1);
    }
}
