//! TLS and HTTP/2 on the public listener, and TLS towards the origin.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use service::config::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wire::delivery::DeliveryBatch;

use crate::catcher::Catcher;
use crate::client::{PATIENCE, get};
use crate::stage::{CHUNK, Stage, eventually, noise};
use crate::web::{Reply, Web};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=3600");

/// A certificate for localhost, in files.
struct Identity {
    dir: tempfile::TempDir,
}

impl Identity {
    fn new() -> Self {
        let identity = Self { dir: tempfile::tempdir().unwrap() };
        identity.renew();
        identity
    }

    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(self.chain(), made.cert.pem()).unwrap();
    }

    fn chain(&self) -> PathBuf {
        self.dir.path().join("chain.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }
}

async fn over_tls(web: &Web, identity: &Identity) -> Stage {
    Stage::public(web, |config| {
        config.edge.tls_certificate = Some(identity.chain());
        config.edge.tls_key = Some(identity.key());
        config.http.header_timeout = Span::from_millis(500);
    })
    .await
}

fn address(stage: &Stage) -> &str {
    stage.url.strip_prefix("http://").unwrap()
}

async fn connect(stage: &Stage, trusted: &Path, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address(stage)).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

pub(crate) type Sender = http2::SendRequest<Full<Bytes>>;

pub(crate) async fn speak_http2<S>(stream: S) -> Sender
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    // Ends with its sender, or when the other side has enough of it.
    tokio::spawn(async move { connection.await.ok() });
    sender
}

