//! Listeners as the router knows them: the network that an address is cut to, and what its players measured.

mod estimate;
mod estimates;

pub(crate) use estimates::{Estimates, Network};
