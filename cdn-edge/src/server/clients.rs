//! What one client may take: requests and bytes a second, connections at a time.
//!
//! A client is an IPv4 address or an IPv6 /64, which is what one subscriber has. Nothing is limited by default,
//! for behind one address there may be a whole mobile network; networks of known proxies are exempt. What a
//! connection needs is looked up once, when it is accepted: a request then costs an atomic exchange.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::config::EdgeConfig;

/// Clients that are remembered beside those with connections. Beyond it those without are forgotten, and
/// with them what they have used up.
const REMEMBERED: usize = 100_000;

const SECOND_NS: u64 = 1_000_000_000;
/// What a client may be ahead of its bandwidth by.
const BYTES_AHEAD_NS: u64 = SECOND_NS / 4;

/// Zeros are no limits.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    pub requests_per_s: u32,
    pub connections: u32,
    pub bps: u64,
    pub exempt: Vec<IpNet>,
}

impl Limits {
    #[must_use]
    pub fn of(edge: &EdgeConfig) -> Self {
        Self {
            requests_per_s: edge.client_requests_per_s,
            connections: edge.client_connections,
            bps: edge.client_bps,
            exempt: edge.client_exempt.clone(),
        }
    }

    fn are_none(&self) -> bool {
        self.requests_per_s == 0 && self.connections == 0 && self.bps == 0
    }
}

/// All clients of this edge.
#[derive(Debug)]
pub struct Clients {
    limits: Limits,
    begun: Instant,
    table: Mutex<HashMap<IpAddr, Arc<Client>>>,
}

/// When all is paid for that a client took, in nanoseconds since the edge began.
#[derive(Debug, Default)]
struct Client {
    connections: AtomicU32,
    requests_due: AtomicU64,
    bytes_due: AtomicU64,
}

/// A client's connection, for as long as it is open.
#[derive(Debug)]
pub struct Place {
    clients: Arc<Clients>,
    client: Arc<Client>,
}

/// It has as many connections as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Clients {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, begun: Instant::now(), table: Mutex::default() }
    }

    /// None where nothing limits it.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Option<Place>, TooMany> {
        let address = address.to_canonical();
        if self.limits.are_none() || self.limits.exempt.iter().any(|net| net.contains(&address)) {
            return Ok(None);
        }
        let client = self.client(subscriber(address));
        let most = self.limits.connections;
        if client.connections.fetch_add(1, Relaxed) >= most && most > 0 {
            client.connections.fetch_sub(1, Relaxed);
            return Err(TooMany);
        }
        Ok(Some(Place { clients: self.clone(), client }))
    }

    fn client(&self, address: IpAddr) -> Arc<Client> {
        let mut table = self.table();
        if table.len() >= REMEMBERED && !table.contains_key(&address) {
            // Those with connections are bounded by connections, so this is not done again soon.
            table.retain(|_, client| client.connections.load(Relaxed) > 0);
        }
        table.entry(address).or_default().clone()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Client>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Place {
    /// A request.
    ///
    /// # Errors
    /// How long it should have waited.
    pub fn request(&self, now: Instant) -> Result<(), Duration> {
        let rate = u64::from(self.clients.limits.requests_per_s);
        if rate == 0 {
            return Ok(());
        }
        // A second's worth at once: a player opens with several.
        take(&self.client.requests_due, self.clients.since(now), SECOND_NS / rate, SECOND_NS)
            .map_err(Duration::from_nanos)
    }

    /// Bytes that were sent to it.
    pub fn sent(&self, bytes: usize, now: Instant) {
        let (bps, now) = (self.clients.limits.bps, self.clients.since(now));
        if bps > 0 {
            let cost = u64::try_from(8 * bytes as u128 * u128::from(SECOND_NS) / u128::from(bps)).unwrap_or(u64::MAX);
            let pay = |due: u64| Some(due.max(now).saturating_add(cost));
            // The closure always has an answer.
            let _ = self.client.bytes_due.fetch_update(Relaxed, Relaxed, pay);
        }
    }

    /// How long it has to wait before it is sent more.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        if self.clients.limits.bps == 0 {
            return None;
        }
        let ahead = self.client.bytes_due.load(Relaxed).saturating_sub(self.clients.since(now));
        (ahead > BYTES_AHEAD_NS).then(|| Duration::from_nanos(ahead - BYTES_AHEAD_NS))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.client.connections.fetch_sub(1, Relaxed);
    }
}

