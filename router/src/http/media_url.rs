//! URLs that players get.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use service::url_keys::UrlKeys;
use wire::token::{self, Claims};
use wire::{DecisionId, ObjectKey, Timestamp};

/// All but RFC 3986's unreserved characters and the slash between segments.
const SEGMENTS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Makes the tokens of one router's URLs.
#[derive(Debug)]
pub(crate) struct Signer {
    keys: Arc<UrlKeys>,
    kid: String,
    ttl: Duration,
}

impl Signer {
    pub(crate) fn new(keys: Arc<UrlKeys>, kid: &str, ttl: Duration) -> Self {
        Self { keys, kid: kid.to_owned(), ttl }
    }

    pub(crate) fn keys(&self) -> &Arc<UrlKeys> {
        &self.keys
    }

    /// For the folder of an object: what its playlist names needs no other.
    pub(super) fn token(&self, key: &ObjectKey, decision: DecisionId, now: Timestamp) -> Option<String> {
        let path = token::folder_of(key.as_str());
        let ttl = i64::try_from(self.ttl.as_secs()).ok()?;
        let exp = now.as_millis().div_euclid(1000) + ttl;
        let claims = Claims { path, exp, nbf: None, tier: None, decision_id: Some(decision) };
        token::sign(&self.keys.current(), &self.kid, &claims)
    }
}

/// An object at an edge, with the decision that sent the listener there, and the token where there is one.
pub(super) fn object(edge_url: &str, key: &ObjectKey, decision: DecisionId, token: Option<&str>) -> String {
    let path = utf8_percent_encode(key.as_str(), SEGMENTS);
    match token {
        None => format!("{edge_url}/{path}?decision_id={decision}"),
        Some(token) => format!("{edge_url}{}{token}/{path}?decision_id={decision}", token::PATH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_by_segment() {
        let id: DecisionId = "01935b0e-0000-7000-8000-000000000000".parse().unwrap();
        let key = ObjectKey::new("müsik/a b?c#d%/♪.m4a").unwrap();
        assert_eq!(
            object("http://fra-1:7200", &key, id, None),
            "http://fra-1:7200/m%C3%BCsik/a%20b%3Fc%23d%25/%E2%99%AA.m4a?decision_id=01935b0e-0000-7000-8000-000000000000"
        );
    }

    #[test]
    fn a_token_covers_the_folder() {
        let path = std::env::temp_dir().join(format!("router-url-keys-{}.json", std::process::id()));
        let set = token::keys::with_new(token::keys::Kind::Hmac, "k", None).unwrap();
        std::fs::write(&path, &set).unwrap();
        let keys = UrlKeys::load(&path, Some("k")).unwrap();
        assert!(UrlKeys::load(&path, Some("other")).is_err());
        std::fs::remove_file(&path).unwrap();
        let signer = Signer::new(Arc::new(keys), "k", Duration::from_secs(60));
        let (id, key) = (DecisionId::generate(), ObjectKey::new("a/b/master.m3u8").unwrap());
        let made = signer.token(&key, id, Timestamp::from_millis(1_000_000).unwrap()).unwrap();
        let claims = token::read(&signer.keys().current(), &made).unwrap();
        assert_eq!((claims.path.as_str(), claims.exp, claims.decision_id), ("/a/b/", 1060, Some(id)));
        let url = object("http://e", &key, id, Some(&made));
        assert_eq!(url, format!("http://e/.tonearm/t/{made}/a/b/master.m3u8?decision_id={id}"));
    }
}
