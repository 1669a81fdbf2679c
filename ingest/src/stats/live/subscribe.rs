//! A request for the live figures: who may have them, which of them, and over what.

use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Utf8Bytes, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use http::StatusCode;
use service::Problem;
use service::http::Place;
use tokio::sync::OwnedSemaphorePermit;

use super::{Filter, Live, Look, event_stream, socket};
use crate::stats::access::Pass;
use crate::stats::metrics;

/// One who gets every new picture.
pub(super) struct Subscriber {
    look: Look,
    filter: Filter,
    pass: Pass,
    shutdown: service::Shutdown,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

/// Why a stream ends that its client did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stopping,
    Revoked,
}

impl End {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "the server is stopping",
            Self::Revoked => "the token was revoked",
        }
    }
}

impl Subscriber {
    /// The newest figures that this one has not had, once there are any.
    ///
    /// # Errors
    /// When the stream is to end.
    pub(super) async fn next(&mut self) -> Result<Utf8Bytes, End> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Err(End::Stopping),
            changed = self.look.pictures.changed() => changed.map_err(|_| End::Stopping)?,
        }
        if self.pass.is_revoked() {
            return Err(End::Revoked);
        }
        let picture = self.look.pictures.borrow_and_update().clone();
        Ok(picture.message(&self.filter))
    }
}

/// Answers with a stream of pictures: a WebSocket where the request asks for one, else an event stream.
///
/// # Errors
/// 400 for what is no WebSocket's handshake and yet asks for one, 406 where neither is wanted, 503 where as many subscribers as may be are connected.
pub(crate) fn subscribe(
    live: &Arc<Live>,
    pass: Pass,
    filter: Filter,
    headers: &HeaderMap,
    place: Place,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = wanted(headers, upgrade)?;
    let full = || Problem::unavailable("as many subscribers as this process takes are connected", 10);
    let taken = live.places.clone().try_acquire_owned().map_err(|_| full())?;
    let over = if upgrade.is_some() { "websocket" } else { "event_stream" };
    let (look, shutdown, _counted) = (live.look(), live.shutdown.clone(), Counted::new(over));
    let subscriber = Subscriber { look, filter, pass, shutdown, _place: taken, _counted };
    Ok(match upgrade {
        Some(upgrade) => socket::serve(upgrade, subscriber, place),
        None => event_stream::serve(subscriber),
    })
}

/// The WebSocket where one is asked for; none for an event stream.
fn wanted(
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Option<WebSocketUpgrade>, Problem> {
    match upgrade {
        Ok(upgrade) => Ok(Some(upgrade)),
        Err(rejection) if headers.contains_key(header::UPGRADE) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "bad-upgrade", rejection.body_text()))
        }
        Err(_) if takes_event_stream(headers) => Ok(None),
        Err(_) => {
            let detail = "the figures come as a WebSocket (Upgrade: websocket) or as text/event-stream";
            Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail))
        }
    }
}

/// Without an `Accept` header anything is welcome.
fn takes_event_stream(headers: &HeaderMap) -> bool {
    let Some(accept) = headers.get(header::ACCEPT) else { return true };
    let accept = accept.to_str().unwrap_or_default().to_ascii_lowercase();
    let ranges = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    ranges.into_iter().any(|range| matches!(range, "text/event-stream" | "text/*" | "*/*"))
}

/// Counts a subscriber for as long as it is connected.
struct Counted(&'static str);

impl Counted {
    fn new(over: &'static str) -> Self {
        metrics::SUBSCRIBERS.gauge(&[("over", over.to_owned())]).increment(1.0);
        Self(over)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::SUBSCRIBERS.gauge(&[("over", self.0.to_owned())]).decrement(1.0);
    }
}
