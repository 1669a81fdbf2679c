//! Who listens now, as subscribers see it.

use std::time::Duration;

use bytes::Bytes;
use devstack::Server;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use ingest::keys::Grant;
use serde_json::{Value, json};
use service::Running;
use service::client::{Answer, ApiClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use uuid::Uuid;
use wire::Timestamp;
use wire::live::{LIVE_PROTOCOL, LiveState, LiveStats};

use crate::support::{ADMIN_TOKEN, Stack, WRITE_KEY, eventually, post};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PATIENCE: Duration = Duration::from_secs(60);

fn play(session: &str, event_type: &str, track: &str, pop: &str) -> Value {
    json!({
        "event_id": Uuid::now_v7(), "type": event_type, "session_id": session, "play_id": format!("{session}-{track}"),
        "track_id": track, "pop": pop, "client_ts": Timestamp::now(), "sent_at": Timestamp::now(),
    })
}

/// As a browser connects: the token among the subprotocols.
async fn socket(ingest: &Running, query: &str) -> Socket {
    let url = format!("ws://{}/v1/stats/live{query}", ingest.addr);
    let mut request = url.into_client_request().unwrap();
    let protocols = format!("{LIVE_PROTOCOL}, bearer.{ADMIN_TOKEN}");
    request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
    let (socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], LIVE_PROTOCOL, "and never the token");
    socket
}

/// The first figures that are as wanted.
async fn figures(socket: &mut Socket, wanted: impl Fn(&LiveStats) -> bool) -> LiveStats {
    let mut last = None;
    let found = async {
        loop {
            if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
                let stats: LiveStats = serde_json::from_str(&text).unwrap();
                if wanted(&stats) {
                    return stats;
                }
                last = Some(stats);
            }
        }
    };
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(stats) => stats,
        Err(_) => panic!("after {PATIENCE:?}: {last:?}"),
    }
}

/// The newest figures; reads all the time, so that pings are answered while a test does something else.
fn reading(mut socket: Socket) -> watch::Receiver<Option<LiveStats>> {
    let (newest, seen) = watch::channel(None);
    tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                newest.send_replace(Some(serde_json::from_str(&text).unwrap()));
            }
        }
    });
    seen
}

async fn until(seen: &mut watch::Receiver<Option<LiveStats>>, wanted: impl Fn(&LiveStats) -> bool) -> LiveStats {
    let found = seen.wait_for(|stats| stats.as_ref().is_some_and(&wanted));
    let found = tokio::time::timeout(PATIENCE, found).await.expect("figures as wanted").expect("the socket is open");
    found.clone().unwrap()
}

