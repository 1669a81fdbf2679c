//! RFC 9111, section 4.3, and RFC 9110, section 13.

use http::Method;

use super::{Asked, Case, Exchange, again, first, get, held, play};
use crate::web::Reply;

const FRESH: (&str, &str) = ("Cache-Control", "max-age=3600");
const OLD: (&str, &str) = ("Age", "7200");
const TAG: (&str, &str) = ("ETag", "\"a\"");
const MODIFIED: (&str, &str) = ("Last-Modified", "Fri, 20 Nov 2020 09:00:00 GMT");

fn stale(more: &[(&'static str, &'static str)]) -> Exchange {
    first(&[&[FRESH, OLD][..], more].concat())
}

/// The origin is asked whether, and says that nothing changed.
fn unchanged(headers: &[(&'static str, &'static str)]) -> Exchange {
    get(&[], Asked::Whether).reply(Reply::new(304, headers, "")).body("first")
}

#[tokio::test]
async fn validation() {
    let cases: Vec<Case> = vec![
        (
            "9111 4.3.1: by tag",
            vec![stale(&[TAG]), unchanged(&[TAG, FRESH]).seeing(&[("if-none-match", "\"a\"")]), held()],
        ),
        (
            "9111 4.3.1: by weak tag",
            vec![
                stale(&[("ETag", "W/\"a\"")]),
                unchanged(&[("ETag", "W/\"a\""), FRESH]).seeing(&[("if-none-match", "W/\"a\"")]),
                held(),
            ],
        ),
        (
            "9111 4.3.1: by date",
            vec![
                stale(&[MODIFIED]),
                unchanged(&[FRESH]).seeing(&[("if-modified-since", "Fri, 20 Nov 2020 09:00:00 GMT")]),
            ],
        ),
        (
            "9111 4.3.1: what it varies by goes with it",
            vec![
                stale(&[TAG, ("Vary", "abc")]).sending(&[("abc", "1")]),
                unchanged(&[TAG]).sending(&[("abc", "1")]).seeing(&[("abc", "1")]),
            ],
        ),
        (
            "9111 4.3.3: another version",
            vec![stale(&[TAG]), get(&[], Asked::Whether).body("later"), get(&[], Asked::No).body("later")],
        ),
        (
            "9111 3.2: a 304 updates what is held",
            vec![
                stale(&[TAG, ("X-A", "1"), ("X-B", "1")]),
                unchanged(&[TAG, FRESH, ("X-A", "2")]).getting(&[("x-a", "2"), ("x-b", "1")]),
                held().getting(&[("x-a", "2"), ("x-b", "1"), ("content-length", "5")]),
            ],
        ),
        (
            "9111 3.2: but for what describes the body",
            vec![
                stale(&[TAG, ("Content-Type", "text/one"), ("Content-Encoding", "one")]),
                unchanged(&[TAG, FRESH, ("Content-Type", "text/two"), ("Content-Encoding", "two")])
                    .getting(&[("content-type", "text/one"), ("content-encoding", "one")]),
            ],
        ),
        (
            "9111 4.3.4: a 304 about another version",
            vec![stale(&[TAG]), get(&[], Asked::Twice).reply(Reply::new(304, &[("ETag", "\"b\"")], "")).status(304)],
        ),
        (
            "9111 4.3.2: a condition on what is fresh",
            vec![
                first(&[FRESH, TAG]),
                get(&[("if-none-match", "\"a\"")], Asked::No).status(304).body("").getting(&[("etag", "\"a\"")]),
                get(&[("if-none-match", "\"b\", W/\"a\"")], Asked::No).status(304),
                get(&[("if-none-match", "\"b\"")], Asked::No).body("first"),
            ],
        ),
        (
            "9111 4.3.2: If-Match is the origin's to judge, where what is held does not fit",
            vec![
                first(&[FRESH, TAG]),
                get(&[("if-match", "\"a\"")], Asked::No).body("first"),
                get(&[("if-match", "\"b\"")], Asked::Yes).answering(412, &[], "no").status(412).body("no"),
                get(&[("if-match", "\"b\"")], Asked::Yes).answering(200, &[("ETag", "\"b\"")], "other").body("other"),
                get(&[("if-match", "\"b\""), ("cache-control", "only-if-cached")], Asked::No).status(412),
                get(&[], Asked::No).body("first"),
            ],
        ),
        (
            "9111 4.3.2: If-Modified-Since where only Date is known",
            vec![
                first(&[FRESH]),
                get(&[("if-modified-since", "Fri, 31 Dec 2100 00:00:00 GMT")], Asked::No).status(304),
                get(&[("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")], Asked::No).body("first"),
            ],
        ),
        (
            "9110 13.2.1: not on an error that is held",
            vec![
                first(&[FRESH, TAG]).answering(404, &[FRESH, TAG], "first").status(404),
                get(&[("if-none-match", "\"a\"")], Asked::No).status(404).body("first"),
            ],
        ),
        (
            "9110 13.1: a condition on what is not held",
            vec![
                get(&[("if-none-match", "\"z\"")], Asked::Yes)
                    .answering(304, &[("ETag", "\"z\"")], "")
                    .status(304)
                    .seeing(&[("if-none-match", "\"z\"")]),
                again(),
            ],
        ),
        (
            "9111 4.3.2: a condition on what is stale",
            vec![
                stale(&[TAG]),
                get(&[("if-none-match", "\"b\"")], Asked::Whether)
                    .reply(Reply::new(304, &[TAG], ""))
                    .body("first")
                    .seeing(&[("if-none-match", "\"a\"")]),
            ],
        ),
        (
            "9111 4.3.3: an error says nothing of what is held",
            vec![
                stale(&[TAG]),
                get(&[], Asked::Whether).answering(500, &[], "bad").status(500),
                unchanged(&[TAG, FRESH]),
            ],
        ),
        (
            "9111 4.3.5: HEAD updates",
            vec![
                stale(&[TAG, ("X-A", "1")]),
                get(&[], Asked::Yes).by(Method::HEAD).answering(200, &[TAG, FRESH, ("X-A", "2")], "first"),
                held().getting(&[("x-a", "2")]),
            ],
        ),
        (
            "9111 4.3.5: HEAD of another version ends it",
            vec![
                stale(&[TAG]),
                get(&[], Asked::Yes).by(Method::HEAD).answering(200, &[("ETag", "\"b\""), FRESH], "first"),
                again(),
            ],
        ),
        (
            "9111 4.3.5: HEAD of another length ends it",
            vec![
                stale(&[]),
                get(&[], Asked::Yes).by(Method::HEAD).answering(200, &[FRESH], "longer than the first"),
                again(),
            ],
        ),
    ];
    play(cases).await;
}

