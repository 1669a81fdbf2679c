//! What a client sends: the head of a request, its range, its token.

use std::sync::{Arc, LazyLock};

use bytes::BytesMut;
use http::request::Parts;
use http::{Request, Version, header};
use service::http::head::{After, Found, Heads, Taken};
use service::url_keys::UrlKeys;
use wire::token::keys::KeySet;
use wire::token::{self, Claims, Refusal};
use wire::{ObjectKey, Timestamp};

use crate::directives::RequestDirectives;
use crate::library::wish::Wants;
use crate::multipart::Parts as Multipart;
use crate::object::{CHUNK, chunks};
use crate::range::{RangeSpec, Ranges, Selected};
use crate::request;
use crate::server::admission::{Pressure, cost};
use crate::server::gate::Gate;

/// A head as a connection brings it. What is taken is one head, framed as everybody else frames it; what is not
/// taken stays.
pub fn request(data: &[u8]) {
    let mut buffer = BytesMut::from(data);
    let (parts, after) = match Heads::default().take(&mut buffer) {
        Found::Request(Taken { parts, after, .. }) => (parts, after),
        Found::Partial | Found::Unusual => return assert_eq!(buffer, data),
    };
    let head = &data[..data.len() - buffer.len()];
    assert_eq!(buffer, &data[head.len()..]);
    let lines = lines(head);
    assert_eq!(lines.len(), parts.headers.len() + 1, "a field was made or lost");
    assert!(
        !parts.headers.contains_key(header::CONTENT_LENGTH) && !parts.headers.contains_key(header::TRANSFER_ENCODING)
    );
    comes_back(&lines, &parts, after);
    if head.len() <= 300 {
        for cut in 0..head.len() {
            let mut begun = BytesMut::from(&head[..cut]);
            assert!(matches!(Heads::default().take(&mut begun), Found::Partial), "a head has one end");
        }
    }
    names(&parts);
}

/// The request line and the fields, up to the one empty line.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let begin = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).expect("a request has a first line");
    let mut lines: Vec<&[u8]> =
        head[begin..].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    assert!(lines.pop() == Some(b"") && lines.pop() == Some(b""), "a head ends with an empty line");
    assert!(lines.iter().all(|line| !line.is_empty() && !line.contains(&b'\r') && !line.contains(&0)));
    lines
}

/// Written anew as it was understood, it is understood the same.
fn comes_back(lines: &[&[u8]], parts: &Parts, after: After) {
    let target = lines[0].split(|byte| *byte == b' ').nth(1).expect("a request line has a target");
    let mut written = Vec::from(parts.method.as_str().as_bytes());
    written.extend_from_slice(&[b" ", target, b" HTTP/1.1\r\n"].concat());
    for (name, value) in &parts.headers {
        written.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    written.extend_from_slice(b"\r\nGET");
    let mut buffer = BytesMut::from(&written[..]);
    let Found::Request(taken) = Heads::default().take(&mut buffer) else { panic!("taken once only") };
    let Taken { parts: again, after: after_again, .. } = taken;
    assert_eq!((&again.method, &again.uri, &again.headers), (&parts.method, &parts.uri, &parts.headers));
    assert_eq!((after_again, &buffer[..]), (after, &b"GET"[..]));
}

/// What is looked up for it, in a bucket and at a web origin.
fn names(parts: &Parts) {
    if let Ok(text) = request::key_text(&parts.uri)
        && ObjectKey::new(&*text).is_ok()
    {
        assert!(text.split('/').all(|segment| !matches!(segment, "" | "." | "..")), "{text:?} climbs");
    }
    if let Ok(host) = service::http::host(&parts.uri, &parts.headers, Version::HTTP_11) {
        assert!(!host.is_empty() && !host.contains(['/', '@', '\\', ' ', '?', '#']), "{host:?} is no host");
        assert_eq!(host.to_ascii_lowercase(), host);
    }
    for in_fleet in [false, true] {
        assert!(request::target(&parts.uri, in_fleet).starts_with('/'));
    }
    let _ = (request::decision_id(&parts.uri), RequestDirectives::of(&parts.headers));
    if let Some(range) = parts.headers.get(header::RANGE) {
        parsed_range(range.as_bytes(), 1000);
    }
}

/// Eight bytes of size, then a `Range`.
pub fn range(data: &[u8]) {
    let Some((size, text)) = data.split_first_chunk::<8>() else { return };
    // The configuration allows no larger ones.
    parsed_range(text, u64::from_le_bytes(*size) % (chunks::MOST * CHUNK + 1));
}

/// What is sent lies within the object, each byte at most once, and is all that was asked for.
fn parsed_range(text: &[u8], size: u64) {
    let Some(ranges) = Ranges::parse(text) else { return };
    let first = ranges.first();
    assert_eq!(Ranges::parse(first.value().as_bytes()), Some(Ranges::One(first)), "it is asked for as it was read");
    assert!(cost(Wants::Part(first), false, Pressure::High).is_some_and(|units| units <= 96));
    let specs: Vec<RangeSpec> = match &ranges {
        Ranges::One(spec) => vec![*spec],
        Ranges::Several(specs) => specs.clone(),
    };
    let parts = ranges.select(size);
    assert!(specs.len() <= 32 && parts.len() <= specs.len());
    assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
    assert!(parts.windows(2).all(|two| two[0].end < two[1].start), "parts overlap or touch");
    for spec in specs {
        if let Selected::Part(asked) = spec.select(size) {
            assert!(
                parts.iter().any(|part| part.start <= asked.start && asked.end <= part.end),
                "{asked:?} is missing"
            );
        }
    }
    if parts.len() > 1 {
        let multipart = Multipart::new(&parts, size, None, "boundary");
        let (told, mut sent) = (multipart.len(), 0);
        for (head, range) in multipart {
            sent += head.len() as u64 + range.map_or(0, |range| range.end - range.start);
        }
        assert_eq!(told, sent);
    }
}

/// RFC 8037's and RFC 7515's examples, so that seeds stay good.
const KEYS: &[u8] = br#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"e","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"oct","kid":"h","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#;

static SET: LazyLock<KeySet> = LazyLock::new(|| KeySet::parse(KEYS).expect("a set of keys"));

static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let file = super::file(KEYS);
    Gate::new(Arc::new(UrlKeys::load(file.path(), None).expect("a file with a set of keys")))
});

