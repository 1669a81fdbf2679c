//! Requests as players send them: reads without a body, or small posts to one path with theirs. What is anything else
//! is left to hyper: this reads nothing leniently.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

/// Fields beyond these are hyper's to count.
const FIELDS: usize = 64;

/// Which requests are taken.
#[derive(Debug, Clone, Copy, Default)]
pub enum Kind {
    /// `GET` and `HEAD` without a body.
    #[default]
    Reads,
    Posts(Posts),
}

/// `POST` to one path, with a length of at most so many bytes, of anything but a page: what a browser's page asks is
/// answered with what only browsers want to know.
#[derive(Debug, Clone, Copy)]
pub struct Posts {
    pub to: &'static str,
    pub most: usize,
}

/// A request, and what of the connection was its.
#[derive(Debug)]
pub struct Taken {
    pub parts: Box<Parts>,
    pub body: Bytes,
    pub after: After,
}

/// What the first bytes of a connection's rest are.
#[derive(Debug)]
pub enum Found {
    Request(Taken),
    /// More has to come.
    Partial,
    /// Not of the kind that is answered here, or nothing that is HTTP.
    Unusual,
}

/// What becomes of the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Next,
    Close,
}

/// Where a field's value stands.
type Field = (HeaderName, Range<usize>);

/// Reads requests; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub struct Heads {
    kind: Kind,
    fields: Vec<Field>,
    /// An answered request, whose memory the next one takes.
    spare: Option<Box<Parts>>,
    /// Of a head that has begun, so much was looked at and does not end.
    seen: usize,
    /// Bytes of a request whose head is there and whose body is not yet; else 0.
    needs: usize,
}

/// What of a request is not in its fields.
struct Line {
    method: Method,
    target: Range<usize>,
    after: After,
    /// Of the head, with its empty line, and of the body.
    length: usize,
    body: usize,
}

impl Heads {
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Takes a request off the buffer, once all of it is there.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Found {
        // Read once more only when it is all there, or one that comes byte by byte would be read as often.
        let seen = std::mem::replace(&mut self.seen, buffer.len());
        let whole = match self.needs {
            0 => seen == 0 || has_an_empty_line(&buffer[seen.saturating_sub(3)..]),
            needs => buffer.len() >= needs,
        };
        if !whole {
            return Found::Partial;
        }
        let found = self.parse(buffer);
        if !matches!(found, Found::Partial) {
            (self.seen, self.needs) = (0, 0);
        }
        found
    }

    /// Whether all of a head is there, and not all of its body.
    #[must_use]
    pub fn awaits_a_body(&self) -> bool {
        self.needs > 0
    }

    fn parse(&mut self, buffer: &mut BytesMut) -> Found {
        let mut room = [const { MaybeUninit::uninit() }; FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(buffer, &mut room) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Found::Partial,
            Err(_) => return Found::Unusual,
        };
        let Some(target) = parsed.path.filter(|path| parsed.version == Some(1) && path.starts_with('/')) else {
            return Found::Unusual;
        };
        let Some(method) = self.kind.method(parsed.method, target) else { return Found::Unusual };
        let target = place(buffer, target.as_bytes());
        let mut line = Line { method, target, after: After::Next, length, body: 0 };
        self.fields.clear();
        for field in &*parsed.headers {
            match self.kind.bearing(field) {
                Bearing::None => {}
                Bearing::Closes => line.after = After::Close,
                Bearing::Length(body) if line.body == 0 => line.body = body,
                Bearing::Length(_) | Bearing::Unusual => return Found::Unusual,
            }
            let Ok(name) = HeaderName::from_bytes(field.name.as_bytes()) else { return Found::Unusual };
            self.fields.push((name, place(buffer, field.value)));
        }
        if matches!(self.kind, Kind::Posts(_)) && line.body == 0 {
            return Found::Unusual;
        }
        if buffer.len() < length + line.body {
            self.needs = length + line.body;
            return Found::Partial;
        }
        self.build(buffer, line).map_or(Found::Unusual, Found::Request)
    }

