//! Royalties: a day is closed, and what it pays for stays as it is.
//!
//! The path of a close: [`order`], pure, says whether the day may be closed; [`ledger`] writes the streams
//! that no close has paid yet, and their totals by track and app, under an attempt's id of its own; one row
//! in `royalty_closes` then makes that attempt the one that counts. ClickHouse takes one such row a day, by
//! its deduplication token: of two closes at once one wins and both tell what it wrote. Killed before that
//! row, a close has done nothing, and is run again.
//!
//! Promised: a stream (see the view `plays`) is paid once, by the close of its day or, where its events
//! came later, by the next close, as a correction. A play that is a stream stays one, for neither what was
//! heard nor the time that passed shrinks with more events.
//! A listener who is forgotten (`erase`) changes no closed day, and is in none that is closed later.
//! Not promised: that a stream is paid whose events came more than [`CORRECTED_DAYS`] after its day, or
//! whose play began before the first day that was ever closed.

mod ledger;
mod order;

use std::fmt;
use std::time::Duration;

use chrono::NaiveDate;
use serde::Serialize;
use service::config::ClickHouseConfig;
use uuid::Uuid;

use ledger::Ledger;
pub use order::Refusal;
use order::Step;

/// Late events are paid for so long: players that were offline for a season.
pub const CORRECTED_DAYS: u16 = 90;

/// As many that ClickHouse knows and has no row of are not met in one day's life.
const TOKENS: u32 = 4;
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// A closed day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Close {
    pub day: NaiveDate,
    /// The run whose rows count.
    pub attempt: Uuid,
    /// RFC 3339.
    pub closed_at: String,
    pub streams: u64,
    /// Of these, of days that were closed before.
    pub corrections: u64,
    pub heard_ms: u64,
}

/// What a closed day pays for one track, app and day of play.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub play_day: NaiveDate,
    pub track_id: String,
    pub app: String,
    pub streams: u64,
    pub heard_ms: u64,
}

/// What [`close`] found or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Closed {
    #[serde(flatten)]
    pub close: Close,
    /// Whether this run did it; false where it had been done, also by another at the same time.
    pub anew: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0:#}")]
    ClickHouse(#[from] anyhow::Error),
}

/// Closes a UTC day. Closing it again changes nothing.
///
/// # Errors
/// [`Error::Refused`] where the day may not be closed, [`Error::ClickHouse`] where it could not: run it again.
pub async fn close(config: &ClickHouseConfig, day: NaiveDate) -> Result<Closed, Error> {
    let ledger = Ledger::new(config);
    let closes = ledger.closes().await?;
    let from = match order::step(day, ledger.today().await?, &days(&closes))? {
        Step::Done => return Ok(Closed { close: of(day, closes)?, anew: false }),
        Step::Close { from } => from,
    };
    let attempt = Uuid::now_v7();
    ledger.write_streams(day, from, attempt).await?;
    ledger.write_totals(day, attempt).await?;
    let close = seal(&ledger, day, attempt).await?;
    ledger.forget_others(&close).await;
    Ok(Closed { anew: close.attempt == attempt, close })
}

/// The day's close, of this attempt or of another at the same time. ClickHouse that is killed may know a token whose row it
/// does not have: then the next one counts.
async fn seal(ledger: &Ledger, day: NaiveDate, attempt: Uuid) -> anyhow::Result<Close> {
    for token in 0..TOKENS {
        let token = if token == 0 { format!("royalties/{day}") } else { format!("royalties/{day}/{token}") };
        ledger.seal(day, attempt, &token).await?;
        for _ in 0..LOOKS {
            if let Some(close) = ledger.closes().await?.into_iter().find(|close| close.day == day) {
                return Ok(close);
            }
            // Another's row may be on its way.
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
    anyhow::bail!("the close of {day} is not in royalty_closes; run it again")
}

/// Every closed day, the latest first.
///
/// # Errors
/// When ClickHouse does not answer.
pub async fn list(config: &ClickHouseConfig) -> Result<Vec<Close>, Error> {
    let mut closes = Ledger::new(config).closes().await?;
    closes.reverse();
    Ok(closes)
}

/// What a closed day pays, most streams first.
///
/// # Errors
/// [`Refusal::NotClosed`], or when ClickHouse does not answer.
pub async fn show(config: &ClickHouseConfig, day: NaiveDate) -> Result<(Close, Vec<Line>), Error> {
    let ledger = Ledger::new(config);
    let closes = ledger.closes().await?;
    let close = closes.into_iter().find(|close| close.day == day).ok_or(Refusal::NotClosed { day })?;
    let lines = ledger.lines(&close).await?;
    Ok((close, lines))
}

fn days(closes: &[Close]) -> Vec<NaiveDate> {
    closes.iter().map(|close| close.day).collect()
}

fn of(day: NaiveDate, closes: Vec<Close>) -> anyhow::Result<Close> {
    let found = closes.into_iter().find(|close| close.day == day);
    found.ok_or_else(|| anyhow::anyhow!("the close of {day} is not in royalty_closes; run it again"))
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { day, closed_at, streams, corrections, heard_ms, .. } = self;
        let heard_s = heard_ms / 1000;
        write!(
            f,
            "{day}  {streams} streams, {corrections} of them corrections, {heard_s} s heard  (closed {closed_at})"
        )
    }
}
