//! A plain caching proxy before a web origin: what it passes on, what it shares, what it keeps.

use std::sync::Arc;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::client::{get, open, send};
use crate::stage::{CHUNK, Stage, eventually, noise};
use crate::web::{Reply, Step, Web};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=3600");

/// As it is on the wire; the connection is closed by whoever answers last.
pub(crate) async fn raw(stage: &Stage, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(stage.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(crate::client::PATIENCE, stream.read_to_end(&mut answer));
    // A reset after a refusal is an end like another.
    let _ = reading.await.expect("an end in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn any_method_goes_through_with_its_body_and_its_fields() {
    let web = Web::start().await;
    let stage = Stage::public(&web, |_| ()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "M-SEARCH", "FROB"] {
        web.put("/do?x=%20", [Reply::new(207, &[("X-Answer", "a, b"), ("Set-Cookie", "c=d")], "done")]);
        let request = format!(
            "{method} /do?x=%20 HTTP/1.1\r\nHost: Shop.example:81\r\nX-Own: ä\r\nCookie: a=b\r\nX-Forwarded-For: 198.51.100.9\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        );
        let answer = raw(&stage, request.replace('ä', "a")).await;
        assert!(answer.starts_with("HTTP/1.1 207 ") && answer.ends_with("\r\n\r\ndone"), "{method}: {answer}");
        assert!(answer.contains("x-answer: a, b\r\n") && answer.contains("set-cookie: c=d\r\n"), "{answer}");
        assert!(answer.contains("via: 1.1 fra-1\r\n"), "{answer}");
        let heard = web.last();
        assert_eq!(heard.line, format!("{method} /do?x=%20 HTTP/1.1"));
        assert_eq!(heard.body, b"hello world", "{method}");
        let origin = web.url.strip_prefix("http://").unwrap();
        for (name, value) in [
            ("host", origin),
            ("x-own", "a"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "198.51.100.9, 127.0.0.1"),
            ("x-forwarded-host", "shop.example:81"),
            ("x-forwarded-proto", "http"),
            ("via", "1.1 fra-1"),
            ("connection", ""),
        ] {
            assert_eq!(heard.header(name), value, "{method} {name}");
        }
    }
    assert!(
        raw(&stage, "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 501 ")
    );
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let (web, gate) = (Web::start().await, Arc::new(Semaphore::new(0)));
    let reply = Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .then(Step::Wait(gate.clone()))
        .then(Step::Send(b"4\r\nlast\r\n0\r\n\r\n".to_vec()));
    web.put("/stream", [reply]);
    let stage = Stage::public(&web, |_| ()).await;
    let mut answer = open(Method::GET, &stage.at("stream"), &[]).await;
    assert_eq!(answer.at_least(5).await, "first", "before the origin has finished");
    gate.add_permits(1);
    assert_eq!(answer.rest().await.unwrap(), "last");
}

#[tokio::test]
async fn rfc9110_6_5_trailers_reach_whoever_takes_them() {
    let web = Web::start().await;
    web.put("/t", [Reply::chunked(&[("Trailer", "X-Sum")], &[b"body"], &[("X-Sum", "1")])]);
    let stage = Stage::public(&web, |_| ()).await;
    let with = raw(&stage, "GET /t HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n").await;
    assert!(with.ends_with("0\r\nx-sum: 1\r\n\r\n"), "{with}");
    assert_eq!((web.last().header("te"), web.last().header("connection")), ("trailers", "TE"));
    let without = raw(&stage, "GET /t HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(without.ends_with("\r\nbody\r\n0\r\n\r\n"), "{without}");
}

#[tokio::test]
async fn rfc9110_9_2_2_what_is_unsafe_is_sent_once() {
    let web = Web::start().await;
    for path in ["/gone", "/shut"] {
        web.put(path, [Reply(vec![if path == "/gone" { Step::Reset } else { Step::Close }])]);
    }
    let stage = Stage::public(&web, |_| ()).await;
    for path in ["gone", "shut"] {
        for (method, times) in
            [(Method::POST, 1), (Method::PUT, 1), (Method::DELETE, 1), (Method::GET, 2), (Method::HEAD, 2)]
        {
            let before = web.heard().len();
            assert_eq!(send(method.clone(), &stage.at(path), &[]).await.status, 502, "{method}");
            assert_eq!(web.heard().len() - before, times, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn connections_to_the_origin_are_kept() {
    let web = Web::start().await;
    web.put("/a", [Reply::new(200, &[], "a")]);
    let stage = Stage::public(&web, |_| ()).await;
    for _ in 0..5 {
        assert_eq!(get(&stage.at("a")).await.bytes(), "a");
    }
    assert_eq!((web.heard().len(), web.connections()), (5, 1));
}

#[tokio::test]
async fn the_key_is_the_whole_uri_and_its_host() {
    let web = Web::start().await;
    let stage = Stage::public(&web, |_| ()).await;
    for target in ["/k", "/k?", "/k?a=1", "/k?a=2", "/K", "/%6b", "/k/", "//k", "/./k", "/../k"] {
        web.put(target, [Reply::new(200, &[FRESH], target)]);
    }
    for target in ["/k", "/k?", "/k?a=1", "/k?a=2", "/K", "/%6b", "/k/", "//k", "/./k", "/../k"] {
        for host in ["one", "two"] {
            for _ in 0..2 {
                let answer =
                    raw(&stage, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
                assert!(answer.ends_with(&format!("\r\n\r\n{target}")), "{target}: {answer}");
            }
        }
    }
    assert_eq!(web.heard().len(), 20, "each spelling and host once");
    let absolute = "GET http://ONE/k HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    assert!(raw(&stage, absolute).await.contains("; hit"), "RFC 9112, section 3.2.2");
}

#[tokio::test]
async fn what_is_missing_is_asked_for_as_its_client_would() {
    let web = Web::start().await;
    let bytes = noise(1, 3 * CHUNK);
    let part = |chunk: usize| {
        let (from, to) = (chunk * CHUNK, (chunk + 1) * CHUNK);
        let told = format!("bytes {from}-{}/{}", to - 1, bytes.len());
        let shared = ("Cache-Control", "public, max-age=3600");
        Reply::new(206, &[shared, ("ETag", "\"z\""), ("Content-Range", &told)], &bytes[from..to])
    };
    web.put("/a", [part(0), part(2)]);
    let stage = Stage::public(&web, |_| ()).await;
    for chunk in [0, 2] {
        let range = format!("bytes={}-{}", chunk * CHUNK, chunk * CHUNK + 9);
        let sent =
            [("range", range.as_str()), ("authorization", "Basic YTpi"), ("cookie", "a=1"), ("if-match", "\"z\"")];
        let got = send(Method::GET, &stage.at("a"), &sent).await;
        assert_eq!((got.status.as_u16(), got.bytes()), (206, &bytes.slice(chunk * CHUNK..chunk * CHUNK + 10)));
        let heard = web.last();
        assert_eq!((heard.header("authorization"), heard.header("cookie")), ("Basic YTpi", "a=1"));
    }
    assert_eq!((web.heard().len(), web.last().header("if-match"), web.last().header("if-range")), (2, "", "\"z\""));
}

#[tokio::test]
async fn a_clients_broken_body_is_not_the_origins_fault() {
    let web = Web::start().await;
    web.put("/a", [Reply::new(200, &[], "ok")]);
    let stage = Stage::public(&web, |_| ()).await;
    let broken = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n";
    let answer = raw(&stage, broken).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    for coding in ["gzip, chunked", "chunked, chunked"] {
        let coded = raw(&stage, broken.replace("chunked", coding).replace("zz", "0\r\n")).await;
        assert!(coded.starts_with("HTTP/1.1 501 "), "{coding}: {coded}");
    }
    assert_eq!(get(&stage.at(".tonearm/ping")).await.status, 204);
}

#[tokio::test]
async fn a_part_that_may_not_be_held_is_the_part_that_was_asked_for() {
    let web = Web::start().await;
    let bytes = noise(1, CHUNK + 100);
    let part = |from: usize, to: usize, body: &[u8]| {
        let told = format!("bytes {from}-{}/{}", to - 1, bytes.len());
        Reply::new(
            206,
            &[("Cache-Control", "no-store"), ("Content-Range", &told), ("Content-Digest", "sha-256=:x:")],
            body,
        )
    };
    // The first time more is asked for, as it would be for what is held; then it is known that it is for one alone.
    web.put("/a", [part(0, CHUNK, &bytes[..CHUNK]), part(7, 9, &bytes[7..9])]);
    let stage = Stage::public(&web, |_| ()).await;
    for (asked, has_digest) in [(format!("bytes=0-{}", CHUNK - 1), false), ("bytes=7-8".into(), true)] {
        let got = send(Method::GET, &stage.at("a"), &[("range", "bytes=7-8")]).await;
        assert_eq!((got.status.as_u16(), &got.bytes()[..]), (206, &bytes[7..9]));
        assert_eq!(got.header("content-range"), format!("bytes 7-8/{}", bytes.len()));
        assert_eq!((got.header("content-length"), !got.header("content-digest").is_empty()), ("2", has_digest));
        assert_eq!(web.last().headers["range"], asked);
    }
    // An origin that says it sends more than it does.
    let head = "HTTP/1.1 206 Part\r\nCache-Control: no-store\r\nContent-Range: bytes 0-99/100\r\n\
        Transfer-Encoding: chunked\r\n\r\n32\r\n";
    web.put("/b", [Reply::raw([head.as_bytes(), &bytes[..50], b"\r\n0\r\n\r\n"].concat())]);
    let got = send(Method::GET, &stage.at("b"), &[("range", "bytes=40-60")]).await;
    assert_eq!((got.status.as_u16(), got.body), (206, Err(bytes.slice(40..50))));
}

#[tokio::test]
async fn rfc5861_3_stale_while_revalidate_waits_for_nobody_and_asks_once() {
    let (web, gate) = (Web::start().await, Arc::new(Semaphore::new(0)));
    let stale = ("Cache-Control", "max-age=3600, stale-while-revalidate=7200");
    let slow = Reply(vec![Step::Wait(gate.clone())].into_iter().chain(Reply::new(200, &[FRESH], "new").0).collect());
    web.put("/a", [Reply::new(200, &[stale, ("Age", "7000")], "old"), slow]);
    let stage = Stage::public(&web, |_| ()).await;
    get(&stage.at("a")).await;
    for _ in 0..5 {
        let got = get(&stage.at("a")).await;
        assert_eq!(got.bytes(), "old");
        assert!(got.header("cache-status").contains("; hit; ttl=-"), "{}", got.header("cache-status"));
    }
    gate.add_permits(10);
    eventually("the new one is held", || async { get(&stage.at("a")).await.bytes() == "new" }).await;
    assert_eq!(web.heard().len(), 2);
}

#[tokio::test]
async fn what_is_held_outlives_a_restart_with_its_head() {
    let web = Web::start().await;
    let bytes = noise(1, 2 * CHUNK + 100);
    let headers =
        [FRESH, ("ETag", "\"a\""), ("X-A", "\u{e9}"), ("Vary", "foo"), ("Set-Cookie", "a"), ("Set-Cookie", "b")];
    web.put("/long", [Reply::new(203, &headers, &bytes)]);
    let (one, two) = bytes.split_at(CHUNK + 7);
    web.put("/chunked", [Reply::chunked(&[FRESH], &[one, two], &[])]);
    web.put("/gone", [Reply::new(410, &[FRESH], "gone")]);
    let mut stage = Stage::public(&web, |_| ()).await;
    for restarted in [false, true] {
        // Under one name, whatever port the edge has this time.
        let host = ("host", "music.example");
        let long = send(Method::GET, &stage.at("long"), &[host, ("foo", "1")]).await;
        assert_eq!((long.status.as_u16(), long.bytes()), (203, &bytes));
        assert_eq!(long.headers.get_all("set-cookie").iter().count(), 2);
        let chunked = send(Method::GET, &stage.at("chunked"), &[host]).await;
        assert_eq!((chunked.status.as_u16(), chunked.bytes()), (200, &bytes));
        let gone = send(Method::GET, &stage.at("gone"), &[host]).await;
        assert_eq!((gone.status.as_u16(), gone.bytes().as_ref()), (410, &b"gone"[..]));
        assert_eq!(web.heard().len(), 3, "restarted: {restarted}");
        if !restarted {
            stage.restart().await;
        }
    }
}

#[tokio::test]
async fn rfc9112_6_3_old_clients_get_a_body_that_ends_with_the_connection() {
    let web = Web::start().await;
    web.put("/c", [Reply::chunked(&[], &[b"with", b"out"], &[])]);
    let stage = Stage::public(&web, |_| ()).await;
    let answer = raw(&stage, "GET /c HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\nwithout"), "{answer}");
    assert!(!answer.to_lowercase().contains("transfer-encoding"), "{answer}");
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_end_for_old_clients_as_a_whole_one() {
    let (web, gate) = (Web::start().await, Arc::new(Semaphore::new(0)));
    let half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec();
    web.put("/c", [Reply(vec![Step::Send(half), Step::Wait(gate.clone()), Step::Close])]);
    let stage = Stage::public(&web, |_| ()).await;
    let mut stream = TcpStream::connect(stage.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(b"GET /c HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhalf") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    gate.add_permits(1);
    let end = stream.read_buf(&mut answer).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn rfc9110_7_6_2_max_forwards() {
    let web = Web::start().await;
    web.put("/m", [Reply::new(200, &[], "")]);
    let stage = Stage::public(&web, |_| ()).await;
    assert_eq!(send(Method::OPTIONS, &stage.at("m"), &[("max-forwards", "0")]).await.status, 204);
    assert_eq!(send(Method::TRACE, &stage.at("m"), &[("max-forwards", "0")]).await.status, 405);
    assert!(web.heard().is_empty());
    assert_eq!(send(Method::OPTIONS, &stage.at("m"), &[("max-forwards", "3")]).await.status, 200);
    assert_eq!(web.last().header("max-forwards"), "2");
}

#[tokio::test]
async fn a_fleet_edge_before_a_web_origin_leaves_the_routers_parameter_out() {
    let web = Web::start().await;
    web.put("/song?v=1", [Reply::new(200, &[("ETag", "\"a\"")], "song")]);
    let stage = Stage::public(&web, |config| config.edge.public = false).await;
    for id in [wire::DecisionId::generate(), wire::DecisionId::generate()] {
        let url = stage.at(&format!("song?v=1&decision_id={id}"));
        assert_eq!(send(Method::GET, &url, &[("cache-control", "no-cache")]).await.bytes(), "song");
    }
    assert_eq!(web.heard().len(), 1, "the default lifetime holds, and a listener's no-cache does not");
}

#[tokio::test]
async fn an_answer_that_is_older_than_a_change_is_not_held() {
    let (web, gate) = (Web::start().await, Arc::new(Semaphore::new(0)));
    let slow = Reply(vec![Step::Wait(gate.clone())].into_iter().chain(Reply::new(200, &[FRESH], "before").0).collect());
    web.put("/a", [slow, Reply::new(204, &[], ""), Reply::new(200, &[FRESH], "after")]);
    let stage = Stage::public(&web, |_| ()).await;
    let url = stage.at("a");
    let early = tokio::spawn(async move { get(&url).await });
    eventually("the origin is asked", || async { web.heard().len() == 1 }).await;
    assert_eq!(send(Method::PUT, &stage.at("a"), &[]).await.status, 204);
    gate.add_permits(1);
    assert_eq!(early.await.unwrap().bytes(), "before", "whoever asked before the change gets what was true then");
    assert_eq!(get(&stage.at("a")).await.bytes(), "after");
    assert_eq!(get(&stage.at("a")).await.bytes(), "after");
    assert_eq!(web.heard().len(), 3);
}

#[tokio::test]
async fn scripts_may_read_answers_and_their_timing_where_the_operator_allows_it() {
    let web = Web::start().await;
    web.put("/a", [Reply::new(200, &[FRESH, ("Access-Control-Allow-Origin", "https://one.example")], "a")]);
    let stage = Stage::public(&web, |config| (config.edge.cors, config.edge.server_timing) = (true, true)).await;
    for source in ["miss", "hit"] {
        let got = get(&stage.at("a")).await;
        let timing = got.header("server-timing").strip_prefix(&format!("edge;desc={source};dur=")).unwrap();
        assert!(timing.parse::<f64>().unwrap() > 0.0);
        assert_eq!(
            (got.header("access-control-allow-origin"), got.header("timing-allow-origin")),
            ("https://one.example", "*")
        );
    }
    let plain = Stage::public(&web, |_| ()).await;
    let got = get(&plain.at("a")).await;
    assert_eq!(
        (got.header("server-timing"), got.header("timing-allow-origin")),
        ("", ""),
        "heads are left as they are"
    );
}

#[tokio::test]
async fn scripts_may_ask_for_ranges_and_read_what_is_passed_on() {
    let web = Web::start().await;
    web.put("/a", [Reply::new(200, &[("Cache-Control", "no-store")], "a")]);
    let stage = Stage::public(&web, |config| config.edge.cors = true).await;
    let asks = |method| [("origin", "https://player.example"), ("access-control-request-method", method)];
    let told = send(Method::OPTIONS, &stage.at("a"), &asks("GET")).await;
    assert_eq!((told.status.as_u16(), told.header("access-control-allow-headers")), (204, "*"));
    assert!(web.heard().is_empty(), "reads are ours to allow");
    send(Method::OPTIONS, &stage.at("a"), &asks("PUT")).await;
    assert_eq!(web.heard().len(), 1, "and nothing else");
    let passed = get(&stage.at("a")).await;
    assert_eq!((passed.bytes().as_ref(), passed.header("access-control-allow-origin")), (&b"a"[..], "*"));
}

#[tokio::test]
async fn players_that_tell_of_themselves_are_told_in_turn() {
    let web = Web::start().await;
    web.put("/a", [Reply::new(200, &[FRESH, ("Content-Type", "audio/mp4")], "a")]);
    let stage = Stage::public(&web, |config| config.edge.cmsd = true).await;
    for _ in 0..2 {
        let got = send(Method::GET, &stage.at("a"), &[("cmcd-session", "sid=\"x\"")]).await;
        let (kind, told) = (got.header("cmsd-static"), got.header("cmsd-dynamic"));
        let rtt = told.strip_prefix("\"fra-1\"").and_then(|told| told.rsplit_once(";rtt=")).unwrap().1;
        assert!(kind == "ot=a" && rtt.parse::<u32>().unwrap() < 1000, "{kind} {told}");
    }
    assert!(!get(&stage.at("a")).await.headers.contains_key("cmsd-dynamic"), "nobody else asked");
}

#[tokio::test]
async fn rfc9111_5_2_2_2_what_must_be_confirmed_and_cannot_be_is_a_504() {
    let web = Web::start().await;
    for (path, said) in [("/strict", "max-age=0, must-revalidate"), ("/shared", "s-maxage=0"), ("/lax", "max-age=0")] {
        let first = Reply::new(200, &[("Cache-Control", said), ("ETag", "\"one\"")], "held");
        web.put(path, [first, Reply(vec![Step::Reset])]);
    }
    let stage = Stage::public(&web, |_| ()).await;
    for (path, status) in [("strict", 504), ("shared", 504), ("lax", 200)] {
        assert_eq!(get(&stage.at(path)).await.status, 200);
        assert_eq!(get(&stage.at(path)).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_a_stop() {
    let web = Web::start().await;
    let mut stage =
        Stage::public(&web, |config| config.http.drain_timeout = service::config::Span::from_secs(60)).await;
    let _silent = TcpStream::connect(stage.url.strip_prefix("http://").unwrap()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    tokio::time::timeout(std::time::Duration::from_secs(9), stage.stop()).await.expect("before its patience ends");
}

#[tokio::test]
async fn whoever_reads_what_cannot_be_fetched_again_is_left_to_it() {
    let (web, one, two) = (Web::start().await, noise(3, 24 << 20), noise(4, 24 << 20));
    // Stored, for it can be asked about, but never fresh; its weak tag lets no parts be put together.
    let weak = |tag: &'static str, bytes: &[u8]| Reply::new(200, &[("ETag", tag)], bytes);
    web.put("/a", [weak("W/\"1\"", &one), weak("W/\"2\"", &two)]);
    let stage = Stage::public(&web, |config| config.edge.cache_memory = bytesize::ByteSize::mib(2)).await;
    let mut slow = open(Method::GET, &stage.at("a"), &[]).await;
    let begun = slow.next().await.unwrap().unwrap();
    assert!(get(&stage.at("a")).await.bytes() == &two);
    assert_eq!(web.last().header("if-none-match"), "W/\"1\"");
    assert!([&begun[..], &slow.rest().await.expect("the first answer to its end")].concat() == one);
    eventually("the first answer leaves the disk", || async { stage.files().len() == 1 }).await;
}

#[tokio::test]
async fn whoever_joins_what_cannot_be_fetched_again_keeps_its_fill_going() {
    let (web, gate, bytes) = (Web::start().await, Arc::new(Semaphore::new(0)), noise(5, 24 << 20));
    let head = format!(
        "HTTP/1.1 200 OK\r\nETag: W/\"1\"\r\n{}: {}\r\nContent-Length: {}\r\n\r\n",
        FRESH.0,
        FRESH.1,
        bytes.len()
    );
    // More than a fill brings before it looks for readers, and more than it finishes alone.
    let sent = 12 * CHUNK;
    let reply = Reply::raw(head).then(Step::Send(bytes[..sent].to_vec())).then(Step::Wait(gate.clone()));
    web.put("/a", [reply.then(Step::Send(bytes[sent..].to_vec()))]);
    let stage = Stage::public(&web, |_| ()).await;
    let mut first = open(Method::GET, &stage.at("a"), &[]).await;
    first.at_least(sent).await;
    let mut second = open(Method::GET, &stage.at("a"), &[]).await;
    let begun = second.at_least(1).await;
    drop(first);
    gate.add_permits(1);
    assert!([&begun[..], &second.rest().await.expect("the answer to its end")].concat() == bytes);
    assert_eq!(web.heard().len(), 1);
}
