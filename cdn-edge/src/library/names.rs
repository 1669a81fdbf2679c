//! What operators mean by a name.

use std::sync::Arc;

use wire::ObjectKey;

use crate::key::{CacheKey, KeyRef, without_default_port};

/// How keys are written: of a bucket, the object's key; of a web origin `host/path?query`, over either
/// scheme, or a whole URI.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    pub web: bool,
    /// The listeners' scheme.
    pub https: bool,
}

impl Names {
    /// The keys that are meant, the likeliest first.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn keys(self, name: &str) -> Result<Vec<Arc<CacheKey>>, String> {
        if !self.web {
            let key = ObjectKey::new(name).map_err(|error| error.to_string())?;
            return Ok(vec![KeyRef::object(key.as_str()).to_key()]);
        }
        let named = !name.is_empty() && !name.starts_with('/') && name.len() <= 8192;
        if !named || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("must be a host and a path, such as example.com/a?b, or an http or https URI".into());
        }
        let of = |https, rest: &str| {
            let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.to_ascii_lowercase();
            let host = without_default_port(&host, https);
            KeyRef { https, host, target: if target.is_empty() { "/" } else { target } }.to_key()
        };
        Ok(match split(name) {
            (Some(https), rest) => vec![of(https, rest)],
            (None, rest) => vec![of(self.https, rest), of(!self.https, rest)],
        })
    }

    /// How the keys begin that begin so.
    #[must_use]
    pub fn prefixes(self, prefix: &str) -> Vec<String> {
        if !self.web {
            return vec![prefix.to_owned()];
        }
        let (scheme, rest) = split(prefix);
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let rest = format!("{}{path}", host.to_ascii_lowercase());
        match scheme {
            Some(true) => vec![format!("https://{rest}")],
            Some(false) => vec![format!("http://{rest}")],
            None => vec![format!("https://{rest}"), format!("http://{rest}")],
        }
    }
}

fn split(name: &str) -> (Option<bool>, &str) {
    match (name.strip_prefix("https://"), name.strip_prefix("http://")) {
        (Some(rest), _) => (Some(true), rest),
        (None, Some(rest)) => (Some(false), rest),
        (None, None) => (None, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: Names, name: &str) -> Result<Vec<String>, String> {
        Ok(names.keys(name)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_of_a_bucket_and_of_a_web_origin() {
        let (bucket, web) = (Names { web: false, https: true }, Names { web: true, https: true });
        assert_eq!(keys(bucket, "a/b").unwrap(), ["a/b"]);
        assert!(keys(bucket, "a//b").is_err() && keys(web, "/a").is_err() && keys(web, "").is_err());
        assert_eq!(keys(web, "X/a//b?c").unwrap(), ["https://x/a//b?c", "http://x/a//b?c"]);
        assert_eq!(keys(web, "http://X").unwrap(), ["http://x/"]);
        assert_eq!(keys(web, "http://X:80/a").unwrap(), ["http://x/a"]);
        assert_eq!(bucket.prefixes("a/"), ["a/"]);
        assert_eq!(web.prefixes("X/A"), ["https://x/A", "http://x/A"]);
        assert_eq!(web.prefixes("http://X/A"), ["http://x/A"]);
    }
}
