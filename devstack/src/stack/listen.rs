//! The first listen, which shows what the product does, and that all of it works.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::config::endpoints_file;
use crate::folder;

const WITHIN: Duration = Duration::from_secs(90);
/// Two segments of six seconds, played four times as fast.
const ARGS: [&str; 7] = ["--track", "trk-001", "--seconds", "12", "--speed", "4", "--explain"];

/// It prints its own story.
///
/// # Errors
/// When it does not succeed.
pub async fn once(root: &Path) -> Result<()> {
    let tonearm = folder::binary("tonearm").context("no tonearm binary beside devstack")?;
    let mut command = Command::new(tonearm);
    command
        .args(["listen", "--endpoints"])
        .arg(endpoints_file(root))
        .args(ARGS)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let status = tokio::time::timeout(WITHIN, command.status()).await;
    let status = status.with_context(|| format!("the listen was not done within {WITHIN:?}"))??;
    if !status.success() {
        bail!("the listen failed: tonearm listen: {status}; the roles' logs are in {}", root.join("log").display());
    }
    Ok(())
}
