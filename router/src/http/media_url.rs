//! URLs that players get.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use wire::{DecisionId, ObjectKey};

/// All but RFC 3986's unreserved characters and the slash between segments.
const SEGMENTS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// An object at an edge, with the decision that sent the listener there.
pub(super) fn object(edge_url: &str, key: &ObjectKey, decision: DecisionId) -> String {
    format!("{edge_url}/{}?decision_id={decision}", utf8_percent_encode(key.as_str(), SEGMENTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_by_segment() {
        let id: DecisionId = "01935b0e-0000-7000-8000-000000000000".parse().unwrap();
        let key = ObjectKey::new("müsik/a b?c#d%/♪.m4a").unwrap();
        assert_eq!(
            object("http://fra-1:7200", &key, id),
            "http://fra-1:7200/m%C3%BCsik/a%20b%3Fc%23d%25/%E2%99%AA.m4a?decision_id=01935b0e-0000-7000-8000-000000000000"
        );
    }
}
