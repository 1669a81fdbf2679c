//! The real servers, for the tests of any crate: started once a test process, gone with it. Tests that stop servers have
//! others, which no other test has at that time.
//!
//! Each test runs in a runtime of its own, so nothing here belongs to one: the servers live in a child
//! process, `devstack servers`, spoken to by lines over blocking pipes. Its stdin is held open by this
//! process; when that ends, however it ends, the child sees the end of its input and takes all down.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::{Semaphore, SemaphorePermit};
use wire::endpoints::S3Endpoint;

use crate::folder::{self, Lock};
use crate::postgres::ensure_database;
use crate::s3client::S3Client;
use crate::servers::{Addresses, Server};
use crate::session::LOCK;
use crate::supervisor::Order;

/// The servers of this test process.
#[derive(Debug)]
pub struct TestServers {
    /// `host:port`.
    pub kafka: String,
    /// `http://127.0.0.1:port`.
    pub clickhouse_http: String,
    /// `host:port`.
    pub clickhouse_native: String,
    /// Of ClickHouse's account `analyst`, which reads the database `tonearm` and no other.
    pub analyst_password: String,
    /// `postgres://tonearm:password@127.0.0.1:port/tonearm`.
    pub postgres: String,
    pub s3: S3Endpoint,
    session: Arc<Mutex<Pipes>>,
}

/// Servers that no other test has at the same time, for a test that stops them; it leaves them as they were.
#[derive(Debug)]
pub struct Alone {
    servers: &'static TestServers,
    _permit: SemaphorePermit<'static>,
}

/// As many at a time: each is half a GiB and more.
const SETS_ALONE: usize = 2;

const STARTS: usize = 3;

static SHARED: OnceLock<Result<TestServers, String>> = OnceLock::new();
static ALONE: Semaphore = Semaphore::const_new(SETS_ALONE);
/// Of those that a test had alone, the ones that run and nobody has.
static IDLE: Mutex<Vec<&'static TestServers>> = Mutex::new(Vec::new());
static NAMES: AtomicU32 = AtomicU32::new(0);

impl TestServers {
    /// Starts them, the first time.
    ///
    /// # Panics
    /// When they do not start, with the reason; again for every test, without trying anew.
    pub async fn shared() -> &'static Self {
        let start = || SHARED.get_or_init(|| start().map_err(|error| format!("{error:#}")));
        let started = tokio::task::spawn_blocking(start).await.expect("starting does not panic");
        started.as_ref().unwrap_or_else(|error| panic!("the test servers did not start: {error}"))
    }

    /// Starts a set of its own, or takes one that another test has left.
    ///
    /// # Panics
    /// When they do not start, with the reason.
    pub async fn alone() -> Alone {
        let permit = ALONE.acquire().await.expect("it is never closed");
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let servers = match idle {
            Some(servers) => servers,
            None => {
                let started = tokio::task::spawn_blocking(start).await.expect("starting does not panic");
                Box::leak(Box::new(started.unwrap_or_else(|error| panic!("the test servers did not start: {error:#}"))))
            }
        };
        Alone { servers, _permit: permit }
    }

    /// Lowercase letters, digits and underscores, never given twice: for a topic prefix or a database.
    pub fn fresh_name(&self, what: &str) -> String {
        let what: String =
            what.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        format!("{what}_{}_{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed))
    }

    /// A new and empty database.
    ///
    /// # Panics
    /// When PostgreSQL does not make it.
    pub async fn fresh_postgres(&self) -> String {
        let name = self.fresh_name("test");
        let server = self.postgres.rsplit_once('/').map_or(self.postgres.as_str(), |(server, _)| server);
        let url = format!("{server}/{name}");
        ensure_database(&url).await.unwrap_or_else(|error| panic!("{error:#}"));
        url
    }

    /// A new and empty bucket.
    ///
    /// # Panics
    /// When the S3 server does not make it.
    pub async fn fresh_bucket(&self) -> S3Endpoint {
        let bucket = self.fresh_name("bucket").replace('_', "-");
        let endpoint = S3Endpoint { bucket, ..self.s3.clone() };
        let made = async { S3Client::new(&endpoint)?.create_bucket().await };
        made.await.unwrap_or_else(|error| panic!("{error:#}"));
        endpoint
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop(&self, server: Server) {
        self.order(server, Order::Stop).await;
    }

    /// Kills it, as `kill -9` does.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn kill(&self, server: Server) {
        self.order(server, Order::Kill).await;
    }

    /// Starts it again, on the same port and data, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&self, server: Server) {
        self.order(server, Order::Start).await;
    }

    /// Lets it stand still, as SIGSTOP does.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn freeze(&self, server: Server) {
        self.order(server, Order::Freeze).await;
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn thaw(&self, server: Server) {
        self.order(server, Order::Thaw).await;
    }

    async fn order(&self, server: Server, order: Order) {
        let line = format!("{order:?} {server:?}").to_lowercase();
        let session = self.session.clone();
        let ask = move || session.lock().unwrap_or_else(PoisonError::into_inner).ask(&line);
        let answer = tokio::task::spawn_blocking(ask).await.expect("asking does not panic");
        answer.unwrap_or_else(|error| panic!("{order:?} {server:?}: {error:#}"));
    }
}

