//! What is ordered to be warmed, in the words of the operators' port.

use serde::{Deserialize, Serialize};
use wire::FieldError;

use crate::library::names::Names;

/// Keys of a body.
pub const MAX_KEYS: usize = 10_000;

/// Keys that a prefix may have.
pub const MAX_LISTED: usize = 100_000;

/// Body of `POST /v1/warm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WarmRequest {
    /// As [`Names`] has them.
    pub keys: Vec<String>,
    /// All keys of the bucket that begin so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whether the answer is to come at the end, which is so for keys unless told otherwise; else the order
    /// goes on behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// Asked of the origin; 0 is as fast as it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
}

impl WarmRequest {
    /// # Errors
    /// [`FieldError`] naming what is wrong.
    pub fn check(&self, names: Names) -> Result<(), FieldError> {
        let Some(prefix) = &self.prefix else {
            let many = self.keys.len();
            if !(1..=MAX_KEYS).contains(&many) {
                return Err(FieldError::new("keys", format!("must have 1 to {MAX_KEYS} elements, not {many}")));
            }
            let check = |(nth, key): (usize, &String)| match names.keys(key) {
                Ok(_) => Ok(()),
                Err(detail) => Err(FieldError::new(format!("keys[{nth}]"), detail)),
            };
            return self.keys.iter().enumerate().try_for_each(check);
        };
        let refused = |field: &str, detail: &str| Err(FieldError::new(field, detail));
        if !self.keys.is_empty() {
            return refused("keys", "must not be given beside a prefix");
        }
        if names.web {
            return refused("prefix", "a web origin cannot be asked what it has: name the keys");
        }
        if prefix.len() > 1024 || prefix.chars().any(char::is_control) {
            return refused("prefix", "must be at most 1024 bytes with no control character");
        }
        if self.wait == Some(true) {
            return refused("wait", "nobody waits for a prefix: ask for the order by its id");
        }
        Ok(())
    }

    #[must_use]
    pub fn waits(&self) -> bool {
        self.prefix.is_none() && self.wait.unwrap_or(true)
    }
}
