//! Whose request it is: the peer, or whom a trusted proxy speaks for. The same wherever players ask.

use std::net::IpAddr;

use http::{HeaderMap, header};
use ipnet::IpNet;

/// Which peers are proxies that may say whom they speak for.
#[derive(Debug, Clone)]
pub struct AddressRule(Vec<IpNet>);

impl AddressRule {
    #[must_use]
    pub fn new(trusted_proxies: Vec<IpNet>) -> Self {
        Self(trusted_proxies)
    }

    /// The listener's address: the last one in the chain of forwarders that is no trusted proxy.
    /// What an untrusted peer says of itself is ignored; so is what is no address.
    #[must_use]
    pub fn listener(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut listener = peer.to_canonical();
        if !self.trusts(listener) {
            return listener;
        }
        for hop in forwarders(headers) {
            let Some(address) = hop else { return listener };
            listener = address.to_canonical();
            if !self.trusts(listener) {
                return listener;
            }
        }
        listener
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }
}

/// From the nearest hop to the furthest; none for one that gives no address. `Forwarded` (RFC 7239)
/// stands over `X-Forwarded-For`.
fn forwarders(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let forwarded = values(headers, &header::FORWARDED);
    if !forwarded.is_empty() {
        return forwarded.iter().rev().map(|element| forwarded_for(element)).collect();
    }
    let hops = values(headers, &header::HeaderName::from_static("x-forwarded-for"));
    hops.iter().rev().map(|hop| parse_node(hop)).collect()
}

/// A list header's elements; its length is bounded by the server's limit on heads.
fn values<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Vec<&'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect()
}

fn forwarded_for(element: &str) -> Option<IpAddr> {
    let node = element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })?;
    parse_node(node.trim().trim_matches('"'))
}

/// An address, with or without brackets and port.
fn parse_node(node: &str) -> Option<IpAddr> {
    let node = node.trim();
    if let Some(rest) = node.strip_prefix('[') {
        return rest.split(']').next()?.parse().ok();
    }
    node.parse().ok().or_else(|| node.rsplit_once(':')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(peer: &str, name: &'static str, value: &str) -> String {
        let rule = AddressRule::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        rule.listener(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(listener("192.0.2.1", "x-forwarded-for", "203.0.113.9"), "192.0.2.1");
        assert_eq!(listener("10.1.1.1", "x-forwarded-for", "203.0.113.9"), "203.0.113.9");
        assert_eq!(listener("::ffff:10.1.1.1", "x-forwarded-for", "203.0.113.9"), "203.0.113.9");
    }

    #[test]
    fn what_a_listener_put_before_its_own_address_is_not_reached() {
        assert_eq!(listener("10.1.1.1", "x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.2.2.2"), "203.0.113.9");
        assert_eq!(listener("10.1.1.1", "x-forwarded-for", "1.1.1.1, nonsense, 10.2.2.2"), "10.2.2.2");
        assert_eq!(listener("10.1.1.1", "x-forwarded-for", "10.3.3.3"), "10.3.3.3");
    }

    #[test]
    fn forwarded_as_rfc_7239_writes_it() {
        let ask = |value| listener("10.1.1.1", "forwarded", value);
        assert_eq!(ask("for=192.0.2.60;proto=http;by=203.0.113.43"), "192.0.2.60");
        assert_eq!(ask("proto=https; For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(ask("for=192.0.2.43, for=\"198.51.100.17:80\""), "198.51.100.17");
        assert_eq!(ask("for=_hidden"), "10.1.1.1");
    }
}
