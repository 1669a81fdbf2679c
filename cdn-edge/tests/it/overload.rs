//! More than can be served: hits before misses, a refusal before a wait, and each client its share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::client::{get, send};
use crate::http2::{ask, speak_http2};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, Stage, eventually, noise};

/// An origin with one object that is held, and many whose heads wait for a permit.
async fn slow_origin(stage: impl FnOnce(&mut cdn_edge::Config)) -> (Origin, Stage, Arc<Semaphore>) {
    let (origin, heads) = (Origin::start().await, Arc::new(Semaphore::new(0)));
    origin.put("held", Act::of(noise(1, CHUNK)));
    for n in 0..10 {
        origin.put(&format!("slow-{n}"), Act { heads: Some(heads.clone()), ..Act::of(noise(2, CHUNK)) });
    }
    let stage = Stage::before(&origin, stage).await;
    assert_eq!(get(&stage.at("held")).await.status, 200);
    (origin, stage, heads)
}

#[tokio::test(flavor = "multi_thread")]
async fn misses_without_room_are_refused_at_once_and_hits_are_not() {
    // Room for one whole object and 16 who wait for it.
    let (origin, stage, heads) = slow_origin(|config| config.edge.miss_units = 64).await;
    let first = tokio::spawn({
        let url = stage.at("slow-0");
        async move { get(&url).await }
    });
    eventually("it is asked for", || async { origin.asked().len() == 2 }).await;
    let crowd: Vec<_> = (0..40).map(|_| stage.at("slow-0")).collect();
    let crowd: Vec<_> = crowd.into_iter().map(|url| tokio::spawn(async move { get(&url).await })).collect();
    eventually("who finds no room has gone", || async { crowd.iter().filter(|one| one.is_finished()).count() == 24 })
        .await;
    for n in 1..10 {
        let since = Instant::now();
        let refused = get(&stage.at(&format!("slow-{n}"))).await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    }
    let held = stage.at("held");
    for got in join_all((0..50).map(|_| get(&held))).await {
        assert_eq!(got.status, 200);
    }
    assert_eq!(origin.asked().len(), 2, "what is refused is not asked for");
    heads.add_permits(100);
    assert_eq!(first.await.unwrap().bytes(), &noise(2, CHUNK));
    let served = join_all(crowd).await.into_iter().filter(|got| got.as_ref().unwrap().status == 200).count();
    assert_eq!(served, 16);
    // Who was served gives its room back a moment after its last byte.
    eventually("there is room again", || async { get(&stage.at("slow-5")).await.status == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_edge_serves_what_it_holds() {
    let (_origin, stage, heads) = slow_origin(|config| config.http.max_connections = 40).await;
    heads.add_permits(100);
    let address = stage.url.strip_prefix("http://").unwrap();
    let idle = join_all((0..39).map(|_| TcpStream::connect(address))).await;
    let mut n = 0;
    eventually("new questions are refused", || {
        n += 1;
        let url = stage.at(&format!("unknown-{n}"));
        async move { get(&url).await.status == 503 }
    })
    .await;
    assert_eq!(get(&stage.at("held")).await.status, 200);
    assert_eq!(get(&stage.at("slow-9")).await.status, 503);
    drop(idle);
    eventually("they are answered again", || async { get(&stage.at("slow-9")).await.status == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_on_http2_are_bounded() {
    let (origin, stage, heads) = slow_origin(|config| {
        config.edge.threads = 1;
        config.edge.max_streams = 3;
    })
    .await;
    let sender = speak_http2(TcpStream::connect(stage.url.strip_prefix("http://").unwrap()).await.unwrap()).await;
    let asked = (0..3).map(|n| {
        let (sender, path) = (sender.clone(), format!("/slow-{n}"));
        tokio::spawn(async move { ask(&sender, Method::GET, &path, &[], "").await.0 })
    });
    let asked: Vec<_> = asked.collect();
    eventually("all three are under way", || async { origin.asked().len() == 4 }).await;
    assert_eq!(ask(&sender, Method::GET, "/held", &[], "").await.0, 503, "there is no room");
    heads.add_permits(100);
    for one in asked {
        assert_eq!(one.await.unwrap(), 200);
    }
    eventually("there is", || async { ask(&sender, Method::GET, "/held", &[], "").await.0 == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_asks_as_often_as_it_may() {
    let (_origin, stage, _) = slow_origin(|config| config.edge.client_requests_per_s = 4).await;
    let (mut served, mut refused) = (0, 0);
    let since = Instant::now();
    for _ in 0..30 {
        let got = get(&stage.at("held")).await;
        match got.status.as_u16() {
            200 => served += 1,
            429 => {
                refused += 1;
                assert_eq!(got.header("retry-after"), "1");
            }
            other => panic!("{other}"),
        }
        assert_eq!(get(&stage.at(".tonearm/ping")).await.status, 204, "probes are not counted");
    }
    let most = 4 + 4 * (since.elapsed().as_secs() + 1);
    assert!(served >= 3 && served <= most && refused > 0, "{served} served, {refused} refused");
    eventually("with time it may again", || async { get(&stage.at("held")).await.status == 200 }).await;
    let (_origin, exempt, _) = slow_origin(|config| {
        config.edge.client_requests_per_s = 1;
        config.edge.client_exempt = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    for _ in 0..10 {
        assert_eq!(get(&exempt.at("held")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_as_many_connections_as_it_may() {
    let origin = Origin::start().await;
    let stage = Stage::before(&origin, |config| config.edge.client_connections = 2).await;
    let address = stage.url.strip_prefix("http://").unwrap();
    let request = b"GET /.tonearm/ping HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        held.push(stream);
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    // Closed before or after it could write; never answered.
    let _ = third.write_all(request).await;
    assert_eq!(third.read(&mut [0; 1024]).await.unwrap_or(0), 0);
    held.pop();
    eventually("there is room for another", || async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(request).await;
        stream.read(&mut [0; 1024]).await.unwrap_or(0) > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_its_bandwidth_over_all_its_connections() {
    let origin = Origin::start().await;
    let bytes = noise(3, 1_000_000);
    origin.put("song", Act::of(bytes.clone()));
    let stage = Stage::before(&origin, |config| config.edge.client_bps = 8_000_000).await;
    send(Method::HEAD, &stage.at("song"), &[]).await;
    let (url, since) = (stage.at("song"), Instant::now());
    for got in join_all([get(&url), get(&url)]).await {
        assert_eq!(got.bytes(), &bytes);
    }
    // 2 MB at 1 MB/s, but for a quarter of a second's worth and what each connection may write at once.
    assert!(since.elapsed() > Duration::from_millis(1000), "{:?}", since.elapsed());
}
