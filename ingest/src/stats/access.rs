//! Who may ask what: operators everything, a user what is about itself. And where a token may stand.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use service::Problem;
use wire::live::LIVE_PROTOCOL;

use crate::keys::Keys;
use crate::keys::check::Reader;

/// Before the token in a list of WebSocket subprotocols.
const IN_PROTOCOL: &str = "bearer.";

/// # Errors
/// 401 without a token or with a wrong one, 403 for one that is no operator's.
pub(super) fn operator(keys: &Keys, headers: &HeaderMap) -> Result<(), Problem> {
    match keys.reader(headers)? {
        Reader::Operator => Ok(()),
        Reader::User(_) => {
            let detail = "this takes an operator's token; a user's opens /v1/stats/users/{id} with that user's id";
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
    }
}

/// An operator's token, for a stream that may outlive it.
#[derive(Debug)]
pub(super) struct Pass {
    keys: Arc<Keys>,
    /// The `Authorization` header alone.
    shown: HeaderMap,
}

impl Pass {
    /// # Errors
    /// As [`operator`].
    pub(super) fn check(keys: Arc<Keys>, headers: &HeaderMap) -> Result<Self, Problem> {
        operator(&keys, headers)?;
        let token = headers.get(header::AUTHORIZATION).cloned();
        Ok(Self { keys, shown: token.into_iter().map(|token| (header::AUTHORIZATION, token)).collect() })
    }

    /// Whether the token no longer opens; not while that cannot be told.
    pub(super) fn is_revoked(&self) -> bool {
        operator(&self.keys, &self.shown).is_err_and(|problem| problem.status.is_client_error())
    }
}

/// The request's headers with its token in `Authorization`, wherever it stood: browsers can set no header
/// on a WebSocket or an `EventSource`, so live figures take it as `?key=` or as a subprotocol too.
pub(super) fn with_token<'a>(uri: &Uri, headers: &'a HeaderMap) -> Cow<'a, HeaderMap> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Cow::Borrowed(headers);
    }
    let Some(token) = in_protocols(headers).or_else(|| in_query(uri)) else { return Cow::Borrowed(headers) };
    let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}")) else { return Cow::Borrowed(headers) };
    value.set_sensitive(true);
    let mut headers = headers.clone();
    headers.insert(header::AUTHORIZATION, value);
    Cow::Owned(headers)
}

fn in_query(uri: &Uri) -> Option<String> {
    let pairs = url::form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.into_iter().find(|(name, _)| name == "key").map(|(_, value)| value.into_owned())
}

/// As `new WebSocket(url, ["tonearm.live.v1", "bearer.TOKEN"])` sends it; the answer names the first alone.
fn in_protocols(headers: &HeaderMap) -> Option<String> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let protocols: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    let token = protocols.iter().find_map(|protocol| protocol.strip_prefix(IN_PROTOCOL))?;
    // A browser fails the connection unless one of those that it offered is chosen, and that is never the token.
    protocols.contains(&LIVE_PROTOCOL).then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_wherever_a_browser_can_put_it() {
        let found = |uri: &str, name: &str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            let uri: Uri = uri.parse().unwrap();
            let shown = with_token(&uri, &headers);
            service::auth::bearer(&shown).map(str::to_owned)
        };
        let is = |uri: &str, name: &str, value: &str, token: Option<&str>| {
            assert_eq!(found(uri, name, value).as_deref(), token, "{uri} {name}: {value}");
        };
        is("/x", "authorization", "Bearer a", Some("a"));
        is("/x?key=b", "authorization", "Bearer a", Some("a"));
        is("/x?pop=fra&key=b%2B", "host", "h", Some("b+"));
        is("/x", "sec-websocket-protocol", "tonearm.live.v1, bearer.c", Some("c"));
        is("/x", "sec-websocket-protocol", "bearer.c,tonearm.live.v1", Some("c"));
        is("/x", "sec-websocket-protocol", "bearer.c", None);
        is("/x?key=%0a", "host", "h", None);
        is("/x", "host", "h", None);
    }
}
