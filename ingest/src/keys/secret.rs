//! Secrets: made or given, held as digests.

use std::fmt;

use anyhow::ensure;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use service::config::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::grant::Kind;

/// Of 62 letters and digits: 190 bits.
const RANDOM: usize = 32;
const ID: usize = 12;
/// Given secrets of users and operators open more than a write key does, which is public anyway.
const SHORTEST_WRITE: usize = 16;
const SHORTEST: usize = 32;
const LONGEST: usize = 200;

/// SHA-256 of a secret.
///
/// Not a slow hash: that makes guessing expensive where people choose the secret. These are random and too
/// long to guess, and one is hashed for every request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What keys are found by. Nobody can choose a secret for its digest, so the time of this search tells
    /// nothing; the rest is compared in constant time.
    pub(super) fn place(&self) -> [u8; 8] {
        self.0[..8].try_into().expect("a digest has 32 bytes")
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(digest)")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(de::Error::custom)?;
        Self::from_bytes(&bytes).ok_or_else(|| de::Error::custom("a digest has 32 bytes"))
    }
}

/// A new key's public id, and the secret that begins with it.
pub(super) fn make(kind: Kind) -> (String, Secret) {
    let id = make_id(kind);
    let secret = Secret::new(format!("{id}_{}", random(RANDOM)));
    (id, secret)
}

pub(super) fn make_id(kind: Kind) -> String {
    format!("{}_{}", kind.prefix(), random(ID))
}

fn random(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}

/// # Errors
/// When a secret that was made elsewhere is too short, or no header could carry it.
pub(super) fn check_given(kind: Kind, secret: &Secret) -> anyhow::Result<()> {
    let text = secret.expose();
    let shortest = if kind == Kind::Write { SHORTEST_WRITE } else { SHORTEST };
    ensure!(
        (shortest..=LONGEST).contains(&text.len()),
        "a given secret of a {kind} key must have {shortest} to {LONGEST} characters, not {}",
        text.len()
    );
    ensure!(text.bytes().all(|b| b.is_ascii_graphic()), "a given secret must be of visible ASCII characters");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_begin_with_their_id_and_are_never_the_same() {
        let ((id, secret), (other_id, other)) = (make(Kind::Write), make(Kind::Write));
        assert!(secret.expose().starts_with(&format!("{id}_")) && id.starts_with("tw_"));
        assert_eq!((id.len(), secret.expose().len()), (15, 48));
        assert!(id != other_id && secret != other);
        assert!(make_id(Kind::User).starts_with("tu_") && make_id(Kind::Operator).starts_with("to_"));
    }

    #[test]
    fn a_digest_survives_the_disk_and_shows_nothing() {
        let digest = Digest::of("a secret");
        let text = serde_json::to_string(&digest).unwrap();
        let read: Digest = serde_json::from_str(&text).unwrap();
        assert!(read.is(&digest) && !read.is(&Digest::of("another")));
        assert_eq!(format!("{digest:?}"), "(digest)");
        assert!(serde_json::from_str::<Digest>("\"AAAA\"").is_err());
    }

    #[test]
    fn given_secrets_are_long_and_fit_a_header() {
        let check = |kind, text: &str| check_given(kind, &Secret::new(text)).is_ok();
        assert!(check(Kind::Write, "0123456789abcdef") && !check(Kind::Write, "0123456789abcde"));
        assert!(!check(Kind::User, "0123456789abcdef") && check(Kind::User, &"x".repeat(32)));
        assert!(!check(Kind::Write, "0123456789 abcdef") && !check(Kind::Write, &"ä".repeat(20)));
        assert!(!check(Kind::Write, &"x".repeat(201)));
    }
}
