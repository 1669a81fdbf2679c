//! Servers of one's own: `TONEARM_KAFKA`, `TONEARM_CLICKHOUSE`, `TONEARM_POSTGRES`, `TONEARM_S3`.

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use url::Url;
use wire::endpoints::S3Endpoint;

use crate::http::Request;
use crate::probe::Probe;
use crate::s3client::S3Client;
use crate::servers::Server;

/// A ClickHouse and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickHouse {
    /// Without user, password and query.
    pub url: String,
    pub native: String,
    pub database: String,
    pub user: String,
    pub password: String,
}

/// Those that the environment names.
#[derive(Debug, Default)]
pub struct External {
    pub kafka: Option<String>,
    pub clickhouse: Option<ClickHouse>,
    pub postgres: Option<String>,
    pub s3: Option<S3Endpoint>,
}

impl External {
    /// # Errors
    /// When a variable is not what it should be.
    pub fn from_env() -> Result<Self> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let clickhouse = read("TONEARM_CLICKHOUSE").map(|url| parse_clickhouse(&url)).transpose();
        let s3 = read("TONEARM_S3").map(|url| parse_s3(&url)).transpose();
        Ok(Self {
            kafka: read("TONEARM_KAFKA"),
            clickhouse: clickhouse
                .context("TONEARM_CLICKHOUSE must look like http://user:password@host:8123/?database=tonearm")?,
            postgres: read("TONEARM_POSTGRES"),
            s3: s3.context("TONEARM_S3 must look like http://ACCESS:SECRET@host:9000/bucket")?,
        })
    }

    /// The servers that nobody named, and that we start.
    #[must_use]
    pub fn missing(&self) -> Vec<Server> {
        let named = |server: &Server| match server {
            Server::Kafka => self.kafka.is_some(),
            Server::ClickHouse => self.clickhouse.is_some(),
            Server::Postgres => self.postgres.is_some(),
            Server::S3 => self.s3.is_some(),
        };
        Server::ALL.into_iter().filter(|server| !named(server)).collect()
    }

    /// Whether they answer; better known now than from a role's log.
    ///
    /// # Errors
    /// With the first that does not.
    pub async fn check(&self) -> Result<()> {
        if let Some(brokers) = &self.kafka {
            let first = brokers.split(',').next().unwrap_or(brokers);
            TcpStream::connect(first).await.with_context(|| format!("TONEARM_KAFKA: connect to {first}"))?;
        }
        if let Some(clickhouse) = &self.clickhouse {
            let ping = Request::get(format!("{}/ping", clickhouse.url)).send().await;
            ping.and_then(|answer| answer.success("a ping")).context("TONEARM_CLICKHOUSE")?;
        }
        if let Some(url) = &self.postgres {
            Probe::Postgres(url.clone()).check().await.context("TONEARM_POSTGRES")?;
        }
        if let Some(endpoint) = &self.s3 {
            check_bucket(endpoint).await.context("TONEARM_S3")?;
        }
        Ok(())
    }
}

/// Keys that may not make a bucket will do where the bucket is there.
async fn check_bucket(endpoint: &S3Endpoint) -> Result<()> {
    let client = S3Client::new(endpoint)?;
    let Err(refused) = client.create_bucket().await else { return Ok(()) };
    client.list("tracks/none/").await.map(drop).map_err(|_| refused)
}

fn parse_clickhouse(text: &str) -> Result<ClickHouse> {
    let url: Url = text.parse()?;
    let host = url.host_str().context("no host")?;
    let database = url.query_pairs().find(|(name, _)| name == "database").map(|(_, value)| value.into_owned());
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    Ok(ClickHouse {
        url: format!("{}://{host}{port}", url.scheme()),
        native: format!("{host}:9000"),
        database: database.unwrap_or_else(|| "tonearm".to_owned()),
        user: if url.username().is_empty() { "default".to_owned() } else { url.username().to_owned() },
        password: url.password().unwrap_or_default().to_owned(),
    })
}

fn parse_s3(text: &str) -> Result<S3Endpoint> {
    let url: Url = text.parse()?;
    let host = url.host_str().context("no host")?;
    let bucket = url.path().trim_matches('/');
    let Some(secret_key) = url.password().filter(|_| !bucket.is_empty()) else {
        bail!("a key or the bucket is missing")
    };
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    Ok(S3Endpoint {
        endpoint: format!("{}://{host}{port}", url.scheme()),
        bucket: bucket.to_owned(),
        access_key: url.username().to_owned(),
        secret_key: secret_key.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clickhouse_url_says_how_to_log_in() {
        let parsed = parse_clickhouse("https://me:pw@db.example:8443/?database=music").unwrap();
        assert_eq!(parsed.url, "https://db.example:8443");
        assert_eq!((parsed.database.as_str(), parsed.user.as_str(), parsed.password.as_str()), ("music", "me", "pw"));
        assert_eq!(parse_clickhouse("http://db:8123").unwrap().user, "default");
    }

    #[test]
    fn an_s3_url_needs_keys_and_a_bucket() {
        let parsed = parse_s3("http://KEY:secret@minio:9000/audio").unwrap();
        assert_eq!((parsed.endpoint.as_str(), parsed.bucket.as_str()), ("http://minio:9000", "audio"));
        assert!(parse_s3("http://minio:9000/audio").is_err());
        assert!(parse_s3("http://KEY:secret@minio:9000/").is_err());
    }
}
