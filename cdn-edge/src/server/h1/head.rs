//! A request's head as players send it. What is anything else is left to hyper: this reads nothing leniently.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

/// Fields beyond these are hyper's to count.
const FIELDS: usize = 64;

/// What the first bytes of a connection's rest are.
#[derive(Debug)]
pub(crate) enum Found {
    Request(Box<Parts>, After),
    /// More has to come.
    Partial,
    /// Not of the kind that is answered here, or nothing that is HTTP.
    Unusual,
}

/// What becomes of the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Next,
    Close,
}

/// Where a field's value stands.
type Field = (HeaderName, Range<usize>);

/// Reads heads; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    fields: Vec<Field>,
    /// An answered request, whose memory the next one takes.
    spare: Option<Box<Parts>>,
    /// Of a head that has begun, so much was looked at and does not end.
    seen: usize,
}

impl Heads {
    /// Takes a request without a body off the buffer.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Found {
        // Read once more only when it is all there, or one that comes byte by byte would be read as often.
        let seen = std::mem::replace(&mut self.seen, buffer.len());
        if seen > 0 && !has_an_empty_line(&buffer[seen.saturating_sub(3)..]) {
            return Found::Partial;
        }
        let found = self.parse(buffer);
        if !matches!(found, Found::Partial) {
            self.seen = 0;
        }
        found
    }

    fn parse(&mut self, buffer: &mut BytesMut) -> Found {
        let mut room = [const { MaybeUninit::uninit() }; FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(buffer, &mut room) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Found::Partial,
            Err(_) => return Found::Unusual,
        };
        let method = match parsed.method {
            Some("GET") => Method::GET,
            Some("HEAD") => Method::HEAD,
            _ => return Found::Unusual,
        };
        let Some(target) = parsed.path.filter(|path| parsed.version == Some(1) && path.starts_with('/')) else {
            return Found::Unusual;
        };
        let target = place(buffer, target.as_bytes());
        self.fields.clear();
        let mut after = After::Next;
        for field in &*parsed.headers {
            match bearing(field) {
                Bearing::None => {}
                Bearing::Closes => after = After::Close,
                Bearing::Unusual => return Found::Unusual,
            }
            let Ok(name) = HeaderName::from_bytes(field.name.as_bytes()) else { return Found::Unusual };
            self.fields.push((name, place(buffer, field.value)));
        }
        self.build(buffer, length, method, target).map_or(Found::Unusual, |parts| Found::Request(parts, after))
    }

    /// Takes the head off the buffer; where it is no request after all, that was never read.
    fn build(
        &mut self,
        buffer: &mut BytesMut,
        length: usize,
        method: Method,
        target: Range<usize>,
    ) -> Option<Box<Parts>> {
        let head = buffer.split_to(length).freeze();
        let built = self.parts(&head, method, target);
        if built.is_none() {
            let mut whole = BytesMut::from(&head[..]);
            whole.extend_from_slice(buffer);
            *buffer = whole;
        }
        built
    }

    fn parts(&mut self, head: &Bytes, method: Method, target: Range<usize>) -> Option<Box<Parts>> {
        let mut parts = self.spare.take().unwrap_or_else(|| Box::new(Request::new(()).into_parts().0));
        parts.method = method;
        parts.uri = Uri::from_maybe_shared(head.slice(target)).ok()?;
        for (name, value) in self.fields.drain(..) {
            parts.headers.append(name, HeaderValue::from_maybe_shared(head.slice(value)).ok()?);
        }
        Some(parts)
    }

    /// Takes back what an answered request was made of. Nothing of it stays, or the buffer could not be used again.
    pub(super) fn done(&mut self, mut parts: Box<Parts>) {
        parts.headers.clear();
        parts.extensions.clear();
        parts.uri = Uri::default();
        self.spare = Some(parts);
    }
}

