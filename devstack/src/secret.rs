//! Keys and passwords: random, made once, readable only by their owner.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Letters and digits only, so that a secret fits a URL, a TOML string and a header as it is.
#[must_use]
pub fn random(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}

/// Everything secret about one data folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Secrets {
    pub admin_token: String,
    pub write_key: String,
    pub user_token: String,
    pub operator_token: String,
    pub postgres_password: String,
    pub s3_access_key: String,
    pub s3_secret_key: String,
    /// The file that says it is written at each start, so nothing is lost where an older one had none.
    #[serde(default = "analyst_password")]
    pub analyst_password: String,
}

fn analyst_password() -> String {
    random(24)
}

impl Secrets {
    #[must_use]
    pub fn generate() -> Self {
        Self {
            admin_token: random(40),
            write_key: random(24),
            user_token: random(40),
            operator_token: random(40),
            postgres_password: random(24),
            s3_access_key: random(20).to_uppercase(),
            s3_secret_key: random(40),
            analyst_password: analyst_password(),
        }
    }

    /// Those of the folder, or new ones: the servers' data was made with the first.
    ///
    /// # Errors
    /// When the file cannot be read, understood or written.
    pub fn load_or_generate(file: &Path) -> Result<Self> {
        if file.exists() {
            let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            return serde_json::from_str(&text).with_context(|| {
                format!("understand {}; `make reset` makes new secrets and new data", file.display())
            });
        }
        let secrets = Self::generate();
        write_private(file, &serde_json::to_string_pretty(&secrets)?)?;
        Ok(secrets)
    }
}

/// Writes a file that only its owner reads, whole or not at all.
///
/// # Errors
/// When the folder does not take it.
pub fn write_private(file: &Path, text: &str) -> Result<()> {
    let partial = file.with_extension("partial");
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .with_context(|| format!("write {}", partial.display()))?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&partial, file).with_context(|| format!("write {}", file.display()))
}
