//! Asking the origin about one key, and making of its answer what it allows.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use wire::Timestamp;

use super::open::{Forward, Hold, How, OpenError, Opened, Outcome};
use super::wish::{Wants, Wish};
use super::{Library, Passing};
use crate::directives::ResponseDirectives;
use crate::fill::Fill;
use crate::fill::run::{Source, source};
use crate::freshness::Policy;
use crate::key::KeyRef;
use crate::object::chunks::MOST;
use crate::object::{CHUNK, Description, Head, Object};
use crate::origin::{Answer, Ask, ContentRange, OF_THE_CONTENT, OriginError};
use crate::storable::{Asked, NotStored, for_one, is_about_the_request, storable, strip};
use crate::vary::Selectors;
use crate::{cmsd, vary, version};

/// How long a stale object is served without asking an origin that has just failed.
const EXCUSED_MS: i64 = 2000;

/// What came of asking.
pub(super) struct Fetched {
    pub(super) outcome: Result<Outcome, OpenError>,
    pub(super) shared: ForOthers,
    /// Who asks next will not be able to share either.
    pub(super) remember_to_pass: Option<Passing>,
    pub(super) begun: Option<Begun>,
}

/// What those who waited make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForOthers {
    /// The same.
    Yes,
    /// Each asks for itself.
    No,
    /// One of them asks for all others: what came was of no use by our own fault.
    AskAgain,
    /// The same, without the conditions of its own that made the answer of no use.
    AskPlainly,
    /// The same, but for those who are authorized: each of these asks for itself.
    AskUnauthorized,
}

/// A fill that is left to be run.
pub(super) struct Begun {
    pub(super) object: Arc<Object>,
    pub(super) fill: Arc<Fill>,
    pub(super) source: Source,
}

impl Fetched {
    fn failed(error: impl Into<OpenError>) -> Self {
        Self { outcome: Err(error.into()), shared: ForOthers::Yes, remember_to_pass: None, begun: None }
    }

    fn opened(object: Arc<Object>, how: How, shareable: bool) -> Self {
        let outcome = Ok(Outcome::Object(Opened { object, how, collapsed: false, hold: None, own: None }));
        let shared = if shareable { ForOthers::Yes } else { ForOthers::No };
        Self { outcome, shared, remember_to_pass: (!shareable).then_some(Passing::Confirmed), begun: None }
    }

    /// With what the answer says to who asked alone.
    fn telling(mut self, own: Option<Arc<HeaderMap>>) -> Self {
        if let Ok(Outcome::Object(opened)) = &mut self.outcome {
            opened.own = own;
        }
        self
    }

    /// From here on it has a reader, who may yet be on the way to it.
    pub(super) fn hold(&mut self, library: &Arc<Library>) {
        if let Ok(Outcome::Object(opened)) = &mut self.outcome {
            let fill = self.begun.as_ref().map(|begun| begun.fill.follow());
            opened.hold = Some(Hold::new(library, &opened.object, fill));
        }
    }
}

impl Library {
    pub(super) async fn fetch(&self, wish: &Wish) -> Fetched {
        let held = self.held_under(&wish.key.as_ref().as_ref());
        let unheld = if held.is_some() { Forward::VaryMiss } else { Forward::UriMiss };
        match held.and_then(|held| held.select(&wish.headers)) {
            None => self.fetch_cold(wish, unheld).await,
            Some(object) if !self.suits(&object, wish) => self.fetch_cold(wish, Forward::Partial).await,
            Some(object) => self.revalidate(wish, object).await,
        }
    }

    async fn fetch_cold(&self, wish: &Wish, why: Forward) -> Fetched {
        if self.origin.is_web() {
            // What is passed on is asked for as the client did.
            let headers = if self.is_passing(wish) { wish.headers.clone() } else { wish.cold_web() };
            let as_asked = headers == wish.headers;
            let ask = Ask { interim: wish.interim.clone(), ..Ask::get(wish.key.clone(), headers) };
            return match self.ask_upstream(ask).await {
                Ok(answer) => {
                    let fetched = self.take(wish, answer, why, How::Cold(why));
                    if as_asked { fetched } else { self.as_asked(wish, fetched).await }
                }
                Err(error) => Fetched::failed(error),
            };
        }
        match self.ask_bucket(wish).await {
            Ok(answer) => self.take_from_bucket(wish, answer, why, How::Cold(why)).await,
            Err(error) => Fetched::failed(error),
        }
    }

