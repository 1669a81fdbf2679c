//! One line of CMCD: its keys by their meaning.

use serde_json::Value;
use serde_json::value::to_raw_value;
use sfv::{BareItem, Dictionary, InnerList, Item, ListEntry, Parser};
use wire::event::{MAX_BITRATE_KBPS, MAX_MEDIA_MS, MAX_TEXT, Members};
use wire::{DecisionId, FieldError, SessionId, Timestamp, TrackId};

use super::plays::Seen;

/// What one line says.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) event: String,
    pub(super) state: Option<String>,
    pub(super) session_id: SessionId,
    pub(super) track_id: TrackId,
    pub(super) at: Timestamp,
    pub(super) seq: Option<u32>,
    pub(super) position_ms: Option<u64>,
    pub(super) bitrate_kbps: Option<u32>,
    /// `msd`: from the wish to play to the first sound.
    pub(super) startup_ms: Option<u64>,
    pub(super) error: Option<String>,
    pub(super) decision_id: Option<DecisionId>,
    pub(super) others: Members,
}

/// Keys that have a field of their own, so that `extra` need not repeat them.
const HAVE_A_FIELD: [&str; 8] = ["sid", "cid", "ts", "sn", "br", "pt", "msd", "v"];

impl Report {
    /// # Errors
    /// [`FieldError`] naming the key that is missing or wrong.
    pub(super) fn parse(line: &[u8]) -> Result<Self, FieldError> {
        let keys: Dictionary = Parser::new(line)
            .parse()
            .map_err(|error| FieldError::new(".", format!("must be a dictionary of structured fields: {error}")))?;
        let text = |key: &str| keys.get(key).and_then(text).map(str::to_owned);
        let required = |key: &str| text(key).ok_or_else(|| FieldError::new(key, "is required, as a text"));
        let invalid = |key: &'static str| move |error: wire::id::InvalidId| FieldError::new(key, error.to_string());
        let whole = |key: &str, most: u64| keys.get(key).and_then(number).and_then(|n| whole(n, most));
        let event = required("e")?;
        Ok(Self {
            state: text("sta"),
            session_id: SessionId::new(required("sid")?).map_err(invalid("sid"))?,
            track_id: TrackId::new(required("cid")?).map_err(invalid("cid"))?,
            at: time(keys.get("ts"))?,
            seq: whole("sn", u32::MAX.into()).and_then(|n| n.try_into().ok()),
            position_ms: whole("pt", MAX_MEDIA_MS),
            bitrate_kbps: whole("br", MAX_BITRATE_KBPS.into()).and_then(|n| n.try_into().ok()),
            startup_ms: whole("msd", MAX_MEDIA_MS),
            error: error(&event, &keys),
            decision_id: text("url").as_deref().and_then(decision_id),
            others: others(&keys)?,
            event,
        })
    }

    pub(super) fn seen(&self) -> Seen {
        // A response is told of by when it was asked for, which is before what was told since.
        let state = if self.event == "rr" { None } else { self.state.as_deref() };
        Seen { at: self.at, state: state.and_then(|state| state.chars().next()), decision_id: self.decision_id }
    }
}

fn time(ts: Option<&ListEntry>) -> Result<Timestamp, FieldError> {
    let ms = match ts {
        Some(ListEntry::Item(Item { bare_item: BareItem::Integer(ms), .. })) => i64::from(*ms),
        _ => return Err(FieldError::new("ts", "is required, in whole epoch milliseconds")),
    };
    Timestamp::from_millis(ms).ok_or_else(|| FieldError::new("ts", format!("must be from 1970 to 2199, not {ms}")))
}

