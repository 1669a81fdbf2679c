//! `POST /v1/events` of players that are no pages, answered before the routes are asked: the routes' layers cost more
//! than all the rest of a single event. Pages need what those layers say to browsers ([`crate::cors`]).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{Method, Request, header};
use service::http::{Front, Incoming};

use crate::server::{EVENTS, Ingest};

pub(crate) struct Direct(pub(crate) Arc<Ingest>);

impl Front for Direct {
    fn takes(&self, request: &Request<Incoming>) -> bool {
        let is_page = || request.headers().contains_key(header::ORIGIN);
        request.uri().path() == EVENTS && request.method() == Method::POST && !is_page()
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response {
        let (head, body) = request.into_parts();
        self.0.post_events(peer.ip(), head.uri, head.headers, body).await.into_response()
    }
}
