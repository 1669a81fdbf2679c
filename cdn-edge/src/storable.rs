//! Whether an answer may be stored in a shared cache (RFC 9111, section 3), and what of it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use crate::directives::ResponseDirectives;
use crate::freshness::{Policy, is_heuristic};
use crate::{forward, vary};

/// Of the request, what decides.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub authorization: bool,
    pub no_store: bool,
}

/// Why an answer is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    #[error("the method")]
    Method,
    #[error("the status")]
    Status,
    #[error("no-store in the request")]
    RequestNoStore,
    #[error("no-store")]
    NoStore,
    #[error("private")]
    Private,
    #[error("authorization")]
    Authorization,
    #[error("vary")]
    Vary,
    /// It sets a cookie, and the origin has not said that others may have it.
    #[error("set-cookie")]
    Cookie,
    /// Neither told nor guessed to be fresh for a moment, and nothing to ask about it by.
    #[error("no freshness")]
    NoFreshness,
    /// What it is about was changed or purged while it was on its way.
    #[error("outdated")]
    Outdated,
}

/// Whether the answer may be stored.
///
/// # Errors
/// The first rule that forbids it.
pub fn storable(
    asked: Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    said: &ResponseDirectives,
    policy: &Policy,
) -> Result<(), NotStored> {
    if *asked.method != Method::GET {
        return Err(NotStored::Method);
    }
    if asked.no_store {
        return Err(NotStored::RequestNoStore);
    }
    let understood = is_understood(status);
    if status.is_informational() || is_about_the_request(status) || (said.must_understand && !understood) {
        return Err(NotStored::Status);
    }
    // Section 5.2.2.3: who understands the status may ignore the no-store that is there for those who do not.
    if said.no_store && !said.must_understand {
        return Err(NotStored::NoStore);
    }
    if said.private.is_all() {
        return Err(NotStored::Private);
    }
    if asked.authorization && !said.shares_authorized() {
        return Err(NotStored::Authorization);
    }
    if !vary::is_storable(headers) {
        return Err(NotStored::Vary);
    }
    if !(policy.explicit || said.public || is_heuristic(status)) {
        return Err(NotStored::Status);
    }
    // RFC 9111, section 7.3, warns of it; a guess is no leave to give one client's cookie to all.
    if headers.contains_key(header::SET_COOKIE) && !(policy.explicit || said.public) {
        return Err(NotStored::Cookie);
    }
    let askable = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let windows = !policy.while_revalidate.is_zero() || policy.if_error.is_some();
    if policy.lifetime.is_zero() && !askable && !windows {
        return Err(NotStored::NoFreshness);
    }
    Ok(())
}

/// RFC 9110, sections 9.3.3 and 15.3.1 with RFC 9111, section 3: an answer to POST that says it is what a
/// GET of the same URI would get, and for how long.
#[must_use]
pub fn post_is_get(status: StatusCode, headers: &HeaderMap, policy: &Policy, same_uri: bool) -> bool {
    let names_itself = headers.contains_key(header::CONTENT_LOCATION) && same_uri;
    status == StatusCode::OK && names_itself && policy.explicit && !policy.lifetime.is_zero()
}

/// Answers to what one request carried beside its key, its conditions, its range, its length or its pace: nobody else's,
/// whatever they say of themselves (RFC 6585, too, for its own).
#[must_use]
pub fn is_about_the_request(status: StatusCode) -> bool {
    matches!(status.as_u16(), 304 | 408 | 412 | 413 | 416 | 417 | 428 | 429 | 431 | 511)
}

/// The final statuses of RFC 9110, whose caching behaviour is implemented here.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=206 | 300..=305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505)
}

/// What is left out of what is stored, beside what belongs to one connection: the fields that
/// `no-cache` and `private` name, for they must not be used again unasked (section 5.2.2).
pub fn strip(headers: &mut HeaderMap, said: &ResponseDirectives) {
    for name in named(said) {
        headers.remove(name);
    }
    const NEVER: [HeaderName; 2] = [header::PROXY_AUTHENTICATE, HeaderName::from_static("proxy-authentication-info")];
    NEVER.iter().for_each(|name| drop(headers.remove(name)));
}

