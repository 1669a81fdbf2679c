//! `Idempotency-Key`: a request that is sent again under its key gets the first one's answer.
//!
//! Answers are kept for an hour, the latest 20,000 of them and at most 16 MiB, in this process alone. That
//! saves work and tells a client what became of a request whose answer it missed; what makes an event count
//! once is its `event_id`, through any process and for longer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use service::Problem;
use sha2::{Digest, Sha256};
use wire::event::BatchAnswer;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Tells that an answer is an earlier request's.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const KEEP: Duration = Duration::from_secs(3600);
const MAX_ANSWERS: usize = 20_000;
const MAX_BYTES: usize = 16 << 20;

type Id = [u8; 32];

/// What is known of the requests that had a key.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Known>);

/// The first request under its key, until it has its answer.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    answers: &'a Answers,
    id: Id,
}

/// Whose turn it is.
#[derive(Debug)]
pub(crate) enum Begin<'a> {
    /// Without a key.
    Unkeyed,
    First(Turn<'a>),
    Again(Response),
}

impl Answers {
    /// # Errors
    /// 400 for a key that is none, 409 while its first request runs, 422 where that had another body.
    pub(crate) fn begin(&self, headers: &HeaderMap, app: &str, path: &str, body: &[u8]) -> Result<Begin<'_>, Problem> {
        let Some(key) = key(headers)? else { return Ok(Begin::Unkeyed) };
        let id = digest(&[app.as_bytes(), path.as_bytes(), key]);
        match self.known().begin(id, digest(&[body]), Instant::now()) {
            Seen::Never => Ok(Begin::First(Turn { answers: self, id })),
            Seen::Answered(answer) => Ok(Begin::Again(answer.replay())),
            Seen::Running => Err(conflict()),
            Seen::Other => Err(other_body()),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Begin<'_> {
    /// The answer of an earlier request, or that of `work`, which is kept where it settles the matter.
    pub(crate) async fn answer(
        self,
        work: impl Future<Output = Result<Response, Problem>>,
    ) -> Result<Response, Problem> {
        match self {
            Self::Unkeyed => work.await,
            Self::Again(answer) => Ok(answer),
            Self::First(turn) => turn.end(work.await?).await,
        }
    }
}

impl Turn<'_> {
    async fn end(self, response: Response) -> Result<Response, Problem> {
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Problem::internal(&error))?.to_bytes();
        if settles(head.status, &body) {
            let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
            let answer = Answer { status: head.status, content_type, body: body.clone() };
            self.answers.known().keep(self.id, answer, Instant::now());
        }
        Ok(Response::from_parts(head, Body::from(body)))
    }
}

impl Drop for Turn<'_> {
    /// A request that failed or was given up may be tried again under its key.
    fn drop(&mut self) {
        self.answers.known().forget_running(self.id);
    }
}

/// Whether the same request would have the same answer for good.
fn settles(status: StatusCode, body: &[u8]) -> bool {
    let retryable = |answer: BatchAnswer| answer.errors.iter().any(|error| error.retryable);
    !status.is_server_error() && !serde_json::from_slice(body).is_ok_and(retryable)
}

/// # Errors
/// 400 for what is no key.
fn key(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut sent = headers.get_all(HEADER).iter();
    let Some(key) = sent.next() else { return Ok(None) };
    let legal = |byte: &u8| (b' '..=b'~').contains(byte);
    if sent.next().is_some() || !(1..=255).contains(&key.len()) || !key.as_bytes().iter().all(legal) {
        let detail = "must be one of 1 to 255 printable ASCII characters";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-field", detail).at("Idempotency-Key"));
    }
    Ok(Some(key.as_bytes()))
}

fn conflict() -> Problem {
    let detail = "the first request with this Idempotency-Key is still being answered";
    Problem::new(StatusCode::CONFLICT, "idempotency-conflict", detail)
        .at("Idempotency-Key")
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn other_body() -> Problem {
    let detail = "this Idempotency-Key was used with another body; a new request needs a new key";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail).at("Idempotency-Key")
}

