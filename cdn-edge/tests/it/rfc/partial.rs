//! RFC 9110, sections 14 and 15.3.7, and RFC 9111, sections 3.3 and 3.4.

use super::{Asked, Case, Exchange, first, get, play};
use crate::web::Reply;

const FRESH: (&str, &str) = ("Cache-Control", "max-age=3600");
const TAG: (&str, &str) = ("ETag", "\"a\"");
const DIGEST: (&str, &str) = ("Content-Digest", "sha-256=:x:");
const MODIFIED: (&str, &str) = ("Last-Modified", "Fri, 20 Nov 2099 09:00:00 GMT");

fn part(range: &'static str, told: &'static str, body: &'static str) -> Exchange {
    let reply = Reply::new(206, &[FRESH, TAG, ("Content-Range", told)], body);
    get(&[("range", range)], Asked::Yes).reply(reply).status(206).body(body)
}

fn from_cache(range: &'static str, told: &'static str, body: &'static str) -> Exchange {
    get(&[("range", range)], Asked::No).status(206).body(body).getting(&[("content-range", told)])
}

#[tokio::test]
async fn ranges() {
    let whole = || first(&[FRESH, TAG]).answering(200, &[FRESH, TAG], "0123456789").body("0123456789");
    let cases: Vec<Case> = vec![
        ("9110 14.2: a range of what is held", vec![whole(), from_cache("bytes=1-2", "bytes 1-2/10", "12")]),
        ("9110 14.1.2: to the end", vec![whole(), from_cache("bytes=7-", "bytes 7-9/10", "789")]),
        ("9110 14.1.2: a suffix", vec![whole(), from_cache("bytes=-2", "bytes 8-9/10", "89")]),
        (
            "9110 5.3: two fields of what is no list",
            vec![whole(), get(&[("range", "bytes=1-2"), ("range", "bytes=4-4")], Asked::No).body("0123456789")],
        ),
        ("9110 14.2: another unit", vec![whole(), get(&[("range", "rows=1-2")], Asked::No).body("0123456789")]),
        (
            "9110 15.5.17: outside",
            vec![
                whole(),
                get(&[("range", "bytes=20-")], Asked::No).status(416).getting(&[("content-range", "bytes */10")]),
            ],
        ),
        (
            "9530 2: a digest of the content is that of the whole",
            vec![
                whole().answering(200, &[FRESH, TAG, DIGEST, ("Repr-Digest", "sha-256=:r:")], "0123456789"),
                get(&[], Asked::No).getting(&[("content-digest", "sha-256=:x:")]),
                from_cache("bytes=1-2", "bytes 1-2/10", "12")
                    .getting(&[("content-digest", ""), ("repr-digest", "sha-256=:r:")]),
            ],
        ),
        (
            "9530 2: or that of the part",
            vec![
                get(&[("range", "bytes=0-4")], Asked::Yes)
                    .reply(Reply::new(206, &[FRESH, TAG, DIGEST, ("Content-Range", "bytes 0-4/10")], "01234"))
                    .status(206),
                from_cache("bytes=1-2", "bytes 1-2/10", "12").getting(&[("content-digest", "")]),
            ],
        ),
        (
            "9110 13.1.5: If-Range with a date that may stand for two",
            vec![
                first(&[]).answering(200, &[FRESH, MODIFIED, ("Date", MODIFIED.1)], "0123456789").body("0123456789"),
                get(&[("range", "bytes=1-2"), ("if-range", MODIFIED.1)], Asked::No).body("0123456789"),
            ],
        ),
        (
            "9111 3.4: a part without the tag of what is held is of another version",
            vec![
                part("bytes=0-4", "bytes 0-4/10", "01234"),
                get(&[("range", "bytes=5-9")], Asked::Twice)
                    .reply(Reply::new(206, &[FRESH, ("Content-Range", "bytes 5-9/10")], "56789"))
                    .status(206)
                    .body("56789"),
                get(&[("range", "bytes=0-4")], Asked::Yes)
                    .reply(Reply::new(206, &[FRESH, ("Content-Range", "bytes 0-4/10")], "abcde"))
                    .status(206)
                    .body("abcde"),
            ],
        ),
        (
            "9110 13.1.5: If-Range that holds",
            vec![whole(), from_cache("bytes=1-2", "bytes 1-2/10", "12").sending(&[("if-range", "\"a\"")])],
        ),
        (
            "9110 13.1.5: If-Range that does not",
            vec![whole(), get(&[("range", "bytes=1-2"), ("if-range", "\"b\"")], Asked::No).body("0123456789")],
        ),
        (
            "9111 3.3: a part is held",
            vec![
                part("bytes=-5", "bytes 5-9/10", "56789").seeing(&[("range", "bytes=-5")]),
                from_cache("bytes=-5", "bytes 5-9/10", "56789"),
                from_cache("bytes=6-7", "bytes 6-7/10", "67"),
                from_cache("bytes=8-", "bytes 8-9/10", "89"),
            ],
        ),
        (
            "9111 5.2.1.7: only-if-cached, of what is held in part",
            vec![
                part("bytes=0-4", "bytes 0-4/10", "01234"),
                from_cache("bytes=1-2", "bytes 1-2/10", "12").sending(&[("cache-control", "only-if-cached")]),
                get(&[("cache-control", "only-if-cached")], Asked::No).status(504),
                get(&[("range", "bytes=4-5"), ("cache-control", "only-if-cached")], Asked::No).status(504),
            ],
        ),
        (
            "9111 3.4: a part is completed",
            vec![
                part("bytes=0-4", "bytes 0-4/10", "01234"),
                part("bytes=0-", "bytes 5-9/10", "56789")
                    .seeing(&[("range", "bytes=5-"), ("if-range", "\"a\"")])
                    .body("0123456789")
                    .getting(&[("content-range", "bytes 0-9/10")]),
                get(&[], Asked::No).body("0123456789"),
            ],
        ),
        (
            "9111 3.4: parts of what has no strong validator are not put together",
            vec![
                get(&[("range", "bytes=0-4")], Asked::Yes)
                    .reply(Reply::new(206, &[FRESH, ("Content-Range", "bytes 0-4/10")], "01234"))
                    .status(206)
                    .body("01234"),
                get(&[("range", "bytes=1-2")], Asked::No).status(206).body("12"),
                get(&[], Asked::Yes).answering(200, &[FRESH], "abcdefghij").body("abcdefghij"),
            ],
        ),
        (
            "9110 14.2: an origin without ranges",
            vec![
                get(&[("range", "bytes=2-3")], Asked::Yes)
                    .answering(200, &[FRESH, TAG], "0123456789")
                    .status(206)
                    .body("23")
                    .getting(&[("content-range", "bytes 2-3/10")]),
                get(&[], Asked::No).body("0123456789"),
            ],
        ),
        (
            "9110 15.3.7: a part that contradicts itself is passed on",
            vec![
                get(&[("range", "bytes=-5")], Asked::Yes)
                    .reply(Reply::new(206, &[FRESH, TAG, ("Content-Range", "bytes 4-9/10")], "01234"))
                    .status(206)
                    .body("01234"),
                get(&[("range", "bytes=-5")], Asked::Yes)
                    .reply(Reply::new(206, &[("Content-Range", "bytes 4-9/10")], "01234"))
                    .status(206),
            ],
        ),
    ];
    play(cases).await;
}