pub(crate) async fn ask(
    sender: &Sender,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> (u16, Bytes) {
    let mut request =
        Request::builder().method(method).uri(format!("https://localhost{path}")).version(Version::HTTP_2);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(body)).unwrap();
    let response = tokio::time::timeout(PATIENCE, sender.clone().send_request(request)).await.unwrap().unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn many_answers_on_one_connection() {
    let (web, identity, bytes) = (Web::start().await, Identity::new(), noise(1, 3 * CHUNK));
    web.put("/song", [Reply::new(200, &[FRESH, ("ETag", "\"a\"")], &bytes)]);
    web.put("/form", [Reply::new(201, &[], "made")]);
    let stage = over_tls(&web, &identity).await;
    let stream = connect(&stage, &identity.chain(), b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let sender = speak_http2(stream).await;
    let all = join_all((0..20).map(|_| ask(&sender, Method::GET, "/song", &[], ""))).await;
    assert!(all.iter().all(|(status, body)| *status == 200 && *body == bytes));
    assert_eq!(web.heard().len(), 1);
    let part = ask(&sender, Method::GET, "/song", &[("range", "bytes=5-9")], "").await;
    assert_eq!(part, (206, bytes.slice(5..10)));
    assert_eq!(ask(&sender, Method::HEAD, "/song", &[], "").await, (200, Bytes::new()));
    let made = ask(&sender, Method::POST, "/form", &[("cookie", "a=b"), ("cookie", "c=d")], "body").await;
    assert_eq!(made, (201, Bytes::from("made")));
    let heard = web.last();
    assert_eq!((&heard.body[..], heard.header("cookie")), (&b"body"[..], "a=b; c=d"));
    assert_eq!((heard.header("via"), heard.header("x-forwarded-proto")), ("2 fra-1", "https"));
    assert_eq!(heard.header("x-forwarded-host"), "localhost");
}

#[tokio::test]
async fn http1_by_alpn_and_http2_without_tls() {
    let (web, identity) = (Web::start().await, Identity::new());
    web.put("/a", [Reply::new(200, &[FRESH], "a")]);
    let stage = over_tls(&web, &identity).await;
    let stream = connect(&stage, &identity.chain(), b"http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    let request = Request::get("/a").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a");

    let plain = Stage::public(&web, |_| ()).await;
    let sender = speak_http2(TcpStream::connect(address(&plain)).await.unwrap()).await;
    assert_eq!(ask(&sender, Method::GET, "/a", &[], "").await, (200, Bytes::from("a")));
    assert_eq!(get(&plain.at("a")).await.bytes(), "a");
}

#[tokio::test]
async fn a_certificate_is_read_again_when_its_files_change() {
    let (web, identity) = (Web::start().await, Identity::new());
    let stage = over_tls(&web, &identity).await;
    let old = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(identity.chain(), old.path()).unwrap();
    connect(&stage, old.path(), b"h2").await.unwrap();
    std::fs::write(identity.key(), "no key").unwrap();
    eventually("health tells of the files", || async {
        let health = get(&format!("{}/health/detailed", stage.admin)).await;
        health.json()["components"]["tls"]["status"] == "degraded"
    })
    .await;
    connect(&stage, old.path(), b"h2").await.expect("the last good one is in use");
    identity.renew();
    eventually("the new one is in use", || async { connect(&stage, &identity.chain(), b"h2").await.is_ok() }).await;
    assert!(connect(&stage, old.path(), b"h2").await.is_err());
}

#[tokio::test]
async fn an_origin_over_tls_is_one_whose_certificate_is_trusted() {
    let (web, identity) = (Web::start().await, Identity::new());
    web.put("/a", [Reply::new(200, &[FRESH], "a")]);
    let origin = over_tls(&web, &identity).await;
    let url = format!("https://localhost:{}", address(&origin).rsplit(':').next().unwrap());
    for trusted in [true, false] {
        let stage = Stage::public(&web, |config| {
            config.edge.origin.clone_from(&url);
            config.edge.origin_ca = trusted.then(|| identity.chain());
        })
        .await;
        assert_eq!(get(&stage.at("a")).await.status, if trusted { 200 } else { 502 });
    }
}

#[tokio::test]
async fn whoever_holds_a_connection_for_nothing_loses_it() {
    let (web, identity) = (Web::start().await, Identity::new());
    let impatient = |config: &mut cdn_edge::Config| config.http.header_timeout = Span::from_millis(300);
    let (plain, tls) = (Stage::public(&web, impatient).await, over_tls(&web, &identity).await);
    for (stage, begun) in
        [(&plain, &b""[..]), (&plain, b"PRI * HT"), (&plain, b"GET / HT"), (&tls, b""), (&tls, b"\x16\x03")]
    {
        let mut stream = TcpStream::connect(address(stage)).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{begun:?}");
    }
    let mut idle = speak_http2(TcpStream::connect(address(&plain)).await.unwrap()).await;
    idle.ready().await.unwrap();
    eventually("an idle connection ends", || async { idle.is_closed() }).await;
}

#[tokio::test]
async fn records_tell_of_tcp_below_tls() {
    let (web, identity, ingest) = (Web::start().await, Identity::new(), Catcher::start("/v1/deliveries").await);
    web.put("/song", [Reply::new(200, &[FRESH], noise(3, 1000))]);
    let stage = Stage::public(&web, |config| {
        config.edge.tls_certificate = Some(identity.chain());
        config.edge.tls_key = Some(identity.key());
        config.edge.ingest.clone_from(&ingest.url);
    })
    .await;
    let h2 = speak_http2(connect(&stage, &identity.chain(), b"h2").await.unwrap()).await;
    assert_eq!(ask(&h2, Method::GET, "/song", &[], "").await.0, 200);
    let tls = connect(&stage, &identity.chain(), b"http/1.1").await.unwrap();
    let (mut h1, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    let request = Request::get("/song").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
    let answer = h1.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes().len(), 1000);
    let records = || ingest.caught::<DeliveryBatch>().into_iter().flat_map(|batch| batch.deliveries);
    eventually("both are recorded", || async { records().count() == 2 }).await;
    assert!(records().all(|record| record.tcp_rtt_us.is_some_and(|rtt| rtt > 0)));
}