/// An event stream's body, with the key in the query as `EventSource` has to send it.
async fn event_stream(ingest: &Running, query: &str) -> Incoming {
    let url = format!("{}/v1/stats/live?key={ADMIN_TOKEN}{query}", ingest.url());
    let request = Request::get(url).header("accept", "text/event-stream").body(Full::<Bytes>::default()).unwrap();
    let answer = service::client::pool(PATIENCE, 1).request(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    answer.into_body()
}

/// Reads events until one is as wanted; none where the stream ended before.
async fn event(body: &mut Incoming, wanted: impl Fn(&str, &str) -> bool) -> Option<String> {
    let mut text = String::new();
    let found = async {
        loop {
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
                if wanted(field("event:"), field("data:")) {
                    return Some(field("data:").to_owned());
                }
            }
            let frame = body.frame().await?;
            text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("an event as wanted, in time")
}

async fn get(ingest: &Running, path: &str) -> Answer {
    let api = ApiClient::new(PATIENCE).with_bearer(ADMIN_TOKEN);
    api.get(&format!("{}{path}", ingest.url())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_played_shows_to_all_who_look_at_any_process() {
    let stack = Stack::new().await;
    let spool = tempfile::tempdir().unwrap();
    let other = stack.ingest(&[("TONEARM_INGEST_SPOOL_DIR", spool.path().to_str().unwrap())]).await;
    let one = stack.ingest(&[]).await;
    // Before anybody looks: those who listen already are found as well.
    let begun = json!([play("s-1", "play_start", "t-1", "fra"), play("s-2", "play_start", "t-1", "waw")]);
    assert_eq!(post(&one, &begun).await.status, 202);
    let mut all = socket(&one, "").await;
    let first = figures(&mut all, |stats| stats.state == LiveState::Live).await;
    assert_eq!((first.v, first.all.listeners, first.sampled), (1, 2, 1.0));
    assert!(first.all.plays_per_s > 0.0);
    let mut part = socket(&other, "?track=t-2&pop=fra").await;
    let mut stream = event_stream(&other, "&track=t-2").await;
    let more = json!([
        play("s-3", "play_start", "t-2", "fra"),
        play("s-4", "play_start", "t-2", "waw"),
        play("s-1", "pause", "t-1", "fra")
    ]);
    assert_eq!(post(&one, &more).await.status, 202);
    let seen = figures(&mut all, |stats| stats.all.listeners == 3).await;
    assert_eq!(
        seen.tracks.iter().map(|t| (t.track.as_str(), t.counts.listeners)).collect::<Vec<_>>(),
        [("t-2", 2), ("t-1", 1)]
    );
    assert_eq!(
        seen.pops.iter().map(|p| (p.pop.as_str(), p.counts.listeners)).collect::<Vec<_>>(),
        [("waw", 2), ("fra", 1)]
    );
    let seen = figures(&mut part, |stats| stats.all.listeners == 1).await;
    assert_eq!((seen.track.unwrap().as_str(), seen.pop.unwrap().as_str()), ("t-2", "fra"));
    let told = event(&mut stream, |_, data| data.contains(r#""listeners":2"#)).await.unwrap();
    assert_eq!(serde_json::from_str::<LiveStats>(&told).unwrap().pops.len(), 2);
    let now = get(&other, "/v1/stats/now").await;
    let now: Value = now.json().unwrap();
    assert_eq!((&now["listeners"], &now["stale"], &now["state"]), (&json!(3), &json!(false), &json!("live")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_and_says_how_gets_the_live_figures() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[("TONEARM_STATS_LIVE_SUBSCRIBERS", "1")]).await;
    let ask = async |query: &str, headers: &[(&'static str, &str)]| {
        let mut request = Request::get(format!("{}/v1/stats/live{query}", ingest.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let answer = service::client::pool(PATIENCE, 1).request(request).await.unwrap();
        let status = answer.status().as_u16();
        let problem = status != 200 && answer.headers()["content-type"] == "application/problem+json";
        assert!(problem || status == 200, "{answer:?}");
        let body = if problem { answer.into_body().collect().await.unwrap().to_bytes() } else { Bytes::new() };
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let key = format!("?key={ADMIN_TOKEN}");
    assert_eq!(ask("", &[]).await.0, 401);
    assert_eq!(ask("?key=wrong", &[]).await.0, 401);
    assert_eq!(ask(&format!("?key={WRITE_KEY}"), &[]).await.0, 401);
    assert_eq!(ask("", &[("authorization", &format!("Bearer {WRITE_KEY}"))]).await.0, 401);
    assert_eq!(ask(&key, &[("accept", "application/json")]).await.0, 406);
    assert_eq!(ask(&key, &[("connection", "upgrade"), ("upgrade", "websocket")]).await.0, 400);
    for (parameter, field) in [("pop=../x", "pop"), ("track=", "track"), ("track=a&track=b", "track"), ("x=1", "x")] {
        let (status, body) = ask(&format!("{key}&{parameter}"), &[]).await;
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &told["field"]), (400, &json!(field)), "{parameter}");
    }
    match tokio_tungstenite::connect_async(format!("ws://{}/v1/stats/live", ingest.addr)).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 401),
        other => panic!("{other:?}"),
    }
    let _only = socket(&ingest, "").await;
    assert_eq!(ask(&key, &[("accept", "text/event-stream")]).await.0, 503, "there is one place");
    assert_eq!(get(&ingest, "/v1/stats/now").await.status, 200, "asking once takes none");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_misbehave_are_let_go_and_the_others_go_on() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let mut good = socket(&ingest, "").await;
    let ended = async |mut socket: Socket| {
        let end = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("ended in time")
    };
    let mut long = socket(&ingest, "").await;
    // The server may be faster than the whole message.
    let _ = long.send(Message::Text("x".repeat(5_000).into())).await;
    ended(long).await;
    let mut chatty = socket(&ingest, "").await;
    for _ in 0..101 {
        chatty.send(Message::Text("hello".into())).await.unwrap();
    }
    assert_eq!(ended(chatty).await, Some(CloseCode::Policy));
    let mut garbage = TcpStream::connect(ingest.addr).await.unwrap();
    handshake(&mut garbage).await;
    garbage.write_all(&[0xff; 64]).await.unwrap();
    tokio::time::timeout(PATIENCE, garbage.read_to_end(&mut Vec::new())).await.expect("ended in time").unwrap();
    figures(&mut good, |stats| stats.state == LiveState::Live).await;
    let at = Timestamp::now();
    figures(&mut good, |stats| stats.at > at).await;
}

/// A WebSocket by hand, for what no library sends.
async fn handshake(stream: &mut TcpStream) {
    let head = format!(
        "GET /v1/stats/live?key={ADMIN_TOKEN} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
}

/// Metrics are the process's: this test must have it for itself.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_or_leaves_leaves_nothing_behind() {
    let stack = Stack::alone().await;
    let short = [("TONEARM_HTTP_WRITE_TIMEOUT", "1s"), ("TONEARM_STATS_LIVE_LINGER", "2s")];
    let ingest = stack.ingest(&short).await;
    // Messages of some 30 kB, so that no buffer of the kernel's holds many of them.
    let names = |n: usize| (format!("t-{n:0>120}"), format!("p-{n:0>60}"));
    let crowd: Vec<Value> = (0..100).map(|n| play(&format!("s-{n}"), "progress", &names(n).0, &names(n).1)).collect();
    assert_eq!(post(&ingest, &json!(crowd)).await.status, 202);
    let slow = || async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.connect(ingest.addr).await.unwrap()
    };
    let (mut websocket, mut stream) = (slow().await, slow().await);
    handshake(&mut websocket).await;
    let ask = format!("GET /v1/stats/live?key={ADMIN_TOKEN} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let (mut good, left) = (socket(&ingest, "").await, socket(&ingest, "").await);
    figures(&mut good, |stats| stats.tracks.len() == 100).await;
    drop(left);
    // Both slow ones and the one that left are gone, while the good one had a message each second.
    let only_one = async {
        while subscribers(&ingest).await != 1 {
            figures(&mut good, |_| true).await;
        }
    };
    tokio::time::timeout(PATIENCE, only_one).await.expect("slow subscribers are let go");
    good.close(None).await.unwrap();
    eventually(PATIENCE, || async {
        let left = (
            subscribers(&ingest).await,
            metric(&ingest, "tonearm_live_following").await,
            metric(&ingest, "tonearm_live_sessions").await,
        );
        if left == (0, 0, 0) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    drop((websocket, stream));
}

async fn subscribers(ingest: &Running) -> i64 {
    metric(ingest, "tonearm_live_subscribers").await
}

/// The sum of a gauge over its labels.
async fn metric(ingest: &Running, name: &str) -> i64 {
    let text = String::from_utf8(get(ingest, "/metrics").await.body.to_vec()).unwrap();
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().unwrap() as i64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_goodbye_to_every_stream() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let (mut socket, mut stream) = (socket(&ingest, "").await, event_stream(&ingest, "").await);
    figures(&mut socket, |_| true).await;
    let watching = tokio::spawn(async move {
        let end = event(&mut stream, |name, _| name == "end").await;
        assert!(end.is_some(), "the stream broke off without its last event");
        assert_eq!(event(&mut stream, |_, _| true).await, None);
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => break frame.unwrap().code,
                Some(Ok(_)) => {}
                other => panic!("the socket broke off: {other:?}"),
            }
        }
    });
    let stopped = tokio::time::timeout(Duration::from_secs(4), ingest.stop()).await;
    stopped.expect("drained before its deadline").unwrap();
    assert_eq!(watching.await.unwrap(), CloseCode::Away);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let user = stack.key(Grant::User { app: "web".into(), user_id: "u-1".into(), rate: None }, None).await;
    // Made last: once it opens, the user's is known too.
    let operator = stack.key(Grant::Operator, None).await;
    let connect = async |token: &str| {
        tokio_tungstenite::connect_async(format!("ws://{}/v1/stats/live?key={token}", ingest.addr)).await
    };
    eventually(PATIENCE, || async { connect(&operator).await.map(drop).map_err(|error| error.to_string()) }).await;
    let (mut watching, _) = connect(&operator).await.unwrap();
    match connect(&user).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 403),
        other => panic!("{other:?}"),
    }
    figures(&mut watching, |_| true).await;
    assert!(ingest::keys::revoke(&stack.postgres, &operator[..15]).await.unwrap());
    let end = async {
        loop {
            match watching.next().await {
                Some(Ok(Message::Close(frame))) => break frame.unwrap().reason,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let reason = tokio::time::timeout(Duration::from_secs(5), end).await.expect("within what a revocation may take");
    assert_eq!(reason.as_str(), "the token was revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_the_figures_stand_still_and_say_so() {
    let stack = Stack::alone().await;
    let ingest = stack.ingest(&[]).await;
    assert_eq!(post(&ingest, &json!([play("s-1", "play_start", "t-1", "fra")])).await.status, 202);
    let mut watching = reading(socket(&ingest, "").await);
    let before = until(&mut watching, |stats| stats.state == LiveState::Live && stats.all.listeners == 1).await;
    stack.servers.kill(Server::Kafka).await;
    let stalled = until(&mut watching, |stats| stats.state == LiveState::Stalled).await;
    assert!(stalled.at >= before.at && stalled.all.listeners == 1);
    watching.mark_unchanged();
    tokio::time::timeout(PATIENCE, watching.changed()).await.expect("told again").unwrap();
    assert_eq!(watching.borrow().as_ref().unwrap().at, stalled.at);
    let now: Value = get(&ingest, "/v1/stats/now").await.json().unwrap();
    assert_eq!((&now["stale"], &now["as_of"]), (&json!(true), &json!(stalled.at)));
    // One who never had a figure has none to give.
    let spool = tempfile::tempdir().unwrap();
    let other = stack.ingest_unready(&[("TONEARM_INGEST_SPOOL_DIR", spool.path().to_str().unwrap())]).await;
    assert_eq!(get(&other, "/v1/stats/now").await.status, 503);
    stack.servers.start(Server::Kafka).await;
    until(&mut watching, |stats| stats.state == LiveState::Live).await;
    eventually(PATIENCE, || async {
        let status = post(&ingest, &json!([play("s-2", "play_start", "t-2", "fra")])).await.status;
        if status == 202 { Ok(()) } else { Err(format!("{status}")) }
    })
    .await;
    until(&mut watching, |stats| stats.tracks.iter().any(|track| track.track.as_str() == "t-2")).await;
}

/// Prints how long it takes from an event's 202 to the first message with it, beside others' events.
///
/// `cargo test -p ingest --test it -- live::measured --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measured_from_the_answer_to_the_first_message_with_it() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let mut seen = reading(socket(&ingest, "").await);
    until(&mut seen, |stats| stats.state == LiveState::Live).await;
    let mut took = Vec::new();
    for n in 0..60 {
        let track = format!("measured-{n}");
        let mut batch: Vec<Value> =
            (0..100).map(|_| play(&Uuid::now_v7().to_string(), "progress", "t", "fra")).collect();
        // Two listeners put it among the first hundred tracks.
        batch.extend((0..2).map(|who| play(&format!("{n}-{who}"), "play_start", &track, "waw")));
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..1_000))).await;
        let sent = std::time::Instant::now();
        assert_eq!(post(&ingest, &json!(batch)).await.status, 202);
        let answered = sent.elapsed();
        until(&mut seen, |stats| stats.tracks.iter().any(|known| known.track.as_str() == track)).await;
        took.push((sent.elapsed(), sent.elapsed().saturating_sub(answered)));
    }
    took.sort();
    let at = |share: usize| took[took.len() * share / 100].0;
    println!("from the POST: p50 {:?}, p90 {:?}, most {:?}", at(50), at(90), took[took.len() - 1].0);
    println!("from the answer: most {:?}", took.iter().map(|(_, after)| *after).max().unwrap());
}
