//! The statistics API: its figures, its cache, and what it says while ClickHouse is away.

use std::sync::Arc;
use std::time::Duration;

use devstack::Server;
use http::Request;
use http_body_util::{BodyExt, Full};
use ingest::keys::Grant;
use serde_json::{Value, json};
use service::Running;
use service::client::{Answer, ApiClient};
use uuid::Uuid;
use wire::Timestamp;

use crate::rows::{DAY, SECOND, accepted, insert};
use crate::support::{ADMIN_TOKEN, Stack, WRITE_KEY, eventually, healthy, post};

const PATIENCE: Duration = Duration::from_secs(60);

struct Play<'a> {
    user: &'a str,
    track: &'a str,
    began: Timestamp,
    heard_ms: u64,
    end: &'a str,
}

/// The events of a play: its begin, a progress, its end.
fn events(play: &Play<'_>) -> Vec<Value> {
    let play_id = Uuid::now_v7();
    let event = |n: u32, event_type: &str, played_ms: u64| {
        json!({
            "event_id": Uuid::now_v7(), "type": event_type, "session_id": format!("s-{}", play.user), "play_id": play_id,
            "user_id": play.user, "track_id": play.track, "seq": n, "played_ms": played_ms, "device": "web",
            "client_ts": play.began.saturating_add_millis(i64::try_from(played_ms).unwrap()), "duration_ms": 180_000,
        })
    };
    vec![event(0, "play_start", 0), event(1, "progress", play.heard_ms / 2), event(2, play.end, play.heard_ms)]
}

fn play<'a>(user: &'a str, track: &'a str, began: Timestamp, heard_ms: u64, end: &'a str) -> Play<'a> {
    Play { user, track, began, heard_ms, end }
}

