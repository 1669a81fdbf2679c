//! What an edge holds, in about 10 bits a folder: a Bloom filter, told with load reports.
//!
//! A folder is an object's key up to its last slash: one rendition of a track, as a rule. The filter says "perhaps"
//! of about 1 % of what is not held, and never "no" of what was held when it was made.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::FieldError;

/// How the filter is made; another way has another number.
const FORMAT: u8 = 1;
/// Bits a folder, and hashes: 0.8 % of false "perhaps".
const BITS: usize = 10;
const HASHES: u64 = 7;
/// So that a report stays below a listener's limit of 1 MiB: with more than 400,000 folders each has fewer bits.
const MOST_BYTES: usize = 512 << 10;

/// What an edge holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDigest {
    /// The way it is made: 1.
    pub format: u8,
    /// Counts digests since the edge's process started; the same number is the same digest.
    pub version: u64,
    /// How many folders went into it.
    pub folders: u64,
    /// The filter, in base64; a bit is the n-th of a byte by its value `1 << n`.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub bits: Vec<u8>,
}

/// The folder that stands for an object.
#[must_use]
pub fn folder(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(folder, _)| folder)
}

impl HeldDigest {
    /// Of folders, each once.
    #[must_use]
    pub fn of<'a>(version: u64, folders: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let count = folders.len();
        let bytes = (count * BITS).div_ceil(8).clamp(8, MOST_BYTES);
        let mut digest = Self { format: FORMAT, version, folders: count as u64, bits: vec![0; bytes] };
        for folder in folders {
            for bit in digest.places(folder) {
                digest.bits[bit / 8] |= 1 << (bit % 8);
            }
        }
        digest
    }

    /// Whether something of the object's folder may be held.
    #[must_use]
    pub fn may_hold(&self, key: &str) -> bool {
        self.places(folder(key)).all(|bit| self.bits[bit / 8] & 1 << (bit % 8) != 0)
    }

    /// # Errors
    /// [`FieldError`] where it is none that could be asked.
    pub fn check(&self) -> Result<(), FieldError> {
        if self.format != FORMAT {
            return Err(FieldError::new("held.format", format!("must be {FORMAT}, not {}", self.format)));
        }
        if self.bits.is_empty() || self.bits.len() > MOST_BYTES {
            return Err(FieldError::new("held.bits", format!("must be 1 to {MOST_BYTES} bytes")));
        }
        Ok(())
    }

    /// Double hashing (Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006).
    fn places(&self, folder: &str) -> impl Iterator<Item = usize> + use<> {
        let bits = 8 * self.bits.len() as u64;
        let first = fnv(folder.as_bytes());
        let step = mix(first) | 1;
        (0..HASHES).map(move |n| (mix(first.wrapping_add(n.wrapping_mul(step))) % bits) as usize)
    }
}

/// FNV-1a, 64 bits: the same wherever and in whatever language it is computed.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn to_base64<S: Serializer>(bits: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bits))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text).map_err(|_| de::Error::custom("must be base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_went_in_and_little_else() {
        let held: Vec<String> = (0..5000).map(|n| format!("trk-{n}/128")).collect();
        let digest = HeldDigest::of(1, held.iter().map(String::as_str));
        assert_eq!((digest.bits.len(), digest.folders), (6250, 5000));
        assert!(held.iter().all(|folder| digest.may_hold(&format!("{folder}/seg-1.m4s"))));
        let wrong = (0..20_000).filter(|n| digest.may_hold(&format!("other-{n}/128/a"))).count();
        assert!(wrong < 400, "{wrong} of 20000");
        let empty = HeldDigest::of(2, std::iter::empty::<&str>());
        assert!(!empty.may_hold("a/b") && empty.check().is_ok());
    }

    #[test]
    fn is_bounded_and_refuses_what_is_none() {
        let folders: Vec<String> = (0..500_000).map(|n| n.to_string()).collect();
        let digest = HeldDigest::of(1, folders.iter().map(String::as_str));
        assert_eq!(digest.bits.len(), MOST_BYTES);
        assert!(digest.check().is_ok() && digest.may_hold("7/x"));
        assert_eq!(HeldDigest { format: 2, ..digest.clone() }.check().unwrap_err().field, "held.format");
        assert_eq!(HeldDigest { bits: Vec::new(), ..digest }.check().unwrap_err().field, "held.bits");
        assert!(serde_json::from_str::<HeldDigest>(r#"{"format":1,"version":1,"folders":1,"bits":"*"}"#).is_err());
    }
}