    /// What is passed on must be a part that the client asked for, and the only one: more than that was asked for, and of
    /// several the first alone.
    async fn as_asked(&self, wish: &Wish, mut fetched: Fetched) -> Fetched {
        let Ok(Outcome::Passed(passed, _)) = &mut fetched.outcome else { return fetched };
        // What another version has at this place is not asked for (RFC 9110, section 13.1.5).
        let unconditional = !wish.headers.contains_key(header::IF_RANGE);
        let is_wanted = |part: &ContentRange| wish.only_range(part.size).is_some_and(|wanted| wanted == part.bytes);
        let fits = |part: &ContentRange| unconditional && is_wanted(part);
        if passed.status != StatusCode::PARTIAL_CONTENT || passed.part.as_ref().is_some_and(fits) {
            return fetched;
        }
        let ask = Ask { interim: wish.interim.clone(), ..Ask::get(wish.key.clone(), wish.headers.clone()) };
        match self.ask_upstream(ask).await {
            Ok(answer) => **passed = answer,
            Err(error) => return Fetched::failed(error),
        }
        fetched
    }

    /// The answer to a first request. Past the end, or of an empty object, no range exists: what it is,
    /// the whole tells.
    async fn ask_bucket(&self, wish: &Wish) -> Result<Answer, OpenError> {
        let answer = self.ask_upstream(Ask::get(wish.key.clone(), wish.cold_bucket())).await?;
        match answer.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(OpenError::NotFound),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let whole = self.ask_upstream(Ask::get(wish.key.clone(), HeaderMap::new())).await?;
                match whole.status {
                    StatusCode::OK => Ok(whole),
                    StatusCode::NOT_FOUND | StatusCode::GONE => Err(OpenError::NotFound),
                    _ => Err(OriginError::Nonsense("a refusal of the whole object").into()),
                }
            }
            _ => Err(OriginError::Nonsense("an answer to a condition that was not set").into()),
        }
    }

    /// What may not be stored must be exactly what the client asked for, and is asked for again where it
    /// is not.
    async fn take_from_bucket(&self, wish: &Wish, answer: Answer, why: Forward, how: How) -> Fetched {
        let mut fetched = self.take(wish, answer, why, how);
        let Ok(Outcome::Passed(passed, _)) = &mut fetched.outcome else { return fetched };
        let whole = passed.part.as_ref().is_none_or(|part| part.bytes == (0..part.size));
        let wanted = |part: &ContentRange| wish.range().and_then(|range| range.select(part.size).part());
        let fits = passed.part.as_ref().is_some_and(|part| wanted(part).as_ref() == Some(&part.bytes));
        match (wish.wants, whole) {
            (Wants::Part(_), _) if fits => {}
            (Wants::Whole | Wants::Head, true) => {
                passed.status = StatusCode::OK;
                passed.headers.remove(header::CONTENT_RANGE);
            }
            _ => match self.ask_upstream(Ask::get(wish.key.clone(), wish.exact())).await {
                Ok(exact) => **passed = exact,
                Err(error) => return Fetched::failed(error),
            },
        }
        fetched
    }

    /// Makes an object of an answer, as far as that is allowed.
    pub(super) fn take(&self, wish: &Wish, mut answer: Answer, why: Forward, how: How) -> Fetched {
        let said = ResponseDirectives::of(&answer.headers);
        let policy = self.policy(answer.status, &answer.headers, &said);
        if let Err(reason) = self.may_store(wish, &answer, &said, &policy) {
            let (shared, remember_to_pass) = match reason {
                NotStored::RequestNoStore | NotStored::Outdated => (ForOthers::AskAgain, None),
                _ if is_about_the_request(answer.status) => (ForOthers::AskPlainly, None),
                NotStored::Authorization => (ForOthers::AskUnauthorized, Some(Passing::Authorized)),
                _ => (ForOthers::No, Some(Passing::All)),
            };
            if let (Some(range), Some(part)) = (wish.range(), &answer.part)
                && let Some(wanted) = range.select(part.size).part()
            {
                // More was asked for, as for what is held.
                answer.narrow(&wanted);
            }
            let outcome = Ok(Outcome::Passed(Box::new(answer), why));
            return Fetched { outcome, shared, remember_to_pass, begun: None };
        }
        let (object, own) = (self.object_of(wish, &answer, &said, policy), for_one(&answer.headers, &said));
        if answer.status == StatusCode::OK && wish.range().is_some() {
            object.found_to_ignore_ranges();
        }
        // First the fill: whoever finds the object finds what brings it.
        let begun = begin_fill(&object, answer);
        self.cache.publish(&object);
        let shareable = is_shareable(&object);
        if shareable {
            self.passing.invalidate(&wish.key);
        }
        Fetched { begun, ..Fetched::opened(object, how, shareable) }.telling(own)
    }

    fn may_store(
        &self,
        wish: &Wish,
        answer: &Answer,
        said: &ResponseDirectives,
        policy: &Policy,
    ) -> Result<(), NotStored> {
        storable(asked(wish), answer.status, &answer.headers, said, policy)?;
        if self.is_outdated(wish, &answer.headers) {
            return Err(NotStored::Outdated);
        }
        let size = answer.part.as_ref().map(|part| part.size).or(answer.length);
        let unreadable = answer.status == StatusCode::PARTIAL_CONTENT && answer.part.is_none();
        if unreadable || size.is_some_and(|size| size > self.max_object) {
            return Err(NotStored::Status);
        }
        Ok(())
    }

    fn object_of(&self, wish: &Wish, answer: &Answer, said: &ResponseDirectives, policy: Policy) -> Arc<Object> {
        let life = Self::life(policy, &answer.headers, answer.delay, &wish.asking);
        let mut headers = answer.headers.clone();
        let selectors = vary::selectors(&headers, &wish.headers);
        self.for_holding(&mut headers, said);
        if answer.part.is_some() {
            OF_THE_CONTENT.iter().for_each(|name| drop(headers.remove(*name)));
        }
        let (status, size) = match &answer.part {
            Some(part) => (StatusCode::OK, Some(part.size)),
            None => (answer.status, answer.length),
        };
        let description = Description::new(status, size, &headers, selectors).filled_by(answer.by.clone());
        let id = self.cache.new_id();
        Arc::new(Object::new(id, &wish.key.as_ref().as_ref(), description, life, &self.shared_head))
    }

    /// Leaves out of a head what is not held, and puts to it what it lacks.
    fn for_holding(&self, headers: &mut HeaderMap, said: &ResponseDirectives) {
        strip(headers, said);
        for name in [header::AGE, header::CONTENT_LENGTH, header::CONTENT_RANGE, header::TRAILER] {
            headers.remove(name);
        }
        if self.origin.is_web() {
            self.gateway.downstream(headers);
            Head::date(headers, Timestamp::now());
        } else {
            // hyper puts the time of each answer there.
            headers.remove(header::DATE);
        }
        if self.cmsd {
            cmsd::describe(headers);
        }
    }

    /// What is stale and may be served all the same, for the origin has failed; `answered` with an error.
    pub fn stand_in(&self, key: &KeyRef<'_>, request: &HeaderMap, answered: bool) -> Option<Opened> {
        let now = Timestamp::now();
        let object = self.held_for(key, request)?;
        let life = object.head().life();
        if life.is_fresh(now) || !life.may_stand_in(now, answered) {
            return None;
        }
        excuse(&object);
        Some(Opened { object, how: How::Away, collapsed: false, hold: None, own: None })
    }

    async fn revalidate(&self, wish: &Wish, held: Arc<Object>) -> Fetched {
        let now = Timestamp::now();
        let asked_for = held.head().life().is_fresh(now);
        let why = if asked_for { Forward::Request } else { Forward::Stale };
        let mut ask = Ask::get(wish.key.clone(), self.revalidation(wish, &held));
        ask.interim.clone_from(&wish.interim);
        if !self.origin.is_web() && held.size().is_some_and(|size| size > 0) {
            // A bucket that does not know conditions shows its validator by one byte as well.
            ask.headers.insert(header::RANGE, crate::origin::range_value(&(0..1)));
        }
        match self.ask_upstream(ask).await {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => self.not_modified(wish, held, answer, why).await,
            Ok(answer)
                if answer.status.is_server_error() && held.head().life().may_stand_in(now, true) && !asked_for =>
            {
                excused(held)
            }
            Ok(answer) if self.origin.is_web() => self.changed(wish, &held, answer, why),
            Ok(answer) => self.changed_in_bucket(wish, &held, answer, why).await,
            Err(_) if held.head().life().may_stand_in(now, false) && !asked_for => excused(held),
            Err(OriginError::Unreachable | OriginError::Broken | OriginError::Timeout(_))
                if !held.head().life().stale_allowed =>
            {
                Fetched::failed(OriginError::Unconfirmed)
            }
            Err(error) => Fetched::failed(error),
        }
    }

    fn revalidation(&self, wish: &Wish, held: &Object) -> HeaderMap {
        let mut headers = wish.unconditional();
        let head = held.head();
        if let Some(etag) = head.etag() {
            headers.insert(header::IF_NONE_MATCH, etag);
        }
        if let Some(modified) = head.field(&header::LAST_MODIFIED).filter(|_| self.origin.is_web()) {
            headers.insert(header::IF_MODIFIED_SINCE, modified);
        }
        headers
    }

    /// RFC 9111, section 4.3.4: a 304 about another version is none about ours.
    async fn not_modified(&self, wish: &Wish, held: Arc<Object>, answer: Answer, why: Forward) -> Fetched {
        let other = answer.headers.get(header::ETAG).is_some_and(|etag| Some(etag) != held.head().etag().as_ref());
        if other && !version::same(&held.head().headers(), &answer.headers) {
            self.cache.drop_version(&held);
            let wish = Wish { headers: wish.unconditional(), ..wish.clone() };
            return Box::pin(self.fetch_cold(&wish, why)).await;
        }
        match self.confirm(wish, &held, answer.headers, answer.delay, why) {
            Ok(confirmed) => confirmed,
            Err(_) => {
                let wish = Wish { headers: wish.unconditional(), ..wish.clone() };
                Box::pin(self.fetch_cold(&wish, why)).await
            }
        }
    }

    /// The version that is held still holds: its head becomes what the answer makes of it. Where that may not be
    /// stored, what is held stays as it was if this is for the request's sake, and goes if it is for the answer's.
    ///
    /// # Errors
    /// Why it may not be stored: the answer is then for this request alone.
    pub(super) fn confirm(
        &self,
        wish: &Wish,
        held: &Arc<Object>,
        mut newer: HeaderMap,
        delay: Duration,
        why: Forward,
    ) -> Result<Fetched, NotStored> {
        let mut dated = newer.clone();
        Head::date(&mut dated, Timestamp::now());
        let said = ResponseDirectives::of(&newer);
        let own = for_one(&newer, &said);
        self.for_holding(&mut newer, &said);
        newer.remove(header::VIA);
        let before = held.head().clone();
        let merged = before.updated(&newer, before.life());
        let headers = merged.headers();
        let said = ResponseDirectives::of(&headers);
        let policy = self.policy(merged.status, &headers, &said);
        if let Err(reason) = may_update(wish, held, merged.status, &headers, &said, &policy) {
            if !matches!(reason, NotStored::RequestNoStore | NotStored::Authorization) {
                self.cache.drop_version(held);
            }
            return Err(reason);
        }
        let life = Self::life(policy, &dated, delay, &wish.asking);
        let fields = headers != before.headers();
        held.refresh(merged.with_life(life));
        self.cache.disk.refreshed(held.clone(), fields);
        let shareable = is_shareable(held);
        if shareable {
            self.passing.invalidate(&wish.key);
        }
        Ok(Fetched::opened(held.clone(), How::Confirmed(why), shareable).telling(own))
    }

    /// The origin answered with something else, or with the same under no condition.
    fn changed(&self, wish: &Wish, held: &Arc<Object>, answer: Answer, why: Forward) -> Fetched {
        let same = answer.status == StatusCode::OK && held.head().status == StatusCode::OK;
        if same && version::same(&held.head().headers(), &answer.headers) && answer.length == held.size() {
            return match self.confirm(wish, held, answer.headers.clone(), answer.delay, why) {
                Ok(confirmed) => confirmed,
                Err(_) => self.take(wish, answer, why, How::Replaced(why)),
            };
        }
        // An error says nothing of what is held; anything else supersedes it.
        if !answer.status.is_server_error() {
            self.cache.drop_version(held);
        }
        self.take(wish, answer, why, How::Replaced(why))
    }

    async fn changed_in_bucket(&self, wish: &Wish, held: &Arc<Object>, answer: Answer, why: Forward) -> Fetched {
        let size = answer.part.as_ref().map(|part| part.size).or(answer.length);
        match answer.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT
                if size == held.size() && version::same(&held.head().headers(), &answer.headers) =>
            {
                match self.confirm(wish, held, answer.headers.clone(), answer.delay, why) {
                    Ok(confirmed) => confirmed,
                    // Its one byte is not what is asked for.
                    Err(_) => Box::pin(self.fetch_cold(wish, why)).await,
                }
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                self.cache.drop_version(held);
                Fetched::failed(OpenError::NotFound)
            }
            _ => {
                // Its one byte is no beginning to build on.
                drop(answer);
                self.cache.drop_version(held);
                match self.ask_bucket(wish).await {
                    Ok(answer) => self.take_from_bucket(wish, answer, why, How::Replaced(why)).await,
                    Err(error) => Fetched::failed(error),
                }
            }
        }
    }
}

