//! A web origin that knows ranges and conditions, has another version on order, and fails on order.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::stage::CHUNK;

/// What there is, and what of it never changes.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) size: usize,
    pub(crate) tags: &'static str,
    /// By `Accept-Language`.
    pub(crate) varies: bool,
    /// Its validator lets no parts be put together.
    pub(crate) weak: bool,
}

const fn kind(name: &'static str, size: usize, tags: &'static str) -> Kind {
    Kind { name, size, tags, varies: false, weak: false }
}

pub(crate) const KINDS: [Kind; 6] = [
    kind("a/1", 900, "x"),
    kind("a/12", CHUNK + 1000, "x,y"),
    kind("a/b/1", 3 * CHUNK + 77, "y"),
    Kind { varies: true, ..kind("b/1", 70_000, "x,z") },
    Kind { weak: true, ..kind("b/2", 2 * CHUNK, "") },
    kind("c", CHUNK, "z"),
];

/// What the origin says of how long a version lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rule {
    Fresh,
    /// These come older than they may be: stale at once.
    Stale,
    IfError,
    Strict,
    Behind,
    AskAlways,
    NoStore,
}

impl Rule {
    pub(crate) const ALL: [Self; 7] =
        [Self::Fresh, Self::Stale, Self::IfError, Self::Strict, Self::Behind, Self::AskAlways, Self::NoStore];

    pub(crate) fn is_old(self) -> bool {
        matches!(self, Self::Stale | Self::IfError | Self::Strict | Self::Behind)
    }

    /// Whether it may ever be served stale.
    pub(crate) fn bends(self) -> bool {
        !matches!(self, Self::Strict | Self::AskAlways)
    }

    fn cache_control(self) -> &'static str {
        match self {
            Self::Fresh | Self::Stale => "max-age=600",
            Self::IfError => "max-age=600, stale-if-error=3600",
            Self::Strict => "max-age=600, must-revalidate",
            Self::Behind => "max-age=600, stale-while-revalidate=3600",
            Self::AskAlways => "no-cache",
            Self::NoStore => "no-store",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// 503.
    Error,
    /// The connection ends instead of an answer.
    Reset,
    /// No answer comes.
    Stall,
    /// Bodies break off half-way.
    Cut,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) version: u32,
    pub(crate) rule: Rule,
    pub(crate) mood: Mood,
}

#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) url: String,
    now: Arc<Mutex<[Now; KINDS.len()]>>,
    asked: Arc<Mutex<[usize; KINDS.len()]>>,
    pub(crate) history: History,
}

/// What was done and answered in a round.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<Vec<String>>>);

impl History {
    pub(crate) fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    pub(crate) fn last(&self, lines: usize) -> Vec<String> {
        let all = self.0.lock().unwrap();
        all[all.len().saturating_sub(lines)..].to_vec()
    }
}

/// The bytes of one version in one language, unlike those of any other, wherever one looks.
pub(crate) fn bytes(key: usize, lang: usize, version: u32) -> Bytes {
    let seed = (key as u64) << 56 | (lang as u64) << 48 | u64::from(version) << 24;
    let words = (0..KINDS[key].size.div_ceil(8) as u64).flat_map(|word| mixed(seed | word).to_le_bytes());
    words.take(KINDS[key].size).collect()
}

