//! The rows of one track: `tracks`, `renditions`, `objects`.

use sqlx::{FromRow, PgConnection};
use wire::content::ObjectRef;
use wire::track::{Rendition, RenditionKind, TrackSpec};
use wire::{ObjectKey, PopId, TrackId};

use super::{StoreError, state_named};
use crate::life::Life;
use crate::stored::{id, int4, int8, unsigned};

/// A row of `tracks`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) life: Life,
    pub(super) pops: Vec<PopId>,
    /// Whether the specification was replaced since the last publication.
    pub(super) revised: bool,
    title: String,
    artist: String,
    duration_ms: u64,
}

#[derive(FromRow)]
struct Columns {
    state: String,
    version: i32,
    pops: Vec<String>,
    revised: bool,
    title: String,
    artist: String,
    duration_ms: i64,
}

/// Inserts a track unless it stands already; says whether it did.
pub(super) async fn insert(tx: &mut PgConnection, id: &TrackId, spec: &TrackSpec) -> Result<bool, sqlx::Error> {
    let sql = "INSERT INTO tracks (track_id, title, artist, duration_ms, state) VALUES ($1, $2, $3, $4, 'ready')
               ON CONFLICT DO NOTHING";
    let insert = sqlx::query(sql).bind(id.as_str()).bind(&spec.title).bind(&spec.artist);
    let done = insert.bind(int8(spec.duration_ms)?).execute(&mut *tx).await?;
    Ok(done.rows_affected() == 1)
}

const READ: &str = "SELECT state, version, pops, revised, title, artist, duration_ms
                      FROM tracks WHERE track_id = $1";
const LOCK: &str = "SELECT state, version, pops, revised, title, artist, duration_ms
                      FROM tracks WHERE track_id = $1 FOR UPDATE";

pub(super) async fn read(tx: &mut PgConnection, id: &TrackId) -> Result<Option<Row>, sqlx::Error> {
    fetch(tx, id, READ).await
}

/// Reads the row and keeps every other change of the track waiting until the transaction ends.
pub(super) async fn lock(tx: &mut PgConnection, id: &TrackId) -> Result<Option<Row>, sqlx::Error> {
    fetch(tx, id, LOCK).await
}

async fn fetch(tx: &mut PgConnection, id: &TrackId, sql: &'static str) -> Result<Option<Row>, sqlx::Error> {
    let columns: Option<Columns> = sqlx::query_as(sql).bind(id.as_str()).fetch_optional(&mut *tx).await?;
    columns.map(Row::try_from).transpose()
}

impl TryFrom<Columns> for Row {
    type Error = sqlx::Error;

    fn try_from(columns: Columns) -> Result<Self, sqlx::Error> {
        Ok(Self {
            life: Life { state: state_named(&columns.state)?, version: unsigned(columns.version)? },
            pops: columns.pops.into_iter().map(self::id).collect::<Result<_, _>>()?,
            revised: columns.revised,
            title: columns.title,
            artist: columns.artist,
            duration_ms: unsigned(columns.duration_ms)?,
        })
    }
}

/// The locked track's specification, its lists in the order of their keys.
pub(super) async fn spec(tx: &mut PgConnection, id: &TrackId, row: &Row) -> Result<TrackSpec, sqlx::Error> {
    Ok(TrackSpec {
        title: row.title.clone(),
        artist: row.artist.clone(),
        duration_ms: row.duration_ms,
        renditions: renditions(tx, id).await?,
        objects: objects(tx, id).await?,
    })
}

/// Bytewise order, which is Rust's, whatever the database's collation.
pub(super) async fn renditions(tx: &mut PgConnection, id: &TrackId) -> Result<Vec<Rendition>, sqlx::Error> {
    let sql = r#"SELECT kind, key, codec, bitrate_kbps FROM renditions WHERE track_id = $1 ORDER BY key COLLATE "C""#;
    let rows: Vec<(String, String, String, i32)> = sqlx::query_as(sql).bind(id.as_str()).fetch_all(&mut *tx).await?;
    rows.into_iter().map(rendition).collect()
}

fn rendition((kind, key, codec, bitrate): (String, String, String, i32)) -> Result<Rendition, sqlx::Error> {
    let kinds = [RenditionKind::Hls, RenditionKind::Progressive];
    let found = kinds.into_iter().find(|known| known.as_str() == kind);
    let kind = found.ok_or_else(|| sqlx::Error::Decode(format!("no rendition kind is named {kind}").into()))?;
    Ok(Rendition { kind, key: id(key)?, codec, bitrate_kbps: unsigned(bitrate)? })
}

