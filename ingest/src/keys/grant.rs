//! What a key opens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::FieldError;
use wire::event::MAX_TEXT;

use super::origin::OriginPattern;
use super::rate::Rate;

/// The longest name of an app, in bytes.
const MAX_APP: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Write,
    User,
    Operator,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::User => "user",
            Self::Operator => "operator",
        }
    }

    /// What ids and secrets begin with, so that one that is found somewhere tells what it opens.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Write => "tw",
            Self::User => "tu",
            Self::Operator => "to",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Write, Self::User, Self::Operator].into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| format!("must be write, user or operator, not {text}"))
    }
}

/// A key's kind with what it may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Grant {
    /// Posts events of this app, from pages of these origins and from what is no page.
    Write { app: String, origins: Vec<OriginPattern>, rate: Option<Rate> },
    /// Posts and reads what this user heard.
    User { app: String, user_id: String, rate: Option<Rate> },
    /// Reads everything, posts deliveries.
    Operator,
}

impl Grant {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Write { .. } => Kind::Write,
            Self::User { .. } => Kind::User,
            Self::Operator => Kind::Operator,
        }
    }

    #[must_use]
    pub fn app(&self) -> Option<&str> {
        match self {
            Self::Write { app, .. } | Self::User { app, .. } => Some(app),
            Self::Operator => None,
        }
    }

    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::User { user_id, .. } => Some(user_id),
            Self::Write { .. } | Self::Operator => None,
        }
    }

    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        match self {
            Self::Write { rate, .. } | Self::User { rate, .. } => *rate,
            Self::Operator => None,
        }
    }

    #[must_use]
    pub fn origins(&self) -> &[OriginPattern] {
        match self {
            Self::Write { origins, .. } => origins,
            Self::User { .. } | Self::Operator => &[],
        }
    }

    /// # Errors
    /// Naming the first value that no event could carry or no process could keep to.
    pub(super) fn check(&self) -> Result<(), FieldError> {
        check_text("app", self.app(), MAX_APP)?;
        check_text("user", self.user_id(), MAX_TEXT)?;
        if self.origins().len() > 100 {
            return Err(FieldError::new("origins", "must be at most 100"));
        }
        self.rate().map_or(Ok(()), Rate::check)
    }
}

fn check_text(field: &str, text: Option<&str>, max: usize) -> Result<(), FieldError> {
    let Some(text) = text else { return Ok(()) };
    if !(1..=max).contains(&text.len()) || text.chars().any(char::is_control) {
        return Err(FieldError::new(field, format!("must be 1 to {max} bytes with no control character")));
    }
    Ok(())
}
