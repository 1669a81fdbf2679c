//! Keys in PostgreSQL: written by `tonearm keys`, read by ingest.

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use serde::Serialize;
use service::config::Secret;
use sqlx::{FromRow, PgPool};

use super::grant::{Grant, Kind};
use super::rate::Rate;
use super::secret::{self, Digest};
use super::snapshot::{Change, Key};

/// Write keys and operators first: what is left out for the bound's sake is a user's.
const WHOLE: &str =
    "SELECT key_id, kind, secret_sha256, app, user_id, origins, events_per_s, burst, revoked_at, changed_at
    FROM keys WHERE revoked_at IS NULL ORDER BY kind = 'user', created_at, key_id LIMIT $1";
const SINCE: &str =
    "SELECT key_id, kind, secret_sha256, app, user_id, origins, events_per_s, burst, revoked_at, changed_at
    FROM keys WHERE changed_at >= $1 LIMIT $2";
/// More changes than this at once are read as a whole, which is a stream.
const CHANGES: usize = 10_000;
/// The beginning of time where there is none, so that the first key ever is a change.
const NEWEST: &str = "SELECT coalesce(max(changed_at), 'epoch') FROM keys";
/// The same secret again is the same key with other settings; a revoked one stays revoked.
const CREATE: &str = "INSERT INTO keys (key_id, kind, secret_sha256, app, user_id, origins, events_per_s, burst, note)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (secret_sha256) DO UPDATE SET app = $4, origins = $6, events_per_s = $7, burst = $8, note = $9
        WHERE keys.kind = $2 AND keys.user_id IS NOT DISTINCT FROM $5 AND keys.revoked_at IS NULL
    RETURNING key_id";
const LIST: &str = "SELECT key_id, kind, app, user_id, origins, events_per_s, burst, note, created_at, revoked_at
    FROM keys WHERE ($1::text IS NULL OR kind = $1) AND ($2 OR revoked_at IS NULL) ORDER BY created_at, key_id LIMIT $3";
const REVOKE: &str = "UPDATE keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = $1";
const FORGET: &str = "UPDATE keys SET revoked_at = coalesce(revoked_at, now()), user_id = NULL, note = ''
    WHERE user_id = $1";

/// What `create` makes a key of.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub grant: Grant,
    /// For people.
    pub note: String,
    /// Made elsewhere; none makes one.
    pub secret: Option<Secret>,
}

#[derive(Debug)]
pub struct Created {
    pub key_id: String,
    /// Shown now and never again.
    pub secret: Secret,
}

/// A key as `tonearm keys list` shows it.
#[derive(Debug, Clone, FromRow, Serialize)]
pub struct Listed {
    pub key_id: String,
    pub kind: String,
    pub app: Option<String>,
    pub user_id: Option<String>,
    pub origins: Vec<String>,
    pub events_per_s: Option<i32>,
    pub burst: Option<i32>,
    pub note: String,
    pub created_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Makes a key. With a secret that was given before, changes that key's settings instead, so that
/// provisioning may be run again.
///
/// # Errors
/// When a value is out of its bounds, when the given secret is another's or was revoked, or when PostgreSQL is away.
pub async fn create(pool: &PgPool, new: &NewKey) -> anyhow::Result<Created> {
    let (grant, kind) = (&new.grant, new.grant.kind());
    grant.check()?;
    ensure!(new.note.len() <= 256 && !new.note.contains('\0'), "note must be at most 256 bytes with no NUL");
    let (key_id, secret) = match &new.secret {
        Some(given) => {
            secret::check_given(kind, given)?;
            (secret::make_id(kind), given.clone())
        }
        None => secret::make(kind),
    };
    let rate = grant.rate().map(|rate| (rate.events_per_s.cast_signed(), rate.burst.cast_signed()));
    let query = sqlx::query_scalar(CREATE)
        .bind(key_id)
        .bind(kind.as_str())
        .bind(Digest::of(secret.expose()).as_bytes().to_vec());
    let origins: Vec<String> = grant.origins().iter().map(ToString::to_string).collect();
    let query = query.bind(grant.app()).bind(grant.user_id()).bind(origins);
    let query = query.bind(rate.map(|rate| rate.0)).bind(rate.map(|rate| rate.1)).bind(&new.note);
    let written: Option<String> = query.fetch_optional(pool).await.context("cannot write the key")?;
    let Some(key_id) = written else { bail!("the given secret is that of another key, or of one that was revoked") };
    Ok(Created { key_id, secret })
}

/// The oldest first, at most `max`.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn list(pool: &PgPool, kind: Option<Kind>, revoked_too: bool, max: u32) -> anyhow::Result<Vec<Listed>> {
    let query = sqlx::query_as(LIST).bind(kind.map(Kind::as_str)).bind(revoked_too).bind(i64::from(max));
    query.fetch_all(pool).await.context("cannot read the keys")
}

