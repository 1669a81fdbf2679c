//! TLS on the public listener: rustls, HTTP/2 or HTTP/1.1 by ALPN, certificates read again when their files
//! change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::{default_provider, sign};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use service::health::Status;
use service::{Health, Shutdown, files};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A certificate with its key, as the files had them when they were last good.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// # Errors
    /// When the files cannot be read or do not belong together.
    pub fn load(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let current = ArcSwap::from_pointee(read(chain, key)?);
        Ok(Self { chain: chain.to_owned(), key: key.to_owned(), current })
    }

    /// Looks at the files until `ended`. Where they are no good the last good ones stay in use.
    pub async fn watch(self: Arc<Self>, health: Health, ended: Shutdown) {
        let again = || match read(&self.chain, &self.key) {
            Ok(fresh) => {
                self.current.store(Arc::new(fresh));
                tracing::info!("the certificate was read again");
                health.set("tls", Status::Ok);
            }
            Err(error) => {
                health.set("tls", Status::Degraded(format!("the last good certificate is in use: {error:#}")));
            }
        };
        files::watch([&self.chain, &self.key], &ended, again).await;
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(chain: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let unreadable = |path: &Path| format!("cannot read {}", path.display());
    let certificates = CertificateDer::pem_file_iter(chain).with_context(|| unreadable(chain))?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().with_context(|| unreadable(chain))?;
    if certificates.is_empty() {
        bail!("{} has no certificate", chain.display());
    }
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| unreadable(key))?;
    let private = sign::any_supported_type(&private).with_context(|| format!("cannot use {}", key.display()))?;
    let certified = CertifiedKey::new(certificates, private);
    match certified.keys_match() {
        // Some kinds of keys do not tell.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(error) => Err(error).with_context(|| format!("{} is not the key of {}", key.display(), chain.display())),
    }
}

/// Takes TLS connections with a certificate.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Acceptor {
    /// # Errors
    /// When ring supports no version of TLS.
    pub fn new(certificate: Arc<Certificate>) -> anyhow::Result<Self> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .context("ring supports no protocol version")?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// # Errors
    /// When the handshake fails.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}
