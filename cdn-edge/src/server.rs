//! The public listener: one current-thread runtime a core, each with a listener of its own on the same
//! port (SO_REUSEPORT), so that a connection lives and is served on one core.

pub mod admission;
pub mod answer;
pub mod clients;
pub mod connection;
pub mod counters;
pub mod gate;
pub mod h1;
pub mod meter;
pub mod pass;
pub mod read;
pub mod streams;
pub mod tcp;
pub mod tls;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use rand::Rng;
use service::Shutdown;
use service::config::HttpConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use wire::EdgeId;

use crate::config::EdgeConfig;
use crate::delivery::transcript::Deliveries;
use crate::library::Library;
use crate::seal::Seal;
use admission::Admission;
use clients::{Clients, Limits};
use counters::Counters;
use gate::Gate;

/// As long as the kernel allows by default; connections beyond it see their SYN dropped and try again.
const BACKLOG: i32 = 4096;

/// `GET /.tonearm/test.chunk`: what a player measures its bandwidth with.
const TEST_CHUNK: usize = 1_000_000;

/// Test chunks at a time: measuring must not crowd out music.
const TEST_CHUNKS: usize = 16;

/// What every connection shares.
#[derive(Debug)]
pub struct Shared {
    pub library: Arc<Library>,
    pub deliveries: Deliveries,
    pub edge: EdgeId,
    pub http: HttpConfig,
    /// Not of a fleet: clients' cache directives are obeyed, and their query is the origin's alone.
    pub public: bool,
    pub write_timeout: std::time::Duration,
    pub server_timing: bool,
    pub cmsd: bool,
    /// Scripts of any site may read what a web origin answers.
    pub cors: bool,
    /// Knows the requests of other edges; none outside a fleet.
    pub seal: Option<Seal>,
    /// Lets signed URLs through and no others; none where all are open.
    pub gate: Option<Gate>,
    /// None where clients speak without TLS.
    pub tls: Option<tls::Acceptor>,
    pub connections: Arc<Semaphore>,
    /// What may wait for the origin.
    pub admission: Arc<Admission>,
    /// What each client may take.
    pub clients: Arc<Clients>,
    /// Answers at a time on the HTTP/2 connections of one thread.
    pub max_streams: u64,
    pub test_chunk: Bytes,
    pub test_chunks: Arc<Semaphore>,
}

impl Shared {
    #[must_use]
    pub fn new(
        library: Arc<Library>,
        deliveries: Deliveries,
        edge: &EdgeConfig,
        http: HttpConfig,
        tls: Option<tls::Acceptor>,
        seal: Option<Seal>,
        gate: Option<Gate>,
    ) -> Self {
        let mut noise = vec![0; TEST_CHUNK];
        rand::rng().fill_bytes(&mut noise);
        // Each thread holds one place while it waits for a connection.
        let places = http.max_connections + threads(edge);
        Self {
            library,
            deliveries,
            edge: edge.id.clone(),
            write_timeout: edge.write_timeout.0,
            public: edge.public,
            server_timing: edge.server_timing,
            cmsd: edge.cmsd,
            cors: edge.cors,
            connections: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            admission: Arc::new(Admission::new(edge.miss_units)),
            clients: Arc::new(Clients::new(Limits::of(edge))),
            max_streams: edge.max_streams.div_ceil(threads(edge)) as u64,
            tls,
            seal,
            gate,
            test_chunk: noise.into(),
            test_chunks: Arc::new(Semaphore::new(TEST_CHUNKS)),
            http,
        }
    }
}

/// Serving threads.
#[must_use]
pub fn threads(edge: &EdgeConfig) -> usize {
    match edge.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => n,
    }
}

/// One listener a thread, all on the same port.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(addr: SocketAddr, threads: usize) -> anyhow::Result<Vec<StdListener>> {
    let cannot = || format!("cannot listen on {addr}");
    if addr.port() != 0 {
        // Shared ports are shared with other processes of the user too: another edge on it must be an error.
        listen(addr, false).with_context(cannot)?;
    }
    let first = listen(addr, true).with_context(cannot)?;
    let addr = first.local_addr().with_context(cannot)?;
    let mut listeners = vec![first];
    while listeners.len() < threads {
        listeners.push(listen(addr, true).with_context(cannot)?);
    }
    Ok(listeners)
}

fn listen(addr: SocketAddr, shared: bool) -> std::io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Starts a serving thread; the receiver resolves once it has drained.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn serve(
    number: usize,
    listener: StdListener,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    let (ended, wait) = oneshot::channel();
    let serve = move || {
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => connection::accept(listener, shared, counters, shutdown).await,
                Err(error) => tracing::error!(%error, "a serving thread cannot use its listener"),
            }
        });
        // With it go the connections that the drain's deadline has ended, and their records are made.
        drop(runtime);
        // Nobody waits where the role was dropped rather than stopped.
        let _ = ended.send(());
    };
    std::thread::Builder::new().name(format!("edge-{number}")).spawn(serve).context("cannot start a serving thread")?;
    Ok(wait)
}
