//! A request's target: which object of a bucket or which URI of a web origin, for which decision.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::percent_decode_str;
use wire::{DecisionId, FieldError};

/// The object's key as the path names it, percent-decoded once. Whether it is a key at all is asked
/// only where the cache does not know it: what is held has a valid one.
///
/// # Errors
/// [`FieldError`] naming `path` for encodings that are no UTF-8 or broken.
pub fn key_text(uri: &Uri) -> Result<Cow<'_, str>, FieldError> {
    let path = uri.path().strip_prefix('/').unwrap_or(uri.path());
    if !path.as_bytes().contains(&b'%') {
        return Ok(Cow::Borrowed(path));
    }
    if broken_escape(path) {
        return Err(FieldError::new("path", "has a % that two hex digits do not follow"));
    }
    percent_decode_str(path).decode_utf8().map_err(|_| FieldError::new("path", "is no UTF-8 once percent-decoded"))
}

/// The decoder would take a broken escape for plain text, and a cache behind us for something else.
fn broken_escape(path: &str) -> bool {
    path.split('%').skip(1).any(|rest| {
        let digits = rest.as_bytes().get(..2);
        !digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Path and query as they were sent. In a fleet the router's own parameter and what a player says of itself
/// are left out: they are different for every listener and mean nothing to the origin.
#[must_use]
pub fn target(uri: &Uri, in_fleet: bool) -> Cow<'_, str> {
    let whole = uri.path_and_query().map_or("/", |target| target.as_str());
    let own = |pair: &str| pair.starts_with("decision_id=") || pair.starts_with("CMCD=");
    let Some(query) = uri.query().filter(|query| in_fleet && query.split('&').any(own)) else {
        return Cow::Borrowed(whole);
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !own(pair)).collect();
    let mark = if kept.is_empty() { "" } else { "?" };
    Cow::Owned(format!("{}{mark}{}", uri.path(), kept.join("&")))
}

/// The `decision_id` of the query; one that is no UUID is no reason to refuse audio.
#[must_use]
pub fn decision_id(uri: &Uri) -> Option<DecisionId> {
    let mut pairs = uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("decision_id="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once() {
        let key = |uri: &'static str| key_text(&Uri::from_static(uri)).map(Cow::into_owned);
        assert_eq!(key("/t/1/a.m4a?x=1").unwrap(), "t/1/a.m4a");
        assert_eq!(key("/a%20b").unwrap(), "a b");
        assert_eq!(key("/a%252e").unwrap(), "a%2e");
        assert_eq!(key("/a%2F..%2Fb").unwrap(), "a/../b");
        for bad in ["/a%", "/a%2", "/a%zz", "/%ff%fe", "/a%2"] {
            assert_eq!(key(bad).unwrap_err().field, "path", "{bad}");
        }
    }

    #[test]
    fn finds_the_decision() {
        let id = DecisionId::generate();
        let with = |query: String| decision_id(&format!("/k?{query}").parse().unwrap());
        assert_eq!(with(format!("a=b&decision_id={id}")), Some(id));
        assert_eq!(with("decision_id=junk".into()), None);
        assert_eq!(with("xdecision_id=1".into()), None);
    }

    #[test]
    fn targets_stay_as_they_were_sent() {
        let id = DecisionId::generate();
        let uri: Uri = format!("/a%2F../b?x=1&decision_id={id}&&y").parse().unwrap();
        assert_eq!(target(&uri, false), format!("/a%2F../b?x=1&decision_id={id}&&y"));
        assert_eq!(target(&uri, true), "/a%2F../b?x=1&&y");
        assert_eq!(target(&format!("/a?decision_id={id}").parse().unwrap(), true), "/a");
        assert_eq!(target(&"/a?CMCD=br%3D1&x".parse().unwrap(), true), "/a?x");
    }
}