/// The generic cell rate algorithm (ITU-T I.371): one number is a bucket.
fn take(due: &AtomicU64, now: u64, cost: u64, burst: u64) -> Result<(), u64> {
    let paid = |due: u64| {
        let after = due.max(now).saturating_add(cost);
        (after - now <= burst.max(cost)).then_some(after)
    };
    due.fetch_update(Relaxed, Relaxed, paid).map(drop).map_err(|due| due.saturating_add(cost) - now - burst.max(cost))
}

/// Whom an address stands for.
fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => Ipv6Addr::from(u128::from(six) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(limits: Limits) -> Arc<Clients> {
        Arc::new(Clients::new(limits))
    }

    #[test]
    fn requests_come_back_with_time() {
        let clients = clients(Limits { requests_per_s: 10, ..Limits::default() });
        let (place, now) = (clients.enter("192.0.2.1".parse().unwrap()).unwrap().unwrap(), Instant::now());
        let at = |ms: u64| now + Duration::from_millis(ms);
        assert_eq!((0..20).filter(|_| place.request(now).is_ok()).count(), 10);
        let wait = place.request(now).unwrap_err();
        assert!(wait <= Duration::from_millis(100) && wait > Duration::from_millis(99), "{wait:?}");
        assert!(place.request(at(101)).is_ok() && place.request(at(102)).is_err());
        assert_eq!((0..20).filter(|_| place.request(at(60_000)).is_ok()).count(), 10, "no more than a second's worth");
        let other = clients.enter("192.0.2.2".parse().unwrap()).unwrap().unwrap();
        assert!(other.request(now).is_ok());
    }

    #[test]
    fn connections_are_of_a_subscriber() {
        let clients =
            clients(Limits { connections: 2, exempt: vec!["10.0.0.0/8".parse().unwrap()], ..Limits::default() });
        let enter = |address: &str| clients.enter(address.parse().unwrap());
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2").unwrap();
        assert_eq!(enter("2001:db8::3").unwrap_err(), TooMany);
        assert!(enter("2001:db8:0:1::1").is_ok() && enter("::ffff:10.1.2.3").unwrap().is_none());
        drop(first);
        assert!(enter("2001:db8::3").is_ok());
    }

    #[test]
    fn bytes_are_paced() {
        let clients = clients(Limits { bps: 8_000_000, ..Limits::default() });
        let (place, now) = (clients.enter("192.0.2.1".parse().unwrap()).unwrap().unwrap(), Instant::now());
        place.sent(200_000, now);
        assert_eq!(place.wait(now), None, "a fifth of a second ahead");
        place.sent(800_000, now);
        let wait = place.wait(now).unwrap().as_millis();
        assert!((700..=750).contains(&wait), "{wait}");
        assert_eq!(place.wait(now + Duration::from_millis(800)), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let clients = clients(Limits { requests_per_s: 1, ..Limits::default() });
        let kept = clients.enter("192.0.2.1".parse().unwrap()).unwrap();
        for n in 0..u32::try_from(REMEMBERED).unwrap() + 10 {
            drop(clients.enter(std::net::Ipv4Addr::from(0x0b00_0000 + n).into()).unwrap());
        }
        let table = clients.table();
        assert!(table.len() <= REMEMBERED && table.contains_key(&"192.0.2.1".parse::<IpAddr>().unwrap()));
        drop(table);
        drop(kept);
    }
}
