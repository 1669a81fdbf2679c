//! Rows of the tables that have a place in Kafka: written down first, then taken.

use super::Erasure;
use super::find::{By, PLAY, SESSION};
use super::store::Store;

/// Whose rows are written down, in the order in which they go.
pub(super) const TABLES: [&str; 3] = ["repeats", "dead_letter", "events"];

/// How many rows went, or lost a column.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Taken {
    pub(super) all: u64,
    /// This listener's among them; the others finish erasures of others.
    pub(super) theirs: u64,
}

impl Taken {
    /// What is there to take.
    pub(super) async fn of(store: &Store, table: &str, whose: impl Fn(By) -> String) -> anyhow::Result<Self> {
        let what = format!("rows of {table}");
        let count = |by| format!("SELECT count() FROM {table} WHERE {}", whose(by));
        let all = store.number(&what, &count(By::Anyone)).await?;
        let theirs = if all == 0 { 0 } else { store.number(&what, &count(By::Theirs)).await? };
        Ok(Self { all, theirs })
    }
}

/// Writes down where the listener's rows lie. From here on the erasure can be finished, whatever happens.
pub(super) async fn write_down(store: &Store, erasure: &Erasure) -> anyhow::Result<()> {
    let Erasure { id, listens, .. } = erasure;
    let insert = "INSERT INTO erased (topic, _partition, _offset, received_at, ingest_id, ingest_seq, id, from_table, erasure_id, session)";
    let plays = erasure.plays();
    let events = format!(
        "{insert} SELECT '{listens}', _partition, _offset, received_at, ingest_id, ingest_seq, event_id, 'events', '{id}', {SESSION} \
         FROM events WHERE ({PLAY}) IN ({plays}) AND NOT ({})",
        erasure.written_down("events", By::Anyone)
    );
    store.run("write down the listener's events", &events).await?;
    let repeats = format!(
        "{insert} SELECT topic, _partition, _offset, received_at, ingest_id, ingest_seq, id, 'repeats', '{id}', 0 \
         FROM repeats WHERE topic = '{listens}' AND {} AND NOT ({})",
        erasure.repeats(),
        erasure.written_down("repeats", By::Anyone)
    );
    store.run("write down the listener's repeats", &repeats).await?;
    let letters = format!(
        "{insert} SELECT topic, _partition, _offset, received_at, JSONExtractString(payload, 'ingest_id'), \
         JSONExtractUInt(payload, 'ingest_seq'), toUUIDOrZero(JSONExtractString(payload, 'event', 'event_id')), \
         'dead_letter', '{id}', if(session_id = '', 0, {SESSION}) \
         FROM {} WHERE {} AND NOT ({})",
        erasure.read_letters(),
        erasure.letters(),
        erasure.written_down("dead_letter", By::Anyone)
    );
    store.run("write down the listener's dead letters", &letters).await
}

/// How many rows of a table this erasure has written down, also before it was cut off.
pub(super) async fn written(store: &Store, erasure: &Erasure, table: &str) -> anyhow::Result<u64> {
    let (id, listens) = (erasure.id, &erasure.listens);
    let sql = format!(
        "SELECT uniqExact(_partition, _offset) FROM erased \
         WHERE topic = '{listens}' AND from_table = '{table}' AND erasure_id = '{id}'"
    );
    store.number("what was written down", &sql).await
}

/// How many rows of a table were written down for this listener, ever, and are still there.
pub(super) async fn left(store: &Store, erasure: &Erasure, table: &str) -> anyhow::Result<u64> {
    let found = erasure.lying(table, By::Theirs);
    store.number("what is left", &format!("SELECT uniqExact(_partition, _offset) FROM {table} WHERE {found}")).await
}

/// Takes the rows that are written down.
pub(super) async fn delete(store: &Store, erasure: &Erasure, table: &str) -> anyhow::Result<u64> {
    let taken = take(store, table, |by| match table {
        "events" => format!("{} AND {}", erasure.lying(table, by), erasure.settled()),
        _ => erasure.lying(table, by),
    });
    Ok(taken.await?.all)
}

/// Out of sight at once, and then off the disk: whoever's they are.
pub(super) async fn take(store: &Store, table: &str, whose: impl Fn(By) -> String) -> anyhow::Result<Taken> {
    let taken = Taken::of(store, table, &whose).await?;
    if taken.all > 0 {
        let delete = format!("DELETE FROM {table} WHERE {}", whose(By::Anyone));
        store.run(&format!("delete from {table}"), &delete).await?;
        let physically = format!("ALTER TABLE {table} APPLY DELETED MASK");
        store.run(&format!("delete from {table} physically"), &physically).await?;
    }
    Ok(taken)
}

/// Takes the network, and what the player said, out of what the listener's events were delivered and decided by.
pub(super) async fn blank(store: &Store, erasure: &Erasure, table: &str) -> anyhow::Result<Taken> {
    let (told, blank) = match table {
        "deliveries" => (
            "(client_net != '' OR notEmpty(cmcd))",
            "client_net = '', cmcd = CAST(map(), 'Map(LowCardinality(String), String)')",
        ),
        _ => ("client_net != ''", "client_net = ''"),
    };
    let whose = |by| {
        let decided = format!(
            "decision_id IN (SELECT assumeNotNull(decision_id) FROM ({}) WHERE decision_id IS NOT NULL)",
            erasure.written_said("decision_id", by)
        );
        match table {
            // A player that speaks CMCD names its session there, with or without a decision.
            "deliveries" => {
                format!("{told} AND ({decided} OR cmcd['sid'] IN ({}))", erasure.written_said("session_id", by))
            }
            _ => format!("{told} AND {decided}"),
        }
    };
    let taken = Taken::of(store, table, whose).await?;
    if taken.all > 0 {
        let sql = format!("ALTER TABLE {table} UPDATE {blank} WHERE {}", whose(By::Anyone));
        store.run(&format!("blank networks in {table}"), &sql).await?;
    }
    Ok(taken)
}
