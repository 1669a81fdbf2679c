//! What answers to other methods than GET do to what is held (RFC 9111, sections 4.3.5 and 4.4).

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::Library;
use super::open::{Forward, How, Opened, Outcome};
use super::wish::{Wants, Wish};
use crate::directives::{RequestDirectives, ResponseDirectives};
use crate::key::{CacheKey, KeyRef};
use crate::origin::Answer;
use crate::purge::Asking;
use crate::storable::post_is_get;

impl Library {
    /// An unsafe method that succeeded: what its URI and those that its answer names held is of no use any
    /// more, as far as they are of the same origin.
    pub fn invalidate(&self, key: &CacheKey, answer: &HeaderMap) {
        self.drop_key(&key.as_ref());
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            if let Some(target) = named(key, answer, &name) {
                self.drop_key(&KeyRef { target: &target, ..key.as_ref() });
            }
        }
    }

    fn drop_key(&self, key: &KeyRef<'_>) {
        self.note_change(&key.to_key());
        let held = self.cache.get(key);
        for object in held.iter().flat_map(|held| held.as_slice()) {
            self.cache.drop_version(object);
        }
    }

    /// The answer to a HEAD, compared with what a GET had brought: the newer head of the same version
    /// updates it, anything else ends it.
    pub fn note_head(&self, wish: &Wish, answer: &Answer) {
        let Some(held) = self.held_for(&wish.key.as_ref().as_ref(), &wish.headers) else { return };
        if answer.status != StatusCode::OK || held.head().status != StatusCode::OK {
            return;
        }
        let told = answer.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let head = held.head();
        let same_length = told.is_none_or(|told: u64| held.size().is_none_or(|size| size == told));
        let same_tag = match (head.etag(), answer.headers.get(header::ETAG)) {
            (Some(one), Some(other)) => one == *other,
            _ => true,
        };
        let same_date = match (head.field(&header::LAST_MODIFIED), answer.headers.get(header::LAST_MODIFIED)) {
            (Some(one), Some(other)) => one == *other,
            _ => true,
        };
        drop(head);
        if same_length && same_tag && same_date {
            // What may not be stored is told to the client alone.
            drop(self.confirm(wish, &held, answer.headers.clone(), answer.delay, Forward::Stale));
        } else {
            self.cache.drop_version(&held);
        }
    }

    /// The answer to a POST, stored as what a GET would get where it says that it is that.
    ///
    /// # Errors
    /// Gives the answer back where it is for its client alone.
    pub fn keep_post(
        self: &Arc<Self>,
        key: &Arc<CacheKey>,
        headers: HeaderMap,
        answer: Answer,
        asked: RequestDirectives,
        asking: Asking,
    ) -> Result<Opened, Box<Answer>> {
        let said = ResponseDirectives::of(&answer.headers);
        let policy = self.policy(answer.status, &answer.headers, &said);
        let names_itself = named(key, &answer.headers, &header::CONTENT_LOCATION).as_deref() == Some(key.target());
        if !post_is_get(answer.status, &answer.headers, &policy, names_itself) {
            return Err(Box::new(answer));
        }
        let wish = Wish {
            key: key.clone(),
            headers,
            wants: Wants::Whole,
            asked,
            since: self.changes(),
            asking,
            interim: None,
        };
        let mut fetched = self.take(&wish, answer, Forward::Method, How::Cold(Forward::Method));
        fetched.hold(self);
        if let Some(begun) = fetched.begun {
            let library = self.clone();
            self.background.spawn(async move {
                crate::fill::run::go_on(&library, &begun.object, &begun.fill, begun.source).await;
            });
        }
        match fetched.outcome {
            Ok(Outcome::Object(opened)) => Ok(opened),
            Ok(Outcome::Passed(answer, _)) => Err(answer),
            Err(_) => unreachable!("an answer that is there is stored or passed"),
        }
    }

    /// Whether a method may change what is held.
    #[must_use]
    pub fn is_unsafe(method: &Method) -> bool {
        !method.is_safe()
    }
}

/// The target that a field names, where it is of the same origin.
fn named(key: &CacheKey, headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    let base = url::Url::parse(&key.to_string()).ok()?;
    let named = base.join(text).ok()?;
    if named.origin() != base.origin() {
        return None;
    }
    // As it was written, where that is possible: keys are compared byte by byte.
    let raw = text.parse::<Uri>().ok().filter(|_| !text.starts_with("//"));
    let written = raw.as_ref().and_then(Uri::path_and_query).filter(|target| target.as_str().starts_with('/'));
    let resolved = &named[url::Position::BeforePath..url::Position::AfterQuery];
    Some(written.map_or(resolved, |target| target.as_str()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9111_4_4_names_of_the_same_origin() {
        let key = KeyRef::parse("http://x/a/b?c").to_key();
        let named = |text: &str| {
            let headers = HeaderMap::from_iter([(header::LOCATION, text.parse().unwrap())]);
            super::named(&key, &headers, &header::LOCATION)
        };
        for (text, target) in [
            ("/d?e", Some("/d?e")),
            ("d", Some("/a/d")),
            ("http://x/d", Some("/d")),
            ("//x/d", Some("/d")),
            ("https://x/d", None),
            ("http://y/d", None),
            ("//y/d", None),
            ("http://[", None),
        ] {
            assert_eq!(named(text).as_deref(), target, "{text}");
        }
    }
}
