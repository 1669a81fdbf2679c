//! The letters themselves, as ClickHouse has them.

use std::fmt;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clickhouse::query::Query;
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};
use wire::Timestamp;

use super::Config;

/// Groups that `list` shows at most; the largest first.
const GROUPS: usize = 1000;

/// Which letters; none given means all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The topic they came from.
    pub topic: Option<String>,
    /// Words of the reason.
    pub reason: Option<String>,
    /// Handed to Kafka no earlier.
    pub since: Option<Timestamp>,
}

impl Filter {
    const SQL: &str = "(? = '' OR topic = ?) AND (? = '' OR position(reason, ?) > 0) \
                       AND received_at >= fromUnixTimestamp64Milli(?, 'UTC')";

    fn bind(&self, query: Query) -> Query {
        let (topic, reason) = (self.topic.as_deref().unwrap_or_default(), self.reason.as_deref().unwrap_or_default());
        let since = self.since.map_or(0, Timestamp::as_millis);
        query.bind(topic).bind(topic).bind(reason).bind(reason).bind(since)
    }
}

/// Letters of one day that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct Group {
    pub day: String,
    pub topic: String,
    pub kind: String,
    pub reason: String,
    pub letters: u64,
    /// Of these, sent again.
    pub sent: u64,
}

/// # Errors
/// When ClickHouse cannot be asked.
pub async fn list(config: &Config, filter: &Filter) -> anyhow::Result<Vec<Group>> {
    let sql = format!(
        "SELECT toString(toDate(received_at)) AS day, toString(topic) AS topic, toString(kind) AS kind, reason, \
         count() AS letters, countIf(replay = 'sent') AS sent FROM dead_letters WHERE {} \
         GROUP BY day, topic, kind, reason ORDER BY day DESC, letters DESC LIMIT {GROUPS}",
        Filter::SQL
    );
    let query = filter.bind(client(config).query(&sql));
    query.fetch_all().await.context("cannot list the dead letters")
}

/// One letter, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub place: Place,
    pub received_at: Timestamp,
    pub kind: String,
    pub reason: String,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
}

/// Where a letter came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.topic, self.partition, self.offset)
    }
}

/// The newest ones, `most` of them.
///
/// # Errors
/// When ClickHouse cannot be asked.
pub async fn show(config: &Config, filter: &Filter, most: usize) -> anyhow::Result<Vec<Letter>> {
    let sql = format!("{LETTERS} WHERE {} ORDER BY received_at DESC LIMIT {most}", Filter::SQL);
    let rows = filter.bind(client(config).query(&sql)).fetch_all::<Stored>().await;
    rows.context("cannot read the dead letters")?.into_iter().map(Stored::letter).collect()
}

/// ClickHouse's strings are bytes; in base64 they are text to everybody.
const LETTERS: &str = "SELECT toString(topic) AS from_topic, _partition, _offset, toUnixTimestamp64Milli(received_at) AS ms, \
                       toString(kind) AS of_kind, reason, base64Encode(key) AS key64, base64Encode(payload) AS payload64 \
                       FROM dead_letter";

#[derive(Row, Deserialize)]
struct Stored {
    from_topic: String,
    _partition: u32,
    _offset: u64,
    ms: i64,
    of_kind: String,
    reason: String,
    key64: String,
    payload64: String,
}

impl Stored {
    fn letter(self) -> anyhow::Result<Letter> {
        let bytes = |text: String| STANDARD.decode(text).context("clickhouse wrote base64 that is none");
        Ok(Letter {
            place: Place { topic: self.from_topic, partition: self._partition, offset: self._offset },
            received_at: Timestamp::from_millis(self.ms).context("a dead letter has no time")?,
            kind: self.of_kind,
            reason: self.reason,
            key: bytes(self.key64)?,
            payload: bytes(self.payload64)?,
        })
    }
}

pub(super) fn client(config: &Config) -> Client {
    service::clickhouse::client(&config.clickhouse).with_setting("async_insert", "0")
}

#[derive(Row, Deserialize)]
struct Waiting {
    from_topic: String,
    _partition: u32,
    _offset: u64,
}

/// Those that were not sent again, in the order of their offsets; `most` of them.
pub(super) async fn waiting(client: &Client, filter: &Filter, most: usize) -> anyhow::Result<Vec<Place>> {
    let sql = format!(
        "SELECT toString(topic) AS from_topic, _partition, _offset FROM dead_letters WHERE replay != 'sent' AND {} \
         ORDER BY from_topic, _partition, _offset LIMIT {most}",
        Filter::SQL
    );
    let rows = filter.bind(client.query(&sql)).fetch_all::<Waiting>().await;
    let rows = rows.context("cannot ask which dead letters wait")?;
    let place = |row: Waiting| Place { topic: row.from_topic, partition: row._partition, offset: row._offset };
    Ok(rows.into_iter().map(place).collect())
}

/// Those of one partition. A letter that was erased meanwhile is not among them.
pub(super) async fn read(client: &Client, places: &[Place]) -> anyhow::Result<Vec<Letter>> {
    let Some(Place { topic, partition, .. }) = places.first() else { return Ok(Vec::new()) };
    let offsets: Vec<String> = places.iter().map(|place| place.offset.to_string()).collect();
    // A letter that was stored twice is sent once.
    let sql = format!(
        "{LETTERS} WHERE topic = ? AND _partition = {partition} AND _offset IN ({}) ORDER BY _offset LIMIT 1 BY _offset",
        offsets.join(", ")
    );
    let rows = client.query(&sql).bind(topic).fetch_all::<Stored>().await.context("cannot read dead letters")?;
    rows.into_iter().map(Stored::letter).collect()
}
