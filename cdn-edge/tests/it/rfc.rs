//! Cases from the RFCs' text, each named after its section: one exchange after another on one URI, and for
//! each whether the origin is asked, with what, and what the client gets.

use http::Method;

use crate::client::{Got, send};
use crate::stage::Stage;
use crate::web::{Reply, Web};

mod caching;
mod invalidation;
mod partial;
mod validation;

/// Whether the origin hears of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    No,
    Yes,
    /// With `If-None-Match` or `If-Modified-Since`.
    Whether,
    /// And asked once more, because the answer was of no use.
    Twice,
}

/// One request, what the origin would answer to it, and what must come of it.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    method: Method,
    sent: Vec<(&'static str, &'static str)>,
    reply: Reply,
    asked: Asked,
    status: u16,
    body: Option<&'static str>,
    /// Fields that the origin must see, and the client get; an empty value stands for none.
    seen: Vec<(&'static str, &'static str)>,
    got: Vec<(&'static str, &'static str)>,
}

type Fields<'a> = &'a [(&'static str, &'static str)];

pub(crate) fn get(sent: Fields<'_>, asked: Asked) -> Exchange {
    Exchange {
        method: Method::GET,
        sent: sent.to_vec(),
        reply: Reply::new(200, &[("Cache-Control", "max-age=3600")], "later"),
        asked,
        status: 200,
        body: None,
        seen: Vec::new(),
        got: Vec::new(),
    }
}

/// The first exchange of most cases: nothing is held, and the origin answers so.
pub(crate) fn first(answer: Fields<'_>) -> Exchange {
    get(&[], Asked::Yes).answering(200, answer, "first").body("first")
}

/// A second request that must be answered from what is held.
pub(crate) fn held() -> Exchange {
    get(&[], Asked::No).body("first")
}

/// A second request that must go to the origin.
pub(crate) fn again() -> Exchange {
    get(&[], Asked::Yes).body("later")
}

impl Exchange {
    pub(crate) fn answering(self, status: u16, headers: Fields<'_>, body: &str) -> Self {
        Self { reply: Reply::new(status, headers, body), ..self }
    }

    pub(crate) fn reply(self, reply: Reply) -> Self {
        Self { reply, ..self }
    }

    pub(crate) fn by(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn sending(mut self, sent: Fields<'_>) -> Self {
        self.sent.extend_from_slice(sent);
        self
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn body(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn seeing(mut self, seen: Fields<'_>) -> Self {
        self.seen.extend_from_slice(seen);
        self
    }

    pub(crate) fn getting(mut self, got: Fields<'_>) -> Self {
        self.got.extend_from_slice(got);
        self
    }
}

pub(crate) type Case = (&'static str, Vec<Exchange>);

/// Plays the cases, each on a URI of its own, on one edge.
pub(crate) async fn play(cases: Vec<Case>) {
    let web = Web::start().await;
    let stage = Stage::public(&web, |_| ()).await;
    let mut failures = Vec::new();
    for (number, (name, exchanges)) in cases.into_iter().enumerate() {
        let path = format!("/case-{number}/x");
        for (nth, exchange) in exchanges.into_iter().enumerate() {
            if let Err(error) = exchange.play(&web, &stage, &path).await {
                failures.push(format!("{name}, exchange {}: {error}", nth + 1));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}

impl Exchange {
    async fn play(self, web: &Web, stage: &Stage, path: &str) -> Result<(), String> {
        web.put(path, [self.reply.clone()]);
        let before = web.heard().len();
        let got = send(self.method.clone(), &format!("{}{path}", stage.url), &self.sent).await;
        self.check_origin(&web.heard()[before..])?;
        self.check_client(&got)
    }

    fn check_origin(&self, heard: &[crate::web::Heard]) -> Result<(), String> {
        let Some(request) = heard.first() else {
            return if self.asked == Asked::No { Ok(()) } else { Err("the origin was not asked".into()) };
        };
        let times = if self.asked == Asked::Twice { 2 } else { 1 };
        if self.asked == Asked::No || heard.len() != times {
            return Err(format!("the origin was asked {} times: {heard:?}", heard.len()));
        }
        let conditional =
            !request.header("if-none-match").is_empty() || !request.header("if-modified-since").is_empty();
        if self.asked == Asked::Whether && !conditional {
            return Err(format!("the origin was asked without a condition: {request:?}"));
        }
        wrong("the origin saw", &self.seen, |name| request.header(name))
    }

    fn check_client(&self, got: &Got) -> Result<(), String> {
        if got.status != self.status {
            return Err(format!("status {}, not {}: {got:?}", got.status, self.status));
        }
        let body = got.body.as_ref().map_err(|_| "the body broke off")?;
        if let Some(wanted) = self.body.filter(|wanted| body != wanted.as_bytes()) {
            return Err(format!("body {body:?}, not {wanted:?}"));
        }
        wrong("the client got", &self.got, |name| got.header(name))
    }
}

fn wrong<'a>(who: &str, wanted: &[(&str, &str)], has: impl Fn(&str) -> &'a str) -> Result<(), String> {
    // The seconds of a lifetime pass while a test waits.
    let holds = |name: &str, value: &str| match name {
        "cache-status" => has(name).starts_with(value),
        _ => has(name) == value,
    };
    match wanted.iter().find(|(name, value)| !holds(name, value)) {
        None => Ok(()),
        Some((name, value)) => Err(format!("{who} {name}: {:?}, not {value:?}", has(name))),
    }
}
