//! What the roles are told: one `tonearm.toml` with a section each, and one `endpoints.json` for people.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use service::config::AnalystConfig;
use toml::{Table, toml};
use wire::endpoints::{EdgeEndpoint, Endpoints};
use wire::{EdgeId, PopId};

use super::addresses::Addresses;
use super::external::{ClickHouse, External};
use super::fleet::CAPACITY_BPS;
use crate::clickhouse::DATABASE;
use crate::s3client::REGION;
use crate::secret::{Secrets, write_private};
use crate::servers;

/// Whose token `endpoints.json` shows.
pub const DEMO_USER: &str = "demo-user";

/// Everything that the stack decided before it started anything.
#[derive(Debug)]
pub struct Config {
    pub root: PathBuf,
    pub addresses: Addresses,
    pub servers: servers::Addresses,
    pub clickhouse: ClickHouse,
    pub secrets: Secrets,
}

impl Config {
    /// Puts the environment's servers in the place of ours.
    #[must_use]
    pub fn new(
        root: PathBuf,
        addresses: Addresses,
        ours: servers::Addresses,
        theirs: &External,
        secrets: Secrets,
    ) -> Self {
        let clickhouse = theirs.clickhouse.clone().unwrap_or_else(|| ClickHouse {
            url: ours.clickhouse_http.clone(),
            native: ours.clickhouse_native.clone(),
            database: DATABASE.to_owned(),
            user: "default".to_owned(),
            password: String::new(),
        });
        let servers = servers::Addresses {
            kafka: theirs.kafka.clone().unwrap_or(ours.kafka),
            clickhouse_http: clickhouse.url.clone(),
            clickhouse_native: clickhouse.native.clone(),
            analyst_password: if theirs.clickhouse.is_none() { ours.analyst_password } else { String::new() },
            postgres: theirs.postgres.clone().unwrap_or(ours.postgres),
            s3: theirs.s3.clone().unwrap_or(ours.s3),
        };
        Self { root, addresses, servers, clickhouse, secrets }
    }

    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.root.join("tonearm.toml")
    }

    #[must_use]
    pub fn endpoints_file(&self) -> PathBuf {
        endpoints_file(&self.root)
    }

    #[must_use]
    pub fn data(&self, of: &str) -> PathBuf {
        self.root.join("data").join(of)
    }

    /// # Errors
    /// When the folder does not take the files.
    pub fn write(&self) -> Result<()> {
        write_private(&self.file(), &toml::to_string(&self.sections())?)?;
        write_private(&self.endpoints_file(), &(serde_json::to_string_pretty(&self.endpoints()?)? + "\n"))
    }

    fn sections(&self) -> Table {
        let mut sections = self.server_sections();
        sections.extend(self.role_sections());
        sections.insert("edge".to_owned(), self.edge_section().into());
        sections
    }

    fn server_sections(&self) -> Table {
        let (kafka, postgres, s3) = (self.servers.kafka.as_str(), self.servers.postgres.as_str(), &self.servers.s3);
        let ClickHouse { url, database, user, password, .. } = &self.clickhouse;
        let mut sections = toml! {
            [log]
            format = "text"
            level = "info"
            [kafka]
            topic_prefix = "tonearm"
        };
        let text = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect::<Table>()
        };
        sections["kafka"].as_table_mut().expect("it is one, above").insert("brokers".to_owned(), kafka.into());
        let clickhouse = text(&[("url", url), ("database", database), ("user", user), ("password", password)]);
        let keys = [("access_key", s3.access_key.as_str()), ("secret_key", s3.secret_key.as_str())];
        let mut origin = text(&[("endpoint", &s3.endpoint), ("region", REGION), ("bucket", &s3.bucket)]);
        origin.extend(text(&keys));
        sections.insert("clickhouse".to_owned(), clickhouse.into());
        sections.insert("postgres".to_owned(), text(&[("url", postgres)]).into());
        sections.insert("s3".to_owned(), origin.into());
        sections
    }

    fn role_sections(&self) -> Table {
        let at = &self.addresses;
        let (router, ingest, sink, catalog) =
            (at.router.to_string(), at.ingest.to_string(), at.sink.to_string(), at.catalog.to_string());
        let admin_token = self.secrets.admin_token.as_str();
        let keys = self.data("ingest").join("keys.json").display().to_string();
        let spool = self.data("ingest").join("spool").display().to_string();
        let router_data = self.data("router").display().to_string();
        toml! {
            auth = { admin_token = admin_token }
            keys = { snapshot = keys }
            router = { id = "router-1", listen = router, data_dir = router_data }
            ingest = { id = "ingest-1", listen = ingest, spool_dir = spool }
            sink = { id = "sink-1", listen = sink }
            catalog = { listen = catalog }
        }
    }

    /// What edges have in common; the rest comes to each by its environment.
    fn edge_section(&self) -> Table {
        let (router, ingest) = (self.addresses.router.url(), self.addresses.ingest.url());
        let capacity = i64::try_from(CAPACITY_BPS).expect("a gigabit fits");
        let first = &self.addresses.edges[0];
        let (id, pop, listen, admin) = (first.id, first.pop.id, first.listen.to_string(), first.admin.to_string());
        let cache_dir = self.data(first.id).display().to_string();
        toml! {
            id = id
            pop = pop
            listen = listen
            admin_listen = admin
            cache_dir = cache_dir
            cache_memory = "64MiB"
            cache_disk = "1GiB"
            capacity_bps = capacity
            routers = [router]
            ingest = ingest
        }
    }

    /// # Errors
    /// When an edge's name is none, which ours are.
    pub fn endpoints(&self) -> Result<Endpoints> {
        let edges = self.addresses.edges.iter().map(|edge| {
            let (id, pop) = (EdgeId::new(edge.id)?, PopId::new(edge.pop.id)?);
            Ok(EdgeEndpoint { id, pop, url: edge.relay.url(), admin: edge.admin.url() })
        });
        let analyst_password = self.servers.analyst_password.clone();
        Ok(Endpoints {
            router: self.addresses.router.url(),
            ingest: self.addresses.ingest.url(),
            catalog: self.addresses.catalog.url(),
            edges: edges.collect::<Result<_>>()?,
            kafka: self.servers.kafka.clone(),
            clickhouse_http: self.clickhouse_with_login(),
            clickhouse_native: self.servers.clickhouse_native.clone(),
            clickhouse_database: self.clickhouse.database.clone(),
            analyst_user: if analyst_password.is_empty() { String::new() } else { AnalystConfig::default().user },
            analyst_password,
            postgres: self.servers.postgres.clone(),
            s3: self.servers.s3.clone(),
            admin_token: self.secrets.admin_token.clone(),
            write_key: self.secrets.write_key.clone(),
            user_id: DEMO_USER.to_owned(),
            user_token: self.secrets.user_token.clone(),
            operator_token: self.secrets.operator_token.clone(),
        })
    }

    /// As curl takes it; ours needs none.
    fn clickhouse_with_login(&self) -> String {
        let ClickHouse { url, user, password, .. } = &self.clickhouse;
        if password.is_empty() {
            return url.clone();
        }
        url.replacen("://", &format!("://{user}:{password}@"), 1)
    }
}

#[must_use]
pub fn endpoints_file(root: &Path) -> PathBuf {
    root.join("endpoints.json")
}

/// # Errors
/// When no stack has written it.
pub fn read_endpoints(root: &Path) -> Result<Endpoints> {
    let file = endpoints_file(root);
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("understand {}", file.display()))
}