const PRIVATE: (&str, &str) = ("Cache-Control", "private, max-age=60");
const COOKIE: (&str, &str) = ("Set-Cookie", "sid=1");

/// The origin confirms what is held, in words that are not for everybody: asked once more, without a condition, it
/// answers for this client alone.
fn confirmed_for_one(sent: &[(&'static str, &'static str)], headers: &[(&'static str, &'static str)]) -> Exchange {
    get(sent, Asked::Twice).reply(Reply::new(304, headers, "")).status(304)
}

#[tokio::test]
async fn what_may_not_be_stored_updates_nothing() {
    let cases: Vec<Case> = vec![
        (
            "9111 5.2.2.7: a 304 that is private",
            vec![stale(&[TAG]), confirmed_for_one(&[], &[TAG, PRIVATE, COOKIE]), again()],
        ),
        (
            "9111 5.2.2.5: a 304 with no-store",
            vec![stale(&[TAG]), confirmed_for_one(&[], &[TAG, ("Cache-Control", "no-store, max-age=60")]), again()],
        ),
        (
            "9111 5.2.2.7: the same once more, and private",
            vec![
                stale(&[TAG]),
                get(&[], Asked::Whether).answering(200, &[TAG, PRIVATE, COOKIE], "first").body("first"),
                again(),
            ],
        ),
        (
            "9111 4.3.5: a HEAD that is private",
            vec![
                first(&[FRESH, TAG]),
                get(&[("cache-control", "no-cache")], Asked::Yes)
                    .by(Method::HEAD)
                    .answering(200, &[TAG, PRIVATE, COOKIE], "first")
                    .getting(&[("set-cookie", "sid=1")]),
                again(),
            ],
        ),
        (
            "9111 3.5: a 304 to one who is authorized",
            vec![
                stale(&[TAG]),
                confirmed_for_one(&[("authorization", "Basic YTpi")], &[TAG, FRESH, COOKIE]),
                unchanged(&[TAG, FRESH]).getting(&[("set-cookie", "")]),
                held(),
            ],
        ),
        (
            "9111 3.5: the same where it is public",
            vec![
                stale(&[TAG]),
                unchanged(&[TAG, ("Cache-Control", "public, max-age=3600")])
                    .sending(&[("authorization", "Basic YTpi")]),
                held(),
            ],
        ),
        (
            "9111 5.2.1.5: a 304 to one who wants nothing stored",
            vec![
                stale(&[TAG]),
                confirmed_for_one(&[("cache-control", "no-store")], &[TAG, FRESH]),
                unchanged(&[TAG, FRESH]),
            ],
        ),
        (
            "9111 4.1: a 304 that varies otherwise",
            vec![
                stale(&[TAG]).sending(&[("cookie", "a")]),
                confirmed_for_one(&[("cookie", "a")], &[TAG, FRESH, ("Vary", "Cookie")]),
                again().sending(&[("cookie", "b")]),
            ],
        ),
        (
            "9111 4.1: a 304 that varies by everything",
            vec![stale(&[TAG]), confirmed_for_one(&[], &[TAG, FRESH, ("Vary", "*")]), again()],
        ),
        (
            "9110 13.1.1: a condition that failed is one request's",
            vec![get(&[("if-match", "\"z\"")], Asked::Yes).answering(412, &[FRESH], "no").status(412), again()],
        ),
        (
            "9110 15.5.17: a range beyond the end is one request's",
            vec![get(&[("range", "bytes=100-")], Asked::Yes).answering(416, &[FRESH], "no").status(416), again()],
        ),
        ("9111 7.3: a cookie with a guessed freshness", vec![first(&[MODIFIED, COOKIE]), again()]),
        (
            "9110 9.3.3: what a POST made is no GET's precondition",
            vec![
                get(&[("if-match", "\"q\"")], Asked::Yes)
                    .by(Method::POST)
                    .answering(200, &[FRESH, TAG, ("Content-Location", "x")], "made")
                    .body("made"),
            ],
        ),
    ];
    play(cases).await;
}
