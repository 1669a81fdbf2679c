//! The edges that an operator's command is for: those it names, or the fleet of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use futures_util::future::join_all;
use http::Method;
use serde::Serialize;
use serde_json::Value;
use service::client::ApiClient;
use service::config::{AuthConfig, Loader, LogConfig, PostgresConfig};

#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    /// TOML file; its [postgres] holds the fleet, and TONEARM_AUTH_ADMIN_TOKEN stands over its [auth]
    #[arg(long, env = "TONEARM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// An edge's operators' address, such as http://127.0.0.1:7201, instead of the whole fleet; may be repeated
    #[arg(long = "edge", value_name = "URL")]
    edges: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// An edge as operators reach it.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) name: String,
    url: String,
}

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) edges: Vec<Edge>,
    client: ApiClient,
}

/// What one edge said.
#[derive(Debug, Serialize)]
pub(crate) struct Said {
    pub(crate) edge: String,
    /// None where there was no answer.
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) answer: Value,
}

impl Said {
    pub(crate) fn is_success(&self) -> bool {
        self.error.is_none()
    }
}

impl Fleet {
    /// `patience` is for one answer of an edge.
    ///
    /// # Errors
    /// When the configuration is bad, the fleet cannot be read, or there is none.
    pub(crate) async fn of(args: &FleetArgs, patience: Duration) -> anyhow::Result<Self> {
        let mut loader = Loader::new(args.config.as_deref(), std::env::vars())?;
        let (log, auth): (LogConfig, AuthConfig) = (loader.section(), loader.section());
        let postgres = args.edges.is_empty().then(|| loader.section::<PostgresConfig>());
        loader.finish()?;
        service::telemetry::start(&log);
        let edges = match postgres {
            None => args.edges.iter().map(|url| named(url)).collect::<anyhow::Result<_>>()?,
            Some(postgres) => registered(&postgres).await?,
        };
        Ok(Self { edges, client: ApiClient::new(patience).with_bearer(auth.admin_token.expose()) })
    }

    /// Asks all edges at the same time; one answer each, in their order.
    pub(crate) async fn ask_all(&self, method: Method, path: &str, body: Option<&Value>) -> Vec<Said> {
        join_all(self.edges.iter().map(|edge| self.ask(edge, method.clone(), path, body))).await
    }

    pub(crate) async fn ask(&self, edge: &Edge, method: Method, path: &str, body: Option<&Value>) -> Said {
        let url = format!("{}{path}", edge.url);
        let body = body.map(|body| ("application/json", body.to_string().into()));
        let edge = edge.name.clone();
        match self.client.send(method, &url, body).await {
            Err(error) => {
                Said { edge, status: None, error: Some(format!("{:#}", error.root_cause())), answer: Value::Null }
            }
            Ok(answer) => {
                let (status, json) = (answer.status, answer.json::<Value>().unwrap_or(Value::Null));
                let detail = json["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
                let detail = json["field"].as_str().map_or(detail.clone(), |field| format!("{field}: {detail}"));
                let error = (!status.is_success()).then_some(detail);
                Said { edge, status: Some(status.as_u16()), error, answer: json }
            }
        }
    }
}

fn named(url: &str) -> anyhow::Result<Edge> {
    let url = url.trim_end_matches('/');
    let parsed = url::Url::parse(url).with_context(|| format!("{url:?} is no URL"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        bail!("{url:?} is no http or https URL");
    }
    Ok(Edge { name: url.to_owned(), url: url.to_owned() })
}

async fn registered(postgres: &PostgresConfig) -> anyhow::Result<Vec<Edge>> {
    let pool = service::postgres::pool(postgres)?;
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT edge_id, admin_url FROM edges ORDER BY edge_id")
        .fetch_all(&pool)
        .await
        .context("cannot read the fleet from PostgreSQL; name an edge by --edge URL")?;
    if rows.is_empty() {
        bail!("no edge is registered; name one by --edge URL");
    }
    Ok(rows.into_iter().map(|(name, url)| Edge { name, url }).collect())
}

/// 0 where every edge did as it was told, 1 where one did not.
pub(crate) fn code(fine: bool) -> std::process::ExitCode {
    if fine { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
