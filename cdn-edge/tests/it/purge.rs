//! Purges by key, prefix and tag, hard and soft, also of what is on its way.

use std::sync::Arc;

use http::Method;
use tokio::sync::Semaphore;

use crate::admin::{object, post};
use crate::client::{Got, get, open};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, Stage, TOKEN, eventually, noise};
use crate::web::{Reply, Step, Web};

pub(crate) async fn purge(stage: &Stage, order: &str) -> Got {
    let got = post(&format!("{}/v1/purge", stage.admin), TOKEN, order).await;
    assert_eq!(got.status, 200, "{order}: {got:?}");
    got
}

fn fresh(body: &str, tags: &str) -> Reply {
    let etag = format!("\"{body}\"");
    Reply::new(200, &[("Cache-Control", "max-age=600"), ("ETag", &etag), ("Cache-Tag", tags)], body)
}

fn hit(got: &Got) -> bool {
    got.header("cache-status").contains("; hit")
}

#[tokio::test]
async fn a_hard_purge_drops_what_it_names_and_nothing_else() {
    let web = Web::start().await;
    let stage = Stage::public(&web, |_| ()).await;
    let host = stage.url.strip_prefix("http://").unwrap().to_owned();
    for (path, tags) in [("/a/1", "x, y"), ("/a/2", "y"), ("/b/1", "x"), ("/b/2?q=1", "")] {
        web.put(path, [fresh("old", tags), fresh("new", tags)]);
        get(&stage.at(&path[1..])).await;
    }
    let all = ["a/1", "a/2", "b/1", "b/2?q=1"];
    let mut dropped = [false; 4];
    for (order, also) in [
        (format!(r#"{{"keys":["{host}/b/2?q=1"]}}"#), &[3][..]),
        (format!(r#"{{"prefixes":["{}/a/2"]}}"#, stage.url), &[1]),
        (r#"{"tags":["x"]}"#.to_owned(), &[0, 2]),
    ] {
        purge(&stage, &order).await;
        also.iter().for_each(|at| dropped[*at] = true);
        for (path, dropped) in all.iter().zip(dropped) {
            let got = get(&stage.at(path)).await;
            assert_eq!(&got.bytes()[..], if dropped { b"new" } else { b"old" }, "{order} {path}");
        }
    }
    assert!(hit(&get(&stage.at("a/1")).await), "a purge concerns nothing that was asked for after it");
    purge(&stage, r#"{"all":true}"#).await;
    for path in all {
        assert!(!hit(&get(&stage.at(path)).await), "{path}");
    }
}

#[tokio::test]
async fn who_is_in_the_midst_of_a_version_hears_it_to_its_end() {
    let web = Web::start().await;
    let stage = Stage::public(&web, |_| ()).await;
    // More than the sockets between them hold.
    let (old, new) = (noise(1, 24 << 20), noise(2, 3 * CHUNK));
    let reply = |etag: &str, body: &[u8]| Reply::new(200, &[("Cache-Control", "max-age=600"), ("ETag", etag)], body);
    web.put("/a", [reply("\"1\"", &old), reply("\"2\"", &new)]);
    assert_eq!(get(&stage.at("a")).await.bytes(), &old);
    let mut midst = open(Method::GET, &stage.at("a"), &[]).await;
    let begun = midst.at_least(1).await;
    purge(&stage, r#"{"all":true}"#).await;
    assert_eq!(get(&stage.at("a")).await.bytes(), &new, "nobody new gets it");
    let rest = midst.rest().await.expect("the old version to its end");
    assert!([begun, rest].concat() == old, "bytes of the old version alone");
    let files = || async { stage.files().len() == 1 };
    eventually("the old version's file goes with its last reader", files).await;
    assert!(hit(&get(&stage.at("a")).await) && web.heard().len() == 2);
}

#[tokio::test]
async fn a_soft_purge_serves_stale_while_the_origin_is_asked_or_away() {
    let web = Web::start().await;
    let stage = Stage::public(&web, |_| ()).await;
    let allows = |etag: &'static str, windows: &str| {
        let control = format!("max-age=600, {windows}");
        Reply::new(200, &[("Cache-Control", &control), ("ETag", etag), ("Surrogate-Key", "x y")], etag)
    };
    web.put("/behind", [allows("\"1\"", "stale-while-revalidate=60"), allows("\"2\"", "stale-while-revalidate=60")]);
    web.put("/ask", [allows("\"1\"", ""), Reply::new(304, &[("ETag", "\"1\"")], "")]);
    web.put("/away", [allows("\"1\"", "stale-if-error=60"), Reply::new(503, &[], "no")]);
    for path in ["behind", "ask", "away"] {
        get(&stage.at(path)).await;
    }
    purge(&stage, r#"{"tags":["y"],"soft":true}"#).await;
    assert_eq!(&get(&stage.at("behind")).await.bytes()[..], b"\"1\"", "stale at once");
    let behind = || async { &get(&stage.at("behind")).await.bytes()[..] == b"\"2\"" };
    eventually("the new one is there", behind).await;
    assert!(get(&stage.at("ask")).await.header("cache-status").contains("fwd=stale; fwd-status=304"));
    assert_eq!(web.last().header("if-none-match"), "\"1\"");
    assert!(hit(&get(&stage.at("ask")).await), "what was confirmed after the purge is fresh");
    assert!(get(&stage.at("away")).await.header("cache-status").contains("origin-away"));
}

#[tokio::test]
async fn what_was_asked_for_before_a_purge_is_not_held_after_it() {
    for order in [r#"{"tags":["x"]}"#.to_owned(), r#"{"all":true}"#.into(), r#"{"tags":["x"],"soft":true}"#.into()] {
        let web = Web::start().await;
        let stage = Stage::public(&web, |_| ()).await;
        let gate = Arc::new(Semaphore::new(0));
        let Reply(steps) = fresh("old", "x");
        let waiting = Reply([vec![Step::Wait(gate.clone())], steps].concat());
        web.put("/a", [waiting, fresh("new", "x")]);
        let early = tokio::spawn({
            let url = stage.at("a");
            async move { get(&url).await }
        });
        eventually("the origin was asked", || async { !web.heard().is_empty() }).await;
        purge(&stage, &order).await;
        // Who asks from now on does not get what was asked for before; a crowd of them asks once more.
        let crowd = (0..5).map(|_| {
            let url = stage.at("a");
            tokio::spawn(async move { get(&url).await })
        });
        let crowd: Vec<_> = crowd.collect();
        tokio::task::yield_now().await;
        gate.add_permits(1);
        // Who asked before gets what it asked for, or, where that was dropped before it was read, the new one.
        let early = early.await.unwrap();
        assert!([&b"old"[..], b"new"].contains(&&early.bytes()[..]), "{order}: {:?}", early.bytes());
        for got in crowd {
            assert_eq!(&got.await.unwrap().bytes()[..], b"new", "{order}");
        }
        assert!(hit(&get(&stage.at("a")).await));
        // The early one may have asked for what was dropped.
        let asked = if early.bytes() == "old" { 2..=2 } else { 2..=3 };
        assert!(asked.contains(&web.heard().len()), "{order}: one request before and one after");
    }
}

#[tokio::test]
async fn a_purge_of_a_running_fill_lets_its_listener_finish_and_no_other_begin() {
    let origin = Origin::start().await;
    let pieces = Arc::new(Semaphore::new(4));
    origin.put("t/song", Act { pieces: Some(pieces.clone()), ..Act::of(noise(1, 2 * CHUNK)) });
    let stage = Stage::before(&origin, |_| ()).await;
    let mut early = crate::client::open(http::Method::GET, &stage.at("t/song"), &[]).await;
    early.at_least(1).await;
    purge(&stage, r#"{"prefixes":["t/"]}"#).await;
    origin.put("t/song", Act { etag: "\"two\"".into(), ..Act::of(noise(2, 2 * CHUNK)) });
    assert_eq!(get(&stage.at("t/song")).await.bytes(), &noise(2, 2 * CHUNK));
    pieces.add_permits(1000);
    drop(early);
    assert_eq!(get(&stage.at("t/song")).await.bytes(), &noise(2, 2 * CHUNK));
}

#[tokio::test]
async fn a_purge_outlives_a_restart_and_forgets_nothing_else() {
    let origin = Origin::start().await;
    for (key, seed) in [("a/1", 1), ("a/2", 2), ("b", 3)] {
        origin.put(key, Act::of(noise(seed, CHUNK)));
    }
    let mut stage = Stage::before(&origin, |_| ()).await;
    for key in ["a/1", "a/2", "b"] {
        get(&stage.at(key)).await;
    }
    purge(&stage, r#"{"prefixes":["a/"]}"#).await;
    assert_eq!(object(&stage, "a/2").await.status, 404);
    stage.restart().await;
    assert_eq!((object(&stage, "a/1").await.status.as_u16(), object(&stage, "b").await.status.as_u16()), (404, 200));
    get(&stage.at("a/1")).await;
    stage.restart().await;
    assert_eq!(object(&stage, "a/1").await.status, 200, "what came after the purge is held");
}

#[tokio::test]
async fn purges_that_say_nothing_or_nonsense_are_refused() {
    let stage = Stage::before(&Origin::start().await, |_| ()).await;
    for (body, field) in [
        ("{}", "keys"),
        (r#"{"soft":true}"#, "keys"),
        (r#"{"prefix":"a"}"#, "prefix"),
        (r#"{"prefixes":[""]}"#, "prefixes[0]"),
        (r#"{"tags":["a","\u0007"]}"#, "tags[1]"),
        (r#"{"keys":["a"],"tags":[7]}"#, "tags[0]"),
    ] {
        let refused = post(&format!("{}/v1/purge", stage.admin), TOKEN, body).await;
        assert_eq!((refused.status.as_u16(), refused.json()["field"].as_str()), (400, Some(field)), "{body}");
    }
}
