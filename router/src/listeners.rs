//! Listeners as the router knows them: an address, the network it is cut to, and what players of that
//! network measured.

mod address;
mod estimate;
mod estimates;

pub(crate) use address::AddressRule;
pub(crate) use estimates::{Estimates, Network};
