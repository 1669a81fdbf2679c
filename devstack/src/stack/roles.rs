//! The roles and the distances, as units: each a process of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::addresses::{EdgeAddress, Local};
use super::config::{Config, DEMO_USER};
use crate::folder;
use crate::probe::Probe;
use crate::process::Launch;
use crate::unit::Unit;

const READY_WITHIN: Duration = Duration::from_secs(60);
/// A role drains under a deadline of its own, which is shorter.
const STOP_WITHIN: Duration = Duration::from_secs(15);
const TOOL_WITHIN: Duration = Duration::from_secs(120);
/// Pages of whoever tries the demo out, on any port of this machine.
const LOCALHOST: [&str; 6] = [
    "http://localhost:*",
    "https://localhost:*",
    "http://127.0.0.1:*",
    "https://127.0.0.1:*",
    "http://[::1]:*",
    "http://*.localhost:*",
];
/// Where a tool finds the secret of the key that it is to make; arguments are seen by every user.
const SECRET: &str = "TONEARM_SECRET";

fn tonearm() -> Result<PathBuf> {
    folder::binary("tonearm").context("no tonearm binary beside devstack: run `cargo build --bins` first")
}

/// Brings topics and schemas up to date.
///
/// # Errors
/// With what `tonearm migrate` said.
pub async fn migrate(config: &Config) -> Result<()> {
    tool(config, &["migrate"], "").await
}

/// The keys that `endpoints.json` shows, the same at every start; making them again changes nothing.
///
/// # Errors
/// With what `tonearm keys` said.
pub async fn make_keys(config: &Config) -> Result<()> {
    let mut write = vec!["keys", "create", "write", "--app", "demo", "--rate", "unlimited"];
    write.extend(LOCALHOST.iter().flat_map(|origin| ["--origin", origin]));
    let user = ["keys", "create", "user", "--user", DEMO_USER];
    let operator = ["keys", "create", "operator"];
    let secrets = &config.secrets;
    for (words, secret) in
        [(&write[..], &secrets.write_key), (&user[..], &secrets.user_token), (&operator[..], &secrets.operator_token)]
    {
        let words = [words, &["--note", "the demo's", "--secret-from-env", SECRET]].concat();
        tool(config, &words, secret).await?;
    }
    Ok(())
}

/// Runs one of the binary's tools to its end.
async fn tool(config: &Config, words: &[&str], secret: &str) -> Result<()> {
    let mut command = Command::new(tonearm()?);
    command.args(words).arg("--config").arg(config.file()).env(SECRET, secret);
    let output = tokio::time::timeout(TOOL_WITHIN, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let name = words[0];
    let output = output.with_context(|| format!("tonearm {name} was not done within {TOOL_WITHIN:?}"))??;
    if output.status.success() {
        return Ok(());
    }
    bail!("tonearm {name}: {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Every role, and the relays.
///
/// # Errors
/// When our binaries cannot be found.
pub fn units(config: &Config) -> Result<Vec<Unit>> {
    let at = &config.addresses;
    let mut units = vec![
        role(config, "router", "router", at.router)?,
        role(config, "ingest", "ingest", at.ingest)?,
        role(config, "sink", "sink", at.sink)?,
        role(config, "catalog", "catalog", at.catalog)?,
        distances(config)?,
    ];
    for address in &at.edges {
        units.push(edge(config, address)?);
    }
    Ok(units)
}

fn role(config: &Config, name: &str, role: &str, health: Local) -> Result<Unit> {
    let log = config.root.join("log").join(format!("{name}.log"));
    let launch = Launch::new(tonearm()?, &config.root, log).args([role, "--config"]).args([config.file()]);
    let probe = Probe::Http(format!("{}/health", health.url()));
    let (ready_within, stop_within) = (READY_WITHIN, STOP_WITHIN);
    Ok(Unit { name: name.to_owned(), launch, probe, ready_within, stop_within, postgres_dir: None })
}

fn edge(config: &Config, address: &EdgeAddress) -> Result<Unit> {
    let mut unit = role(config, address.id, "edge", address.admin)?;
    let own = [
        ("TONEARM_EDGE_ID", address.id.to_owned()),
        ("TONEARM_EDGE_POP", address.pop.id.to_owned()),
        ("TONEARM_EDGE_LISTEN", address.listen.to_string()),
        ("TONEARM_EDGE_ADMIN_LISTEN", address.admin.to_string()),
        ("TONEARM_EDGE_CACHE_DIR", config.data(address.id).display().to_string()),
        ("TONEARM_EDGE_PEERS", others(config, address.pop.id, |edge| edge.listen)),
        ("TONEARM_EDGE_PARENTS", address.pop.parent.map_or("{}".into(), |pop| others(config, pop, |edge| edge.relay))),
    ];
    unit.launch.env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Ok(unit)
}

/// The edges of a POP by id, as TOML.
fn others(config: &Config, pop: &str, at: impl Fn(&EdgeAddress) -> Local) -> String {
    let edges = config.addresses.edges.iter().filter(|edge| edge.pop.id == pop);
    let pairs: Vec<String> = edges.map(|edge| format!("\"{}\" = \"{}\"", edge.id, at(edge).url())).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// One process relays for all edges.
fn distances(config: &Config) -> Result<Unit> {
    let us = std::env::current_exe().context("find our own binary")?;
    let mut launch = Launch::new(us, &config.root, config.root.join("log/relay.log")).args(["relay"]);
    for edge in &config.addresses.edges {
        let distance = edge.pop.distance();
        launch = launch.args(["--listen", &edge.relay.to_string(), "--to", &edge.listen.to_string()]);
        launch = launch.args(["--rtt", &format!("{}ms", distance.round_trip.as_millis())]);
        launch = launch.args(["--jitter", &format!("{}ms", distance.jitter.as_millis())]);
    }
    let probe = Probe::Tcp(config.addresses.edges[0].relay.to_string());
    let (ready_within, stop_within) = (READY_WITHIN, Duration::from_secs(2));
    Ok(Unit { name: "relay".to_owned(), launch, probe, ready_within, stop_within, postgres_dir: None })
}
