//! An edge's operators' port, as far as the catalog sees it: a real listener that notes its orders.

use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::stage::{Stage, TOKEN};

/// What the edge makes of its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Obeys,
    /// Lets each order wait until its mood changes.
    Hangs,
    /// 503.
    Fails,
    /// 400.
    Refuses,
}

#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) path: String,
    pub(crate) keys: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Edge {
    orders: Arc<Mutex<Vec<Order>>>,
    mood: watch::Sender<Mood>,
}

impl Edge {
    /// An edge that is registered and listens.
    pub(crate) async fn new(stage: &Stage, name: &str, pop: &str, mood: Mood) -> Self {
        let edge = Self { orders: Arc::default(), mood: watch::Sender::new(mood) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        stage.edge_at(name, pop, &format!("http://{}", listener.local_addr().unwrap())).await;
        let routes = Router::new().fallback(take).with_state(edge.clone());
        tokio::spawn(async move { axum_serve(listener, routes).await });
        edge
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.lock().unwrap().clone()
    }

    /// The keys of all orders of this kind, in order, each once.
    pub(crate) fn keys(&self, path: &str) -> Vec<String> {
        let orders = self.orders().into_iter().filter(|order| order.path == path);
        let mut keys: Vec<String> = orders.flat_map(|order| order.keys).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

async fn axum_serve(listener: tokio::net::TcpListener, routes: Router) {
    let health = service::Health::new("edge");
    let http = service::config::HttpConfig::default();
    service::http::serve(listener, routes, http, health, service::Shutdown::new()).await;
}

async fn take(State(edge): State<Edge>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let shown = service::auth::bearer(request.headers()).map(ToOwned::to_owned);
    let body = service::limits::read_body(request.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let keys: Vec<String> = serde_json::from_value(body["keys"].clone()).unwrap();
    if shown.as_deref() != Some(TOKEN) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    edge.orders.lock().unwrap().push(Order { path, keys: keys.clone() });
    let mut mood = edge.mood.subscribe();
    let mood = *mood.wait_for(|mood| *mood != Mood::Hangs).await.unwrap();
    let result = |key: &String| json!({"key": key, "bytes": 100, "fetched": 100});
    match mood {
        Mood::Fails => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Refuses => (StatusCode::BAD_REQUEST, "no such key").into_response(),
        Mood::Obeys | Mood::Hangs => {
            Json(json!({"results": keys.iter().map(result).collect::<Vec<_>>()})).into_response()
        }
    }
}
