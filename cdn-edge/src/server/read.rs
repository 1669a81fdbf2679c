//! Answers made from objects: whole, a part, several parts, or no body at all.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use service::Problem;
use wire::Timestamp;

use super::answer::{Answered, Answerer, Wanted};
use crate::body::{EdgeBody, MediaBody, PartsBody};
use crate::cache::pieces;
use crate::cache_status::{self, CacheNote};
use crate::conditions::{self, Verdict, evaluate, range_holds};
use crate::delivery::Subject;
use crate::delivery::transcript::Transcript;
use crate::library::open::{How, OpenError, Opened, Outcome};
use crate::library::wish::{Wants, Wish};
use crate::loops::{self, CDN_LOOP};
use crate::multipart::{Parts, boundary};
use crate::object::Object;
use crate::origin::OriginError;
use crate::origin::upload::Upload;
use crate::reader::{Reader, Source};
use crate::respond::{self, ObjectFields};
use crate::version;

/// Chunks that `Cache-Status` speaks for, 128 MiB: a header is not worth a walk through a huge object.
const NOTED: usize = 512;

/// What of an object is sent.
enum Selection {
    Whole,
    Part(Range<u64>),
    Parts(Vec<Range<u64>>),
}

#[allow(clippy::large_enum_variant, reason = "it lives for a moment, and the large one is the common one")]
enum Offer {
    Ready(Answered),
    /// Only the origin knows whether what is asked for is there.
    Doubted,
    /// Nothing is missing but the first bytes.
    Pending(Reader, Selection, CacheNote),
}

/// What of the object the request is for.
fn wants(wanted: &Wanted<'_>) -> Wants {
    match &wanted.ranges {
        _ if wanted.arrival.head => Wants::Head,
        Some(ranges) => Wants::Part(ranges.first()),
        None => Wants::Whole,
    }
}

impl Answerer {
    pub(super) fn find(&self, wanted: &Wanted<'_>) -> Option<Opened> {
        let range = wanted.ranges.as_ref().map(crate::range::Ranges::first);
        self.shared.library.find(&wanted.key, &wanted.head.headers, &wanted.asked, range, wanted.arrival.started_at)
    }

    /// What is held may need no wait at all; what does is the rarer case, and boxed.
    pub(super) async fn held(&self, wanted: &Wanted<'_>, mut opened: Opened) -> Answered {
        if let Some(own) = opened.own.take() {
            let mut answered = Box::pin(self.held(wanted, opened)).await;
            answered.tell(&own);
            return answered;
        }
        let (behind, cold) = (opened.how == How::Behind, matches!(opened.how, How::Cold(_) | How::Replaced(_)));
        let offer = self.offer(wanted, opened);
        // Only now, or a newer version would take the first bytes away before they are read.
        if behind {
            self.shared.library.refresh_behind(&self.wish(wanted));
        }
        match offer {
            Offer::Ready(answered) => answered,
            Offer::Doubted => Box::pin(self.pass(wanted, Upload::none())).await,
            // What lies on disk is a hit, and what was just opened has its room.
            Offer::Pending(reader, selection, note) if cold || note.all_held => {
                Box::pin(self.read_first(wanted, reader, selection, note)).await
            }
            Offer::Pending(reader, selection, note) => {
                let Some(_room) = self.shared.admission.admit(wants(wanted), reader.has_a_fill()) else {
                    return self.overloaded(wanted);
                };
                Box::pin(self.read_first(wanted, reader, selection, note)).await
            }
        }
    }

    pub(super) fn wish(&self, wanted: &Wanted<'_>) -> Wish {
        let library = &self.shared.library;
        let headers = match library.origin.is_web() {
            true => self.upstream(wanted),
            false => {
                let passed = wanted.head.headers.get_all(CDN_LOOP).iter();
                passed.map(|value| (CDN_LOOP, value.clone())).collect()
            }
        };
        Wish {
            key: wanted.key.to_key(),
            headers,
            wants: wants(wanted),
            asked: wanted.asked,
            since: library.changes(),
            asking: library.ask(),
            interim: self.interim(),
        }
    }

    pub(super) async fn open_and_answer(&self, wanted: &Wanted<'_>) -> Answered {
        if self.is_loop(wanted) {
            return respond::problem(&respond::looped()).into();
        }
        let wish = self.wish(wanted);
        let joins = self.shared.library.is_being_opened(&wish);
        let Some(_room) = self.shared.admission.admit(wish.wants, joins) else { return self.overloaded(wanted) };
        let limit = self.shared.http.request_timeout.0;
        let opened = tokio::time::timeout(limit, self.open(wish)).await;
        match opened.unwrap_or(Err(OpenError::Origin(OriginError::Timeout("to make the object known")))) {
            Ok(Outcome::Object(opened)) => self.held(wanted, opened).await,
            Ok(Outcome::Passed(answer, why)) => self.passed(wanted, *answer, why),
            Err(error) => self.failed(wanted, Subject::Key(wanted.key.to_key()), &error),
        }
    }

