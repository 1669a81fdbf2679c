//! The binary from outside: roles as real processes beside the real servers.

#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there")]

#[path = "../../support/mod.rs"]
mod support;

mod clients;
mod command_line;
mod deliveries_killed;
mod described;
mod edge_clients;
mod edges;
mod keys;
mod local_stack;
mod one_listen;
mod sink_killed;
mod stored;