/// Posts the plays and waits until ClickHouse has them.
async fn played(stack: &Stack, ingest: &Running, plays: &[Play<'_>]) {
    let mut all: Vec<Value> = plays.iter().flat_map(events).collect();
    // One of them is sent again.
    all.push(all[0].clone());
    let before = stack.number("SELECT uniqExact(event_id) FROM events").await;
    assert_eq!(post(ingest, &json!(all)).await.status, 202);
    stack.until("SELECT uniqExact(event_id) FROM events", before + all.len() as u64 - 1).await;
    // Rows are seen before what is summed from them.
    let summed = "SELECT toUInt64(ifNull((SELECT sum(events) FROM play_states) = (SELECT count() FROM events), 0))";
    stack.until(summed, 1).await;
}

async fn get(ingest: &Running, path: &str) -> Answer {
    let api = ApiClient::new(PATIENCE).with_bearer(ADMIN_TOKEN);
    api.get(&format!("{}{path}", ingest.url())).await.unwrap()
}

async fn good(ingest: &Running, path: &str) -> Value {
    let answer = get(ingest, path).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
    answer.json().unwrap()
}

/// In an hour of its own, a second after its start.
fn hours_ago(hours: i64) -> Timestamp {
    hour(Timestamp::now()).saturating_add_millis(1_000 - hours * 3_600_000)
}

fn hour(at: Timestamp) -> Timestamp {
    at.saturating_add_millis(-at.as_millis().rem_euclid(3_600_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_by_hour_and_by_day() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let (three, five) = (hours_ago(3), hours_ago(5));
    let plays = [
        play("u-1", "t/1", three, 60_000, "complete"),
        play("u-1", "t/1", five, 40_000, "skip"),
        play("u-2", "t/1", five, 10_000, "skip"),
        play("u-2", "t-2", five, 90_000, "complete"),
    ];
    played(&stack, &ingest, &plays).await;
    let told = good(&ingest, "/v1/stats/tracks/t%2F1").await;
    let totals = json!({"plays": 3, "streams": 2, "listeners": 2, "heard_s": 110.0, "skips": 2, "completed": 1, "completion": 0.3333});
    assert_eq!((&told["track_id"], &told["stale"], &told["totals"]), (&json!("t/1"), &json!(false), &totals));
    let series = told["series"].as_array().unwrap();
    assert_eq!(series.len(), 24);
    let with_plays: Vec<_> =
        series.iter().filter(|at| at["plays"] != 0).map(|at| (at["at"].clone(), at["plays"].clone())).collect();
    assert_eq!(with_plays, [(json!(hour(five)), json!(2)), (json!(hour(three)), json!(1))]);
    assert_eq!(series.iter().map(|at| at["listeners"].as_u64().unwrap()).sum::<u64>(), 3, "listeners do not add up");
    let told = good(&ingest, &format!("/v1/stats/tracks/t%2F1?from={five}&to={three}")).await;
    assert_eq!((&told["totals"]["plays"], told["series"].as_array().unwrap().len()), (&json!(3), 3));
    let told = good(&ingest, "/v1/stats/tracks/t%2F1?by=day").await;
    assert_eq!((&told["totals"], told["series"].as_array().unwrap().len()), (&totals, 30));
    let told = good(&ingest, "/v1/stats/tracks/never-heard").await;
    assert_eq!(
        told["totals"],
        json!({"plays": 0, "streams": 0, "listeners": 0, "heard_s": 0.0, "skips": 0, "completed": 0})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_page_by_page_while_more_is_played() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    // Two began at the same moment.
    let times: Vec<Timestamp> = [9, 8, 7, 7, 6].into_iter().map(hours_ago).collect();
    let tracks = ["t-0", "t-1", "t-2", "t-3", "t-4"];
    let plays: Vec<Play<'_>> =
        tracks.iter().zip(&times).map(|(track, began)| play("u 1/é", track, *began, 45_000, "complete")).collect();
    played(&stack, &ingest, &plays).await;
    played(&stack, &ingest, &[play("u-2", "t-9", times[0], 1_000, "skip")]).await;
    let path = "/v1/stats/users/u%201%2F%C3%A9?limit=2";
    let first = good(&ingest, path).await;
    let totals = json!({"plays": 5, "streams": 5, "tracks": 5, "heard_s": 225.0, "skips": 0, "completed": 5});
    assert_eq!((&first["totals"], &first["user_id"]), (&totals, &json!("u 1/é")));
    assert_eq!(first["history"][0]["track_id"], "t-4");
    let entry = json!({"track_id": "t-4", "started_at": times[4], "heard_s": 45.0, "stream": true, "completed": true, "skipped": false, "device": "web"});
    assert_eq!(first["history"][0], entry);
    // A newer one does not move the pages.
    played(&stack, &ingest, &[play("u 1/é", "t-5", hours_ago(2), 45_000, "complete")]).await;
    let (mut page, mut heard) = (first, Vec::new());
    loop {
        heard.extend(
            page["history"].as_array().unwrap().iter().map(|play| play["track_id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        page = good(&ingest, &format!("{path}&cursor={cursor}")).await;
    }
    heard[1..3].sort_unstable();
    assert_eq!(heard.len(), 5, "{heard:?}");
    assert_eq!((heard[0].as_str(), heard[3].as_str(), heard[4].as_str()), ("t-4", "t-1", "t-0"));
    assert_eq!(good(&ingest, "/v1/stats/users/nobody").await["history"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rankings_everywhere_and_in_one_country() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    assert_eq!(good(&ingest, "/v1/stats/top?window=hour").await["tracks"], json!([]));
    let (now, mut events) = (Timestamp::now().as_millis(), Vec::new());
    let mut play = |track: &str, country: Option<&str>, at: i64, who: usize| {
        let session = format!("{track}-{at}-{who}");
        for (event_type, at, played_ms) in [("play_start", at - 40 * SECOND, 0), ("complete", at, 40_000)] {
            let known = json!({"track_id": track, "user_id": format!("u-{who}"), "played_ms": played_ms});
            let mut event = accepted(at, event_type, &session, &known);
            event["country"] = json!(country);
            events.push(event);
        }
    };
    (0..40).for_each(|who| play("old", Some("DE"), now - 2 * DAY, who));
    (0..3).for_each(|who| play("old", Some("DE"), now, who));
    (0..9).for_each(|who| play("new", None, now, who));
    (20..22).for_each(|who| play("new", Some("DE"), now, who));
    insert(&stack, "1", &events).await;
    for ranking in [
        "top_tracks_of_day",
        "top_tracks_of_week",
        "top_tracks_of_day_by_country",
        "top_tracks_of_week_by_country",
        "rising_tracks",
    ] {
        stack.clickhouse.query(&format!("SYSTEM REFRESH VIEW {ranking}_refresh")).execute().await.unwrap();
        stack.clickhouse.query(&format!("SYSTEM WAIT VIEW {ranking}_refresh")).execute().await.unwrap();
    }
    let top = async |query: &str| {
        let told = good(&ingest, &format!("/v1/stats/top?{query}")).await;
        let places = told["tracks"].as_array().unwrap().iter();
        places
            .map(|place| (place["track_id"].as_str().unwrap().to_owned(), place["streams"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let is = |told: Vec<(String, u64)>, wanted: &[(&str, u64)]| {
        assert_eq!(told.iter().map(|(track, streams)| (track.as_str(), *streams)).collect::<Vec<_>>(), wanted);
    };
    is(top("").await, &[("new", 11), ("old", 3)]);
    is(top("limit=1").await, &[("new", 11)]);
    is(top("country=de").await, &[("old", 3), ("new", 2)]);
    is(top("window=week").await, &[("old", 43), ("new", 11)]);
    is(top("window=week&country=DE").await, &[("old", 43), ("new", 2)]);
    is(top("country=PL").await, &[]);
    let rising = good(&ingest, "/v1/stats/rising").await;
    let first = &rising["tracks"][0];
    assert_eq!(
        (&first["rank"], &first["track_id"], &first["listeners"], &first["growth"]),
        (&json!(1), &json!("new"), &json!(11), &Value::Null)
    );
    assert!(first["score"].as_f64().unwrap() > 0.0 && rising["computed_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_refused_by_its_field() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    for (path, field) in [
        ("tracks/t?from=2020-01-01T00:00:00Z", "from"),
        ("tracks/t?from=2026-11-21T00:00:00Z&to=2026-11-20T00:00:00Z", "from"),
        ("tracks/t?from=never", "from"),
        ("tracks/t?to=-1", "to"),
        ("tracks/t?by=minute", "by"),
        ("tracks/t?by=day&by=day", "by"),
        ("tracks/t?limit=3", "limit"),
        ("tracks/%ff", "id"),
        ("tracks/%00", "id"),
        ("top?window=year", "window"),
        ("top?country=DEU", "country"),
        ("top?country=D%C3%A9", "country"),
        ("top?limit=1001", "limit"),
        ("top?country=DE&limit=201", "limit"),
        ("rising?limit=0", "limit"),
        ("rising?window=day", "window"),
        ("users/u?limit=0", "limit"),
        ("users/u?limit=201", "limit"),
        ("users/u?cursor=x", "cursor"),
        ("users/u%0a", "id"),
        ("now?track=%00", "track"),
        ("now?pop=UP", "pop"),
        ("now?key=k", "key"),
    ] {
        let answer = get(&ingest, &format!("/v1/stats/{path}")).await;
        assert_eq!(answer.status, 400, "{path}");
        let told: Value = answer.json().unwrap();
        assert_eq!(
            (told["field"].as_str(), told["type"].as_str()),
            (Some(field), Some("urn:tonearm:problem:bad-field")),
            "{path}"
        );
    }
    for path in ["tracks/t", "top", "rising", "users/u", "now"] {
        for token in [None, Some("wrong"), Some(WRITE_KEY)] {
            let api = ApiClient::new(PATIENCE);
            let api = token.map_or(api.clone(), |token| api.with_bearer(token));
            assert_eq!(api.get(&format!("{}/v1/stats/{path}", ingest.url())).await.unwrap().status, 401, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_s_token_opens_that_user_s_statistics_alone() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let user = stack.key(Grant::User { app: "web".into(), user_id: "u/1".into(), rate: None }, None).await;
    let operator = stack.key(Grant::Operator, None).await;
    let ask = async |token: &str, path: &str| {
        let api = ApiClient::new(PATIENCE).with_bearer(token);
        api.get(&format!("{}/v1/stats/{path}", ingest.url())).await.unwrap().status.as_u16()
    };
    eventually(PATIENCE, || async {
        if ask(&operator, "users/u%2F1").await == 200 { Ok(()) } else { Err("not yet".into()) }
    })
    .await;
    assert_eq!(ask(&user, "users/u%2F1").await, 200);
    for path in ["users/u", "users/U%2F1", "users/u%2F1%20", "tracks/t", "top", "rising", "now", "live"] {
        assert_eq!(ask(&user, path).await, 403, "{path}");
    }
}

/// Selects that ClickHouse has answered since it started, this one included, by its own count.
async fn selects(stack: &Stack) -> u64 {
    stack.number("SELECT value FROM system.events WHERE event = 'SelectQuery'").await
}

/// ClickHouse counts for all, so this test must have it for itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_stampede_is_one_query() {
    let stack = Stack::alone().await;
    let ingest = Arc::new(stack.ingest(&[]).await);
    let before = selects(&stack).await;
    let crowd: Vec<_> = (0..300)
        .map(|_| {
            let ingest = ingest.clone();
            tokio::spawn(async move { get(&ingest, "/v1/stats/tracks/t-1?by=day").await.status.as_u16() })
        })
        .collect();
    for one in crowd {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(selects(&stack).await - before, 2, "one for the crowd, one for asking how many");
    assert_eq!(get(&ingest, "/v1/stats/tracks/t-2?by=day").await.status, 200);
    assert_eq!(selects(&stack).await - before, 4, "another question is another query");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_answer_is_told_so() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let first = get(&ingest, "/v1/stats/tracks/t-1").await;
    assert_eq!(first.headers["cache-control"], "private, max-age=10");
    assert_eq!(first.headers["vary"], "authorization");
    let ask = async |etag: &str, method: &str| {
        let request = Request::builder().method(method).uri(format!("{}/v1/stats/tracks/t-1", ingest.url()));
        let request = request.header("authorization", format!("Bearer {ADMIN_TOKEN}")).header("if-none-match", etag);
        let request =
            request.header("origin", "https://dashboard.example").header("access-control-request-method", "GET");
        service::client::pool(PATIENCE, 1).request(request.body(Full::default()).unwrap()).await.unwrap()
    };
    let again = ask(first.headers["etag"].to_str().unwrap(), "GET").await;
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &first.headers["etag"]));
    assert!(again.headers()["cache-status"].to_str().unwrap().contains("; hit; ttl="));
    assert_eq!(again.headers()["access-control-allow-origin"], "*");
    assert!(again.into_body().collect().await.unwrap().to_bytes().is_empty());
    assert_eq!(ask("\"another\"", "GET").await.status(), 200);
    let preflight = ask("", "OPTIONS").await;
    assert_eq!(preflight.headers()["access-control-allow-methods"], "GET");
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_clickhouse_the_last_answer_is_given_and_says_so() {
    let stack = Stack::alone().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let began = hours_ago(2);
    played(&stack, &ingest, &[play("u-1", "t-1", began, 60_000, "complete")]).await;
    let (track, user) = ("/v1/stats/tracks/t-1", "/v1/stats/users/u-1");
    let (fresh, _) = (good(&ingest, track).await, good(&ingest, user).await);
    stack.servers.kill(Server::ClickHouse).await;
    eventually(PATIENCE, || async {
        let answer = get(&ingest, track).await;
        let told: Value = answer.json().unwrap();
        if told["stale"] == false {
            return Err("still fresh".into());
        }
        assert_eq!((&told["as_of"], &told["totals"]), (&fresh["as_of"], &fresh["totals"]));
        let age: u64 = answer.headers["age"].to_str().unwrap().parse().unwrap();
        assert!(age >= 10, "older than its max-age: {age}");
        assert!(answer.headers["cache-status"].to_str().unwrap().ends_with("; detail=clickhouse-away"));
        Ok(())
    })
    .await;
    assert_eq!(good(&ingest, user).await["stale"], true);
    // Nothing is known of this one.
    let none = get(&ingest, "/v1/stats/tracks/t-2").await;
    assert_eq!(none.status, 503);
    assert!(none.headers.contains_key("retry-after"));
    // Events are taken all the same, and what is degraded is said.
    assert_eq!(post(&ingest, &json!(events(&play("u-1", "t-1", began, 60_000, "complete")))).await.status, 202);
    healthy(&ingest).await;
    let health = good(&ingest, "/health/detailed").await;
    assert_eq!(health["components"]["statistics"]["status"], "degraded");
    stack.servers.start(Server::ClickHouse).await;
    eventually(PATIENCE, || async {
        let told = good(&ingest, track).await;
        if told["stale"] == false && told["totals"]["plays"] == 2 { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    assert_eq!(good(&ingest, "/health/detailed").await["components"]["statistics"]["status"], "ok");
}
