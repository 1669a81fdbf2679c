//! Origins that fail: an error to the reader, never a clean end, never bytes of two versions.

use std::sync::Arc;

use http::Method;
use service::config::Span;
use tokio::sync::Semaphore;

use crate::client::{get, get_range, open};
use crate::origin::{Act, Origin, PIECE};
use crate::stage::{CHUNK, Stage, noise};
use crate::web::{Reply, Web};

#[tokio::test]
async fn a_fill_that_breaks_off_is_an_error_and_the_next_listener_gets_all() {
    let origin = Origin::start().await;
    let bytes = noise(1, 6 * CHUNK);
    origin.put("song", Act { cut_at: Some(3 * CHUNK + 100), ..Act::of(bytes.clone()) });
    let stage = Stage::before(&origin, |_| ()).await;
    let cut = get(&stage.at("song")).await;
    assert_eq!(cut.status, 200);
    let came = cut.body.expect_err("a body that broke off at the origin must not end cleanly");
    assert_eq!(came, bytes[..came.len()]);
    origin.change("song", |act| act.cut_at = None);
    assert_eq!(get(&stage.at("song")).await.bytes(), &bytes);
    let resumed = origin.asked().pop().unwrap().1;
    assert_eq!(resumed, Some(3 * CHUNK as u64..bytes.len() as u64), "whole chunks that came are kept");
}

#[tokio::test]
async fn an_origin_that_claims_more_than_it_has_is_an_error() {
    let origin = Origin::start().await;
    origin.put("song", Act { claimed_size: Some(3 << 20), ..Act::of(noise(2, CHUNK)) });
    origin.put("huge", Act { claimed_size: Some(u64::MAX / 2), ..Act::of(noise(2, CHUNK)) });
    let stage = Stage::before(&origin, |_| ()).await;
    assert!(get(&stage.at("song")).await.body.is_err());
    let refused = get(&stage.at("huge")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["type"].as_str()),
        (502, Some("urn:tonearm:problem:origin-failed"))
    );
}

#[tokio::test]
async fn failures_before_the_first_byte_have_a_status() {
    let origin = Origin::start().await;
    let never = Some(Arc::new(Semaphore::new(0)));
    origin.put("broken", Act { status: Some(500), ..Act::default() });
    origin.put("denied", Act { status: Some(403), ..Act::default() });
    origin.put("moved", Act { status: Some(301), ..Act::default() });
    origin.put("silent", Act { heads: never.clone(), ..Act::of(noise(3, 10)) });
    origin.put("stuck", Act { pieces: never, ..Act::of(noise(3, 10)) });
    origin.put("cut", Act { cut_at: Some(0), ..Act::of(noise(3, 10)) });
    let stage = Stage::before(&origin, |config| {
        config.edge.origin_first_byte_timeout = Span::from_millis(300);
        config.edge.origin_idle_timeout = Span::from_millis(300);
    })
    .await;
    for (key, status) in
        [("broken", 502), ("denied", 502), ("moved", 502), ("silent", 504), ("stuck", 504), ("cut", 502)]
    {
        let failed = get(&stage.at(key)).await;
        assert_eq!(failed.status.as_u16(), status, "{key}");
        assert_eq!(failed.header("content-type"), "application/problem+json", "{key}");
        assert_eq!(failed.header("cache-control"), "no-store", "{key}");
    }
}

#[tokio::test]
async fn an_origin_that_stalls_in_mid_body_is_an_error_in_time() {
    let origin = Origin::start().await;
    origin.put("song", Act { pieces: Some(Arc::new(Semaphore::new(3))), ..Act::of(noise(4, CHUNK)) });
    let stage = Stage::before(&origin, |config| config.edge.origin_idle_timeout = Span::from_millis(300)).await;
    let came = get(&stage.at("song")).await.body.expect_err("stalled");
    assert_eq!(came, noise(4, CHUNK)[..3 * PIECE]);
}

