//! The keys of media URLs' tokens: a JWK Set in a file, read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use arc_swap::{ArcSwap, Guard};
use wire::token::keys::KeySet;

use crate::health::Status;
use crate::{Health, Shutdown, files};

/// No set of keys is longer.
const MAX_BYTES: u64 = 1 << 20;

/// As the file had them when it was last good.
#[derive(Debug)]
pub struct UrlKeys {
    path: PathBuf,
    /// The key that tokens are made with, where they are.
    signer: Option<String>,
    current: ArcSwap<KeySet>,
}

impl UrlKeys {
    /// # Errors
    /// When the file cannot be read, is no set of keys, or has none to sign with where that is asked for.
    pub fn load(path: &Path, signer: Option<&str>) -> anyhow::Result<Self> {
        let current = ArcSwap::from_pointee(read(path, signer)?);
        Ok(Self { path: path.to_owned(), signer: signer.map(str::to_owned), current })
    }

    #[must_use]
    pub fn current(&self) -> Guard<Arc<KeySet>> {
        self.current.load()
    }

    /// Looks at the file until `ended`. Where it is no good the last good keys stay in use.
    pub async fn watch(self: Arc<Self>, health: Health, ended: Shutdown) {
        let again = || match read(&self.path, self.signer.as_deref()) {
            Ok(fresh) => {
                tracing::info!(keys = ?fresh, "the keys of media URLs were read again");
                self.current.store(Arc::new(fresh));
                health.set("url_keys", Status::Ok);
            }
            Err(error) => {
                health.set("url_keys", Status::Degraded(format!("the last good keys are in use: {error:#}")));
            }
        };
        files::watch([&self.path], &ended, again).await;
    }
}

fn read(path: &Path, signer: Option<&str>) -> anyhow::Result<KeySet> {
    let shown = path.display();
    let cannot = || format!("cannot read the keys of media URLs in {shown}");
    if std::fs::metadata(path).with_context(cannot)?.len() > MAX_BYTES {
        bail!("{shown} is longer than any set of keys");
    }
    let json = std::fs::read(path).with_context(cannot)?;
    let keys = KeySet::parse(&json).with_context(|| format!("{shown} has no keys of media URLs"))?;
    if let Some(signer) = signer.filter(|signer| !keys.signs(signer)) {
        bail!("{shown} has no key {signer:?} to sign with");
    }
    Ok(keys)
}
