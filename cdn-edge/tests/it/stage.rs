//! One edge, its folder, and something to serve.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use cdn_edge::Config;
use devstack::TestServers;
use devstack::s3client::S3Client;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use service::config::{Loader, Secret, Span};
use service::{Running, Shutdown};
use wire::endpoints::S3Endpoint;

use crate::client::PATIENCE;
use crate::origin::Origin;
use crate::web::Web;

pub(crate) const TOKEN: &str = "an-admin-token-of-tests";
pub(crate) const CHUNK: usize = 256 << 10;

/// Bytes that no other seed gives.
pub(crate) fn noise(seed: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.into()
}

/// Small and quick; every test alters what it is about.
pub(crate) fn config(dir: &std::path::Path) -> Config {
    let environment = [
        ("TONEARM_AUTH_ADMIN_TOKEN", TOKEN),
        ("TONEARM_S3_ACCESS_KEY", "access"),
        ("TONEARM_S3_SECRET_KEY", "secret"),
        ("TONEARM_S3_BUCKET", "bucket"),
        ("TONEARM_EDGE_ID", "fra-1"),
        ("TONEARM_EDGE_POP", "fra"),
        ("TONEARM_EDGE_LISTEN", "127.0.0.1:0"),
        ("TONEARM_EDGE_ADMIN_LISTEN", "127.0.0.1:0"),
    ];
    let mut loader = Loader::new(None, environment.map(|(k, v)| (k.to_owned(), v.to_owned()))).unwrap();
    let mut config = Config::read(&mut loader);
    loader.finish().unwrap();
    config.edge.cache_dir = dir.to_owned();
    config.edge.cache_memory = ByteSize::mib(64);
    config.edge.cache_disk = ByteSize::gib(1);
    config.edge.threads = 2;
    config.edge.report_interval = Span::from_millis(100);
    // Origins here hold bodies back until a crowd has come, which takes its time on a loaded machine; a test that is
    // about giving up sets its own.
    config.edge.origin_idle_timeout = Span::from_secs(60);
    config.http.drain_timeout = Span::from_secs(2);
    config
}

pub(crate) struct Stage {
    pub(crate) config: Config,
    edge: Option<Running>,
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) dir: tempfile::TempDir,
}

impl Stage {
    /// An edge in front of the scripted origin.
    pub(crate) async fn before(origin: &Origin, change: impl FnOnce(&mut Config)) -> Self {
        let url = origin.url.clone();
        Self::start(|config| {
            config.s3.endpoint = url;
            change(config);
        })
        .await
    }

    /// A plain caching proxy in front of a web origin.
    pub(crate) async fn public(web: &Web, change: impl FnOnce(&mut Config)) -> Self {
        let url = web.url.clone();
        Self::start(|config| {
            config.edge.origin = url;
            config.edge.public = true;
            change(config);
        })
        .await
    }

    /// An edge that takes a web origin for a bucket's server.
    pub(crate) async fn of_bucket(web: &Web, change: impl FnOnce(&mut Config)) -> Self {
        let url = web.url.clone();
        Self::start(|config| {
            config.s3.endpoint = url;
            change(config);
        })
        .await
    }

    /// An edge in front of a bucket of the real S3 server.
    pub(crate) async fn before_s3(change: impl FnOnce(&mut Config)) -> (Self, S3Client) {
        let bucket = TestServers::shared().await.fresh_bucket().await;
        let client = S3Client::new(&bucket).unwrap();
        let stage = Self::start(|config| {
            point_at(config, &bucket);
            change(config);
        });
        (stage.await, client)
    }

    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        service::metrics::start();
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let mut stage = Self { config, edge: None, url: String::new(), admin: String::new(), dir };
        stage.up().await;
        stage
    }

    async fn up(&mut self) {
        let edge = cdn_edge::start(self.config.clone(), Shutdown::new()).await.unwrap();
        self.url = edge.url();
        self.admin = format!("http://{}", edge.admin_addr.unwrap());
        self.edge = Some(edge);
    }

    pub(crate) async fn stop(&mut self) {
        self.edge.take().unwrap().stop().await.unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.up().await;
    }

    /// Starts again with what was left behind.
    pub(crate) async fn start_again(&mut self) {
        self.up().await;
    }

    /// The files that objects have on disk.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let read =
            |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        read(self.dir.path().join("objects")).flat_map(read).collect()
    }

    pub(crate) fn at(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }
}

pub(crate) fn point_at(config: &mut Config, s3: &S3Endpoint) {
    config.s3.endpoint.clone_from(&s3.endpoint);
    config.s3.bucket.clone_from(&s3.bucket);
    config.s3.access_key.clone_from(&s3.access_key);
    config.s3.secret_key = Secret::new(&s3.secret_key);
}

/// Waits until it is so, with a bound.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} did not come true"));
}
