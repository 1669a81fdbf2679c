//! Where an offset may have ended, as one set of rows to ask.

/// Tables that hold what the sink took from a topic; each offset is in exactly one row of one of them.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    table: &'static str,
    topic: String,
}

/// Beside the raw table: what a name in `source` means.
pub(super) const SET_ASIDE: [&str; 3] = ["repeats", "dead_letter", "erased"];

impl Sources {
    pub(super) fn of(table: &'static str, topic: &str) -> Self {
        Self { table, topic: topic.to_owned() }
    }

    /// `SELECT source, p, o` with the partition and the offset, of rows that meet the condition.
    pub(super) fn select(&self, condition: &str) -> String {
        // Kafka's names of topics hold no quotes; the configuration has checked ours.
        let topic = &self.topic;
        let aside = SET_ASIDE.iter().map(|name| {
            format!(
                "SELECT '{name}' AS source, _partition AS p, _offset AS o FROM {name} \
                 WHERE topic = '{topic}' AND ({condition})"
            )
        });
        let raw =
            format!("SELECT 'raw' AS source, _partition AS p, _offset AS o FROM {} WHERE {condition}", self.table);
        std::iter::once(raw).chain(aside).collect::<Vec<_>>().join(" UNION ALL ")
    }
}
