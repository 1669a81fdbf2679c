//! What is kept of whom, decided before Kafka has an event.
//!
//! A user's and a device's id become [`Pseudonyms`], keyed hashes whose keys lie in PostgreSQL. An installation is one
//! service, whose apps share its accounts: an id is the same listener's in each of them, and so is its hash. Apps that
//! give the same id to different people need installations of their own. Of an address
//! only its network, country and autonomous system are kept (`geo`). Where consent is denied nothing of
//! these is, but for the country: what was played still counts.
//!
//! Whoever looks for a user in what is stored (statistics, erasure) asks [`Pseudonyms::all`] for every form
//! that the user may have there.

mod hasher;
mod keep;
mod pseudonyms;
mod store;

pub(crate) use hasher::{Hasher, Listener};
pub(crate) use keep::{KeptPlace, keep, keeps_all, kept_place};
pub(crate) use pseudonyms::PrivacyKey;
#[cfg(test)]
pub(crate) use pseudonyms::tests::pseudonyms;
pub use pseudonyms::{Pseudonyms, Subject};
pub(crate) use store::read_keys;
pub use store::{read, rotate};
