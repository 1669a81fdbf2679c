//! What ListenBrainz's server refuses, and in which words.

use serde_json::{Map, Value};
use uuid::Uuid;
use wire::Timestamp;

const MAX_LISTENS: usize = 1000;
const MAX_LISTEN_BYTES: usize = 10_240;
const MAX_TAGS: usize = 50;
const MAX_TAG_CHARS: usize = 64;
/// 24 days, in seconds: what fits 31 bits of milliseconds.
const MAX_DURATION_S: i64 = 2_073_600;
/// 2002-10-01, when the first listen of Last.fm's predecessor was sent.
const MIN_LISTENED_AT: i64 = 1_033_430_400;
/// How far a client's clock may be ahead, in seconds.
const AHEAD_S: i64 = 3600;

/// Why a request is refused, whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListenType {
    Single,
    PlayingNow,
    Import,
}

impl ListenType {
    fn named(name: &str) -> Option<Self> {
        [Self::Single, Self::PlayingNow, Self::Import].into_iter().find(|kind| kind.as_str() == name)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::PlayingNow => "playing_now",
            Self::Import => "import",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) listens: Vec<Listen>,
}

#[derive(Debug)]
pub(crate) struct Listen {
    /// None for `playing_now`.
    pub(super) listened_at: Option<Timestamp>,
    pub(super) artist_name: String,
    pub(super) track_name: String,
    pub(super) release_name: Option<String>,
    pub(super) duration_ms: Option<u64>,
    pub(super) played_ms: Option<u64>,
    pub(super) additional_info: Map<String, Value>,
}

impl Listen {
    pub(super) fn info(&self, name: &str) -> Option<&str> {
        self.additional_info.get(name).and_then(Value::as_str)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(why.into()))
}

/// # Errors
/// [`Invalid`] for the first thing that ListenBrainz would refuse.
pub(crate) fn parse(body: &[u8], now: Timestamp) -> Result<Submission, Invalid> {
    let document: Value =
        serde_json::from_slice(body).map_err(|error| Invalid(format!("Cannot parse JSON document: {error}")))?;
    let Some(Value::Array(payload)) = document.get("payload") else {
        return refuse("JSON document must contain payload, an array of listens.");
    };
    let listen_type = document.get("listen_type").and_then(Value::as_str).and_then(ListenType::named);
    let Some(listen_type) = listen_type else {
        return refuse("JSON document requires a valid listen_type key.");
    };
    match payload.len() {
        0 => return refuse("JSON document does not contain any listens."),
        1 => {}
        2..=MAX_LISTENS if listen_type == ListenType::Import => {}
        2..=MAX_LISTENS => {
            let kind = listen_type.as_str();
            return refuse(format!(
                "JSON document contains more than listen for a {kind}. It should contain only one."
            ));
        }
        _ => {
            return refuse(format!("Too many listens. You may not submit more than {MAX_LISTENS} listens at once."));
        }
    }
    if body.len() > payload.len() * MAX_LISTEN_BYTES {
        let detail = "JSON document is too large. In aggregate, listens may not be larger than";
        return refuse(format!("{detail} {MAX_LISTEN_BYTES} characters each."));
    }
    let listens = payload.iter().map(|listen| read(listen, listen_type, now)).collect::<Result<_, _>>()?;
    Ok(Submission { listens })
}

fn read(listen: &Value, listen_type: ListenType, now: Timestamp) -> Result<Listen, Invalid> {
    let Value::Object(listen) = listen else { return refuse("Listen is empty or no object and cannot be validated.") };
    if has_nul(&Value::Object(listen.clone())) {
        return refuse("JSON document contains a unicode null.");
    }
    let listened_at = listened_at(listen, listen_type, now)?;
    let Some(Value::Object(metadata)) = listen.get("track_metadata") else {
        return refuse("JSON document must contain the key track_metadata at the top level, an object.");
    };
    let mut additional_info = match metadata.get("additional_info") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(info)) => info.clone(),
        Some(_) => return refuse("track_metadata.additional_info must be an object."),
    };
    tags(&additional_info)?;
    mbids(&mut additional_info)?;
    Ok(Listen {
        listened_at,
        artist_name: name(metadata, "artist_name")?,
        track_name: name(metadata, "track_name")?,
        release_name: release_name(metadata)?,
        duration_ms: duration_ms(&additional_info)?,
        // Not one of ListenBrainz's rules, so nothing is refused for it.
        played_ms: additional_info
            .get("duration_played")
            .and_then(whole)
            .and_then(|s| u64::try_from(s).ok()?.checked_mul(1000)),
        additional_info,
    })
}

