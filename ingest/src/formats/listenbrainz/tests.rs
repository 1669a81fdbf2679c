use proptest::prelude::*;
use serde_json::json;

use super::rules::Invalid;
use super::*;

const NOW: i64 = 1_795_251_600;
const MBID: &str = "01935b0e-0000-4000-8000-000000000001";

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000).unwrap()
}

fn listen(info: &Value) -> Value {
    json!({"listened_at": NOW - 600, "track_metadata": {"artist_name": "A", "track_name": " T ", "additional_info": info}})
}

fn submitted(kind: &str, listens: &[Value]) -> Result<Vec<Event>, Invalid> {
    let body = json!({"listen_type": kind, "payload": listens}).to_string();
    let listener = Listener { app: "web", user_id: "u-1", pseudonym: "1:abc" };
    parse(body.as_bytes(), now()).map(|submission| submission.events(&listener, now()))
}

fn one(info: &Value) -> Event {
    submitted("single", &[listen(info)]).unwrap().remove(0)
}

#[test]
fn a_listen_was_heard_for_its_duration() {
    let info = json!({"duration": "180", "media_player": "Rhythmbox", "isrc": "X", "recording_mbid": MBID, "release_mbid": ""});
    let event = one(&info);
    assert_eq!((event.event_type, event.track_id.as_str()), (EventType::Complete, MBID));
    assert_eq!((event.played_ms, event.duration_ms, event.position_ms), (Some(180_000), Some(180_000), Some(180_000)));
    assert_eq!(event.client_ts.as_millis(), (NOW - 600) * 1000);
    assert_eq!((event.device.as_deref(), event.user_id.as_deref()), (Some("Rhythmbox"), Some("u-1")));
    assert_eq!(event.play_id.unwrap().as_str(), format!("lb-{}", event.event_id));
    let kept: Value = serde_json::from_str(event.extra.unwrap().as_str()).unwrap();
    assert_eq!((&kept["track_name"], &kept["isrc"], kept.get("release_mbid")), (&json!("T"), &json!("X"), None));
    assert_eq!(one(&json!({"duration_ms": 5000, "duration_played": 3})).played_ms, Some(3000));
    assert_eq!(one(&json!({})).played_ms, None);
}

#[test]
fn the_same_listen_is_the_same_event() {
    let event = one(&json!({}));
    assert_eq!(event.event_id, one(&json!({"isrc": "Y"})).event_id);
    assert!(event.track_id.as_str().starts_with("lb-"));
    assert_ne!(event.event_id, one(&json!({"track_id": "trk-1"})).event_id);
    assert_eq!(one(&json!({"track_id": "trk-1"})).track_id.as_str(), "trk-1");
    let mut later = listen(&json!({}));
    later["listened_at"] = json!(NOW - 599);
    let imported = submitted("import", &[later.clone(), listen(&json!({})), later]).unwrap();
    assert_eq!(imported[0].event_id, imported[2].event_id);
    assert_ne!(imported[0].event_id, imported[1].event_id);
    assert!(imported.iter().all(|event| event.session_id == imported[0].session_id));
}

#[test]
fn what_plays_now_starts_no_play() {
    let mut playing = listen(&json!({"duration": 100}));
    playing.as_object_mut().unwrap().remove("listened_at");
    let event = submitted("playing_now", &[playing]).unwrap().remove(0);
    assert_eq!((event.event_type, event.play_id, event.played_ms), (EventType::PlayStart, None, None));
    assert_eq!((event.client_ts, event.duration_ms), (now(), Some(100_000)));
}

#[test]
fn much_additional_info_is_cut_not_refused() {
    let mut info: serde_json::Map<_, _> = (0..60).map(|i| (format!("k{i}"), json!("x".repeat(100)))).collect();
    info.insert("artist_name".into(), json!("another"));
    let extra = one(&json!(info)).extra.unwrap();
    assert!((3500..4096).contains(&extra.as_str().len()));
    assert_eq!(serde_json::from_str::<Value>(extra.as_str()).unwrap()["artist_name"], "A");
}

#[test]
fn what_listenbrainz_refuses_is_refused_whole() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = listen(&json!({}));
        change(&mut changed);
        vec![listen(&json!({})), changed]
    };
    let info = |value: Value| vec![listen(&value)];
    let cases: Vec<(Vec<Value>, &str)> = vec![
        (vec![], "does not contain any listens"),
        (vec![listen(&json!({})); 1001], "Too many listens"),
        (vec![json!(7)], "cannot be validated"),
        (
            with(&|l| {
                l.as_object_mut().unwrap().remove("listened_at");
            }),
            "must contain the key listened_at",
        ),
        (with(&|l| l["listened_at"] = json!("soon")), "int value for listened_at"),
        (with(&|l| l["listened_at"] = json!(NOW + 3600)), "too high"),
        (with(&|l| l["listened_at"] = json!(1_033_430_399)), "too low"),
        (with(&|l| l["mood"] = json!(1)), "top level keys"),
        (with(&|l| l["track_metadata"] = json!(1)), "track_metadata"),
        (with(&|l| l["track_metadata"]["track_name"] = json!(" ")), "track_metadata.track_name is empty"),
        (with(&|l| l["track_metadata"]["artist_name"] = json!(7)), "artist_name must be a string"),
        (with(&|l| l["track_metadata"]["artist_name"] = json!("a\u{0}")), "unicode null"),
        (with(&|l| l["track_metadata"]["release_name"] = json!([])), "release_name must be a string"),
        (info(json!({"tags": vec!["t"; 51]})), "more than 50 items"),
        (info(json!({"tags": ["t".repeat(65)]})), "longer than 64"),
        (info(json!({"duration": 1, "duration_ms": 1})), "both duration and duration_ms"),
        (info(json!({"duration": 2_073_601})), "too large"),
        (info(json!({"duration_ms": "x"})), "invalid"),
        (info(json!({"duration": -1})), "invalid"),
        (info(json!({"recording_mbid": "7"})), "recording_mbid MBID"),
        (info(json!({"artist_mbids": [MBID, "7"]})), "artist_mbids MBID"),
        (info(json!({"note": "x".repeat(10_240)})), "too large"),
        (info(json!([])), "additional_info must be an object"),
    ];
    for (listens, why) in cases {
        let refused = submitted("import", &listens).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused} is not {why}");
    }
    assert!(submitted("single", &[listen(&json!({})), listen(&json!({}))]).is_err());
    assert!(submitted("playing_now", &[listen(&json!({}))]).is_err());
    assert!(submitted("dance", &[listen(&json!({}))]).is_err());
    for body in ["", "[]", "{}", "null", "\u{0}", "{\"payload\":{},\"listen_type\":\"single\"}", &"[".repeat(500)] {
        assert!(parse(body.as_bytes(), now()).is_err(), "{body:.20}");
    }
    // The bounds themselves are let through.
    assert!(submitted("single", &info(json!({"tags": vec!["t".repeat(64); 50], "duration": 2_073_600}))).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,40}", n in any::<f64>()) {
        let _ = parse(&bytes, now());
        let info = json!({"duration": n, "recording_mbid": text, "tags": [text, n], "duration_played": n});
        let _ = submitted("single", &[listen(&info)]);
        let _ = submitted("single", &[json!({"listened_at": n, "track_metadata": {"artist_name": text, "track_name": text}})]);
    }
}
