//! Values on their way into PostgreSQL and out of it.

use std::time::Duration;

/// How long one exchange with PostgreSQL may take outside of requests, which have a limit of their own.
const PATIENCE: Duration = Duration::from_secs(10);

/// For an `integer` column; PostgreSQL's are signed.
///
/// # Errors
/// When the number is too large for it.
pub(crate) fn int4(number: u32) -> Result<i32, sqlx::Error> {
    i32::try_from(number).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

/// For a `bigint` column.
///
/// # Errors
/// When the number is too large for it.
pub(crate) fn int8(number: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(number).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

/// # Errors
/// When the column holds a negative number, which only a hand past this code can have written.
pub(crate) fn unsigned<S: TryInto<N>, N>(number: S) -> Result<N, sqlx::Error> {
    number.try_into().map_err(|_| sqlx::Error::Decode("a number that should not be negative is".into()))
}

/// # Errors
/// When the column holds no such identifier, which only a hand past this code can have written.
pub(crate) fn id<T: TryFrom<String, Error = wire::id::InvalidId>>(text: String) -> Result<T, sqlx::Error> {
    T::try_from(text).map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

/// Gives a server up that neither answers nor closes.
///
/// # Errors
/// The work's own, or a timeout.
pub(crate) async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let timeout = |_| Err(sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut)));
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(timeout)
}

/// Whether no try of the same value can succeed: it fits no column, or a row that it needs cannot be
/// read. A schema that is older or newer than this code is none of the value's fault.
pub(crate) fn blames_value(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => true,
        // Classes 22 data exception, 23 constraint.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
        }
        _ => false,
    }
}

/// Whether the same may succeed later: the server was away, stopping, overrun, or undid one of two
/// transactions that stood in each other's way.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // Classes 08 connection, 40 rollback, 53 resources, 57 operator; 25006 is a standby before it takes over.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "25006"
        }),
        _ => false,
    }
}
