//! A connection: accepted where there is room, its protocol found out, served by hyper, drained at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use service::Shutdown;
use service::http::rewound::Rewound;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::Shared;
use super::answer::Answerer;
use super::clients::Place;
use super::counters::Counters;
use super::h1;
use super::meter::{Meter, MeteredIo};
use super::streams::{OnThisThread, STREAMS, Streams, Weary};
use super::tcp::{Tcp, Wire};
use crate::interim::Interims;

/// What a response holds beside the socket: with more, hyper would take a second chunk before the
/// first has left.
const BUFFER: usize = 64 << 10;

/// A request's head; keys are at most 1 KiB, and players send no large cookies here.
pub(super) const HEAD: usize = 32 << 10;

/// With these an HTTP/2 connection begins (RFC 9113, section 3.4), and no request of HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Accepts until `shutdown`, then waits for connections to end, at most for the drain's deadline.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>, counters: Arc<Counters>, shutdown: Shutdown) {
    let connections = TaskTracker::new();
    // One a thread: each connection's wait for the stop then touches no other core's memory.
    let stop = shutdown.child_token();
    while let Some(place) = tokio::select! {
        () = stop.cancelled() => None,
        place = shared.connections.clone().acquire_owned() => place.ok(),
    } {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(client) = shared.clients.enter(peer.ip()) else {
                    // Before TLS: an answer would cost more than the connection.
                    shared.library.metrics.refused_connections.increment(1);
                    continue;
                };
                let client = client.map(Arc::new);
                let served = serve(stream, peer, client, shared.clone(), counters.clone(), stop.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            // Out of file descriptors: a pause lets some come back instead of spinning.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(shared.http.drain_timeout.0, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "the drain's deadline has passed; the rest is ended");
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    place: Option<Arc<Place>>,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    stop: Shutdown,
) {
    // Bodies go out in large pieces: waiting to fill a segment would only delay their ends.
    let _ = stream.set_nodelay(true);
    let _open = Open::new(counters.clone());
    let answerer = |https| Answerer {
        shared: shared.clone(),
        counters: counters.clone(),
        client: peer.ip(),
        place,
        tcp: None,
        https,
        interims: None,
    };
    // A head's time is also what a handshake or a preface may take.
    let patience = shared.http.header_timeout.0;
    let Some(tls) = shared.tls.clone() else {
        let begun = stop.run_until_cancelled(tokio::time::timeout(patience, begins_as_http2(&stream))).await;
        let Some(begun) = begun else { return };
        return match begun {
            Ok(true) => http2(stream, answerer(false), stop).await,
            Ok(false) => http1(stream, answerer(false), stop).await,
            Err(_) => tracing::debug!("a connection said nothing in time"),
        };
    };
    let greeted = stop.run_until_cancelled(tokio::time::timeout(patience, tls.accept(stream))).await;
    let Some(greeted) = greeted else { return };
    match greeted {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            http2(stream, answerer(true), stop).await;
        }
        Ok(Ok(stream)) => http1(stream, answerer(true), stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Looks at the first bytes without taking them. Most clients have sent them by now.
async fn begins_as_http2(stream: &TcpStream) -> bool {
    let mut first = [0; PREFACE.len()];
    loop {
        let Ok(seen) = stream.peek(&mut first).await else { return false };
        if seen == 0 || first[..seen] != PREFACE[..seen] {
            return false;
        }
        if seen == PREFACE.len() {
            return true;
        }
        // A part of the preface, which is rare; what is there makes the next look return at once.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn http1<S: AsyncRead + AsyncWrite + Wire + Unpin + Send + 'static>(
    mut stream: S,
    answerer: Answerer,
    stop: Shutdown,
) {
    let shared = answerer.shared.clone();
    let tcp = Arc::new(Tcp::new(&stream, shared.deliveries.wanted() || shared.cmsd));
    let answerer = Answerer { tcp: Some(tcp.clone()), interims: Some(Interims::default()), ..answerer };
    let stream = match h1::serve(&mut stream, &answerer, &tcp, &stop, HEAD).await {
        h1::End::Closed => return,
        h1::End::Unusual(read) => Rewound::new(read, stream),
    };
    let meter = Arc::new(Meter::new(answerer.counters.clone(), shared.deliveries.clone(), tcp.clone()));
    let io = MeteredIo::new(stream, Some(meter.clone()), tcp.clone(), answerer.place.clone(), shared.write_timeout);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(shared.http.header_timeout.0)
        .max_buf_size(BUFFER)
        .max_header_size(HEAD);
    let answerer = Arc::new(Answerer { interims: None, ..answerer });
    let metering = meter.clone();
    let service = service_fn(move |request| {
        let (answerer, meter) = (answerer.clone(), metering.clone());
        async move { Ok::<_, Infallible>(answerer.answer_metered(request, &meter).await) }
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        if error.is_user() && meter.is_open_ended() {
            // The body could not be had to its end, which the connection's would be taken for.
            tcp.break_off();
        }
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn http2<S: AsyncRead + AsyncWrite + Wire + Unpin + Send + 'static>(
    stream: S,
    answerer: Answerer,
    stop: Shutdown,
) {
    let shared = answerer.shared.clone();
    let (idle, stalled) = (shared.http.header_timeout.0, shared.write_timeout);
    let mut builder = http2::Builder::new(OnThisThread);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEAD).expect("a few KiB"))
        .max_send_buf_size(BUFFER)
        .keep_alive_interval(Some(idle))
        .keep_alive_timeout(idle);
    let tcp = Arc::new(Tcp::new(&stream, shared.deliveries.wanted() || shared.cmsd));
    let answerer = Answerer { tcp: Some(tcp.clone()), ..answerer };
    let io = MeteredIo::new(stream, None, tcp.clone(), answerer.place.clone(), stalled);
    let streams = Arc::new(Streams::new(answerer, tcp));
    let activity = streams.activity.clone();
    let service = service_fn(move |request| {
        let streams = streams.clone();
        async move { Ok::<_, Infallible>(streams.answer(request).await) }
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        weary = activity.weary(idle, stalled) => {
            tracing::debug!(?weary, "a connection is of no use any more");
            if weary == Weary::Stalled {
                return;
            }
            connection.as_mut().graceful_shutdown();
            // The client gets the time of a head to take its leave.
            return drop(tokio::time::timeout(idle, connection).await);
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Counts a connection for as long as it is open.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: Arc<Counters>) -> Self {
        counters.connections.fetch_add(1, Relaxed);
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
