//! What an answer is stored under: RFC 9111's primary cache key, of which the method is always GET.
//!
//! For an HTTP origin it is the whole target URI as it was sent, scheme and host included, because both
//! are told to the origin and may shape its answer. Nothing in it is decoded: two spellings of one
//! resource are two keys, and no spelling ever reaches the file system. For a bucket it is the object's
//! key alone.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::ObjectKey;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct CacheKey {
    https: bool,
    /// Lower-case, with its port; empty for a bucket.
    host: Box<str>,
    /// Path and query; a bucket's key.
    target: Box<str>,
}

/// A key as a request names it, without memory of its own: what a hit is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyRef<'a> {
    pub https: bool,
    pub host: &'a str,
    pub target: &'a str,
}

impl<'a> KeyRef<'a> {
    #[must_use]
    pub fn object(key: &'a str) -> Self {
        Self { https: false, host: "", target: key }
    }

    /// As operators and the index log write it.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            // A bucket's key has no empty segment, so it cannot be taken for a URI.
            (None, None) => return Self::object(text),
        };
        let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // Without a host there is no scheme either.
        Self { https: https && !host.is_empty(), host, target }
    }

    #[must_use]
    pub fn to_key(self) -> Arc<CacheKey> {
        Arc::new(self.into())
    }

    /// The name that records of deliveries carry: a path as it is written where decoded it is no object's key, and where
    /// that is none either (`/a/`), in one segment (`%2Fa%2F`). None where the target is no path.
    #[must_use]
    pub fn object_key(&self) -> Option<ObjectKey> {
        if self.host.is_empty() {
            return ObjectKey::new(self.target).ok();
        }
        let written = self.target.split('?').next()?;
        let path = written.strip_prefix('/')?;
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok();
        let plain = decoded.and_then(|decoded| ObjectKey::new(decoded).ok()).or_else(|| ObjectKey::new(path).ok());
        plain.or_else(|| {
            let mut name = written.replace('/', "%2F");
            name.truncate(name.floor_char_boundary(1024));
            ObjectKey::new(name).ok()
        })
    }
}

/// A host without the port that its scheme has anyway (RFC 9110, section 4.2.3).
#[must_use]
pub fn without_default_port(host: &str, https: bool) -> &str {
    host.strip_suffix(if https { ":443" } else { ":80" }).unwrap_or(host)
}

impl From<KeyRef<'_>> for CacheKey {
    fn from(key: KeyRef<'_>) -> Self {
        Self { https: key.https, host: key.host.into(), target: key.target.into() }
    }
}

impl CacheKey {
    #[must_use]
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { https: self.https, host: &self.host, target: &self.target }
    }

    /// Empty where it is a bucket's object.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.host.is_empty() {
            write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.host)?;
        }
        f.write_str(self.target)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl From<String> for CacheKey {
    fn from(text: String) -> Self {
        KeyRef::parse(&text).into()
    }
}

impl From<CacheKey> for String {
    fn from(key: CacheKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_4_2_3_default_ports() {
        for (host, https, bare) in
            [("x:80", false, "x"), ("x:80", true, "x:80"), ("[::1]:443", true, "[::1]"), ("x:8080", false, "x:8080")]
        {
            assert_eq!(without_default_port(host, https), bare);
        }
    }

    #[test]
    fn text_brings_a_key_back() {
        for text in ["a/b.m4a", "http://x:80/a?b=c", "https://x/", "https://x/http://y"] {
            let key = KeyRef::parse(text).to_key();
            assert_eq!(key.to_string(), text);
            assert_eq!(key.as_ref().as_ref(), KeyRef::parse(text));
        }
        assert_ne!(KeyRef::parse("http://x/a"), KeyRef::parse("https://x/a"));
    }

    #[test]
    fn names_for_records() {
        let named = |text| KeyRef::parse(text).object_key().map(String::from);
        assert_eq!(named("a/b").as_deref(), Some("a/b"));
        assert_eq!(named("http://x/a%20b?c").as_deref(), Some("a b"));
        for (text, name) in [
            ("http://x/a/%2e%2e/b", "a/%2e%2e/b"),
            ("http://x/%ff%00", "%ff%00"),
            ("http://x/", "%2F"),
            ("http://x/a/?b", "%2Fa%2F"),
            ("http://x/../a", "%2F..%2Fa"),
        ] {
            assert_eq!(named(text).as_deref(), Some(name));
        }
        let long = format!("http://x/{}", "a/".repeat(2000));
        assert_eq!(named(&long).unwrap().len(), 1024);
        assert_eq!(named("http://x*"), None);
    }
}
