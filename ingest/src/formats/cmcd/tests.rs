use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const DECISION: &str = "01935b0e-0000-7000-8000-00000000000d";

/// The events of lines that follow each other, `#` at their start standing for session and track.
fn events(lines: &[&str]) -> Vec<Event> {
    let plays = Plays::new();
    let whole = |line: &str| line.replacen('#', r#"sid="s-1",cid="t-1",v=2"#, 1);
    lines.iter().map(|line| event(whole(line).as_bytes(), "web", &plays).unwrap()).collect()
}

fn extra(event: &Event) -> Value {
    event.extra.as_ref().map_or(Value::Null, |extra| serde_json::from_str(extra.as_str()).unwrap())
}

#[test]
fn a_play_from_start_to_end() {
    let told = events(&[
        "#,e=ps,sta=d,ts=1000,sn=0",
        "#,e=ps,sta=s,ts=2000,sn=1",
        "#,e=ps,sta=p,ts=2400,sn=2,msd=380",
        "#,e=t,sta=p,ts=12400,sn=3,pt=10000.5,br=(128)",
        "#,e=ps,sta=r,ts=20400,sn=4",
        "#,e=ps,sta=p,ts=21150,sn=5",
        "#,e=bc,sta=p,ts=22150,br=(3000;v 256;a),sn=6",
        "#,e=ps,sta=a,ts=23150,sn=7",
        "#,e=ps,sta=p,ts=99000,sn=8",
        "#,e=ps,sta=k,ts=99500,sn=9",
        "#,e=ps,sta=p,ts=99600,sn=10",
        "#,e=ps,sta=e,ts=109600,sn=11",
    ]);
    let types: Vec<&str> = told.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(
        types.join(" "),
        "progress progress play_start progress stall resume quality_change pause resume seek resume complete"
    );
    assert_eq!(told[2].stall_ms, Some(380));
    assert_eq!((told[4].stall_ms, told[5].stall_ms), (None, Some(750)));
    let played: Vec<_> = told.iter().map(|event| event.played_ms).collect();
    let at_end = 18_000 + 2_000 + 500 + 10_000;
    assert_eq!((played[1], played[2], played[3], played[4]), (None, Some(0), Some(10_000), Some(18_000)));
    assert_eq!((played[7], played[8], played[11]), (Some(20_000), Some(20_000), Some(at_end)));
    assert_eq!((told[3].position_ms, told[3].bitrate_kbps, told[6].bitrate_kbps), (Some(10_001), Some(128), Some(256)));
    assert_eq!(told.iter().map(|event| event.seq.unwrap()).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    assert!(told.iter().all(|event| event.play_id == told[0].play_id && event.session_id.as_str() == "s-1"));
}

#[test]
fn rebuffering_before_the_first_sound_is_start_up() {
    let told = events(&["#,e=ps,sta=r,ts=1000", "#,e=ps,sta=p,ts=1300", "#,e=ps,sta=r,ts=5000"]);
    let types: Vec<&str> = told.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["progress", "play_start", "stall"]);
    assert_eq!(told[1].stall_ms, Some(300));
}

#[test]
fn what_is_sent_again_is_the_same_event_and_counts_no_time() {
    let told = events(&["#,e=ps,sta=p,ts=1000", "#,e=t,sta=p,ts=2000", "#,e=t,sta=p,ts=2000", "#,e=ps,sta=p,ts=1000"]);
    assert_eq!((told[1].event_id, told[0].event_id), (told[2].event_id, told[3].event_id));
    assert_ne!(told[0].event_id, told[1].event_id);
    assert_eq!(told[3].played_ms, Some(1000));
}

#[test]
fn a_responses_url_is_kept_without_its_token_and_gives_the_decision() {
    let told = events(&[
        &format!(
            r#"#,e=rr,ts=1,rc=206,ttfb=12,ttlb=1795251600123,url="https://u:p@e.example/a/1.m4s?token=ey.SECRET&decision_id={DECISION}#x""#
        ),
        r#"#,e=rr,ts=2,rc=404,url="https://e.example/a/2.m4s?token=SECRET",nor=("../3.m4s?token=SECRET")"#,
        "#,e=ps,sta=a,ts=3",
    ]);
    assert_eq!(told[0].event_type, EventType::Progress);
    assert_eq!(extra(&told[0]), json!({"e": "rr", "rc": 206, "ttfb": 12, "url": "https://e.example/a/1.m4s"}));
    assert_eq!((told[1].event_type, told[1].error_code.as_deref()), (EventType::Error, Some("http-404")));
    assert_eq!(extra(&told[1])["nor"], json!(["../3.m4s"]));
    assert!(told.iter().all(|event| event.decision_id.unwrap().to_string() == DECISION));
    assert!(!serde_json::to_string(&told).unwrap().contains("SECRET"));
}

#[test]
fn errors_and_what_has_no_type_of_ours() {
    let told = events(&[
        "#,e=ps,sta=f,ts=1",
        r#"#,e=e,ec=("bufferStalledError"),ts=2"#,
        r#"#,e=ce,cen="liked",com.example-mood="calm",ts=3,su,bg=?0,bl=(0;v 5900;a)"#,
        "#,e=m,ts=4",
    ]);
    assert_eq!((told[0].event_type, told[0].error_code.as_deref()), (EventType::Error, Some("unknown")));
    assert_eq!((told[1].event_type, told[1].error_code.as_deref()), (EventType::Error, Some("bufferStalledError")));
    assert_eq!((told[2].event_type, told[3].event_type), (EventType::Progress, EventType::Progress));
    let kept = json!({"e": "ce", "cen": "liked", "com.example-mood": "calm", "su": true, "bg": false, "bl": ["0;v", "5900;a"]});
    assert_eq!(extra(&told[2]), kept);
}

#[test]
fn what_is_wrong_is_named() {
    let plays = Plays::new();
    let long = "x".repeat(200);
    for (line, field) in [
        ("", "e"),
        ("e=", "."),
        ("e=ps\0", "."),
        ("{\"e\":\"ps\"}", "."),
        ("sid=\"s\",cid=\"t\",ts=1", "e"),
        ("e=ps,cid=\"t\",ts=1", "sid"),
        ("e=ps,sid=\"\",cid=\"t\",ts=1", "sid"),
        ("e=ps,sid=7,cid=\"t\",ts=1", "sid"),
        ("e=ps,sid=\"s\",ts=1", "cid"),
        (&format!("e=ps,sid=\"s\",cid=\"{long}\",ts=1"), "cid"),
        ("e=ps,sid=\"s\",cid=\"t\"", "ts"),
        ("e=ps,sid=\"s\",cid=\"t\",ts=-1", "ts"),
        ("e=ps,sid=\"s\",cid=\"t\",ts=1.5", "ts"),
        ("e=ps,sid=\"s\",cid=\"t\",ts=999999999999999", "ts"),
        ("e=ps,sid=\"s\",cid=\"t\",ts=99999999999999999999", "."),
        (&format!("e=ps,sid=\"s\",cid=\"t\",ts=1,a-b=\"{}\"", long.repeat(25)), "extra"),
    ] {
        assert_eq!(event(line.as_bytes(), "web", &plays).unwrap_err().field, field, "{line:.60}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_a_named_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        tail in "[ -~]{0,80}",
    ) {
        let plays = Plays::new();
        let _ = event(&bytes, "web", &plays);
        let _ = event(format!("e=ps,sid=\"s\",cid=\"t\",ts=1,{tail}").as_bytes(), "web", &plays);
    }

    #[test]
    fn audible_time_never_exceeds_what_has_passed(
        states in prop::collection::vec(("[sprakeqfwd]", 0..1_000_000_i64, any::<bool>()), 1..60),
    ) {
        let plays = Plays::new();
        let (mut first, mut last) = (i64::MAX, 0);
        for (state, at, by_interval) in states {
            (first, last) = (first.min(at), last.max(at));
            let e = if by_interval { "t" } else { "ps" };
            let line = format!("sid=\"s\",cid=\"t\",e={e},sta={state},ts={at}");
            let told = event(line.as_bytes(), "web", &plays).unwrap();
            prop_assert!(told.played_ms.unwrap_or(0) <= u64::try_from(last - first).unwrap());
        }
    }
}
