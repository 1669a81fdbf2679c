use proptest::prelude::*;

use super::super::{AcceptedEvent, Event, Extra};
use super::*;

const GOLDEN: &str = include_str!("../../../tests/golden/accepted_event.json");

fn golden() -> AcceptedEvent {
    let mut accepted: AcceptedEvent = serde_json::from_str(GOLDEN).unwrap();
    accepted.event.extra = None;
    accepted
}

fn written(accepted: &AcceptedRef<'_>) -> String {
    let mut json = Vec::new();
    accepted.envelope.write(&mut json, |json| accepted.event.write(json));
    String::from_utf8(json).unwrap()
}

/// What the general way says of the same bytes.
fn agrees(json: &[u8]) {
    if let Some(PlainEvent { event, verbatim }) = PlainEvent::read(json) {
        let parsed = Event::parse(json).unwrap();
        assert_eq!(event, EventRef::from(&parsed), "{}", String::from_utf8_lossy(json));
        let Some(verbatim) = verbatim else { return };
        let (mut copied, mut written) = (Vec::new(), Vec::new());
        verbatim.write(event.user_id, event.anon_id, &mut copied);
        event.write(&mut written);
        assert_eq!(String::from_utf8_lossy(&copied), String::from_utf8_lossy(json.trim_ascii()));
        let members = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
        assert_eq!(members(&copied), members(&written));
    }
    if let Some(accepted) = AcceptedRef::read(json) {
        let parsed: AcceptedEvent = crate::field::parse(json).unwrap();
        assert_eq!(accepted, AcceptedRef::from(&parsed), "{}", String::from_utf8_lossy(json));
    }
}

#[test]
fn what_we_write_is_plain() {
    let accepted = golden();
    for json in [serde_json::to_string(&accepted).unwrap(), serde_json::to_string_pretty(&accepted).unwrap()] {
        assert_eq!(AcceptedRef::read(json.as_bytes()).unwrap(), AcceptedRef::from(&accepted));
    }
    let event = serde_json::to_string(&accepted.event).unwrap();
    assert_eq!(EventRef::read(event.as_bytes()).unwrap(), EventRef::from(&accepted.event));
}

/// One deviation each: a different value for a member, or other bytes.
#[test]
fn what_is_not_plain_is_left_alone_and_what_is_means_the_same() {
    let event = serde_json::to_string(&golden().event).unwrap();
    let values = [
        "null",
        "true",
        "0",
        "00",
        "-0",
        "-1",
        "1e3",
        "1.0",
        "65536",
        "4294967296",
        "18446744073709551615",
        "18446744073709551616",
        "2592000001",
        "\"\"",
        "\"\\u0061\"",
        "\"\u{e9}\"",
        "\"\u{7f}\"",
        "\"a\tb\"",
        "[]",
        "{}",
        "\"Granted\"",
        "\"2026-11-21T09:00:00Z\"",
        "\"2026-02-30T09:00:00.000Z\"",
        "\"{01935b0e-0000-7000-8000-000000000001}\"",
        "\"01935B0E00007000800000000000000F\"",
        "1795251600123",
        "7258118400000",
        "\"-fra\"",
        "",
        " 1",
        "1 2",
    ];
    let members: Vec<&str> = EventDraft::NAMES.to_vec();
    let whole: serde_json::Value = serde_json::from_str(&event).unwrap();
    for name in members {
        let had = format!("\"{name}\":{}", whole[name]);
        assert!(event.contains(&had), "{had}");
        for value in values {
            agrees(event.replace(&had, &format!("\"{name}\":{value}")).as_bytes());
        }
        let without = event.replace(&format!("{had},"), "");
        agrees(without.as_bytes());
        let twice = event.replace(&had, &format!("{had},{had}"));
        assert!(EventRef::read(twice.as_bytes()).is_none(), "{name}");
    }
    for odd in ["", "{}", "[]", "{", "null", "{\"event_id\":", "\u{feff}{}"] {
        assert!(EventRef::read(odd.as_bytes()).is_none(), "{odd}");
    }
    assert!(EventRef::read(format!("{event} x").as_bytes()).is_none());
    assert!(EventRef::read(event.replace(",\"seq\"", ",,\"seq\"").as_bytes()).is_none());
    assert!(EventRef::read(event.replace("}", ",}").as_bytes()).is_none());
    assert!(EventRef::read(event.replace("}", ",\"mood\":1}").as_bytes()).is_none());
}

