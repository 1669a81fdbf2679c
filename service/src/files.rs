//! Files that are read again when they change, which is once in weeks.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use crate::Shutdown;

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Calls `changed`, which may read small files, whenever one of them has another time or length, until `ended`.
pub async fn watch<const N: usize>(files: [&Path; N], ended: &Shutdown, mut changed: impl FnMut()) {
    let look = || files.map(seen);
    let mut before = look();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ended.run_until_cancelled(looks.tick()).await.is_some() {
        let now = look();
        if now != before {
            before = now;
            changed();
        }
    }
}

/// None where there is no such file at the moment.
fn seen(file: &Path) -> Option<(SystemTime, u64)> {
    let file = std::fs::metadata(file).ok()?;
    Some((file.modified().ok()?, file.len()))
}
