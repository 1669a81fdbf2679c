//! Requests that the origin answers and answers that are for one client alone: passed on as they come.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Body as _;
use wire::Timestamp;

use super::answer::{Answered, Answerer, Wanted};
use crate::body::EdgeBody;
use crate::cache_status;
use crate::delivery::Subject;
use crate::delivery::transcript::Transcript;
use crate::library::open::{Forward, Opened};
use crate::library::wish::{CONDITIONS, Wants, Wish};
use crate::object::Head;
use crate::origin::upload::Upload;
use crate::origin::{Answer, Ask};
use crate::reader::Source;
use crate::respond;

impl Answerer {
    /// The request's head as the origin gets it.
    pub(super) fn upstream(&self, wanted: &Wanted<'_>) -> HeaderMap {
        let head = wanted.head;
        let read = matches!(head.method, Method::GET | Method::HEAD);
        self.shared.library.gateway.upstream(&head.headers, &wanted.key, self.client, head.version, read)
    }

    /// Asks the origin, once, and does to what is held what the answer demands.
    pub(super) async fn pass(&self, wanted: &Wanted<'_>, body: Upload) -> Answered {
        if self.is_loop(wanted) {
            return respond::problem(&respond::looped()).into();
        }
        let Some(_room) = self.shared.admission.admit(Wants::Head, false) else { return self.overloaded(wanted) };
        let method = wanted.head.method.clone();
        let key = wanted.key.to_key();
        let mut headers = self.upstream(wanted);
        count_down(&mut headers);
        if body.size_hint().exact().is_none() {
            // Whoever told a length beside another framing told two.
            headers.remove(header::CONTENT_LENGTH);
        }
        let (since, asking) = (self.shared.library.changes(), self.shared.library.ask());
        let interim = self.interim();
        let ask = Ask { method: method.clone(), body, interim, ..Ask::get(key.clone(), headers.clone()) };
        let answer = match self.shared.library.origin.ask(ask).await {
            Ok(answer) => answer,
            Err(error) => {
                return match self.stand_in(wanted, &headers, false) {
                    Some(opened) => self.held(wanted, opened).await,
                    None => self.failed(wanted, Subject::Key(key), &error.into()),
                };
            }
        };
        if answer.status.is_server_error()
            && let Some(opened) = self.stand_in(wanted, &headers, true)
        {
            return self.held(wanted, opened).await;
        }
        let library = &self.shared.library;
        let purged = library.is_purged(&key, &answer.headers, &asking);
        let fine = answer.status.is_success() || answer.status.is_redirection();
        if !method.is_safe() && fine {
            library.invalidate(&key, &answer.headers);
        }
        let why = if method == Method::HEAD { Forward::UriMiss } else { Forward::Method };
        match method {
            Method::HEAD => {
                let wish = Wish { key, headers, wants: Wants::Head, asked: wanted.asked, since, asking, interim: None };
                library.note_head(&wish, &answer);
                self.passed(wanted, answer, why)
            }
            Method::POST if !purged && !is_choosy(wanted) => {
                match library.keep_post(&key, headers, answer, wanted.asked, asking) {
                    // No read, and so no delivery.
                    Ok(opened) => Answered { transcript: None, ..self.held(wanted, opened).await },
                    Err(answer) => self.passed(wanted, *answer, why),
                }
            }
            _ => self.passed(wanted, answer, why),
        }
    }

    /// Of a read, what is held may be served where the origin has failed (RFC 5861, section 4).
    fn stand_in(&self, wanted: &Wanted<'_>, headers: &HeaderMap, answered: bool) -> Option<Opened> {
        let is_read = wanted.head.method == Method::HEAD;
        is_read.then(|| self.shared.library.stand_in(&wanted.key, headers, answered)).flatten()
    }

    /// An answer as it came, but for what is of the connection.
    pub(super) fn passed(&self, wanted: &Wanted<'_>, answer: Answer, why: Forward) -> Answered {
        let Answer { status, mut headers, body, .. } = answer;
        if self.shared.library.origin.is_web() {
            self.shared.library.gateway.downstream(&mut headers);
            Head::date(&mut headers, Timestamp::now());
            if self.shared.cors {
                for (name, value) in respond::cors() {
                    name.map(|name| headers.entry(name).or_insert(value));
                }
            }
        } else {
            for (name, value) in respond::shared_head() {
                name.map(|name| headers.entry(name).or_insert(value));
            }
        }
        cache_status::of_passed(&mut headers, &self.shared.edge, why, status);
        let response = match status {
            // 101 was not asked for.
            status if status.is_informational() => respond::problem(&respond::senseless()),
            _ => respond::answer(status, headers, EdgeBody::Passed(Box::new(body))),
        };
        let transcript = self.pass_transcript(wanted, &response);
        Answered { response, fields: None, transcript }
    }

    /// Reads are recorded, other methods are no deliveries.
    fn pass_transcript(&self, wanted: &Wanted<'_>, response: &Response<EdgeBody>) -> Option<Arc<Transcript>> {
        if !matches!(wanted.head.method, Method::GET | Method::HEAD) {
            return None;
        }
        let status = response.status();
        let subject = Subject::Key(wanted.key.to_key());
        let transcript = Transcript::new(wanted.arrival.clone(), subject, status.as_u16(), 0);
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            transcript.saw(Source::Filled);
        }
        Some(transcript)
    }
}

/// What the request says of the answer that a GET would get: to a POST, the origin has answered it already.
fn is_choosy(wanted: &Wanted<'_>) -> bool {
    let fields = &wanted.head.headers;
    let conditional = CONDITIONS.iter().any(|name| fields.contains_key(name));
    conditional || wanted.ranges.is_some() || wanted.asked.only_if_cached
}

/// RFC 9110, section 7.6.2; at 0 the request does not come this far.
fn count_down(headers: &mut HeaderMap) {
    let left = headers.get(header::MAX_FORWARDS).and_then(|left| left.to_str().ok()?.parse::<u32>().ok());
    if let Some(left) = left.and_then(|left| left.checked_sub(1)) {
        headers.insert(header::MAX_FORWARDS, HeaderValue::from(left));
    }
}
