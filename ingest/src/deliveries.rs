//! Edges' delivery records: `POST /v1/deliveries`, for who shows the admin token.
//!
//! An edge keeps a batch until every record of it was accepted or refused for good, and sends again what
//! was not; `delivery_id` is made once by the edge, so what arrives twice counts once.

use wire::FieldError;
use wire::delivery::Delivery;

use crate::accept::Refusal;
use crate::message::Written;

/// Keys of CMCD that a record may have: twice what version 2 names for requests.
const MAX_CMCD: usize = 64;

/// One record as posted becomes the message that Kafka gets.
pub(crate) fn delivery(element: &[u8]) -> Result<Written, Refusal> {
    let parsed = wire::field::parse(element).and_then(check);
    let delivery = parsed.map_err(|error| Refusal::bad_field(error, element))?;
    Ok(Written::new(delivery.delivery_id, delivery.edge_id.as_str(), &delivery))
}

/// What types alone do not refuse.
fn check(delivery: Delivery) -> Result<Delivery, FieldError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !(1..=32).contains(&delivery.method.len()) || !delivery.method.bytes().all(token) {
        return Err(FieldError::new("method", "must be an HTTP method of 1 to 32 characters"));
    }
    if !(100..=599).contains(&delivery.status) {
        return Err(FieldError::new("status", format!("must be between 100 and 599, not {}", delivery.status)));
    }
    if delivery.client_net.len() > 64 || delivery.client_net.chars().any(char::is_control) {
        return Err(FieldError::new("client_net", "must be at most 64 bytes with no control character"));
    }
    if delivery.cmcd.len() > MAX_CMCD || delivery.cmcd.iter().any(|(key, value)| key.len() > 64 || value.len() > 256) {
        return Err(FieldError::new(
            "cmcd",
            format!("must be at most {MAX_CMCD} keys of 64 bytes with 256 bytes each"),
        ));
    }
    Ok(delivery)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(field: &str, value: &str) -> Result<Written, Refusal> {
        let mut record = serde_json::json!({
            "delivery_id": "01935b0e-0000-7000-8000-000000000001", "edge_id": "fra-1", "pop": "fra", "key": "t/1.m4s",
            "method": "GET", "status": 206, "cache_status": "hit", "range_start": 0, "bytes_sent": 10, "ttfb_us": 1,
            "duration_us": 2, "complete": true, "started_at": 1, "client_net": "192.0.2.0/24"
        });
        record[field] = serde_json::from_str(value).unwrap();
        delivery(record.to_string().as_bytes())
    }

    #[test]
    fn the_key_is_the_edge() {
        assert_eq!(with("status", "200").unwrap().key, "fra-1");
    }

    #[test]
    fn what_no_edge_sends_is_refused_by_its_field() {
        let long = format!("{:?}", "x".repeat(65));
        for (field, value) in [
            ("method", "\"\""),
            ("method", "\"GE T\""),
            ("status", "99"),
            ("status", "70000"),
            ("client_net", &long),
            ("bytes_sent", "-1"),
            ("key", "\"../etc\""),
            ("cache_status", "\"warm\""),
            ("tcp_rtt_us", "-1"),
            ("cmcd", &format!("{{\"sid\":\"{}\"}}", "x".repeat(257))),
        ] {
            let refused = with(field, value).unwrap_err();
            assert_eq!(refused.field.as_deref(), Some(field), "{value}");
            assert_eq!(refused.id.as_deref(), Some("01935b0e-0000-7000-8000-000000000001"));
        }
    }
}
