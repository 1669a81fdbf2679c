//! Cache directives: `Cache-Control` of responses and requests (RFC 9111, section 5.2), `Pragma` (5.4),
//! and `CDN-Cache-Control` (RFC 9213), which stands in for the first where it is there and valid.

use http::{HeaderMap, HeaderName, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::freshness::delta_seconds;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// What a directive such as `no-cache` is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    Nothing,
    /// These fields of the response alone.
    Fields(Vec<HeaderName>),
    All,
}

/// What an origin says to caches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// They came by a targeted field, so `Expires` and `Cache-Control` do not count.
    pub targeted: bool,
    pub no_store: bool,
    pub no_cache: Scope,
    pub private: Scope,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub immutable: bool,
    pub max_age: Option<u64>,
    pub s_maxage: Option<u64>,
    pub stale_while_revalidate: Option<u64>,
    pub stale_if_error: Option<u64>,
}

/// What a client asks of caches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    pub max_age: Option<u64>,
    pub min_fresh: Option<u64>,
    /// The largest number where any staleness will do.
    pub max_stale: Option<u64>,
}

impl ResponseDirectives {
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        targeted(headers).unwrap_or_else(|| {
            let mut said = Self::default();
            let readable = each(headers, |name, argument| said.take(name, argument));
            // A value that is no text says something that we cannot read: the careful reading is "do not store".
            said.no_store |= !readable;
            said
        })
    }

    fn take(&mut self, name: &str, argument: Option<&str>) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache.widen(argument),
            "private" => self.private.widen(argument),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "immutable" => self.immutable = true,
            "max-age" => shorter(&mut self.max_age, argument),
            "s-maxage" => shorter(&mut self.s_maxage, argument),
            "stale-while-revalidate" => shorter(&mut self.stale_while_revalidate, argument),
            "stale-if-error" => shorter(&mut self.stale_if_error, argument),
            _ => {}
        }
    }

    /// RFC 9111, section 3.5: what lets the answer to a request with `Authorization` be shared.
    #[must_use]
    pub fn shares_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }
}

impl RequestDirectives {
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut asked = Self::default();
        if headers.contains_key(header::CACHE_CONTROL) {
            each(headers, |name, argument| asked.take(name, argument));
        } else if let Some(pragma) = headers.get(header::PRAGMA) {
            asked.no_cache = pragma.as_bytes().eq_ignore_ascii_case(b"no-cache");
        }
        asked
    }

    fn take(&mut self, name: &str, argument: Option<&str>) {
        match name {
            "no-cache" => self.no_cache = true,
            "no-store" => self.no_store = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => shorter(&mut self.max_age, argument),
            "min-fresh" => self.min_fresh = argument.and_then(delta_seconds),
            "max-stale" => self.max_stale = argument.map_or(Some(u64::MAX), delta_seconds),
            _ => {}
        }
    }
}

impl Scope {
    fn widen(&mut self, argument: Option<&str>) {
        let Some(argument) = argument else { return *self = Self::All };
        let names: Result<Vec<_>, _> = argument.split(',').map(|name| name.trim().parse()).collect();
        match (names, &mut *self) {
            (_, Self::All) => {}
            // Of names that we cannot read, any could be meant.
            (Err(_), _) => *self = Self::All,
            (Ok(names), Self::Nothing) => *self = Self::Fields(names),
            (Ok(names), Self::Fields(known)) => known.extend(names),
        }
    }

    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    #[must_use]
    pub fn fields(&self) -> &[HeaderName] {
        if let Self::Fields(names) = self { names } else { &[] }
    }
}

/// An unreadable number counts as 0, that is, as stale; of two, the shorter one counts.
fn shorter(known: &mut Option<u64>, argument: Option<&str>) {
    let told = argument.and_then(delta_seconds).unwrap_or(0);
    *known = Some(known.map_or(told, |known| known.min(told)));
}

/// Calls `take` with each directive of `Cache-Control`, its name in lower case. False where a value is no text.
fn each(headers: &HeaderMap, mut take: impl FnMut(&str, Option<&str>)) -> bool {
    let mut readable = true;
    for value in headers.get_all(header::CACHE_CONTROL) {
        match value.to_str() {
            Ok(text) => parts(text).for_each(|part| {
                let (name, argument) = part.split_once('=').map_or((part, None), |(name, told)| (name, Some(told)));
                // An open quote may hide anything.
                readable &= argument.is_none_or(|told| !told.starts_with('"') || told.len() > 1 && told.ends_with('"'));
                take(&name.to_ascii_lowercase(), argument.map(unquoted));
            }),
            Err(_) => readable = false,
        }
    }
    readable
}

