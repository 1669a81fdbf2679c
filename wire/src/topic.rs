//! Kafka's topics.

/// What a topic carries; every one has a dead-letter topic beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// [`crate::event::AcceptedEvent`], keyed by session.
    Listens,
    /// [`crate::delivery::Delivery`], keyed by edge.
    Deliveries,
    /// [`crate::decision::Decision`], keyed by decision.
    Decisions,
    /// [`crate::content::ContentEvent`], keyed by track.
    Content,
    /// [`crate::tally::Tally`], keyed by ingest process.
    Tallies,
}

impl Topic {
    pub const ALL: [Self; 5] = [Self::Listens, Self::Deliveries, Self::Decisions, Self::Content, Self::Tallies];

    /// The topic's name under a prefix, `tonearm` unless an installation shares its Kafka with another.
    #[must_use]
    pub fn name(self, prefix: &str) -> String {
        let what = match self {
            Self::Listens => "listens",
            Self::Deliveries => "deliveries",
            Self::Decisions => "decisions",
            Self::Content => "content",
            Self::Tallies => "tallies",
        };
        format!("{prefix}.{what}.v1")
    }

    /// Where its messages go that no consumer can read.
    #[must_use]
    pub fn dead_letter_name(self, prefix: &str) -> String {
        format!("{}.dlq", self.name(prefix))
    }
}