fn digest(parts: &[&[u8]]) -> Id {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl Answer {
    fn replay(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        if let Some(content_type) = self.content_type {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        response
    }
}

/// Requests by their keys; pure but for its memory.
#[derive(Debug, Default)]
struct Known {
    requests: HashMap<Id, Request>,
    /// Those that were answered, the oldest first.
    answered: VecDeque<(Instant, Id)>,
    bytes: usize,
}

#[derive(Debug)]
struct Request {
    body: Id,
    answer: Option<Answer>,
}

#[derive(Debug)]
enum Seen {
    Never,
    Running,
    Other,
    Answered(Answer),
}

impl Known {
    fn begin(&mut self, id: Id, body: Id, now: Instant) -> Seen {
        self.expire(now);
        match self.requests.get(&id) {
            None => {
                self.requests.insert(id, Request { body, answer: None });
                Seen::Never
            }
            Some(known) if known.body != body => Seen::Other,
            Some(Request { answer: None, .. }) => Seen::Running,
            Some(Request { answer: Some(answer), .. }) => Seen::Answered(answer.clone()),
        }
    }

    fn keep(&mut self, id: Id, answer: Answer, now: Instant) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        self.bytes += answer.body.len();
        request.answer = Some(answer);
        self.answered.push_back((now, id));
        self.expire(now);
    }

    fn forget_running(&mut self, id: Id) {
        if self.requests.get(&id).is_some_and(|request| request.answer.is_none()) {
            self.requests.remove(&id);
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, id)) = self.answered.front().copied() {
            let room = self.answered.len() <= MAX_ANSWERS && self.bytes <= MAX_BYTES;
            if room && now.saturating_duration_since(since) < KEEP {
                return;
            }
            self.answered.pop_front();
            if let Some(Request { answer: Some(answer), .. }) = self.requests.remove(&id) {
                self.bytes -= answer.body.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Answer {
        Answer { status: StatusCode::ACCEPTED, content_type: None, body: vec![b'x'; bytes].into() }
    }

    fn id(n: u64) -> Id {
        digest(&[&n.to_le_bytes()])
    }

    #[test]
    fn a_key_is_running_then_answered_then_forgotten() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert!(matches!(known.begin(id(1), id(10), now), Seen::Never));
        assert!(matches!(known.begin(id(1), id(10), now), Seen::Running));
        assert!(matches!(known.begin(id(1), id(11), now), Seen::Other));
        known.keep(id(1), answer(3), now);
        known.forget_running(id(1));
        let Seen::Answered(kept) = known.begin(id(1), id(10), now) else { panic!("not kept") };
        assert_eq!(&kept.body[..], b"xxx");
        assert!(matches!(known.begin(id(1), id(11), now), Seen::Other));
        assert!(matches!(known.begin(id(1), id(11), now + KEEP), Seen::Never));
        known.forget_running(id(1));
        assert!(matches!(known.begin(id(1), id(10), now + KEEP), Seen::Never));
        assert_eq!((known.bytes, known.answered.len()), (0, 0));
    }

    #[test]
    fn memory_is_bounded_by_count_and_bytes() {
        let (mut known, now) = (Known::default(), Instant::now());
        for n in 0..MAX_ANSWERS as u64 + 10 {
            known.begin(id(n), id(0), now);
            known.keep(id(n), answer(10), now);
        }
        assert_eq!((known.requests.len(), known.answered.len()), (MAX_ANSWERS, MAX_ANSWERS));
        assert!(matches!(known.begin(id(0), id(0), now), Seen::Never));
        for n in 0..40 {
            known.begin(id(1 << 40 | n), id(0), now);
            known.keep(id(1 << 40 | n), answer(1 << 20), now);
        }
        assert!(known.bytes <= MAX_BYTES && known.requests.len() <= 18);
    }

    #[test]
    fn only_what_settles_the_matter_is_kept() {
        let retry = |retryable: bool| {
            format!(
                r#"{{"accepted":1,"errors":[{{"index":0,"status":503,"type":"t","detail":"d","retryable":{retryable}}}]}}"#
            )
        };
        assert!(settles(StatusCode::ACCEPTED, b"{\"accepted\":1,\"errors\":[]}"));
        assert!(settles(StatusCode::MULTI_STATUS, retry(false).as_bytes()));
        assert!(!settles(StatusCode::MULTI_STATUS, retry(true).as_bytes()));
        assert!(!settles(StatusCode::SERVICE_UNAVAILABLE, b"{}"));
    }
}
