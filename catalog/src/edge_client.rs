//! Orders to edges, at their operators' address.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Serialize;
use service::client::{Answer, ApiClient};
use wire::ObjectKey;
use wire::track::{WarmAnswer, WarmOrder, WarmResult};

/// The longest account of a failure that is kept, in bytes.
const MAX_WORDS: usize = 500;

/// Why an edge did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EdgeError {
    /// It may the next time.
    #[error("{0}")]
    Transient(String),
    /// It will not, however often it is asked.
    #[error("{0}")]
    Refused(String),
}

#[derive(Serialize)]
struct PurgeOrder<'a> {
    keys: &'a [ObjectKey],
}

#[derive(Debug, Clone)]
pub(crate) struct EdgeClient {
    api: ApiClient,
}

impl EdgeClient {
    /// `timeout` is for one order, from the connection to the answer's last byte.
    pub(crate) fn new(timeout: Duration, admin_token: &str) -> Self {
        Self { api: ApiClient::new(timeout).with_bearer(admin_token) }
    }

    /// Has the edge hold these objects whole; the bytes it then holds of them.
    pub(crate) async fn warm(&self, admin_url: &str, keys: &[ObjectKey]) -> Result<u64, EdgeError> {
        let order = WarmOrder { keys: keys.iter().map(ToString::to_string).collect() };
        let answer = self.post(&format!("{admin_url}/v1/warm"), &order).await?;
        let answer: WarmAnswer = answer.json().map_err(|e| EdgeError::Transient(words(&e)))?;
        held(keys, &answer.results)
    }

    /// Has the edge drop these objects.
    pub(crate) async fn purge(&self, admin_url: &str, keys: &[ObjectKey]) -> Result<(), EdgeError> {
        self.post(&format!("{admin_url}/v1/purge"), &PurgeOrder { keys }).await.map(drop)
    }

    async fn post(&self, url: &str, order: &impl Serialize) -> Result<Answer, EdgeError> {
        let answer = self.api.send_json(Method::POST, url, order).await;
        let answer = answer.map_err(|e| EdgeError::Transient(words(&e)))?;
        let status = answer.status;
        answer
            .success()
            .map_err(|e| if is_final(status) { EdgeError::Refused(words(&e)) } else { EdgeError::Transient(words(&e)) })
    }
}

/// A 4xx says that the order is wrong, but for those that say "later".
fn is_final(status: StatusCode) -> bool {
    let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !later.contains(&status)
}

/// Whether the edge now holds every key, and how many bytes that is.
fn held(keys: &[ObjectKey], results: &[WarmResult]) -> Result<u64, EdgeError> {
    let mut bytes = 0_u64;
    for key in keys {
        let result = results.iter().find(|result| result.key == key.as_str());
        match result.map(|result| (result.bytes, &result.error)) {
            Some((Some(size), None)) => bytes = size.saturating_add(bytes),
            Some((_, Some(error))) => return Err(EdgeError::Transient(cut(format!("{key}: {error}")))),
            Some((None, None)) | None => {
                return Err(EdgeError::Transient(cut(format!("{key}: not held, and no reason given"))));
            }
        }
    }
    Ok(bytes)
}

/// The causes alone: the outermost context is the edge's address, which the row's edge names already.
fn words(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let inner = if causes.len() > 1 { &causes[1..] } else { &causes[..] };
    cut(inner.join(": "))
}

/// PostgreSQL takes no NUL, and nobody reads a page of error.
fn cut(text: String) -> String {
    let mut text = text.replace('\0', " ");
    text.truncate(text.floor_char_boundary(MAX_WORDS));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    fn result(text: &str, bytes: Option<u64>, error: Option<&str>) -> WarmResult {
        WarmResult { key: text.into(), bytes, fetched: 0, error: error.map(Into::into) }
    }

    #[test]
    fn an_edge_is_warm_when_it_holds_every_key() {
        let keys = [key("a"), key("b")];
        let both = [result("b", Some(2), None), result("a", Some(1), None)];
        assert_eq!(held(&keys, &both).unwrap(), 3);
        for lacking in [vec![], vec![both[1].clone()], vec![both[1].clone(), result("b", None, None)]] {
            assert!(held(&keys, &lacking).is_err(), "{lacking:?}");
        }
        let failed = [both[1].clone(), result("b", None, Some("origin: 503"))];
        assert_eq!(held(&keys, &failed).unwrap_err().to_string(), "b: origin: 503");
    }

    #[test]
    fn only_a_wrong_order_is_final() {
        for (status, expected) in [(400, true), (401, true), (404, true), (408, false), (429, false), (503, false)] {
            assert_eq!(is_final(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn words_are_short_and_storable() {
        let text = cut("é\0".repeat(1000));
        assert!(text.len() <= MAX_WORDS && !text.contains('\0'));
    }
}
