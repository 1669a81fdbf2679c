//! The live figures as server-sent events.
//!
//! The stream gives hyper a picture when hyper has room for one: a client that reads slowly gets fewer of
//! them, and one that takes nothing is let go by the listener's own write timeout.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header;

use super::subscribe::{End, Subscriber};

/// How long a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);

pub(super) fn serve(subscriber: Subscriber) -> Response {
    let events = stream::unfold(Some(subscriber), |subscriber| async {
        let mut subscriber = subscriber?;
        let (event, rest) = match subscriber.next().await {
            Ok(message) => (figures(&message), Some(subscriber)),
            Err(end) => (last(end), None),
        };
        Some((Ok::<_, Infallible>(event), rest))
    });
    // Some proxies gather what streams unless they are told not to.
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, Sse::new(events)).into_response()
}

fn figures(message: &str) -> Event {
    Event::default().event("stats").retry(RETRY).data(message)
}

/// Tells the client that the end is meant; after a stop it may connect again, to another process.
fn last(end: End) -> Event {
    Event::default().event("end").data(format!(r#"{{"reason":"{}"}}"#, end.as_str()))
}
