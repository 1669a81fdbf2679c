//! What a specification must be beyond its types: what PostgreSQL and Kafka can hold, each key once.

use std::collections::HashSet;

use wire::field::parse;
use wire::track::{PublishOrder, TrackSpec};
use wire::{FieldError, PopId};

/// A track's event names all of its objects in one Kafka message, which brokers take up to 1 MB;
/// the rest is room for the event's other fields.
const MAX_OBJECTS_JSON: usize = 850_000;
/// POPs that one publication may name; 1,024 names of 63 bytes stay far below what the message has left.
const MAX_POPS: usize = 1_024;
/// RFC 6381 codecs and media types are far shorter.
const MAX_NAME: usize = 255;

/// Reads the body of a registration, its lists in the order of their keys, so that the same track is
/// the same value however it was sent.
///
/// # Errors
/// [`FieldError`] naming the field as it was sent.
pub(crate) fn read_spec(body: &[u8]) -> Result<TrackSpec, FieldError> {
    let mut spec: TrackSpec = parse(body)?;
    spec.check()?;
    check_renditions(&spec)?;
    check_objects(&spec)?;
    spec.renditions.sort_by(|a, b| a.key.cmp(&b.key));
    spec.objects.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(spec)
}

fn check_renditions(spec: &TrackSpec) -> Result<(), FieldError> {
    let mut keys = HashSet::new();
    for (i, rendition) in spec.renditions.iter().enumerate() {
        let field = |name: &str| format!("renditions[{i}].{name}");
        if !keys.insert(&rendition.key) {
            return Err(FieldError::new(field("key"), "stands twice"));
        }
        check_name(field("codec"), &rendition.codec)?;
        if !(1..=wire::event::MAX_BITRATE_KBPS).contains(&rendition.bitrate_kbps) {
            let detail = format!("must be between 1 and {}", wire::event::MAX_BITRATE_KBPS);
            return Err(FieldError::new(field("bitrate_kbps"), detail));
        }
    }
    Ok(())
}

fn check_objects(spec: &TrackSpec) -> Result<(), FieldError> {
    let mut keys = HashSet::new();
    for (i, object) in spec.objects.iter().enumerate() {
        let field = |name: &str| format!("objects[{i}].{name}");
        if !keys.insert(&object.key) {
            return Err(FieldError::new(field("key"), "stands twice"));
        }
        check_name(field("content_type"), &object.content_type)?;
        if i64::try_from(object.bytes).is_err() {
            return Err(FieldError::new(field("bytes"), "must be below 2^63"));
        }
    }
    let json = serde_json::to_vec(&spec.objects).expect("texts and numbers serialise");
    if json.len() > MAX_OBJECTS_JSON {
        let detail = format!("are {} bytes of JSON, more than the {MAX_OBJECTS_JSON} that an event holds", json.len());
        return Err(FieldError::new("objects", detail));
    }
    Ok(())
}

fn check_name(field: String, text: &str) -> Result<(), FieldError> {
    if (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(FieldError::new(field, format!("must be 1 to {MAX_NAME} bytes with no control character")))
}

/// Reads the body of a publication, as it was sent; no body means all POPs.
///
/// # Errors
/// [`FieldError`] naming the field.
pub(crate) fn read_order(body: &[u8]) -> Result<PublishOrder, FieldError> {
    if body.trim_ascii().is_empty() {
        return Ok(PublishOrder::default());
    }
    let order: PublishOrder = parse(body)?;
    if order.pops.len() > MAX_POPS {
        return Err(FieldError::new("pops", format!("must have at most {MAX_POPS} elements")));
    }
    Ok(order)
}

/// The POPs of an order, each once and in order, so that two orders can be compared.
#[must_use]
pub(crate) fn distinct(mut pops: Vec<PopId>) -> Vec<PopId> {
    pops.sort();
    pops.dedup();
    pops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_lists_does_not_matter() {
        let spec = |objects: &str| {
            let json = format!(
                r#"{{"title":"t","artist":"a","duration_ms":1,"objects":[{objects}],
                    "renditions":[{{"kind":"progressive","key":"b","codec":"opus","bitrate_kbps":96}}]}}"#
            );
            read_spec(json.as_bytes()).unwrap()
        };
        let (a, b) = (r#"{"key":"a","bytes":1,"content_type":"x"}"#, r#"{"key":"b","bytes":2,"content_type":"x"}"#);
        assert_eq!(spec(&format!("{a},{b}")), spec(&format!("{b},{a}")));
    }

    #[test]
    fn an_order_needs_no_body() {
        assert_eq!(read_order(b" \n").unwrap(), PublishOrder::default());
        assert_eq!(read_order(b"[]").unwrap_err().field, ".");
        assert_eq!(read_order(br#"{"pops":["fra","FRA"]}"#).unwrap_err().field, "pops[1]");
    }
}
