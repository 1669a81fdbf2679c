//! HEAD, ranges and conditions, on the real S3 server.

use http::Method;

use crate::client::{Got, get, get_range, send};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, Stage, noise};

/// Name, request headers, status, and the bytes of a 200 or 206.
type Case<'a> = (&'static str, Vec<(&'static str, &'a str)>, u16, Option<std::ops::Range<usize>>);

#[tokio::test]
async fn a_table_of_requests() {
    let (stage, s3) = Stage::before_s3(|_| ()).await;
    let bytes = noise(1, CHUNK + 1000);
    s3.put("a/song.m4a", "audio/mp4", bytes.clone()).await.unwrap();
    let url = stage.at("a/song.m4a");
    let head = send(Method::HEAD, &url, &[]).await;
    assert_eq!((head.status.as_u16(), head.bytes().len()), (200, 0));
    assert_eq!(head.header("content-length"), bytes.len().to_string());
    assert_eq!((head.header("accept-ranges"), head.header("content-type")), ("bytes", "audio/mp4"));
    let (etag, modified) = (head.header("etag"), head.header("last-modified"));
    assert!(etag.starts_with('"') && modified.ends_with("GMT"));

    let size = bytes.len();
    let weak = format!("W/{etag}");
    let whole = Some(0..size);
    let cases: Vec<Case<'_>> = vec![
        ("plain", vec![], 200, whole.clone()),
        ("first byte", vec![("range", "bytes=0-0")], 206, Some(0..1)),
        ("open-ended", vec![("range", "bytes=262140-")], 206, Some(262_140..size)),
        ("all as a part", vec![("range", "bytes=0-")], 206, whole.clone()),
        ("suffix", vec![("range", "bytes=-7")], 206, Some(size - 7..size)),
        ("past the end is clipped", vec![("range", "bytes=10-99999999999999999999")], 206, Some(10..size)),
        ("several that are near", vec![("range", "bytes=0-1,5-6")], 206, Some(0..7)),
        ("other unit", vec![("range", "seconds=0-1")], 200, whole.clone()),
        ("nonsense", vec![("range", "bytes=5-2")], 200, whole.clone()),
        ("unsatisfiable", vec![("range", "bytes=999999999-")], 416, None),
        ("empty suffix", vec![("range", "bytes=-0")], 416, None),
        ("if-none-match", vec![("if-none-match", etag)], 304, None),
        ("if-none-match weak", vec![("if-none-match", &weak)], 304, None),
        ("if-none-match other", vec![("if-none-match", "\"x\"")], 200, whole.clone()),
        ("if-modified-since", vec![("if-modified-since", modified)], 304, None),
        ("if-match other", vec![("if-match", "\"x\"")], 412, None),
        ("if-range same", vec![("range", "bytes=1-2"), ("if-range", etag)], 206, Some(1..3)),
        ("if-range date", vec![("range", "bytes=1-2"), ("if-range", modified)], 206, Some(1..3)),
        ("if-range other", vec![("range", "bytes=1-2"), ("if-range", "\"x\"")], 200, whole.clone()),
        ("if-range weak", vec![("range", "bytes=1-2"), ("if-range", &weak)], 200, whole),
        ("304 before range", vec![("range", "bytes=999999999-"), ("if-none-match", etag)], 304, None),
    ];
    for (name, headers, status, part) in cases {
        let got = send(Method::GET, &url, &headers).await;
        assert_eq!(got.status.as_u16(), status, "{name}");
        check_body(name, &got, part, &bytes, etag);
    }
}