/// Says whether there is such a key; one that is revoked already stays so.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn revoke(pool: &PgPool, key_id: &str) -> anyhow::Result<bool> {
    let done = sqlx::query(REVOKE).bind(key_id).execute(pool).await.context("cannot revoke the key")?;
    Ok(done.rows_affected() > 0)
}

/// Revokes every token of a user and forgets whose they were; says how many.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn forget_user(pool: &PgPool, user_id: &str) -> anyhow::Result<u64> {
    let done = sqlx::query(FORGET).bind(user_id).execute(pool).await.context("cannot forget the user's tokens")?;
    Ok(done.rows_affected())
}

pub(super) type Changes = (Vec<Change>, Option<DateTime<Utc>>);

/// All keys, `max` at most; how far changes have been seen with them; whether there are more.
pub(super) async fn whole(pool: &PgPool, max: usize) -> sqlx::Result<(Vec<Key>, Option<DateTime<Utc>>, bool)> {
    // Asked for first: what changes while the keys are read is then read again.
    let newest: Option<DateTime<Utc>> = sqlx::query_scalar(NEWEST).fetch_one(pool).await?;
    let limit = i64::try_from(max.saturating_add(1)).unwrap_or(i64::MAX);
    let mut keys = Vec::new();
    let mut rows = sqlx::query_as::<_, Row>(WHOLE).bind(limit).fetch(pool);
    let mut more = false;
    while let Some(row) = rows.try_next().await? {
        if keys.len() == max {
            more = true;
        } else if let Some(Change::Live(key)) = row.change() {
            keys.push(key);
        }
    }
    Ok((keys, newest, more))
}

/// What has changed at or after a moment, and when the newest of it did; none where that is too much.
pub(super) async fn since(pool: &PgPool, moment: DateTime<Utc>) -> sqlx::Result<Option<Changes>> {
    let rows: Vec<Row> = sqlx::query_as(SINCE).bind(moment).bind(CHANGES as i64 + 1).fetch_all(pool).await?;
    if rows.len() > CHANGES {
        return Ok(None);
    }
    let newest = rows.iter().map(|row| row.changed_at).max();
    Ok(Some((rows.into_iter().filter_map(Row::change).collect(), newest)))
}

#[derive(Debug, FromRow)]
struct Row {
    key_id: String,
    kind: String,
    secret_sha256: Vec<u8>,
    app: Option<String>,
    user_id: Option<String>,
    origins: Vec<String>,
    events_per_s: Option<i32>,
    burst: Option<i32>,
    revoked_at: Option<DateTime<Utc>>,
    changed_at: DateTime<Utc>,
}

impl Row {
    /// None for a row that was written past our checks and makes no sense: it opens nothing, the others stand.
    fn change(self) -> Option<Change> {
        let digest = Digest::from_bytes(&self.secret_sha256)?;
        if self.revoked_at.is_some() {
            return Some(Change::Revoked(digest));
        }
        let key_id = self.key_id.clone();
        match self.grant() {
            Ok(grant) => Some(Change::Live(Key { key_id, digest, grant })),
            Err(reason) => {
                tracing::warn!(key.id = key_id, reason = format!("{reason:#}"), "a key is refused, the others stand");
                // One that made sense before its last change opens nothing either.
                Some(Change::Revoked(digest))
            }
        }
    }

    fn grant(self) -> anyhow::Result<Grant> {
        let rate = match (self.events_per_s, self.burst) {
            (Some(events_per_s), Some(burst)) => {
                Some(Rate { events_per_s: events_per_s.try_into()?, burst: burst.try_into()? })
            }
            _ => None,
        };
        let grant = match self.kind.parse().map_err(anyhow::Error::msg)? {
            Kind::Write => {
                let origins = self.origins.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
                Grant::Write { app: self.app.context("it has no app")?, origins, rate }
            }
            Kind::User => {
                let (app, user_id) = (self.app.context("it has no app")?, self.user_id.context("it has no user")?);
                Grant::User { app, user_id, rate }
            }
            Kind::Operator => Grant::Operator,
        };
        grant.check()?;
        Ok(grant)
    }
}
