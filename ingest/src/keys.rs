//! Who may send, and who may read: keys in PostgreSQL, and the copy that requests are checked against.
//!
//! Three kinds. A **write** key belongs to an app and lives in its players, so it is public: it may post
//! events and nothing else, from the web origins and at the rate that it allows, and the app's name goes
//! into every event. A **user** token is one user's, for `ListenBrainz` clients and for reading one's own
//! statistics. An **operator** token reads all statistics and posts deliveries.
//!
//! [`secret`] makes what is shown once and held as a digest; [`store`] writes and reads the table;
//! [`refresh`] brings the [`snapshot`] up to it each second, [`disk`] keeps that across restarts, and
//! [`check`] answers requests from it. No request asks PostgreSQL, whatever it shows.
//!
//! Promised: a key that was revoked opens nothing five seconds later; without PostgreSQL the last snapshot
//! goes on, also after a restart, and health says so. Not promised: that a revocation which PostgreSQL has
//! not been able to tell us is known.

pub(crate) mod check;
mod config;
mod disk;
mod grant;
mod origin;
mod rate;
mod refresh;
mod secret;
mod snapshot;
mod store;

use std::sync::Arc;

use service::auth::AdminToken;
use service::config::AuthConfig;
use service::{Health, Shutdown};
use sqlx::PgPool;
use tokio::task::JoinSet;

pub(crate) use check::Keyed;
pub use config::KeysConfig;
pub use grant::{Grant, Kind};
pub use origin::{BadOrigin, OriginPattern};
pub use rate::Rate;
pub use store::{Created, Listed, NewKey, create, forget_user, list, revoke};

use disk::Disk;
use refresh::Refresher;
use snapshot::{Snapshot, Snapshots};

/// Every key that may be shown, and the admin token, which opens what an operator's does.
#[derive(Debug)]
pub(crate) struct Keys {
    snapshots: Arc<Snapshots>,
    admin: AdminToken,
}

impl Keys {
    /// Reads the keys, from PostgreSQL or else from the last run's snapshot, and keeps them up to date
    /// until `shutdown`; the tasks end after it.
    ///
    /// # Errors
    /// When the snapshot's folder cannot be had.
    pub(crate) async fn start(
        config: &KeysConfig,
        auth: &AuthConfig,
        pool: PgPool,
        health: &Health,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(Arc<Self>, JoinSet<()>)> {
        let disk = Disk::open(&config.snapshot)?;
        let snapshots = Arc::new(Snapshots::new(disk.load().unwrap_or_else(Snapshot::empty)));
        let mut refresher = Refresher::new(pool, snapshots.clone(), health.clone(), config);
        refresher.refresh().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(refresher.run(shutdown.clone()));
        tasks.spawn(disk.keep(snapshots.clone(), health.clone(), shutdown.clone()));
        Ok((Arc::new(Self { snapshots, admin: AdminToken::new(auth) }), tasks))
    }
}
