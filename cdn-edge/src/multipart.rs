//! `multipart/byteranges` (RFC 9110, section 14.6): several parts of an object in one answer.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;

/// What is left to send: heads and the ranges that follow them, and the closing delimiter.
#[derive(Debug)]
pub struct Parts {
    heads: VecDeque<(Bytes, Option<Range<u64>>)>,
}

impl Parts {
    #[must_use]
    pub fn new(ranges: &[Range<u64>], size: u64, content_type: Option<&HeaderValue>, boundary: &str) -> Self {
        let mut heads = VecDeque::with_capacity(ranges.len() + 1);
        for range in ranges {
            let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(content_type) = content_type {
                head.extend_from_slice(b"content-type: ");
                head.extend_from_slice(content_type.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
            let told = format!("content-range: bytes {}-{}/{size}\r\n\r\n", range.start, range.end - 1);
            head.extend_from_slice(told.as_bytes());
            heads.push_back((head.into(), Some(range.clone())));
        }
        heads.push_back((format!("\r\n--{boundary}--\r\n").into(), None));
        Self { heads }
    }

    /// Bytes of all that is left.
    #[must_use]
    pub fn len(&self) -> u64 {
        let part = |(head, range): &(Bytes, Option<Range<u64>>)| {
            head.len() as u64 + range.as_ref().map_or(0, |range| range.end - range.start)
        };
        self.heads.iter().map(part).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
}

impl Iterator for Parts {
    type Item = (Bytes, Option<Range<u64>>);

    fn next(&mut self) -> Option<Self::Item> {
        self.heads.pop_front()
    }
}

/// A delimiter that no body has by chance.
#[must_use]
pub fn boundary() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_14_6_layout() {
        let content_type = HeaderValue::from_static("audio/mp4");
        let parts = Parts::new(&[0..2, 7..8], 9, Some(&content_type), "B");
        let len = parts.len();
        let text: String = parts
            .map(|(head, range)| {
                let body =
                    range.map_or(String::new(), |range| "abcdefghi"[range.start as usize..range.end as usize].into());
                String::from_utf8_lossy(&head).into_owned() + &body
            })
            .collect();
        let wanted = "\r\n--B\r\ncontent-type: audio/mp4\r\ncontent-range: bytes 0-1/9\r\n\r\nab\
                      \r\n--B\r\ncontent-type: audio/mp4\r\ncontent-range: bytes 7-7/9\r\n\r\nh\r\n--B--\r\n";
        assert_eq!((text.as_str(), text.len() as u64), (wanted, len));
    }
}
