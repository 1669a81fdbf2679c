//! The four servers together.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use wire::endpoints::S3Endpoint;

use crate::clickhouse::ClickHouse;
use crate::kafka::Kafka;
use crate::postgres::Postgres;
use crate::progress::during;
use crate::s3::S3;
use crate::secret::Secrets;
use crate::supervisor::{Order, Supervised};
use crate::unit::Unit;
use crate::{fetch, ports};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    Kafka,
    ClickHouse,
    Postgres,
    S3,
}

impl Server {
    pub const ALL: [Self; 4] = [Self::Kafka, Self::ClickHouse, Self::Postgres, Self::S3];
}

#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub kafka: u16,
    pub kafka_controller: u16,
    pub clickhouse_http: u16,
    pub clickhouse_native: u16,
    pub postgres: u16,
    pub s3: u16,
}

impl Ports {
    /// # Errors
    /// When six free ones cannot be found.
    pub fn free() -> Result<Self> {
        Ok(Self {
            kafka: ports::free()?,
            kafka_controller: ports::free()?,
            clickhouse_http: ports::free()?,
            clickhouse_native: ports::free()?,
            postgres: ports::free()?,
            s3: ports::free()?,
        })
    }
}

/// Where the servers are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// `host:port`, comma-separated.
    pub kafka: String,
    pub clickhouse_http: String,
    /// `host:port`.
    pub clickhouse_native: String,
    /// Of ClickHouse's account `analyst`, which reads the database `tonearm`; empty where the server is not ours.
    pub analyst_password: String,
    pub postgres: String,
    pub s3: S3Endpoint,
}

/// What is to be started, and where.
#[derive(Debug)]
pub struct Plan {
    /// Data; one folder a server below it.
    pub dir: PathBuf,
    pub logs: PathBuf,
    pub ports: Ports,
    pub secrets: Secrets,
    /// False where the data is thrown away with the servers.
    pub durable: bool,
    /// Those of the four to start; the others are somebody else's.
    pub wanted: Vec<Server>,
}

impl Plan {
    /// Where they will be, before they are started.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        let ports = self.ports;
        Addresses {
            kafka: format!("127.0.0.1:{}", ports.kafka),
            clickhouse_http: format!("http://127.0.0.1:{}", ports.clickhouse_http),
            clickhouse_native: format!("127.0.0.1:{}", ports.clickhouse_native),
            analyst_password: self.secrets.analyst_password.clone(),
            postgres: self.postgres().url(),
            s3: self.s3().endpoint(),
        }
    }

    async fn unit(&self, server: Server) -> Result<Unit> {
        match server {
            Server::Kafka => self.kafka().await?.prepare(self.logs.join("kafka.log")).await,
            Server::ClickHouse => self.clickhouse().await?.prepare(self.logs.join("clickhouse.log")),
            Server::Postgres => self.postgres().prepare(self.logs.join("postgres.log")).await,
            Server::S3 => self.s3().prepare(self.logs.join("s3.log")).await,
        }
    }

    async fn kafka(&self) -> Result<Kafka> {
        let (port, controller_port) = (self.ports.kafka, self.ports.kafka_controller);
        Ok(Kafka { libs: fetch::kafka().await?, dir: self.dir.join("kafka"), port, controller_port })
    }

    async fn clickhouse(&self) -> Result<ClickHouse> {
        Ok(ClickHouse {
            program: fetch::clickhouse().await?,
            dir: self.dir.join("clickhouse"),
            http_port: self.ports.clickhouse_http,
            native_port: self.ports.clickhouse_native,
            analyst_password: self.secrets.analyst_password.clone(),
        })
    }

    fn postgres(&self) -> Postgres {
        let password = self.secrets.postgres_password.clone();
        Postgres { dir: self.dir.join("postgres"), port: self.ports.postgres, password, durable: self.durable }
    }

    fn s3(&self) -> S3 {
        S3 {
            dir: self.dir.join("s3"),
            port: self.ports.s3,
            bucket: "tonearm".into(),
            access_key: self.secrets.s3_access_key.clone(),
            secret_key: self.secrets.s3_secret_key.clone(),
        }
    }
}

/// The servers, running and looked after.
#[derive(Debug)]
pub struct Servers {
    running: Vec<(Server, Supervised)>,
}

impl Servers {
    /// Starts them side by side.
    ///
    /// # Errors
    /// When one does not start; the others are killed then.
    pub async fn start(plan: Plan) -> Result<Self> {
        let plan = std::sync::Arc::new(plan);
        let mut starting = JoinSet::new();
        for server in plan.wanted.clone() {
            let plan = plan.clone();
            starting.spawn(async move { anyhow::Ok((server, start_one(&plan, server).await?)) });
        }
        let mut running = Vec::new();
        while let Some(started) = starting.join_next().await {
            running.push(started.context("start a server")??);
        }
        Ok(Self { running })
    }

    /// # Errors
    /// When the order could not be carried out.
    pub async fn order(&self, server: Server, order: Order) -> Result<()> {
        let found = self.running.iter().find(|(which, _)| *which == server);
        let (_, supervised) = found.with_context(|| format!("{server:?} was not started here"))?;
        supervised.order(order).await
    }

    /// Ends them at once, where their data is thrown away.
    pub async fn kill(self) {
        let kills = self.running.iter().map(|(_, server)| server.order(Order::Kill));
        // One that cannot be killed is told of our end by the kernel.
        let _ = futures_util::future::join_all(kills).await;
    }

    /// Stops them side by side, in order.
    pub async fn finish(self) {
        let stops = self.running.into_iter().map(|(_, server)| server.finish());
        futures_util::future::join_all(stops).await;
    }
}

async fn start_one(plan: &Plan, server: Server) -> Result<Supervised> {
    let unit = plan.unit(server).await?;
    let name = unit.name.clone();
    let supervised = during(&format!("starting {name}"), Supervised::start(unit)).await?;
    if server == Server::Postgres {
        crate::postgres::ensure_database(&plan.postgres().url()).await?;
    }
    Ok(supervised)
}