    /// We have passed the request on before; what is held would have been served all the same.
    pub(super) fn is_loop(&self, wanted: &Wanted<'_>) -> bool {
        loops::is_loop(&wanted.head.headers, &self.shared.library.gateway.cdn_id)
    }

    /// An object that changed while it was asked about is asked for once more, as the new one it is.
    async fn open(&self, wish: Wish) -> Result<Outcome, OpenError> {
        match self.shared.library.open(wish.clone()).await {
            Err(OpenError::Origin(OriginError::Changed)) => self.shared.library.open(wish).await,
            outcome => outcome,
        }
    }

    /// The answer, as far as it needs no byte of the object that is not in memory.
    fn offer(&self, wanted: &Wanted<'_>, opened: Opened) -> Offer {
        let object = opened.object.clone();
        let selection = match self.select(wanted, &opened) {
            Ok(selection) => selection,
            Err(Some(answered)) => return Offer::Ready(*answered),
            Err(None) => return Offer::Doubted,
        };
        let whole;
        let ranges = match &selection {
            Selection::Whole => {
                whole = 0..object.size().unwrap_or(u64::MAX);
                std::slice::from_ref(&whole)
            }
            Selection::Part(range) => std::slice::from_ref(range),
            Selection::Parts(ranges) => ranges,
        };
        let mut reader = Reader::new(self.shared.library.clone(), object, ranges[0].clone());
        if matches!(opened.how, How::Cold(_) | How::Replaced(_)) && !opened.collapsed {
            reader.started_the_fill();
        }
        let bodiless = wanted.arrival.head || reader.left() == Some(0);
        // Looked for before all else: where it is all there is, nothing else need be looked at.
        let ready = if bodiless { None } else { reader.ready() };
        let note = self.note(&opened, ranges, ready.as_ref().map_or(0, Bytes::len));
        if wanted.asked.only_if_cached && !wanted.arrival.head && !note.all_held {
            return Offer::Ready(self.not_held(wanted));
        }
        if bodiless {
            return Offer::Ready(self.without_body(wanted, &reader, note));
        }
        if !note.all_held {
            // From here on its fill knows that it is followed, also where its first bytes are there already.
            reader.follow();
            if self.shared.library.origin.is_web() {
                reader.ask_as(self.wish(wanted).unconditional());
            }
        }
        match ready {
            Some(first) => Offer::Ready(self.with_body(wanted, first, reader, selection, note)),
            None => Offer::Pending(reader, selection, note),
        }
    }

    /// What is sent of the object; preconditions and ranges are for answers that have what was asked for
    /// (RFC 9110, sections 13.2.1 and 14.2). Or the answer that takes its place; none where the origin has to give it.
    fn select(&self, wanted: &Wanted<'_>, opened: &Opened) -> Result<Selection, Option<Box<Answered>>> {
        let (object, headers) = (&opened.object, &wanted.head.headers);
        let head = object.head();
        if !head.status.is_success() {
            return Ok(Selection::Whole);
        }
        let dated = || conditions::date(&head.headers(), http::header::DATE);
        match evaluate(headers, head.validators(), dated) {
            Verdict::Proceed => {}
            Verdict::NotModified => return Err(Some(Box::new(self.not_modified(wanted, opened)))),
            // RFC 9111, section 4.3.2: what fails here may hold of what the origin has.
            Verdict::PreconditionFailed if self.may_have_another(wanted, opened) => return Err(None),
            Verdict::PreconditionFailed => return Err(Some(Box::new(self.precondition_failed(wanted, object)))),
        }
        let is_strong = || version::strong(&head.headers()).is_some();
        let ranges = wanted.ranges.as_ref().filter(|_| range_holds(headers, head.validators(), is_strong));
        let (Some(ranges), Some(size), StatusCode::OK) = (ranges, object.size(), head.status) else {
            return Ok(Selection::Whole);
        };
        let mut parts = ranges.select(size);
        match parts.len() {
            0 => Err(Some(Box::new(self.unsatisfiable(wanted, object, size)))),
            1 => Ok(Selection::Part(parts.swap_remove(0))),
            _ => Ok(Selection::Parts(parts)),
        }
    }

    /// The origin was not asked for this, and can be.
    fn may_have_another(&self, wanted: &Wanted<'_>, opened: &Opened) -> bool {
        let unasked = matches!(opened.how, How::Held | How::Stale | How::Behind);
        unasked && self.shared.library.origin.is_web() && !wanted.asked.only_if_cached
    }

