//! A listener in the place of ingest or a router: keeps what it is sent.

use std::collections::VecDeque;
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
    /// Those that were accepted.
    taken: Vec<serde_json::Value>,
    /// What the next requests are answered.
    answers: VecDeque<(u16, &'static str)>,
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

    pub(crate) fn taken<T: serde::de::DeserializeOwned>(&self) -> Vec<T> {
        let state = self.state.lock().unwrap();
        state.taken.iter().map(|body| serde_json::from_value(body.clone()).unwrap()).collect()
    }

    pub(crate) fn fail_next(&self, failures: usize) {
        self.answer_next(&vec![(503, ""); failures]);
    }

    pub(crate) fn answer_next(&self, answers: &[(u16, &'static str)]) {
        self.state.lock().unwrap().answers.extend(answers);
    }
}

async fn catch(State(catcher): State<Catcher>, request: Request) -> (StatusCode, String) {
    let token = format!("Bearer {}", crate::stage::TOKEN);
    assert_eq!(request.headers()["authorization"], token.as_str());
    let body = axum::body::to_bytes(request.into_body(), 10 << 20).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let accepted = body["deliveries"].as_array().map_or(0, Vec::len);
    let mut state = catcher.state.lock().unwrap();
    state.bodies.push(body.clone());
    match state.answers.pop_front() {
        Some((status, words)) => (StatusCode::from_u16(status).unwrap(), words.to_owned()),
        None => {
            state.taken.push(body);
            (StatusCode::ACCEPTED, format!(r#"{{"accepted":{accepted},"errors":[]}}"#))
        }
    }
}
