//! What a player tells ingest of one play.

use std::time::Duration;

use uuid::Uuid;
use wire::decision::RouteCandidate;
use wire::event::{Event, EventType};
use wire::{DecisionId, PlayId, SessionId, Timestamp, TrackId};

use super::{Play, whole_millis};
use crate::listen::buffer::Buffer;
use crate::listen::playlist::Variant;
use crate::listen::reporter::Reporter;

/// Media time between two progress events.
const PROGRESS: Duration = Duration::from_secs(10);

pub(super) struct Report<'a> {
    reporter: &'a Reporter,
    session: SessionId,
    play_id: PlayId,
    track: TrackId,
    decision: DecisionId,
    seq: u32,
    progressed: Duration,
    duration: Option<Duration>,
    bitrate_kbps: Option<u32>,
    codec: Option<String>,
    cache_status: Option<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(play: &Play, decision: DecisionId, reporter: &'a Reporter) -> Self {
        Self {
            reporter,
            session: SessionId::new(Uuid::now_v7().to_string()).expect("a UUID is a session id"),
            play_id: PlayId::new(Uuid::now_v7().to_string()).expect("a UUID is a play id"),
            track: TrackId::new(play.track.clone()).expect("the router knew the track"),
            decision,
            seq: 0,
            progressed: Duration::ZERO,
            duration: None,
            bitrate_kbps: None,
            codec: None,
            cache_status: None,
        }
    }

    pub(super) fn duration(&mut self, duration: Duration) {
        self.duration = Some(duration);
    }

    pub(super) fn variant(&mut self, variant: &Variant) {
        self.bitrate_kbps = u32::try_from(variant.bandwidth / 1000).ok();
        self.codec.clone_from(&variant.codecs);
    }

    pub(super) fn cache_status(&mut self, status: Option<&str>) {
        self.cache_status = status.map(str::to_owned);
    }

    /// The media time of the next progress event.
    pub(super) fn next_progress(&self) -> Duration {
        self.progressed + PROGRESS
    }

    pub(super) async fn progress_if_due(&mut self, from: &RouteCandidate, buffer: &Buffer) {
        if buffer.heard() < self.next_progress() {
            return;
        }
        while self.next_progress() <= buffer.heard() {
            self.progressed = self.next_progress();
        }
        self.send(EventType::Progress, from, buffer, None).await;
    }

    /// Sent when the first sound is heard, with how long the listener waited for it.
    pub(super) async fn start(&mut self, from: &RouteCandidate, buffer: &Buffer, waited: Duration) {
        self.send(EventType::PlayStart, from, buffer, Some(waited)).await;
    }

    pub(super) async fn stall(&mut self, from: &RouteCandidate, buffer: &Buffer, stall: Duration) {
        self.send(EventType::Stall, from, buffer, Some(stall)).await;
    }

    pub(super) async fn error(&mut self, from: &RouteCandidate, buffer: &Buffer) {
        self.send(EventType::Error, from, buffer, None).await;
    }

    pub(super) async fn quality_change(&mut self, from: &RouteCandidate, buffer: &Buffer) {
        self.send(EventType::QualityChange, from, buffer, None).await;
    }

    pub(super) async fn end(&mut self, from: &RouteCandidate, buffer: &Buffer, completed: bool) {
        let event_type = if completed { EventType::Complete } else { EventType::Skip };
        self.send(event_type, from, buffer, None).await;
    }

    async fn send(&mut self, event_type: EventType, from: &RouteCandidate, buffer: &Buffer, waited: Option<Duration>) {
        let heard = whole_millis(buffer.heard());
        let event = Event {
            event_id: Uuid::now_v7(),
            event_type,
            session_id: self.session.clone(),
            track_id: self.track.clone(),
            client_ts: Timestamp::now(),
            sent_at: None,
            play_id: Some(self.play_id.clone()),
            seq: Some(self.seq),
            user_id: None,
            anon_id: None,
            position_ms: Some(heard),
            duration_ms: self.duration.map(whole_millis),
            played_ms: Some(heard),
            stall_ms: waited.map(whole_millis),
            bitrate_kbps: self.bitrate_kbps,
            codec: self.codec.clone(),
            device: Some("tonearm-listen".into()),
            os: Some(std::env::consts::OS.into()),
            app_version: Some(env!("CARGO_PKG_VERSION").into()),
            pop: Some(from.inputs.pop.clone()),
            edge_id: Some(from.inputs.edge.clone()),
            decision_id: Some(self.decision),
            cache_status: self.cache_status.clone(),
            error_code: matches!(event_type, EventType::Error).then(|| "fetch".into()),
            consent: None,
            schema_version: None,
            extra: None,
        };
        self.seq += 1;
        self.reporter.send(event).await;
    }
}
