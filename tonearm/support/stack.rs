//! The real servers with our schema, and our roles as processes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::ensure;
use devstack::TestServers;
use wire::endpoints::S3Endpoint;

use super::process::{Core, Server, free_port, ready};

pub const ADMIN_TOKEN: &str = "stack-admin-token-0123";
pub const WRITE_KEY: &str = "stack-write-key-0123456";

/// Servers, schema, and a configuration file that every role reads.
pub struct Stack {
    pub servers: &'static TestServers,
    pub database: String,
    pub postgres: String,
    pub s3: S3Endpoint,
    core: Core,
    folder: tempfile::TempDir,
}

impl Stack {
    pub async fn start(core: Core) -> anyhow::Result<Self> {
        let servers = TestServers::shared().await;
        let stack = Self {
            servers,
            database: servers.fresh_name("stack"),
            postgres: servers.fresh_postgres().await,
            s3: servers.fresh_bucket().await,
            core,
            folder: tempfile::tempdir()?,
        };
        std::fs::write(stack.config(), stack.toml())?;
        stack.tonearm(&["migrate"])?;
        stack.tonearm(&[
            "keys",
            "create",
            "write",
            "--app",
            "stack",
            "--origin",
            "*",
            // Counted, as every key's events are, but no load reaches it.
            "--rate",
            "10000000",
            "--secret-from-env",
            "STACK_KEY",
        ])?;
        Ok(stack)
    }

    /// Runs a tool to its end; what it printed.
    pub fn tonearm(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tonearm"));
        let output = command.args(args).arg("--config").arg(self.config()).env("STACK_KEY", WRITE_KEY).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tonearm {}: {said}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The file that every role reads.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("tonearm.toml")
    }

    /// A folder of this run, removed at its end.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn toml(&self) -> String {
        let Self { servers, database, postgres, s3, .. } = self;
        format!(
            "[log]\nlevel = 'warn'\n[kafka]\nbrokers = '{kafka}'\ntopic_prefix = '{database}'\n\
             [clickhouse]\nurl = '{clickhouse}'\ndatabase = '{database}'\n[postgres]\nurl = '{postgres}'\n\
             [s3]\nendpoint = '{endpoint}'\nbucket = '{bucket}'\naccess_key = '{access}'\nsecret_key = '{secret}'\n\
             [ingest]\nspool_dir = '{spool}'\n[auth]\nadmin_token = '{ADMIN_TOKEN}'\n[keys]\nsnapshot = '{keys}'\n",
            keys = self.folder("keys.json").display(),
            spool = self.folder("spool").display(),
            kafka = servers.kafka,
            clickhouse = servers.clickhouse_http,
            endpoint = s3.endpoint,
            bucket = s3.bucket,
            access = s3.access_key,
            secret = s3.secret_key,
        )
    }

    /// Starts a role on a free port and waits until it is ready. The edge's health is on its admin port.
    pub async fn role(&self, role: &str, environment: &[(&str, &str)]) -> anyhow::Result<(Server, String)> {
        self.role_with_log(role, environment, Stdio::inherit()).await
    }

    /// As `role`, with its log sent elsewhere.
    pub async fn role_with_log(
        &self,
        role: &str,
        environment: &[(&str, &str)],
        log: Stdio,
    ) -> anyhow::Result<(Server, String)> {
        self.role_on(free_port()?, role, environment, log).await
    }

    /// As `role_with_log`, on a port that others know.
    pub async fn role_on(
        &self,
        port: u16,
        role: &str,
        environment: &[(&str, &str)],
        log: Stdio,
    ) -> anyhow::Result<(Server, String)> {
        let listen = format!("127.0.0.1:{port}");
        let given = environment.iter().find(|(name, _)| *name == "TONEARM_EDGE_ADMIN_LISTEN");
        let admin_listen = match given {
            Some((_, address)) => (*address).to_owned(),
            None => format!("127.0.0.1:{}", free_port()?),
        };
        let section = role.to_uppercase();
        let (listen_name, admin_name) =
            (format!("TONEARM_{section}_LISTEN"), format!("TONEARM_{section}_ADMIN_LISTEN"));
        let mut all = environment.to_vec();
        all.push((&listen_name, &listen));
        if role == "edge" {
            all.push((&admin_name, &admin_listen));
        }
        let (program, config) = (env!("CARGO_BIN_EXE_tonearm"), self.config().display().to_string());
        let server = Server::start_with_log(self.core, program, &[role, "--config", &config], &all, log)?;
        let health = if role == "edge" { &admin_listen } else { &listen };
        ready(&format!("http://{health}/health")).await?;
        Ok((server, format!("http://{listen}")))
    }
}