pub(super) async fn objects(tx: &mut PgConnection, id: &TrackId) -> Result<Vec<ObjectRef>, sqlx::Error> {
    let sql = r#"SELECT key, bytes, content_type FROM objects WHERE track_id = $1 ORDER BY key COLLATE "C""#;
    let rows: Vec<(String, i64, String)> = sqlx::query_as(sql).bind(id.as_str()).fetch_all(&mut *tx).await?;
    let object = |(key, bytes, content_type)| {
        Ok(ObjectRef { key: self::id::<ObjectKey>(key)?, bytes: unsigned(bytes)?, content_type })
    };
    rows.into_iter().map(object).collect()
}

/// Writes another specification over the locked track's.
pub(super) async fn replace(tx: &mut PgConnection, id: &TrackId, spec: &TrackSpec) -> Result<(), sqlx::Error> {
    let sql = "UPDATE tracks SET title = $2, artist = $3, duration_ms = $4, revised = version > 0,
               changed_at = clock_timestamp() WHERE track_id = $1";
    let update = sqlx::query(sql).bind(id.as_str()).bind(&spec.title).bind(&spec.artist);
    update.bind(int8(spec.duration_ms)?).execute(&mut *tx).await?;
    for sql in ["DELETE FROM renditions WHERE track_id = $1", "DELETE FROM objects WHERE track_id = $1"] {
        sqlx::query(sql).bind(id.as_str()).execute(&mut *tx).await?;
    }
    insert_parts(tx, id, spec).await
}

/// One statement a table, however many rows.
pub(super) async fn insert_parts(tx: &mut PgConnection, id: &TrackId, spec: &TrackSpec) -> Result<(), sqlx::Error> {
    let renditions = &spec.renditions;
    let bitrates = renditions.iter().map(|r| int4(r.bitrate_kbps)).collect::<Result<Vec<i32>, _>>()?;
    sqlx::query(
        "INSERT INTO renditions (track_id, kind, key, codec, bitrate_kbps)
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[])",
    )
    .bind(id.as_str())
    .bind(renditions.iter().map(|r| r.kind.as_str()).collect::<Vec<_>>())
    .bind(renditions.iter().map(|r| r.key.as_str()).collect::<Vec<_>>())
    .bind(renditions.iter().map(|r| r.codec.as_str()).collect::<Vec<_>>())
    .bind(bitrates)
    .execute(&mut *tx)
    .await?;
    let bytes = spec.objects.iter().map(|o| int8(o.bytes)).collect::<Result<Vec<i64>, _>>()?;
    sqlx::query(
        "INSERT INTO objects (track_id, key, bytes, content_type)
         SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[])",
    )
    .bind(id.as_str())
    .bind(spec.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>())
    .bind(bytes)
    .bind(spec.objects.iter().map(|o| o.content_type.as_str()).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await?;
    Ok(())
}

pub(super) async fn set_life(tx: &mut PgConnection, id: &TrackId, life: Life) -> Result<(), sqlx::Error> {
    let sql = "UPDATE tracks SET state = $2, version = $3, changed_at = clock_timestamp() WHERE track_id = $1";
    let update = sqlx::query(sql).bind(id.as_str()).bind(life.state.as_str()).bind(int4(life.version)?);
    update.execute(&mut *tx).await.map(drop)
}

/// Writes the next life and what the publication ordered.
pub(super) async fn publish(
    tx: &mut PgConnection,
    id: &TrackId,
    next: Life,
    pops: &[PopId],
) -> Result<(), sqlx::Error> {
    set_life(tx, id, next).await?;
    let pops: Vec<&str> = pops.iter().map(PopId::as_str).collect();
    let sql = "UPDATE tracks SET pops = $2, revised = false WHERE track_id = $1";
    sqlx::query(sql).bind(id.as_str()).bind(pops).execute(&mut *tx).await.map(drop)
}

/// # Errors
/// [`StoreError::UnknownPop`] for the first that is not registered.
pub(super) async fn check_pops(tx: &mut PgConnection, pops: &[PopId]) -> Result<(), StoreError> {
    let names: Vec<&str> = pops.iter().map(PopId::as_str).collect();
    let sql = "SELECT pop_id FROM pops WHERE pop_id = ANY($1)";
    let known: Vec<String> = sqlx::query_scalar(sql).bind(names).fetch_all(&mut *tx).await?;
    match pops.iter().position(|pop| !known.iter().any(|name| name == pop.as_str())) {
        Some(index) => Err(StoreError::UnknownPop { index, pop: pops[index].clone() }),
        None => Ok(()),
    }
}
