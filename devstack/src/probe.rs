//! Whether something is ready: real work succeeds on it.

use anyhow::{Result, bail};
use sqlx::{Connection, PgConnection};
use tokio::net::TcpStream;
use wire::endpoints::S3Endpoint;

use crate::http::Request;
use crate::{clickhouse, kafka, s3client};

#[derive(Debug, Clone)]
pub enum Probe {
    /// `GET` answers 200.
    Http(String),
    /// Something accepts at `host:port`.
    Tcp(String),
    /// Bootstrap servers take a message and a group's offset.
    Kafka(String),
    ClickHouse {
        http: String,
        native: String,
    },
    Postgres(String),
    /// Lists with these keys are allowed; whether the bucket exists does not matter.
    S3(S3Endpoint),
}

impl Probe {
    /// # Errors
    /// With the reason why it is not ready.
    pub async fn check(&self) -> Result<()> {
        match self {
            Self::Http(url) => check_http(url).await,
            Self::Tcp(address) => Ok(TcpStream::connect(address).await.map(drop)?),
            Self::Kafka(brokers) => kafka::check(brokers).await,
            Self::ClickHouse { http, native } => {
                TcpStream::connect(native).await?;
                clickhouse::check(http).await
            }
            Self::Postgres(url) => check_postgres(url).await,
            Self::S3(endpoint) => s3client::S3Client::new(endpoint)?.create_bucket().await,
        }
    }
}

async fn check_http(url: &str) -> Result<()> {
    let answer = Request::get(url).send().await?;
    if answer.status != http::StatusCode::OK {
        bail!("{url} answered {}: {}", answer.status, answer.text().chars().take(300).collect::<String>());
    }
    Ok(())
}

async fn check_postgres(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("SELECT 1").execute(&mut connection).await?;
    Ok(connection.close().await?)
}
