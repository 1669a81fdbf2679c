//! The live figures once: `GET /v1/stats/now`.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header;
use service::Problem;
use wire::Timestamp;
use wire::live::LiveState;

use super::{Filter, Live};
use crate::stats::answer;

/// # Errors
/// 503 when Kafka has been away since somebody first looked.
pub(crate) async fn now(live: &Arc<Live>, filter: &Filter) -> Result<Response, Problem> {
    let picture = live.look().picture().await;
    if picture.is_nothing() {
        return Err(Problem::unavailable("Kafka is away, and nothing is known of who listens", 2));
    }
    let as_of = picture.at();
    let stale = picture.state() != LiveState::Live;
    let data =
        serde_json::to_vec(&picture.stats(filter)).expect("wire payloads are structs of texts, numbers and lists");
    let age = Timestamp::now().millis_since(as_of).max(0) / 1000;
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CACHE_CONTROL, "private, max-age=1".to_owned()),
        (header::AGE, age.to_string()),
    ];
    Ok((headers, answer::body(as_of, stale, &data)).into_response())
}
