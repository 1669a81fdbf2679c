//! What the server side tells players (CMSD, CTA-5006): `CMSD-Static` with an object, `CMSD-Dynamic` with an answer.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use wire::EdgeId;

use crate::server::tcp::TcpInfo;

pub const STATIC: HeaderName = HeaderName::from_static("cmsd-static");
pub const DYNAMIC: HeaderName = HeaderName::from_static("cmsd-dynamic");

/// Says what kind of object it is (`ot`), as far as its type tells and nobody before us has said more.
pub fn describe(headers: &mut HeaderMap) {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|told| object_type(told.to_str().ok()?));
    if let (Some(kind), false) = (kind, headers.contains_key(STATIC)) {
        headers.insert(STATIC, HeaderValue::from_static(kind));
    }
}

fn object_type(content_type: &str) -> Option<&'static str> {
    let essence = content_type.split(';').next()?.trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/vnd.apple.mpegurl" | "application/x-mpegurl" | "audio/mpegurl" | "audio/x-mpegurl" => Some("ot=m"),
        "application/dash+xml" => Some("ot=m"),
        "text/vtt" | "application/ttml+xml" => Some("ot=c"),
        other if other.starts_with("audio/") => Some("ot=a"),
        other if other.starts_with("video/") => Some("ot=v"),
        _ => None,
    }
}

/// Our member, which goes behind those of servers before us: what TCP delivers to this client, in kbit/s (`etp`),
/// and the round trip to it, in ms (`rtt`).
#[must_use]
pub fn dynamic(edge: &EdgeId, tcp: &TcpInfo) -> String {
    // No number of a structured field is larger (RFC 9651, section 3.3.1).
    let kbps = (tcp.delivery_rate.saturating_mul(8) / 1000).min(999_999_999_999_999);
    let etp = if kbps > 0 { format!(";etp={kbps}") } else { String::new() };
    let rtt = tcp.rtt_us.div_ceil(1000);
    format!("\"{edge}\"{etp};rtt={rtt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(headers: &[(HeaderName, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::from_iter(headers.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v))));
        describe(&mut headers);
        headers.get(STATIC).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn types_say_what_an_object_is_unless_the_origin_did() {
        let of = |told| described(&[(header::CONTENT_TYPE, told)]);
        assert_eq!((of("audio/mp4").as_deref(), of("AUDIO/mpegurl; x=y").as_deref()), (Some("ot=a"), Some("ot=m")));
        assert_eq!(of("application/octet-stream"), None);
        assert_eq!(described(&[(header::CONTENT_TYPE, "audio/mp4"), (STATIC, "ot=i")]).as_deref(), Some("ot=i"));
    }

    #[test]
    fn an_answer_says_what_tcp_delivers() {
        let edge = EdgeId::new("fra-1").unwrap();
        let told = |rtt_us, delivery_rate| dynamic(&edge, &TcpInfo { rtt_us, retransmits: 0, delivery_rate });
        assert_eq!(told(18_250, 1_250_000), "\"fra-1\";etp=10000;rtt=19");
        assert_eq!(told(90, 0), "\"fra-1\";rtt=1");
    }
}