fn check_body(name: &str, got: &Got, part: Option<std::ops::Range<usize>>, bytes: &[u8], etag: &str) {
    let size = bytes.len();
    match (got.status.as_u16(), part) {
        (200 | 206, Some(part)) => {
            assert_eq!(got.bytes(), &bytes[part.clone()], "{name}");
            assert_eq!(
                (got.header("etag"), got.header("content-length")),
                (etag, part.len().to_string().as_str()),
                "{name}"
            );
            let told = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            assert_eq!(got.header("content-range"), if got.status == 206 { told.as_str() } else { "" }, "{name}");
        }
        (304, None) => assert_eq!((got.header("etag"), got.bytes().len()), (etag, 0), "{name}"),
        (416, None) => assert_eq!(got.header("content-range"), format!("bytes */{size}"), "{name}"),
        (412, None) => assert_eq!(got.json()["type"], "urn:tonearm:problem:precondition-failed"),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn the_same_answers_where_the_object_is_cold() {
    let (stage, s3) = Stage::before_s3(|_| ()).await;
    let bytes = noise(2, 2 * CHUNK + 5);
    for (n, range, part) in
        [(0, "bytes=-5", bytes.len() - 5..bytes.len()), (1, "bytes=300000-300001", 300_000..300_002)]
    {
        let key = format!("cold-{n}");
        s3.put(&key, "audio/mp4", bytes.clone()).await.unwrap();
        assert_eq!(get_range(&stage.at(&key), range).await.bytes(), &bytes[part]);
    }
    s3.put("cold-416", "audio/mp4", bytes.clone()).await.unwrap();
    let refused = get_range(&stage.at("cold-416"), "bytes=999999999-").await;
    assert_eq!((refused.status.as_u16(), refused.header("content-range")), (416, "bytes */524293"));
    assert_eq!(get(&stage.at("cold-416")).await.bytes(), &bytes);
}

#[tokio::test]
async fn empty_objects_and_missing_ones() {
    let (stage, s3) = Stage::before_s3(|_| ()).await;
    s3.put("empty", "text/plain", bytes::Bytes::new()).await.unwrap();
    for _ in 0..2 {
        let got = get(&stage.at("empty")).await;
        assert_eq!((got.status.as_u16(), got.header("content-length"), got.bytes().len()), (200, "0", 0));
        assert_eq!(get_range(&stage.at("empty"), "bytes=0-").await.status, 416);
        let missing = get(&stage.at("missing")).await;
        assert_eq!((missing.status.as_u16(), missing.header("content-type")), (404, "application/problem+json"));
    }
}

#[tokio::test]
async fn a_missing_object_is_asked_for_once_in_a_while() {
    let origin = Origin::start().await;
    let stage = Stage::before(&origin, |config| config.edge.negative_ttl = service::config::Span::from_secs(60)).await;
    for said in ["fra-1; fwd=uri-miss", "fra-1; hit; detail=missing", "fra-1; hit; detail=missing"] {
        let missing = get(&stage.at("missing")).await;
        assert_eq!((missing.status.as_u16(), missing.header("cache-status")), (404, said));
    }
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn stale_objects_are_confirmed_or_replaced() {
    let origin = Origin::start().await;
    let (one, two) = (noise(3, 2 * CHUNK), noise(4, 2 * CHUNK + 9));
    let cache_control = Some("max-age=0".to_owned());
    origin.put("song", Act { cache_control: cache_control.clone(), ..Act::of(one.clone()) });
    let stage = Stage::before(&origin, |_| ()).await;
    assert_eq!(get(&stage.at("song")).await.bytes(), &one);
    for knows_conditions in [true, false] {
        origin.change("song", |act| act.knows_conditions = knows_conditions);
        let confirmed = get(&stage.at("song")).await;
        assert_eq!(confirmed.bytes(), &one);
        assert!(confirmed.header("cache-status").contains("fwd=stale; fwd-status=304"));
        assert_eq!(confirmed.header("cache-control"), "max-age=0");
    }
    origin.put("song", Act { cache_control, etag: "\"two\"".into(), ..Act::of(two.clone()) });
    assert_eq!(get(&stage.at("song")).await.bytes(), &two);
    assert_eq!(get_range(&stage.at("song"), "bytes=-9").await.bytes(), &two[2 * CHUNK..]);
}

#[tokio::test]
async fn age_counts_and_default_ttl_holds() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(5, 10)));
    let stage = Stage::before(&origin, |_| ()).await;
    get(&stage.at("song")).await;
    let got = get(&stage.at("song")).await;
    let ttl: i64 = got.header("cache-status").strip_prefix("fra-1; hit; ttl=").unwrap().parse().unwrap();
    let age: i64 = got.header("age").parse().unwrap();
    assert!((3580..=3600).contains(&ttl) && (0..=20).contains(&age), "ttl {ttl} age {age}");
    assert_eq!(origin.asked().len(), 1);
}
