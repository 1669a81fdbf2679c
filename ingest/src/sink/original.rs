//! The message of a row that ClickHouse refuses: only the row is still at hand.

use wire::Timestamp;

use super::again::Stretch;
use super::dead_letter::DeadLetter;
use super::insert::Job;
use super::rows::Incoming;
use super::store::{self, Store};
use super::trouble::Severity;

/// The dead letter of a batch's only message; asked for until Kafka answers.
pub(super) async fn letter(store: &Store, job: &Job, reason: &str) -> DeadLetter {
    let offset = job.batch.range.first;
    let at = Stretch { topic: job.topic.clone(), partition: job.partition, first: offset, last: offset };
    let mut backoff = store::backoff();
    let mut trouble = store.troubles.of(format!("{}/{}/{offset}: its message", at.topic, at.partition));
    loop {
        let (table, why) = (job.table, reason.to_owned());
        // It could be read before, or it would be no row; an id that is missing now is only a filter less.
        let refused = move |message: &Incoming<'_>| {
            DeadLetter::refused(message, table.append(message, &mut Vec::new()).ok(), &why)
        };
        match at.read(&store.letterbox.kafka, refused).await {
            Ok(letters) => {
                trouble.over();
                return letters.into_iter().next().unwrap_or_else(|| lost(&at, &job.batch.rows, reason));
            }
            Err(error) => trouble.tell(Severity::Passing, format!("{error:#}")),
        }
        backoff.wait().await;
    }
}

/// Kafka's retention was shorter than the wait: the row is what is left.
fn lost(at: &Stretch, row: &[u8], reason: &str) -> DeadLetter {
    let Stretch { topic, partition, first: offset, .. } = at;
    tracing::error!(topic, partition, offset, "kafka lost a refused message");
    let message = Incoming {
        partition: *partition,
        offset: *offset,
        received_at: Timestamp::now(),
        key: b"",
        payload: row,
        is_sent_again: false,
    };
    DeadLetter::refused(&message, None, &format!("{reason} (its row as RowBinary: Kafka no longer had the message)"))
}
