//! What a gateway changes in the heads that it passes on (RFC 9110, section 7.6), and nothing beyond it.
//!
//! Towards the origin: fields of the one connection are left out, `Via` names us, `Host` is the origin's
//! unless the client's is to be kept, and `X-Forwarded-For` (appended), `X-Forwarded-Host` and
//! `X-Forwarded-Proto` (replaced) tell what the client saw. Other fields by which some servers let a
//! request pretend to another address are left out of reads: they are no part of the key, and an answer
//! shaped by them would reach everybody else.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::key::KeyRef;
use crate::seal::EDGE;
use crate::vary::Selectors;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const OF_THE_CONNECTION: [HeaderName; 6] =
    [header::CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, header::TE, header::TRANSFER_ENCODING, header::UPGRADE];

/// By these, servers take a request for one of another address or method.
const PRETENCES: [&str; 22] = [
    "cf-connecting-ip",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-url-scheme",
];

/// Who passes a message on, and how.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Our name in `Via`.
    pub name: String,
    /// And in `CDN-Loop`.
    pub cdn_id: String,
    /// None keeps the client's.
    pub host: Option<HeaderValue>,
}

impl Gateway {
    /// The head of a client's request as the origin gets it.
    #[must_use]
    pub fn upstream(
        &self,
        request: &HeaderMap,
        key: &KeyRef<'_>,
        client: IpAddr,
        version: Version,
        read: bool,
    ) -> HeaderMap {
        let mut headers = request.clone();
        let trailers = accepts_trailers(request);
        end_to_end(&mut headers);
        // Between edges, and no origin's affair.
        headers.remove(EDGE);
        if version == Version::HTTP_2 {
            one_cookie(&mut headers);
        }
        if read {
            PRETENCES.iter().for_each(|name| drop(headers.remove(*name)));
            without_doubles(&mut headers);
        }
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
        }
        let via: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        let clients = via.into_iter().map(str::to_owned).chain([client.to_canonical().to_string()]).collect::<Vec<_>>();
        insert_text(&mut headers, X_FORWARDED_FOR, &clients.join(", "));
        self.address(&mut headers, key);
        self.via(&mut headers, version);
        headers
    }

    /// The head of a request of our own about an answer that is held.
    #[must_use]
    pub fn own(&self, key: &KeyRef<'_>, selectors: &Selectors) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in selectors {
            if let (Ok(name), Some(Ok(value))) = (name.parse::<HeaderName>(), value.as_ref().map(|value| value.parse()))
            {
                headers.insert(name, value);
            }
        }
        self.address(&mut headers, key);
        self.via(&mut headers, Version::HTTP_11);
        headers
    }

    fn address(&self, headers: &mut HeaderMap, key: &KeyRef<'_>) {
        insert_text(headers, X_FORWARDED_HOST, key.host);
        insert_text(headers, X_FORWARDED_PROTO, if key.https { "https" } else { "http" });
        match &self.host {
            Some(host) => drop(headers.insert(header::HOST, host.clone())),
            None => insert_text(headers, header::HOST, key.host),
        }
    }

    /// The head of an answer as the client gets it.
    pub fn downstream(&self, headers: &mut HeaderMap) {
        end_to_end(headers);
        self.via(headers, Version::HTTP_11);
    }

    fn via(&self, headers: &mut HeaderMap, version: Version) {
        let version = match version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        if let Ok(value) = HeaderValue::try_from(format!("{version} {}", self.name)) {
            headers.append(header::VIA, value);
        }
    }
}

/// What [`Gateway::upstream`] of another edge has written of its client.
#[must_use]
pub fn was_https(headers: &HeaderMap) -> bool {
    headers.get(X_FORWARDED_PROTO).is_some_and(|scheme| scheme == "https")
}

