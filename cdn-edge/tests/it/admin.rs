//! The operators' listener.

use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use wire::track::WarmAnswer;

use crate::client::{self, Got, get};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, Stage, TOKEN, noise};

pub(crate) async fn post(url: &str, token: &str, body: &str) -> Got {
    let request = Request::post(url).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.body(Full::from(body.to_owned())).unwrap();
    let (head, body) = service::client::pool(client::PATIENCE, 1).request(request).await.unwrap().into_parts();
    Got { status: head.status, headers: head.headers, body: Ok(body.collect().await.unwrap().to_bytes()) }
}

pub(crate) async fn object(stage: &Stage, key: &str) -> Got {
    let url = format!("{}/v1/objects/{key}", stage.admin);
    client::send(Method::GET, &url, &[("authorization", &format!("Bearer {TOKEN}"))]).await
}

#[tokio::test]
async fn a_warm_order_fetches_whole_objects_once() {
    let (stage, s3) = Stage::before_s3(|_| ()).await;
    let long = noise(1, 5 * CHUNK + 1);
    s3.put("t/long.m4a", "audio/mp4", long.clone()).await.unwrap();
    s3.put("t/short.m3u8", "application/vnd.apple.mpegurl", noise(2, 100)).await.unwrap();
    let order = r#"{"keys":["t/long.m4a","t/missing","t/short.m3u8"]}"#;
    for fetched in [5 * CHUNK as u64 + 1, 0] {
        let answer: WarmAnswer =
            serde_json::from_value(post(&format!("{}/v1/warm", stage.admin), TOKEN, order).await.json()).unwrap();
        let [first, missing, short] = &answer.results[..] else { panic!("one result a key") };
        assert_eq!((first.bytes, first.fetched), (Some(long.len() as u64), fetched));
        assert_eq!((missing.bytes, missing.error.as_deref()), (None, Some("the origin has no such object")));
        assert_eq!((short.bytes, short.fetched), (Some(100), if fetched > 0 { 100 } else { 0 }));
    }
    let got = get(&stage.at("t/long.m4a")).await;
    assert_eq!(got.bytes(), &long);
    assert!(got.header("cache-status").contains("; hit"));
    assert_eq!(got.header("content-type"), "audio/mp4");
}

#[tokio::test]
async fn a_warm_order_finds_what_was_missing_a_moment_ago_and_says_what_may_not_be_held() {
    let origin = Origin::start().await;
    let stage = Stage::before(&origin, |_| ()).await;
    assert_eq!(get(&stage.at("song")).await.status, 404);
    origin.put("song", Act::of(noise(7, 10)));
    origin.put("secret", Act { cache_control: Some("private".into()), ..Act::of(noise(8, 10)) });
    let answer = post(&format!("{}/v1/warm", stage.admin), TOKEN, r#"{"keys":["song","secret"]}"#).await.json();
    assert_eq!(answer["results"][0]["bytes"], 10);
    assert_eq!(answer["results"][1]["error"], "the origin forbids to store it");
}

#[tokio::test]
async fn warming_fills_only_the_gaps() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(3, 6 * CHUNK)));
    let stage = Stage::before(&origin, |_| ()).await;
    client::get_range(&stage.at("song"), &format!("bytes={}-{}", 2 * CHUNK, 3 * CHUNK - 1)).await;
    let answer = post(&format!("{}/v1/warm", stage.admin), TOKEN, r#"{"keys":["song"]}"#).await.json();
    assert_eq!(answer["results"][0]["fetched"], 5 * CHUNK);
    let asked: Vec<_> = origin.asked().into_iter().map(|(_, range)| range.unwrap()).collect();
    let chunk = CHUNK as u64;
    assert_eq!(asked, vec![2 * chunk..3 * chunk, 0..2 * chunk, 3 * chunk..6 * chunk]);
}

#[tokio::test]
async fn a_purged_object_is_asked_for_again_also_after_a_restart() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(4, CHUNK)));
    let mut stage = Stage::before(&origin, |_| ()).await;
    get(&stage.at("song")).await;
    let order = r#"{"keys":["song","never-seen"]}"#;
    assert_eq!(post(&format!("{}/v1/purge", stage.admin), TOKEN, order).await.json()["purged"], 1);
    assert_eq!(object(&stage, "song").await.status, 404);
    let changed = noise(5, CHUNK);
    origin.put("song", Act { etag: "\"two\"".into(), ..Act::of(changed.clone()) });
    stage.restart().await;
    assert_eq!(get(&stage.at("song")).await.bytes(), &changed);
}

