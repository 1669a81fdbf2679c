//! Who may ask: operators and our own processes by one token. Compared in constant time.

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use crate::Problem;
use crate::config::{AuthConfig, Secret};

/// Whether two secrets are the same, in a time that tells nothing but their lengths.
#[must_use]
pub fn same_secret(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// The credential of `Authorization: Bearer …`, where there is one.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

/// What operators, edges and the catalog show.
#[derive(Debug, Clone)]
pub struct AdminToken(Secret);

impl AdminToken {
    #[must_use]
    pub fn new(config: &AuthConfig) -> Self {
        Self(config.admin_token.clone())
    }

    /// # Errors
    /// A 401 problem unless the request shows the token.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match bearer(headers) {
            Some(token) if same_secret(token, self.0.expose()) => Ok(()),
            Some(_) => Err(Problem::unauthorized("the admin token is wrong")),
            None => Err(Problem::unauthorized("an admin token is needed, as Authorization: Bearer TOKEN")),
        }
    }

    /// The header value for requests to another of our processes.
    #[must_use]
    pub fn header_value(&self) -> String {
        format!("Bearer {}", self.0.expose())
    }
}

/// axum middleware: lets through who shows the admin token.
///
/// # Errors
/// A 401 problem.
pub async fn require_admin(
    axum::extract::State(token): axum::extract::State<AdminToken>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Result<axum::response::Response, Problem> {
    token.check(request.headers())?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let token = AdminToken(Secret::new("0123456789abcdef"));
        let check = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            token.check(&headers).is_ok()
        };
        assert!(check(Some("Bearer 0123456789abcdef")) && check(Some("bearer 0123456789abcdef")));
        for bad in [None, Some(""), Some("Bearer"), Some("Bearer 0123456789abcdeF"), Some("Basic 0123456789abcdef")] {
            assert!(!check(bad), "{bad:?}");
        }
    }
}
