//! A page with hls.js in Chromium, and what it tells of how it played.

use std::convert::Infallible;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::HLS_JS;
use crate::clients::{repository, run};

/// Chromium starts in seconds, and the page gives up by itself before.
const PATIENCE: Duration = Duration::from_secs(90);

/// Plays the playlist through an edge until time has moved, before and after a seek.
pub(super) async fn hls_js_plays(edge: &str) {
    let package = run(Command::new(repository().join("scripts/node-package")).arg(HLS_JS));
    let script = std::fs::read(Path::new(package.trim()).join("dist/hls.min.js")).unwrap();
    let page = std::fs::read(repository().join("scripts/clients/hls.html")).unwrap();
    let (url, mut told) = serve(page.into(), script.into()).await;
    let profile = tempfile::tempdir().unwrap();
    let user_data = format!("--user-data-dir={}", profile.path().display());
    // As root there is no sandbox; the page is ours.
    let options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", &user_data];
    let page = format!("{url}/#{edge}/album/media.m3u8");
    let mut chromium = Command::new("chromium")
        .args(options)
        .args(["--autoplay-policy=no-user-gesture-required", &page])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = tokio::time::timeout(PATIENCE, told.recv()).await;
    chromium.kill().unwrap();
    chromium.wait().unwrap();
    let told = told.expect("the page tells in time").unwrap();
    assert_eq!(told["errors"], Value::Array(Vec::new()), "{told}");
    let (played, at) = (told["played"].as_f64().unwrap(), told["at"].as_f64().unwrap());
    assert!(played > 1.0 && at > 9.5 && (told["duration"].as_f64().unwrap() - super::SECONDS).abs() < 0.5, "{told}");
    let segments = told["requests"].as_array().unwrap();
    assert!(segments.len() >= 5 && segments.iter().all(|one| one[0].as_str().unwrap().starts_with(edge)), "{told}");
    println!("hls.js {} in Chromium: played to {played:.1} s, after a seek to {at:.1} s", told["version"]);
}

/// The page and its script, and what the page posts.
async fn serve(page: Bytes, script: Bytes) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (page, script, tell) = (page.clone(), script.clone(), tell.clone());
            let service = service_fn(move |request| answer(request, page.clone(), script.clone(), tell.clone()));
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, told)
}

async fn answer(
    request: Request<Incoming>,
    page: Bytes,
    script: Bytes,
    tell: mpsc::Sender<Value>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (kind, body) = match (request.method(), request.uri().path()) {
        (&Method::POST, _) => {
            let posted = request.into_body().collect().await.unwrap().to_bytes();
            // Whoever waited has gone with the first.
            let _ = tell.try_send(serde_json::from_slice(&posted).unwrap());
            ("text/plain", Bytes::new())
        }
        (_, "/hls.js") => ("text/javascript", script),
        _ => ("text/html", page),
    };
    Ok(Response::builder().header("content-type", kind).body(Full::new(body)).unwrap())
}
