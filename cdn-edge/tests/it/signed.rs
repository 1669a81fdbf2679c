//! Signed URLs: what a token opens, and that nobody behind the edge ever sees one.

use http::Method;
use service::config::Span;
use wire::delivery::{Delivery, DeliveryBatch};
use wire::token::keys::{KeySet, Kind, public, with_new};
use wire::token::{Claims, sign};
use wire::{DecisionId, Timestamp};

use crate::admin::object;
use crate::catcher::Catcher;
use crate::client::{Got, get, send};
use crate::origin::{Act, Origin};
use crate::stage::{Stage, eventually, noise};
use crate::web::{Reply, Web};

/// Keys in a file, as an edge reads them.
struct Keys {
    set: String,
    dir: tempfile::TempDir,
}

impl Keys {
    fn new(kind: Kind) -> Self {
        let keys = Self { set: with_new(kind, "k1", None).unwrap(), dir: tempfile::tempdir().unwrap() };
        std::fs::write(keys.path(), public(keys.set.as_bytes()).unwrap()).unwrap();
        keys
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("keys.json")
    }

    fn token(&self, kid: &str, claims: &Claims) -> String {
        sign(&KeySet::parse(self.set.as_bytes()).unwrap(), kid, claims).unwrap()
    }
}

fn now() -> i64 {
    Timestamp::now().as_millis() / 1000
}

fn folder(path: &str) -> Claims {
    Claims { path: path.into(), exp: now() + 60, nbf: None, tier: Some("premium".into()), decision_id: None }
}

fn refused(got: &Got) -> String {
    assert_eq!((got.status.as_u16(), got.header("content-type")), (403, "application/problem+json"), "{got:?}");
    got.json()["type"].as_str().unwrap().strip_prefix("urn:tonearm:problem:").unwrap().to_owned()
}

#[tokio::test]
async fn one_token_covers_a_playlist_and_its_segments() {
    for kind in [Kind::Hmac, Kind::Ed25519] {
        let (origin, keys) = (Origin::start().await, Keys::new(kind));
        for key in ["a/b/master.m3u8", "a/b/64/1.m4s", "a/c"] {
            origin.put(key, Act::of(noise(1, 100)));
        }
        let stage = Stage::before(&origin, |config| config.edge.url_keys = Some(keys.path())).await;
        let token = keys.token("k1", &folder("/a/b/"));
        let master: url::Url = stage.at(&format!(".tonearm/t/{token}/a/b/master.m3u8")).parse().unwrap();
        for url in [master.clone(), master.join("64/1.m4s").unwrap(), master.join("./64/../64/1.m4s").unwrap()] {
            assert_eq!(get(url.as_str()).await.bytes(), &noise(1, 100), "{kind:?}");
        }
        assert_eq!(refused(&get(master.join("../c").unwrap().as_str()).await), "url-path-wrong");
        assert_eq!(get(&stage.at(&format!("a/b/64/1.m4s?x=1&tonearm_token={token}"))).await.status, 200);
        let cookie = format!("other=1; tonearm_token={token}");
        assert_eq!(send(Method::HEAD, &stage.at("a/b/64/1.m4s"), &[("cookie", &cookie)]).await.status, 200);
        assert_eq!(origin.asked().len(), 2, "however they are signed, they are two objects");
        assert_eq!(object(&stage, "a/b/64/1.m4s").await.status, 200);
        let stranger = Keys::new(kind).token("k1", &folder("/a/b/"));
        assert_eq!(
            refused(&get(&stage.at(&format!("a/b/64/1.m4s?tonearm_token={stranger}"))).await),
            "url-signature-wrong"
        );
    }
}

#[tokio::test]
async fn each_refusal_says_why() {
    let (origin, keys) = (Origin::start().await, Keys::new(Kind::Hmac));
    origin.put("a/b", Act::of(noise(1, 100)));
    origin.put("secret", Act::of(noise(2, 100)));
    let stage = Stage::before(&origin, |config| config.edge.url_keys = Some(keys.path())).await;
    let token = |claims: Claims| keys.token("k1", &claims);
    let good = token(folder("/a/"));
    let expired = token(Claims { exp: now() - 1, ..folder("/a/") });
    let early = token(Claims { nbf: Some(now() + 60), ..folder("/a/") });
    let mut other = Keys::new(Kind::Hmac);
    other.set = with_new(Kind::Hmac, "k2", Some(keys.set.as_bytes())).unwrap();
    let unknown = other.token("k2", &folder("/a/"));
    for (path, reason) in [
        ("a/b".to_owned(), "url-unsigned"),
        ("a/b?tonearm_token=".to_owned(), "url-token-malformed"),
        (format!(".tonearm/t/{}/a/b", "x".repeat(4000)), "url-token-malformed"),
        (format!(".tonearm/t/{unknown}/a/b"), "url-key-unknown"),
        (format!(".tonearm/t/{}x/a/b", &good[..good.len() - 1]), "url-signature-wrong"),
        (format!(".tonearm/t/{expired}/a/b"), "url-expired"),
        (format!(".tonearm/t/{early}/a/b"), "url-not-yet"),
        (format!(".tonearm/t/{good}/secret"), "url-path-wrong"),
        (format!(".tonearm/t/{good}/a/%2e%2e/secret"), "url-path-wrong"),
        (format!(".tonearm/t/{good}/a%2F..%2Fsecret"), "url-path-wrong"),
        (format!(".tonearm/t/{good}/%ff"), "url-path-wrong"),
        (format!(".tonearm/t/{good}"), "url-path-wrong"),
    ] {
        let got = get(&stage.at(&path)).await;
        // The last character of a signature has bits that must be 0, so any other makes no signature at all.
        let found = refused(&got);
        assert!(
            found == reason || (reason == "url-signature-wrong" && found == "url-token-malformed"),
            "{path}: {found}"
        );
        assert!(!String::from_utf8_lossy(got.bytes()).contains(&good), "no answer repeats a token");
        assert_eq!((got.header("cache-control"), got.header("access-control-allow-origin")), ("no-store", "*"));
    }
    assert!(origin.asked().is_empty(), "who is refused costs the origin nothing");
    assert_eq!(get(&stage.at(".tonearm/ping")).await.status, 204);
    for fields in [&[][..], &[("origin", "https://x")]] {
        assert_eq!(send(Method::OPTIONS, &stage.at("a/b"), fields).await.status, 204);
    }
}

