//! Events that a sink may still be at: stored, and not committed. It looks whether every table has them, and makes from
//! them what one lacks, so they stay until it is done.

use std::collections::HashMap;

use clickhouse::Row;
use serde::Deserialize;
use service::config::KafkaConfig;

use super::store::Store;
use crate::audit::reached;

pub(super) struct Unsettled {
    /// The sink has stored all that Kafka had.
    pub(super) caught_up: bool,
    /// A condition over `events`.
    pub(super) sql: String,
}

#[derive(Row, Deserialize)]
struct Highest {
    partition: u32,
    offset: u64,
}

impl Unsettled {
    /// After a moment's wait for the sink to settle all that Kafka has now.
    ///
    /// # Errors
    /// When Kafka or ClickHouse do not answer.
    pub(super) async fn ask(kafka: &KafkaConfig, store: &Store) -> anyhow::Result<Self> {
        let highest = "SELECT _partition AS partition, max(_offset) AS offset FROM events GROUP BY partition";
        let highest: Vec<Highest> = store.client().query(highest).fetch_all().await?;
        let highest: HashMap<u32, u64> = highest.into_iter().map(|found| (found.partition, found.offset)).collect();
        // Only now: an offset that was there before and that Kafka has not come to is an earlier topic's.
        let watermark = reached(kafka).await?;
        let of_partition = watermark.places.iter().map(|(id, committed, high)| {
            let earlier = match highest.get(id) {
                Some(highest) if highest >= high => format!(" AND NOT (_offset BETWEEN {high} AND {highest})"),
                _ => String::new(),
            };
            format!("(_partition = {id} AND _offset >= {committed}{earlier})")
        });
        let of_partition: Vec<String> = of_partition.collect();
        let sql = if of_partition.is_empty() { "0".into() } else { format!("({})", of_partition.join(" OR ")) };
        Ok(Self { caught_up: watermark.caught_up, sql })
    }
}
