//! What was sent again, written down before and after.

use anyhow::Context;
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};
use wire::Timestamp;

use super::letters::Place;

#[derive(Debug, Clone, Row, Serialize, Deserialize)]
struct Entry {
    topic: String,
    _partition: u32,
    _offset: u64,
    state: String,
    changed_at: i64,
    from_offset: u64,
    sent_offset: Option<u64>,
}

/// A letter that may have been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) place: Place,
    /// Where its partition ended before.
    pub(super) from_offset: u64,
}

/// These are about to be sent, to a partition that ends at `from_offset`.
pub(super) async fn sending(client: &Client, places: &[Place], from_offset: u64) -> anyhow::Result<()> {
    let entries = places.iter().map(|place| entry(place, "sending", from_offset, None));
    write(client, entries).await
}

/// These were sent, and lie at these offsets.
pub(super) async fn sent(client: &Client, places: &[(Place, u64)], from_offset: u64) -> anyhow::Result<()> {
    let entries = places.iter().map(|(place, offset)| entry(place, "sent", from_offset, Some(*offset)));
    write(client, entries).await
}

fn entry(place: &Place, state: &str, from_offset: u64, sent_offset: Option<u64>) -> Entry {
    Entry {
        topic: place.topic.clone(),
        _partition: place.partition,
        _offset: place.offset,
        state: state.into(),
        changed_at: Timestamp::now().as_millis(),
        from_offset,
        sent_offset,
    }
}

async fn write(client: &Client, entries: impl Iterator<Item = Entry>) -> anyhow::Result<()> {
    let what = "cannot write down which dead letters are sent";
    let mut insert = client.insert::<Entry>("dead_letter_replays").await.context(what)?;
    for entry in entries {
        insert.write(&entry).await.context(what)?;
    }
    insert.end().await.context(what)
}

#[derive(Row, Deserialize)]
struct Unsettled {
    of_topic: String,
    _partition: u32,
    _offset: u64,
    from_offset: u64,
}

/// What an earlier command was about to send when it ended.
pub(super) async fn doubts(client: &Client) -> anyhow::Result<Vec<Doubt>> {
    let sql = "SELECT toString(topic) AS of_topic, _partition, _offset, from_offset FROM dead_letter_replays FINAL \
               WHERE state = 'sending'";
    let rows = client.query(sql).fetch_all::<Unsettled>().await.context("cannot ask what was about to be sent")?;
    let doubt = |row: Unsettled| Doubt {
        place: Place { topic: row.of_topic, partition: row._partition, offset: row._offset },
        from_offset: row.from_offset,
    };
    Ok(rows.into_iter().map(doubt).collect())
}
