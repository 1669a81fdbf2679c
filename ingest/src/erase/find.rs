//! The conditions by which a listener's rows are found.

use super::Erasure;

/// What makes a play, as `play_states` and the view `plays` group events.
pub(super) const PLAY: &str = "app, session_id, track_id, play_id";

/// A session as `erased` keeps it.
pub(super) const SESSION: &str = "sipHash64(app, session_id)";

impl Erasure {
    /// `'1:abc', '2:def'`
    pub(super) fn hashes_sql(&self) -> String {
        self.hashes.iter().map(|hash| format!("'{hash}'")).collect::<Vec<_>>().join(", ")
    }

    /// The listener's plays: those that name them, and in their sessions those that name nobody, also where what named
    /// the listener has gone already. Each whole or not at all: where the sink has not settled all events of a play, it
    /// waits.
    pub(super) fn plays(&self) -> String {
        format!("{} AND NOT max({})", self.all_plays(), self.unsettled)
    }

    /// How many wait.
    pub(super) fn unsettled_plays(&self) -> String {
        format!("SELECT count() FROM ({} AND max({}))", self.all_plays(), self.unsettled)
    }

    fn all_plays(&self) -> String {
        let (hashes, listens) = (self.hashes_sql(), &self.listens);
        format!(
            "SELECT {PLAY} FROM events WHERE (app, session_id) IN \
             (SELECT app, session_id FROM events WHERE user_id IN ({hashes})) \
             OR {SESSION} IN (SELECT session FROM erased WHERE topic = '{listens}' AND session != 0) \
             GROUP BY {PLAY} HAVING (max(user_id IN ({hashes})) OR max(user_id) = '')"
        )
    }

    /// Rows of plays that may be touched now: nothing of them has come since the sink was asked.
    pub(super) fn settled(&self) -> String {
        format!("({PLAY}) NOT IN (SELECT {PLAY} FROM events WHERE {})", self.unsettled)
    }

    /// Where erased rows of a table lie, by any erasure: one that was cut off is finished by the next. Should a topic
    /// be made anew, its offsets are others' at other times.
    pub(super) fn written_down(&self, table: &str) -> String {
        let received_at = if table == "events" { "event_ts + toIntervalMillisecond(_delay_ms)" } else { "received_at" };
        format!(
            "(_partition, _offset, {received_at}) IN (SELECT _partition, _offset, received_at FROM erased \
             WHERE topic = '{}' AND from_table = '{table}')",
            self.listens
        )
    }

    /// Dead letters carry the event as ingest wrote it, if it is one at all.
    pub(super) fn letters(&self) -> String {
        format!("multiSearchAny(payload, [{}])", self.hashes_sql())
    }

    pub(super) fn repeats(&self) -> String {
        let listens = &self.listens;
        format!("id IN (SELECT id FROM erased WHERE topic = '{listens}' AND from_table = 'events')")
    }
}
