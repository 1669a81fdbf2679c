//! What crosses a process boundary, and nothing else.
//!
//! One listen, in the order its payloads travel: the catalog announces a track ([`content`]), edges
//! say how busy they are ([`load`]), a router answers a player and logs why ([`decision`]), the player
//! reports what it measured ([`measurement`]) and what was heard ([`event`]), the edge what it sent
//! ([`delivery`]), and ingest how far it has counted ([`tally`]). Products are told who listens now
//! ([`live`]). [`topic`] names the Kafka topics that carry them, [`fleet`] and [`track`] are what operators
//! tell the router and the catalog, [`endpoints`] says where a local stack listens.
//!
//! Promised: every payload has a golden file under `tests/golden`; a change of format shows there as a
//! diff. Values are validated once, when they are deserialised, and need no check after that.
//! Unknown fields are ignored, so that an older reader survives a newer writer; those of an event are kept in its `extra`.

pub mod client_net;
pub mod content;
pub mod decision;
pub mod delivery;
pub mod endpoints;
pub mod event;
pub mod field;
pub mod fleet;
pub mod held;
pub mod id;
pub mod live;
pub mod load;
pub mod measurement;
pub mod tally;
pub mod time;
pub mod token;
pub mod topic;
pub mod track;

pub use client_net::ClientNet;
pub use field::FieldError;
pub use id::{DecisionId, EdgeId, EventId, ObjectKey, PlayId, PopId, SessionId, TrackId};
pub use time::Timestamp;
