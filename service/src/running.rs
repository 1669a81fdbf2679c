//! A role that has started: where it listens and how it ends.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::task::JoinHandle;

use crate::Shutdown;

/// What a role's `start` returns: done once the role serves.
///
/// Boxed where it is made, so that a role's code is compiled with the role. An `async fn` would be
/// compiled in the binary that awaits it, all roles once more, for minutes at every change of it.
pub type Starting = Pin<Box<dyn Future<Output = anyhow::Result<Running>> + Send>>;

/// A role that serves; it runs until its [`Shutdown`] is cancelled or it fails.
#[derive(Debug)]
pub struct Running {
    /// The bound address, with the real port where 0 was asked for.
    pub addr: SocketAddr,
    /// The operators' address, where the role has one apart.
    pub admin_addr: Option<SocketAddr>,
    shutdown: Shutdown,
    main: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    #[must_use]
    pub fn new(addr: SocketAddr, shutdown: Shutdown, main: JoinHandle<anyhow::Result<()>>) -> Self {
        Self { addr, admin_addr: None, shutdown, main }
    }

    #[must_use]
    pub fn with_admin(mut self, addr: SocketAddr) -> Self {
        self.admin_addr = Some(addr);
        self
    }

    /// The base URL of the public listener, for tests and messages.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Waits until the role has ended by itself or by its shutdown token.
    ///
    /// # Errors
    /// What the role failed with, or its panic.
    pub async fn wait(self) -> anyhow::Result<()> {
        self.main.await?
    }

    /// Asks the role to stop and waits until it has drained.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.wait().await
    }
}