#[test]
fn what_is_written_otherwise_is_no_copy() {
    let event = serde_json::to_string(&golden().event).unwrap();
    fn verbatim(json: &str) -> Option<Verbatim<'_>> {
        PlainEvent::read(json.as_bytes()).unwrap().verbatim
    }
    let copy = verbatim(&event).unwrap();
    let mut json = Vec::new();
    copy.write(Some("1:u"), Some(""), &mut json);
    let ids = [golden().event.user_id.unwrap(), golden().event.anon_id.unwrap()];
    let expected = event.replace(&format!("{:?}", ids[0]), "\"1:u\"").replace(&format!("{:?}", ids[1]), "\"\"");
    assert_eq!(String::from_utf8(json).unwrap(), expected);
    assert_eq!(copy.length(), event.len() - ids[0].len() - ids[1].len());
    assert!(verbatim(&format!("\n{event} ")).is_some());
    let id = golden().event.event_id;
    for (ours, other) in [
        (",\"seq\"".to_owned(), ", \"seq\"".to_owned()),
        ("}".to_owned(), " }".to_owned()),
        (id.to_string(), id.simple().to_string()),
        (id.to_string(), id.to_string().to_uppercase()),
        (golden().event.client_ts.to_string(), golden().event.client_ts.to_string().replace('Z', "+00:00")),
        (format!("\"{}\"", golden().event.client_ts), golden().event.client_ts.as_millis().to_string()),
    ] {
        assert!(event.contains(&ours), "{ours}");
        assert_eq!(verbatim(&event.replace(&ours, &other)), None, "{other}");
    }
}

#[test]
fn an_array_is_read_event_by_event_to_its_end() {
    let event = serde_json::to_string(&golden().event).unwrap();
    let read = |body: &str| PlainEvents::of(body.as_bytes()).unwrap().map(|event| event.is_ok()).collect::<Vec<_>>();
    assert_eq!(read(&event), [true]);
    assert_eq!(read(&format!(" [ {event} ] ")), [true]);
    assert_eq!(read(&format!("[{event},\n{event}]")), [true, true]);
    assert_eq!(read(&format!("[{event},{event}")), [true, true, false]);
    assert_eq!(read(&format!("[{event} {event}]")), [true, false]);
    assert_eq!(read(&format!("[{event},]")), [true, false]);
    assert_eq!(read(&format!("[{event}]]")), [true, false]);
    assert_eq!(read(&format!("[{event},7,{event}]")), [true, false]);
    for odd in ["[]", "", "{\"events\":[]}", "[7]"] {
        assert_eq!(read(odd), [false], "{odd}");
    }
    assert!(PlainEvents::of(b"\xff").is_none());
}

/// Texts with everything that JSON escapes.
fn words() -> impl Strategy<Value = String> {
    "[ -~\u{0}-\u{1f}\u{e9}\u{1f3b5}]{0,20}"
}

proptest! {
    #[test]
    fn is_written_as_serde_writes_it(
        (app, device, country) in (words(), words(), prop::option::of(words())),
        (seq, skew_ms, ingest_seq) in (any::<Option<u32>>(), any::<i64>(), any::<u64>()),
        (played_ms, asn, extra) in (any::<Option<u64>>(), any::<u32>(), any::<bool>()),
    ) {
        let mut accepted = golden();
        (accepted.app, accepted.event.device, accepted.country) = (app, Some(device), country);
        (accepted.event.seq, accepted.skew_ms, accepted.ingest_seq) = (seq, skew_ms, ingest_seq);
        (accepted.event.played_ms, accepted.asn) = (played_ms, asn);
        let raw = serde_json::value::RawValue::from_string("{ \"a\" : \"\\u0000\" }".into()).unwrap();
        accepted.event.extra = extra.then(|| Extra::new(raw).unwrap());
        let json = written(&AcceptedRef::from(&accepted));
        prop_assert_eq!(&json, &serde_json::to_string(&accepted).unwrap());
        agrees(json.as_bytes());
    }

    /// Any byte of a good one replaced, left out or put in.
    #[test]
    fn whatever_is_plain_means_the_same(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3, "[ -~\t\n\u{e9}]"), 1..4),
        accepted in any::<bool>(),
    ) {
        let whole = golden();
        let mut json = if accepted { serde_json::to_vec(&whole) } else { serde_json::to_vec(&whole.event) }.unwrap();
        for (at, how, with) in changes {
            let at = at.index(json.len());
            let cut = if how == 0 { at..at } else { at..at + 1 };
            let put = if how == 1 { "" } else { &with };
            json.splice(cut, put.bytes());
        }
        agrees(&json);
    }
}
