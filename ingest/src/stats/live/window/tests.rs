use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::stats::live::heard::{Event, Text};
use crate::stats::live::picture::Filter;

const T0: i64 = 1_795_251_600_000;

#[derive(Debug, Clone)]
struct Said {
    session: u32,
    play: u8,
    track: u8,
    pop: &'static str,
    event_type: EventType,
    received: i64,
    happened: i64,
}

fn said(session: u32, event_type: EventType, at: i64) -> Said {
    Said { session, play: 1, track: 1, pop: "fra", event_type, received: at, happened: at }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(T0 + ms).unwrap()
}

fn hear(window: &mut Window, said: &Said) {
    let text = |text: String| Text(Cow::Owned(text));
    let event = Event {
        event_type: said.event_type,
        session_id: text(format!("s{}", said.session)),
        track_id: text(format!("t{}", said.track)),
        play_id: Some(text(format!("p{}", said.play))),
        pop: (!said.pop.is_empty()).then(|| text(said.pop.to_owned())),
    };
    let heard = Heard { event, received_at: at(said.received), event_ts: at(said.happened) };
    window.hear(&heard, T0 + said.received);
}

/// Listeners, and plays begun in the last ten seconds.
fn all(window: &mut Window, now: i64) -> (u64, f64) {
    let stats = window.tick(at(now)).stats(&Filter::default());
    (stats.all.listeners, stats.all.plays_per_s)
}

#[test]
fn a_listener_comes_pauses_resumes_and_falls_silent() {
    let mut window = Window::new();
    hear(&mut window, &said(1, EventType::PlayStart, 0));
    // 9 whole seconds and this one's first millisecond.
    assert_eq!(all(&mut window, 1), (1, 0.11));
    for (event_type, listeners) in [(EventType::Pause, 0), (EventType::Resume, 1), (EventType::Complete, 0)] {
        hear(&mut window, &said(1, event_type, 2));
        assert_eq!(all(&mut window, 3).0, listeners, "{event_type:?}");
    }
    hear(&mut window, &said(1, EventType::Progress, 5_000));
    assert_eq!(all(&mut window, 5_000 + SILENCE_MS - 1).0, 1);
    assert_eq!(all(&mut window, 5_000 + SILENCE_MS), (0, 0.0));
    assert_eq!(window.sessions(), 0, "who is gone takes no memory");
}

#[test]
fn a_play_begins_once_however_often_that_is_said() {
    let mut window = Window::new();
    for at in [0, 0, 500] {
        hear(&mut window, &said(1, EventType::PlayStart, at));
    }
    hear(&mut window, &Said { play: 2, ..said(1, EventType::PlayStart, 900) });
    let stats = window.tick(at(1_000)).stats(&Filter::default());
    assert_eq!((stats.all.listeners, stats.all.plays_per_s), (1, 0.22));
}

#[test]
fn what_came_late_changes_nothing() {
    let mut window = Window::new();
    // Kept offline for an hour.
    hear(&mut window, &Said { happened: -3_600_000, ..said(1, EventType::PlayStart, 0) });
    assert_eq!(all(&mut window, 0), (0, 0.0));
    // A track that fades into the next: its end comes after the next one's begin.
    hear(&mut window, &said(2, EventType::PlayStart, 0));
    hear(&mut window, &Said { play: 2, track: 2, ..said(2, EventType::PlayStart, 100) });
    hear(&mut window, &said(2, EventType::Complete, 200));
    // And an event that was overtaken.
    hear(&mut window, &Said { received: 300, ..said(2, EventType::Progress, 50) });
    let stats = window.tick(at(400)).stats(&Filter::default());
    assert_eq!((stats.all.listeners, stats.tracks[0].track.as_str()), (1, "t2"));
}

#[test]
fn subscribers_see_their_part() {
    let mut window = Window::new();
    for session in 0..6 {
        let track = if session < 4 { 1 } else { 2 };
        let pop = ["fra", "waw", ""][session as usize % 3];
        hear(&mut window, &Said { track, pop, ..said(session, EventType::PlayStart, 0) });
    }
    let picture = window.tick(at(999));
    let listeners = |track: Option<&str>, pop: Option<&str>| {
        let track = track.map(|track| wire::TrackId::new(track).unwrap());
        let stats = picture.stats(&Filter { track, pop: pop.map(|pop| wire::PopId::new(pop).unwrap()) });
        assert_eq!(stats.tracks.iter().map(|track| track.counts.listeners).sum::<u64>(), stats.all.listeners);
        assert_eq!(stats.pops.iter().map(|pop| pop.counts.listeners).sum::<u64>(), stats.all.listeners);
        stats.all.listeners
    };
    assert_eq!(listeners(None, None), 6);
    assert_eq!((listeners(Some("t1"), None), listeners(Some("t2"), None), listeners(Some("t3"), None)), (4, 2, 0));
    assert_eq!((listeners(None, Some("fra")), listeners(None, Some("nyc"))), (2, 0));
    assert_eq!((listeners(Some("t1"), Some("fra")), listeners(Some("t2"), Some("fra"))), (2, 0));
    let pops = picture.stats(&Filter::default()).pops;
    assert_eq!(pops.iter().map(|pop| pop.pop.as_str()).collect::<Vec<_>>(), ["", "fra", "waw"]);
}

