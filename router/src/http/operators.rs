//! What operators do: register, change, drain and remove edges, and look decisions up.

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value};
use service::Problem;
use service::limits::whole_body;
use service::problem::fresh_json;
use wire::fleet::{Edge, EdgeState};
use wire::{DecisionId, EdgeId, FieldError};

use super::{App, parameter, unknown_edge};
use crate::fleet::{Site, store};

type OfPath = Result<Path<String>, PathRejection>;

/// 200 with the edge as it is now known.
pub(super) async fn put_edge(
    State(app): State<Arc<App>>,
    path: OfPath,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let edge = parse_edge(&parameter("id", path)?, &whole_body(body)?)?;
    store::put(&app.pool, &edge).await.map_err(|e| away(&e))?;
    app.refresher.fleet().await;
    Ok(fresh_json(edge))
}

/// 204.
pub(super) async fn delete_edge(State(app): State<Arc<App>>, path: OfPath) -> Result<Response, Problem> {
    let id: EdgeId = parameter("id", path)?;
    if !store::delete(&app.pool, &id).await.map_err(|e| away(&e))? {
        return Err(unknown_edge(&id));
    }
    app.refresher.fleet().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// As [`set_state`], to `drain`.
pub(super) async fn drain(State(app): State<Arc<App>>, path: OfPath) -> Result<Response, Problem> {
    set_state(&app, path, EdgeState::Drain).await
}

/// As [`set_state`], to `active`.
pub(super) async fn undrain(State(app): State<Arc<App>>, path: OfPath) -> Result<Response, Problem> {
    set_state(&app, path, EdgeState::Active).await
}

/// 200 with the edge's id and state.
async fn set_state(app: &App, path: OfPath, state: EdgeState) -> Result<Response, Problem> {
    let id: EdgeId = parameter("id", path)?;
    if !store::set_state(&app.pool, &id, state).await.map_err(|e| away(&e))? {
        return Err(unknown_edge(&id));
    }
    app.refresher.fleet().await;
    Ok(fresh_json(serde_json::json!({ "edge_id": id, "state": state })))
}

/// The path names the edge; a body that names another is a mistake that would else be stored.
fn parse_edge(id: &EdgeId, body: &[u8]) -> Result<Edge, FieldError> {
    let mut fields: Map<String, Value> = wire::field::parse(body)?;
    if fields.get("edge_id").is_some_and(|named| named != id.as_str()) {
        return Err(FieldError::new("edge_id", format!("must be {id}, as in the path, or left out")));
    }
    fields.insert("edge_id".into(), id.as_str().into());
    let edge: Edge = wire::field::parse(Value::from(fields).to_string().as_bytes())?;
    Site::new(edge.clone())?;
    Ok(edge)
}

fn away(error: &sqlx::Error) -> Problem {
    tracing::warn!(%error, "an operator's change was not stored");
    Problem::unavailable("PostgreSQL did not take the change; nothing was changed", 5)
}

/// 200 with the whole decision.
pub(super) async fn decision(State(app): State<Arc<App>>, path: OfPath) -> Result<Response, Problem> {
    let id: DecisionId = parameter("id", path)?;
    if let Some(json) = app.recent.get(id) {
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        return Ok((headers, json).into_response());
    }
    let found = app.archive.find(id).await.map_err(|error| {
        tracing::warn!(error = format!("{error:#}"), "cannot look a decision up in ClickHouse");
        Problem::unavailable("the decision is not in memory, and ClickHouse does not answer", 5)
    })?;
    found.map(fresh_json).ok_or_else(|| Problem::not_found("neither memory nor ClickHouse has this decision"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        parse_edge(&EdgeId::new("fra-1").unwrap(), json.as_bytes()).unwrap_err().field
    }

    #[test]
    fn what_is_wrong_with_an_edge_is_named() {
        let with = |field: &str, value: &str| {
            let mut edge = serde_json::json!({
                "pop": "fra", "url": "http://a", "admin_url": "http://a:1", "capacity_bps": 1_000_000_000u64,
            });
            edge[field] = serde_json::from_str(value).unwrap();
            edge.to_string()
        };
        assert_eq!(refused("[]"), ".");
        assert_eq!(refused("{}"), "pop");
        for (field, value) in [
            ("edge_id", "\"fra-2\""),
            ("pop", "\"FRA\""),
            ("url", "\"http://\""),
            ("url", "\"ftp://a\""),
            ("admin_url", "\"http://a:1/\""),
            ("capacity_bps", "0"),
            ("capacity_bps", "1e30"),
            ("icmp_host", "\"localhost\""),
            ("state", "\"gone\""),
        ] {
            assert_eq!(refused(&with(field, value)), field, "{value}");
        }
        let place = r#"{"city":"a\u0000b","country":"DE","latitude":50.1,"longitude":8.7}"#;
        assert_eq!(refused(&with("place", place)), "place.city");
    }
}
