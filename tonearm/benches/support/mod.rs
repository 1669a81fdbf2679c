//! What all benchmarks stand on: figures in the common form, processes with their CPU time, load by wrk.

#![allow(dead_code, reason = "each benchmark uses its part")]

pub mod figure;
pub mod process;
pub mod stack;
pub mod wrk;
