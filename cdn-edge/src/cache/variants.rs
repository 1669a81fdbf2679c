//! The answers that are held under one key: mostly one, several where the origin's answer varies.

use std::sync::Arc;

use http::HeaderMap;

use crate::object::Object;
use crate::vary::MAX_VARIANTS;

#[derive(Debug, Clone)]
pub enum Variants {
    One(Arc<Object>),
    /// At least one, at most [`MAX_VARIANTS`].
    Many(Arc<Vec<Arc<Object>>>),
}

impl Variants {
    #[must_use]
    pub fn as_slice(&self) -> &[Arc<Object>] {
        match self {
            Self::One(object) => std::slice::from_ref(object),
            Self::Many(objects) => objects,
        }
    }

    /// The youngest of those that the request may get (RFC 9111, section 4.1).
    #[must_use]
    pub fn select(self, request: &HeaderMap) -> Option<Arc<Object>> {
        match self {
            Self::One(object) => object.matches(request).then_some(object),
            Self::Many(objects) => {
                let matching = objects.iter().filter(|object| object.matches(request));
                matching.max_by_key(|object| object.head().life().born).cloned()
            }
        }
    }

    #[must_use]
    pub fn contains(&self, id: u64) -> bool {
        self.as_slice().iter().any(|object| object.id == id)
    }

    /// With this object in the place of the one it supersedes, and what is no longer held.
    #[must_use]
    pub fn with(&self, object: &Arc<Object>) -> (Self, Vec<Arc<Object>>) {
        let same = |other: &&Arc<Object>| other.selectors() == object.selectors();
        let (mut out, mut kept): (Vec<_>, Vec<_>) = self.as_slice().iter().cloned().partition(|other| same(&other));
        if kept.is_empty() {
            return (Self::One(object.clone()), out);
        }
        if kept.len() >= MAX_VARIANTS
            && let Some(oldest) = (0..kept.len()).min_by_key(|&at| kept[at].head().life().born)
        {
            out.push(kept.swap_remove(oldest));
        }
        kept.push(object.clone());
        (Self::Many(Arc::new(kept)), out)
    }

    /// None where it was the only one.
    #[must_use]
    pub fn without(&self, id: u64) -> Option<Self> {
        let mut kept: Vec<_> = self.as_slice().iter().filter(|object| object.id != id).cloned().collect();
        match kept.len() {
            0 => None,
            1 => kept.pop().map(Self::One),
            _ => Some(Self::Many(Arc::new(kept))),
        }
    }
}
