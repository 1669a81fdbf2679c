//! Warm orders that go on behind their answers.

use std::sync::Arc;
use std::time::Instant;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::admin::post;
use crate::client::{get, send};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, Stage, TOKEN, eventually, noise};
use crate::web::{Reply, Web};

async fn order(stage: &Stage, body: &str) -> String {
    let got = post(&format!("{}/v1/warm", stage.admin), TOKEN, body).await;
    assert_eq!(got.status, 202, "{body}: {got:?}");
    assert_eq!(got.header("location"), got.json()["url"]);
    got.json()["id"].as_str().unwrap().to_owned()
}

async fn ask(stage: &Stage, method: Method, rest: &str) -> crate::client::Got {
    let bearer = format!("Bearer {TOKEN}");
    let slash = if rest.is_empty() { "" } else { "/" };
    send(method, &format!("{}/v1/warm{slash}{rest}", stage.admin), &[("authorization", &bearer)]).await
}

async fn progress(stage: &Stage, id: &str) -> Value {
    ask(stage, Method::GET, id).await.json()
}

async fn done(stage: &Stage, id: &str) -> Value {
    eventually("the order has ended", || async { progress(stage, id).await["state"] != "running" }).await;
    progress(stage, id).await
}

#[tokio::test]
async fn a_prefix_is_listed_and_fetched_with_a_result_a_key() {
    let (stage, s3) = Stage::before_s3(|_| ()).await;
    let keys = ["album/1.m4a", "album/2.m4a", "album/b/ä c.m4a", "albums"];
    for (seed, key) in (1..).zip(keys) {
        s3.put(key, "audio/mp4", noise(seed, CHUNK + 1)).await.unwrap();
    }
    let id = order(&stage, r#"{"prefix":"album/"}"#).await;
    let told = done(&stage, &id).await;
    let size = CHUNK as u64 + 1;
    for (field, wanted) in [
        ("state", "done".into()),
        ("keys", 3.into()),
        ("done", 3.into()),
        ("failed", 0.into()),
        ("bytes", (3 * size).into()),
    ] {
        let wanted: Value = wanted;
        assert_eq!(told[field], wanted, "{field}: {told}");
    }
    assert!(get(&stage.at("album/b/%C3%A4%20c.m4a")).await.header("cache-status").contains("; hit"));
    let page = ask(&stage, Method::GET, &format!("{id}?offset=1&limit=1")).await.json();
    assert_eq!((page["results"].as_array().unwrap().len(), &page["results"][0]["fetched"]), (1, &size.into()));
    let orders = ask(&stage, Method::GET, "").await.json();
    assert_eq!(orders["orders"][0]["id"], *id);
}

#[tokio::test]
async fn an_order_outlives_a_restart_and_repeats_nothing() {
    let origin = Origin::start().await;
    let gate = Arc::new(Semaphore::new(1));
    for (seed, key) in [(1, "a"), (2, "b"), (3, "c")] {
        origin.put(key, Act { heads: Some(gate.clone()), ..Act::of(noise(seed, CHUNK)) });
    }
    let mut stage = Stage::before(&origin, |config| config.edge.warm_concurrency = 1).await;
    let id = order(&stage, r#"{"keys":["a","b","missing","c"],"wait":false}"#).await;
    eventually("one is there", || async { progress(&stage, &id).await["done"] == 1 }).await;
    stage.restart().await;
    gate.add_permits(100);
    let told = done(&stage, &id).await;
    assert_eq!((&told["done"], &told["failed"], &told["fetched"]), (&4.into(), &1.into(), &(3 * CHUNK).into()));
    let asked = |key: &str| origin.asked().iter().filter(|(asked, _)| asked == key).count();
    assert_eq!((asked("a"), asked("c")), (1, 1), "what has its result is not asked for again");
    stage.restart().await;
    assert_eq!(progress(&stage, &id).await["state"], "done", "and it is remembered");
}

#[tokio::test]
async fn an_order_keeps_its_pace_and_can_be_cancelled() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(1, 9 * CHUNK)));
    let stage = Stage::before(&origin, |_| ()).await;
    let begun = Instant::now();
    let id = order(&stage, &format!(r#"{{"keys":["song"],"wait":false,"bytes_per_s":{}}}"#, 8 * CHUNK)).await;
    assert_eq!(done(&stage, &id).await["bytes"], 9 * CHUNK);
    assert!(begun.elapsed().as_millis() >= 1000, "two MiB before the last chunk take a second");
    let ranges: Vec<_> = origin.asked().into_iter().map(|(_, range)| range.unwrap()).collect();
    assert!(ranges.iter().all(|range| range.end - range.start <= 4 * CHUNK as u64), "{ranges:?}");

    origin.put("slow", Act { heads: Some(Arc::new(Semaphore::new(0))), ..Act::of(noise(2, CHUNK)) });
    let id = order(&stage, r#"{"keys":["slow"],"wait":false}"#).await;
    assert_eq!(ask(&stage, Method::DELETE, &id).await.status, 204);
    assert_eq!(progress(&stage, &id).await["state"], "cancelled");
    assert_eq!(ask(&stage, Method::DELETE, "7").await.status, 404);
    assert_eq!(ask(&stage, Method::GET, "01935b0e-7c1f-7000-8000-000000000001").await.status, 404);
}

#[tokio::test]
async fn what_a_web_origin_has_is_warmed_under_the_uri_that_is_asked_for() {
    let web = Web::start().await;
    let targets = ["a//b/?c=/d", "", "e;f=1/"];
    for target in targets {
        web.put(&format!("/{target}"), [Reply::new(200, &[("Cache-Control", "max-age=60")], "body")]);
    }
    let stage = Stage::public(&web, |_| ()).await;
    let keys: Vec<_> = targets.iter().map(|target| stage.at(target)).collect();
    let told = done(&stage, &order(&stage, &json!({ "keys": keys, "wait": false }).to_string()).await).await;
    assert_eq!((&told["done"], &told["failed"], &told["bytes"]), (&3.into(), &0.into(), &12.into()), "{told}");
    for key in &keys {
        let cache_status = get(key).await.header("cache-status").to_owned();
        assert!(cache_status.contains("; hit"), "{key}: {cache_status}");
    }
    assert_eq!(web.heard().len(), 3);
}

#[tokio::test]
async fn orders_that_say_nothing_or_nonsense_are_refused() {
    let bucket = Stage::before(&Origin::start().await, |_| ()).await;
    let web = Stage::public(&Web::start().await, |_| ()).await;
    for (stage, body, field) in [
        (&bucket, r#"{"prefix":"a","keys":["a"]}"#, "keys"),
        (&bucket, r#"{"prefix":"a","wait":true}"#, "wait"),
        (&bucket, r#"{"prefix":"\u0007"}"#, "prefix"),
        (&bucket, r#"{"keys":["a"],"bytes_per_s":-1}"#, "bytes_per_s"),
        (&bucket, r#"{"keys":["a"],"rate":1}"#, "rate"),
        (&bucket, r#"{"keys":["a","a//b"]}"#, "keys[1]"),
        (&web, r#"{"prefix":"a"}"#, "prefix"),
        (&web, r#"{"keys":["/a"]}"#, "keys[0]"),
    ] {
        let refused = post(&format!("{}/v1/warm", stage.admin), TOKEN, body).await;
        assert_eq!((refused.status.as_u16(), refused.json()["field"].as_str()), (400, Some(field)), "{body}");
    }
}

#[tokio::test]
async fn as_many_orders_as_are_bearable() {
    let origin = Origin::start().await;
    origin.put("slow", Act { heads: Some(Arc::new(Semaphore::new(0))), ..Act::of(noise(2, CHUNK)) });
    let stage = Stage::before(&origin, |_| ()).await;
    for _ in 0..8 {
        order(&stage, r#"{"keys":["slow"],"wait":false}"#).await;
    }
    let refused = post(&format!("{}/v1/warm", stage.admin), TOKEN, r#"{"keys":["slow"],"wait":false}"#).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "5"));
}
