//! The privacy keys in PostgreSQL.

use anyhow::Context;
use rand::RngExt;
use sqlx::PgPool;

use super::pseudonyms::{PrivacyKey, Pseudonyms};

const READ: &str = "SELECT version, key FROM privacy_keys ORDER BY version";
const ROTATE: &str = "INSERT INTO privacy_keys (version, key)
    SELECT coalesce(max(version), 0) + 1, $1 FROM privacy_keys RETURNING version";

/// For a tool that looks for a user in what is stored.
///
/// # Errors
/// When PostgreSQL is away or has no key.
pub async fn read(pool: &PgPool) -> anyhow::Result<Pseudonyms> {
    let keys = read_keys(pool).await.context("cannot read the privacy keys")?;
    Pseudonyms::new(keys).context("PostgreSQL has no privacy key; `tonearm keys rotate-privacy` makes one")
}

/// Makes the next version; what is accepted a few seconds later is hashed with it. Says which it is.
///
/// # Errors
/// When PostgreSQL is away, or someone else does the same at this moment.
pub async fn rotate(pool: &PgPool) -> anyhow::Result<u32> {
    let key: [u8; 32] = rand::rng().random();
    let version: i32 =
        sqlx::query_scalar(ROTATE).bind(key.to_vec()).fetch_one(pool).await.context("cannot write the privacy key")?;
    Ok(version.unsigned_abs())
}

pub(crate) async fn read_keys(pool: &PgPool) -> sqlx::Result<Vec<PrivacyKey>> {
    let rows: Vec<(i32, Vec<u8>)> = sqlx::query_as(READ).fetch_all(pool).await?;
    // The table's checks hold both to their form.
    let keys = rows.into_iter().filter_map(|(version, key)| {
        Some(PrivacyKey { version: u32::try_from(version).ok()?, key: key.try_into().ok()? })
    });
    Ok(keys.collect())
}