/// splitmix64.
fn mixed(seed: u64) -> u64 {
    let one = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let two = (one ^ one >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let three = (two ^ two >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    three ^ three >> 31
}

pub(crate) fn etag(key: usize, lang: usize, version: u32) -> String {
    format!("{}\"{key}-{lang}-{version}\"", if KINDS[key].weak { "W/" } else { "" })
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

impl Site {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let now = [Now { version: 1, rule: Rule::Fresh, mood: Mood::Well }; KINDS.len()];
        let url = format!("http://{}", listener.local_addr().unwrap());
        let site = Self { url, now: Arc::new(Mutex::new(now)), asked: Arc::default(), history: History::default() };
        let serving = site.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let site = serving.clone();
                let service = hyper::service::service_fn(move |request| {
                    let site = site.clone();
                    async move { site.answer(&request).await }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        site
    }

    pub(crate) fn now(&self, key: usize) -> Now {
        self.now.lock().unwrap()[key]
    }

    pub(crate) fn change(&self, key: usize, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().unwrap()[key]);
    }

    /// How often it was asked for a key.
    pub(crate) fn asked(&self, key: usize) -> usize {
        self.asked.lock().unwrap()[key]
    }

    async fn answer(&self, request: &Request<Incoming>) -> io::Result<Response<Body>> {
        let path = request.uri().path().trim_start_matches('/');
        let key = KINDS.iter().position(|kind| kind.name == path).expect("only these keys are asked for");
        self.asked.lock().unwrap()[key] += 1;
        let now = self.now(key);
        self.history.note(format!("   the origin: {path}, {now:?}: {:?}", shown(request.headers())));
        match now.mood {
            Mood::Error => return Ok(response(503, Full::from("failing").map_err(never).boxed_unsync())),
            Mood::Reset => return Err(io::Error::other("reset on order")),
            Mood::Stall => std::future::pending().await,
            Mood::Well | Mood::Cut => {}
        }
        let mut answer = found(key, now, request.headers());
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, now.rule.cache_control().parse().unwrap());
        headers.insert("cache-tag", KINDS[key].tags.parse().unwrap());
        if now.rule.is_old() {
            headers.insert(header::AGE, 700.into());
        }
        if KINDS[key].varies {
            headers.insert(header::VARY, "Accept-Language".parse().unwrap());
        }
        Ok(answer)
    }
}

fn shown(headers: &HeaderMap) -> Vec<(&str, &str)> {
    ["range", "if-range", "if-none-match"]
        .into_iter()
        .map(|name| (name, text(headers, name)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn never(never: Infallible) -> io::Error {
    match never {}
}

fn response(status: u16, body: Body) -> Response<Body> {
    Response::builder().status(status).body(body).unwrap()
}

fn found(key: usize, now: Now, headers: &HeaderMap) -> Response<Body> {
    let lang = usize::from(KINDS[key].varies && text(headers, "accept-language") == "de");
    let (tag, bytes) = (etag(key, lang, now.version), bytes(key, lang, now.version));
    let opaque = tag.trim_start_matches("W/").to_owned();
    let mut answer = if text(headers, "if-none-match").contains(&opaque) {
        response(304, Full::default().map_err(never).boxed_unsync())
    } else {
        let held = headers.get(header::IF_RANGE).is_none_or(|range| !KINDS[key].weak && range == tag.as_str());
        part(bytes, headers.get(header::RANGE).filter(|_| held).map(|range| range.to_str().unwrap()), now.mood)
    };
    answer.headers_mut().insert(header::ETAG, tag.parse().unwrap());
    answer
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// One range, as the edge asks.
fn part(bytes: Bytes, range: Option<&str>, mood: Mood) -> Response<Body> {
    let size = bytes.len();
    let asked = range.map(|range| range.strip_prefix("bytes=").unwrap().split_once('-').unwrap());
    let (status, sent) = match asked {
        None => (200, 0..size),
        Some(("", suffix)) => (206, size - suffix.parse::<usize>().unwrap().min(size)..size),
        Some((first, "")) => (206, first.parse().unwrap()..size),
        Some((first, last)) => (206, first.parse().unwrap()..(last.parse::<usize>().unwrap() + 1).min(size)),
    };
    let mut answer = response(status, body(bytes.slice(sent.clone()), mood));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, sent.len().into());
    if StatusCode::PARTIAL_CONTENT == status {
        let told = format!("bytes {}-{}/{size}", sent.start, sent.end - 1);
        headers.insert(header::CONTENT_RANGE, told.parse().unwrap());
    }
    answer
}

fn body(bytes: Bytes, mood: Mood) -> Body {
    if mood != Mood::Cut {
        return Full::from(bytes).map_err(never).boxed_unsync();
    }
    let half = bytes.slice(..bytes.len() / 2);
    let pieces = [Ok(Frame::data(half)), Err(io::Error::other("cut on order"))];
    StreamBody::new(stream::iter(pieces)).boxed_unsync()
}