/// Whether a body is coded for the connection in a way that is not ours to undo, or twice (RFC 9112, section 6.1).
#[must_use]
pub fn has_foreign_coding(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = codings.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let mut codings = codings.filter(|coding| !coding.is_empty());
    let is_chunked = codings.next().is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    !is_chunked || codings.next().is_some()
}

/// Leaves out what is for the connection that a message came by.
pub(crate) fn end_to_end(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("").split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // What frames the body is not for a peer to take away.
    let framing = [header::CONTENT_LENGTH, header::HOST];
    for name in named.iter().filter(|name| !framing.contains(name)).chain(&OF_THE_CONNECTION) {
        headers.remove(name);
    }
}

/// Where names become variables, as with CGI, `X_Host` is `X-Host`.
fn without_doubles(headers: &mut HeaderMap) {
    let ours = [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO];
    let is_double = |name: &str| {
        let dashed = name.replace('_', "-");
        PRETENCES.contains(&dashed.as_str()) || ours.iter().any(|own| *own == *dashed)
    };
    let doubles = headers.keys().filter(|name| name.as_str().contains('_') && is_double(name.as_str()));
    for name in doubles.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// HTTP/2 may cut a cookie into several fields; HTTP/1 has one (RFC 9113, section 8.2.3).
fn one_cookie(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, whole);
    }
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(pairs: &[(&'static str, &str)], host: Option<HeaderValue>, read: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let gateway = Gateway { name: "e-1".into(), cdn_id: "e-1".into(), host };
        let key = KeyRef { https: true, host: "music.example", target: "/a" };
        gateway.upstream(&headers, &key, IpAddr::from([192, 0, 2, 7]), Version::HTTP_11, read)
    }

    #[test]
    fn rfc9110_7_6_1_connection() {
        let headers = upstream(
            &[
                ("connection", "close, X-Own"),
                ("connection", "y-own"),
                ("x-own", "1"),
                ("y-own", "1"),
                ("te", "gzip"),
                ("upgrade", "h2c"),
                ("keep-alive", "1"),
                ("proxy-connection", "x"),
                ("transfer-encoding", "chunked"),
                ("z", "1"),
            ],
            None,
            true,
        );
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "z"]);
        let kept = upstream(&[("connection", "content-length, host"), ("content-length", "5")], None, true);
        assert_eq!(
            (&kept["content-length"], &kept["host"]),
            (&"5".parse().unwrap(), &"music.example".parse().unwrap())
        );
    }

    #[test]
    fn rfc9110_10_1_4_te_trailers_is_asked_anew() {
        let headers = upstream(&[("te", "trailers, deflate;q=0.5"), ("connection", "te")], None, true);
        assert_eq!((&headers["te"], &headers["connection"]), (&"trailers".parse().unwrap(), &"TE".parse().unwrap()));
    }

    #[test]
    fn rfc9110_7_6_3_via_and_where_it_came_from() {
        let headers = upstream(
            &[
                ("via", "1.0 other"),
                ("x-forwarded-for", "198.51.100.1"),
                ("x-forwarded-host", "evil"),
                ("x-original-url", "/b"),
                ("x_forwarded_host", "evil"),
                ("x_original-url", "/b"),
                ("x_mine", "kept"),
                ("x-forwarded-proto", "gopher"),
            ],
            Some(HeaderValue::from_static("origin:81")),
            true,
        );
        let via: Vec<_> = headers.get_all("via").iter().collect();
        assert_eq!(via, ["1.0 other", "1.1 e-1"]);
        for (name, value) in [
            ("x-forwarded-for", "198.51.100.1, 192.0.2.7"),
            ("x-forwarded-host", "music.example"),
            ("x-forwarded-proto", "https"),
            ("host", "origin:81"),
        ] {
            assert_eq!(headers[name], value);
        }
        for gone in ["x-original-url", "x_forwarded_host", "x_original-url"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert!(headers.contains_key("x_mine"));
        assert!(upstream(&[("x-http-method-override", "PUT")], None, false).contains_key("x-http-method-override"));
    }
}
