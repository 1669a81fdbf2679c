//! Keys of tokens, as a JWK Set (RFC 7517, RFC 8037) holds them.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ring::{hmac, rand};
use serde::{Deserialize, Serialize};

/// Keys of a set; more would be a mistake.
const MOST: usize = 100;

/// RFC 7518, section 3.2: as long as the hash at least.
const HMAC_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    /// Of HMAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<String>,
    /// Of Ed25519, the public half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    /// The other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<String>,
}

pub(super) enum Key {
    Hmac(hmac::Key),
    Ed25519 { public: UnparsedPublicKey<[u8; 32]>, pair: Option<Box<Ed25519KeyPair>> },
}

/// The keys that are good at this time, by id.
#[derive(Default)]
pub struct KeySet {
    keys: BTreeMap<String, Key>,
}

/// A kind of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Hmac,
    Ed25519,
}

/// Why a text is no set of keys of ours. It never shows a key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    #[error("it is no JWK Set: {0}")]
    NoSet(String),
    #[error("it must have 1 to {MOST} keys")]
    Many,
    #[error("key {0:?}: {1}")]
    Key(String, &'static str),
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.keys()).finish()
    }
}

impl KeySet {
    /// # Errors
    /// [`BadKeys`].
    pub fn parse(json: &[u8]) -> Result<Self, BadKeys> {
        let set = jwks(json)?;
        let mut keys = BTreeMap::new();
        for jwk in set.keys {
            let key = key(&jwk).map_err(|why| BadKeys::Key(jwk.kid.clone(), why))?;
            if jwk.kid.is_empty() || jwk.kid.len() > 100 {
                return Err(BadKeys::Key(jwk.kid, "its id must have 1 to 100 bytes"));
            }
            if keys.contains_key(&jwk.kid) {
                return Err(BadKeys::Key(jwk.kid, "its id is there twice"));
            }
            keys.insert(jwk.kid, key);
        }
        Ok(Self { keys })
    }

    pub(super) fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.get(kid)
    }

    /// Whether tokens can be made with a key.
    #[must_use]
    pub fn signs(&self, kid: &str) -> bool {
        self.find(kid).is_some_and(|key| !matches!(key, Key::Ed25519 { pair: None, .. }))
    }
}

impl Key {
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Hmac(_) => "HS256",
            Self::Ed25519 { .. } => "EdDSA",
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hmac(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Self::Ed25519 { pair, .. } => Some(pair.as_ref()?.sign(message).as_ref().to_vec()),
        }
    }

    /// In a time that tells nothing of the right signature.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Ed25519 { public, .. } => public.verify(message, signature).is_ok(),
        }
    }
}

fn jwks(json: &[u8]) -> Result<JwkSet, BadKeys> {
    // serde's words may show a value; where it stands is enough.
    let set: JwkSet = serde_json::from_slice(json)
        .map_err(|error| BadKeys::NoSet(format!("line {}, column {}", error.line(), error.column())))?;
    if (1..=MOST).contains(&set.keys.len()) { Ok(set) } else { Err(BadKeys::Many) }
}

fn key(jwk: &Jwk) -> Result<Key, &'static str> {
    let bytes = |text: &Option<String>| text.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    match (jwk.kty.as_str(), jwk.alg.as_deref(), jwk.crv.as_deref()) {
        ("oct", None | Some("HS256"), _) => {
            let secret = bytes(&jwk.k).filter(|secret| secret.len() >= HMAC_BYTES);
            let secret = secret.ok_or("k must be at least 32 bytes in base64url")?;
            Ok(Key::Hmac(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
        }
        ("OKP", None | Some("EdDSA" | "Ed25519"), Some("Ed25519")) => {
            let public = bytes(&jwk.x).and_then(|public| <[u8; 32]>::try_from(public).ok());
            let public = public.ok_or("x must be 32 bytes in base64url")?;
            let pair = match &jwk.d {
                None => None,
                Some(_) => {
                    let seed = bytes(&jwk.d).ok_or("d must be 32 bytes in base64url")?;
                    let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public);
                    Some(Box::new(pair.map_err(|_| "d and x must be 32 bytes and belong together")?))
                }
            };
            Ok(Key::Ed25519 { public: UnparsedPublicKey::new(&ED25519, public), pair })
        }
        _ => Err("must be kty oct with alg HS256, or kty OKP with crv Ed25519"),
    }
}

/// A set with a new key before those that are in another, as text.
///
/// # Errors
/// [`BadKeys`] for the other set, or where it has the id.
pub fn with_new(kind: Kind, kid: &str, others: Option<&[u8]>) -> Result<String, BadKeys> {
    let random = |why| -> Result<[u8; 32], BadKeys> {
        let bytes = rand::generate::<[u8; 32]>(&SystemRandom::new());
        Ok(bytes.map_err(|_| BadKeys::Key(kid.to_owned(), why))?.expose())
    };
    let secret = random("the system gives no random bytes")?;
    let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
    let jwk = |kty: &str, alg: &str| Jwk {
        kty: kty.to_owned(),
        kid: kid.to_owned(),
        alg: Some(alg.to_owned()),
        crv: None,
        k: None,
        x: None,
        d: None,
    };
    let new = match kind {
        Kind::Hmac => Jwk { k: text(&secret), ..jwk("oct", "HS256") },
        Kind::Ed25519 => {
            let pair = Ed25519KeyPair::from_seed_unchecked(&secret);
            let pair = pair.map_err(|_| BadKeys::Key(kid.to_owned(), "ring refuses its own random bytes"))?;
            let (x, d) = (text(pair.public_key().as_ref()), text(&secret));
            Jwk { crv: Some("Ed25519".to_owned()), x, d, ..jwk("OKP", "EdDSA") }
        }
    };
    let mut keys = vec![new];
    if let Some(others) = others {
        keys.extend(jwks(others)?.keys);
    }
    let text = serde_json::to_string_pretty(&JwkSet { keys }).expect("texts serialise");
    KeySet::parse(text.as_bytes()).map(|_| text)
}

/// The same set as those need it who only check: without private halves.
///
/// # Errors
/// [`BadKeys`].
pub fn public(json: &[u8]) -> Result<String, BadKeys> {
    KeySet::parse(json)?;
    let mut set = jwks(json)?;
    set.keys.iter_mut().for_each(|jwk| jwk.d = None);
    Ok(serde_json::to_string_pretty(&set).expect("texts serialise"))
}
