//! RFC 9111, sections 3 to 5; RFC 5861, 8246, 9211 and 9213.

use super::{Asked, Case, Exchange, again, first, get, held, play};
use crate::web::Reply;
use http::Method;

const FRESH: (&str, &str) = ("Cache-Control", "max-age=3600");
/// What was fresh for an hour, two hours ago.
const OLD: (&str, &str) = ("Age", "7200");

fn stale(more: &[(&'static str, &'static str)]) -> Exchange {
    first(&[&[FRESH, OLD][..], more].concat())
}

fn says(value: &'static str) -> Exchange {
    first(&[("Cache-Control", value)])
}

fn answers(status: u16, headers: &[(&'static str, &'static str)]) -> Exchange {
    first(&[]).answering(status, headers, "first").status(status)
}

#[tokio::test]
async fn storing_and_freshness() {
    let cases: Vec<Case> = vec![
        ("9111 3: nothing is told, nothing is held", vec![first(&[]), again()]),
        ("9111 4.2.1: max-age", vec![says("max-age=60"), held()]),
        ("9111 4.2.1: max-age=0", vec![says("max-age=0"), again()]),
        ("9111 4.2.1: s-maxage over max-age", vec![says("max-age=3600, s-maxage=0"), again()]),
        ("9111 4.2.1: s-maxage alone", vec![says("s-maxage=60"), held()]),
        ("9111 4.2.1: max-age over Expires", vec![first(&[FRESH, ("Expires", "0")]), held()]),
        ("9111 5.3: an invalid Expires", vec![first(&[("Expires", "0")]), again()]),
        ("9111 5.3: Expires in the future", vec![first(&[("Expires", "Fri, 20 Nov 2099 09:00:00 GMT")]), held()]),
        ("9111 4.2.3: Age counts", vec![stale(&[]), again()]),
        ("9111 4.2.3: Date counts", vec![first(&[FRESH, ("Date", "Fri, 20 Nov 2020 09:00:00 GMT")]), again()]),
        ("9111 5.1: Age is told", vec![first(&[FRESH, ("Age", "30")]), held().getting(&[("age", "30")])]),
        ("9111 5.2.2.5: no-store", vec![says("no-store, max-age=60"), again()]),
        ("9111 5.2.2.7: private", vec![says("private, max-age=60"), again()]),
        (
            "9111 5.2.2.7: private of a field",
            vec![
                first(&[("Cache-Control", "max-age=60, private=\"x-own\""), ("X-Own", "1"), ("X-All", "2")])
                    .getting(&[("x-own", "1"), ("x-all", "2")]),
                held().getting(&[("x-own", ""), ("x-all", "2")]),
            ],
        ),
        ("9111 5.2.2.4: no-cache", vec![says("no-cache, max-age=60"), again()]),
        (
            "9111 5.2.2.4: no-cache is asked about",
            vec![
                first(&[("Cache-Control", "no-cache"), ("ETag", "\"a\"")]),
                get(&[], Asked::Whether).reply(Reply::new(304, &[("ETag", "\"a\"")], "")).body("first"),
            ],
        ),
        (
            "9111 5.2.2.4: no-cache of a field",
            vec![
                first(&[("Cache-Control", "max-age=60, no-cache=\"x-own\""), ("X-Own", "1")])
                    .getting(&[("x-own", "1")]),
                held().getting(&[("x-own", "")]),
            ],
        ),
        (
            "9111 5.2.2.4: no-cache of a field that a confirmation has",
            vec![
                first(&[
                    ("Cache-Control", "max-age=60, no-cache=\"x-own\""),
                    ("Age", "60"),
                    ("ETag", "\"a\""),
                    ("X-Own", "1"),
                ])
                .getting(&[("x-own", "1")]),
                get(&[], Asked::Whether)
                    .reply(Reply::new(
                        304,
                        &[("ETag", "\"a\""), ("X-Own", "2"), ("Cache-Control", "max-age=60, no-cache=\"x-own\"")],
                        "",
                    ))
                    .body("first")
                    .getting(&[("x-own", "2")]),
                held().getting(&[("x-own", "")]),
            ],
        ),
        ("9111 5.2.2.3: must-understand", vec![says("must-understand, no-store, max-age=60"), held()]),
        (
            "9111 5.2.2.3: must-understand what is not understood",
            vec![answers(599, &[("Cache-Control", "must-understand, no-store, max-age=60")]), again()],
        ),
        ("9111 5.2: a directive without meaning", vec![says("foo, max-age=60, bar=\"no-store\""), held()]),
        ("9111 5.2: quoted and of any case", vec![says("MaX-aGe=\"60\""), held()]),
        ("9111 5.2: two fields", vec![first(&[("Cache-Control", "foo"), ("Cache-Control", "max-age=60")]), held()]),
        ("9111 1.2.2: larger than any number", vec![says("max-age=99999999999999999999"), held()]),
        ("9111 3.5: Authorization", vec![says("max-age=60").sending(&[("authorization", "x")]), again()]),
        (
            "9111 3.5: Authorization and public",
            vec![says("max-age=60, public").sending(&[("authorization", "x")]), held()],
        ),
        (
            "9111 3.5: Authorization and must-revalidate",
            vec![says("max-age=60, must-revalidate").sending(&[("authorization", "x")]), held()],
        ),
        (
            "9111 3: no-store in the request",
            vec![says("max-age=60").sending(&[("cache-control", "no-store")]), again()],
        ),
        (
            "9111 3.1: what belongs to the connection",
            vec![
                first(&[FRESH, ("Connection", "x-own"), ("X-Own", "1"), ("Keep-Alive", "5"), ("X-All", "2")])
                    .getting(&[("x-own", ""), ("keep-alive", "")]),
                held().getting(&[("x-own", ""), ("x-all", "2")]),
            ],
        ),
        ("9111 3: an answer to POST is not held", vec![says("max-age=60").by(Method::POST), again()]),
        (
            "9110 9.3.3: an answer to POST that is what a GET would get",
            vec![first(&[FRESH, ("Content-Location", "x")]).by(Method::POST), held()],
        ),
        (
            "9110 9.3.1: a body without its length",
            vec![
                get(&[], Asked::Yes).reply(Reply::chunked(&[FRESH], &[b"fi", b"rst"], &[])).body("first"),
                held().getting(&[("content-length", "5")]),
            ],
        ),
        (
            "9111 4: to HEAD from an answer to GET",
            vec![says("max-age=60"), held().by(Method::HEAD).body("").getting(&[("content-length", "5")])],
        ),
    ];
    play(cases).await;
}

