//! Small posts to one path are answered without hyper; whatever else comes on the same connection is answered, too.

#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use service::config::{HttpConfig, Span};
use service::http::Front;
use service::http::head::Posts;
use service::{Health, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Answers with the bytes that came, and panics, waits or has no content where they say so.
struct Echo {
    /// Told of each that waits.
    waits: Arc<Notify>,
}

impl Front for Echo {
    fn posts(&self) -> Option<Posts> {
        Some(Posts { to: "/hot", most: 64 })
    }

    fn takes<B>(&self, request: &Request<B>) -> bool {
        request.uri().path() == "/hot"
    }

    async fn answer<B>(&self, request: Request<B>, _: SocketAddr) -> Response
    where
        B: http_body::Body<Data = Bytes> + Unpin + Send,
        B::Error: Into<axum::BoxError>,
    {
        let body = request.into_body().collect().await.map_or(Bytes::new(), http_body_util::Collected::to_bytes);
        match &body[..] {
            b"panic" => panic!("on order"),
            b"wait" => {
                self.waits.notify_one();
                std::future::pending().await
            }
            b"nothing" => http::StatusCode::NO_CONTENT.into_response(),
            _ => body.into_response(),
        }
    }
}

struct Running {
    address: SocketAddr,
    stop: Shutdown,
    serving: JoinHandle<()>,
    waits: Arc<Notify>,
    /// What lets `/late` answer.
    said_all: Arc<Notify>,
}

async fn start(config: HttpConfig) -> Running {
    let listener = service::http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop, health) = (listener.local_addr().unwrap(), Shutdown::new(), Health::new("test"));
    health.ready();
    let said_all = Arc::new(Notify::new());
    let late = {
        let said_all = said_all.clone();
        async move |body: Bytes| {
            said_all.notified().await;
            body
        }
    };
    let routes = Router::new().route("/cold", post(|body: Bytes| async move { body })).route("/late", post(late));
    let routes = service::limits::complete(routes, "{}", &health, &config);
    let waits = Arc::new(Notify::new());
    let echo = Echo { waits: waits.clone() };
    let serving = tokio::spawn(service::http::serve_behind(echo, listener, routes, config, health, stop.clone()));
    Running { address, stop, serving, waits, said_all }
}

fn request(path: &str, more: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{more}content-length: {}\r\n\r\n{body}", body.len())
}

