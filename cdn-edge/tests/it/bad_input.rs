//! What a listener should not send.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{get, get_range, send};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, Stage, noise};

/// As it is on the wire: no client library tidies the path.
async fn raw(stage: &Stage, request: &str) -> String {
    let mut stream = TcpStream::connect(stage.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn paths_that_climb_or_lie_name_the_field() {
    let origin = Origin::start().await;
    let stage = Stage::before(&origin, |_| ()).await;
    for path in [
        "/",
        "/a//b",
        "//a",
        "/a/",
        "/../etc/passwd",
        "/a/../b",
        "/a/./b",
        "/%2e%2e/a",
        "/a%2f..%2fb",
        "/a%00b",
        "/a%0ab",
        "/a%",
        "/a%4",
        "/a%zz",
        "/%ff",
        "/a%5cb",
        &format!("/{}", "k".repeat(1025)),
    ] {
        let answer = raw(&stage, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        assert!(
            answer.contains("application/problem+json") && answer.contains("\"field\":\"path\""),
            "{path}: {answer}"
        );
    }
    assert!(origin.asked().is_empty());
}

#[tokio::test]
async fn a_path_is_decoded_once() {
    let (stage, s3) = Stage::before_s3(|_| ()).await;
    for (key, path) in
        [("a b", "a%20b"), ("müsik/♪", "m%C3%BCsik/%E2%99%AA"), ("x+y&z=1", "x+y&z=1"), ("a%2e", "a%252e")]
    {
        s3.put(key, "text/plain", key.to_owned().into()).await.unwrap();
        let got = get(&stage.at(path)).await;
        assert_eq!((got.status.as_u16(), got.bytes().as_ref()), (200, key.as_bytes()), "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let stage = Stage::before(&Origin::start().await, |_| ()).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::from_bytes(b"PURGE").unwrap()] {
        let refused = send(method, &stage.at("song"), &[]).await;
        assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, "GET, HEAD, OPTIONS"));
    }
    let preflight = send(Method::OPTIONS, &stage.at("song"), &[("origin", "https://player.example")]).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert!(preflight.header("access-control-expose-headers").contains("Content-Range"));
}

#[tokio::test]
async fn the_query_is_no_part_of_the_key() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(1, 10)));
    let stage = Stage::before(&origin, |_| ()).await;
    for query in ["", "?", "?a=b", "?decision_id=junk", "?%zz&&="] {
        assert_eq!(get(&stage.at(&format!("song{query}"))).await.status, 200, "{query}");
    }
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn hostile_heads_end_with_a_refusal() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(1, CHUNK)));
    let stage =
        Stage::before(&origin, |config| config.http.header_timeout = service::config::Span::from_millis(300)).await;
    let long = format!("GET /song HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(100 << 10));
    let answer = raw(&stage, &long).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{:?}", answer.lines().next());
    let smuggled = "GET /song HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n";
    let answer = raw(&stage, smuggled).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{:?}", answer.lines().next());
    // A head that never ends: closed by the timeout, or this would not return.
    raw(&stage, "GET /song HTTP/1.1\r\nhost: x\r\n").await;
    let ranges = (0..10_000).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",");
    assert!(get_range(&stage.at("song"), &format!("bytes={}", &ranges[..20_000])).await.status.as_u16() == 200);
    assert_eq!(get(&stage.at("song")).await.bytes(), &noise(1, CHUNK));
}

#[tokio::test]
async fn ping_and_test_chunk() {
    let stage = Stage::before(&Origin::start().await, |_| ()).await;
    let ping = get(&stage.at(".tonearm/ping?x")).await;
    assert_eq!((ping.status.as_u16(), ping.header("cache-control")), (204, "no-store"));
    assert_eq!((ping.header("timing-allow-origin"), ping.header("access-control-allow-origin")), ("*", "*"));
    let chunk = get(&stage.at(".tonearm/test.chunk")).await;
    assert_eq!((chunk.bytes().len(), chunk.header("cache-control")), (1_000_000, "no-store"));
    assert_ne!(chunk.bytes()[..500_000], chunk.bytes()[500_000..]);
    assert_eq!(send(Method::HEAD, &stage.at(".tonearm/ping"), &[]).await.status, 204);
}
