//! The catalog from outside: a real listener, real PostgreSQL and Kafka, edges that are real listeners.
#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there")]

mod api;
mod away;
mod crash;
mod life;
mod outbox;
mod rollout;

mod edge;
mod kafka;
mod stage;
