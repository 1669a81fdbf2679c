//! RFC 9110, section 15.2: what an origin says before its answer.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::client::PATIENCE;
use crate::stage::Stage;
use crate::web::{Reply, Step, Web};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\ndone";

/// All that comes up to these bytes.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("it comes in time");
        read.push(byte.unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&read))));
    }
    String::from_utf8(read).unwrap()
}

async fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
}

#[tokio::test]
async fn rfc9110_15_2_interim_answers_go_to_whoever_the_answer_is_for() {
    let (web, gate) = (Web::start().await, Arc::new(Semaphore::new(0)));
    let first = Reply::raw(format!("HTTP/1.1 100 Continue\r\n\r\n{HINTS}")).then(Step::Wait(gate.clone()));
    web.put("/kept", [first.then(Step::Send(ANSWER.into()))]);
    web.put("/head", [Reply::raw([HINTS, ANSWER.trim_end_matches("done")].concat())]);
    let stage = Stage::public(&web, |_| ()).await;
    let mut stream = TcpStream::connect(stage.url.strip_prefix("http://").unwrap()).await.unwrap();
    ask(&mut stream, "/kept").await;
    assert_eq!(read_to(&mut stream, "\r\n\r\n").await, "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n");
    gate.add_permits(1);
    assert!(read_to(&mut stream, "done").await.starts_with("HTTP/1.1 200 OK\r\n"));
    // Held, and asked for no more.
    ask(&mut stream, "/kept").await;
    assert!(read_to(&mut stream, "done").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(web.heard().len(), 1);
    stream.write_all(b"HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let hints = read_to(&mut stream, "\r\n\r\n").await;
    assert!(hints.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{hints}");
    let answer = read_to(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn interim_answers_without_end_take_no_memory() {
    let web = Web::start().await;
    let many =
        [HINTS.repeat(1000), format!("HTTP/1.1 103 Early Hints\r\nX-A: {}\r\n\r\n", "a".repeat(20_000))].concat();
    web.put("/many", [Reply::raw(many).then(Step::Send(ANSWER.into()))]);
    let stage = Stage::public(&web, |_| ()).await;
    let mut stream = TcpStream::connect(stage.url.strip_prefix("http://").unwrap()).await.unwrap();
    ask(&mut stream, "/many").await;
    let answer = read_to(&mut stream, "done").await;
    assert!(answer.contains("HTTP/1.1 200 OK\r\n") && !answer.contains("x-a:"), "{answer}");
}
