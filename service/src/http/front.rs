//! What answers some requests in the routes' place.

use std::net::SocketAddr;

use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;

use crate::Problem;

/// A path so hot that the routes' layers would be most of what a request costs. Its answers are bounded as those of the
/// routes are: a time, and a panic is answered.
pub trait Front: Send + Sync + 'static {
    /// Whether the request is not for the routes.
    fn takes(&self, request: &Request<Incoming>) -> bool;

    fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response> + Send;
}

/// All is for the routes.
impl Front for () {
    fn takes(&self, _: &Request<Incoming>) -> bool {
        false
    }

    async fn answer(&self, _: Request<Incoming>, _: SocketAddr) -> Response {
        Problem::not_found("there is nothing at this path").into_response()
    }
}
