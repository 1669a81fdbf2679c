//! From a content event to a track that is live, or gone, at its edges.
//!
//! [`consumer`] reads the event, [`plan`] writes one row an edge, [`worker`] gives each edge its order
//! and tries again by [`ledger`]'s rows, [`deadline`] gives up what took too long; the last row of a
//! version that is done or given up marks the track live, in its own transaction. Whatever dies in
//! between, the rows say what is left to do: an order on its way is taken up again when its lease ends.

mod consumer;
mod deadline;
mod ledger;
mod plan;
mod worker;

pub(crate) use consumer::Consumer;
pub(crate) use deadline::Deadlines;
pub(crate) use ledger::Ledger;
pub(crate) use worker::Worker;

/// What an edge is told to do with a track's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Warm,
    Purge,
}

impl Task {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Purge => "purge",
        }
    }

    fn named(text: &str) -> Result<Self, sqlx::Error> {
        let found = [Self::Warm, Self::Purge].into_iter().find(|task| task.as_str() == text);
        found.ok_or_else(|| sqlx::Error::Decode(format!("no rollout step is named {text}").into()))
    }
}
