//! What a player says of itself with a request (CMCD, CTA-5004): in four headers, or in the query.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

/// The headers in which it comes.
const HEADERS: [&str; 4] = ["cmcd-request", "cmcd-object", "cmcd-status", "cmcd-session"];
/// Longer ones are cut out of the record whole; players send a few hundred bytes.
const MOST: usize = 2048;
/// Keys of a record, and bytes of a value.
const KEYS: usize = 32;
const VALUE: usize = 256;
/// They hold URLs, in which there may be tokens.
const LEFT_OUT: [&str; 3] = ["nor", "nrr", "url"];

/// Whether there is any.
#[must_use]
pub fn is_told(query: Option<&str>, headers: &HeaderMap) -> bool {
    HEADERS.iter().any(|name| headers.contains_key(*name))
        || query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("CMCD=")))
}

/// The text of it, as it came; none where there is none.
#[must_use]
pub fn of(query: Option<&str>, headers: &HeaderMap) -> Option<Arc<str>> {
    let queried = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("CMCD=")));
    if let Some(text) = queried {
        let text = percent_decode_str(text).decode_utf8().ok()?;
        return (text.len() <= MOST).then(|| text.into());
    }
    let mut all = String::new();
    for value in HEADERS.iter().filter_map(|name| headers.get(*name)?.to_str().ok()) {
        if all.len() + value.len() > MOST {
            return None;
        }
        all.push_str(if all.is_empty() { "" } else { "," });
        all.push_str(value);
    }
    (!all.is_empty()).then(|| all.into())
}

/// Its keys and values; what is no dictionary of structured fields says nothing.
#[must_use]
pub fn keys(text: &str) -> BTreeMap<String, String> {
    let Ok(dictionary) = Parser::new(text).parse::<Dictionary>() else { return BTreeMap::new() };
    let known = dictionary.iter().filter(|(key, _)| key.as_str().len() <= 64 && !LEFT_OUT.contains(&key.as_str()));
    let told = known.filter_map(|(key, entry)| Some((key.as_str().to_owned(), value(entry)?)));
    told.filter(|(_, value)| value.len() <= VALUE).take(KEYS).collect()
}

fn value(entry: &ListEntry) -> Option<String> {
    match entry {
        ListEntry::Item(item) => bare(item),
        // Version 2 has lists of typed values; the first stands for them.
        ListEntry::InnerList(list) => bare(list.items.first()?),
    }
}

fn bare(item: &Item) -> Option<String> {
    Some(match &item.bare_item {
        BareItem::Integer(n) => n.to_string(),
        BareItem::Decimal(n) => n.to_string(),
        BareItem::Boolean(yes) => yes.to_string(),
        BareItem::Token(token) => token.as_str().to_owned(),
        BareItem::String(text) => text.as_str().to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn headers_and_query_say_the_same() {
        let headers: HeaderMap =
            [("cmcd-object", "br=128,ot=a"), ("cmcd-session", "sid=\"s-1\",v=1"), ("cmcd-status", "bs")]
                .into_iter()
                .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
                .collect();
        let wanted = map(&[("br", "128"), ("bs", "true"), ("ot", "a"), ("sid", "s-1"), ("v", "1")]);
        assert_eq!(keys(&of(None, &headers).unwrap()), wanted);
        let query = Some("x=1&CMCD=br%3D128%2Cbs%2Cot%3Da%2Csid%3D%22s-1%22%2Cv%3D1&y");
        assert_eq!(keys(&of(query, &HeaderMap::new()).unwrap()), wanted);
        assert_eq!(of(Some("x=1"), &HeaderMap::new()), None);
        let none = HeaderMap::new();
        assert!(is_told(None, &headers) && is_told(query, &none) && !is_told(Some("xCMCD=1"), &none));
    }

    #[test]
    fn urls_and_what_is_too_long_are_left_out() {
        let long = format!("cid=\"{}\",br=1,nor=\"a%2Fb?token=1\",rtp=(1 2)", "x".repeat(257));
        assert_eq!(keys(&long), map(&[("br", "1"), ("rtp", "1")]));
        assert!(keys("not a=dictionary\"").is_empty());
        let query = format!("CMCD={}", "a".repeat(MOST + 1));
        assert_eq!(of(Some(&query), &HeaderMap::new()), None);
    }
}
