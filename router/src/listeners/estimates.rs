//! Measurements of listeners, by network and edge, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use wire::{ClientNet, EdgeId};

use super::estimate::{Estimate, median};

/// Networks that nobody measured for this long are forgotten; three half-lives.
const IDLE: Duration = Duration::from_secs(1800);
/// Edges per network: players measure the few that they were offered.
const EDGES_MAX: usize = 32;
/// One address adds to the estimates once in this time, however many decisions it asks for.
const ONCE_IN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Estimates {
    networks: Cache<ClientNet, Arc<Network>>,
    /// Addresses that added lately; in memory only, and no longer than [`ONCE_IN`].
    lately: Cache<IpAddr, ()>,
}

/// What listeners of one network measured.
#[derive(Debug, Default)]
pub(crate) struct Network(Mutex<HashMap<EdgeId, Estimate>>);

impl Estimates {
    /// Room for `networks_max` networks, and as many addresses that added lately.
    pub(crate) fn new(networks_max: u64) -> Self {
        Self {
            networks: Cache::builder().max_capacity(networks_max).time_to_idle(IDLE).build(),
            lately: Cache::builder().max_capacity(networks_max).time_to_live(ONCE_IN).build(),
        }
    }

    pub(crate) fn of(&self, net: ClientNet) -> Option<Arc<Network>> {
        self.networks.get(&net)
    }

    /// Whether this address may add now; if so, it may not again for a minute.
    pub(crate) fn take_turn(&self, address: IpAddr) -> bool {
        self.lately.entry(subscriber(address)).or_insert(()).is_fresh()
    }

    /// Adds what one player measured to one edge, beside what the router's own probes say.
    pub(crate) fn add(&self, net: ClientNet, edge: &EdgeId, rtts_ms: &[f64], probed_ms: f64, now: Instant) {
        let Some(sample) = median(rtts_ms) else { return };
        self.networks.get_with(net, Arc::default).add(edge, sample, probed_ms, now);
    }
}

impl Network {
    /// The estimate for an edge, in milliseconds; none where nobody measured it.
    pub(crate) fn rtt_ms(&self, edge: &EdgeId, probed_ms: f64, now: Instant) -> Option<f64> {
        let edges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        edges.get(edge).map(|estimate| estimate.shrunk_to(probed_ms, now))
    }

    fn add(&self, edge: &EdgeId, sample_ms: f64, probed_ms: f64, now: Instant) {
        let mut edges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if edges.len() >= EDGES_MAX && !edges.contains_key(edge) {
            return;
        }
        edges.entry(edge.clone()).or_insert_with(|| Estimate::none(now)).add(sample_ms, probed_ms, now);
    }
}

/// A subscriber's whole /64 counts as one address: it holds as many as anyone wants.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_turn_and_a_whole_64_is_one_address() {
        let estimates = Estimates::new(10);
        let turn = |address: &str| estimates.take_turn(address.parse().unwrap());
        assert!(turn("203.0.113.1") && turn("203.0.113.2") && !turn("203.0.113.1"));
        assert!(turn("2001:db8::1") && !turn("2001:db8::2") && turn("2001:db8:0:1::1"));
    }

    #[test]
    fn a_network_holds_a_bounded_number_of_edges() {
        let (estimates, now) = (Estimates::new(10), Instant::now());
        let net = ClientNet::V4([203, 0, 113]);
        let edge = |n: usize| EdgeId::new(format!("e-{n}")).unwrap();
        (0..EDGES_MAX + 5).for_each(|n| estimates.add(net, &edge(n), &[30.0], 20.0, now));
        let network = estimates.of(net).unwrap();
        assert!(network.rtt_ms(&edge(0), 20.0, now).is_some_and(|rtt| rtt > 20.0));
        assert!(network.rtt_ms(&edge(EDGES_MAX), 20.0, now).is_none());
    }
}
