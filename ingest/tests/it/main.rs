//! Both roles from outside, on the real servers.

#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there")]

mod analyst_account;
mod analysts;
mod arrivals;
mod audit;
mod away;
mod bad_input;
mod compressed;
mod dlq;
mod erase;
mod formats;
mod keys;
mod killed;
mod landing;
mod live;
mod players;
mod plays;
mod privacy;
mod reconciliation;
mod refused;
mod repeats;
mod rows;
mod royalties;
mod spool;
mod stats;
mod stopped;
mod support;
mod waits;
