//! RFC 9111, section 4.4.

use http::Method;

use super::{Asked, Case, again, first, get, held, play};
use crate::client::{get as fetch, send};
use crate::stage::Stage;
use crate::web::{Reply, Web};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=3600");

#[tokio::test]
async fn unsafe_methods_end_what_is_held() {
    let mut cases: Vec<Case> = Vec::new();
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FROB"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for status in [200, 204, 302] {
            let changed = get(&[], Asked::Yes).by(method.clone()).answering(status, &[], "").status(status);
            cases.push(("9111 4.4: after it was changed", vec![first(&[FRESH]), changed, again()]));
        }
        let refused = get(&[], Asked::Yes).by(method).answering(500, &[], "").status(500);
        cases.push(("9111 4.4: not after an error", vec![first(&[FRESH]), refused, held()]));
    }
    for method in [Method::OPTIONS, Method::TRACE] {
        let asked = get(&[], Asked::Yes).by(method).answering(200, &[], "");
        cases.push(("9110 9.2.1: not by a safe method", vec![first(&[FRESH]), asked, held()]));
    }
    play(cases).await;
}

#[tokio::test]
async fn rfc9111_4_4_what_the_answer_names_of_the_same_origin() {
    let web = Web::start().await;
    let stage = Stage::public(&web, |_| ()).await;
    for (field, name, ended) in [
        ("Location", "/named", true),
        ("Content-Location", "named", true),
        ("Location", "http://elsewhere.example/named", false),
    ] {
        web.put("/named", [Reply::new(200, &[FRESH], "held")]);
        web.put("/form", [Reply::new(201, &[(field, name)], "")]);
        send(Method::POST, &stage.at("form"), &[]).await;
        fetch(&stage.at("named")).await;
        let before = web.heard().len();
        send(Method::POST, &stage.at("form"), &[]).await;
        fetch(&stage.at("named")).await;
        assert_eq!(web.heard().len() - before, if ended { 2 } else { 1 }, "{field}: {name}");
    }
}
