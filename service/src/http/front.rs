//! What answers some requests in the routes' place.

use std::net::SocketAddr;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Body;
use hyper::Request;

use super::head::Posts;
use crate::Problem;

/// A path so hot that the routes' layers would be most of what a request costs, and hyper a good part of the rest. Its
/// answers are bounded as those of the routes are: a time, and a panic is answered.
pub trait Front: Send + Sync + 'static {
    /// The requests that are read without hyper.
    fn posts(&self) -> Option<Posts>;

    /// Whether a request is not for the routes; those of [`Front::posts`] are not.
    fn takes<B>(&self, request: &Request<B>) -> bool;

    /// Answers tell their length: none goes on while it is sent.
    fn answer<B>(&self, request: Request<B>, peer: SocketAddr) -> impl Future<Output = Response> + Send
    where
        B: Body<Data = Bytes> + Unpin + Send,
        B::Error: Into<axum::BoxError>;
}

/// All is for the routes.
impl Front for () {
    fn posts(&self) -> Option<Posts> {
        None
    }

    fn takes<B>(&self, _: &Request<B>) -> bool {
        false
    }

    async fn answer<B: Send>(&self, _: Request<B>, _: SocketAddr) -> Response {
        Problem::not_found("there is nothing at this path").into_response()
    }
}