/// Three bytes choose a key, a time and a bit to flip; the rest is a path, and a token of its own.
pub fn token(data: &[u8]) {
    let Some(([kid, hours, flip], rest)) = data.split_first_chunk::<3>() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    // Nobody else has these keys: what is read was signed here, in a seed or below.
    if let Ok(claims) = token::read(&SET, text) {
        let signed = ["e", "h"].map(|kid| token::sign(&SET, kid, &claims).expect("both keys sign"));
        assert!(signed.iter().any(|signed| signed == text), "a token that was not signed opens");
    }
    let kid = if kid % 2 == 0 { "e" } else { "h" };
    let (path, folder) = (text, text.rsplit_once('/').map_or("/", |(folder, _)| folder));
    let exp = 3600 * i64::from(*hours);
    let claims = Claims { path: folder.to_owned(), exp, nbf: None, tier: None, decision_id: None };
    let signed = token::sign(&SET, kid, &claims).expect("both keys sign");
    match token::read(&SET, &signed) {
        Ok(read) => assert_eq!(read, claims),
        Err(refusal) => assert!(refusal == Refusal::Malformed && signed.len() > token::MAX_BYTES),
    }
    opens(&claims, path);
    let mut other = signed.clone().into_bytes();
    let at = usize::from(*flip) * other.len() / 256;
    other[at] ^= 1;
    if let Ok(other) = String::from_utf8(other) {
        assert!(token::read(&SET, &other).is_err(), "a token was changed and still opens");
    }
    leaves_nothing(&signed, path, exp);
}

fn opens(claims: &Claims, path: &str) {
    if claims.open(path, claims.exp - 1).is_ok() {
        assert!(path.starts_with(&claims.path) && path.split('/').all(|segment| segment != ".."));
    }
    assert_eq!(claims.open(path, claims.exp), Err(Refusal::Expired));
}

/// Wherever a token stands, nothing behind the gate sees it.
fn leaves_nothing(token: &str, path: &str, exp: i64) {
    let mark = if path.contains('?') { '&' } else { '?' };
    for target in [format!("/.tonearm/t/{token}{path}"), format!("{path}{mark}tonearm_token={token}")] {
        let request = Request::builder().uri(&target).header(header::COOKIE, format!("a=b; tonearm_token={token}"));
        let request = request.header(header::REFERER, format!("https://x/.tonearm/t/{token}/"));
        // Not each text is a path.
        let Ok(request) = request.body(()) else { continue };
        let (mut head, ()) = request.into_parts();
        let now = Timestamp::from_millis((exp - 1).max(0) * 1000).expect("within the first days of 1970");
        // Refused or let in, the token is taken out.
        let _ = GATE.admit(&mut head, now);
        let left = format!("{} {:?}", head.uri, head.headers);
        assert!(!left.contains(token), "{target}: {left}");
    }
}
