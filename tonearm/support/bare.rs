//! The bare ceiling: hyper that answers every request with the same bytes.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::process::{Core, Server, free_port, ready};

/// Set in the process that is to become the bare server: `port:bytes`.
const BECOME: &str = "TONEARM_BENCH_BARE";

/// Call first in `main`: in the child this serves and does not return.
pub fn become_server_if_asked() -> anyhow::Result<()> {
    let Ok(order) = std::env::var(BECOME) else { return Ok(()) };
    let (port, bytes) = order.split_once(':').unwrap_or((&order, "0"));
    let body = Bytes::from(vec![b'x'; bytes.parse()?]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(port.parse()?, 200, body))
}

/// This program again, as a bare server on core 0 whose answers have so many bytes.
pub async fn start(bytes: usize) -> anyhow::Result<(Server, String)> {
    let port = free_port()?;
    let this = std::env::current_exe()?.display().to_string();
    let server = Server::start(Core::First, &this, &[], &[(BECOME, &format!("{port}:{bytes}"))])?;
    let url = format!("http://127.0.0.1:{port}/");
    ready(&url).await?;
    Ok((server, url))
}

/// A listener in this process that answers everything with `status`: an edge to probe, an ingest to post to.
pub async fn answer_all(status: u16, body: Bytes) -> anyhow::Result<String> {
    let port = free_port()?;
    tokio::spawn(serve(port, status, body));
    Ok(format!("http://127.0.0.1:{port}"))
}

async fn serve(port: u16, status: u16, body: Bytes) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let body = body.clone();
            async move {
                // Unread bodies would close the connection.
                let _ = request.into_body().collect().await;
                let response = Response::builder().status(status).header("content-type", "application/json");
                Ok::<_, Infallible>(response.body(Full::new(body)).expect("a status and a header make a response"))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move { drop(connection.await) });
    }
}
