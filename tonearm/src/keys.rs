//! `tonearm keys`: who may send, and who may read.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use ingest::keys::{Created, Grant, Kind, Listed, NewKey, OriginPattern, Rate};
use serde_json::json;
use service::config::{Loader, LogConfig, PostgresConfig, Secret};
use sqlx::PgPool;

use crate::role::runtime;

/// More than a person reads; whoever has more asks PostgreSQL.
const LISTED: u32 = 10_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key and print its secret, this once
    #[command(subcommand)]
    Create(Create),
    /// Show keys, without their secrets
    List {
        /// write, user or operator
        #[arg(long)]
        kind: Option<Kind>,
        /// Revoked ones too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Hash users with a new key from now on; older ones are still used for look-ups
    RotatePrivacy {
        #[command(flatten)]
        common: Common,
    },
    /// End keys: within five seconds they open nothing
    Revoke {
        /// As `keys list` shows them
        #[arg(required = true, value_name = "KEY_ID")]
        ids: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Create {
    /// For an app's players: may post events, and is public
    Write {
        /// Goes into every event
        #[arg(long)]
        app: String,
        /// Web origin whose pages may use it, such as https://*.example.com, http://localhost:* or *; may be repeated
        #[arg(long = "origin", value_name = "ORIGIN")]
        origins: Vec<OriginPattern>,
        #[command(flatten)]
        rate: RateArgs,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// For one user: ListenBrainz clients, and the user's own statistics
    User {
        /// As the app names its users
        #[arg(long)]
        user: String,
        /// Goes into every event that is posted with it
        #[arg(long, default_value = "listenbrainz")]
        app: String,
        #[command(flatten)]
        rate: RateArgs,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// For reading all statistics and for posting deliveries
    Operator {
        #[command(flatten)]
        key: KeyArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// TOML file; TONEARM_POSTGRES in the environment stands over it
    #[arg(long, env = "TONEARM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RateArgs {
    /// Events a second that each ingest process takes, or `unlimited`; 1000 for a write key, 50 for a user's
    #[arg(long, value_name = "N")]
    rate: Option<String>,
    /// Events at once after a silence; ten seconds' worth where it is not given
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// For people
    #[arg(long, default_value = "")]
    note: String,
    /// Take the secret from this environment variable instead of making one; the same again changes that key
    #[arg(long, value_name = "VARIABLE", conflicts_with = "secret_from_stdin")]
    secret_from_env: Option<String>,
    /// Take the secret from standard input instead of making one
    #[arg(long)]
    secret_from_stdin: bool,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(create) => create.run(),
        Command::List { kind, all, common } => {
            let keys = common.with(async |pool| ingest::keys::list(&pool, kind, all, LISTED).await)?;
            if common.json { print_json(&keys) } else { print_table(&keys) }
        }
        Command::RotatePrivacy { common } => {
            let version = common.with(async |pool| ingest::privacy::rotate(&pool).await)?;
            if common.json {
                return print_json(&json!({ "version": version }));
            }
            println!("version {version} hashes users within seconds; older ones are still used for look-ups");
            Ok(())
        }
        Command::Revoke { ids, common } => {
            let unknown = common.with(async |pool| revoke(&pool, &ids).await)?;
            if !unknown.is_empty() {
                bail!("there is no key {}", unknown.join(", "));
            }
            if common.json { print_json(&json!({ "revoked": ids })) } else { Ok(()) }
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let (grant, key) = match self {
            Self::Write { app, origins, rate, key } => {
                (Grant::Write { app, origins, rate: rate.or_per_second(1000)? }, key)
            }
            Self::User { user, app, rate, key } => {
                (Grant::User { app, user_id: user, rate: rate.or_per_second(50)? }, key)
            }
            Self::Operator { key } => (Grant::Operator, key),
        };
        let new = NewKey { grant, note: key.note.clone(), secret: key.secret()? };
        let created = key.common.with(async |pool| ingest::keys::create(&pool, &new).await)?;
        print_created(&new, &created, key.common.json)
    }
}

impl RateArgs {
    fn or_per_second(&self, default: u32) -> anyhow::Result<Option<Rate>> {
        let events_per_s = match self.rate.as_deref() {
            Some("unlimited") if self.burst.is_some() => bail!("--burst goes with a rate"),
            Some("unlimited") => return Ok(None),
            Some(rate) => rate.parse().context("--rate must be a whole number or `unlimited`")?,
            None => default,
        };
        let burst = self.burst.unwrap_or(events_per_s.saturating_mul(10));
        Ok(Some(Rate { events_per_s, burst }))
    }
}

impl KeyArgs {
    fn secret(&self) -> anyhow::Result<Option<Secret>> {
        if let Some(variable) = &self.secret_from_env {
            let secret = std::env::var(variable).with_context(|| format!("cannot read the secret from {variable}"))?;
            return Ok(Some(Secret::new(secret)));
        }
        if !self.secret_from_stdin {
            return Ok(None);
        }
        let mut secret = String::new();
        // A secret has at most 200 characters; more is refused without being read.
        std::io::stdin().take(1024).read_to_string(&mut secret).context("cannot read the secret from stdin")?;
        Ok(Some(Secret::new(secret.trim_end_matches(['\r', '\n']))))
    }
}

impl Common {
    fn with<T>(&self, work: impl AsyncFnOnce(PgPool) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut loader = Loader::new(self.config.as_deref(), std::env::vars())?;
        let (log, postgres): (LogConfig, PostgresConfig) = (loader.section(), loader.section());
        loader.finish()?;
        service::telemetry::start(&log);
        runtime()?.block_on(async { work(service::postgres::pool(&postgres)?).await })
    }
}

/// Those that do not exist.
async fn revoke(pool: &PgPool, ids: &[String]) -> anyhow::Result<Vec<String>> {
    let mut unknown = Vec::new();
    for id in ids {
        if !ingest::keys::revoke(pool, id).await? {
            unknown.push(id.clone());
        }
    }
    Ok(unknown)
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A secret that was given is known; one that was made is shown now and never again.
fn print_created(new: &NewKey, created: &Created, as_json: bool) -> anyhow::Result<()> {
    let (key_id, kind) = (&created.key_id, new.grant.kind());
    let secret = new.secret.is_none().then(|| created.secret.expose());
    if as_json {
        return print_json(&json!({ "key_id": key_id, "kind": kind, "secret": secret }));
    }
    println!("{kind} key {key_id}; ingest knows it within seconds");
    if let Some(secret) = secret {
        println!("its secret, shown this once:\n{secret}");
    }
    Ok(())
}

fn print_table(keys: &[Listed]) -> anyhow::Result<()> {
    println!("{:<16} {:<9} {:<24} {:<15} {:<17} {:<8} origins and note", "id", "kind", "of", "events/s", "created", "");
    for key in keys {
        let of = match (&key.user_id, &key.app) {
            (Some(user), _) => user,
            (None, Some(app)) => app,
            (None, None) => "",
        };
        let rate = match (key.events_per_s, key.burst) {
            (Some(rate), Some(burst)) => format!("{rate} ({burst})"),
            _ => "unlimited".into(),
        };
        let state = if key.revoked_at.is_some() { "revoked" } else { "" };
        let created = key.created_at.format("%Y-%m-%d %H:%M");
        let more = [&key.origins[..], std::slice::from_ref(&key.note)].concat().join(" ");
        println!("{:<16} {:<9} {of:<24} {rate:<15} {created:<17} {state:<8} {}", key.key_id, key.kind, more.trim_end());
    }
    Ok(())
}