#[tokio::test]
async fn rfc9110_14_6_several_ranges() {
    use crate::client::{get as fetch, send};
    use crate::stage::{CHUNK, Stage, noise};
    use crate::web::Web;

    let (web, bytes) = (Web::start().await, noise(1, 3 * CHUNK));
    web.put("/song", [Reply::new(200, &[FRESH, TAG, ("Content-Type", "audio/mp4")], &bytes)]);
    let stage = Stage::public(&web, |_| ()).await;
    fetch(&stage.at("song")).await;
    let (a, b) = (CHUNK - 5, 2 * CHUNK + 100_000);
    let range = format!("bytes={b}-{},{a}-{}", b + 9, a + 9);
    let got = send(http::Method::GET, &stage.at("song"), &[("range", &range)]).await;
    assert_eq!(got.status, 206);
    let boundary = got.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let head = |from: usize| {
        let to = from + 9;
        format!(
            "\r\n--{boundary}\r\ncontent-type: audio/mp4\r\ncontent-range: bytes {from}-{to}/{}\r\n\r\n",
            bytes.len()
        )
    };
    let wanted = [
        head(a).as_bytes(),
        &bytes[a..a + 10],
        head(b).as_bytes(),
        &bytes[b..b + 10],
        format!("\r\n--{boundary}--\r\n").as_bytes(),
    ]
    .concat();
    assert_eq!(got.bytes(), &wanted);
    assert_eq!((got.header("content-length"), web.heard().len()), (wanted.len().to_string().as_str(), 1));
}