fn has_an_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|end| end == b"\n\n") || bytes.windows(3).any(|end| end == b"\n\r\n")
}

/// What a field has to say about the message and the connection themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bearing {
    None,
    Closes,
    Unusual,
}

fn bearing(field: &httparse::Header<'_>) -> Bearing {
    const UNUSUAL: [&str; 8] = [
        "content-length",
        "transfer-encoding",
        "upgrade",
        "expect",
        "te",
        "trailer",
        "http2-settings",
        "proxy-connection",
    ];
    let is = |name: &str| field.name.eq_ignore_ascii_case(name);
    if is("connection") {
        return match field.value {
            value if value.eq_ignore_ascii_case(b"keep-alive") => Bearing::None,
            value if value.eq_ignore_ascii_case(b"close") => Bearing::Closes,
            _ => Bearing::Unusual,
        };
    }
    if UNUSUAL.into_iter().any(is) { Bearing::Unusual } else { Bearing::None }
}

/// Where in the buffer these bytes of it are.
fn place(buffer: &BytesMut, bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr().addr() - buffer.as_ptr().addr();
    start..start + bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> (Found, BytesMut) {
        let mut buffer = BytesMut::from(text);
        (Heads::default().take(&mut buffer), buffer)
    }

    #[test]
    fn a_request_is_taken_and_what_follows_is_left() {
        let (found, rest) = take("GET /a?b=c HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\nrange: z\r\n\r\nGET /n");
        let Found::Request(parts, After::Next) = found else { panic!("{found:?}") };
        assert_eq!((parts.method, parts.uri.to_string()), (Method::GET, "/a?b=c".to_owned()));
        let ranges: Vec<_> = parts.headers.get_all("range").iter().collect();
        assert_eq!(ranges, ["bytes=0-1", "z"]);
        assert_eq!(parts.headers["host"], "x");
        assert_eq!(rest, "GET /n");
    }

    #[test]
    fn the_connection_is_kept_unless_it_is_to_close() {
        for (value, wanted) in [("Keep-Alive", After::Next), ("CLOSE", After::Close)] {
            let (found, _) = take(&format!("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: {value}\r\n\r\n"));
            assert!(matches!(found, Found::Request(_, after) if after == wanted), "{found:?}");
        }
    }

    #[test]
    fn what_is_unusual_stays_as_it_was() {
        for text in [
            "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close, x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n",
            "GET /\u{7f} HTTP/1.1\r\nHost: x\r\n\r\nmore",
        ] {
            let (found, rest) = take(text);
            assert!(matches!(found, Found::Unusual), "{text}: {found:?}");
            assert_eq!(rest, text);
        }
    }

    #[test]
    fn a_head_may_come_in_pieces() {
        let whole = "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
        for step in 1..whole.len() {
            let (mut heads, mut buffer) = (Heads::default(), BytesMut::new());
            for piece in whole.as_bytes().chunks(step) {
                buffer.extend_from_slice(piece);
                let found = heads.take(&mut buffer);
                match buffer.len() {
                    0 => assert!(matches!(found, Found::Request(..)), "{found:?}"),
                    _ => assert!(matches!(found, Found::Partial), "{found:?}"),
                }
            }
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn nothing_of_one_request_stays_for_the_next() {
        let mut buffer =
            BytesMut::from("GET /a HTTP/1.1\r\nHost: x\r\nRange: y\r\n\r\nHEAD /b HTTP/1.1\r\nHost: z\r\n\r\n");
        let mut heads = Heads::default();
        let Found::Request(first, _) = heads.take(&mut buffer) else { panic!("no request") };
        heads.done(first);
        let Found::Request(second, _) = heads.take(&mut buffer) else { panic!("no second request") };
        assert_eq!((second.method, second.uri.path()), (Method::HEAD, "/b"));
        assert_eq!((second.headers.len(), &second.headers["host"]), (1, &HeaderValue::from_static("z")));
    }
}
