//! A listener in the place of ingest or a router: keeps what it is sent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use tokio::net::TcpListener;

#[derive(Clone, Default)]
pub(crate) struct Catcher {
    pub(crate) url: String,
    state: Arc<Mutex<Caught>>,
}

#[derive(Default)]
struct Caught {
    bodies: Vec<serde_json::Value>,
    /// How many of the next requests fail.
    failures: usize,
}

impl Catcher {
    pub(crate) async fn start(path: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let catcher = Self { url: format!("http://{}", listener.local_addr().unwrap()), ..Self::default() };
        let routes = Router::new().route(path, axum::routing::post(catch)).with_state(catcher.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        catcher
    }

    pub(crate) fn caught<T: serde::de::DeserializeOwned>(&self) -> Vec<T> {
        let state = self.state.lock().unwrap();
        state.bodies.iter().map(|body| serde_json::from_value(body.clone()).unwrap()).collect()
    }

    pub(crate) fn fail_next(&self, failures: usize) {
        self.state.lock().unwrap().failures = failures;
    }
}

async fn catch(State(catcher): State<Catcher>, request: Request) -> StatusCode {
    let token = format!("Bearer {}", crate::stage::TOKEN);
    assert_eq!(request.headers()["authorization"], token.as_str());
    let body = axum::body::to_bytes(request.into_body(), 10 << 20).await.unwrap();
    let mut state = catcher.state.lock().unwrap();
    state.bodies.push(serde_json::from_slice(&body).unwrap());
    if state.failures > 0 {
        state.failures -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    StatusCode::ACCEPTED
}
