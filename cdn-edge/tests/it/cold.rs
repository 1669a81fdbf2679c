//! A cold cache: herds, ranges, seeks.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::client::{Streaming, get, get_range, open};
use crate::origin::{Act, Origin, PIECE};
use crate::stage::{CHUNK, Stage, eventually, noise};

#[tokio::test]
async fn a_crowd_costs_one_request_and_starts_before_the_origin_has_finished() {
    let (origin, pieces) = (Origin::start().await, Arc::new(Semaphore::new(1)));
    let bytes = noise(1, 2 << 20);
    origin.put("song", Act { pieces: Some(pieces.clone()), ..Act::of(bytes.clone()) });
    let stage = Stage::before(&origin, |_| ()).await;
    let url = stage.at("song");
    let mut crowd = join_all((0..50).map(|_| open(http::Method::GET, &url, &[]))).await;
    let firsts = join_all(crowd.iter_mut().map(|listener| listener.at_least(PIECE))).await;
    assert!(firsts.into_iter().all(|first| first == bytes[..PIECE]), "one piece is all there is yet");
    pieces.add_permits(1000);
    for listener in crowd {
        assert_eq!([&bytes[..PIECE], &listener.rest().await.unwrap()].concat(), bytes);
    }
    assert_eq!(origin.asked().len(), 1);
    let again = get(&url).await;
    assert_eq!((again.bytes(), origin.asked().len()), (&bytes, 1));
    assert!(again.header("cache-status").starts_with("fra-1; hit; ttl="), "{}", again.header("cache-status"));
}

#[tokio::test]
async fn a_cold_range_asks_for_its_chunks_and_no_more() {
    let origin = Origin::start().await;
    let bytes = noise(2, 10 * CHUNK + 77);
    origin.put("song", Act::of(bytes.clone()));
    let stage = Stage::before(&origin, |_| ()).await;
    let (from, to) = (4 * CHUNK - 10, 5 * CHUNK + 10);
    let got = get_range(&stage.at("song"), &format!("bytes={from}-{}", to - 1)).await;
    assert_eq!(got.bytes(), &bytes[from..to]);
    assert_eq!(got.header("content-range"), format!("bytes {from}-{}/{}", to - 1, bytes.len()));
    let chunks = 3 * CHUNK as u64..6 * CHUNK as u64;
    assert_eq!(origin.asked(), vec![("song".into(), Some(chunks))]);
    assert!(got.header("cache-status").contains("fwd=uri-miss; stored"), "{}", got.header("cache-status"));

    let again = get_range(&stage.at("song"), &format!("bytes={from}-{}", to - 1)).await;
    assert_eq!((again.bytes(), origin.asked().len()), (got.bytes(), 1));

    let whole = get(&stage.at("song")).await;
    assert_eq!(whole.bytes(), &bytes);
    assert!(whole.header("cache-status").contains("fwd=partial"), "{}", whole.header("cache-status"));
    let gaps: Vec<_> = origin.asked().into_iter().skip(1).map(|(_, range)| range.unwrap()).collect();
    assert_eq!(gaps, vec![0..3 * CHUNK as u64, 6 * CHUNK as u64..bytes.len() as u64]);
}

/// A song of twelve chunks whose first piece has come to a listener; its fill waits for permits.
struct Begun {
    origin: Origin,
    bytes: Bytes,
    pieces: Arc<Semaphore>,
    url: String,
    first: Streaming,
    _stage: Stage,
}

async fn begun() -> Begun {
    let (origin, pieces) = (Origin::start().await, Arc::new(Semaphore::new(1)));
    let bytes = noise(3, 12 * CHUNK);
    origin.put("song", Act { pieces: Some(pieces.clone()), ..Act::of(bytes.clone()) });
    let stage = Stage::before(&origin, |_| ()).await;
    let url = stage.at("song");
    let mut first = open(http::Method::GET, &url, &[]).await;
    assert_eq!(first.at_least(PIECE).await, bytes[..PIECE]);
    Begun { origin, bytes, pieces, url, first, _stage: stage }
}

