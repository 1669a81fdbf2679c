//! Which host a request is for.

use std::borrow::Cow;

use http::uri::Authority;
use http::{HeaderMap, Uri, Version, header};
use wire::FieldError;

/// The host that a request is for, in lower case (RFC 9112, section 3.2): that of its target where it names
/// one, else the one `Host`.
///
/// # Errors
/// [`FieldError`] naming `host` where there is none, several, or one that is no host.
pub fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap, version: Version) -> Result<Cow<'a, str>, FieldError> {
    let mut told = headers.get_all(header::HOST).iter();
    let (first, second) = (told.next(), told.next());
    if second.is_some() {
        return Err(FieldError::new("host", "is there more than once"));
    }
    let text = match (uri.authority(), first) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().map_err(|_| FieldError::new("host", "is no text"))?,
        // Before HTTP/1.1 there was none.
        (None, None) if version == Version::HTTP_10 => "localhost",
        (None, None) => return Err(FieldError::new("host", "is required")),
    };
    if text.contains('@') || text.parse::<Authority>().is_err() {
        return Err(FieldError::new("host", "must be a host and perhaps a port"));
    }
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if lower { Cow::Borrowed(text) } else { Cow::Owned(text.to_ascii_lowercase()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9112_3_2_one_host() {
        let named = |uri: &'static str, hosts: &[&'static str], version| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            host(&Uri::from_static(uri), &headers, version).map(Cow::into_owned).ok()
        };
        let v1 = Version::HTTP_11;
        assert_eq!(named("/a", &["Example:80"], v1).as_deref(), Some("example:80"));
        assert_eq!(named("http://other/a", &["x"], v1).as_deref(), Some("other"));
        assert_eq!(named("/a", &[], Version::HTTP_10).as_deref(), Some("localhost"));
        for hosts in [&[][..], &["a", "a"], &["a@b"], &["a b"], &["a/b"], &[""]] {
            assert_eq!(named("/a", hosts, v1), None, "{hosts:?}");
        }
    }
}