#[tokio::test]
async fn statuses() {
    let mut cases: Vec<Case> = Vec::new();
    for status in [
        200, 201, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 414, 499, 500, 501, 502,
        503, 599,
    ] {
        let body = if status == 204 { "" } else { "first" };
        let told = answers(status, &[FRESH]).body(body);
        cases.push(("9111 3: any final status with a lifetime", vec![told, held().status(status).body(body)]));
    }
    const TOUCHED: (&str, &str) = ("Last-Modified", "Fri, 20 Nov 2020 09:00:00 GMT");
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        let body = if status == 204 { "" } else { "first" };
        let told = answers(status, &[TOUCHED]).body(body);
        cases.push(("9111 4.2.2: a lifetime that is guessed", vec![told, held().status(status).body(body)]));
    }
    for status in [201, 302, 303, 307, 400, 403, 500, 502, 503, 599] {
        cases.push(("9111 4.2.2: none is guessed", vec![answers(status, &[TOUCHED]), again()]));
        let public = [TOUCHED, ("Cache-Control", "public")];
        cases.push(("9111 4.2.2: public allows to guess", vec![answers(status, &public), held().status(status)]));
    }
    play(cases).await;
}

#[tokio::test]
async fn vary() {
    let varies =
        |value: &'static str, sent: &[(&'static str, &'static str)]| first(&[FRESH, ("Vary", value)]).sending(sent);
    let cases: Vec<Case> = vec![
        ("9111 4.1: the same", vec![varies("Foo", &[("foo", "1")]), held().sending(&[("foo", "1")])]),
        ("9111 4.1: another", vec![varies("foo", &[("foo", "1")]), again().sending(&[("foo", "2")])]),
        ("9111 4.1: absent then present", vec![varies("foo", &[]), again().sending(&[("foo", "1")])]),
        ("9111 4.1: present then absent", vec![varies("foo", &[("foo", "1")]), again()]),
        ("9111 4.1: both absent", vec![varies("foo", &[]), held()]),
        ("9111 4.1: star", vec![varies("*", &[]), again()]),
        ("9111 4.1: star among others", vec![varies("foo, *", &[]), again()]),
        (
            "9111 4.1: several answers are held",
            vec![
                varies("foo", &[("foo", "1")]),
                again().sending(&[("foo", "2")]).answering(200, &[FRESH, ("Vary", "foo")], "later"),
                held().sending(&[("foo", "1")]),
                get(&[("foo", "2")], Asked::No).body("later"),
            ],
        ),
        (
            "9111 4.1: the order of languages",
            vec![
                varies("accept-language", &[("accept-language", "en;q=0.5, DE")]),
                held().sending(&[("accept-language", "de,en; q=0.5")]),
            ],
        ),
        (
            "9111 4.1: codings",
            vec![
                varies("accept-encoding", &[("accept-encoding", "gzip, br")]),
                held().sending(&[("accept-encoding", "br,gzip;q=1")]),
            ],
        ),
    ];
    play(cases).await;
}

