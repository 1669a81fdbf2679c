//! What the index has under one key: objects that are awake, for whoever asks, or one at rest.

use std::sync::Arc;

use super::fifo::Weigh;
use super::variants::Variants;
use crate::key::KeyRef;
use crate::object::{Object, Rest};

/// Weights have 32 bits, and a file takes whole pages anyway.
pub(super) const PAGE: u64 = 4096;

/// [`Variants`] with a third kind beside theirs, all told apart in two words.
#[derive(Debug, Clone)]
pub enum Held {
    One(Arc<Object>),
    Many(Arc<Vec<Arc<Object>>>),
    /// Nobody has an [`Object`] of this version: two would not know of each other's changes.
    AtRest(Rest),
}

impl From<Variants> for Held {
    fn from(variants: Variants) -> Self {
        match variants {
            Variants::One(object) => Self::One(object),
            Variants::Many(objects) => Self::Many(objects),
        }
    }
}

/// What an object's name and head may take of memory for nothing; each byte beyond weighs as much as so many on disk. So
/// the memory of long names is bounded by the disk's budget as well: to a 64th of it.
const USUAL_NAME: u64 = 512;
const NAME_WEIGHT: u64 = 64;

impl Weigh for Held {
    fn weight(&self) -> u32 {
        let name = |object: &Object| object.name_bytes().saturating_sub(USUAL_NAME) * NAME_WEIGHT;
        let pages = |object: &Object| 1 + (object.disk_bytes() + name(object)) / PAGE;
        let pages: u64 = match self {
            Self::AtRest(rest) => pages(&rest.object()),
            Self::One(_) | Self::Many(_) => self.as_slice().iter().map(|object| pages(object)).sum(),
        };
        u32::try_from(pages).unwrap_or(u32::MAX)
    }

    fn in_use(&self) -> bool {
        self.as_slice().iter().any(|object| object.is_read())
    }
}

impl Held {
    /// Those that are awake.
    fn as_slice(&self) -> &[Arc<Object>] {
        match self {
            Self::One(object) => std::slice::from_ref(object),
            Self::Many(objects) => objects,
            Self::AtRest(_) => &[],
        }
    }

    #[must_use]
    pub fn awake(&self) -> Option<Variants> {
        match self {
            Self::One(object) => Some(Variants::One(object.clone())),
            Self::Many(objects) => Some(Variants::Many(objects.clone())),
            Self::AtRest(_) => None,
        }
    }

    /// What is awake, or an object made of what is at rest: only for who then puts it in the place of this, or nothing.
    pub(super) fn waked(&self) -> Variants {
        match self {
            Self::AtRest(rest) => Variants::One(Arc::new(rest.object())),
            Self::One(object) => Variants::One(object.clone()),
            Self::Many(objects) => Variants::Many(objects.clone()),
        }
    }

    /// Whether it could be put to rest once nobody uses it.
    pub(super) fn is_one(&self) -> bool {
        matches!(self, Self::One(_))
    }

    /// True where it is at rest now and was not: nobody else had the object, and nobody can get it meanwhile.
    pub(super) fn put_to_rest(&mut self) -> bool {
        let Self::One(object) = self else { return false };
        let Some(rest) = Arc::get_mut(object).and_then(Rest::of) else { return false };
        *self = Self::AtRest(rest);
        true
    }

    /// Looks at each version as it is, and wakes none.
    pub fn each<T>(&self, mut look: impl FnMut(&Object) -> T) -> Vec<T> {
        match self {
            Self::AtRest(rest) => vec![look(&rest.object())],
            Self::One(_) | Self::Many(_) => self.as_slice().iter().map(|object| look(object)).collect(),
        }
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        match self {
            Self::AtRest(rest) => rest.id() == id,
            Self::One(_) | Self::Many(_) => self.as_slice().iter().any(|object| object.id == id),
        }
    }

    /// All versions that are held together are of one key.
    pub(super) fn is_of(&self, key: KeyRef<'_>) -> bool {
        match self {
            Self::AtRest(rest) => rest.key() == key,
            Self::One(_) | Self::Many(_) => self.as_slice()[0].key() == key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_two_words() {
        assert_eq!(size_of::<Held>(), 16, "it lies in a table with free places: each word counts one and a half times");
    }
}
