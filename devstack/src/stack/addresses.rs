//! Which port everything has: the usual one, or a free one where that is taken.

use std::fmt;

use anyhow::Result;

use super::fleet::{EDGES, Pop};
use crate::ports;
use crate::progress::say;
use crate::servers::{Ports, Server};

/// A port of the loopback interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local(pub u16);

impl Local {
    #[must_use]
    pub fn url(self) -> String {
        format!("http://{self}")
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "127.0.0.1:{}", self.0)
    }
}

#[derive(Debug)]
pub struct Addresses {
    pub router: Local,
    pub ingest: Local,
    pub sink: Local,
    pub catalog: Local,
    pub edges: Vec<EdgeAddress>,
}

#[derive(Debug)]
pub struct EdgeAddress {
    pub id: &'static str,
    pub pop: &'static Pop,
    /// Where listeners reach it, at its distance.
    pub relay: Local,
    pub admin: Local,
    /// Its own listener, behind the relay.
    pub listen: Local,
}

impl Addresses {
    /// # Errors
    /// When no port is free.
    pub fn choose() -> Result<Self> {
        let edges = (0_u16..).zip(EDGES).map(|(nth, (id, pop))| {
            let base = 7200 + 10 * nth;
            let (relay, admin) = (take(base, id)?, take(base + 1, &format!("{id}'s admin"))?);
            Ok(EdgeAddress { id, pop, relay, admin, listen: take(base + 2, &format!("{id} without its distance"))? })
        });
        Ok(Self {
            router: take(7000, "router")?,
            ingest: take(7100, "ingest")?,
            sink: take(7101, "sink's health")?,
            catalog: take(7300, "catalog")?,
            edges: edges.collect::<Result<_>>()?,
        })
    }
}

/// Ports for those servers that are started here; of the others' nobody hears.
///
/// # Errors
/// When no port is free.
pub fn server_ports(wanted: &[Server]) -> Result<Ports> {
    let take =
        |server, port, what| if wanted.contains(&server) { take(port, what).map(|local| local.0) } else { Ok(port) };
    Ok(Ports {
        kafka: take(Server::Kafka, 7392, "Kafka")?,
        kafka_controller: take(Server::Kafka, 7393, "Kafka's controller")?,
        clickhouse_http: take(Server::ClickHouse, 7323, "ClickHouse's HTTP")?,
        clickhouse_native: take(Server::ClickHouse, 7390, "ClickHouse's native protocol")?,
        postgres: take(Server::Postgres, 7332, "PostgreSQL")?,
        s3: take(Server::S3, 7380, "S3")?,
    })
}

fn take(wanted: u16, what: &str) -> Result<Local> {
    let (port, word) = ports::wanted_or_free(wanted, what)?;
    if let Some(word) = word {
        say(&word);
    }
    Ok(Local(port))
}