impl Alone {
    #[must_use]
    pub fn servers(&self) -> &'static TestServers {
        self.servers
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // A test that failed may have left them stopped.
        if !std::thread::panicking() {
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(self.servers);
        }
    }
}

/// The child and both ends of the talk with it.
#[derive(Debug)]
struct Pipes {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Pipes {
    fn open(dir: &Path) -> Result<Self> {
        let devstack = folder::binary("devstack")
            .context("no devstack binary beside this test: run `cargo build --bins` first")?;
        let log = dir.join("devstack.log");
        let mut command = Command::new(devstack);
        command.args(["servers", "--ephemeral", "--dir"]).arg(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = command.spawn().context("run devstack")?;
        let orders = child.stdin.take().context("devstack's stdin")?;
        let answers = BufReader::new(child.stdout.take().context("devstack's stdout")?);
        Ok(Self { child, orders, answers, log })
    }

    fn ask(&mut self, order: &str) -> Result<serde_json::Value> {
        writeln!(self.orders, "{order}").context("devstack is gone")?;
        self.answer()
    }

    /// The next line. Every start and stop in devstack has a bound, so a line comes, or the end does.
    fn answer(&mut self) -> Result<serde_json::Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            bail!("devstack ended: {status}; {}", crate::process::tail(&self.log));
        }
        let value: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("devstack said {line:?}"))?;
        match value.get("error").and_then(|error| error.as_str()) {
            Some(error) => Err(anyhow!("{error}")),
            None => Ok(value),
        }
    }
}

/// A port that was free when it was chosen may be another's by the time that a server asks for it.
fn start() -> Result<TestServers> {
    let mut started = try_start();
    for _ in 1..STARTS {
        match &started {
            Err(error) if format!("{error:#}").contains("already in use") => started = try_start(),
            _ => break,
        }
    }
    started
}

fn try_start() -> Result<TestServers> {
    let siblings = folder::workspace().join("target/tmp/servers");
    sweep(&siblings);
    let dir = siblings.join(format!("{}-{}", std::process::id(), crate::secret::random(6)));
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let mut session = Pipes::open(&dir)?;
    let addresses: Addresses = serde_json::from_value(session.answer()?)?;
    let Addresses { kafka, clickhouse_http, clickhouse_native, analyst_password, postgres, s3 } = addresses;
    let session = Arc::new(Mutex::new(session));
    Ok(TestServers { kafka, clickhouse_http, clickhouse_native, analyst_password, postgres, s3, session })
}

/// Removes what killed sessions left. Only a folder that a session has locked before, and no longer does, is one.
fn sweep(siblings: &Path) {
    for entry in fs::read_dir(siblings).into_iter().flatten().flatten() {
        let lock = entry.path().join(LOCK);
        if lock.is_file() && Lock::try_take(&lock).is_ok_and(|lock| lock.is_some()) {
            // What cannot be removed now is tried again by the next test.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