/// Of the request, what decides whether its answer may be stored.
fn asked(wish: &Wish) -> Asked<'static> {
    let authorization = wish.headers.contains_key(header::AUTHORIZATION);
    Asked { method: &Method::GET, authorization, no_store: wish.asked.no_store }
}

/// Whether what is held may become what a newer answer makes of it: the same rules as for a first answer, and what it
/// varies by must be what this version was chosen by.
fn may_update(
    wish: &Wish,
    held: &Object,
    status: StatusCode,
    headers: &HeaderMap,
    said: &ResponseDirectives,
    policy: &Policy,
) -> Result<(), NotStored> {
    storable(asked(wish), status, headers, said, policy)?;
    let chosen = vary::selectors(headers, &wish.headers);
    let names = |selectors: &Selectors| selectors.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if names(&chosen) == names(held.selectors()) { Ok(()) } else { Err(NotStored::Vary) }
}

/// Whether those who waited may have it, too: they could have had it from what is held.
fn is_shareable(object: &Object) -> bool {
    let (life, now) = (object.head().life(), Timestamp::now());
    life.is_fresh(now) || life.may_wait(now)
}

fn begin_fill(object: &Arc<Object>, answer: Answer) -> Option<Begun> {
    let source = source(answer);
    if source.end == Some(source.start) {
        return None;
    }
    let end = source.end.map_or(MOST, |end| end.div_ceil(CHUNK));
    let end = u32::try_from(end).expect("the configuration bounds the size");
    let patient = !object.combinable || object.ignores_ranges();
    let fill = Arc::new(Fill::new(source.start, end, patient));
    object.running_fills().push(fill.clone());
    Some(Begun { object: object.clone(), fill, source })
}

fn excused(stale: Arc<Object>) -> Fetched {
    excuse(&stale);
    Fetched::opened(stale, How::Away, true)
}

fn excuse(stale: &Object) {
    stale.head().excuse(Timestamp::now().saturating_add_millis(EXCUSED_MS));
}
