//! CMCD version 2 in event mode (CTA-5004-B), as hls.js, dash.js and Shaka post it: a structured-field dictionary a line.
//!
//! `sid` is our session and `cid` our track; the play is both together. `ts` is `client_ts`, `sn` is `seq`, `br` and `pt`
//! are bitrate and position. Every other key is kept in `extra` under its name, URLs without their query: it may hold a
//! token. A line's `event_id` is derived from the line, so a report that is sent again counts once.
//!
//! | `e` | becomes |
//! |---|---|
//! | `ps` | by `sta`: first `p` `play_start`, later `p` `resume`, `r` `stall`, `a` `pause`, `k` `seek`, `e` `complete`, `q` `skip`, `f` `error`; the rest, and `r` before the first `p` (start-up, no stall), `progress` |
//! | `bc` | `quality_change` |
//! | `e` | `error` with `ec` |
//! | `rr` | `error` where the status says so, else `progress`; its URL's `decision_id` is the play's from then on |
//! | any other | `progress` |
//!
//! What one line alone cannot say is remembered in [`plays`]: whether the first `p` has come, since when playback stands
//! still, and for how long there was sound. `stall_ms` is how long the first sound took with `play_start`, and with
//! `resume` how long the stall before it was.

pub(crate) mod plays;
mod report;

use wire::event::{Event, EventType};
use wire::{FieldError, PlayId};

use super::derived_id;
use plays::{Plays, Told};
use report::Report;

/// One line becomes an event.
///
/// # Errors
/// [`FieldError`] naming the key that is missing or wrong.
pub(crate) fn event(line: &[u8], app: &str, plays: &Plays) -> Result<Event, FieldError> {
    let report = Report::parse(line)?;
    let play = derived_id(app, &["cmcd-play", report.session_id.as_str(), report.track_id.as_str()]);
    let told = plays.advance(play, &report.seen());
    let text = std::str::from_utf8(line).expect("structured fields are ASCII");
    let event_type = event_type(&report, &told);
    Ok(Event {
        event_id: derived_id(app, &["cmcd", text]),
        event_type,
        session_id: report.session_id,
        track_id: report.track_id,
        client_ts: report.at,
        sent_at: None,
        play_id: Some(PlayId::new(play.to_string()).expect("a UUID is short and printable")),
        seq: report.seq,
        user_id: None,
        anon_id: None,
        position_ms: report.position_ms,
        duration_ms: None,
        played_ms: told.played_ms,
        stall_ms: match event_type {
            EventType::PlayStart => report.startup_ms.or(told.waited_ms),
            EventType::Resume => told.waited_ms,
            _ => None,
        },
        bitrate_kbps: report.bitrate_kbps,
        codec: None,
        device: None,
        os: None,
        app_version: None,
        pop: None,
        edge_id: None,
        decision_id: told.decision_id,
        cache_status: None,
        error_code: (event_type == EventType::Error).then_some(report.error).flatten(),
        consent: None,
        schema_version: None,
        extra: report.others.finish()?,
    })
}

fn event_type(report: &Report, told: &Told) -> EventType {
    match (report.event.as_str(), report.state.as_deref()) {
        ("ps", Some("p")) if told.first_sound => EventType::PlayStart,
        ("ps", Some("p")) => EventType::Resume,
        ("ps", Some("r")) if told.started => EventType::Stall,
        ("ps", Some("a")) => EventType::Pause,
        ("ps", Some("k")) => EventType::Seek,
        ("ps", Some("e")) => EventType::Complete,
        ("ps", Some("q")) => EventType::Skip,
        ("ps", Some("f")) | ("e", _) => EventType::Error,
        ("bc", _) => EventType::QualityChange,
        ("rr", _) if report.error.is_some() => EventType::Error,
        _ => EventType::Progress,
    }
}

#[cfg(test)]
mod tests;
