//! Where a listener is: country and autonomous system from MaxMind DB files, and the network the address is cut to.
//!
//! The address comes in, a [`Place`] comes out, and nothing else of the address goes any further: it is
//! neither stored nor logged. Without files, or where they do not know the address, fields are empty.

mod config;
mod database;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use service::health::Status;
use service::{Health, Shutdown};
use tokio::time::MissedTickBehavior;
use wire::ClientNet;

pub use config::GeoConfig;
use database::Database;

/// What is kept of where a request came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// ISO 3166-1 alpha-2.
    pub(crate) country: Option<String>,
    /// 0 where unknown.
    pub(crate) asn: u32,
    /// Cut to /24 or /48; empty where not kept.
    pub(crate) client_net: String,
}

/// The files that are configured, as they are now.
#[derive(Debug)]
pub(crate) struct Geo {
    country: Database,
    asn: Database,
}

impl Geo {
    /// Reads the files, and again when they change until `shutdown`. One that cannot be read leaves its
    /// field empty, or the last good file in force, and health says so.
    pub(crate) async fn start(config: &GeoConfig, health: &Health, shutdown: &Shutdown) -> Arc<Self> {
        let database = |file: &Option<_>| Database::new(file.clone());
        let geo = Arc::new(Self { country: database(&config.country_db), asn: database(&config.asn_db) });
        if config.country_db.is_some() || config.asn_db.is_some() {
            geo.look(health).await;
            tokio::spawn(geo.clone().watch(config.check_interval.0, health.clone(), shutdown.clone()));
        }
        geo
    }

    pub(crate) fn place(&self, address: IpAddr) -> Place {
        let address = address.to_canonical();
        // Of the fourth version, as most are, all fits at once.
        let mut client_net = String::with_capacity(18);
        write!(client_net, "{}", ClientNet::of(address)).expect("a String takes all that is written to it");
        Place {
            country: self.country.find(address, |record| record.country()),
            asn: self.asn.find(address, |record| record.asn).unwrap_or(0),
            client_net,
        }
    }

    async fn watch(self: Arc<Self>, every: Duration, health: Health, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look(&health).await,
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn look(self: &Arc<Self>, health: &Health) {
        let geo = self.clone();
        let looked = tokio::task::spawn_blocking(move || [geo.country.look(), geo.asn.look()]).await;
        let found = looked.unwrap_or_else(|panic| [Err(panic.to_string()), Ok(())]);
        let reasons: Vec<String> = found.into_iter().filter_map(Result::err).collect();
        health.set("geo", if reasons.is_empty() { Status::Ok } else { Status::Degraded(reasons.join("; ")) });
    }
}
