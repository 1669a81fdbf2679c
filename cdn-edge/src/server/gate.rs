//! Signed URLs: whoever has no token for what is asked for gets a 403 that says why.
//!
//! The token is taken out of the request before anything else sees it, so it is no part of the cache's key
//! and reaches neither the origin nor a log. Signatures that were found right are remembered, a few thousand
//! of them and without a lock: a listener's next segment costs a hash and a comparison.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use percent_encoding::percent_decode_str;
use service::auth::same_secret;
use service::url_keys::UrlKeys;
use wire::token::keys::KeySet;
use wire::token::{self, Claims, NAME, PATH, Refusal};
use wire::{DecisionId, Timestamp};

/// Tokens remembered, at up to 4 KiB each; one that falls on another's place is checked again each time.
const KNOWN: usize = 4096;

#[derive(Debug)]
pub struct Gate {
    keys: Arc<UrlKeys>,
    hasher: RandomState,
    known: Box<[ArcSwapOption<Known>]>,
}

/// A token whose signature is right by these keys.
#[derive(Debug)]
struct Known {
    token: Box<str>,
    keys: Arc<KeySet>,
    claims: Claims,
}

/// The decision that a token was made for.
#[derive(Debug, Clone, Copy)]
struct Decided(DecisionId);

impl Gate {
    #[must_use]
    pub fn new(keys: Arc<UrlKeys>) -> Self {
        let known = (0..KNOWN).map(|_| ArcSwapOption::empty()).collect();
        Self { keys, hasher: RandomState::new(), known }
    }

    /// Takes the token out of a request that it opens. What asks how to ask (`OPTIONS`) needs none.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admit(&self, head: &mut Parts, now: Timestamp) -> Result<(), Refusal> {
        let (uri, cookies) = (head.uri.clone(), head.headers.clone_of(header::COOKIE));
        let found = in_path(&uri).map(|(token, _)| token).or_else(|| in_query(&uri)).or_else(|| in_cookies(&cookies));
        take_out(head);
        if head.method == Method::OPTIONS {
            return Ok(());
        }
        let known = self.read(found.ok_or(Refusal::Unsigned)?)?;
        let path = percent_decode_str(head.uri.path()).decode_utf8().map_err(|_| Refusal::Path)?;
        known.claims.open(&path, now.as_millis().div_euclid(1000))?;
        if let Some(decision) = known.claims.decision_id {
            head.extensions.insert(Decided(decision));
        }
        Ok(())
    }

    fn read(&self, token: &str) -> Result<Arc<Known>, Refusal> {
        let keys = self.keys.current();
        #[allow(clippy::cast_possible_truncation, reason = "any part of a hash is as good")]
        let place = &self.known[self.hasher.hash_one(token) as usize % KNOWN];
        if let Some(known) = place.load_full()
            && Arc::ptr_eq(&known.keys, &keys)
            && same_secret(&known.token, token)
        {
            return Ok(known);
        }
        let claims = token::read(&keys, token)?;
        let known = Arc::new(Known { token: token.into(), keys: keys.clone(), claims });
        place.store(Some(known.clone()));
        Ok(known)
    }
}

/// The decision of the token that a request had.
#[must_use]
pub fn decision(head: &Parts) -> Option<DecisionId> {
    head.extensions.get::<Decided>().map(|decided| decided.0)
}

/// The values of one field, which live on when the head is changed.
trait CloneOf {
    fn clone_of(&self, name: header::HeaderName) -> Vec<HeaderValue>;
}

impl CloneOf for HeaderMap {
    fn clone_of(&self, name: header::HeaderName) -> Vec<HeaderValue> {
        self.get_all(name).iter().cloned().collect()
    }
}

/// The token, and the path without it.
fn in_path(uri: &Uri) -> Option<(&str, &str)> {
    let rest = uri.path().strip_prefix(PATH)?;
    Some(rest.find('/').map_or((rest, "/"), |at| rest.split_at(at)))
}

fn in_query(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(value)
}

