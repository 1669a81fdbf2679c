//! Tracks in PostgreSQL. Every change locks its track's row, asks [`crate::life`], and commits together
//! with the event that tells of it.

mod read;
mod rows;

use std::sync::Arc;

use sqlx::{PgConnection, PgPool, PgTransaction};
use tokio::sync::Notify;
use uuid::Uuid;
use wire::content::{ContentChange, ContentEvent};
use wire::track::{PublishOrder, TrackSpec, TrackState, TrackStatus};
use wire::{PopId, Timestamp, TrackId};

use crate::life::{Life, Refusal, Step};
use crate::{outbox, spec};

use rows::Row;

/// Why a change or a look-up did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("no track {0} is registered")]
    NotFound(TrackId),
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// `index` is the POP's place in the order as it was sent.
    #[error("no POP {pop} is registered")]
    UnknownPop { index: usize, pop: PopId },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registered {
    Created,
    /// Replaced, or the same as before.
    Kept,
}

/// What a publication or a withdrawal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    Yes,
    /// The same was ordered before: nothing was written, no event follows.
    No,
}

/// The tracks of one database.
#[derive(Debug, Clone)]
pub(crate) struct TrackStore {
    pool: PgPool,
    /// Wakes the relay of this process once an event has been committed.
    outbox: Arc<Notify>,
}

impl TrackStore {
    #[must_use]
    pub(crate) fn new(pool: PgPool, outbox: Arc<Notify>) -> Self {
        Self { pool, outbox }
    }

    /// Registers a track, or replaces its specification; the same one again changes nothing, but brings
    /// a withdrawn track back to ready.
    ///
    /// # Errors
    /// [`StoreError::Refused`] while the track is rolling out with another specification.
    pub(crate) async fn register(
        &self,
        id: &TrackId,
        spec: &TrackSpec,
    ) -> Result<(Registered, TrackStatus), StoreError> {
        let mut tx = self.pool.begin().await?;
        let done = if rows::insert(&mut tx, id, spec).await? {
            rows::insert_parts(&mut tx, id, spec).await?;
            (Registered::Created, status(id, Life::NEW, spec.clone()))
        } else {
            (Registered::Kept, replace(&mut tx, id, spec).await?)
        };
        tx.commit().await?;
        Ok(done)
    }

    /// Makes a new version and its event, unless the last publication was this one and still stands.
    ///
    /// # Errors
    /// [`StoreError::UnknownPop`]; [`StoreError::Refused`] when the track is withdrawn.
    pub(crate) async fn publish(
        &self,
        id: &TrackId,
        order: PublishOrder,
    ) -> Result<(Changed, TrackStatus), StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = locked(&mut tx, id).await?;
        rows::check_pops(&mut tx, &order.pops).await?;
        let pops = spec::distinct(order.pops);
        let next = row.life.after(Step::Publish { same: !row.revised && row.pops == pops })?;
        let spec = rows::spec(&mut tx, id, &row).await?;
        if next == row.life {
            return Ok((Changed::No, status(id, next, spec)));
        }
        rows::publish(&mut tx, id, next, &pops).await?;
        self.commit_with_event(tx, &event(ContentChange::Published, id, next, pops, &spec)).await?;
        Ok((Changed::Yes, status(id, next, spec)))
    }

    /// Withdraws a track, with its event; once it is withdrawn, again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the track is not published.
    pub(crate) async fn withdraw(&self, id: &TrackId) -> Result<(Changed, TrackStatus), StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = locked(&mut tx, id).await?;
        let next = row.life.after(Step::Withdraw)?;
        let spec = rows::spec(&mut tx, id, &row).await?;
        if next == row.life {
            return Ok((Changed::No, status(id, next, spec)));
        }
        rows::set_life(&mut tx, id, next).await?;
        // An edge of any POP may have fetched it since.
        self.commit_with_event(tx, &event(ContentChange::Withdrawn, id, next, Vec::new(), &spec)).await?;
        Ok((Changed::Yes, status(id, next, spec)))
    }

    async fn commit_with_event(&self, mut tx: PgTransaction<'_>, event: &ContentEvent) -> Result<(), StoreError> {
        outbox::add(&mut tx, event).await?;
        tx.commit().await?;
        self.outbox.notify_one();
        Ok(())
    }
}

/// Marks the track live if this version is still the one that rolls out; says whether it did.
pub(crate) async fn rolled_out(tx: &mut PgConnection, id: &TrackId, version: u32) -> Result<bool, sqlx::Error> {
    let Some(row) = rows::lock(tx, id).await? else { return Ok(false) };
    let Ok(next) = row.life.after(Step::RolledOut { version }) else { return Ok(false) };
    rows::set_life(tx, id, next).await?;
    Ok(true)
}

/// Locks the track against every other change until the transaction ends; none where nobody registered it.
pub(crate) async fn lock_life(tx: &mut PgConnection, id: &TrackId) -> Result<Option<Life>, sqlx::Error> {
    Ok(rows::lock(tx, id).await?.map(|row| row.life))
}

async fn locked(tx: &mut PgConnection, id: &TrackId) -> Result<Row, StoreError> {
    rows::lock(tx, id).await?.ok_or_else(|| StoreError::NotFound(id.clone()))
}

async fn replace(tx: &mut PgConnection, id: &TrackId, spec: &TrackSpec) -> Result<TrackStatus, StoreError> {
    let row = locked(tx, id).await?;
    let changed = rows::spec(tx, id, &row).await? != *spec;
    let next = row.life.after(Step::Register { changed })?;
    if changed {
        rows::replace(tx, id, spec).await?;
    }
    if next != row.life {
        rows::set_life(tx, id, next).await?;
    }
    Ok(status(id, next, spec.clone()))
}

fn status(id: &TrackId, life: Life, spec: TrackSpec) -> TrackStatus {
    TrackStatus { track_id: id.clone(), version: life.version, state: life.state, spec }
}

fn event(change: ContentChange, id: &TrackId, life: Life, pops: Vec<PopId>, spec: &TrackSpec) -> ContentEvent {
    ContentEvent {
        event_id: Uuid::now_v7(),
        change,
        track_id: id.clone(),
        version: life.version,
        occurred_at: Timestamp::now(),
        pops,
        objects: spec.objects.clone(),
    }
}

/// The state that a row's text names.
fn state_named(text: &str) -> Result<TrackState, sqlx::Error> {
    let states = [TrackState::Ready, TrackState::RollingOut, TrackState::Live, TrackState::Withdrawn];
    let found = states.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| sqlx::Error::Decode(format!("no track state is named {text}").into()))
}