    /// Waits for the first bytes before the head is sent: up to here a failure still has a status.
    async fn read_first(
        &self,
        wanted: &Wanted<'_>,
        mut reader: Reader,
        selection: Selection,
        note: CacheNote,
    ) -> Answered {
        match self.first(&mut reader).await {
            Ok(first) => self.with_body(wanted, first, reader, selection, note),
            // Purged or replaced before its first bytes were read: the new one is what is asked for.
            Err(OriginError::Changed) => Box::pin(self.read_anew(wanted)).await,
            Err(error) => self.failed(wanted, Subject::Object(reader.object().clone()), &error.into()),
        }
    }

    async fn first(&self, reader: &mut Reader) -> Result<Bytes, OriginError> {
        let first = tokio::time::timeout(self.shared.http.request_timeout.0, reader.next()).await;
        first.unwrap_or(Err(OriginError::Timeout("to bring the first bytes"))).map(Option::unwrap_or_default)
    }

    /// Once more from the start, and no more than once.
    async fn read_anew(&self, wanted: &Wanted<'_>) -> Answered {
        if wanted.asked.only_if_cached {
            return self.not_held(wanted);
        }
        let opened = tokio::time::timeout(self.shared.http.request_timeout.0, self.open(self.wish(wanted))).await;
        let opened = match opened.unwrap_or(Err(OpenError::Origin(OriginError::Changed))) {
            Ok(Outcome::Object(opened)) => opened,
            Ok(Outcome::Passed(answer, why)) => return self.passed(wanted, *answer, why),
            Err(error) => return self.failed(wanted, Subject::Key(wanted.key.to_key()), &error),
        };
        match self.offer(wanted, opened) {
            Offer::Ready(answered) => answered,
            Offer::Doubted => Box::pin(self.pass(wanted, Upload::none())).await,
            Offer::Pending(mut reader, selection, note) => match self.first(&mut reader).await {
                Ok(first) => self.with_body(wanted, first, reader, selection, note),
                Err(error) => self.failed(wanted, Subject::Object(reader.object().clone()), &error.into()),
            },
        }
    }

    /// Looks at no more than [`NOTED`] chunks, and no further than the answer is clear: of what lies beyond, only an object
    /// that is whole on disk is known to have it. The first bytes are `ready`.
    fn note(&self, opened: &Opened, ranges: &[Range<u64>], ready: usize) -> CacheNote {
        let (how, collapsed) = (opened.how, opened.collapsed);
        let Some(size) = opened.object.size().filter(|_| !matches!(how, How::Cold(_) | How::Replaced(_))) else {
            return CacheNote { how, all_held: false, some_held: false, collapsed };
        };
        let cache = &self.shared.library.cache;
        let (mut some_held, mut all_held) = (ready > 0, true);
        let rest = ranges[0].start + ready as u64..ranges[0].end;
        let mut left = pieces(&rest).chain(ranges[1..].iter().flat_map(pieces));
        for (chunk, from, to) in left.by_ref().take(NOTED) {
            match cache.holds_part(&opened.object, chunk, from, to) {
                true => some_held = true,
                false => all_held = false,
            }
            if some_held && !all_held {
                break;
            }
        }
        all_held &= left.next().is_none() || opened.object.disk_bytes() == size;
        CacheNote { how, all_held, some_held, collapsed }
    }

    fn with_body(
        &self,
        wanted: &Wanted<'_>,
        first: Bytes,
        reader: Reader,
        selection: Selection,
        note: CacheNote,
    ) -> Answered {
        let object = reader.object().clone();
        let collapsed = note.collapsed || reader.source() == Source::Joined;
        let fields = self.object_fields(wanted, &object, CacheNote { collapsed, ..note });
        let (size, held_status) = (object.size(), object.head().status);
        let (status, start) = match &selection {
            Selection::Whole => (held_status, 0),
            Selection::Part(range) => (StatusCode::PARTIAL_CONTENT, range.start),
            Selection::Parts(ranges) => (StatusCode::PARTIAL_CONTENT, ranges[0].start),
        };
        let transcript = Transcript::new(wanted.arrival.clone(), Subject::Object(object), status.as_u16(), start);
        let media = |first, reader| EdgeBody::Media(MediaBody::new(first, reader, transcript.clone()));
        let (response, fields) = match (selection, size) {
            (Selection::Part(range), Some(size)) => respond::part(fields, &range, size, media(first, reader)),
            (Selection::Parts(ranges), Some(size)) => {
                let (boundary, mut headers) = (boundary(), fields.to_map());
                let content_type = headers.remove(http::header::CONTENT_TYPE);
                let parts = Parts::new(&ranges, size, content_type.as_ref(), &boundary);
                let length = parts.len();
                transcript.saw(reader.source());
                // What was read to see that there is something is read again, from memory.
                let body = EdgeBody::Parts(Box::new(PartsBody::new(parts, reader, transcript.clone())));
                respond::parts(headers, &boundary, length, body)
            }
            (_, size) => respond::whole(held_status, fields, size, media(first, reader)),
        };
        Answered { response, fields, transcript: Some(transcript) }
    }

