//! The fills of an object that run.

use std::sync::Arc;

use crate::fill::Fill;

/// At most one a chunk, in practice one or two, and mostly none, which takes a pointer and no more.
#[derive(Debug, Clone, Default)]
#[allow(clippy::box_collection, reason = "a Vec is three pointers in each of very many objects")]
pub(crate) struct Fills(Option<Box<Vec<Arc<Fill>>>>);

impl Fills {
    pub(crate) fn push(&mut self, fill: Arc<Fill>) {
        self.0.get_or_insert_default().push(fill);
    }

    pub(crate) fn remove(&mut self, fill: &Arc<Fill>) {
        if let Some(fills) = &mut self.0 {
            fills.retain(|other| !Arc::ptr_eq(other, fill));
        }
        self.0.take_if(|fills| fills.is_empty());
    }
}

impl std::ops::Deref for Fills {
    type Target = [Arc<Fill>];

    fn deref(&self) -> &[Arc<Fill>] {
        self.0.as_ref().map_or(&[], |fills| fills.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_that_have_ended_take_no_memory() {
        let mut fills = Fills::default();
        let (one, other) = (Arc::new(Fill::new(0, 1, false)), Arc::new(Fill::new(0, 2, false)));
        fills.push(one.clone());
        fills.push(other.clone());
        fills.remove(&one);
        assert!(fills.len() == 1 && Arc::ptr_eq(&fills[0], &other));
        fills.remove(&other);
        assert!(fills.is_empty() && fills.0.is_none());
    }
}
