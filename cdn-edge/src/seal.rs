//! How edges of a fleet know each other's requests: a header with the asker's id, the time and an HMAC.
//!
//! What others learn by such a header is nothing but how to ask for the same object, for a few minutes. The
//! key itself, the fleet's admin token, never travels.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use service::config::Secret;
use sha2::Sha256;
use wire::{EdgeId, Timestamp};

pub const EDGE: HeaderName = HeaderName::from_static("tonearm-edge");

/// How far the clocks of two edges may be apart.
const SKEW_S: i64 = 300;

/// Signs our requests to other edges, and knows theirs.
#[derive(Clone)]
pub struct Seal {
    /// With the key taken in, to be cloned for a request.
    mac: Hmac<Sha256>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// None without a secret: then there is no fleet.
    #[must_use]
    pub fn new(secret: &Secret) -> Option<Self> {
        let key = secret.expose().as_bytes();
        let mac = Hmac::new_from_slice(key).expect("an HMAC takes a key of any length");
        (!key.is_empty()).then_some(Self { mac })
    }

    /// The header of a request for a path with its query.
    #[must_use]
    pub fn sign(&self, me: &EdgeId, target: &str, now: Timestamp) -> HeaderValue {
        let seconds = now.as_millis() / 1000;
        let sum = self.over(me.as_str(), seconds, target).finalize().into_bytes();
        let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        HeaderValue::try_from(format!("{me};{seconds};{hex}")).expect("slugs and digits make a header")
    }

    /// The edge that asks, where one does. A header that is not right is as none.
    #[must_use]
    pub fn edge<'a>(&self, headers: &'a HeaderMap, target: &str, now: Timestamp) -> Option<&'a str> {
        let mut parts = headers.get(EDGE)?.to_str().ok()?.split(';');
        let (edge, seconds, hex) = (parts.next()?, parts.next()?, parts.next()?);
        let (seconds, sum) = (seconds.parse::<i64>().ok()?, unhex(hex)?);
        let timely = (now.as_millis() / 1000).abs_diff(seconds) <= SKEW_S.unsigned_abs();
        (timely && self.over(edge, seconds, target).verify_slice(&sum).is_ok()).then_some(edge)
    }

    fn over(&self, edge: &str, seconds: i64, target: &str) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(format!("tonearm-edge\n{edge}\n{seconds}\n{target}").as_bytes());
        mac
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        u8::try_from(digit(high)? * 16 + digit(low)?).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_and_no_other() {
        let seal = Seal::new(&Secret::new("one secret of sixteen")).unwrap();
        let other = Seal::new(&Secret::new("another secret, longer")).unwrap();
        let (me, now) = (EdgeId::new("nyc-1").unwrap(), Timestamp::from_millis(1_795_251_600_000).unwrap());
        let later = |seconds: i64| Timestamp::from_millis(now.as_millis() + seconds * 1000).unwrap();
        let signed = seal.sign(&me, "/a?b", now);
        let headers = |value: HeaderValue| HeaderMap::from_iter([(EDGE, value)]);
        let is_on =
            |seal: &Seal, headers: &HeaderMap, target: &str, now| seal.edge(headers, target, now) == Some("nyc-1");
        assert!(is_on(&seal, &headers(signed.clone()), "/a?b", later(299)));
        assert!(!is_on(&seal, &headers(signed.clone()), "/a?b", later(302)));
        assert!(!is_on(&seal, &headers(signed.clone()), "/a", now));
        assert!(!is_on(&other, &headers(signed.clone()), "/a?b", now));
        assert!(!is_on(&seal, &HeaderMap::new(), "/a?b", now));
        let text = signed.to_str().unwrap();
        for bad in [text.replace("nyc-1", "nyc-2"), text[..text.len() - 1].to_owned(), "x;y".into(), "a;1;zz".into()] {
            assert!(seal.edge(&headers(bad.parse().unwrap()), "/a?b", now).is_none(), "{bad}");
        }
        assert!(Seal::new(&Secret::new("")).is_none());
    }
}
