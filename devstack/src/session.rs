//! `devstack servers`: the four servers for one test process, ordered about by lines on stdin.
//!
//! First line out: the [`Addresses`], or `{"error"}`. Then each line in, such as `stop kafka`, is answered
//! by `{"ok":true}` or `{"error"}`. The end of stdin, which is the end of whoever holds it, ends us.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::signal::unix::{SignalKind, signal};

use crate::folder::{Lock, check_space};
use crate::secret::Secrets;
use crate::servers::{Plan, Ports, Server, Servers};
use crate::supervisor::Order;

/// In a session's folder: held while it runs, so that leftovers of killed ones can be told apart.
pub const LOCK: &str = "session.lock";

#[derive(Debug)]
pub struct Session {
    pub dir: PathBuf,
    /// Servers are killed and the folder is removed at the end.
    pub ephemeral: bool,
}

impl Session {
    /// # Errors
    /// When the folder is in use; that the servers do not start is told on stdout as well.
    pub async fn run(self) -> Result<()> {
        let _lock = Lock::try_take(&self.dir.join(LOCK))?
            .with_context(|| format!("{} is in use by another devstack", self.dir.display()))?;
        let mut ended = Ended::listen()?;
        let servers = tokio::select! {
            started = self.start() => started,
            () = ended.signalled() => bail!("told to stop while starting"),
        };
        let outcome = match servers {
            Ok(servers) => self.attend(servers, &mut ended).await,
            Err(error) => {
                answer(&json!({ "error": format!("{error:#}") }));
                Err(error)
            }
        };
        self.clean_up().await?;
        outcome
    }

    async fn start(&self) -> Result<Servers> {
        check_space(&self.dir, 1)?;
        let secrets = Secrets::load_or_generate(&self.dir.join("secrets.json"))?;
        let plan = Plan {
            dir: self.dir.clone(),
            logs: self.dir.join("log"),
            ports: Ports::free()?,
            secrets,
            durable: !self.ephemeral,
            wanted: Server::ALL.to_vec(),
        };
        let addresses = plan.addresses();
        let servers = Servers::start(plan).await?;
        answer(&serde_json::to_value(addresses)?);
        Ok(servers)
    }

    async fn attend(&self, servers: Servers, ended: &mut Ended) -> Result<()> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        tokio::select! {
            () = obey_lines(&mut lines, &servers) => {}
            () = ended.signalled() => {}
        }
        if self.ephemeral {
            servers.kill().await;
        } else {
            servers.finish().await;
        }
        Ok(())
    }

    /// A killed server's children take a moment to go, and may still write.
    async fn clean_up(&self) -> Result<()> {
        if !self.ephemeral {
            return Ok(());
        }
        for _ in 0..50 {
            if fs::remove_dir_all(&self.dir).is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        fs::remove_dir_all(&self.dir).with_context(|| format!("remove {}", self.dir.display()))
    }
}

async fn obey_lines(lines: &mut Lines<BufReader<Stdin>>, servers: &Servers) {
    while let Ok(Some(line)) = lines.next_line().await {
        match obey(&line, servers).await {
            Ok(()) => answer(&json!({ "ok": true })),
            Err(error) => answer(&json!({ "error": format!("{error:#}") })),
        }
    }
}

async fn obey(line: &str, servers: &Servers) -> Result<()> {
    let (order, server) = line.split_once(' ').context("an order has two words")?;
    let order = match order {
        "start" => Order::Start,
        "stop" => Order::Stop,
        "kill" => Order::Kill,
        "freeze" => Order::Freeze,
        "thaw" => Order::Thaw,
        other => bail!("no such order: {other}"),
    };
    let server: Server = serde_json::from_value(json!(server)).with_context(|| format!("no such server: {server}"))?;
    servers.order(server, order).await
}

#[allow(clippy::print_stdout, reason = "stdout is the protocol")]
fn answer(value: &serde_json::Value) {
    println!("{value}");
}

/// SIGTERM or SIGINT.
#[derive(Debug)]
pub struct Ended {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ended {
    /// # Errors
    /// When the kernel does not let us listen.
    pub fn listen() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn signalled(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