fn in_cookies(cookies: &[HeaderValue]) -> Option<&str> {
    let crumbs = cookies.iter().filter_map(|cookie| cookie.to_str().ok()).flat_map(|cookie| cookie.split(';'));
    crumbs.map(str::trim).find_map(value)
}

fn value(pair: &str) -> Option<&str> {
    pair.strip_prefix(NAME)?.strip_prefix('=')
}

fn take_out(head: &mut Parts) {
    if let Some(target) = without(&head.uri) {
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.path_and_query = Some(target);
        // A path in the place of another keeps a URI whole.
        head.uri = Uri::from_parts(parts).unwrap_or_default();
    }
    let names = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(NAME) || text.contains(PATH));
    if head.headers.get_all(header::COOKIE).iter().any(names) {
        let kept: Vec<HeaderValue> = head.headers.get_all(header::COOKIE).iter().filter_map(crumbs).collect();
        head.headers.remove(header::COOKIE);
        for cookie in kept {
            head.headers.append(header::COOKIE, cookie);
        }
    }
    // Pages and playlists tell where they were found.
    if head.headers.get_all(header::REFERER).iter().any(names) {
        head.headers.remove(header::REFERER);
    }
}

/// The target without its token; none where it has none.
fn without(uri: &Uri) -> Option<PathAndQuery> {
    let path = in_path(uri).map(|(_, rest)| rest);
    let query = in_query(uri).and(uri.query());
    if path.is_none() && query.is_none() {
        return None;
    }
    let kept: Vec<&str> =
        uri.query().into_iter().flat_map(|query| query.split('&')).filter(|pair| value(pair).is_none()).collect();
    let path = path.unwrap_or(uri.path());
    let target = match kept.is_empty() {
        true => Cow::Borrowed(path),
        false => Cow::Owned(format!("{path}?{}", kept.join("&"))),
    };
    // Parts of a target make one.
    Some(PathAndQuery::try_from(target.as_ref()).unwrap_or(PathAndQuery::from_static("/")))
}

fn crumbs(cookie: &HeaderValue) -> Option<HeaderValue> {
    let Ok(text) = cookie.to_str() else { return Some(cookie.clone()) };
    let kept: Vec<&str> = text.split(';').map(str::trim).filter(|crumb| value(crumb).is_none()).collect();
    (!kept.is_empty()).then(|| HeaderValue::try_from(kept.join("; ")).ok())?
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn taken(uri: &str, headers: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        take_out(&mut head);
        let left = head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        (head.uri.to_string(), left.collect())
    }

    #[test]
    fn nothing_of_the_token_is_left() {
        for (uri, left) in [
            ("/.tonearm/t/a.b.c/x/y%2Fz?q=1", "/x/y%2Fz?q=1"),
            ("/.tonearm/t/a.b.c", "/"),
            ("/.tonearm/t/a.b.c/", "/"),
            ("/x?tonearm_token=a.b.c", "/x"),
            ("/x?a&tonearm_token=a&b=c&tonearm_token=d", "/x?a&b=c"),
            ("/.tonearm/t/a/x?tonearm_token=b", "/x"),
            ("http://host:81/.tonearm/t/a/x", "http://host:81/x"),
            ("/x?tonearm_tokens=1&a=tonearm_token=2", "/x?tonearm_tokens=1&a=tonearm_token=2"),
        ] {
            assert_eq!(taken(uri, &[]).0, left, "{uri}");
        }
        let headers = [
            ("cookie", "a=b; tonearm_token=x;c=d"),
            ("cookie", "tonearm_token=y"),
            ("referer", "https://e/.tonearm/t/a.b.c/x.m3u8"),
            ("accept", "*/*"),
        ];
        let left = [("cookie".to_owned(), "a=b; c=d".to_owned()), ("accept".to_owned(), "*/*".to_owned())];
        let mut found = taken("/x", &headers).1;
        found.sort_by(|one, other| other.cmp(one));
        assert_eq!(found, left);
    }
}
