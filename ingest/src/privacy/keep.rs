//! One event with what may be kept of whom it tells.

use wire::event::{Consent, Event};

use super::{Pseudonyms, Subject};
use crate::geo::Place;

/// Takes out of the event what must not be kept; the part of the place that may be.
pub(crate) fn keep(event: &mut Event, place: &Place, pseudonyms: &Pseudonyms) -> Place {
    if event.consent == Some(Consent::Denied) {
        (event.user_id, event.anon_id, event.device, event.extra) = (None, None, None, None);
        return Place { country: place.country.clone(), ..Place::default() };
    }
    let hashed =
        |subject, id: Option<String>| id.filter(|id| !id.is_empty()).map(|id| pseudonyms.current(subject, &id));
    event.user_id = hashed(Subject::User, event.user_id.take());
    event.anon_id = hashed(Subject::Anon, event.anon_id.take());
    place.clone()
}

#[cfg(test)]
mod tests {
    use super::super::pseudonyms::tests::pseudonyms;
    use super::*;

    fn kept(more: &str) -> (Event, Place) {
        let json = format!(
            r#"{{"event_id":"01935b0e-0000-7000-8000-000000000001","type":"progress","session_id":"s","track_id":"t",
            "client_ts":1795251600123,"user_id":"u-17","anon_id":"","device":"iPhone15,4","os":"iOS 19","played_ms":7,
            "mood":"blue"{more}}}"#
        );
        let mut event = Event::parse(json.as_bytes()).unwrap();
        let place = Place { country: Some("PL".into()), asn: 64500, client_net: "203.0.113.0/24".into() };
        let place = keep(&mut event, &place, &pseudonyms(&[1]));
        (event, place)
    }

    #[test]
    fn users_are_hashed_and_empty_ids_are_nobody() {
        for more in ["", r#","consent":"granted""#] {
            let (event, place) = kept(more);
            assert_eq!(event.user_id.unwrap(), pseudonyms(&[1]).current(Subject::User, "u-17"));
            assert_eq!((event.anon_id, event.device.as_deref()), (None, Some("iPhone15,4")));
            assert!(event.extra.is_some());
            assert_eq!((place.asn, place.client_net.as_str()), (64500, "203.0.113.0/24"));
        }
    }

    #[test]
    fn denied_consent_leaves_what_was_played_and_the_country() {
        let (event, place) = kept(r#","consent":"denied""#);
        assert_eq!((&event.user_id, &event.anon_id, &event.device), (&None, &None, &None));
        assert!(event.extra.is_none());
        assert_eq!((event.played_ms, event.os.as_deref()), (Some(7), Some("iOS 19")));
        assert_eq!(place, Place { country: Some("PL".into()), ..Place::default() });
    }
}