/// Sends the pieces one after another and closes; all that comes back.
async fn talk(address: SocketAddr, pieces: &[&str]) -> String {
    let mut peer = TcpStream::connect(address).await.unwrap();
    for piece in pieces {
        peer.write_all(piece.as_bytes()).await.unwrap();
        // Long enough for each to be read by itself, and not what the answer depends on.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut answers = String::new();
    tokio::time::timeout(Duration::from_secs(10), peer.read_to_string(&mut answers)).await.unwrap().unwrap();
    answers
}

/// Statuses and bodies, of answers that tell their lengths.
fn told(mut answers: &str) -> Vec<(u16, String)> {
    let mut all = Vec::new();
    while let Some((head, rest)) = answers.split_once("\r\n\r\n") {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        all.push((head[9..12].parse().unwrap(), rest[..length].to_owned()));
        answers = &rest[length..];
    }
    all
}

#[tokio::test]
async fn what_comes_on_one_connection_is_answered_in_its_order_whoever_reads_it() {
    let Running { address, stop, serving, .. } = start(HttpConfig::default()).await;
    let close = "connection: close\r\n";
    let (one, two) = (request("/hot?a=b", "", "one"), request("/hot", "", "two"));
    let (none, bad) = (request("/hot", "", "nothing"), request("/hot", "", "panic"));
    let last = request("/hot", close, "last");
    let both = [one.as_str(), &two, &none, &bad, &last].concat();
    let wanted = [(200, "one"), (200, "two"), (204, ""), (500, ""), (200, "last")];
    for pieces in [vec![&both[..]], vec![&both[..70], &both[70..75], &both[75..]]] {
        let answers = told(&talk(address, &pieces).await);
        let seen: Vec<(u16, &str)> =
            answers.iter().map(|(status, body)| (*status, if *status == 500 { "" } else { body.as_str() })).collect();
        assert_eq!(seen, wanted);
    }
    // Larger, of a page, in chunks, or elsewhere: with all that came behind it.
    let large = "l".repeat(65);
    let chunked = "POST /hot HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n";
    for (unusual, wanted) in [
        (request("/hot", "", &large), large.as_str()),
        (request("/hot", "origin: https://x\r\n", "page"), "page"),
        (request("/cold", "", "cold"), "cold"),
        (chunked.into(), "one"),
    ] {
        let answers = told(&talk(address, &[&one, &unusual, &last]).await);
        let wanted = [(200, "one"), (200, wanted), (200, "last")].map(|(status, body)| (status, body.to_owned()));
        assert_eq!(answers, wanted, "{unusual}");
    }
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn who_does_not_say_for_which_host_it_is_gets_a_400_whoever_reads_it() {
    let Running { address, stop, serving, .. } = start(HttpConfig::default()).await;
    let (good, last) = (request("/hot", "", "one"), request("/hot", "connection: close\r\n", "last"));
    for path in ["/hot", "/cold"] {
        for host in ["", "host: x\r\nhost: x\r\n", "host: a b\r\n", "host: a@b\r\n"] {
            let bad = request(path, "", "bad").replace("host: x\r\n", host);
            let answers = told(&talk(address, &[&good, &bad, &last]).await);
            assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 400, 200], "{bad}");
            let problem: serde_json::Value = serde_json::from_str(&answers[1].1).unwrap();
            assert_eq!(problem["field"], "host", "{problem}");
        }
    }
    // There was none before HTTP/1.1.
    let old = "POST /cold HTTP/1.0\r\ncontent-length: 3\r\n\r\nold";
    assert_eq!(told(&talk(address, &[old]).await), [(200, "old".to_owned())]);
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn who_has_said_all_and_closes_its_half_gets_its_answer() {
    let Running { address, stop, serving, said_all, .. } = start(HttpConfig::default()).await;
    for path in ["/hot", "/cold", "/late"] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(request(path, "", "last words").as_bytes()).await.unwrap();
        peer.shutdown().await.unwrap();
        if path == "/late" {
            said_all.notify_one();
        }
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), peer.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert_eq!(told(&answer), [(200, "last words".to_owned())], "{path}");
    }
    // And who has not said all is told so.
    let mut peer = TcpStream::connect(address).await.unwrap();
    let whole = request("/cold", "", "last words");
    peer.write_all(whole.replace("/cold", "/hot").as_bytes()[..whole.len() - 4].as_ref()).await.unwrap();
    peer.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(10), peer.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(told(&answer).len(), 1, "{answer}");
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn who_is_slow_gets_an_answer_in_time_or_an_end() {
    let (header_timeout, request_timeout) = (Span::from_millis(300), Span::from_millis(400));
    let config = HttpConfig { header_timeout, request_timeout, ..HttpConfig::default() };
    let Running { address, stop, serving, .. } = start(config).await;
    // A head that does not come; a handler that does not answer; a body that comes late, but comes.
    assert_eq!(talk(address, &["POST /hot HTTP/1.1\r\nhost"]).await, "");
    assert_eq!(told(&talk(address, &[&request("/hot", "", "wait")]).await)[0].0, 408);
    let mut peer = TcpStream::connect(address).await.unwrap();
    let late = request("/hot", "connection: close\r\n", "late");
    peer.write_all(&late.as_bytes()[..late.len() - 2]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    peer.write_all(b"te").await.unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    assert_eq!(told(&answer), [(200, "late".to_owned())]);
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_ends_the_rest() {
    let config = HttpConfig { request_timeout: Span::from_millis(300), ..HttpConfig::default() };
    let Running { address, stop, serving, waits, .. } = start(config).await;
    let (mut idle, mut begun) =
        (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    idle.write_all(request("/hot", "", "one").as_bytes()).await.unwrap();
    begun.write_all(request("/hot", "", "wait").as_bytes()).await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    waits.notified().await;
    stop.cancel();
    let (mut rest, mut answer) = (String::new(), String::new());
    idle.read_to_string(&mut rest).await.unwrap();
    begun.read_to_string(&mut answer).await.unwrap();
    assert!(rest.ends_with("\r\n\r\none"), "{rest}");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
    serving.await.unwrap();
}
