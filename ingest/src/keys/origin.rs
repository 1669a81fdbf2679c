//! Web origins whose pages may use a write key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An origin, or a form that many have: `https://music.example`, `https://*.example.com`,
/// `http://localhost:*`, `capacitor://localhost`, or `*` for any, also for pages that have none.
///
/// A browser tells a page's origin truthfully; what is no browser can tell anything. So this keeps other
/// people's pages from using a key that they read in ours, and is no protection against a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OriginPattern(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Any,
    Of { scheme: String, host: Host, port: Port },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Exactly(String),
    /// Any name below this one, not this one itself.
    Below(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// None is the scheme's own, which browsers leave out.
    Exactly(Option<u16>),
    Any,
}

/// What is no form of an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an origin such as https://app.example.com, https://*.example.com, http://localhost:* or *, not {0:?}")]
pub struct BadOrigin(String);

impl OriginPattern {
    /// Whether this is the origin of a page, as its browser wrote it.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        let Form::Of { scheme, host, port } = &self.0 else { return true };
        let Some(shown) = Parts::of(origin) else { return false };
        shown.scheme.eq_ignore_ascii_case(scheme) && host.allows(shown.host) && port.allows(&shown)
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self(Form::Any));
        }
        let parts = Parts::of(text)?;
        let scheme = parts.scheme.to_ascii_lowercase();
        let host = match parts.host.strip_prefix("*.") {
            Some(parent) => Host::Below(name(parent)?),
            None => Host::Exactly(name(parts.host)?),
        };
        let port = match parts.port {
            Some("*") => Port::Any,
            _ => Port::Exactly(parts.port_number()?),
        };
        Some(Self(Form::Of { scheme, host, port }))
    }
}

/// A host's name, or an address in brackets; browsers write both in lower case.
fn name(host: &str) -> Option<String> {
    let in_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let legal = match in_brackets {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))),
    };
    legal.then(|| host.to_ascii_lowercase())
}

impl Host {
    fn allows(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => host.eq_ignore_ascii_case(name),
            Self::Below(parent) => {
                host.len() > parent.len() + 1
                    && host.as_bytes()[host.len() - parent.len() - 1] == b'.'
                    && host.as_bytes()[host.len() - parent.len()..].eq_ignore_ascii_case(parent.as_bytes())
            }
        }
    }
}

impl Port {
    fn allows(self, shown: &Parts<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(port) => shown.port_number() == Some(port),
        }
    }
}

/// `scheme://host` or `scheme://host:port`, and nothing after it.
struct Parts<'t> {
    scheme: &'t str,
    host: &'t str,
    port: Option<&'t str>,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        if scheme.is_empty() || !scheme.bytes().all(legal) || authority.contains(['/', '?', '#', '@']) {
            return None;
        }
        // The colon of a port stands after an address's brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        (!host.is_empty()).then_some(Self { scheme, host, port })
    }

    /// `Some(None)` for the scheme's own port; none for what is no port.
    fn port_number(&self) -> Option<Option<u16>> {
        let Some(port) = self.port else { return Some(None) };
        let number: u16 = port.parse().ok()?;
        let own = match &*self.scheme.to_ascii_lowercase() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Some((Some(number) != own).then_some(number))
    }
}

impl FromStr for OriginPattern {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        Self::parse(text).ok_or_else(|| BadOrigin(text.chars().take(100).collect()))
    }
}

impl TryFrom<String> for OriginPattern {
    type Error = BadOrigin;

    fn try_from(text: String) -> Result<Self, BadOrigin> {
        text.parse()
    }
}

impl From<OriginPattern> for String {
    fn from(pattern: OriginPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Form::Of { scheme, host, port } = &self.0 else { return f.write_str("*") };
        match host {
            Host::Exactly(name) => write!(f, "{scheme}://{name}")?,
            Host::Below(parent) => write!(f, "{scheme}://*.{parent}")?,
        }
        match port {
            Port::Exactly(None) => Ok(()),
            Port::Exactly(Some(port)) => write!(f, ":{port}"),
            Port::Any => f.write_str(":*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, origin: &str) -> bool {
        pattern.parse::<OriginPattern>().unwrap().allows(origin)
    }

    #[test]
    fn an_origin_allows_itself_alone() {
        assert!(allows("https://app.example.com", "https://app.example.com"));
        assert!(allows("https://App.Example.com:443", "https://app.example.com"));
        assert!(allows("http://[::1]:3000", "http://[::1]:3000"));
        for other in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.test",
            "https://evilapp.example.com",
            "https://x.app.example.com",
            "null",
            "",
            "app.example.com",
        ] {
            assert!(!allows("https://app.example.com", other), "{other}");
        }
    }

    #[test]
    fn a_star_stands_for_names_below_and_for_ports() {
        assert!(allows("https://*.example.com", "https://a.example.com"));
        assert!(allows("https://*.example.com", "https://a.b.EXAMPLE.com"));
        for other in
            ["https://example.com", "https://notexample.com", "https://a.example.com.evil", "https://.example.com"]
        {
            assert!(!allows("https://*.example.com", other), "{other}");
        }
        assert!(
            allows("http://localhost:*", "http://localhost:5173") && allows("http://localhost:*", "http://localhost")
        );
        assert!(
            !allows("http://localhost:*", "https://localhost") && !allows("http://localhost:*", "http://localhost.a")
        );
        assert!(allows("*", "null") && allows("*", "https://anything.example"));
        assert!(allows("capacitor://localhost", "capacitor://localhost"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in [
            "",
            "example.com",
            "https://",
            "https://*",
            "https://a.*.com",
            "https://a.com/",
            "https://a.com/path",
            "https://user@a.com",
            "https://a.com:port",
            "https://a.com:70000",
            "https://a..com",
            "https://[::1",
            "://a",
        ] {
            assert!(bad.parse::<OriginPattern>().is_err(), "{bad}");
        }
        for good in ["*", "https://*.example.com", "http://localhost:*", "http://127.0.0.1:8080", "http://[::1]:*"] {
            assert_eq!(good.parse::<OriginPattern>().unwrap().to_string(), good);
        }
    }
}