/// Those of them that [`strip`] leaves out by name: whoever asked gets them all the same.
#[must_use]
pub fn for_one(headers: &HeaderMap, said: &ResponseDirectives) -> Option<Arc<HeaderMap>> {
    const OURS: [HeaderName; 5] =
        [header::AGE, header::CONTENT_LENGTH, header::CONTENT_RANGE, header::DATE, header::TRAILER];
    let mut named = named(said).filter(|name| !OURS.contains(name));
    let first = named.find(|name| headers.contains_key(*name))?;
    let (mut all, mut own) = (headers.clone(), HeaderMap::new());
    forward::end_to_end(&mut all);
    for name in std::iter::once(first).chain(named) {
        own.extend(all.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        all.remove(name);
    }
    Some(Arc::new(own))
}

fn named(said: &ResponseDirectives) -> impl Iterator<Item = &HeaderName> {
    said.no_cache.fields().iter().chain(said.private.fields())
}

#[cfg(test)]
mod tests {
    use wire::Timestamp;

    use super::*;
    use crate::freshness;

    struct Case<'a> {
        status: u16,
        authorization: bool,
        headers: &'a [(&'static str, &'a str)],
    }

    fn get<'a>(status: u16, headers: &'a [(&'static str, &'a str)]) -> Case<'a> {
        Case { status, authorization: false, headers }
    }

    fn verdict(case: &Case<'_>) -> Result<(), NotStored> {
        let headers: HeaderMap =
            case.headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let said = ResponseDirectives::of(&headers);
        let status = StatusCode::from_u16(case.status).unwrap();
        let policy = freshness::policy(status, &headers, &said, Timestamp::now(), None);
        let asked = Asked { method: &Method::GET, authorization: case.authorization, no_store: false };
        storable(asked, status, &headers, &said, &policy)
    }

    #[test]
    fn rfc9111_3_storing_responses() {
        use NotStored::{Authorization, Cookie, NoFreshness, NoStore, Private, Status, Vary};
        let fresh = ("cache-control", "max-age=60");
        for (case, wanted) in [
            (get(200, &[fresh]), Ok(())),
            (get(599, &[fresh]), Ok(())),
            (get(302, &[fresh]), Ok(())),
            (get(302, &[("etag", "\"a\"")]), Err(Status)),
            (get(302, &[("etag", "\"a\""), ("cache-control", "public")]), Ok(())),
            (get(304, &[fresh]), Err(Status)),
            (get(412, &[fresh]), Err(Status)),
            (get(416, &[fresh]), Err(Status)),
            (get(431, &[fresh]), Err(Status)),
            (get(200, &[("last-modified", "Fri, 20 Nov 2020 09:00:00 GMT"), ("set-cookie", "a=1")]), Err(Cookie)),
            (get(200, &[fresh, ("set-cookie", "a=1")]), Ok(())),
            (get(200, &[]), Err(NoFreshness)),
            (get(200, &[("etag", "\"a\"")]), Ok(())),
            (get(404, &[("last-modified", "Fri, 20 Nov 2020 09:00:00 GMT")]), Ok(())),
            (get(200, &[("cache-control", "no-store, max-age=60")]), Err(NoStore)),
            (get(200, &[("cache-control", "private, max-age=60")]), Err(Private)),
            (get(200, &[("cache-control", "private=\"x\", max-age=60")]), Ok(())),
            (get(200, &[("cache-control", "must-understand, no-store, max-age=60")]), Ok(())),
            (get(599, &[("cache-control", "must-understand, no-store, max-age=60")]), Err(Status)),
            (get(200, &[fresh, ("vary", "*")]), Err(Vary)),
            (get(200, &[fresh, ("vary", "accept, *")]), Err(Vary)),
            (get(200, &[("cache-control", "max-age=0, stale-while-revalidate=9")]), Ok(())),
        ] {
            assert_eq!(verdict(&case), wanted, "{} {:?}", case.status, case.headers);
        }
        for (cache_control, wanted) in [
            ("max-age=60", Err(Authorization)),
            ("max-age=60, public", Ok(())),
            ("max-age=60, must-revalidate", Ok(())),
            ("s-maxage=60", Ok(())),
        ] {
            let case = Case { status: 200, authorization: true, headers: &[("cache-control", cache_control)] };
            assert_eq!(verdict(&case), wanted, "{cache_control}");
        }
    }

    #[test]
    fn rfc9111_5_2_2_named_fields_are_not_stored() {
        let mut headers: HeaderMap =
            [("cache-control", "no-cache=\"a\", private=\"b\""), ("a", "1"), ("b", "2"), ("c", "3")]
                .into_iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
                .collect();
        let said = ResponseDirectives::of(&headers);
        strip(&mut headers, &said);
        assert!(!headers.contains_key("a") && !headers.contains_key("b") && headers.contains_key("c"));
    }
}
