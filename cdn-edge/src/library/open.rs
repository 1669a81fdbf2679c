//! Opening an object: learning from the origin what it is, once for all who ask at the same time.
//!
//! A cold object is opened by asking for what the first request wants; the answer's head makes the object
//! known, and its body is the first fill. A stale object is opened by asking whether it still holds. An
//! answer that may not be stored belongs to the request that brought it; those who waited ask for
//! themselves, all at once, and for a while nobody waits behind anybody there.

use std::sync::Arc;

use http::{HeaderMap, header};
use tokio::sync::{oneshot, watch};
use wire::Timestamp;

use super::Library;
use super::fetch::ForOthers;
use super::openings::Listing;
use super::wish::Wish;
use crate::fill::Following;
use crate::key::CacheKey;
use crate::object::Object;
use crate::origin::{Answer, OriginError};
use crate::reader::Reading;
use crate::vary::Selectors;

/// How often a request waits for others' answers that turn out to be of no use, before it asks for itself.
const WAITS: u32 = 3;

/// Why there is nothing to serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the origin has no such object")]
    NotFound,
    /// It said so a moment ago.
    #[error("the origin has no such object")]
    KnownMissing,
    #[error(transparent)]
    Origin(#[from] OriginError),
}

/// An object that may be served now, and how it came to that.
#[derive(Debug, Clone)]
pub struct Opened {
    pub object: Arc<Object>,
    pub how: How,
    /// Another request had asked for it already.
    pub collapsed: bool,
    /// What the origin was asked for stays until whoever waited reads it.
    pub hold: Option<Arc<Hold>>,
    /// What the origin's answer says to this request alone.
    pub own: Option<Arc<HeaderMap>>,
}

/// What an opening brought: from the first byte on it is followed, and it is read, whatever takes its place.
#[derive(Debug)]
pub struct Hold {
    _reading: Reading,
    _fill: Option<Following>,
}

/// As far as it is known before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Held and fresh.
    Held,
    /// Held and stale, as the client will have it.
    Stale,
    /// Held and stale, and asked about behind the client's back.
    Behind,
    /// Held and stale; the origin cannot be asked.
    Away,
    /// The origin was asked, and this came of it.
    Cold(Forward),
    /// The origin was asked, and what is held still holds.
    Confirmed(Forward),
    /// The origin was asked, and has another version.
    Replaced(Forward),
}

/// RFC 9211, section 2.2: why a request went on to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Request,
    Stale,
    Partial,
}

/// What came of an opening for the request that began it.
#[derive(Debug)]
pub enum Outcome {
    Object(Opened),
    /// Not stored: for this request alone.
    Passed(Box<Answer>, Forward),
}

/// What came of it for those who waited.
#[derive(Debug, Clone)]
pub(super) enum Shared {
    Object(Opened),
    /// Each for itself.
    Unshared,
    /// One for all others, once more.
    AskAgain,
    /// The same, without conditions.
    AskPlainly,
    /// The same, but for those who are authorized.
    AskUnauthorized,
    Failed(OpenError),
}

pub(super) type Opening = watch::Receiver<Option<Shared>>;
type Tell = watch::Sender<Option<Shared>>;
type Mine = oneshot::Receiver<Result<Outcome, OpenError>>;

enum Joined {
    Known(Opened),
    Missing,
    Waiting(Opening),
    Mine(Mine),
}

impl Hold {
    pub(super) fn new(library: &Arc<Library>, object: &Arc<Object>, fill: Option<Following>) -> Arc<Self> {
        Arc::new(Self { _reading: Reading::new(library.clone(), object.clone()), _fill: fill })
    }
}

impl Library {
    /// The object, asking the origin where it must be asked.
    ///
    /// # Errors
    /// [`OpenError`] where there is nothing to serve.
    pub async fn open(self: &Arc<Self>, mut wish: Wish) -> Result<Outcome, OpenError> {
        for _ in 0..WAITS {
            let mut opening = match self.join(&wish) {
                Joined::Known(opened) => return Ok(Outcome::Object(opened)),
                Joined::Missing => return Err(OpenError::KnownMissing),
                Joined::Mine(mine) => return outcome(mine).await,
                Joined::Waiting(opening) => opening,
            };
            // An error says that the opening's task was ended with its runtime.
            let shared = opening.wait_for(Option::is_some).await.map_err(|_| OriginError::Abandoned)?.clone();
            match shared.expect("waited until there is one") {
                // Who came after a purge does not take what was asked for before it.
                Shared::Object(opened) if self.is_purged_since(&opened.object) => {}
                Shared::AskAgain => {}
                // Once it is held, everybody's own conditions are ours to judge.
                Shared::AskPlainly => wish.headers = wish.without_conditions(),
                Shared::AskUnauthorized if !wish.headers.contains_key(header::AUTHORIZATION) => {}
                Shared::Object(opened) if self.suits(&opened.object, &wish) => {
                    return Ok(Outcome::Object(Opened { collapsed: true, own: None, ..opened }));
                }
                // What came says what answers vary by: who wants the same of the others waits for one of them.
                Shared::Object(opened) if !opened.object.matches(&wish.headers) => {}
                Shared::Failed(error) => return Err(error),
                Shared::Object(_) | Shared::Unshared | Shared::AskUnauthorized => break,
            }
            (wish.since, wish.asking) = (self.changes(), self.ask());
        }
        outcome(self.begin(wish, None)).await
    }