#[tokio::test]
async fn a_seek_ahead_of_a_fill_is_served_at_once_and_joined() {
    let Begun { origin, bytes, pieces, url, first, _stage } = begun().await;
    // The first fill waits for permits; what comes now comes by the seek's own request.
    origin.change("song", |act| act.pieces = None);
    let from = 8 * CHUNK + 5;
    let seek = get_range(&url, &format!("bytes={from}-")).await;
    assert_eq!(seek.bytes(), &bytes[from..]);
    assert_eq!(origin.asked()[1].1, Some(8 * CHUNK as u64..bytes.len() as u64));
    pieces.add_permits(8 * CHUNK / PIECE - 1);
    // Permits for the first 8 chunks and no more: the rest must come from the second fill.
    let rest = first.rest().await.unwrap();
    assert_eq!([&bytes[..PIECE], &rest].concat(), bytes);
    assert_eq!(origin.asked().len(), 2);
}

#[tokio::test]
async fn a_seek_that_fails_takes_nothing_from_who_listens_already() {
    let Begun { origin, bytes, pieces, url, first, _stage } = begun().await;
    origin.change("song", |act| act.status = Some(500));
    assert_eq!(get_range(&url, &format!("bytes={}-", 8 * CHUNK)).await.status, 502);
    pieces.add_permits(12 * CHUNK / PIECE);
    let rest = first.rest().await.unwrap();
    assert_eq!([&bytes[..PIECE], &rest].concat(), bytes);
    assert_eq!(origin.asked().len(), 2);
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_back() {
    let origin = Origin::start().await;
    let bytes = noise(4, 24 << 20);
    origin.put("song", Act::of(bytes.clone()));
    let stage = Stage::before(&origin, |_| ()).await;
    let url = stage.at("song");
    let mut slow = open(http::Method::GET, &url, &[]).await;
    let begun = slow.next().await.unwrap().unwrap();
    assert_eq!(get(&url).await.bytes(), &bytes);
    assert_eq!([&begun[..], &slow.rest().await.unwrap()].concat(), bytes);
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn objects_longer_than_a_run_are_served_run_by_run() {
    let origin = Origin::start().await;
    let bytes = noise(5, (32 << 20) + 3 * CHUNK + 1);
    origin.put("long", Act::of(bytes.clone()));
    let stage = Stage::before(&origin, |config| config.edge.cache_memory = bytesize::ByteSize::mib(4)).await;
    assert_eq!(get(&stage.at("long")).await.bytes(), &bytes);
    assert_eq!(origin.asked().len(), 2);
    eventually("all is on disk", || async {
        let held = crate::admin::object(&stage, "long").await.json();
        held["chunks"] == held["chunks_on_disk"]
    })
    .await;
    assert_eq!(get(&stage.at("long")).await.bytes(), &bytes);
    assert_eq!(origin.asked().len(), 2);
}

#[tokio::test]
async fn an_origin_without_ranges_is_served_too() {
    let origin = Origin::start().await;
    let bytes = noise(6, 3 * CHUNK);
    origin.put("song", Act { ignores_ranges: true, ..Act::of(bytes.clone()) });
    let stage = Stage::before(&origin, |_| ()).await;
    let got = get_range(&stage.at("song"), &format!("bytes={}-", 2 * CHUNK + 1)).await;
    assert_eq!((got.status.as_u16(), got.bytes()), (206, &bytes.slice(2 * CHUNK + 1..)));
}

#[tokio::test]
async fn a_fill_that_all_readers_left_finishes_a_small_object() {
    let (origin, pieces) = (Origin::start().await, Arc::new(Semaphore::new(1)));
    let bytes = noise(7, 8 * CHUNK);
    origin.put("song", Act { pieces: Some(pieces.clone()), ..Act::of(bytes.clone()) });
    let stage = Stage::before(&origin, |_| ()).await;
    let mut listener = open(http::Method::GET, &stage.at("song"), &[]).await;
    listener.next().await.unwrap().unwrap();
    drop(listener);
    pieces.add_permits(1000);
    eventually("the object is held", || async {
        crate::admin::object(&stage, "song").await.json()["chunks_in_memory"] == 8
    })
    .await;
    assert_eq!((get(&stage.at("song")).await.bytes(), origin.asked().len()), (&bytes, 1));
}
