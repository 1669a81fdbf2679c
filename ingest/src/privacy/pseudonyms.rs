//! Keyed hashes in the place of users and devices.

use std::fmt;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Sha256;

/// Of a hash's 32 bytes. Two of a billion users meet with a chance of 1 in 10²⁰, and what no ClickHouse
/// codec can compress is stored for every event.
const KEPT: usize = 16;

/// Whose id it is: the same text as a user's and as a device's gives two hashes that nobody can join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    User,
    /// A device whose user is not known.
    Anon,
}

impl Subject {
    fn tag(self) -> &'static [u8] {
        match self {
            Self::User => b"user\0",
            Self::Anon => b"anon\0",
        }
    }
}

/// One version of the key, shown by no log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrivacyKey {
    pub(crate) version: u32,
    #[serde(serialize_with = "encode", deserialize_with = "decode")]
    pub(crate) key: [u8; 32],
}

impl fmt::Debug for PrivacyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(version {})", self.version)
    }
}

fn encode<S: Serializer>(key: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&URL_SAFE_NO_PAD.encode(key))
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(de::Error::custom)?;
    bytes.try_into().map_err(|_| de::Error::custom("a privacy key has 32 bytes"))
}

/// Every version of the key; the newest hashes what is new.
///
/// A hash is written `version:base64url`, so that what an older key made is still found after a rotation.
#[derive(Clone)]
pub struct Pseudonyms {
    /// The newest last; never empty.
    keys: Vec<PrivacyKey>,
    /// Each with its key taken in, to be cloned for a hash.
    macs: Vec<Hmac<Sha256>>,
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pseudonyms").field(&self.keys).finish()
    }
}

impl Pseudonyms {
    /// None where there is no key: then no user may be stored at all.
    pub(crate) fn new(mut keys: Vec<PrivacyKey>) -> Option<Self> {
        keys.sort_by_key(|key| key.version);
        let mac = |key: &PrivacyKey| Hmac::new_from_slice(&key.key).expect("an HMAC takes a key of any length");
        let macs: Vec<_> = keys.iter().map(mac).collect();
        (!keys.is_empty()).then_some(Self { keys, macs })
    }

    pub(crate) fn keys(&self) -> &[PrivacyKey] {
        &self.keys
    }

    /// What is stored for this id from now on.
    #[must_use]
    pub fn current(&self, subject: Subject, id: &str) -> String {
        self.newest(subject, id).as_str().to_owned()
    }

    /// As `current`, without a place of its own in memory.
    pub(super) fn newest(&self, subject: Subject, id: &str) -> Pseudonym {
        self.hash(self.keys.len() - 1, subject, id)
    }

    /// Every form in which this id may be stored, the current one last.
    #[must_use]
    pub fn all(&self, subject: Subject, id: &str) -> Vec<String> {
        (0..self.keys.len()).map(|nth| self.hash(nth, subject, id).as_str().to_owned()).collect()
    }

    fn hash(&self, nth: usize, subject: Subject, id: &str) -> Pseudonym {
        let mut mac = self.macs[nth].clone();
        mac.update(subject.tag());
        mac.update(id.as_bytes());
        let hash = mac.finalize().into_bytes();
        let mut text = [0; LONGEST];
        let mut rest = &mut text[..];
        write!(rest, "{}:", self.keys[nth].version).expect("there is room for a version");
        let head = LONGEST - rest.len();
        let tail = URL_SAFE_NO_PAD.encode_slice(&hash[..KEPT], &mut text[head..]);
        Pseudonym { text, length: head + tail.expect("there is room for a hash") }
    }
}

/// A version of ten digits, the colon, and 16 bytes in base64.
const LONGEST: usize = 10 + 1 + 22;

/// What is stored in an id's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pseudonym {
    text: [u8; LONGEST],
    length: usize,
}

impl Pseudonym {
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).expect("digits and base64 are ASCII")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pseudonyms(versions: &[u32]) -> Pseudonyms {
        let key = |version: &u32| PrivacyKey { version: *version, key: [u8::try_from(*version).unwrap(); 32] };
        Pseudonyms::new(versions.iter().map(key).collect()).unwrap()
    }

    #[test]
    fn the_newest_version_hashes_and_all_are_looked_up() {
        let (one, two) = (pseudonyms(&[1]), pseudonyms(&[2, 1]));
        let (old, new) = (one.current(Subject::User, "u-17"), two.current(Subject::User, "u-17"));
        assert!(old.starts_with("1:") && new.starts_with("2:") && old[2..] != new[2..]);
        assert_eq!(two.all(Subject::User, "u-17"), [old, new]);
        assert_ne!(one.current(Subject::Anon, "u-17"), one.current(Subject::User, "u-17"));
        assert_eq!(one.current(Subject::User, "u-17").len(), 24);
        assert!(Pseudonyms::new(Vec::new()).is_none());
    }

    /// RFC 2104 over SHA-256, as any other implementation computes it: stored hashes must stay what they are.
    #[test]
    fn the_hash_is_hmac_sha256_cut_to_half() {
        assert_eq!(pseudonyms(&[1]).current(Subject::User, "u-17"), "1:YAVeY3gMszoFH_pPx1BClg");
    }

    #[test]
    fn keys_survive_the_disk_and_show_nothing() {
        let key = PrivacyKey { version: 3, key: [7; 32] };
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PrivacyKey>(&text).unwrap(), key);
        assert_eq!(format!("{:?}", pseudonyms(&[3])), "Pseudonyms([(version 3)])");
    }
}
