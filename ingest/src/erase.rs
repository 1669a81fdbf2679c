//! Forgetting a listener: `tonearm erase --user X`.
//!
//! The path of one erasure: the name becomes every keyed hash that may stand for it; [`rows`] writes down
//! where in Kafka the listener's events lay, in `erased`, so that an audit counts them in; [`targets`] takes
//! the plays out of every roll-up that knows listeners; then the events go, with a lightweight delete and
//! physically after it, and the repeats and dead letters with them; [`remains`] says what lies elsewhere and
//! until when. The [`Proof`] is stored in `erasures`.
//!
//! What is the listener's: every event of a play that names them, whole, stored or set aside, and of their sessions
//! every play that names nobody. A play that names another listener is theirs. Of the deliveries and decisions that
//! such an event names, the row stays, for bytes and load are the operator's own books, and its network is blanked:
//! with the event gone, nothing else in them leads to a person.
//! What stays: sums over many listeners. A roll-up without listeners keeps its counts, and its sketches of
//! different listeners cannot forget one; both say how many, never who. What is kept of an erased row is where
//! it lay in Kafka, its number and its random id: by that the sink still knows it when it is sent again.
//! A day whose royalties are closed stays as it was paid, for artists are paid for what was heard. A day that is not
//! closed yet pays without the listener's plays: nothing is left that proves them.
//!
//! Several passes, each of which touches only plays of which nothing comes in meanwhile; the last one finds nothing.
//!
//! Promised: cut off at any point and run again, it goes on where it was; when it has found nothing, nothing is
//! left in ClickHouse. The sink never reads again below what it has committed, so what Kafka keeps until
//! its retention does not come back; what was spooled or not yet stored may come later, and the audit names
//! it until the erasure is run again. What the sink has stored and not committed is left to it: should a roll-up
//! lack that, it is made from these very events.
//! Not promised: anything about backups, and about what was exported.

mod find;
mod proof;
mod remains;
mod rows;
mod store;
mod targets;
mod turn;
mod unsettled;

use anyhow::{Context, ensure};
use serde::Serialize;
use service::config::{ClickHouseConfig, KafkaConfig, Loader, PostgresConfig};
use uuid::Uuid;
use wire::Timestamp;
use wire::topic::Topic;

use crate::privacy::{self, Subject};

pub(crate) use find::{PLAY, SESSION};
pub use proof::{Count, Proof};
pub use remains::Remains;

use rows::Taken;
use store::Store;
use unsettled::Unsettled;

/// All that the erasure reads.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    pub kafka: KafkaConfig,
    pub clickhouse: ClickHouseConfig,
    pub postgres: PostgresConfig,
}

impl Config {
    pub fn read(loader: &mut Loader) -> Self {
        Self { kafka: loader.section(), clickhouse: loader.section(), postgres: loader.section() }
    }
}

/// A listener who goes on listening meanwhile is chased this often, and then said to be still there.
const PASSES: usize = 5;

/// One erasure, under way.
pub(crate) struct Erasure {
    id: Uuid,
    listens: String,
    /// Each a version and base64: no quotes.
    hashes: Vec<String>,
    /// Events that are not to be touched yet: a condition.
    unsettled: String,
}

/// Erases a listener, and stores the proof where there was anything to erase, or never was a proof before.
///
/// # Errors
/// When PostgreSQL, Kafka or ClickHouse fail, or other erasures take too long; what was done is done, and running it again
/// does the rest.
pub async fn run(config: &Config, user: &str) -> anyhow::Result<Proof> {
    ensure!(!user.is_empty(), "a listener's name is needed");
    let pool = service::postgres::pool(&config.postgres)?;
    let pseudonyms = privacy::read(&pool).await.context("cannot tell how the listener is stored")?;
    let hashes = pseudonyms.all(Subject::User, user);
    let _turn = turn::take(&pool).await?;
    let erased_at = Timestamp::now();
    let store = Store::new(&config.clickhouse);
    store.end_cut_off().await?;
    let listens = Topic::Listens.name(&config.kafka.topic_prefix);
    let mut erasure = Erasure { id: Uuid::nil(), listens, hashes, unsettled: String::new() };
    let earlier = proof::earlier(&store, &erasure.hashes_sql()).await?;
    erasure.id = erasure.id(earlier.times);
    let mut proof = Proof::new(erasure.id, erased_at, erasure.hashes.clone());
    proof.earlier = earlier.last();
    let (mut caught_up, mut waiting) = (true, 0);
    for _ in 0..PASSES {
        // What Kafka has now should be stored first, or it would come after us.
        Unsettled { caught_up, sql: erasure.unsettled } = Unsettled::ask(&config.kafka, &store).await?;
        waiting = store.number("plays that wait for the sink", &erasure.unsettled_plays()).await?;
        let taken = erasure.pass(&store, waiting, &mut proof).await?;
        if taken == 0 {
            // What has come since may have been passed over for it.
            waiting = store.number("plays that wait for the sink", &erasure.unsettled_plays()).await?;
        }
        proof.complete = taken == 0 && waiting == 0 && caught_up;
        if proof.complete || !caught_up {
            break;
        }
    }
    for table in rows::TABLES {
        let (written, left) =
            (rows::written(&store, &erasure, table).await?, rows::left(&store, &erasure, table).await?);
        proof.add(table, (earlier.left(table) + written).saturating_sub(left), left);
    }
    proof.remains = remains::ask(&config.kafka, &store, caught_up, waiting, &proof).await?;
    if proof.total() > 0 || (proof.complete && proof.earlier.is_none()) {
        proof::keep(&store, &proof).await?;
    }
    Ok(proof)
}

impl Erasure {
    /// The same for an erasure that was cut off before it had a proof, and for the run that finishes it, though the key
    /// was rotated meanwhile: the oldest hash stays.
    fn id(&self, times: u64) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{} {times}", self.hashes[0]).as_bytes())
    }

    /// One look at everything; how many rows it took, of whomever. Everything that leads from a play to what else is
    /// touched is done while the events are still there, and they go last.
    async fn pass(&self, store: &Store, waiting: u64, proof: &mut Proof) -> anyhow::Result<u64> {
        rows::write_down(store, self).await?;
        let mut taken = vec![
            ("deliveries.client_net".to_owned(), rows::blank(store, self, "deliveries").await?),
            ("decisions.client_net".to_owned(), rows::blank(store, self, "decisions").await?),
        ];
        taken.extend(targets::clean(store, self, waiting).await?);
        let mut all = 0;
        for (place, Taken { all: rows, theirs }) in taken {
            all += rows;
            proof.add(&place, theirs, 0);
        }
        for table in rows::TABLES {
            all += rows::delete(store, self, table).await?;
        }
        Ok(all)
    }
}
