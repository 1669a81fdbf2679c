//! `make up`: everything on this machine, in order, until it is told to stop.
//!
//! Prerequisites, servers, schemas, roles and distances, the fleet, the library, one listen. Whatever dies
//! after that is started again; whatever ends us ends all of it.

pub mod addresses;
pub mod config;
pub mod detach;
pub mod external;
pub mod fleet;
pub mod hold;
pub mod listen;
pub mod report;
pub mod roles;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures_util::future::{join_all, try_join_all};

use self::addresses::Addresses;
use self::config::{Config, read_endpoints};
use self::external::External;
use self::hold::{Hold, holder, ready_file};
use crate::demo::{self, TITLES, publish::Catalog, upload};
use crate::folder::{cache, check_space, dot_tonearm};
use crate::progress::{during, say};
use crate::s3client::S3Client;
use crate::secret::Secrets;
use crate::servers::{Plan, Servers};
use crate::session::Ended;
use crate::supervisor::Supervised;
use wire::endpoints::Endpoints;

/// How `up` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Until Ctrl-C.
    Foreground,
    /// Returns when all is up.
    Detach,
    /// What `Detach` starts.
    Background,
}

/// # Errors
/// When something does not come up; what did is stopped then.
pub async fn up(manner: Manner) -> Result<()> {
    let root = dot_tonearm();
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    // Roles are told of folders below it, and run elsewhere.
    let root = root.canonicalize()?;
    if let Some(pid) = holder(&root)? {
        return already_up(&root, pid);
    }
    match manner {
        Manner::Detach => return detach::up(&root).await,
        Manner::Background => drop(rustix::process::setsid().context("leave the terminal")?),
        Manner::Foreground => {}
    }
    run(&root).await
}

fn already_up(root: &Path, pid: rustix::process::Pid) -> Result<()> {
    if !ready_file(root).exists() {
        bail!(
            "another `make up` (pid {}) is starting; its story is in {}",
            pid.as_raw_nonzero(),
            root.join("log").display()
        );
    }
    say(&format!("already up (pid {})", pid.as_raw_nonzero()));
    report::print(&read_endpoints(root)?, root);
    Ok(())
}

async fn run(root: &Path) -> Result<()> {
    let mut ended = Ended::listen()?;
    let Some(hold) = Hold::try_take(root)? else { bail!("another `make up` has just begun") };
    let began = Instant::now();
    let stack = tokio::select! {
        started = Stack::start(root) => started?,
        () = ended.signalled() => bail!("told to stop while starting"),
    };
    report::print(&read_endpoints(root)?, root);
    say(&format!("up after {:.1} s", began.elapsed().as_secs_f32()));
    hold.mark_ready()?;
    ended.signalled().await;
    say("stopping");
    during("stopping", stack.finish()).await;
    Ok(())
}

/// Stops the stack and deletes what it made, but for the cache.
///
/// # Errors
/// When it does not stop, or a folder cannot be deleted.
pub async fn reset() -> Result<()> {
    let root = dot_tonearm();
    if !root.exists() {
        return Ok(());
    }
    hold::down(&root).await?;
    let Some(_hold) = Hold::try_take(&root)? else { bail!("another `make up` has just begun") };
    for entry in fs::read_dir(&root)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "cache") {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    say(&format!("deleted everything in {} but the cache", root.display()));
    Ok(())
}

/// Everything that runs.
#[derive(Debug)]
struct Stack {
    servers: Servers,
    roles: Vec<Supervised>,
}

impl Stack {
    async fn start(root: &Path) -> Result<Self> {
        check_space(root, 1)?;
        let theirs = External::from_env()?;
        theirs.check().await?;
        let secrets = Secrets::load_or_generate(&root.join("secrets.json"))?;
        let plan = plan(root, &theirs, &secrets)?;
        let config = Config::new(root.to_path_buf(), Addresses::choose()?, plan.addresses(), &theirs, secrets);
        config.write()?;
        say("starting the servers");
        let library = cache().join("library");
        let (servers, library) = tokio::try_join!(Servers::start(plan), demo::make(&library))?;
        during("migrating", roles::migrate(&config)).await?;
        during("making the demo's keys", roles::make_keys(&config)).await?;
        say("starting the roles");
        let roles = during("starting the roles", start_roles(&config)).await?;
        furnish(&config.endpoints()?, &library).await?;
        say("one listen:");
        listen::once(root).await?;
        Ok(Self { servers, roles })
    }

    /// Whoever still has something to tell goes before whoever is told: edges their deliveries to ingest,
    /// router and catalog their events to Kafka, the sink what it holds to ClickHouse.
    async fn finish(self) {
        let mut left = self.roles;
        for wave in [&["router", "catalog", "ingest", "sink"][..], &["ingest", "sink"], &["sink"], &[]] {
            let (later, now) = left.into_iter().partition(|role| wave.contains(&role.name()));
            left = later;
            join_all(now.into_iter().map(Supervised::finish)).await;
        }
        self.servers.finish().await;
    }
}

fn plan(root: &Path, theirs: &External, secrets: &Secrets) -> Result<Plan> {
    let wanted = theirs.missing();
    Ok(Plan {
        dir: root.join("data"),
        logs: root.join("log"),
        ports: addresses::server_ports(&wanted)?,
        secrets: secrets.clone(),
        durable: true,
        wanted,
    })
}

async fn start_roles(config: &Config) -> Result<Vec<Supervised>> {
    fs::create_dir_all(config.data("router"))?;
    try_join_all(roles::units(config)?.into_iter().map(Supervised::start)).await
}

/// Gives an installation the demo's library and fleet: one that `up` did not start, such as compose's.
///
/// # Errors
/// When the endpoints cannot be read, or a server refuses.
pub async fn demo(endpoints: &Path) -> Result<()> {
    let text = fs::read(endpoints).with_context(|| format!("read {}", endpoints.display()))?;
    let at: Endpoints = serde_json::from_slice(&text).with_context(|| format!("understand {}", endpoints.display()))?;
    S3Client::new(&at.s3)?.create_bucket().await?;
    furnish(&at, &demo::make(&cache().join("library")).await?).await
}

async fn furnish(at: &Endpoints, library: &[PathBuf]) -> Result<()> {
    fleet::register(at).await?;
    during("publishing the library", publish(at, library)).await?;
    let routed = fleet::wait_until_known(at);
    during("waiting for the router to know every edge's load and distance", routed).await
}

async fn publish(at: &Endpoints, library: &[PathBuf]) -> Result<()> {
    let client = S3Client::new(&at.s3)?;
    let held = client.list("tracks/").await?;
    let catalog = Catalog { url: at.catalog.clone(), admin_token: at.admin_token.clone() };
    let mut uploaded = 0;
    for (title, folder) in TITLES.iter().zip(library) {
        let objects = upload::objects(title, folder)?;
        uploaded += upload::missing(&client, &held, title, folder, &objects).await?;
        catalog.publish(title, objects).await?;
    }
    if uploaded > 0 {
        say(&format!("uploaded {uploaded} objects"));
    }
    try_join_all(TITLES.iter().map(|title| catalog.wait_until_live(title))).await.map(drop)
}
