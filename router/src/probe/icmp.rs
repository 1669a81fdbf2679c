//! ICMP echo, by a datagram socket where `net.ipv4.ping_group_range` allows it, else by a raw one where
//! we are root or have `CAP_NET_RAW`. Where neither can be had, HTTP probes alone tell the truth.

use std::net::IpAddr;
use std::time::Duration;

use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, Pinger};

use super::{Outcome, Probe, note, within};
use crate::signals::Signals;

const PAYLOAD: [u8; 16] = *b"tonearm-router-1";

/// One socket for each version of IP, shared by all pings.
pub(super) struct Sockets {
    v4: Option<Client>,
    v6: Option<Client>,
}

impl Sockets {
    pub(super) fn open() -> Self {
        Self { v4: open(ICMP::V4), v6: open(ICMP::V6) }
    }

    /// None where there is no socket for such an address.
    pub(super) fn ping(&self, host: IpAddr, timeout: Duration) -> Option<Ping> {
        let client = if host.is_ipv4() { self.v4.clone()? } else { self.v6.clone()? };
        Some(Ping { client, host, timeout, pinger: None, sequence: 0 })
    }
}

fn open(kind: ICMP) -> Option<Client> {
    let config = Config::builder().kind(kind).build();
    Client::new(&config)
        .inspect_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            tracing::info!(reason, ?kind, "no ICMP socket: edges are probed by HTTP alone");
        })
        .ok()
}

/// The pings of one host.
pub(super) struct Ping {
    client: Client,
    host: IpAddr,
    timeout: Duration,
    /// Made at the first ping; surge-ping refuses a second one of a host with the same sequence in flight.
    pinger: Option<Pinger>,
    sequence: u16,
}

impl Ping {
    async fn round_trip(&mut self) -> Option<Duration> {
        self.sequence = self.sequence.wrapping_add(1);
        if self.pinger.is_none() {
            // Random, so that two routers on one machine with raw sockets tell their answers apart.
            self.pinger = Some(self.client.pinger(self.host, PingIdentifier(rand::random())).await);
        }
        let pinger = self.pinger.as_mut()?.timeout(self.timeout);
        let (packet, rtt) = pinger.ping(PingSequence(self.sequence), &PAYLOAD).await.ok()?;
        is_echo(&packet).then_some(rtt)
    }
}

/// surge-ping hands over whatever answers a ping, a router's "host unreachable" too.
fn is_echo(packet: &IcmpPacket) -> bool {
    match packet {
        IcmpPacket::V4(v4) => v4.get_icmp_type().0 == 0,
        IcmpPacket::V6(v6) => v6.get_icmpv6_type().0 == 129,
    }
}

impl Probe for Ping {
    const KIND: &'static str = "icmp";

    async fn probe(&mut self) -> Outcome {
        match within(self.timeout, self.round_trip()).await {
            Some(rtt) => Outcome::Answered(Some(rtt.as_secs_f64() * 1000.0)),
            None => Outcome::Lost,
        }
    }

    /// ICMP is often blocked on the way to an edge that serves: it says nothing of up or down.
    fn note(signals: &mut Signals, outcome: Outcome) {
        note(&mut signals.icmp, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_answers_and_an_address_that_cannot_be_pinged_does_not() {
        let sockets = Sockets::open();
        let Some(mut near) = sockets.ping(IpAddr::from([127, 0, 0, 1]), Duration::from_secs(5)) else {
            eprintln!("skipped: no ICMP socket (needs root, CAP_NET_RAW or net.ipv4.ping_group_range)");
            return;
        };
        let Outcome::Answered(Some(rtt_ms)) = near.probe().await else { panic!("loopback did not answer") };
        assert!(rtt_ms > 0.0 && rtt_ms < 5000.0, "{rtt_ms}");
        // Broadcasting is refused to a socket that did not ask for it: nothing is even sent.
        let mut nobody = sockets.ping(IpAddr::from([255, 255, 255, 255]), Duration::from_millis(50)).unwrap();
        assert_eq!(nobody.probe().await, Outcome::Lost);
    }
}
