//! An edge as the router sees it: answers pings after a while, and reports its load.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::get;
use http::Method;
use serde_json::{Value, json};
use service::client::ApiClient;
use service::config::{HttpConfig, Span};
use service::{Health, Shutdown};
use tokio::task::JoinHandle;
use wire::Timestamp;

/// Shares of CPU and uplink, 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) cpu: f64,
    pub(crate) network: f64,
}

pub(crate) const IDLE: Load = Load { cpu: 0.1, network: 0.1 };

pub(crate) struct Edge {
    pub(crate) id: String,
    pub(crate) addr: SocketAddr,
    latency: Duration,
    listening: Mutex<Option<(Shutdown, JoinHandle<()>)>>,
    load: Arc<Mutex<Option<Load>>>,
    reporting: Mutex<Option<JoinHandle<()>>>,
}

impl Edge {
    /// `fra-1` stands in `fra`.
    pub(crate) async fn listen(id: &str, latency: Duration) -> Self {
        let (addr, listening) = serve(SocketAddr::from(([127, 0, 0, 1], 0)), latency).await;
        let listening = Mutex::new(Some(listening));
        Self { id: id.into(), addr, latency, listening, load: Arc::default(), reporting: Mutex::default() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn pop(&self) -> &str {
        self.id.split('-').next().unwrap()
    }

    pub(crate) fn registration(&self) -> Value {
        json!({ "pop": self.pop(), "url": self.url(), "admin_url": self.url(), "capacity_bps": 1_000_000_000u64 })
    }

    /// Reports ten times a second from now on.
    pub(crate) fn report_to(&self, operator: ApiClient, url: String, load: Load) {
        *self.load.lock().unwrap() = Some(load);
        let (id, pop, load, started) = (self.id.clone(), self.pop().to_owned(), self.load.clone(), Timestamp::now());
        let reporting = tokio::spawn(async move {
            for seq in 1u64.. {
                let now = *load.lock().unwrap();
                if let Some(now) = now {
                    // A router that is being restarted misses one.
                    let _ = operator.send_json(Method::POST, &url, &report(&id, &pop, started, seq, now)).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        *self.reporting.lock().unwrap() = Some(reporting);
    }

    /// From the next report on; none falls silent.
    pub(crate) fn set_load(&self, load: Option<Load>) {
        *self.load.lock().unwrap() = load;
    }

    /// Its listener goes, its connections too; it reports on, as a machine does whose server died.
    pub(crate) async fn kill_listener(&self) {
        let (shutdown, task) = self.listening.lock().unwrap().take().unwrap();
        shutdown.cancel();
        task.await.unwrap();
    }

    pub(crate) async fn listen_again(&self) {
        let (_, listening) = serve(self.addr, self.latency).await;
        *self.listening.lock().unwrap() = Some(listening);
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.reporting.lock().unwrap().take().inspect(JoinHandle::abort);
        self.listening.lock().unwrap().take().inspect(|(shutdown, _)| shutdown.cancel());
    }
}

async fn serve(addr: SocketAddr, latency: Duration) -> (SocketAddr, (Shutdown, JoinHandle<()>)) {
    let listener = service::http::bind(addr).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let ping = move || async move {
        tokio::time::sleep(latency).await;
        "pong"
    };
    let routes = axum::Router::new().route("/.tonearm/ping", get(ping));
    let (config, shutdown) =
        (HttpConfig { drain_timeout: Span::from_secs(1), ..HttpConfig::default() }, Shutdown::new());
    let task = tokio::spawn(service::http::serve(listener, routes, config, Health::new("edge"), shutdown.clone()));
    (addr, (shutdown, task))
}

pub(crate) fn report(id: &str, pop: &str, started_at: Timestamp, seq: u64, load: Load) -> Value {
    json!({
        "edge_id": id, "pop": pop, "started_at": started_at, "seq": seq, "sent_at": Timestamp::now(),
        "cpu": load.cpu, "memory": 0.2, "disk_io_bytes_s": 0, "disk_capacity_bytes_s": 0,
        "connections": 10, "connections_max": 1000,
        "network_out_bps": (load.network * 1e9) as u64, "network_capacity_bps": 1_000_000_000u64,
    })
}
