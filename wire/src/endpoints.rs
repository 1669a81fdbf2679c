//! Where a local stack listens: `.tonearm/endpoints.json`, written by `make up`, read by whoever tries it out.

use serde::{Deserialize, Serialize};

use crate::{EdgeId, PopId};

/// URLs are without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    pub router: String,
    pub ingest: String,
    pub catalog: String,
    pub edges: Vec<EdgeEndpoint>,
    /// `host:port`, comma-separated.
    pub kafka: String,
    pub clickhouse_http: String,
    /// `host:port`.
    pub clickhouse_native: String,
    pub clickhouse_database: String,
    /// A ClickHouse account that may read this database, within limits; empty where the server is not ours.
    #[serde(default)]
    pub analyst_user: String,
    #[serde(default)]
    pub analyst_password: String,
    /// A `postgres://` URL with its password.
    pub postgres: String,
    pub s3: S3Endpoint,
    pub admin_token: String,
    /// For posting events, from pages of any localhost origin too.
    pub write_key: String,
    /// Whose token follows.
    #[serde(default)]
    pub user_id: String,
    /// For `ListenBrainz` clients, and for reading this user's own statistics.
    #[serde(default)]
    pub user_token: String,
    /// For reading all statistics.
    #[serde(default)]
    pub operator_token: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeEndpoint {
    pub id: EdgeId,
    pub pop: PopId,
    /// As listeners see it: at its distance.
    pub url: String,
    pub admin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Endpoint {
    pub endpoint: String,
    pub bucket: String,
    pub access_key: String,
    pub secret_key: String,
}
