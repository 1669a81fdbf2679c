//! Listens as ListenBrainz's API takes them: the rules and the words of its server.
//!
//! A `single` or `import` listen becomes one `complete`: it was heard, says its sender, from `listened_at` on, for
//! `duration_played`, or else for all of its duration. Its time is `listened_at`: `plays` believes what was heard up to when
//! the listen was received. `playing_now` becomes a `play_start` without a play, because
//! nothing ties it to the listen that follows. The track is `additional_info.track_id` or `recording_mbid`; without either
//! it is `lb-` and an id derived from artist and title. Names, and what `additional_info` has room for, go into `extra`.
//!
//! Listens carry no id and clients send them again, so `event_id` is derived from user, time and track. It is derived
//! from the user's pseudonym under the oldest key, so that it tells nobody who the user is and outlives a rotation.

mod rules;

use serde_json::Value;
use serde_json::value::to_raw_value;
use wire::event::{Event, EventType, MAX_TEXT, Members};
use wire::{PlayId, SessionId, Timestamp, TrackId};

use super::derived_id;

use rules::Listen;
pub(crate) use rules::{Submission, parse};

/// Whose listens they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener<'a> {
    pub(crate) app: &'a str,
    pub(crate) user_id: &'a str,
    /// Stands for the user in ids that are derived.
    pub(crate) pseudonym: &'a str,
}

impl Submission {
    /// The event of each listen, in their order.
    pub(crate) fn events(&self, listener: &Listener<'_>, received_at: Timestamp) -> Vec<Event> {
        self.listens.iter().map(|listen| event(listen, listener, received_at)).collect()
    }
}

fn event(listen: &Listen, listener: &Listener<'_>, received_at: Timestamp) -> Event {
    let Listener { app, user_id, pseudonym } = *listener;
    let track_id = track_id(listen);
    // A `playing_now` has no time of its own; one that is sent again comes within seconds.
    let moment = listen.listened_at.map_or(received_at.as_millis() / 10_000, Timestamp::as_millis).to_string();
    // A listen that was sent once by itself and then in an import is the same listen.
    let kind = if listen.listened_at.is_some() { "listen" } else { "playing_now" };
    let event_id = derived_id(app, &["listenbrainz", kind, pseudonym, &moment, track_id.as_str()]);
    let session = derived_id(app, &["listenbrainz-session", pseudonym]);
    let heard = listen.listened_at.and(listen.played_ms.or(listen.duration_ms));
    Event {
        event_id,
        event_type: if listen.listened_at.is_some() { EventType::Complete } else { EventType::PlayStart },
        session_id: SessionId::new(format!("lb-{session}")).expect("short and printable"),
        track_id,
        client_ts: listen.listened_at.unwrap_or(received_at),
        sent_at: None,
        play_id: listen.listened_at.map(|_| PlayId::new(format!("lb-{event_id}")).expect("short and printable")),
        seq: None,
        user_id: Some(user_id.to_owned()),
        anon_id: None,
        position_ms: heard,
        duration_ms: listen.duration_ms,
        played_ms: heard,
        stall_ms: None,
        bitrate_kbps: None,
        codec: None,
        device: short(listen.info("media_player")),
        os: None,
        app_version: None,
        pop: None,
        edge_id: None,
        decision_id: None,
        cache_status: None,
        error_code: None,
        consent: None,
        schema_version: None,
        extra: extra(listen),
    }
}

fn track_id(listen: &Listen) -> TrackId {
    let named = ["track_id", "recording_mbid"].iter().filter_map(|name| listen.info(name)).map(TrackId::new);
    named.flatten().next().unwrap_or_else(|| {
        let words = [listen.artist_name.to_lowercase(), listen.track_name.to_lowercase()];
        // Whichever app tells of it, it is the same track.
        let id = derived_id("", &["listenbrainz-track", &words[0], &words[1]]);
        TrackId::new(format!("lb-{id}")).expect("short and printable")
    })
}

fn short(text: Option<&str>) -> Option<String> {
    text.filter(|text| (1..=MAX_TEXT).contains(&text.len())).map(str::to_owned)
}

/// As much as there is room for: a listen is not refused for what ListenBrainz would have taken.
fn extra(listen: &Listen) -> Option<wire::event::Extra> {
    let mut members = Members::default();
    let names = [("artist_name", Some(&listen.artist_name)), ("track_name", Some(&listen.track_name))];
    let names = names.into_iter().chain([("release_name", listen.release_name.as_ref())]);
    for (name, text) in names {
        if let Some(text) = text {
            let text = &text[..text.floor_char_boundary(500)];
            add(&mut members, name, &Value::from(text));
        }
    }
    for (name, value) in &listen.additional_info {
        if !["artist_name", "track_name", "release_name", "track_id"].contains(&name.as_str()) {
            add(&mut members, name, value);
        }
    }
    members.finish().expect("the names of a map differ, and the first three are left out of it")
}

fn add(members: &mut Members, name: &str, value: &Value) {
    let value = to_raw_value(value).expect("a value is written to memory");
    if members.has_room_for(name, &value) {
        members.push(name, &value).expect("there is room");
    }
}

#[cfg(test)]
mod tests;