/// The player's own code, or the status of a response that is none.
fn error(event: &str, keys: &Dictionary) -> Option<String> {
    let code = match keys.get("ec") {
        Some(ListEntry::InnerList(list)) => list.items.first().and_then(|item| bare_text(&item.bare_item)),
        Some(entry) => text(entry),
        None => None,
    };
    let status = keys.get("rc").and_then(number).and_then(|rc| whole(rc, 999));
    let code = match (event, status) {
        ("rr", Some(status)) if status == 0 || status >= 400 => format!("http-{status}"),
        ("rr", _) => return None,
        _ => code.unwrap_or("unknown").to_owned(),
    };
    Some(cut(code, MAX_TEXT))
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

/// Of the query of a media URL, which the router put it into.
fn decision_id(url: &str) -> Option<DecisionId> {
    let (_, query) = url.split_once('?')?;
    query.split(['&', '#']).find_map(|pair| pair.strip_prefix("decision_id="))?.parse().ok()
}

fn others(keys: &Dictionary) -> Result<Members, FieldError> {
    let mut others = Members::default();
    for (key, entry) in keys {
        if !HAVE_A_FIELD.contains(&key.as_str()) && !absurd(key.as_str(), entry) {
            let value = to_raw_value(&json(entry)).expect("texts and numbers are written to memory");
            others.push(key.as_str(), &value)?;
        }
    }
    Ok(others)
}

/// dash.js now and then tells an instant where a duration is meant.
fn absurd(key: &str, entry: &ListEntry) -> bool {
    matches!(key, "ttfb" | "ttfbb" | "ttlb") && number(entry).is_some_and(|ms| ms > 86_400_000.0)
}

fn json(entry: &ListEntry) -> Value {
    match entry {
        ListEntry::Item(item) => json_item(item),
        ListEntry::InnerList(InnerList { items, .. }) => items.iter().map(json_item).collect(),
    }
}

/// A value with parameters (`5900;a`) becomes a text of both.
fn json_item(item: &Item) -> Value {
    let value = match &item.bare_item {
        BareItem::Decimal(n) => Value::from(f64::from(*n)),
        BareItem::Integer(n) => Value::from(i64::from(*n)),
        BareItem::Boolean(yes) => Value::from(*yes),
        BareItem::Date(at) => Value::from(i64::from(at.unix_seconds())),
        BareItem::ByteSequence(bytes) => Value::from(String::from_utf8_lossy(bytes)),
        other => Value::from(without_query(bare_text(other).unwrap_or_default())),
    };
    if item.params.is_empty() {
        return value;
    }
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let names: Vec<&str> = item.params.keys().map(|name| name.as_str()).collect();
    Value::from(format!("{value};{}", names.join(";")))
}

/// A URL's query and user may be secrets: they are never kept. What is no URL has hardly a question mark.
fn without_query(text: &str) -> String {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => path.to_owned(),
    }
}

fn text(entry: &ListEntry) -> Option<&str> {
    match entry {
        ListEntry::Item(item) => bare_text(&item.bare_item),
        ListEntry::InnerList(_) => None,
    }
}

fn bare_text(item: &BareItem) -> Option<&str> {
    match item {
        BareItem::String(text) => Some(text.as_str()),
        BareItem::Token(token) => Some(token.as_str()),
        BareItem::DisplayString(text) => Some(text.as_str()),
        _ => None,
    }
}

/// Of several, the one for audio (`;a`), or else the first.
fn number(entry: &ListEntry) -> Option<f64> {
    let item = match entry {
        ListEntry::Item(item) => item,
        ListEntry::InnerList(InnerList { items, .. }) => {
            items.iter().find(|item| item.params.keys().any(|name| name.as_str() == "a")).or(items.first())?
        }
    };
    match &item.bare_item {
        #[allow(clippy::cast_precision_loss, reason = "structured integers have 15 digits, which a double holds")]
        BareItem::Integer(n) => Some(i64::from(*n) as f64),
        BareItem::Decimal(n) => Some(f64::from(*n)),
        _ => None,
    }
}

/// None for what is negative or above `most`.
fn whole(n: f64, most: u64) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and bounded below")]
    let n = (n >= 0.0).then(|| n.round() as u64)?;
    (n <= most).then_some(n)
}
