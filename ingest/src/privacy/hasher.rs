//! Pseudonyms for the events of one request.

use std::cell::RefCell;
use std::sync::Arc;

use wire::event::{Consent, EventRef};

use super::pseudonyms::Pseudonym;
use super::{Pseudonyms, Subject};

/// Hashes the ids of a request. A player sends what one listener did, so the last hash is mostly the next one too.
#[derive(Debug)]
pub(crate) struct Hasher {
    pseudonyms: Arc<Pseudonyms>,
    /// The last user.
    last: RefCell<Option<(String, Pseudonym)>>,
}

/// Of whom an event tells, as it may be kept.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    pub(super) user: Option<Pseudonym>,
    pub(super) anon: Option<Pseudonym>,
}

impl Listener {
    pub(crate) fn user_id(&self) -> Option<&str> {
        self.user.as_ref().map(Pseudonym::as_str)
    }

    pub(crate) fn anon_id(&self) -> Option<&str> {
        self.anon.as_ref().map(Pseudonym::as_str)
    }
}

impl Hasher {
    pub(crate) fn new(pseudonyms: Arc<Pseudonyms>) -> Self {
        Self { pseudonyms, last: RefCell::default() }
    }

    pub(crate) fn pseudonyms(&self) -> &Pseudonyms {
        &self.pseudonyms
    }

    /// Nobody where consent is denied, or where the ids are empty.
    pub(crate) fn listener(&self, event: &EventRef<'_>) -> Listener {
        if event.consent == Some(Consent::Denied) {
            return Listener::default();
        }
        Listener {
            user: event.user_id.filter(|id| !id.is_empty()).map(|id| self.user(id)),
            anon: event.anon_id.filter(|id| !id.is_empty()).map(|id| self.pseudonyms.newest(Subject::Anon, id)),
        }
    }

    fn user(&self, id: &str) -> Pseudonym {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((known, hash)) if known == id => *hash,
            _ => {
                let hash = self.pseudonyms.newest(Subject::User, id);
                *last = Some((id.to_owned(), hash));
                hash
            }
        }
    }
}
