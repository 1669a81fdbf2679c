//! The database refuses the steps that the code refuses.

use catalog::life::{Life, Step};
use wire::track::TrackState;

use crate::stage::Stage;

const STATES: [TrackState; 4] = [TrackState::Ready, TrackState::RollingOut, TrackState::Live, TrackState::Withdrawn];

/// Where the code can lead from here.
fn reachable(from: Life) -> Vec<Life> {
    let steps = [
        Step::Register { changed: true },
        Step::Publish { same: false },
        Step::RolledOut { version: from.version },
        Step::Withdraw,
    ];
    steps.into_iter().filter_map(|step| from.after(step).ok()).collect()
}

#[tokio::test]
async fn from_every_state_only_where_the_code_leads() {
    let stage = Stage::new().await;
    for from in STATES.map(|state| Life { state, version: 5 }) {
        for to in STATES.iter().flat_map(|&state| [4, 5, 6, 7].map(|version| Life { state, version })) {
            let allowed = to == from || reachable(from).contains(&to);
            let mut tx = stage.pool.begin().await.unwrap();
            let insert = "INSERT INTO tracks (track_id, title, artist, duration_ms, state, version)
                          VALUES ('t', 't', 'a', 1, $1, $2)";
            let insert = sqlx::query(insert).bind(from.state.as_str()).bind(from.version as i32);
            insert.execute(&mut *tx).await.unwrap();
            let update = sqlx::query("UPDATE tracks SET state = $1, version = $2");
            let update = update.bind(to.state.as_str()).bind(to.version as i32).execute(&mut *tx).await;
            assert_eq!(update.is_ok(), allowed, "{from:?} -> {to:?}: {update:?}");
            tx.rollback().await.unwrap();
        }
    }
}
