//! One thing that is kept running: how it starts, and when it counts as started.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::probe::Probe;
use crate::process::{Launch, Process, tail};

/// Between two questions whether it is ready.
const PAUSE: Duration = Duration::from_millis(100);
/// No single question takes longer.
const QUESTION: Duration = Duration::from_secs(8);

#[derive(Debug, Clone)]
pub struct Unit {
    /// As people call it.
    pub name: String,
    pub launch: Launch,
    pub probe: Probe,
    pub ready_within: Duration,
    pub stop_within: Duration,
    /// A PostgreSQL data folder, whose lock file a `kill -9` leaves behind.
    pub postgres_dir: Option<PathBuf>,
}

impl Unit {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; the error shows the end of its log.
    pub async fn start(&self) -> Result<Process> {
        if let Some(dir) = &self.postgres_dir {
            crate::postgres::clear_stale_lock(dir).await?;
        }
        let mut process = self.launch.start()?;
        let ended = tokio::select! {
            ready = self.ready() => ready.err(),
            status = process.exited() => Some(anyhow!("ended at once: {}", status?)),
        };
        match ended {
            None => Ok(process),
            Some(error) => {
                process.kill().await?;
                Err(anyhow!("{} did not start: {error:#}; {}", self.name, tail(&self.launch.log)))
            }
        }
    }

    async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + self.ready_within;
        loop {
            let answer = tokio::time::timeout(QUESTION, self.probe.check()).await;
            let error = match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => anyhow!("no answer within {QUESTION:?}"),
            };
            if Instant::now() > deadline {
                return Err(error.context(format!("not ready within {:?}", self.ready_within)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