#[tokio::test]
async fn an_origin_that_is_away_leaves_what_is_held() {
    let origin = Origin::start().await;
    let bytes = noise(5, 2 * CHUNK);
    origin.put("song", Act { cache_control: Some("max-age=0".into()), ..Act::of(bytes.clone()) });
    origin.put("strict", Act { cache_control: Some("max-age=0, must-revalidate".into()), ..Act::of(bytes.clone()) });
    let stage = Stage::before(&origin, |_| ()).await;
    for key in ["song", "strict"] {
        assert_eq!(get(&stage.at(key)).await.bytes(), &bytes);
        origin.change(key, |act| act.status = Some(503));
    }
    let asked = origin.asked().len();
    for _ in 0..3 {
        let stale = get(&stage.at("song")).await;
        assert_eq!(stale.bytes(), &bytes);
        assert!(stale.header("cache-status").contains("hit; detail=origin-away"), "{}", stale.header("cache-status"));
    }
    assert_eq!(origin.asked().len(), asked + 1, "an origin that failed is left alone for a moment");
    let strict = get(&stage.at("strict")).await;
    assert_eq!((strict.status.as_u16(), strict.header("retry-after")), (503, "1"), "as the bucket says");
    origin.change("strict", |act| act.status = Some(500));
    assert_eq!(get(&stage.at("strict")).await.status, 502);
    let health = get(&format!("{}/health/detailed", stage.admin)).await.json();
    assert_eq!(
        (&health["status"], &health["components"]["origin"]["status"]),
        (&"degraded".into(), &"degraded".into())
    );
}

#[tokio::test]
async fn versions_are_never_mixed() {
    for knows_conditions in [true, false] {
        let (origin, pieces) = (Origin::start().await, Arc::new(Semaphore::new(1)));
        let (one, two) = (noise(6, 40 << 20), noise(7, 40 << 20));
        origin.put("song", Act { pieces: Some(pieces.clone()), ..Act::of(one.clone()) });
        let stage = Stage::before(&origin, |_| ()).await;
        let mut old = open(Method::GET, &stage.at("song"), &[]).await;
        let begun = old.next().await.unwrap().unwrap();
        // Changes while the first run is under way: the second run cannot be of the same version.
        origin.put("song", Act { etag: "\"two\"".into(), knows_conditions, ..Act::of(two.clone()) });
        pieces.add_permits(100_000);
        let came = old.rest().await.expect_err("the old version cannot be had whole any more");
        let came = [&begun[..], &came].concat();
        assert_eq!(came, one[..came.len()]);
        let tail = get_range(&stage.at("song"), "bytes=-1000").await;
        assert_eq!((tail.bytes(), tail.header("etag")), (&two.slice(two.len() - 1000..), "\"two\""));
        assert_eq!(get(&stage.at("song")).await.bytes(), &two);
    }
}

#[tokio::test]
async fn no_store_is_obeyed() {
    let origin = Origin::start().await;
    let bytes = noise(8, CHUNK + 1);
    origin.put("song", Act { cache_control: Some("no-store".into()), ..Act::of(bytes.clone()) });
    let stage = Stage::before(&origin, |_| ()).await;
    for asked in 1..=2 {
        let got = get(&stage.at("song")).await;
        assert_eq!((got.bytes(), origin.asked().len()), (&bytes, asked));
        assert!(!got.header("cache-status").contains("stored"));
    }
    assert_eq!(crate::admin::object(&stage, "song").await.status, 404);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_no_missing_object() {
    let web = Web::start().await;
    let said = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><BucketName>bucket</BucketName></Error>";
    web.put("/bucket/song", [Reply::new(404, &[("Content-Type", "application/xml")], said)]);
    let stage = Stage::of_bucket(&web, |_| ()).await;
    let got = get(&stage.at("song")).await;
    assert!(got.status == 502 && got.json()["detail"] == "the origin has no such bucket", "{got:?}");
    let health = get(&format!("{}/health/detailed", stage.admin)).await.json();
    assert_eq!(health["components"]["origin"]["status"], "degraded");
}