#[test]
fn more_sessions_than_fit_are_estimated_and_more_names_are_summed() {
    let (most, real) = (2_000, 20_000);
    let mut window = Window::of(most, 5);
    for session in 0..real {
        hear(&mut window, &Said { track: (session % 7) as u8, ..said(session, EventType::Progress, 0) });
        assert!(window.sessions() <= most);
    }
    let stats = window.tick(at(10)).stats(&Filter::default());
    assert!(stats.sampled <= 0.125, "{}", stats.sampled);
    // A thousand sampled sessions are right to within some 3 %; five times that never happens.
    assert!((17_000..23_000).contains(&stats.all.listeners), "{}", stats.all.listeners);
    assert_eq!(stats.tracks.len(), 5);
    assert_eq!(
        stats.tracks.iter().map(|t| t.counts.listeners).sum::<u64>() + stats.other_tracks.listeners,
        stats.all.listeners
    );
    assert!(stats.other_tracks.listeners > 3_000);
    // Once most have gone, everybody is looked at again.
    let mut now = 0;
    for minute in 1..10 {
        now = minute * SILENCE_MS;
        hear(&mut window, &said(1, EventType::Progress, now));
        hear(&mut window, &said(2, EventType::Progress, now));
        window.tick(at(now + 1));
    }
    let stats = window.tick(at(now + 2)).stats(&Filter::default());
    assert_eq!((stats.all.listeners, stats.sampled), (2, 1.0));
}

#[test]
fn the_hundred_first_are_named() {
    let mut window = Window::new();
    for session in 0..150 {
        hear(&mut window, &Said { track: session as u8, ..said(session, EventType::Progress, 0) });
    }
    hear(&mut window, &Said { track: 149, ..said(1_000, EventType::Progress, 0) });
    let stats = window.tick(at(10)).stats(&Filter::default());
    assert_eq!((stats.tracks.len(), stats.tracks[0].track.as_str()), (100, "t149"));
    assert_eq!((stats.tracks[0].counts.listeners, stats.other_tracks.listeners, stats.all.listeners), (2, 50, 151));
}

/// The same, from the whole history and without any bound.
fn model(history: &[Said], now: i64) -> (u64, usize) {
    #[derive(Clone, Copy)]
    struct Now {
        play: u8,
        happened: i64,
        heard_of: i64,
        listening: bool,
    }
    let mut sessions: BTreeMap<u32, Now> = BTreeMap::new();
    let (mut begun, mut begins) = (BTreeSet::new(), Vec::new());
    for said in history {
        let happened = said.happened.min(said.received);
        let known = sessions.get(&said.session).copied().filter(|known| said.received - known.heard_of < SILENCE_MS);
        let end = matches!(said.event_type, EventType::Complete | EventType::Skip | EventType::Pause);
        if said.received - happened >= SILENCE_MS
            || known.is_some_and(|known| happened < known.happened || (end && known.play != said.play))
        {
            continue;
        }
        if known.is_none_or(|known| known.play != said.play) {
            begun.remove(&said.session);
        }
        if said.event_type == EventType::PlayStart && begun.insert(said.session) {
            begins.push(said.received);
        }
        let now = Now { play: said.play, happened, heard_of: said.received, listening: !end };
        sessions.insert(said.session, now);
    }
    let listening = sessions.values().filter(|known| known.listening && now - known.heard_of < SILENCE_MS).count();
    let first = (T0 + now).div_euclid(1000) * 1000 - T0 - 9_000;
    (listening as u64, begins.iter().filter(|at| **at >= first).count())
}

proptest! {
    #[test]
    fn any_history_counts_as_the_model_says(
        steps in prop::collection::vec((0u32..4, 0u8..3, 0usize..6, 0i64..25_000, -70_000i64..5_000), 1..60)
    ) {
        let types = [EventType::PlayStart, EventType::Progress, EventType::Pause, EventType::Resume, EventType::Complete, EventType::PlayStart];
        let (mut window, mut history, mut now) = (Window::new(), Vec::new(), 0);
        for (session, play, event_type, pause, skew) in steps {
            now += pause;
            // Most events are no late ones.
            let happened = now + if skew < -20_000 { 0 } else { skew };
            let said = Said { session, play, event_type: types[event_type], received: now, happened, ..said(0, EventType::Skip, 0) };
            // The window looks each second.
            window.tick(at(now));
            hear(&mut window, &said);
            history.push(said);
            let (listeners, begun) = model(&history, now);
            let stats = window.tick(at(now)).stats(&Filter::default());
            let seconds = (9_000 + now.rem_euclid(1000)).max(1) as f64 / 1000.0;
            prop_assert_eq!(stats.all.listeners, listeners);
            prop_assert_eq!(stats.all.plays_per_s, (begun as f64 / seconds * 100.0).round() / 100.0);
        }
    }
}
