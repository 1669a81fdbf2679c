//! An event as it was posted, to be passed on by copying it: only the listener's ids are others.

use std::ops::Range;

/// A plain event's text, and where in it the ids stand that must not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verbatim<'a> {
    json: &'a str,
    user_id: Range<usize>,
    anon_id: Range<usize>,
}

impl<'a> Verbatim<'a> {
    /// The ids are parts of `json`.
    pub(super) fn new(json: &'a str, user_id: Option<&'a str>, anon_id: Option<&'a str>) -> Self {
        let place = |id: Option<&str>| {
            let start = id.map_or(json.len(), |id| id.as_ptr().addr() - json.as_ptr().addr());
            start..start + id.map_or(0, str::len)
        };
        Self { json, user_id: place(user_id), anon_id: place(anon_id) }
    }

    /// Appends it with these ids, which need no escaping, in the place of its own. Where it has none, give none.
    pub fn write(&self, user_id: Option<&str>, anon_id: Option<&str>, json: &mut Vec<u8>) {
        let (user, anon) = ((&self.user_id, user_id), (&self.anon_id, anon_id));
        let in_order = if self.user_id.start <= self.anon_id.start { [user, anon] } else { [anon, user] };
        let (posted, mut copied) = (self.json.as_bytes(), 0);
        for (place, id) in in_order {
            json.extend_from_slice(&posted[copied..place.start]);
            json.extend_from_slice(id.unwrap_or_default().as_bytes());
            copied = place.end;
        }
        json.extend_from_slice(&posted[copied..]);
    }

    /// Bytes that it has without ids.
    #[must_use]
    pub fn length(&self) -> usize {
        self.json.len() - self.user_id.len() - self.anon_id.len()
    }
}
