//! The conditions by which a listener's rows are found.

use super::Erasure;

/// What makes a play, as `play_states` and the view `plays` group events.
pub(crate) const PLAY: &str = "app, session_id, track_id, play_id";

/// A play and what else leads from it, as a dead letter says it; empty where it is no event.
const LETTER: &str = "JSONExtractString(payload, 'app') AS app, \
     JSONExtractString(payload, 'event', 'session_id') AS session_id, \
     JSONExtractString(payload, 'event', 'track_id') AS track_id, \
     JSONExtractString(payload, 'event', 'play_id') AS play_id, \
     JSONExtractString(payload, 'event', 'user_id') AS user_id, \
     toUUIDOrNull(JSONExtractString(payload, 'event', 'decision_id')) AS decision_id";

/// A session as `erased` keeps it.
pub(crate) const SESSION: &str = "sipHash64(app, session_id)";

/// By whose erasures rows were written down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// This listener's: the one under way, and those of which there are proofs.
    Theirs,
    /// What was left written down is finished by any erasure, though it counts for its own listener only: after a
    /// key is gone, nobody can tell whose it was.
    Anyone,
}

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
        let named = self.said("app, session_id", &format!("user_id IN ({hashes})"));
        let theirs = format!(
            "((app, session_id) IN ({named}) OR {SESSION} IN \
             (SELECT session FROM erased WHERE topic = '{listens}' AND session != 0 AND {}))",
            self.theirs()
        );
        format!(
            "SELECT {PLAY} FROM ({}) \
             GROUP BY {PLAY} HAVING (max(user_id IN ({hashes})) OR max(user_id) = '')",
            self.said(&format!("{PLAY}, user_id, _partition, _offset"), &theirs)
        )
    }

    /// What events say, stored or set aside.
    fn said(&self, columns: &str, condition: &str) -> String {
        self.said_where(columns, condition, condition)
    }

    /// What those events say that are written down and still there.
    pub(super) fn written_said(&self, columns: &str, by: By) -> String {
        self.said_where(columns, &self.written_down("events", by), &self.written_down("dead_letter", by))
    }

    fn said_where(&self, columns: &str, events: &str, letters: &str) -> String {
        format!(
            "SELECT {columns} FROM events WHERE {events} UNION ALL \
             SELECT {columns} FROM {} WHERE session_id != '' AND {letters}",
            self.read_letters()
        )
    }

    /// What was set aside of the events' topic, with what could be read of it beside it.
    pub(super) fn read_letters(&self) -> String {
        format!("(SELECT *, {LETTER} FROM dead_letter WHERE topic = '{}')", self.listens)
    }

    /// Rows of `erased` that are of this listener's erasures.
    fn theirs(&self) -> String {
        format!(
            "(erasure_id = '{}' OR erasure_id IN (SELECT erasure_id FROM erasures WHERE hasAny(user_hashes, [{}])))",
            self.id,
            self.hashes_sql()
        )
    }

    /// Rows of plays that may be touched now: nothing of them has come since the sink was asked.
    pub(super) fn settled(&self) -> String {
        format!("({PLAY}) NOT IN (SELECT {PLAY} FROM events WHERE {})", self.unsettled)
    }

    /// Where erased rows of a table lie. Should a topic be made anew, its offsets are others' at other times.
    pub(super) fn written_down(&self, table: &str, by: By) -> String {
        let received_at = if table == "events" { "event_ts + toIntervalMillisecond(_delay_ms)" } else { "received_at" };
        format!(
            "(_partition, _offset, {received_at}) IN (SELECT _partition, _offset, received_at FROM erased \
             WHERE topic = '{}' AND from_table = '{table}'{})",
            self.listens,
            if by == By::Theirs { format!(" AND {}", self.theirs()) } else { String::new() }
        )
    }

    /// Rows of a table that are written down.
    pub(super) fn lying(&self, table: &str, by: By) -> String {
        let written = self.written_down(table, by);
        match table {
            "events" => written,
            _ => format!("topic = '{}' AND {written}", self.listens),
        }
    }

    /// Dead letters carry the event as ingest wrote it, if it is one at all. They name the listener somewhere, or are of
    /// their plays.
    pub(super) fn letters(&self) -> String {
        format!("(multiSearchAny(payload, [{}]) OR ({PLAY}) IN ({}))", self.hashes_sql(), self.plays())
    }

    pub(super) fn repeats(&self) -> String {
        let listens = &self.listens;
        format!(
            "id IN (SELECT id FROM erased WHERE topic = '{listens}' AND from_table != 'repeats' \
             AND id != toUUID('00000000-0000-0000-0000-000000000000') AND {})",
            self.theirs()
        )
    }
}
