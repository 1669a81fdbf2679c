//! Checking what a request shows against the snapshot.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::Query;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri, header};
use serde::Deserialize;
use service::Problem;
use service::auth::bearer;

use super::Keys;
use super::grant::{Grant, Kind};
use super::rate::Allowance;
use super::snapshot::Entry;
use crate::privacy::Pseudonyms;

/// A key that was shown and is good.
#[derive(Debug, Clone)]
pub(crate) struct Keyed(Arc<Entry>);

/// Who asks for statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reader {
    Operator,
    /// By the id that the app gives its users, not its hash.
    User(String),
}

impl Reader {
    /// # Errors
    /// 403 unless it is an operator or the user in question.
    pub(crate) fn may_read(&self, user_id: &str) -> Result<(), Problem> {
        match self {
            Self::Operator => Ok(()),
            Self::User(own) if own == user_id => Ok(()),
            Self::User(_) => {
                let detail = "a user's statistics are read with that user's token or an operator's";
                Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
            }
        }
    }
}

#[derive(Deserialize)]
struct KeyInQuery {
    key: Option<String>,
}

impl Keys {
    /// The write key of a request, from its header or its query.
    ///
    /// # Errors
    /// 401 for none or a wrong one, 403 from a page that it does not allow, 503 before any key is known.
    pub(crate) fn write(&self, uri: &Uri, headers: &HeaderMap) -> Result<Keyed, Problem> {
        let Some(shown) = shown(uri, headers) else {
            return Err(Problem::unauthorized("a write key is needed, as Authorization: Bearer KEY or ?key=KEY"));
        };
        let key = self.find(&shown, Kind::Write)?.ok_or_else(|| Problem::unauthorized("the write key is wrong"))?;
        if key.allows_page(headers) {
            return Ok(key);
        }
        let detail = "the key may not be used by pages of this Origin; `tonearm keys` sets those that may";
        Err(Problem::new(StatusCode::FORBIDDEN, "origin-refused", detail))
    }

    /// Whether a page may read the answer: not where its origin is the reason of a refusal.
    pub(crate) fn allows_page(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let key = shown(uri, headers).and_then(|shown| self.find(&shown, Kind::Write).ok().flatten());
        key.is_none_or(|key| key.allows_page(headers))
    }

    /// The user whose token this is; none for what is no user's token.
    ///
    /// # Errors
    /// 503 before any key is known.
    pub(crate) fn user(&self, token: &str) -> Result<Option<Keyed>, Problem> {
        self.find(token, Kind::User)
    }

    /// # Errors
    /// 401 unless the request shows an operator's token or the admin token.
    pub(crate) fn operator(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self.reader(headers)? {
            Reader::Operator => Ok(()),
            Reader::User(_) => Err(Problem::unauthorized("this takes an operator's token, not a user's")),
        }
    }

    /// Who asks, by an operator's, a user's or the admin token.
    ///
    /// # Errors
    /// 401 for none or a wrong one, 503 before any key is known.
    pub(crate) fn reader(&self, headers: &HeaderMap) -> Result<Reader, Problem> {
        let Some(shown) = token(headers) else {
            return Err(Problem::unauthorized("a token is needed, as Authorization: Bearer TOKEN"));
        };
        if self.admin.check(headers).is_ok() {
            return Ok(Reader::Operator);
        }
        match self.entry(shown)?.as_deref().map(|entry| &entry.key.grant) {
            Some(Grant::Operator) => Ok(Reader::Operator),
            Some(Grant::User { user_id, .. }) => Ok(Reader::User(user_id.clone())),
            Some(Grant::Write { .. }) => Err(Problem::unauthorized("a write key posts events and reads nothing")),
            None => Err(Problem::unauthorized("the token is wrong")),
        }
    }

    /// What users and devices are hashed with.
    ///
    /// # Errors
    /// 503 before any key is known.
    pub(crate) fn pseudonyms(&self) -> Result<Arc<Pseudonyms>, Problem> {
        self.snapshots.current().pseudonyms.clone().ok_or_else(nothing_read)
    }

    fn find(&self, secret: &str, kind: Kind) -> Result<Option<Keyed>, Problem> {
        Ok(self.entry(secret)?.filter(|entry| entry.key.grant.kind() == kind).map(Keyed))
    }

    fn entry(&self, secret: &str) -> Result<Option<Arc<Entry>>, Problem> {
        let snapshot = self.snapshots.current();
        if snapshot.confirmed_at.is_none() {
            return Err(nothing_read());
        }
        Ok(snapshot.find(secret))
    }
}

fn shown<'h>(uri: &Uri, headers: &'h HeaderMap) -> Option<Cow<'h, str>> {
    let in_query = || Query::<KeyInQuery>::try_from_uri(uri).ok().and_then(|query| query.0.key);
    bearer(headers).map(Cow::Borrowed).or_else(|| in_query().map(Cow::Owned))
}

fn nothing_read() -> Problem {
    Problem::unavailable("no keys have been read yet, so none can be checked", 2)
}

/// The credential of `Authorization: Bearer …`, or of `Authorization: Token …`, which `ListenBrainz` clients write.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    let known = ["bearer", "token"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    known.then(|| credential.trim())
}

impl Keyed {
    /// What goes into every event.
    pub(crate) fn app(&self) -> &str {
        self.0.key.grant.app().unwrap_or_default()
    }

    /// Whose token it is, by the id that the app gives its users; none for a write key.
    pub(crate) fn user_id(&self) -> Option<&str> {
        self.0.key.grant.user_id()
    }

    /// What is no browser sends no `Origin` and may use any key that it has.
    fn allows_page(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let allowed = |origin: &str| self.0.key.grant.origins().iter().any(|pattern| pattern.allows(origin));
        origin.to_str().is_ok_and(allowed)
    }

    /// Takes the price of a request with so many events; none beforehand tells whether any could be posted.
    ///
    /// # Errors
    /// 429 with `Retry-After` where the key has posted too many.
    pub(crate) fn spend(&self, events: usize) -> Result<(), Problem> {
        let Some(rate) = self.0.key.grant.rate() else { return Ok(()) };
        let cost = u32::try_from(events).unwrap_or(u32::MAX);
        self.0.bucket.take(rate, cost, Instant::now()).map_err(|refused| refused.problem())
    }

    /// What may still be posted; none where there is no limit.
    pub(crate) fn allowance(&self) -> Option<Allowance> {
        self.0.key.grant.rate().map(|rate| self.0.bucket.allowance(rate, Instant::now()))
    }

    /// The answer with what the key may still post in its `RateLimit` headers.
    pub(crate) fn stamp(&self, mut answer: Response) -> Response {
        if let (Some(allowance), Some(policy)) = (self.allowance(), &self.0.policy) {
            allowance.write(policy.clone(), answer.headers_mut());
        }
        answer
    }
}
