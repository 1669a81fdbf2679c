//! A content event becomes rows, one an edge. Read again it becomes none: the rows are the inbox.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use wire::PopId;
use wire::content::{ContentChange, ContentEvent};
use wire::track::TrackState;

use super::{Task, ledger};
use crate::life::Life;
use crate::stored::int4;
use crate::track_store::lock_life;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planned {
    Rows,
    /// The track has moved on since, or is unknown here: nothing is to be done any more.
    Superseded,
}

/// Writes what the event asks of the edges; a version without edges goes live at once.
pub(super) async fn plan(pool: &PgPool, event: &ContentEvent, deadline: Duration) -> Result<Planned, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let life = lock_life(&mut tx, &event.track_id).await?;
    let Some(task) = life.and_then(|life| wanted(life, event)) else { return Ok(Planned::Superseded) };
    forget_what_it_replaces(&mut tx, event, task).await?;
    insert(&mut tx, event, task, deadline).await?;
    ledger::settle(&mut tx, &event.track_id, event.version).await?;
    tx.commit().await?;
    Ok(Planned::Rows)
}

/// The task, if the event still tells of the track as it stands.
fn wanted(life: Life, event: &ContentEvent) -> Option<Task> {
    let (state, task) = match event.change {
        ContentChange::Published => (TrackState::RollingOut, Task::Warm),
        ContentChange::Withdrawn => (TrackState::Withdrawn, Task::Purge),
    };
    (life == Life { state, version: event.version }).then_some(task)
}

/// Keeps a track at the rows of one version, and a withdrawn one from being warmed further.
async fn forget_what_it_replaces(tx: &mut PgConnection, event: &ContentEvent, task: Task) -> Result<(), sqlx::Error> {
    let sql = "DELETE FROM rollouts WHERE track_id = $1
                  AND (version < $2 OR (version = $2 AND step <> $3 AND state = 'waiting'))";
    let delete = sqlx::query(sql).bind(event.track_id.as_str()).bind(int4(event.version)?);
    delete.bind(task.as_str()).execute(tx).await.map(drop)
}

/// Edges in maintenance are left out: nobody is sent to them, and waiting for them helps nobody.
async fn insert(
    tx: &mut PgConnection,
    event: &ContentEvent,
    task: Task,
    deadline: Duration,
) -> Result<(), sqlx::Error> {
    let pops: Vec<&str> = event.pops.iter().map(PopId::as_str).collect();
    let sql = "INSERT INTO rollouts (track_id, version, step, edge_id, deadline_at)
               SELECT $1, $2, $3, edge_id, now() + make_interval(secs => $4) FROM edges
                WHERE state <> 'maintenance' AND (cardinality($5::text[]) = 0 OR pop_id = ANY($5))
               ON CONFLICT DO NOTHING";
    let insert = sqlx::query(sql).bind(event.track_id.as_str()).bind(int4(event.version)?);
    insert.bind(task.as_str()).bind(deadline.as_secs_f64()).bind(pops).execute(tx).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_still_holds_is_done() {
        let event = |change, version| ContentEvent {
            event_id: uuid::Uuid::nil(),
            change,
            track_id: wire::TrackId::new("t").unwrap(),
            version,
            occurred_at: wire::Timestamp::from_millis(0).unwrap(),
            pops: Vec::new(),
            objects: Vec::new(),
        };
        let (published, withdrawn) = (ContentChange::Published, ContentChange::Withdrawn);
        let at = |state| Life { state, version: 2 };
        for (state, change, version, expected) in [
            (TrackState::RollingOut, published, 2, Some(Task::Warm)),
            (TrackState::RollingOut, published, 1, None),
            (TrackState::RollingOut, withdrawn, 2, None),
            (TrackState::Live, published, 2, None),
            (TrackState::Withdrawn, withdrawn, 2, Some(Task::Purge)),
            (TrackState::Withdrawn, published, 2, None),
            (TrackState::Ready, withdrawn, 2, None),
        ] {
            assert_eq!(wanted(at(state), &event(change, version)), expected, "{state:?} {change:?} {version}");
        }
    }
}