#[tokio::test]
async fn what_is_held_is_told() {
    let origin = Origin::start().await;
    origin.put("song", Act { cache_control: Some("max-age=60".into()), ..Act::of(noise(6, 3 * CHUNK)) });
    let stage = Stage::before(&origin, |_| ()).await;
    client::get_range(&stage.at("song"), "bytes=0-1").await;
    let held = object(&stage, "song").await.json();
    assert_eq!(
        (&held["bytes"], &held["chunks"], &held["chunks_in_memory"]),
        (&(3 * CHUNK).into(), &3.into(), &1.into())
    );
    assert_eq!(
        (&held["etag"], &held["state"], &held["filled_by"]),
        (&"\"one\"".into(), &"fresh".into(), &"origin".into())
    );
    assert_eq!((&held["memory"], &held["lifetime_s"]), (&serde_json::json!([[0, CHUNK - 1]]), &60.into()));
    post(&format!("{}/v1/purge", stage.admin), TOKEN, r#"{"keys":["song"],"soft":true}"#).await;
    let held = object(&stage, "song").await.json();
    assert_eq!((&held["state"], &held["fresh_until"]), (&"purged".into(), &held["purged_at"]));
    assert_eq!(object(&stage, "other").await.status, 404);
}

#[tokio::test]
async fn of_several_answers_each_is_told() {
    let web = crate::web::Web::start().await;
    let headers =
        [("Cache-Control", "max-age=60, stale-if-error=9"), ("Vary", "Accept-Language"), ("Cache-Tag", "x,y")];
    web.put("/a", [crate::web::Reply::new(200, &headers, "text")]);
    let stage = Stage::public(&web, |_| ()).await;
    for language in ["de", "fr"] {
        client::send(Method::GET, &stage.at("a"), &[("accept-language", language)]).await;
    }
    let host = stage.url.strip_prefix("http://").unwrap();
    let held = object(&stage, &format!("{host}/a")).await.json();
    assert_eq!((&held["variants"], &held["tags"]), (&2.into(), &serde_json::json!(["x", "y"])));
    assert_eq!(held["others"][0]["selectors"], serde_json::json!([["accept-language", "fr"]]));
    assert!(held["stale_if_error_until"].is_string() && held["stale_while_revalidate_until"].is_null());
}

#[tokio::test]
async fn a_drained_edge_serves_and_asks_for_no_more() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(1, 10)));
    let router = crate::catcher::Catcher::start("/v1/fleet/reports").await;
    let url = router.url.clone();
    let stage = Stage::before(&origin, |config| config.edge.routers = vec![url]).await;
    for (order, draining, health) in [("drain", true, 503), ("undrain", false, 200)] {
        assert_eq!(post(&format!("{}/v1/{order}", stage.admin), TOKEN, "").await.json()["draining"], draining);
        assert_eq!(get(&format!("{}/health", stage.admin)).await.status.as_u16(), health);
        assert_eq!(get(&stage.at("song")).await.status, 200);
        crate::stage::eventually("the routers are told", || async {
            let reports: Vec<wire::load::LoadReport> = router.caught();
            reports.last().is_some_and(|report| report.draining == draining)
        })
        .await;
    }
    assert_eq!(post(&format!("{}/v1/drain", stage.admin), "no-token-of-operators", "").await.status, 401);
}

#[tokio::test]
async fn operators_show_their_token_and_bad_orders_are_refused() {
    let stage = Stage::before(&Origin::start().await, |_| ()).await;
    for path in ["/v1/warm", "/v1/purge"] {
        let url = format!("{}{path}", stage.admin);
        assert_eq!(post(&url, "a-wrong-admin-token", r#"{"keys":["a"]}"#).await.status, 401);
        for (body, field) in [
            ("{}", "keys"),
            ("[]", "."),
            (r#"{"keys":[]}"#, "keys"),
            (r#"{"keys":["../a"]}"#, "keys[0]"),
            (r#"{"keys":[7]}"#, "keys[0]"),
            ("", "."),
        ] {
            let refused = post(&url, TOKEN, body).await;
            assert_eq!((refused.status.as_u16(), refused.json()["field"].as_str()), (400, Some(field)), "{body}");
        }
        let refused = post(&url, TOKEN, &" ".repeat(4 << 20)).await;
        assert_eq!((refused.status.as_u16(), refused.json()["status"].as_u64()), (413, Some(413)));
    }
    assert_eq!(client::get(&format!("{}/v1/objects/a", stage.admin)).await.status, 401);
    for open in ["/health", "/health/detailed", "/metrics", "/openapi.json"] {
        assert_eq!(client::get(&format!("{}{open}", stage.admin)).await.status, 200, "{open}");
    }
}
