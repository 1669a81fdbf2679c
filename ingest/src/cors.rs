//! What browsers are told: which pages may post, and may read the answer.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::idempotency;
use crate::keys::Keys;

/// For routes that a write key opens. A page whose origin the key does not allow gets no `Access-Control`
/// header, so its browser keeps the answer from it; a preflight shows no key, and is answered for any page.
///
/// Credentials are let through because `navigator.sendBeacon` always sends some; nothing here looks at a cookie.
pub(crate) fn layer(keys: Arc<Keys>) -> CorsLayer {
    let allows = move |_: &HeaderValue, request: &Parts| keys.allows_page(&request.uri, &request.headers);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allows))
        .allow_methods([Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
        .expose_headers([
            header::RETRY_AFTER,
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
            idempotency::REPLAYED,
        ])
        .max_age(Duration::from_secs(3600))
}
