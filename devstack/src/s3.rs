//! The origin: a folder served as S3, signatures checked; by ourselves, or by versitygw, where `TONEARM_TEST_S3` says so.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use wire::endpoints::S3Endpoint;

use crate::fetch;
use crate::probe::Probe;
use crate::process::Launch;
use crate::unit::Unit;

/// Keys travel in the environment: an argument is everybody's to read.
pub const ACCESS_KEY: &str = "DEVSTACK_S3_ACCESS_KEY";
pub const SECRET_KEY: &str = "DEVSTACK_S3_SECRET_KEY";
/// Which server tests run against.
const KIND: &str = "TONEARM_TEST_S3";

#[derive(Debug, Clone)]
pub struct S3 {
    pub dir: PathBuf,
    pub port: u16,
    pub bucket: String,
    pub access_key: String,
    pub secret_key: String,
}

impl S3 {
    #[must_use]
    pub fn endpoint(&self) -> S3Endpoint {
        S3Endpoint {
            endpoint: format!("http://127.0.0.1:{}", self.port),
            bucket: self.bucket.clone(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
        }
    }

    /// # Errors
    /// When its folder cannot be made, or the server not be found.
    pub async fn prepare(&self, log: PathBuf) -> Result<Unit> {
        std::fs::create_dir_all(&self.dir).with_context(|| format!("create {}", self.dir.display()))?;
        let listen = format!("127.0.0.1:{}", self.port);
        let launch = match std::env::var(KIND).as_deref() {
            Ok("versitygw") => {
                let launch = Launch::new(fetch::versitygw().await?, &self.dir, log);
                let launch = launch.args(["--quiet", "--port", &listen, "posix"]).args([&self.dir]);
                launch.env("ROOT_ACCESS_KEY", &self.access_key).env("ROOT_SECRET_KEY", &self.secret_key)
            }
            Ok("") | Err(_) => {
                let us = std::env::current_exe().context("find our own binary")?;
                let launch = Launch::new(us, &self.dir, log);
                let launch = launch.args(["s3", "--listen", &listen, "--dir"]).args([&self.dir]);
                launch.env(ACCESS_KEY, &self.access_key).env(SECRET_KEY, &self.secret_key)
            }
            Ok(other) => bail!("{KIND} is {other:?}: it may be versitygw, or nothing"),
        };
        Ok(Unit {
            name: "S3".into(),
            launch,
            probe: Probe::S3(self.endpoint()),
            ready_within: Duration::from_secs(20),
            stop_within: Duration::from_secs(5),
            postgres_dir: None,
        })
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the folder or the address cannot be had.
pub async fn serve(dir: &Path, listen: SocketAddr, access_key: String, secret_key: String) -> Result<()> {
    let files = s3s_fs::FileSystem::new(dir).map_err(|error| anyhow!("serve {}: {error:?}", dir.display()))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
    let service = builder.build();
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, service.clone()))),
            // Out of file handles, most likely: those in use come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(stream: TcpStream, service: S3Service) {
    // Without it small answers wait for the client's acknowledgement; with an error they only do so.
    let _ = stream.set_nodelay(true);
    // A client that hangs up is its own affair.
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}
