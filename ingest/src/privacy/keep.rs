//! One event with what may be kept of whom it tells.

use wire::event::{Consent, EventRef};

use super::hasher::Listener;
use crate::geo::Place;

/// The part of a [`Place`] that may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeptPlace<'a> {
    pub(crate) country: Option<&'a str>,
    pub(crate) asn: u32,
    pub(crate) client_net: &'a str,
}

/// The event without what must not be kept.
pub(crate) fn keep<'a>(event: EventRef<'a>, listener: &'a Listener) -> EventRef<'a> {
    if event.consent == Some(Consent::Denied) {
        return EventRef { user_id: None, anon_id: None, device: None, extra: None, ..event };
    }
    EventRef { user_id: listener.user_id(), anon_id: listener.anon_id(), ..event }
}

/// Whether only its ids are others, where it has any.
pub(crate) fn keeps_all(event: &EventRef<'_>, listener: &Listener) -> bool {
    let same = event.user_id.is_some() == listener.user.is_some() && event.anon_id.is_some() == listener.anon.is_some();
    event.consent != Some(Consent::Denied) && same
}

/// Of where it was posted.
pub(crate) fn kept_place<'a>(event: &EventRef<'_>, place: &'a Place) -> KeptPlace<'a> {
    let country = place.country.as_deref();
    match event.consent {
        Some(Consent::Denied) => KeptPlace { country, asn: 0, client_net: "" },
        Some(Consent::Granted) | None => KeptPlace { country, asn: place.asn, client_net: &place.client_net },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wire::event::Event;

    use super::super::pseudonyms::Pseudonym;
    use super::super::pseudonyms::tests::pseudonyms;
    use super::super::{Hasher, Subject};
    use super::*;

    fn kept(more: &str, told: impl FnOnce(EventRef<'_>, KeptPlace<'_>)) {
        let json = format!(
            r#"{{"event_id":"01935b0e-0000-7000-8000-000000000001","type":"progress","session_id":"s","track_id":"t",
            "client_ts":1795251600123,"user_id":"u-17","anon_id":"","device":"iPhone15,4","os":"iOS 19","played_ms":7,
            "mood":"blue"{more}}}"#
        );
        let event = Event::parse(json.as_bytes()).unwrap();
        let place = Place { country: Some("PL".into()), asn: 64500, client_net: "203.0.113.0/24".into() };
        let hasher = Hasher::new(Arc::new(pseudonyms(&[1])));
        // The second time it is remembered.
        for _ in 0..2 {
            let listener = hasher.listener(&EventRef::from(&event));
            assert_eq!(listener.user, hasher.listener(&EventRef::from(&event)).user);
        }
        let listener = hasher.listener(&EventRef::from(&event));
        let place = kept_place(&EventRef::from(&event), &place);
        told(keep(EventRef::from(&event), &listener), place);
    }

    #[test]
    fn users_are_hashed_and_empty_ids_are_nobody() {
        for more in ["", r#","consent":"granted""#] {
            kept(more, |event, place| {
                assert_eq!(event.user_id.unwrap(), pseudonyms(&[1]).current(Subject::User, "u-17"));
                assert_eq!((event.anon_id, event.device), (None, Some("iPhone15,4")));
                assert!(event.extra.is_some());
                assert_eq!((place.asn, place.client_net), (64500, "203.0.113.0/24"));
            });
        }
    }

    #[test]
    fn what_was_hashed_last_is_not_taken_for_another() {
        let hasher = Hasher::new(Arc::new(pseudonyms(&[1])));
        let json = r#"{"event_id":"01935b0e-0000-7000-8000-000000000001","type":"skip","session_id":"s","track_id":"t","client_ts":1}"#;
        let event = Event::parse(json.as_bytes()).unwrap();
        for id in ["a", "b", "b", "a", ""] {
            let listener =
                hasher.listener(&EventRef { user_id: Some(id), anon_id: Some(id), ..EventRef::from(&event) });
            let hashed = |subject| (!id.is_empty()).then(|| pseudonyms(&[1]).current(subject, id));
            assert_eq!(listener.user.as_ref().map(Pseudonym::as_str), hashed(Subject::User).as_deref());
            assert_eq!(listener.anon.as_ref().map(Pseudonym::as_str), hashed(Subject::Anon).as_deref());
        }
    }

    #[test]
    fn denied_consent_leaves_what_was_played_and_the_country() {
        kept(r#","consent":"denied""#, |event, place| {
            assert_eq!((event.user_id, event.anon_id, event.device, event.extra), (None, None, None, None));
            assert_eq!((event.played_ms, event.os), (Some(7), Some("iOS 19")));
            assert_eq!(place, KeptPlace { country: Some("PL"), asn: 0, client_net: "" });
        });
    }
}
