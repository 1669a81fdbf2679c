//! The router from outside: a real listener, real PostgreSQL, Kafka and ClickHouse, edges that are real
//! listeners.
#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there")]

mod away;
mod bad_input;
mod explain;
mod fleet;
mod journey;
mod measurements;

mod edge;
mod kafka;
mod stage;
