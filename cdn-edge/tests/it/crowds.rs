//! Many who ask a proxy for the same at once: what they share, and who asks for himself.

use std::sync::Arc;

use futures_util::future::join_all;
use http::Method;
use tokio::sync::Semaphore;

use crate::client::{get, send};
use crate::purge::purge;
use crate::stage::{Stage, eventually};
use crate::web::{Reply, Step, Web};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=3600");

#[tokio::test]
async fn a_crowd_shares_what_may_be_shared_and_queues_for_nothing_else() {
    let (web, gate) = (Web::start().await, Arc::new(Semaphore::new(0)));
    let slow = |headers: &[(&str, &str)]| {
        Reply(vec![Step::Wait(gate.clone())].into_iter().chain(Reply::new(200, headers, "body").0).collect())
    };
    web.put("/shared", [slow(&[FRESH])]);
    web.put("/own", [slow(&[("Cache-Control", "private")])]);
    let stage = Stage::public(&web, |_| ()).await;
    let crowd = |path: &str| {
        let url = stage.at(path);
        tokio::spawn(async move { join_all((0..10).map(|_| get(&url))).await })
    };
    let shared = crowd("shared");
    eventually("the origin is asked", || async { web.heard().len() == 1 }).await;
    gate.add_permits(100);
    assert!(shared.await.unwrap().iter().all(|got| got.bytes() == "body"));
    assert_eq!(web.heard().len(), 1);

    assert_eq!(get(&stage.at("own")).await.bytes(), "body");
    gate.forget_permits(usize::MAX);
    let own = crowd("own");
    eventually("all ask at once", || async { web.heard().len() == 12 }).await;
    gate.add_permits(100);
    assert!(own.await.unwrap().iter().all(|got| got.bytes() == "body"));
}

#[tokio::test]
async fn a_crowd_of_two_minds_costs_a_request_for_each_also_after_a_purge() {
    let (web, gate) = (Web::start().await, Arc::new(Semaphore::new(0)));
    let answer = || Reply::new(200, &[FRESH, ("Vary", "Accept-Language"), ("Cache-Tag", "a")], "body").0;
    web.put("/a", [Reply([vec![Step::Wait(gate.clone())], answer()].concat())]);
    let stage = Stage::public(&web, |_| ()).await;
    let crowd = |lang: &'static str| {
        let url = stage.at("a");
        let ask = move || {
            let url = url.clone();
            async move { send(Method::GET, &url, &[("accept-language", lang)]).await }
        };
        tokio::spawn(async move { join_all((0..8).map(|_| ask())).await })
    };
    for asked in [0, 2] {
        let mut crowds = vec![crowd("en")];
        eventually("the origin is asked", || async { web.heard().len() == asked + 1 }).await;
        // Whatever was held is out of the index by now, and these wait all the same for who asked first; they are
        // on their way by the time that the answer comes, or find it held.
        crowds.extend([crowd("en"), crowd("de")]);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        gate.add_permits(100);
        for got in join_all(crowds).await.into_iter().flat_map(Result::unwrap) {
            assert_eq!(got.bytes(), "body");
        }
        assert_eq!(web.heard().len(), asked + 2, "one in each language");
        gate.forget_permits(usize::MAX);
        purge(&stage, r#"{"tags":["a"]}"#).await;
    }
}

/// The first of a crowd, whose answer is of no use to the others, and the rest of it, who come while it is asked for.
async fn crowd_behind(first: &'static [(&'static str, &'static str)], replies: Vec<Reply>) -> (usize, Vec<String>) {
    let (web, gate) = (Web::start().await, Arc::new(Semaphore::new(0)));
    let slow = |reply: Reply| Reply([vec![Step::Wait(gate.clone())], reply.0].concat());
    web.put("/a", replies.into_iter().map(slow));
    let stage = Stage::public(&web, |_| ()).await;
    let (url, rest) = (stage.at("a"), stage.at("a"));
    let first = tokio::spawn(async move { send(Method::GET, &url, first).await });
    eventually("the origin is asked", || async { web.heard().len() == 1 }).await;
    let rest = tokio::spawn(async move { join_all((0..10).map(|_| get(&rest))).await });
    // What is asserted holds whether they come in time or not; mostly they do.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    gate.add_permits(1000);
    first.await.unwrap();
    let bodies = rest.await.unwrap().iter().map(|got| String::from_utf8(got.bytes().to_vec()).unwrap()).collect();
    (web.heard().len(), bodies)
}

#[tokio::test]
async fn a_crowd_behind_one_with_a_condition_costs_one_request_more() {
    let replies = vec![Reply::new(304, &[("ETag", "\"z\"")], ""), Reply::new(200, &[FRESH, ("ETag", "\"z\"")], "body")];
    let (asked, bodies) = crowd_behind(&[("if-none-match", "\"z\"")], replies).await;
    assert!(bodies.iter().all(|body| body == "body"));
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn a_crowd_behind_one_who_is_authorized_costs_one_request_more() {
    let replies = vec![Reply::new(200, &[FRESH], "hers"), Reply::new(200, &[FRESH], "all's")];
    let (asked, bodies) = crowd_behind(&[("authorization", "Basic YTpi")], replies).await;
    assert!(bodies.iter().all(|body| body == "all's"), "{bodies:?}");
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn rfc9111_4_what_is_stale_as_it_comes_is_for_who_asked() {
    let stale = ("Cache-Control", "max-age=0, must-revalidate");
    let replies = (0..60).map(|nth| Reply::new(200, &[stale, ("ETag", &format!("\"{nth}\""))], nth.to_string()));
    let (asked, mut bodies) = crowd_behind(&[], replies.collect()).await;
    bodies.sort();
    bodies.dedup();
    // Each puts another version in the place of the last, which is read to its end all the same.
    assert_eq!((asked, bodies.len()), (11, 10), "{bodies:?}");
}

#[tokio::test]
async fn a_crowd_on_what_each_must_ask_for_does_not_queue_up() {
    for held in ["no-cache", "max-age=0"] {
        let (web, gate) = (Web::start().await, Arc::new(Semaphore::new(1)));
        let fields = [("Cache-Control", held), ("ETag", "\"a\"")];
        web.put("/list", [Reply([vec![Step::Wait(gate.clone())], Reply::new(200, &fields, "list").0].concat())]);
        let stage = Stage::public(&web, |_| ()).await;
        let url = stage.at("list");
        assert_eq!(get(&url).await.bytes(), "list");
        gate.forget_permits(usize::MAX);
        let crowd = tokio::spawn(async move { join_all((0..10).map(|_| get(&url))).await });
        eventually("all ask at once", || async { web.heard().len() == 11 }).await;
        gate.add_permits(100);
        assert!(crowd.await.unwrap().iter().all(|got| got.bytes() == "list"), "{held}");

        // Of what is not held any more all wait for one, to whom its body comes.
        gate.forget_permits(usize::MAX);
        purge(&stage, r#"{"all":true}"#).await;
        let (url, asked) = (stage.at("list"), web.heard().len());
        let crowd = tokio::spawn(async move { join_all((0..10).map(|_| get(&url))).await });
        eventually("one asks", || async { web.heard().len() > asked }).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(web.heard().len(), asked + 1, "{held}");
        gate.add_permits(100);
        assert!(crowd.await.unwrap().iter().all(|got| got.bytes() == "list"), "{held}");
    }
}