    /// HEAD, and the empty object.
    fn without_body(&self, wanted: &Wanted<'_>, reader: &Reader, note: CacheNote) -> Answered {
        let object = reader.object();
        let status = object.head().status;
        let cold = matches!(note.how, How::Cold(_) | How::Replaced(_));
        let note = CacheNote { all_held: note.all_held || !cold, ..note };
        let fields = self.object_fields(wanted, object, note);
        let transcript = self.transcript(wanted, object, status);
        transcript.saw(if cold { reader.source().max(Source::Joined) } else { Source::Memory });
        let size = object.size().filter(|_| status != StatusCode::NO_CONTENT);
        let (response, fields) = respond::whole(status, fields, size, EdgeBody::empty());
        Answered { response, fields, transcript: Some(transcript) }
    }

    fn not_modified(&self, wanted: &Wanted<'_>, opened: &Opened) -> Answered {
        let cold = matches!(opened.how, How::Cold(_) | How::Replaced(_));
        let note = CacheNote { how: opened.how, all_held: !cold, some_held: false, collapsed: opened.collapsed };
        let fields = self.object_fields(wanted, &opened.object, note);
        let transcript = self.transcript(wanted, &opened.object, StatusCode::NOT_MODIFIED);
        transcript.saw(if note.all_held { Source::Memory } else { Source::Filled });
        Answered::with(respond::not_modified(fields), transcript)
    }

    fn object_fields(&self, wanted: &Wanted<'_>, object: &Object, note: CacheNote) -> ObjectFields {
        let now = match note.how {
            How::Held => wanted.arrival.started_at,
            // It was made or refreshed after the request came in.
            _ => Timestamp::now(),
        };
        let mut fields = ObjectFields::new(object, now);
        cache_status::of_object(&mut fields, &self.shared.edge, object, note, now);
        fields
    }

    fn transcript(&self, wanted: &Wanted<'_>, object: &Arc<Object>, status: StatusCode) -> Arc<Transcript> {
        Transcript::new(wanted.arrival.clone(), Subject::Object(object.clone()), status.as_u16(), 0)
    }

    fn precondition_failed(&self, wanted: &Wanted<'_>, object: &Arc<Object>) -> Answered {
        let status = StatusCode::PRECONDITION_FAILED;
        let problem = Problem::new(status, "precondition-failed", "the object is not the one that is asked for");
        Answered::with(respond::problem(&problem), self.transcript(wanted, object, status))
    }

    fn unsatisfiable(&self, wanted: &Wanted<'_>, object: &Arc<Object>, size: u64) -> Answered {
        let transcript = self.transcript(wanted, object, StatusCode::RANGE_NOT_SATISFIABLE);
        Answered::with(respond::unsatisfiable(size), transcript)
    }

    /// RFC 9111, section 5.2.1.7.
    pub(super) fn not_held(&self, wanted: &Wanted<'_>) -> Answered {
        let status = StatusCode::GATEWAY_TIMEOUT;
        let problem = Problem::new(status, "only-if-cached", "nothing is held that could answer without the origin");
        let subject = Subject::Key(wanted.key.to_key());
        let transcript = Transcript::new(wanted.arrival.clone(), subject, status.as_u16(), 0);
        let mut response = respond::problem(&problem);
        cache_status::of_not_held(response.headers_mut(), &self.shared.edge);
        Answered::with(response, transcript)
    }

    pub(super) fn overloaded(&self, wanted: &Wanted<'_>) -> Answered {
        self.shared.library.metrics.refused_overload.increment(1);
        self.failed(wanted, Subject::Key(wanted.key.to_key()), &OriginError::Overloaded.into())
    }

    pub(super) fn failed(&self, wanted: &Wanted<'_>, subject: Subject, error: &OpenError) -> Answered {
        let problem = respond::open_problem(error);
        let transcript = Transcript::new(wanted.arrival.clone(), subject, problem.status.as_u16(), 0);
        let mut response = respond::problem(&problem);
        cache_status::of_failure(response.headers_mut(), &self.shared.edge, error);
        Answered::with(response, transcript)
    }
}
