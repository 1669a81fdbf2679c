//! Gives up orders that are past their deadline, whoever was to carry them out.

use std::time::Duration;

use service::Shutdown;

use super::Ledger;

/// A version goes live at most this long after its deadline.
const EVERY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Deadlines {
    pub(crate) ledger: Ledger,
}

impl Deadlines {
    pub(crate) async fn run(self, shutdown: Shutdown) {
        loop {
            if let Err(error) = self.ledger.expire().await {
                tracing::debug!(%error, "cannot look for overdue orders; it is tried again");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}