#[tokio::test]
async fn a_web_origin_never_sees_a_token() {
    let (web, keys) = (Web::start().await, Keys::new(Kind::Hmac));
    web.put("/a/b?q=1", [Reply::new(200, &[("Cache-Control", "max-age=60")], "x")]);
    let stage = Stage::public(&web, |config| config.edge.url_keys = Some(keys.path())).await;
    let token = keys.token("k1", &folder("/a/"));
    let referer = format!("{}/.tonearm/t/{token}/a/list.m3u8", stage.url);
    let cookie = format!("tonearm_token={token}; own=1");
    let headers = [("cookie", &*cookie), ("referer", &*referer)];
    let got =
        send(Method::GET, &stage.at(&format!(".tonearm/t/{token}/a/b?tonearm_token={token}&q=1")), &headers).await;
    assert_eq!(&got.bytes()[..], b"x");
    let heard = web.last();
    assert_eq!(heard.line, "GET /a/b?q=1 HTTP/1.1");
    assert_eq!((heard.header("cookie"), heard.header("referer")), ("own=1", ""));
    assert!(!format!("{heard:?}").contains(&token));
    let again = keys.token("k1", &Claims { exp: now() + 90, ..folder("/a/b") });
    let got = get(&stage.at(&format!(".tonearm/t/{again}/a/b?q=1"))).await;
    assert!(got.header("cache-status").contains("; hit"), "another token, the same object");
}

#[tokio::test]
async fn keys_take_each_others_place_and_a_bad_file_changes_nothing() {
    let (origin, mut keys) = (Origin::start().await, Keys::new(Kind::Ed25519));
    origin.put("a/b", Act::of(noise(1, 100)));
    let stage = Stage::before(&origin, |config| config.edge.url_keys = Some(keys.path())).await;
    let url = |token: &str| stage.at(&format!(".tonearm/t/{token}/a/b"));
    let old = url(&keys.token("k1", &folder("/a/")));
    assert_eq!(get(&old).await.status, 200);

    keys.set = with_new(Kind::Hmac, "k2", Some(keys.set.as_bytes())).unwrap();
    std::fs::write(keys.path(), &keys.set).unwrap();
    let new = url(&keys.token("k2", &folder("/a/")));
    eventually("the new key opens", || async { get(&new).await.status == 200 }).await;
    assert_eq!(get(&old).await.status, 200, "both are good");

    std::fs::write(keys.path(), "no keys").unwrap();
    let health = format!("{}/health/detailed", stage.admin);
    eventually("health says so", || async {
        get(&health).await.json()["components"]["url_keys"]["status"] == "degraded"
    })
    .await;
    assert_eq!(get(&old).await.status, 200, "the last good keys are in use");

    let only_new = with_new(Kind::Hmac, "k3", None).unwrap();
    std::fs::write(keys.path(), only_new).unwrap();
    eventually("the old key opens nothing", || async { get(&old).await.status == 403 }).await;
    assert_eq!(refused(&get(&new).await), "url-key-unknown");
}

#[tokio::test]
async fn a_delivery_names_the_decision_of_its_token() {
    let (origin, keys, ingest) = (Origin::start().await, Keys::new(Kind::Hmac), Catcher::start("/v1/deliveries").await);
    origin.put("a/b", Act::of(noise(1, 100)));
    let url = ingest.url.clone();
    let stage = Stage::before(&origin, |config| {
        config.edge.url_keys = Some(keys.path());
        config.edge.ingest = url;
        config.http.drain_timeout = Span::from_secs(2);
    })
    .await;
    let id = DecisionId::generate();
    let token = keys.token("k1", &Claims { decision_id: Some(id), ..folder("/a/") });
    get(&stage.at(&format!(".tonearm/t/{token}/a/b"))).await;
    let told = || -> Vec<Delivery> {
        ingest.caught::<DeliveryBatch>().into_iter().flat_map(|batch| batch.deliveries).collect()
    };
    eventually("the delivery is told", || async { !told().is_empty() }).await;
    assert_eq!((told()[0].decision_id, told()[0].key.as_str()), (Some(id), "a/b"));
    assert!(!serde_json::to_string(&told()).unwrap().contains(&token));
}
