//! The real servers and every role on one machine: for `make up`, and for the tests of every crate.
//!
//! One `make up`, in the order the modules are read: [`fetch`] brings Kafka and ClickHouse into a cache;
//! [`kafka`], [`clickhouse`], [`postgres`] and [`s3`] each describe one server as a [`unit::Unit`], a
//! command and the [`probe::Probe`] that says it is ready; [`supervisor`] starts units, starts them again
//! when they die, and stops them; [`servers`] is the four together. [`relay`] puts a POP at a distance,
//! [`demo`] makes the library that is played, [`stack`] puts all of it together. Tests get the same
//! servers from [`TestServers`].
//!
//! Promised: a server counts as started when real work on it succeeded, not when its port opened; every
//! wait has a bound, and reaching it shows the end of the server's log; no process outlives the
//! `devstack` that started it, even after a `kill -9` ([`process`] says how).
//! Not promised: anything about production. One node of each, on loopback.

pub mod clickhouse;
pub mod demo;
pub mod fetch;
pub mod folder;
pub mod http;
pub mod kafka;
pub mod ports;
pub mod postgres;
pub mod probe;
pub mod process;
pub mod progress;
pub mod relay;
pub mod s3;
pub mod s3client;
pub mod secret;
pub mod servers;
pub mod session;
pub mod stack;
pub mod supervisor;
pub mod testing;
pub mod unit;

pub use servers::Server;
pub use testing::{Alone, TestServers};