#[tokio::test]
async fn requests_that_say_what_they_want() {
    let asks = |value: &'static str, asked| get(&[("cache-control", value)], asked);
    let aged = || first(&[FRESH, ("Age", "1800")]);
    let cases: Vec<Case> = vec![
        ("9111 5.2.1.4: no-cache", vec![says("max-age=60"), asks("no-cache", Asked::Yes)]),
        ("9111 5.4: Pragma", vec![says("max-age=60"), again().sending(&[("pragma", "no-cache")])]),
        ("9111 5.2.1.1: max-age", vec![aged(), asks("max-age=1000", Asked::Yes)]),
        ("9111 5.2.1.1: max-age that will do", vec![aged(), asks("max-age=3000", Asked::No)]),
        ("9111 5.2.1.1: max-age=0", vec![says("max-age=60"), asks("max-age=0", Asked::Yes)]),
        ("9111 5.2.1.3: min-fresh", vec![aged(), asks("min-fresh=3000", Asked::Yes)]),
        ("9111 5.2.1.3: min-fresh that will do", vec![aged(), asks("min-fresh=1000", Asked::No)]),
        ("9111 5.2.1.2: max-stale", vec![stale(&[]), asks("max-stale=4000", Asked::No).body("first")]),
        ("9111 5.2.1.2: max-stale that will not do", vec![stale(&[]), asks("max-stale=1000", Asked::Yes)]),
        ("9111 5.2.1.2: max-stale of any age", vec![stale(&[]), asks("max-stale", Asked::No)]),
        (
            "9111 5.2.2.2: must-revalidate over max-stale",
            vec![first(&[("Cache-Control", "max-age=3600, must-revalidate"), OLD]), asks("max-stale", Asked::Yes)],
        ),
        ("9111 5.2.1.7: only-if-cached and held", vec![says("max-age=60"), asks("only-if-cached", Asked::No)]),
        ("9111 5.2.1.7: only-if-cached and not held", vec![asks("only-if-cached", Asked::No).status(504)]),
        (
            "8246 2: immutable and a reload",
            vec![says("max-age=60, immutable"), asks("max-age=0", Asked::No), asks("no-cache", Asked::Yes)],
        ),
    ];
    play(cases).await;
}

#[tokio::test]
async fn extensions() {
    let targeted = |cdn: &'static str, all: &'static str| first(&[("CDN-Cache-Control", cdn), ("Cache-Control", all)]);
    let cases: Vec<Case> = vec![
        ("9213 2.2: longer", vec![targeted("max-age=3600", "max-age=0"), held()]),
        ("9213 2.2: shorter", vec![targeted("max-age=0", "max-age=3600"), again()]),
        ("9213 2.2: no-store", vec![targeted("no-store", "max-age=3600"), again()]),
        ("9213 2.2: no-cache", vec![targeted("no-cache", "max-age=3600"), again()]),
        ("9213 2.2: private", vec![targeted("private", "max-age=3600"), again()]),
        ("9213 2.2: over no-store", vec![targeted("max-age=3600", "no-store"), held()]),
        (
            "9213 2.2: over Expires",
            vec![first(&[("CDN-Cache-Control", "max-age=0"), ("Expires", "Fri, 20 Nov 2099 09:00:00 GMT")]), again()],
        ),
        ("9213 2.1: no dictionary", vec![targeted("max-age=3600, &&&", "no-store"), again()]),
        ("9213 2.1: another type", vec![targeted("max-age=\"3600\"", "no-store"), again()]),
        (
            "9213 2.1: is passed on",
            vec![targeted("max-age=3600", "no-store").getting(&[("cdn-cache-control", "max-age=3600")])],
        ),
        ("9213 2.2: against Age", vec![first(&[("CDN-Cache-Control", "max-age=3600"), OLD]), again()]),
        (
            "9211 2: a miss, a hit",
            vec![says("max-age=60").getting(&[("cache-status", "fra-1; fwd=uri-miss; stored; ttl=")])],
        ),
        (
            "9211 2.2: a method",
            vec![says("max-age=60").by(Method::PUT).getting(&[("cache-status", "fra-1; fwd=method; fwd-status=200")])],
        ),
        (
            "9211 2: not stored",
            vec![says("no-store").getting(&[("cache-status", "fra-1; fwd=uri-miss; fwd-status=200")])],
        ),
        (
            "5861 4: stale-if-error and an error to a HEAD",
            vec![
                first(&[("Cache-Control", "max-age=3600, stale-if-error=7200"), OLD]),
                get(&[], Asked::Yes).by(Method::HEAD).answering(503, &[], "no").status(200),
            ],
        ),
        (
            "9112 6.1: a body coded for the connection",
            vec![
                get(&[], Asked::Yes).answering(200, &[FRESH, ("Transfer-Encoding", "gzip")], "no").status(502),
                again(),
            ],
        ),
        (
            "5861 4: stale-if-error and an error",
            vec![
                first(&[("Cache-Control", "max-age=3600, stale-if-error=7200"), OLD]),
                held().answering(503, &[], "away").by(Method::GET).asking(Asked::Yes),
                held(),
            ],
        ),
        ("5861 4: an error without it", vec![stale(&[]), again().answering(503, &[], "away").status(503).body("away")]),
        (
            "5861 4: the window is over",
            vec![
                first(&[("Cache-Control", "max-age=3600, stale-if-error=60"), OLD]),
                again().answering(503, &[], "away").status(503).body("away"),
            ],
        ),
    ];
    play(cases).await;
}

impl Exchange {
    fn asking(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }
}
