//! What ingest is told of where listeners are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service::config::{Problems, Section, Span};

/// `[geo]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeoConfig {
    /// MaxMind DB file with countries, such as GeoLite2-Country or ip-location-db's; none leaves the field empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country_db: Option<PathBuf>,
    /// MaxMind DB file with autonomous systems, such as GeoLite2-ASN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn_db: Option<PathBuf>,
    /// How often is looked whether the files have changed.
    pub check_interval: Span,
}

impl Default for GeoConfig {
    fn default() -> Self {
        Self { country_db: None, asn_db: None, check_interval: Span::from_secs(10) }
    }
}

impl Section for GeoConfig {
    const NAME: &'static str = "geo";

    fn check(&self, problems: &mut Problems<'_>) {
        if !(Span::from_millis(10)..=Span::from_secs(86_400)).contains(&self.check_interval) {
            problems.add("check_interval", "must be 10 ms to 1 day");
        }
    }
}
