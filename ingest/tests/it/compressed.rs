//! Compressed bodies, whole and broken.

use std::io::Write;

use serde_json::Value;

use crate::support::{Stack, events, kind, post_with};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const ZSTD: (&str, &str) = ("content-encoding", "zstd");

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

fn lines(n: usize) -> Vec<u8> {
    events(n).iter().map(|event: &Value| format!("{event}\n")).collect::<String>().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_events_land() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    // Small enough to be inflated on the spot, and not.
    for n in [1, 2000] {
        assert_eq!(post_with(&ingest, &[NDJSON, GZIP], gzip(&lines(n))).await.status, 202);
        assert_eq!(post_with(&ingest, &[NDJSON, ZSTD], zstd(&lines(n))).await.status, 202);
    }
    let members = [gzip(&lines(1)), gzip(&lines(1))].concat();
    assert_eq!(post_with(&ingest, &[NDJSON, GZIP], members).await.status, 202);
    stack.adds_up(4004).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_and_boundless_bodies_are_told_apart() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[("TONEARM_INGEST_MAX_INFLATED", "1MiB")]).await;
    for (encoding, pack) in [(GZIP, gzip as fn(&[u8]) -> Vec<u8>), (ZSTD, zstd)] {
        let whole = pack(&lines(100));
        let cases = [
            (whole[..whole.len() / 2].to_vec(), (400, "body-broken")),
            ([&whole[..], b"garbage"].concat(), (400, "body-broken")),
            (lines(1), (400, "body-broken")),
            (pack(&vec![b' '; 500_000]), (413, "ratio-too-high")),
            (pack(&vec![b' '; 200 << 20]), (413, "ratio-too-high")),
            (pack(&lines(9000)), (413, "body-too-large")),
            (pack(b"{\"a\""), (400, "")),
        ];
        for (body, (status, wanted)) in cases {
            let answer = post_with(&ingest, &[NDJSON, encoding], body).await;
            match wanted {
                "" => assert_eq!(answer.status, status),
                wanted if status == 413 => assert_eq!((kind(&answer).0, encoding), (413, encoding), "{wanted}"),
                wanted => assert_eq!(kind(&answer), (status, wanted.to_owned()), "{encoding:?}"),
            }
        }
    }
    for encoding in ["br", "deflate", "gzip, gzip"] {
        let answer = post_with(&ingest, &[NDJSON, ("content-encoding", encoding)], lines(1)).await;
        assert_eq!(kind(&answer), (415, "unsupported-encoding".into()));
        assert_eq!(answer.headers["accept-encoding"], "gzip, zstd");
        assert_eq!(answer.json::<Value>().unwrap()["field"], "Content-Encoding");
    }
    // Nothing of what was refused is still held.
    assert_eq!(post_with(&ingest, &[NDJSON, GZIP], gzip(&lines(2000))).await.status, 202);
}
