//! The parameters of a question, each refused by its name.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use axum::http::Uri;
use wire::{FieldError, Timestamp};

/// A query string whose every parameter is known and given once.
#[derive(Debug)]
pub(crate) struct Params<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Params<'a> {
    /// # Errors
    /// Naming the first parameter that is unknown, given twice or no UTF-8.
    pub(crate) fn read(uri: &'a Uri, known: &[&str]) -> Result<Self, FieldError> {
        let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let mut params = Self(Vec::new());
        for (name, value) in pairs {
            if !known.contains(&&*name) {
                // A name of any length would come back with the answer.
                let name: String = name.chars().take(64).collect();
                return Err(FieldError::new(name, format!("is no parameter here; known are {}", known.join(", "))));
            }
            if params.get(&name).is_some() {
                return Err(FieldError::new(name, "must be given once"));
            }
            // What decoding puts where there was no UTF-8.
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return Err(FieldError::new(name, "must be UTF-8 once percent-decoded"));
            }
            params.0.push((name, value));
        }
        Ok(params)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// # Errors
    /// Naming the parameter, where its value is not of the type.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, FieldError> {
        self.get(name)
            .map(|value| value.parse().map_err(|error: T::Err| FieldError::new(name, error.to_string())))
            .transpose()
    }

    /// A whole number from 1 to `most`.
    ///
    /// # Errors
    /// Naming the parameter.
    pub(crate) fn count(&self, name: &str, default: u32, most: u32) -> Result<u32, FieldError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.parse() {
            Ok(n) if (1..=most).contains(&n) => Ok(n),
            _ => Err(FieldError::new(name, format!("must be a whole number from 1 to {most}"))),
        }
    }

    /// An instant, as RFC 3339 or epoch milliseconds.
    ///
    /// # Errors
    /// Naming the parameter.
    pub(crate) fn instant(&self, name: &str) -> Result<Option<Timestamp>, FieldError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let read: Result<Timestamp, _> = match value.parse::<i64>() {
            Ok(ms) => serde_json::from_value(ms.into()),
            Err(_) => serde_json::from_value(value.into()),
        };
        let refused = |_| {
            FieldError::new(name, "must be an RFC 3339 time (its + as %2B) or epoch milliseconds, from 1970 to 2199")
        };
        read.map(Some).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_parameter() {
        let known = ["limit", "from", "track"];
        let read = |query: &str| {
            let uri: Uri = format!("/x?{query}").parse().unwrap();
            let params = Params::read(&uri, &known)?;
            Ok::<_, FieldError>((
                params.count("limit", 50, 500)?,
                params.instant("from")?,
                params.parsed::<wire::TrackId>("track")?,
            ))
        };
        let field = |query: &str| read(query).unwrap_err();
        for query in ["limit=0", "limit=501", "limit=-1", "limit=1.5", "limit=", "limit=99999999999", "limit=1&limit=1"]
        {
            assert_eq!(field(query).field, "limit", "{query}");
        }
        for query in ["from=yesterday", "from=-1", "from=99999999999999999", "from=%ff", "from=2026-11-21"] {
            assert_eq!(field(query).field, "from", "{query}");
        }
        assert_eq!(field("track=").field, "track");
        assert_eq!(field("lim%00it=5").field, "lim\0it");
        let (limit, from, track) = read("from=2026-11-21T10:00:00%2B01:00&track=a%2Fb").unwrap();
        assert_eq!((limit, from.unwrap().to_string()), (50, "2026-11-21T09:00:00.000Z".to_owned()));
        assert_eq!(track.unwrap().as_str(), "a/b");
        assert_eq!(read("from=1795251600000").unwrap().1, from);
    }
}