#[tokio::test]
async fn several_ranges_are_held_where_each_of_them_is() {
    use crate::client::send;
    use crate::stage::{CHUNK, Stage, noise};
    use crate::web::Web;

    let (web, bytes) = (Web::start().await, noise(2, 3 * CHUNK));
    let piece = |at: std::ops::Range<usize>| {
        let told = format!("bytes {}-{}/{}", at.start, at.end - 1, bytes.len());
        Reply::new(206, &[FRESH, TAG, ("Content-Range", &told)], &bytes[at])
    };
    web.put("/song", [piece(0..CHUNK), piece(2 * CHUNK..3 * CHUNK)]);
    let stage = Stage::public(&web, |_| ()).await;
    for range in ["bytes=0-9", "bytes=-10"] {
        assert_eq!(send(http::Method::GET, &stage.at("song"), &[("range", range)]).await.status, 206);
    }
    let ask = async |range: &str| {
        let sent = [("range", range), ("cache-control", "only-if-cached")];
        let got = send(http::Method::GET, &stage.at("song"), &sent).await;
        (got.status.as_u16(), got.header("cache-status").to_owned())
    };
    let (status, told) = ask("bytes=0-9,-10").await;
    assert!(status == 206 && told.contains("; hit; "), "{status} {told}");
    assert_eq!(ask("bytes=0-9,300000-300009,-10").await, (504, "fra-1; detail=not-held".to_owned()));
    assert_eq!(web.heard().len(), 2);
}

/// What is passed on is what was asked for: a range is widened, and one of several asked for alone, only for what is held.
#[tokio::test]
async fn rfc9110_15_3_7_what_is_passed_on_is_what_was_asked_for() {
    use crate::client::send;
    use crate::stage::Stage;
    use crate::web::Web;

    let web = Web::start().await;
    let own = ("Cache-Control", "no-store");
    web.put(
        "/unsized",
        [
            Reply::new(206, &[FRESH, ("Content-Range", "bytes 0-99/*")], [7; 100]),
            Reply::new(206, &[FRESH, ("Content-Range", "bytes 10-20/*")], [7; 11]),
        ],
    );
    web.put(
        "/own",
        [
            Reply::new(206, &[own, ("Content-Range", "bytes 0-9/1000")], [7; 10]),
            Reply::new(206, &[own, ("Content-Type", "multipart/byteranges; boundary=x")], "both"),
        ],
    );
    web.put(
        "/newer",
        [
            Reply::new(206, &[own, ("ETag", "\"b\""), ("Content-Range", "bytes 0-99/100")], [7; 100]),
            Reply::new(200, &[own, ("ETag", "\"b\"")], [7; 100]),
        ],
    );
    web.put("/one", [Reply::new(206, &[own, ("Content-Range", "bytes 0-99/100")], [7; 100])]);
    let stage = Stage::public(&web, |_| ()).await;
    for (path, range, length, asked) in
        [("unsized", "bytes=10-20", 11, 2), ("own", "bytes=0-9,500-509", 4, 2), ("one", "bytes=10-20", 11, 1)]
    {
        let before = web.heard().len();
        let got = send(http::Method::GET, &stage.at(path), &[("range", range)]).await;
        assert_eq!((got.status.as_u16(), got.bytes().len()), (206, length), "{path}");
        let heard = web.heard();
        assert_eq!(heard.len() - before, asked, "{path}");
        assert!(asked == 1 || heard[before + 1].header("range") == range, "{path}");
    }
    let sent = [("range", "bytes=10-20"), ("if-range", "\"a\"")];
    let got = send(http::Method::GET, &stage.at("newer"), &sent).await;
    assert_eq!((got.status.as_u16(), got.bytes().len(), web.last().header("if-range")), (200, 100, "\"a\""));
}

/// 128 MiB are looked at, and what lies beyond counts as missing unless all is on disk.
#[tokio::test]
async fn what_is_held_of_a_huge_object_is_not_taken_for_all_of_it() {
    use crate::client::{get as fetch, send};
    use crate::stage::{Stage, eventually};
    use crate::web::Web;

    const MIB: usize = 1 << 20;
    let (web, body) = (Web::start().await, vec![7; 129 * MIB]);
    let told = |from: usize, to: usize| format!("bytes {from}-{}/{}", to - 1, body.len());
    let piece =
        |from: usize, to: usize| Reply::new(206, &[FRESH, TAG, ("Content-Range", &told(from, to))], &body[from..to]);
    web.put("/film", [piece(0, 128 * MIB), piece(128 * MIB, body.len())]);
    let stage = Stage::public(&web, |_| ()).await;
    let only_held = [("cache-control", "only-if-cached")];
    assert_eq!(send(http::Method::GET, &stage.at("film"), &[("range", "bytes=0-134217727")]).await.status, 206);
    assert_eq!(send(http::Method::GET, &stage.at("film"), &only_held).await.status, 504);
    assert_eq!(web.heard().len(), 1);
    let got = fetch(&stage.at("film")).await;
    assert!(got.header("cache-status").contains("fwd=partial") && *got.bytes() == body);
    eventually("all is on disk", || async {
        send(http::Method::GET, &stage.at("film"), &only_held).await.status == 200
    })
    .await;
    assert_eq!(web.heard().len(), 2);
}
