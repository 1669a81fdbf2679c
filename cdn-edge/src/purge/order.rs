//! What an operator orders to be purged, in the words of the operators' port.

use serde::{Deserialize, Serialize};
use wire::FieldError;

use super::records::Target;
use crate::library::names::Names;

/// Keys, prefixes and tags of one order.
pub const MOST: usize = 10_000;

/// No name of an object, prefix or tag is longer.
const LONGEST: usize = 1024;

/// Body of `POST /v1/purge`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeOrder {
    /// Of a bucket, object keys; of a web origin `host/path?query`, or a whole URI.
    pub keys: Vec<String>,
    /// Beginnings of keys, exactly as they are written: `a/b` also begins `a/bc`.
    pub prefixes: Vec<String>,
    /// As the origin's answers tell in `Cache-Tag` or `Surrogate-Key`.
    pub tags: Vec<String>,
    /// Everything that is held.
    pub all: bool,
    /// Made stale rather than dropped: served once more where the answer allows that while the origin is
    /// asked or away.
    pub soft: bool,
}

impl PurgeOrder {
    /// What the records are to name.
    ///
    /// # Errors
    /// [`FieldError`] naming what is no name, or of which there are none or too many.
    pub fn targets(&self, names: Names) -> Result<Vec<Target>, FieldError> {
        let many = self.keys.len() + self.prefixes.len() + self.tags.len() + usize::from(self.all);
        if !(1..=MOST).contains(&many) {
            let detail = format!("keys, prefixes and tags must be 1 to {MOST} together, not {many}");
            return Err(FieldError::new("keys", detail));
        }
        let mut targets = Vec::with_capacity(many);
        for (n, key) in self.keys.iter().enumerate() {
            let keys = names.keys(key).map_err(|detail| FieldError::new(format!("keys[{n}]"), detail))?;
            targets.extend(keys.iter().map(|key| Target::Key(key.to_string().into())));
        }
        for (n, prefix) in self.prefixes.iter().enumerate() {
            let refused = |detail: &str| FieldError::new(format!("prefixes[{n}]"), detail);
            plain(prefix).map_err(refused)?;
            if names.web && prefix.starts_with('/') {
                // No key begins so: it would purge nothing, without a word.
                return Err(refused("must begin with a host, such as example.com/a, or be an http or https URI"));
            }
            targets.extend(names.prefixes(prefix).into_iter().map(|prefix| Target::Prefix(prefix.into())));
        }
        for (n, tag) in self.tags.iter().enumerate() {
            plain(tag).map_err(|detail| FieldError::new(format!("tags[{n}]"), detail))?;
            targets.push(Target::Tag(tag.as_str().into()));
        }
        if self.all {
            targets.push(Target::Prefix("".into()));
        }
        Ok(targets)
    }
}

fn plain(text: &str) -> Result<(), &'static str> {
    let plain = (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
    if plain { Ok(()) } else { Err("must be 1 to 1024 bytes with no control character") }
}
