//! Objects that nobody asks for go to rest, behind everybody's back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service::Shutdown;

use super::Cache;

/// So long one that is asked for only now and then stays awake at least.
const ROUND: Duration = Duration::from_secs(1);

/// Looking for them may take a twentieth of the time.
const PAUSE: u32 = 20;

pub async fn run(cache: Arc<Cache>, ended: Shutdown) {
    let mut pause = ROUND;
    while ended.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let (cache, since) = (cache.clone(), Instant::now());
        // A panic is in the log by now; the next round may be luckier.
        let _ = tokio::task::spawn_blocking(move || cache.index.put_to_rest()).await;
        pause = ROUND.max(since.elapsed() * PAUSE);
    }
}
