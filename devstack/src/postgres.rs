//! PostgreSQL: the installed one, with a folder, a port and a password of our own.

mod ordinary_user;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

use self::ordinary_user::OrdinaryUser;
use crate::folder::on_path;
use crate::probe::Probe;
use crate::process::Launch;
use crate::secret::write_private;
use crate::unit::Unit;

const INITDB_WITHIN: Duration = Duration::from_secs(60);
/// An orphan of a `kill -9` ends by itself, but takes its time to notice.
const ORPHAN_WITHIN: Duration = Duration::from_secs(10);

/// PostgreSQL's SQLSTATE for a database that exists.
const DUPLICATE_DATABASE: &str = "42P04";

#[derive(Debug, Clone)]
pub struct Postgres {
    pub dir: PathBuf,
    pub port: u16,
    pub password: String,
    /// False where the data is thrown away anyway: no waiting for the disk.
    pub durable: bool,
}

impl Postgres {
    /// As the superuser `tonearm`, into the database of that name.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://tonearm:{}@127.0.0.1:{}/tonearm", self.password, self.port)
    }

    /// Into the database that every new folder has.
    fn maintenance_url(&self) -> String {
        maintenance(&self.url())
    }

    /// # Errors
    /// When PostgreSQL is not installed, or its folder cannot be made.
    pub async fn prepare(&self, log: PathBuf) -> Result<Unit> {
        let bin = installed()?;
        fs::create_dir_all(&self.dir).with_context(|| format!("create {}", self.dir.display()))?;
        let user = OrdinaryUser::for_folder(&self.dir).await?;
        if !self.data().is_dir() {
            self.init(&bin, user).await?;
        }
        let (program, args) = user.run(&bin.join("postgres"));
        let mut launch = Launch::new(program, &self.dir, log).args(args).args(self.server_args());
        // SIGINT disconnects clients and shuts down in order; SIGTERM would wait for them to leave.
        (launch.quit, launch.orphaned) = (Signal::INT, Signal::QUIT);
        Ok(Unit {
            name: "PostgreSQL".into(),
            launch,
            probe: Probe::Postgres(self.maintenance_url()),
            ready_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(10),
            postgres_dir: Some(self.data()),
        })
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn server_args(&self) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            // A socket's path is limited to 107 bytes; a checkout's is not.
            "unix_socket_directories=".to_owned(),
            "max_connections=200".to_owned(),
        ];
        // An argument cannot be overruled, not even by ALTER SYSTEM.
        settings.extend(self.durable.then(|| "fsync=on".to_owned()));
        let data = ["-D".to_owned(), self.data().display().to_string()];
        data.into_iter().chain(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting])).collect()
    }

    /// Into a folder that is then renamed, so that one cut short leaves nothing half made.
    async fn init(&self, bin: &Path, user: OrdinaryUser) -> Result<()> {
        let partial = self.dir.join("initialising");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        let password_file = self.dir.join("password");
        write_private(&password_file, &self.password)?;
        user.own(&password_file)?;
        let made = self.initdb(bin, &partial, &password_file, user).await;
        fs::remove_file(&password_file).context("remove the password's file")?;
        made?;
        if !self.durable {
            let mut settings = fs::OpenOptions::new().append(true).open(partial.join("postgresql.conf"))?;
            writeln!(settings, "fsync = off")?;
        }
        fs::rename(&partial, self.data()).context("put PostgreSQL's folder in place")
    }

    async fn initdb(&self, bin: &Path, into: &Path, password_file: &Path, user: OrdinaryUser) -> Result<()> {
        let (program, args) = user.run(&bin.join("initdb"));
        let mut command = Command::new(program);
        command.args(args).arg("-D").arg(into).arg(format!("--pwfile={}", password_file.display()));
        command.args(["-U", "tonearm", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]);
        command.current_dir(&self.dir).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(INITDB_WITHIN, command.output()).await.context("initdb in time")??;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("initdb: {}: {said}", output.status)
    }
}

fn maintenance(url: &str) -> String {
    let server = url.rsplit_once('/').map_or(url, |(server, _)| server);
    format!("{server}/postgres")
}

/// Creates the database that a URL names, on a server that runs; one that exists is fine.
///
/// # Errors
/// When the server refuses.
pub async fn ensure_database(url: &str) -> Result<()> {
    let name = url.rsplit('/').next().unwrap_or_default();
    let mut connection = PgConnection::connect(&maintenance(url)).await.context("connect to PostgreSQL")?;
    // Names are ours: letters, digits and underscores.
    let created = sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await;
    connection.close().await?;
    match created {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(DUPLICATE_DATABASE) => Ok(()),
        other => other.map(drop).with_context(|| format!("create database {name}")),
    }
}

/// The newest PostgreSQL of Debian's, unless the PATH has one.
fn installed() -> Result<PathBuf> {
    if let (Some(postgres), Some(_)) = (on_path("postgres"), on_path("initdb")) {
        return Ok(postgres.parent().map(Path::to_path_buf).unwrap_or_default());
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").is_file() && bin.join("postgres").is_file())
        .collect();
    found.sort();
    let newest = found.pop().context(
        "find initdb and postgres on the PATH or under /usr/lib/postgresql; scripts/prerequisites installs them",
    )?;
    Ok(newest.1)
}

/// Ends a postmaster that a `kill -9` of ours has orphaned, and removes the lock it left.
///
/// # Errors
/// When the orphan does not end, or the file cannot be removed.
pub async fn clear_stale_lock(data: &Path) -> Result<()> {
    let file = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid.filter(|pid| serves(*pid, data)) {
        // Fails only where it has just ended.
        let _ = rustix::process::kill_process(pid, Signal::QUIT);
        wait_until_gone(pid, data).await?;
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("remove a stale postmaster.pid")
        }
        _ => Ok(()),
    }
}

async fn wait_until_gone(pid: Pid, data: &Path) -> Result<()> {
    let gone = async {
        while serves(pid, data) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let within = tokio::time::timeout(ORPHAN_WITHIN, gone).await;
    within.with_context(|| format!("an orphaned PostgreSQL (pid {}) does not end", pid.as_raw_nonzero()))
}

/// Pids are used again: only a process that names our folder is ours.
fn serves(pid: Pid, data: &Path) -> bool {
    let command_line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&command_line).contains(&data.display().to_string())
}
