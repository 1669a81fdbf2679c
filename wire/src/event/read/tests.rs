use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::MAX_EXTRA;
use super::*;
use crate::FieldError;

fn parse(json: &str) -> Result<Event, FieldError> {
    Event::parse(json.as_bytes())
}

/// An event with these members after the required ones.
fn with(members: &str) -> Result<Event, FieldError> {
    let comma = if members.is_empty() { "" } else { "," };
    parse(&format!(
        r#"{{"event_id":"01935b0e-0000-7000-8000-000000000001","type":"progress","session_id":"s","track_id":"t","client_ts":1{comma}{members}}}"#
    ))
}

fn extra(members: &str) -> Option<String> {
    with(members).unwrap().extra.map(|extra| extra.as_str().to_owned())
}

#[test]
fn what_has_no_name_is_kept() {
    assert_eq!(extra(""), None);
    assert_eq!(extra(r#""mood":"calm""#).unwrap(), r#"{"mood":"calm"}"#);
    assert_eq!(extra(r#""extra":{ "mood" : 1 }"#).unwrap(), r#"{ "mood" : 1 }"#);
    assert_eq!(extra(r#""shelf":[1e999],"seq":1,"extra":{"mood":1}"#).unwrap(), r#"{"shelf":[1e999],"mood":1}"#);
    assert_eq!(extra(r#""\u0061\n":null,"extra":null"#).unwrap(), r#"{"a\n":null}"#);
}

#[test]
fn too_much_of_it_is_refused_as_extra() {
    let long = "x".repeat(MAX_EXTRA);
    for members in [
        format!("\"a\":\"{long}\""),
        format!("\"{long}\":1"),
        format!("\"extra\":{{\"a\":\"{long}\"}}"),
        format!("\"a\":\"{0}\",\"extra\":{{\"b\":\"{0}\"}}", &long[..MAX_EXTRA / 2]),
        (0..1000).map(|i| format!("\"a{i}\":{i}")).collect::<Vec<_>>().join(","),
    ] {
        assert_eq!(with(&members).unwrap_err().field, "extra", "{members:.40}");
    }
}

#[test]
fn nobodys_id_is_refused() {
    let nil = r#"{"event_id":"00000000-0000-0000-0000-000000000000","type":"progress","session_id":"s","track_id":"t","client_ts":1}"#;
    let error = parse(nil).unwrap_err();
    assert_eq!((error.field.as_str(), error.detail.as_str()), ("event_id", "must not be the nil UUID"));
    assert!(crate::event::plain::PlainEvent::read(nil.as_bytes()).is_none());
}

#[test]
fn a_name_that_is_given_twice_is_refused() {
    for (members, name) in [
        (r#""seq":1,"seq":1"#, "seq"),
        (r#""type":"skip""#, "type"),
        (r#""user_id":null,"user_id":"u""#, "user_id"),
        (r#""mood":1,"\u006dood":2"#, "mood"),
        (r#""mood":1,"extra":{"mood":2}"#, "mood"),
        (r#""extra":{},"extra":{}"#, "extra"),
    ] {
        let error = with(members).unwrap_err();
        assert_eq!((error.field.as_str(), error.detail.as_str()), (name, "is given twice"), "{members}");
    }
}

#[test]
fn nesting_in_what_is_kept_cannot_overflow_a_stack() {
    let deep = "[".repeat(2000) + &"]".repeat(2000);
    assert_eq!(extra(&format!("\"deep\":{deep}")).unwrap().len(), deep.len() + 9);
    let deeper = "[".repeat(200_000) + &"]".repeat(200_000);
    assert_eq!(with(&format!("\"deep\":{deeper}")).unwrap_err().field, "extra");
    let _ = with(&format!("\"deep\":{}", "[".repeat(200_000))).unwrap_err();
}

/// Any value that JSON can tell.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(|n| json!(n)), ".{0,12}".prop_map(|s| json!(s))];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|v| json!(v)),
            prop::collection::btree_map(".{0,4}", inner, 0..3).prop_map(|m| json!(m)),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_a_named_error(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = Event::parse(&body) {
            prop_assert!(!error.detail.is_empty());
        }
    }

    #[test]
    fn every_unknown_field_comes_out_as_it_went_in(
        members in prop::collection::btree_map("[a-z\"\\\\\u{e9}]{3,9}", value(), 1..6),
    ) {
        let sent = json!(members);
        let text = sent.to_string();
        let event = with(&text[1..text.len() - 1]);
        // A name may by chance be one of ours.
        if members.keys().any(|name| Field::named(name).is_some()) {
            return Ok(());
        }
        let event = event.unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(event.extra.as_ref().unwrap().as_str()).unwrap(), &sent);
        let again = Event::parse(&serde_json::to_vec(&event).unwrap()).unwrap();
        prop_assert_eq!(again, event);
    }
}
