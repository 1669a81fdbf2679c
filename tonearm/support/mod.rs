//! What benchmarks and whole-process tests stand on: our roles as processes beside the real servers,
//! figures in the common form, load by wrk.

#![allow(dead_code, reason = "each program uses its part")]
#![allow(unreachable_pub, reason = "a module of several programs, not a crate")]

pub mod bare;
pub mod figure;
pub mod network;
pub mod process;
pub mod stack;
pub mod traffic;
pub mod wrk;
