//! Header fields as they go out on the wire: one piece of memory, however many they are.
//!
//! A head that is held as a map takes five times the memory, and every hit would have to copy it and write it out.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use service::http::field::line;

const LINE_END: &[u8] = b"\r\n";

/// Lines of `name: value`, names in lower case. A value has no line feed, or it would be no [`HeaderValue`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Fields(Bytes);

impl Fields {
    #[must_use]
    pub fn of<'a>(headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Self {
        let mut lines = Vec::new();
        for (name, value) in headers {
            line(&mut lines, name.as_str(), value.as_bytes());
        }
        Self(lines.into_boxed_slice().into())
    }

    /// What [`line`] has written.
    #[must_use]
    pub fn of_lines(lines: Vec<u8>) -> Self {
        Self(lines.into())
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where the name of each field and its value stand.
    fn places(&self) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = &self.0[at..];
            let colon = rest.iter().position(|&byte| byte == b':')?;
            let end = rest.iter().position(|&byte| byte == b'\r')?;
            let found = (at..at + colon, at + colon + 2..at + end);
            at += end + LINE_END.len();
            Some(found)
        })
    }

    /// The first field of this name.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        let (_, value) = self.places().find(|(at, _)| self.0[at.clone()] == *name.as_str().as_bytes())?;
        HeaderValue::from_maybe_shared(self.0.slice(value)).ok()
    }

    /// Puts these fields behind those of a map.
    pub fn append_to(&self, headers: &mut HeaderMap) {
        for (name, value) in self.places() {
            let name = HeaderName::from_bytes(&self.0[name]);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(self.0.slice(value))) {
                headers.append(name, value);
            }
        }
    }

    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.append_to(&mut headers);
        headers
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn fields_come_back_as_they_were() {
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, HeaderValue::from_static("a=b: c"));
        headers.append(header::ETAG, HeaderValue::from_static("\":\""));
        headers.append(header::SET_COOKIE, HeaderValue::from_bytes(b"\xff\te").unwrap());
        headers.append("x-empty", HeaderValue::from_static(""));
        let fields = Fields::of(headers.iter());
        assert_eq!(fields.to_map(), headers);
        assert_eq!(fields.get(&header::SET_COOKIE).unwrap(), "a=b: c");
        assert_eq!(
            (fields.get(&header::ETAG).unwrap(), fields.get(&header::AGE)),
            (headers[header::ETAG].clone(), None)
        );
        assert_eq!(Fields::of(fields.to_map().iter()), fields);
        assert_eq!(Fields::default().to_map(), HeaderMap::new());
    }
}
