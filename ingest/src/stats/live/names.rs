//! A bounded table of names, so that a session holds four bytes for its track and not a text.

use std::collections::HashMap;
use std::sync::Arc;

/// A name's place in the table.
pub(super) type Id = u32;

/// Stands for every name that found no place.
pub(super) const OTHER: Id = Id::MAX;

#[derive(Debug)]
pub(super) struct Names {
    ids: HashMap<Arc<str>, Id>,
    names: Vec<Option<Arc<str>>>,
    free: Vec<Id>,
    most: usize,
}

impl Names {
    pub(super) fn new(most: usize) -> Self {
        Self { ids: HashMap::new(), names: Vec::new(), free: Vec::new(), most }
    }

    /// The name's id; [`OTHER`] where the table is full of others that are in use.
    pub(super) fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let Some(id) = self.room() else { return OTHER };
        let name: Arc<str> = name.into();
        self.names[id as usize] = Some(name.clone());
        self.ids.insert(name, id);
        id
    }

    fn room(&mut self) -> Option<Id> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        if self.names.len() >= self.most {
            return None;
        }
        self.names.push(None);
        Id::try_from(self.names.len() - 1).ok()
    }

    /// Forgets the names that nobody uses any more.
    pub(super) fn keep(&mut self, used: impl Fn(Id) -> bool) {
        let (names, free) = (&mut self.names, &mut self.free);
        self.ids.retain(|_, id| {
            let keep = used(*id);
            if !keep {
                names[*id as usize] = None;
                free.push(*id);
            }
            keep
        });
    }

    /// Every name at its id's place.
    pub(super) fn all(&self) -> Arc<[Option<Arc<str>>]> {
        self.names.as_slice().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_says_other_until_a_name_is_forgotten() {
        let mut names = Names::new(2);
        let (a, b) = (names.id("a"), names.id("b"));
        assert_eq!((names.id("a"), names.id("c")), (a, OTHER));
        names.keep(|id| id != a);
        assert_eq!(names.id("c"), a, "the place is given anew");
        assert_eq!((names.id("b"), names.id("a")), (b, OTHER));
        assert_eq!(names.all().iter().flatten().map(AsRef::as_ref).collect::<Vec<_>>(), ["c", "b"]);
    }
}
