//! What `fuzz/` calls: each parser of what clients and origins send, and each log that a start reads, with any
//! bytes. A panic is a bug, and so is whatever the functions below assert against.

mod fields;
mod logs;
mod requests;

pub use fields::{fields, telemetry};
pub use logs::{index_log, journal, logs};
pub use requests::{range, request, token};

use std::io::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers of an HTTP message, a line each; what is no field is passed over.
fn header_lines(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A message has as many at most.
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// A file with these bytes, gone with the handle.
fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("a temporary file takes a few bytes");
    file
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 8] = [
        ("edge_request", super::request),
        ("edge_range", super::range),
        ("edge_token", super::token),
        ("edge_fields", super::fields),
        ("edge_telemetry", super::telemetry),
        ("edge_index_log", super::index_log),
        ("edge_logs", super::logs),
        ("edge_journal", super::journal),
    ];

    /// The seeds of each target, so that none of them rots.
    #[test]
    fn seeds_are_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for (name, target) in TARGETS {
            let seeds: Vec<_> =
                std::fs::read_dir(folder.join(name)).unwrap().map(|seed| seed.unwrap().path()).collect();
            assert!(!seeds.is_empty(), "{name}");
            seeds.iter().for_each(|seed| target(&std::fs::read(seed).unwrap()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn heads(text in "(GET|HEAD|PUT) /[ab%2./?#=&]{0,8} HTTP/1\\.[01](\r\n|\n)((Host|range|TE|Connection|x): ?[a-c ,=:\t\r]{0,6}(\r\n|\n)){0,4}(\r\n|\n)?.{0,9}") {
            super::request(text.as_bytes());
        }

        #[test]
        fn ranges(size in any::<[u8; 8]>(), text in "bytes ?= ?([0-9]{0,3}-[0-9]{0,20} ?,?){0,40}") {
            super::range(&[&size[..], text.as_bytes()].concat());
        }

        #[test]
        fn tokens(cut in any::<[u8; 3]>(), text in "/[a-c./%]{0,12}") {
            super::token(&[&cut[..], text.as_bytes()].concat());
        }

        #[test]
        fn responses(text in "((cache-control|cdn-cache-control|vary|age|expires|etag|accept-encoding|cache-status|if-none-match): ?([a-z0-9\";,= *-]{0,20}|max-age=[0-9]{0,20}|no-store|no-cache|private|W/\"a\"|gzip;q=0.[0-9]{0,4})\n){0,6}") {
            super::fields(text.as_bytes());
        }

        #[test]
        fn players(text in "CMCD=[a-z%0-9,=]{0,30}\n(cmcd-object: [a-z\",=0-9.()]{0,30}\n)?") {
            super::telemetry(text.as_bytes());
        }

        #[test]
        fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            TARGETS.iter().for_each(|(_, target)| target(&data));
        }
    }
}
