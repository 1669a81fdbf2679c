//! What players post that know nothing of us: CMCD, and ListenBrainz's API.

use bytes::Bytes;
use http::Method;
use ingest::keys::Grant;
use serde_json::{Value, json};
use service::Running;
use service::client::Answer;
use wire::Timestamp;
use wire::event::BatchAnswer;

use crate::support::{Stack, WRITE_KEY, kind, send};

const DECISION: &str = "01935b0e-0000-7000-8000-00000000000d";

async fn cmcd(ingest: &Running, content_type: &str, body: &str) -> Answer {
    let path = format!("/v1/cmcd?key={WRITE_KEY}");
    send(ingest, Method::POST, &path, &[("content-type", content_type)], Bytes::from(body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_play_that_is_told_in_cmcd() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let now = Timestamp::now().as_millis();
    let line = |e: &str, at: i64, more: &str| format!("cid=\"trk-1\",e={e},sid=\"s-1\",ts={},v=2{more}\n", now + at);
    let start = line("ps", -60_000, ",sta=s") + &line("ps", -59_600, ",sta=p,sn=1,msd=400");
    assert_eq!(cmcd(&ingest, "application/cmcd", &start).await.status, 202);
    let url = format!(",rc=206,url=\"https://e/trk-1/1.m4s?token=SECRET&decision_id={DECISION}\"");
    let rest = line("rr", -59_000, &url)
        + &line("ps", -20_000, ",sta=r")
        + "\nthis is no dictionary\n"
        + &line("ps", -19_000, ",sta=p")
        + &line("ps", -9_000, ",sta=e,br=(128)");
    let answer = cmcd(&ingest, "text/plain;charset=UTF-8", &rest).await;
    let told: BatchAnswer = answer.json().unwrap();
    assert_eq!((answer.status.as_u16(), told.accepted, told.errors[0].index), (207, 4, 2));
    // The same once more, as a player does that missed the answer.
    assert_eq!(cmcd(&ingest, "application/cmcd", &start).await.status, 202);
    stack.until("SELECT uniqExact(event_id) FROM events WHERE wire_format = 'cmcd'", 6).await;
    for (what, wanted) in [
        ("type = 'play_start' AND stall_ms = 400 AND seq = 1", 1),
        ("type = 'stall'", 1),
        ("type = 'resume' AND stall_ms = 1000", 1),
        ("type = 'complete' AND played_ms = 49600 AND bitrate_kbps = 128", 1),
        ("decision_id = '01935b0e-0000-7000-8000-00000000000d'", 4),
        ("JSONExtractString(extra, 'url') = 'https://e/trk-1/1.m4s'", 1),
        ("extra LIKE '%SECRET%'", 0),
    ] {
        assert_eq!(
            stack.number(&format!("SELECT uniqExact(event_id) FROM events WHERE {what}")).await,
            wanted,
            "{what}"
        );
    }
    let play = "SELECT count() FROM plays WHERE session_id = 's-1' AND stalls = 1 AND stalled_ms = 1000 AND startup_ms = 400 \
                AND heard_ms = 49600 AND is_stream AND completed";
    assert_eq!(stack.number(play).await, 1);
    assert_eq!(kind(&cmcd(&ingest, "application/json", &start).await), (415, "unsupported-type".into()));
    assert_eq!(kind(&cmcd(&ingest, "application/cmcd", "\n").await), (400, "empty-batch".into()));
}

async fn listens(ingest: &Running, token: &str, body: &Value) -> (u16, Value) {
    let authorization = format!("Token {token}");
    let headers = [("authorization", authorization.as_str())];
    let answer = send(ingest, Method::POST, "/1/submit-listens", &headers, body.to_string().into()).await;
    (answer.status.as_u16(), answer.json().unwrap())
}

async fn valid(ingest: &Running, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let answer = send(ingest, Method::GET, path, headers, Bytes::new()).await;
    (answer.status.as_u16(), answer.json().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn listens_by_listenbrainzs_api() {
    let stack = Stack::new().await;
    let user = Grant::User { app: "web".into(), user_id: "ada".into(), rate: None };
    let token = stack.key(user, None).await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let at = Timestamp::now().as_millis() / 1000 - 1000;
    let listen = |at: i64, name: &str| {
        let info = json!({"duration_ms": 200_000, "track_id": "trk-1"});
        json!({"listened_at": at, "track_metadata": {"artist_name": "A", "track_name": name, "additional_info": info}})
    };
    let single = json!({"listen_type": "single", "payload": [listen(at, "T")]});
    let import = json!({"listen_type": "import", "payload": [listen(at, "T"), listen(at + 1, "T")]});
    let mut playing = listen(0, "T");
    playing.as_object_mut().unwrap().remove("listened_at");
    let playing = json!({"listen_type": "playing_now", "payload": [playing]});
    for body in [&single, &single, &import, &playing] {
        assert_eq!(listens(&ingest, &token, body).await, (200, json!({"status": "ok"})));
    }
    let bad = json!({"listen_type": "import", "payload": [listen(at + 2, "T"), listen(at + 3, "")]});
    let (status, told) = listens(&ingest, &token, &bad).await;
    assert_eq!((status, &told["code"]), (400, &json!(400)));
    assert!(told["error"].as_str().unwrap().contains("track_name is empty"), "{told}");
    for wrong in ["no-such-token", WRITE_KEY] {
        assert_eq!(listens(&ingest, wrong, &single).await.0, 401);
    }
    assert_eq!(valid(&ingest, "/1/validate-token", &[]).await.0, 400);
    let authorization = format!("Token {token}");
    let (status, told) = valid(&ingest, "/1/validate-token", &[("authorization", &authorization)]).await;
    assert_eq!((status, &told["valid"], &told["user_name"]), (200, &json!(true), &json!("ada")));
    assert_eq!(valid(&ingest, &format!("/1/validate-token?token={token}"), &[]).await.1["valid"], true);
    let (status, told) = valid(&ingest, "/1/validate-token", &[("authorization", "Token x")]).await;
    assert_eq!((status, &told["valid"], &told["code"]), (200, &json!(false), &json!(200)));
    stack.until("SELECT uniqExact(event_id) FROM events WHERE wire_format = 'listenbrainz'", 3).await;
    for (what, wanted) in [
        ("type = 'complete' AND played_ms = 200000 AND track_id = 'trk-1'", 2),
        ("type = 'play_start' AND play_id = ''", 1),
        ("user_id != '' AND user_id != 'ada'", 3),
        ("JSONExtractString(extra, 'artist_name') = 'A'", 3),
    ] {
        assert_eq!(
            stack.number(&format!("SELECT uniqExact(event_id) FROM events WHERE {what}")).await,
            wanted,
            "{what}"
        );
    }
    // They were sent when they had been heard, so they are believed.
    stack.until("SELECT count() FROM plays WHERE is_stream AND heard_ms = 200000", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_page_may_ask_listenbrainzs_api() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let asks = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    for path in ["/1/submit-listens", "/1/validate-token", "/v1/cmcd"] {
        let preflight = send(&ingest, Method::OPTIONS, path, &asks, Bytes::new()).await;
        assert_eq!(preflight.status, 200, "{path}");
        let allowed = preflight.headers["access-control-allow-origin"].to_str().unwrap();
        assert_eq!(allowed, if path.starts_with("/1/") { "*" } else { "https://a.example" });
        let wrong = send(&ingest, Method::PUT, path, &[], Bytes::new()).await;
        assert_eq!(kind(&wrong), (405, "method-not-allowed".into()));
        assert!(wrong.headers.contains_key("allow"), "{path}");
    }
}
