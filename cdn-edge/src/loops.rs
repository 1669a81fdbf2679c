//! Requests that come back to us (RFC 8586): `CDN-Loop` lists who has passed a request on.

use http::{HeaderMap, HeaderName, HeaderValue};

pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Whether we have passed the request on before.
#[must_use]
pub fn is_loop(headers: &HeaderMap, me: &str) -> bool {
    let values = headers.get_all(CDN_LOOP).iter().filter_map(|value| value.to_str().ok());
    // Parameters are for those who wrote them.
    values.flat_map(|value| value.split(',')).any(|member| member.split(';').next().is_some_and(|id| id.trim() == me))
}

/// Puts us at the end of it.
pub fn append(headers: &mut HeaderMap, me: &str) {
    if let Ok(value) = HeaderValue::try_from(me) {
        headers.append(CDN_LOOP, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8586_2_knows_itself_among_others() {
        let with = |values: &[&'static str]| {
            HeaderMap::from_iter(values.iter().map(|value| (CDN_LOOP, HeaderValue::from_static(value))))
        };
        assert!(is_loop(&with(&["other, fra-1; a=\"x\"", "z"]), "fra-1"));
        assert!(is_loop(&with(&["z", "fra-1"]), "fra-1"));
        assert!(!is_loop(&with(&["fra-10, fra", "a;b=fra-1"]), "fra-1"));
        let mut headers = with(&["a"]);
        append(&mut headers, "fra-1");
        assert!(is_loop(&headers, "fra-1") && headers.get_all(CDN_LOOP).iter().count() == 2);
    }
}