    /// Whether somebody is asking for the same already.
    #[must_use]
    pub fn is_being_opened(&self, wish: &Wish) -> bool {
        let varies = self.varies(&wish.key);
        self.openings.look().find(&self.name(wish), &wish.headers, &varies).is_some()
    }

    /// Asks about a stale object while it is being served, where nobody does so yet.
    pub fn refresh_behind(self: &Arc<Self>, wish: &Wish) {
        drop(self.join(wish));
    }

    pub(super) fn suits(&self, object: &Arc<Object>, wish: &Wish) -> bool {
        object.matches(&wish.headers) && (object.combinable || self.has_all(object, wish.range()))
    }

    fn join(self: &Arc<Self>, wish: &Wish) -> Joined {
        let name = self.name(wish);
        let mut openings = self.openings.look();
        // An opening publishes its object before it leaves the list: looked up under the list's lock,
        // an object is either known or still being opened, and the origin is asked once.
        let found = self.find(&wish.key.as_ref().as_ref(), &wish.headers, &wish.asked, wish.range(), Timestamp::now());
        if let Some(opened) = found.filter(|opened| opened.how != How::Behind) {
            return Joined::Known(opened);
        }
        if self.is_missing(&wish.key) {
            return Joined::Missing;
        }
        if wish.asked.no_store || self.is_passing(wish) {
            return Joined::Mine(self.begin(wish.clone(), None));
        }
        let varies = self.varies(&wish.key);
        if let Some(opening) = openings.find(&name, &wish.headers, &varies) {
            return Joined::Waiting(opening);
        }
        let (tell, opening) = watch::channel(None);
        let listing = openings.list(name, wish.headers.clone(), varies, opening);
        Joined::Mine(self.begin(wish.clone(), Some((listing, tell))))
    }

    fn name(&self, wish: &Wish) -> (Arc<CacheKey>, u64) {
        (wish.key.clone(), self.cache.purges.of_key(&wish.key))
    }

    /// What answers under a key vary by, as far as it is known.
    fn varies(&self, key: &CacheKey) -> Selectors {
        let known = self.cache.get(&key.as_ref());
        known.map_or_else(Selectors::new, |known| known.as_slice()[0].selectors().clone())
    }

    fn begin(self: &Arc<Self>, wish: Wish, listing: Option<(Listing, Tell)>) -> Mine {
        let (mine, wait) = oneshot::channel();
        let library = self.clone();
        self.background.spawn(async move { library.run_opening(wish, listing, mine).await });
        wait
    }

    async fn run_opening(
        self: Arc<Self>,
        wish: Wish,
        listing: Option<(Listing, Tell)>,
        mine: oneshot::Sender<Result<Outcome, OpenError>>,
    ) {
        let mut fetched = self.fetch(&wish).await;
        fetched.hold(&self);
        if matches!(fetched.outcome, Err(OpenError::NotFound)) {
            self.missing.insert(wish.key.clone(), wish.asking.since());
        }
        let shared = match &fetched.outcome {
            Ok(Outcome::Object(opened)) if fetched.shared == ForOthers::Yes => Shared::Object(opened.clone()),
            Ok(_) => match fetched.shared {
                ForOthers::AskAgain => Shared::AskAgain,
                ForOthers::AskPlainly => Shared::AskPlainly,
                ForOthers::AskUnauthorized => Shared::AskUnauthorized,
                ForOthers::Yes | ForOthers::No => Shared::Unshared,
            },
            Err(error) => Shared::Failed(error.clone()),
        };
        if let Some(passing) = fetched.remember_to_pass {
            self.passing.insert(wish.key.clone(), passing);
        }
        // What the answer is good for is settled; its body may take as long as it likes.
        drop(wish);
        if let Some((listing, tell)) = listing {
            // First out of the list: who is told to ask again must not find what has just ended.
            drop(listing);
            tell.send_replace(Some(shared));
        }
        // Its client may have left: what came is held all the same.
        let _ = mine.send(fetched.outcome);
        if let Some(begun) = fetched.begun {
            crate::fill::run::go_on(&self, &begun.object, &begun.fill, begun.source).await;
        }
    }
}

async fn outcome(mine: Mine) -> Result<Outcome, OpenError> {
    mine.await.map_err(|_| OriginError::Abandoned)?
}
