//! Tokens of media URLs: JWTs (RFC 7519) that open a folder of objects for a while, made where decisions are
//! made and checked by edges without asking anybody.
//!
//! A token is of one of two kinds, HMAC with SHA-256 (`HS256`) or Ed25519 (`EdDSA`), and which one is a
//! property of its key and not of the token (RFC 8725, section 3.1). Keys are a JWK Set (RFC 7517); the
//! token names its key by `kid`, so that several are good at a time and one can take another's place.
//!
//! It travels in the path, `/.tonearm/t/TOKEN/album/master.m3u8`: what a playlist names relatively then has
//! it too, in every player and without cookies. Single files may carry it as `?tonearm_token=`, and pages
//! may send it as a cookie of that name.

pub mod keys;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use crate::DecisionId;
use keys::KeySet;

/// Before the token in a path.
pub const PATH: &str = "/.tonearm/t/";

/// The name of the parameter and of the cookie.
pub const NAME: &str = "tonearm_token";

/// No token that we make comes near it.
pub const MAX_BYTES: usize = 2048;

/// Clocks may differ by so much before a token's begin is believed to lie ahead.
const LEEWAY_S: i64 = 5;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The folder that it opens, such as `/tracks/7/`, percent-decoded; without the last slash also the
    /// object of that name.
    pub path: String,
    /// Good until then, in seconds since the epoch.
    #[serde(deserialize_with = "numeric_date")]
    pub exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_numeric_date")]
    pub nbf: Option<i64>,
    /// What the listener has paid for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<DecisionId>,
}

/// RFC 7519, section 2: seconds may have a fraction, which is cut.
fn numeric_date<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let date = serde_json::Number::deserialize(from)?;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "it saturates, and what lies so far ahead is as good as for ever"
    )]
    let cut = |date: f64| date.floor() as i64;
    date.as_i64().or_else(|| date.as_f64().map(cut)).ok_or_else(|| D::Error::custom("no number of seconds"))
}

fn some_numeric_date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    numeric_date(from).map(Some)
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the URL has no token, and this edge serves signed URLs only")]
    Unsigned,
    #[error("the token is no JWT of ours")]
    Malformed,
    #[error("the token names a key that is not known here")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not good yet")]
    NotYet,
    #[error("the token is for another path")]
    Path,
}

impl Refusal {
    /// Stable: clients may compare it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Unsigned => "url-unsigned",
            Self::Malformed => "url-token-malformed",
            Self::UnknownKey => "url-key-unknown",
            Self::Signature => "url-signature-wrong",
            Self::Expired => "url-expired",
            Self::NotYet => "url-not-yet",
            Self::Path => "url-path-wrong",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<&'a str>,
    /// What must be understood to take the token for good (RFC 7515, section 4.1.11); we know of no such thing.
    #[serde(default, skip_serializing)]
    crit: Option<IgnoredAny>,
}

/// Makes a token; none where the set has no such key, or only its public half.
#[must_use]
pub fn sign(keys: &KeySet, kid: &str, claims: &Claims) -> Option<String> {
    let key = keys.find(kid)?;
    let header = serde_json::to_vec(&Header { alg: key.algorithm(), kid, typ: Some("JWT"), crit: None }).ok()?;
    let payload = serde_json::to_vec(claims).ok()?;
    let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(token)
}

/// What a token says, once its signature is found to be right; whether that opens anything now, `Claims::open`
/// tells.
///
/// # Errors
/// [`Refusal`].
pub fn read(keys: &KeySet, token: &str) -> Result<Claims, Refusal> {
    if token.len() > MAX_BYTES {
        return Err(Refusal::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed)?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed);
    let (header, signature) = (decode(header)?, decode(signature)?);
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| Refusal::Malformed)?;
    if header.crit.is_some() {
        return Err(Refusal::Malformed);
    }
    let key = keys.find(header.kid).ok_or(Refusal::UnknownKey)?;
    if header.alg != key.algorithm() || !key.verify(signed.as_bytes(), &signature) {
        return Err(Refusal::Signature);
    }
    serde_json::from_slice(&decode(payload)?).map_err(|_| Refusal::Malformed)
}

impl Claims {
    /// Whether it opens an object at this time; `path` is percent-decoded.
    ///
    /// # Errors
    /// [`Refusal`] for another time or another path.
    pub fn open(&self, path: &str, now_s: i64) -> Result<(), Refusal> {
        if now_s >= self.exp {
            return Err(Refusal::Expired);
        }
        if self.nbf.is_some_and(|begin| now_s + LEEWAY_S < begin) {
            return Err(Refusal::NotYet);
        }
        if covers(&self.path, path) { Ok(()) } else { Err(Refusal::Path) }
    }
}

/// Whether a path lies in a folder. One that climbs lies in none, for nobody knows where an origin takes it.
fn covers(folder: &str, path: &str) -> bool {
    let rest = path.strip_prefix(folder);
    let inside = rest.is_some_and(|rest| folder.ends_with('/') || rest.is_empty() || rest.starts_with('/'));
    folder.starts_with('/') && inside && !climbs(path)
}

/// However often an origin decodes, and whatever it takes for a segment's parameters.
fn climbs(path: &str) -> bool {
    let name = |segment: &str| segment.split(';').next().is_some_and(|name| matches!(name, "." | ".."));
    if path.contains('\\') || path.split('/').any(name) {
        return true;
    }
    let decoded = [("%25", "%"), ("%2e", "."), ("%2f", "/"), ("%5c", "\\")];
    let once = decoded.iter().fold(path.to_ascii_lowercase(), |path, (code, plain)| path.replace(code, plain));
    once.len() < path.len() && climbs(&once)
}

/// The folder of an object, as a token names it.
#[must_use]
pub fn folder_of(key: &str) -> String {
    key.rsplit_once('/').map_or_else(|| format!("/{key}"), |(folder, _)| format!("/{folder}/"))
}

#[cfg(test)]
mod tests;
