use proptest::prelude::*;
use serde_json::{Value, json};
use wire::event::EventType;

use super::*;

const ID: &str = "01935b0e-0000-7000-8000-000000000001";

fn cloud_event(more: &Value) -> Value {
    let mut all = json!({
        "specversion": "1.0", "id": ID, "source": "/player/7", "type": "com.example.player.progress",
        "time": "2026-11-21T09:00:00Z", "data": {"session_id": "s", "track_id": "t", "played_ms": 5},
    });
    let all_fields = all.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        if value == "REMOVE" {
            all_fields.remove(name)
        } else {
            all_fields.insert(name.clone(), value.clone())
        };
    }
    all
}

fn read(more: &Value) -> Result<Event, FieldError> {
    structured(cloud_event(more).to_string().as_bytes(), "web")
}

fn extra(event: &Event) -> Value {
    serde_json::from_str(event.extra.as_ref().unwrap().as_str()).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

#[test]
fn attributes_and_data_make_an_event() {
    let sent = json!({"traceparent": "00-1", "device": "ext", "subject": "u", "datacontenttype": "application/json"});
    let event = read(&sent).unwrap();
    assert_eq!((event.event_id.to_string().as_str(), event.event_type), (ID, EventType::Progress));
    assert_eq!(event.client_ts.to_string(), "2026-11-21T09:00:00.000Z");
    assert_eq!((event.played_ms, event.device.as_deref()), (Some(5), None));
    let kept = json!({"traceparent": "00-1", "device": "ext", "ce_subject": "u", "ce_source": "/player/7"});
    assert_eq!(extra(&event), kept);
    assert_eq!(read(&json!({"type": "skip"})).unwrap().event_type, EventType::Skip);
}

#[test]
fn the_datas_own_fields_stand() {
    let data = json!({"session_id": "s", "track_id": "t", "client_ts": 7, "mood": "calm", "extra": {"a": 1}});
    let event = read(&json!({"data": data})).unwrap();
    assert_eq!(event.client_ts.as_millis(), 7);
    assert_eq!(extra(&event), json!({"ce_source": "/player/7", "mood": "calm", "a": 1}));
    let packed = BASE64.encode(data.to_string());
    assert_eq!(read(&json!({"data": "REMOVE", "data_base64": packed})).unwrap(), event);
}

#[test]
fn an_id_that_is_no_uuid_is_the_same_each_time_and_nobody_elses() {
    let one = read(&json!({"id": "17"})).unwrap();
    assert_eq!(one.event_id, read(&json!({"id": "17"})).unwrap().event_id);
    assert_eq!(one.event_id.get_version_num(), 5);
    assert_eq!(extra(&one)["ce_id"], "17");
    for other in [json!({"id": "18"}), json!({"id": "17", "source": "/player/8"})] {
        assert_ne!(one.event_id, read(&other).unwrap().event_id);
    }
    let elsewhere = structured(cloud_event(&json!({"id": "17"})).to_string().as_bytes(), "tv").unwrap();
    assert_ne!(one.event_id, elsewhere.event_id);
}

#[test]
fn what_is_wrong_is_named_as_the_sender_wrote_it() {
    for (more, field) in [
        (json!({"specversion": "0.3"}), "specversion"),
        (json!({"specversion": "REMOVE"}), "specversion"),
        (json!({"id": "REMOVE"}), "id"),
        (json!({"id": ""}), "id"),
        (json!({"id": null}), "id"),
        (json!({"id": 7}), "id"),
        (json!({"source": "REMOVE"}), "source"),
        (json!({"type": "REMOVE"}), "type"),
        (json!({"type": "com.example.dance"}), "type"),
        (json!({"time": "yesterday"}), "time"),
        (json!({"time": "REMOVE"}), "time"),
        (json!({"datacontenttype": "text/xml"}), "datacontenttype"),
        (json!({"data": "REMOVE"}), "data"),
        (json!({"data": 7}), "data"),
        (json!({"data": []}), "data"),
        (json!({"data": {}}), "data.session_id"),
        (json!({"data": {"session_id": "s", "track_id": 7}}), "data.track_id"),
        (json!({"data": {"session_id": "s", "track_id": "t", "type": "skip"}}), "data.type"),
        (json!({"data": {"session_id": "s", "track_id": "t", "event_id": ID}}), "data.event_id"),
        (json!({"data": {"session_id": "s", "track_id": "t", "client_ts": "x"}}), "data.client_ts"),
        (json!({"data_base64": "e30="}), "data_base64"),
        (json!({"data": "REMOVE", "data_base64": "?"}), "data_base64"),
        (json!({"ext": "x".repeat(5000)}), "extra"),
    ] {
        assert_eq!(read(&more).unwrap_err().field, field, "{more:.80}");
    }
    let twice = cloud_event(&json!({})).to_string().replacen('{', r#"{"id":"1","#, 1);
    assert_eq!(structured(twice.as_bytes(), "web").unwrap_err().field, "id");
}

#[test]
fn attributes_in_headers() {
    let sent = headers(&[
        ("ce-specversion", "1.0"),
        ("ce-id", ID),
        ("ce-source", "/a%20b"),
        ("ce-type", "progress"),
        ("ce-time", "2026-11-21T09:00:00Z"),
        ("ce-region", "%C3%A9"),
    ]);
    let event = binary(&sent, br#" {"session_id":"s","track_id":"t"} "#, "web").unwrap();
    assert_eq!(extra(&event), json!({"ce_source": "/a b", "region": "é"}));
    let field = |name: &'static str, value: &str| {
        let mut sent = sent.clone();
        sent.insert(name, value.parse().unwrap());
        binary(&sent, br#"{"session_id":"s","track_id":"t"}"#, "web").unwrap_err().field
    };
    assert_eq!(field("ce-specversion", "2"), "ce-specversion");
    assert_eq!(field("ce-time", "x"), "ce-time");
    assert_eq!(field("ce-region", "%FF"), "ce-region");
    let mut twice = sent.clone();
    twice.append("ce-id", "7".parse().unwrap());
    assert_eq!(binary(&twice, b"{}", "web").unwrap_err().field, "ce-id");
    assert_eq!(binary(&sent, b"{\"session_id\":1}", "web").unwrap_err().field, "data.session_id");
    assert_eq!(binary(&sent, b"[]", "web").unwrap_err().field, "data");
    assert_eq!(binary(&HeaderMap::new(), b"{}", "web").unwrap_err().field, "ce-specversion");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = structured(&bytes, "web");
        let sent = headers(&[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), ("ce-type", "skip")]);
        let _ = binary(&sent, &bytes, "web");
        let text = String::from_utf8_lossy(&bytes);
        let _ = read(&json!({"id": text, "ext": text, "data": {"session_id": text, "track_id": text}}));
    }
}