fn listened_at(
    listen: &Map<String, Value>,
    listen_type: ListenType,
    now: Timestamp,
) -> Result<Option<Timestamp>, Invalid> {
    let other = listen.keys().any(|key| key != "listened_at" && key != "track_metadata");
    if listen_type == ListenType::PlayingNow {
        return match (listen.contains_key("listened_at"), other) {
            (true, _) => refuse("JSON document must not contain listened_at while submitting playing_now."),
            (_, true) => {
                refuse("JSON document may only contain track_metadata as top level key when submitting playing_now.")
            }
            _ => Ok(None),
        };
    }
    let Some(sent) = listen.get("listened_at") else {
        return refuse("JSON document must contain the key listened_at at the top level.");
    };
    if other {
        return refuse("JSON document may only contain listened_at and track_metadata top level keys");
    }
    let Some(at) = whole(sent) else {
        return refuse("JSON document must contain an int value for listened_at.");
    };
    if at >= now.as_millis() / 1000 + AHEAD_S {
        return refuse("Value for key listened_at is too high.");
    }
    if at < MIN_LISTENED_AT {
        return refuse(format!("Value for key listened_at is too low. It should be at least {MIN_LISTENED_AT}."));
    }
    Ok(Timestamp::from_millis(at.saturating_mul(1000)))
}

fn name(metadata: &Map<String, Value>, key: &str) -> Result<String, Invalid> {
    match metadata.get(key) {
        None => refuse(format!("JSON document does not contain required track_metadata.{key}.")),
        Some(Value::String(text)) if text.trim().is_empty() => {
            refuse(format!("required field track_metadata.{key} is empty."))
        }
        Some(Value::String(text)) => Ok(text.trim().to_owned()),
        Some(_) => refuse(format!("track_metadata.{key} must be a string.")),
    }
}

fn release_name(metadata: &Map<String, Value>) -> Result<Option<String>, Invalid> {
    match metadata.get("release_name") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Some(_) => refuse("track_metadata.release_name must be a string."),
    }
}

fn tags(info: &Map<String, Value>) -> Result<(), Invalid> {
    let Some(Value::Array(tags)) = info.get("tags") else { return Ok(()) };
    if tags.len() > MAX_TAGS {
        let most = format!("JSON document may not contain more than {MAX_TAGS} items in");
        return refuse(format!("{most} track_metadata.additional_info.tags."));
    }
    let long = |tag: &Value| tag.as_str().is_some_and(|tag| tag.chars().count() > MAX_TAG_CHARS);
    if tags.iter().any(long) {
        let what = "JSON document may not contain track_metadata.additional_info.tags longer than";
        return refuse(format!("{what} {MAX_TAG_CHARS} characters."));
    }
    Ok(())
}

fn duration_ms(info: &Map<String, Value>) -> Result<Option<u64>, Invalid> {
    let (key, scale) = match (info.get("duration"), info.get("duration_ms")) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return refuse("JSON document should not contain both duration and duration_ms."),
        (Some(_), None) => ("duration", 1000),
        (None, Some(_)) => ("duration_ms", 1),
    };
    let most = MAX_DURATION_S * 1000 / scale;
    match info.get(key).and_then(whole) {
        Some(n) if n > most => refuse(format!("Value for {key} is too large, max permitted value is {most}")),
        Some(n) if n > 0 => Ok(u64::try_from(n * scale).ok()),
        _ => refuse(format!("Value for {key} is invalid, should be a positive integer.")),
    }
}

/// Those that are empty are taken out.
fn mbids(info: &mut Map<String, Value>) -> Result<(), Invalid> {
    for key in ["release_mbid", "recording_mbid", "release_group_mbid", "track_mbid"] {
        let Some(value) = info.get(key) else { continue };
        if is_empty(value) {
            info.remove(key);
        } else if !is_uuid(value) {
            return refuse(format!("{key} MBID format invalid."));
        }
    }
    for key in ["artist_mbids", "work_mbids"] {
        let Some(value) = info.get_mut(key) else { continue };
        if is_empty(value) {
            info.remove(key);
            continue;
        }
        let Value::Array(ids) = value else { return refuse(format!("{key} must be an array of MBIDs.")) };
        ids.retain(|id| !is_empty(id));
        if !ids.iter().all(is_uuid) {
            return refuse(format!("{key} MBID format invalid."));
        }
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn is_uuid(value: &Value) -> bool {
    value.as_str().is_some_and(|text| Uuid::try_parse(text).is_ok())
}

/// A whole number, also one that stands in a text or has nothing behind its point.
fn whole(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "inside what a double holds exactly")]
    let cut = |n: f64| (n.abs() < 9e15).then_some(n as i64);
    match value {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().and_then(cut)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}
