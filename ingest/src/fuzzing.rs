//! What `fuzz/` calls: each parser with any bytes. A panic is a bug, and so is an answer that blames us.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use service::Problem;
use service::http::head::{Found, Heads, Kind, Taken};
use wire::Timestamp;
use wire::event::{Event, EventRef};

use crate::body;
use crate::direct::POSTS;
use crate::formats::{Format, cmcd, listenbrainz};
use crate::inflate::{Encoding, Limits};

/// A request for events as a connection brings it. What is taken is one request and its body, as long as it says, in
/// whatever pieces it comes; what is not taken stays.
pub fn post(data: &[u8]) {
    let kind = Kind::Posts(POSTS);
    let mut buffer = BytesMut::from(data);
    let Found::Request(Taken { parts, body, after }) = Heads::new(kind).take(&mut buffer) else {
        return assert_eq!(buffer, data);
    };
    let whole = &data[..data.len() - buffer.len()];
    assert!(whole.ends_with(&body) && data.ends_with(&buffer) && body.len() <= POSTS.most);
    let lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
    let told: Vec<Option<usize>> = lengths.map(|length| length.to_str().ok()?.parse().ok()).collect();
    assert_eq!(told, [Some(body.len())], "as long as one field says");
    assert!(!parts.headers.contains_key(header::TRANSFER_ENCODING) && parts.uri.path() == POSTS.to);
    let (mut heads, mut pieces) = (Heads::new(kind), BytesMut::new());
    for cut in 0..whole.len().min(400) {
        pieces.extend_from_slice(&whole[cut..=cut]);
        match heads.take(&mut pieces) {
            Found::Partial => assert!(cut + 1 < whole.len(), "a request has one end"),
            Found::Request(again) => {
                assert_eq!((cut + 1, again.body, again.after), (whole.len(), body, after));
                return assert_eq!((again.parts.uri, again.parts.headers), (parts.uri, parts.headers));
            }
            Found::Unusual => panic!("it was taken before"),
        }
    }
}

/// JSON and NDJSON, cut and read.
pub fn events(data: &[u8]) {
    for format in [Format::Json, Format::Ndjson] {
        read_all(format, &HeaderMap::new(), data);
    }
}

/// CloudEvents: one, a batch, and one whose attributes come from the bytes' first lines.
pub fn cloud_event(data: &[u8]) {
    for format in [Format::CloudEvent, Format::CloudEventBatch] {
        read_all(format, &HeaderMap::new(), data);
    }
    let mut headers = HeaderMap::new();
    let mut rest = data;
    for name in ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-ext"] {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
        if let Ok(value) = HeaderValue::from_bytes(&rest[..end]) {
            headers.insert(HeaderName::from_static(name), value);
        }
        rest = &rest[end + 1..];
    }
    read_all(Format::CloudEventData, &headers, rest);
}

fn read_all(format: Format, headers: &HeaderMap, data: &[u8]) {
    let Ok(elements) = format.cut(data).map_err(|problem| blames_the_sender(&problem)) else { return };
    for element in elements {
        // The short way to read an event says what the long one says.
        if let Some(event) = EventRef::read(element) {
            assert_eq!(Event::parse(element).as_ref().map(EventRef::from), Ok(event));
        }
        // What was read is written to Kafka, and read there again.
        if let Ok(event) = format.read(element, headers, "web") {
            let written = serde_json::to_vec(&event).expect("an event is written to memory");
            assert_eq!(Event::parse(&written).expect("what we write is an event"), event);
        }
    }
}

pub fn cmcd(data: &[u8]) {
    let plays = cmcd::plays::Plays::new();
    for line in body::lines(data).unwrap_or_default() {
        if let Ok(event) = cmcd::event(line, "web", &plays) {
            serde_json::to_vec(&event).expect("an event is written to memory");
        }
    }
}

pub fn listens(data: &[u8]) {
    let now = Timestamp::from_millis(1_795_251_600_000).expect("in range");
    if let Ok(submission) = listenbrainz::parse(data, now) {
        let listener = listenbrainz::Listener { app: "web", user_id: "u", pseudonym: "1:p" };
        assert_eq!(submission.events(&listener, now).len(), submission.listens.len());
    }
}

/// Both encodings, within a small bound.
pub fn inflate(data: &[u8]) {
    let limits = Limits { max_bytes: 1 << 20, max_ratio: 100 };
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        match crate::inflate::inflate(encoding, data, limits, |_| Ok(())) {
            Ok(body) => assert!(body.len() <= limits.max_bytes),
            Err(problem) => blames_the_sender(&problem),
        }
    }
}

fn blames_the_sender(problem: &Problem) {
    assert!(problem.status.is_client_error(), "{problem:?}");
}

#[cfg(test)]
mod tests {
    type Target = fn(&[u8]);

    /// The seeds of each target, so that none of them rots.
    #[test]
    fn seeds_are_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        let targets: [(&str, Target); 6] = [
            ("post", super::post),
            ("events", super::events),
            ("cloud_event", super::cloud_event),
            ("cmcd", super::cmcd),
            ("listens", super::listens),
            ("inflate", super::inflate),
        ];
        for (name, target) in targets {
            let seeds: Vec<_> =
                std::fs::read_dir(folder.join(name)).unwrap().map(|seed| seed.unwrap().path()).collect();
            assert!(!seeds.is_empty(), "{name}");
            seeds.iter().for_each(|seed| target(&std::fs::read(seed).unwrap()));
        }
    }
}