/// Cut at commas that stand outside quotes.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn unquoted(argument: &str) -> &str {
    argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(argument)
}

/// RFC 9213, section 2.1: none where the field is absent, empty or no dictionary.
fn targeted(headers: &HeaderMap) -> Option<ResponseDirectives> {
    let mut values = headers.get_all(CDN_CACHE_CONTROL).iter().peekable();
    values.peek()?;
    let joined = values.map(http::HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
    let dictionary: Dictionary = Parser::new(&joined).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut said = ResponseDirectives { targeted: true, ..ResponseDirectives::default() };
    for (name, member) in &dictionary {
        let ListEntry::Item(item) = member else { continue };
        take_targeted(&mut said, name.as_str(), &item.bare_item)?;
    }
    Some(said)
}

/// None where a directive that we know has a value of the wrong type: the field is not what it claims to be.
fn take_targeted(said: &mut ResponseDirectives, name: &str, value: &BareItem) -> Option<()> {
    match (name, value) {
        ("max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error", BareItem::Integer(seconds)) => {
            said.take(name, Some(&i64::from(*seconds).to_string()));
        }
        ("max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error", _) => return None,
        ("no-cache" | "private", BareItem::String(names)) => said.take(name, Some(names.as_str())),
        // `?0` is as if the directive were not there.
        (_, BareItem::Boolean(false)) => {}
        (_, BareItem::Boolean(true)) => said.take(name, None),
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn said(cache_control: &str) -> ResponseDirectives {
        ResponseDirectives::of(&headers(&[("cache-control", cache_control)]))
    }

    #[test]
    fn rfc9111_5_2_2_response_directives() {
        assert_eq!(
            said("max-age=60, s-maxage=\"5\""),
            ResponseDirectives { max_age: Some(60), s_maxage: Some(5), ..ResponseDirectives::default() }
        );
        assert!(said("MAX-AGE=60,Must-Revalidate").must_revalidate);
        assert!(said("a=\"x, no-store\", b").no_store.eq(&false), "a comma in quotes parts nothing");
        assert!(said("a=\"\\\"\", no-store").no_store);
        assert!(said("a=\"x, max-age=9").no_store, "a quote that stays open");
        assert_eq!(said("no-cache").no_cache, Scope::All);
        assert_eq!(said("private=\"set-cookie, X-A\"").private.fields().len(), 2);
        assert_eq!(said("no-cache=\"a b\"").no_cache, Scope::All);
        assert_eq!(said("no-cache=\"a\", no-cache").no_cache, Scope::All);
        for (text, age) in
            [("max-age=-1", 0), ("max-age=1.5", 0), ("max-age='1'", 0), ("max-age", 0), ("max-age=9,max-age=5", 5)]
        {
            assert_eq!(said(text).max_age, Some(age), "{text}");
        }
        assert_eq!(said("max-age =9").max_age, None, "no token");
    }

    #[test]
    fn rfc9111_5_2_1_request_directives() {
        let asked = |pairs: &[(&'static str, &str)]| RequestDirectives::of(&headers(pairs));
        let all = asked(&[("cache-control", "no-cache, no-store, only-if-cached, max-age=1, min-fresh=2, max-stale")]);
        assert!(all.no_cache && all.no_store && all.only_if_cached);
        assert_eq!((all.max_age, all.min_fresh, all.max_stale), (Some(1), Some(2), Some(u64::MAX)));
        assert_eq!(asked(&[("cache-control", "max-stale=7")]).max_stale, Some(7));
        assert!(asked(&[("pragma", "no-cache")]).no_cache);
        assert!(!asked(&[("pragma", "no-cache"), ("cache-control", "max-age=1")]).no_cache, "RFC 9111, 5.4");
    }

    #[test]
    fn rfc9213_2_1_targeted_field() {
        let said = |targeted: &str| {
            ResponseDirectives::of(&headers(&[("cdn-cache-control", targeted), ("cache-control", "max-age=1")]))
        };
        let long = said("max-age=3600, foobar, x=\"y\";z, private=(a b)");
        assert!(long.targeted && long.max_age == Some(3600));
        assert_eq!(said("no-store").max_age, None);
        assert!(said("no-store").no_store && said("private").private.is_all());
        assert_eq!(
            said("no-store=?0, max-age=5"),
            ResponseDirectives { targeted: true, max_age: Some(5), ..ResponseDirectives::default() }
        );
        for invalid in ["", "max-age=10000, &&&&&", "max-age=\"10000\"", "max-age =100", "MaX-aGe=5", "max-age=1.5"] {
            let fallen = said(invalid);
            assert!(!fallen.targeted && fallen.max_age == Some(1), "{invalid}");
        }
    }
}