    /// Takes the request off the buffer; where it is none after all, that was never read.
    fn build(&mut self, buffer: &mut BytesMut, line: Line) -> Option<Taken> {
        let Line { method, target, after, length, body } = line;
        let head = buffer.split_to(length).freeze();
        let Some(parts) = self.parts(&head, method, target) else {
            let mut whole = BytesMut::from(&head[..]);
            whole.extend_from_slice(buffer);
            *buffer = whole;
            return None;
        };
        // Nothing is cut off for nothing: that would cost a read what it does not have.
        let body = if body > 0 { buffer.split_to(body).freeze() } else { Bytes::new() };
        Some(Taken { parts, body, after })
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
    pub fn done(&mut self, mut parts: Box<Parts>) {
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
    /// Of the body, more than nothing.
    Length(usize),
    Unusual,
}

impl Kind {
    fn method(self, method: Option<&str>, target: &str) -> Option<Method> {
        match (self, method) {
            (Self::Reads, Some("GET")) => Some(Method::GET),
            (Self::Reads, Some("HEAD")) => Some(Method::HEAD),
            (Self::Posts(Posts { to, .. }), Some("POST")) => {
                let rest = target.strip_prefix(to)?;
                (rest.is_empty() || rest.starts_with('?')).then_some(Method::POST)
            }
            _ => None,
        }
    }

    fn bearing(self, field: &httparse::Header<'_>) -> Bearing {
        const UNUSUAL: [&str; 7] =
            ["transfer-encoding", "upgrade", "expect", "te", "trailer", "http2-settings", "proxy-connection"];
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("connection") {
            return match field.value {
                value if value.eq_ignore_ascii_case(b"keep-alive") => Bearing::None,
                value if value.eq_ignore_ascii_case(b"close") => Bearing::Closes,
                _ => Bearing::Unusual,
            };
        }
        match self {
            Self::Posts(Posts { most, .. }) if is("content-length") => length(field.value, most),
            Self::Posts(_) if is("origin") => Bearing::Unusual,
            Self::Reads if is("content-length") => Bearing::Unusual,
            _ if UNUSUAL.into_iter().any(is) => Bearing::Unusual,
            _ => Bearing::None,
        }
    }
}

/// Digits and nothing else (RFC 9112, section 6.3).
fn length(value: &[u8], most: usize) -> Bearing {
    let digits = value.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    length.filter(|length| (1..=most).contains(length)).map_or(Bearing::Unusual, Bearing::Length)
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
        let Found::Request(Taken { parts, after: After::Next, .. }) = found else { panic!("{found:?}") };
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
            assert!(matches!(found, Found::Request(Taken { after, .. }) if after == wanted), "{found:?}");
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
        let Found::Request(first) = heads.take(&mut buffer) else { panic!("no request") };
        heads.done(first.parts);
        let Found::Request(Taken { parts: second, .. }) = heads.take(&mut buffer) else { panic!("no second request") };
        assert_eq!((second.method, second.uri.path()), (Method::HEAD, "/b"));
        assert_eq!((second.headers.len(), &second.headers["host"]), (1, &HeaderValue::from_static("z")));
    }

    const POSTS: Kind = Kind::Posts(Posts { to: "/v1/events", most: 99 });

    #[test]
    fn a_post_is_taken_with_its_body_in_whatever_pieces_it_comes() {
        let whole = "POST /v1/events?key=k HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{\"a\":1}POST";
        for step in 1..=whole.len() {
            let (mut heads, mut buffer, mut taken) = (Heads::new(POSTS), BytesMut::new(), None);
            for piece in whole.as_bytes().chunks(step) {
                buffer.extend_from_slice(piece);
                match taken {
                    Some(_) => {}
                    None => match heads.take(&mut buffer) {
                        Found::Request(request) => taken = Some(request),
                        found => assert!(matches!(found, Found::Partial), "{found:?}"),
                    },
                }
            }
            let Some(Taken { parts, body, after: After::Next }) = taken else { panic!("in steps of {step}") };
            assert_eq!((parts.method, parts.uri.to_string()), (Method::POST, "/v1/events?key=k".to_owned()));
            assert_eq!((&body[..], &buffer[..]), (&b"{\"a\":1}"[..], &b"POST"[..]));
        }
    }

    #[test]
    fn it_is_told_where_only_the_body_is_late() {
        let mut heads = Heads::new(POSTS);
        let mut buffer = BytesMut::from("POST /v1/events HTTP/1.1\r\ncontent-length: 2\r\n\r");
        assert!(matches!(heads.take(&mut buffer), Found::Partial) && !heads.awaits_a_body());
        buffer.extend_from_slice(b"\n{");
        assert!(matches!(heads.take(&mut buffer), Found::Partial) && heads.awaits_a_body());
        buffer.extend_from_slice(b"}");
        assert!(matches!(heads.take(&mut buffer), Found::Request(_)) && !heads.awaits_a_body() && buffer.is_empty());
    }

    #[test]
    fn posts_that_are_unusual_stay_as_they_were() {
        for text in [
            "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /v1/eventsx HTTP/1.1\r\nContent-Length: 1\r\n\r\n1",
            "POST /v1/cmcd HTTP/1.1\r\nContent-Length: 1\r\n\r\n1",
            "POST /v1/events HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /v1/events HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "POST /v1/events HTTP/1.1\r\nContent-Length: 100\r\n\r\n1",
            "POST /v1/events HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n1",
            "POST /v1/events HTTP/1.1\r\nContent-Length: +1\r\n\r\n1",
            "POST /v1/events HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n1",
            "POST /v1/events HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
            "POST /v1/events HTTP/1.1\r\nContent-Length:\r\n\r\n1",
            "POST /v1/events HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1",
            "POST /v1/events HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n1",
            "POST /v1/events HTTP/1.1\r\nContent-Length: 1\r\nOrigin: https://x\r\n\r\n1",
        ] {
            let mut buffer = BytesMut::from(text);
            let found = Heads::new(POSTS).take(&mut buffer);
            assert!(matches!(found, Found::Unusual), "{text}: {found:?}");
            assert_eq!(buffer, text);
        }
    }
}
