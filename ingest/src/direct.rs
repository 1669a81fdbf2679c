//! `POST /v1/events` of players that are no pages, answered before the routes are asked: the routes' layers cost more
//! than all the rest of a single event. Small ones are not even read by hyper. Pages need what those layers say to
//! browsers ([`crate::cors`]).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, Request, header};
use service::http::Front;
use service::http::head::Posts;

use crate::server::{EVENTS, Ingest};

/// Some thirty events. What is larger is little per event to hyper, and much to a connection.
const SMALL: usize = 16 << 10;

pub(crate) const POSTS: Posts = Posts { to: EVENTS, most: SMALL };

pub(crate) struct Direct(pub(crate) Arc<Ingest>);

impl Front for Direct {
    fn posts(&self) -> Option<Posts> {
        Some(POSTS)
    }

    fn takes<B>(&self, request: &Request<B>) -> bool {
        let is_page = || request.headers().contains_key(header::ORIGIN);
        request.uri().path() == EVENTS && request.method() == Method::POST && !is_page()
    }

    async fn answer<B>(&self, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: HttpBody<Data = Bytes> + Unpin + Send,
        B::Error: Into<axum::BoxError>,
    {
        let (head, body) = request.into_parts();
        self.0.post_events(peer.ip(), head.uri, head.headers, body).await.into_response()
    }
}
