//! `GET /v1/route` and `GET /v1/play/{track}`: where to stream a track from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::Guard;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use service::Problem;
use service::problem::fresh_json;
use url::form_urlencoded;
use wire::decision::{Candidate, Decision, RouteAnswer, RouteCandidate, Via};
use wire::{ClientNet, FieldError, ObjectKey, Timestamp, TrackId};

use super::media_url::Signer;
use super::{App, listener_of, media_url, parameter};
use crate::decide::Question;
use crate::fleet::Fleet;
use crate::meters::DECISIONS;
use crate::snapshot::Snapshot;
use crate::tracks::Track;

/// What a player is told with "no edge": reports and probes come each second.
const RETRY_AFTER_S: u32 = 2;

/// Handles of the counters on the hot path, for one kind of question.
pub(crate) struct Counts {
    route: [metrics::Counter; 3],
    play: [metrics::Counter; 3],
}

#[derive(Clone, Copy)]
enum Outcome {
    Decided,
    UnknownTrack,
    NoEdge,
}

impl Counts {
    pub(crate) fn new() -> Self {
        let of = |via: &str| {
            ["decided", "unknown_track", "no_edge"]
                .map(|result| DECISIONS.counter(&[("via", via.into()), ("result", result.into())]))
        };
        Self { route: of("route"), play: of("play") }
    }

    fn count(&self, via: Via, result: Outcome) {
        let counters = match via {
            Via::Route => &self.route,
            Via::Play => &self.play,
        };
        counters[result as usize].increment(1);
    }
}

/// A decision, and what is needed to turn it into URLs.
struct Decided {
    decision: Decision,
    snapshot: Guard<Arc<Snapshot>>,
    track: Arc<Track>,
}

pub(super) async fn route(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let track = track_parameter(query.as_deref().unwrap_or_default())?;
    let net = ClientNet::of(listener_of(&app, peer, &headers));
    let decided = decide(&app, Question { track: &track, net, via: Via::Route }).await?;
    Ok(fresh_json(answer(app.signer.as_ref(), decided)))
}

pub(super) async fn play(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let track = parameter("track", path)?;
    let net = ClientNet::of(listener_of(&app, peer, &headers));
    let decided = decide(&app, Question { track: &track, net, via: Via::Play }).await?;
    let first = answer(app.signer.as_ref(), decided).candidates.into_iter().next();
    // A live track has one or the other, and a decision has a candidate.
    let url = first.and_then(|first| first.url.or(first.hls_url));
    let url = url.ok_or_else(|| Problem::internal(&"a decision led to no URL"))?;
    Ok((StatusCode::FOUND, [(header::LOCATION, url.as_str()), (header::CACHE_CONTROL, "no-store")]).into_response())
}

fn track_parameter(query: &str) -> Result<TrackId, FieldError> {
    let mut tracks = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "track");
    let (_, track) = tracks.next().ok_or_else(|| FieldError::new("track", "is required"))?;
    if tracks.next().is_some() {
        return Err(FieldError::new("track", "must be given once"));
    }
    // What decoding puts where there was no UTF-8; no id has it on purpose.
    if track.contains(char::REPLACEMENT_CHARACTER) {
        return Err(FieldError::new("track", "must be UTF-8 once percent-decoded"));
    }
    TrackId::new(track).map_err(|e| FieldError::new("track", e.to_string()))
}

async fn decide(app: &App, question: Question<'_>) -> Result<Decided, Problem> {
    let known = app.snapshots.current().tracks.get(question.track).cloned();
    let track = match known {
        Some(track) => track,
        None => look_up(app, question.track).await.ok_or_else(|| unknown_track(app, question.via))?,
    };
    let snapshot = app.snapshots.current();
    let decision = app.decider.decide(&snapshot, question, Instant::now());
    if decision.candidates.is_empty() {
        app.counts.count(question.via, Outcome::NoEdge);
        return Err(Problem::unavailable("no edge may get listeners at this moment", RETRY_AFTER_S));
    }
    app.counts.count(question.via, Outcome::Decided);
    put_down(app, &decision);
    Ok(Decided { decision, snapshot, track })
}

/// What is found is put into the snapshot: who was answered once is answered when PostgreSQL is gone.
/// Should the track have been withdrawn meanwhile, the refresh's overlap reads that again.
async fn look_up(app: &App, id: &TrackId) -> Option<Arc<Track>> {
    let track = app.missing.find(id).await?;
    app.snapshots.update(|snapshot| snapshot.tracks.apply((id.clone(), Some(track.clone()))));
    Some(track)
}

fn unknown_track(app: &App, via: Via) -> Problem {
    app.counts.count(via, Outcome::UnknownTrack);
    Problem::not_found("there is no live track of this id")
}

/// For whoever asks why: in memory for a while, in Kafka for good.
fn put_down(app: &App, decision: &Decision) {
    let json = serde_json::to_vec(decision).expect("a struct of texts and numbers serialises");
    // Boxed, it holds no more than its length, which is what memory is counted by.
    let json = Bytes::from(json.into_boxed_slice());
    app.recent.put(decision.decision_id, json.clone());
    app.log.put(decision.decision_id, json);
}

fn answer(signer: Option<&Signer>, decided: Decided) -> RouteAnswer {
    let Decided { decision, snapshot, track } = decided;
    let id = decision.decision_id;
    let candidates = decision.candidates.into_iter();
    // One token for all candidates: any of them may be played from.
    let signed = |key: &Option<ObjectKey>| {
        let key = key.clone()?;
        let token = signer.and_then(|signer| signer.token(&key, id, Timestamp::now()));
        Some((key, token))
    };
    let keys = Keys { progressive: signed(&track.progressive_key), hls: signed(&track.hls_key) };
    RouteAnswer {
        decision_id: id,
        policy: decision.policy,
        ttl_s: decision.ttl_s,
        candidates: candidates.filter_map(|inputs| for_player(&snapshot.fleet, &keys, id, inputs)).collect(),
        excluded: decision.excluded,
    }
}

/// What a track is played from, each with its token.
struct Keys {
    progressive: Option<(ObjectKey, Option<String>)>,
    hls: Option<(ObjectKey, Option<String>)>,
}

/// Always some: the candidate was chosen from this fleet.
fn for_player(fleet: &Fleet, keys: &Keys, id: wire::DecisionId, inputs: Candidate) -> Option<RouteCandidate> {
    let site = fleet.find(&inputs.edge)?;
    let url_of =
        |(key, token): &(ObjectKey, Option<String>)| media_url::object(&site.edge.url, key, id, token.as_deref());
    Some(RouteCandidate {
        url: keys.progressive.as_ref().map(url_of),
        hls_url: keys.hls.as_ref().map(url_of),
        probe_url: format!("{}/.tonearm/ping", site.edge.url),
        inputs,
    })
}
