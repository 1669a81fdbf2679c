use proptest::prelude::*;

use super::*;

fn json(body: &str) -> Result<Vec<&[u8]>, Problem> {
    events(body.as_bytes())
}

fn kind(body: &str) -> &'static str {
    json(body).unwrap_err().kind
}

#[test]
fn an_object_an_array_and_an_envelope() {
    assert_eq!(json(r#" {"a":1} "#).unwrap(), [br#"{"a":1}"#]);
    assert_eq!(json(r#"[{"a":1}, 2 ,null,"x",[3]]"#).unwrap(), [&b"{\"a\":1}"[..], b"2", b"null", b"\"x\"", b"[3]"]);
    assert_eq!(json(r#"{"sent":1,"events":[{}, 7]}"#).unwrap(), [&b"{}"[..], b"7"]);
}

#[test]
fn what_is_no_batch_is_refused_whole() {
    for (body, expected) in [
        ("", "empty-batch"),
        ("  \n", "empty-batch"),
        ("[]", "empty-batch"),
        (r#"{"events":[]}"#, "empty-batch"),
        ("{", "not-json"),
        ("[{}", "not-json"),
        ("[{}] x", "not-json"),
        ("5", "not-json"),
        ("null", "not-json"),
        (r#"{"events":[],"events":[]}"#, "not-json"),
        (r#"{"events":{}}"#, "bad-field"),
    ] {
        assert_eq!(kind(body), expected, "{body}");
    }
}

#[test]
fn elements_are_counted() {
    let many = |n: usize| format!("[{}]", vec!["1"; n].join(","));
    assert_eq!(json(&many(MAX_ELEMENTS)).unwrap().len(), MAX_ELEMENTS);
    assert_eq!(kind(&many(MAX_ELEMENTS + 1)), "too-many-elements");
    let lines = "1\n".repeat(MAX_ELEMENTS + 1);
    assert_eq!(super::lines(lines.as_bytes()).unwrap_err().kind, "too-many-elements");
}

#[test]
fn nesting_cannot_overflow_the_stack() {
    let deep = "[".repeat(400_000) + &"]".repeat(400_000);
    assert_eq!(json(&format!("[1,{deep}]")).unwrap().len(), 2);
    let _ = json(&"[".repeat(400_000)).unwrap_err();
    let object = "{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000);
    assert_eq!(json(&object).unwrap().len(), 1);
}

#[test]
fn lines_stand_alone() {
    let body = b"{\"a\":1}\r\n\n  \n{broken\n\xff\xfe\n{\"b\":2}";
    assert_eq!(lines(body).unwrap(), [&b"{\"a\":1}"[..], b"{broken", b"\xff\xfe", b"{\"b\":2}"]);
}

#[test]
fn deliveries_come_in_an_envelope() {
    assert_eq!(deliveries(br#"{"deliveries":[{},1]}"#).unwrap(), [&b"{}"[..], b"1"]);
    for body in ["[]", "{}", "{\"deliveries\":{}}", "{\"deliveries\":[]}", "x"] {
        assert!(deliveries(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn one_object_is_one_element() {
    assert_eq!(object(b" {\"a\":[1]} \n").unwrap(), [b"{\"a\":[1]}"]);
    for body in ["", "[]", "{} {}", "7", "{"] {
        assert_eq!(object(body.as_bytes()).unwrap_err().status, 400, "{body}");
    }
}

/// Any JSON value that is not an object with `events`, as text.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>()
            .prop_filter("JSON has no such number", |f| f.is_finite())
            .prop_map(|f| serde_json::json!(f).to_string()),
        ".*".prop_map(|s| serde_json::json!(s).to_string()),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(" , "))),
            prop::collection::vec((".*", inner), 0..4).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(k, v)| format!("{}:{v}", serde_json::json!(k))).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_cut_or_refused(body in prop::collection::vec(any::<u8>(), 0..400)) {
        for cut in [events(&body), lines(&body), object(&body), array(".", &body), deliveries(&body)] {
            prop_assert!(cut.is_err_and(|e| e.status.is_client_error()) || !lines(&body).unwrap().is_empty());
        }
    }

    #[test]
    fn every_element_of_an_array_comes_out_as_it_went_in(values in prop::collection::vec(value(), 1..8)) {
        let body = format!("\n[ {} ]", values.join("\t,"));
        let elements = json(&body).unwrap();
        prop_assert_eq!(elements, values.iter().map(|v| v.as_bytes()).collect::<Vec<_>>());
    }

    #[test]
    fn lines_of_any_bytes_do_not_touch_their_neighbours(
        broken in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("a line", |b| *b != b'\n'), 1..40), 1..6),
    ) {
        let good = b"{\"good\":true}";
        let mut body = Vec::new();
        for line in &broken {
            body.extend_from_slice(line);
            body.push(b'\n');
            body.extend_from_slice(good);
            body.push(b'\n');
        }
        let elements = lines(&body).unwrap();
        prop_assert_eq!(elements.iter().filter(|e| **e == good).count(), broken.len());
    }
}
