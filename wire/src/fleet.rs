//! The fleet: POPs and edges, as operators register them and PostgreSQL holds them.

use serde::{Deserialize, Serialize};

use crate::{EdgeId, FieldError, PopId};

/// Whether an edge may get listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeState {
    Active,
    /// Serves those it has, gets no new ones.
    Drain,
    Maintenance,
}

impl EdgeState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

/// One edge, as `PUT /v1/fleet/edges/{id}` takes it and `GET /v1/pops` tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Taken from the path on `PUT`.
    pub edge_id: EdgeId,
    pub pop: PopId,
    /// Where listeners reach it, without a trailing slash.
    pub url: String,
    /// Where operators and the catalog reach it, without a trailing slash.
    pub admin_url: String,
    /// What its uplink carries, in bits a second.
    pub capacity_bps: u64,
    /// The address to ping by ICMP; none where only HTTP probes tell the truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_host: Option<std::net::IpAddr>,
    #[serde(default = "active")]
    pub state: EdgeState,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

fn active() -> EdgeState {
    EdgeState::Active
}

/// Where a POP stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub city: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
}

impl Edge {
    /// What types alone do not refuse.
    ///
    /// # Errors
    /// [`FieldError`] naming the field.
    pub fn check(&self) -> Result<(), FieldError> {
        for (field, url) in [("url", &self.url), ("admin_url", &self.admin_url)] {
            let http = url.starts_with("http://") || url.starts_with("https://");
            if !http || url.ends_with('/') || url.len() > 512 || url.contains(char::is_whitespace) {
                return Err(FieldError::new(field, "must be an http or https URL without a trailing slash"));
            }
        }
        if !(1_000_000..=10_000_000_000_000).contains(&self.capacity_bps) {
            return Err(FieldError::new("capacity_bps", "must be between 1 Mbit/s and 10 Tbit/s"));
        }
        self.place.as_ref().map_or(Ok(()), Place::check)
    }
}

impl Place {
    fn check(&self) -> Result<(), FieldError> {
        if !(-90.0..=90.0).contains(&self.latitude) {
            return Err(FieldError::new("place.latitude", "must be between -90 and 90"));
        }
        if !(-180.0..=180.0).contains(&self.longitude) {
            return Err(FieldError::new("place.longitude", "must be between -180 and 180"));
        }
        if self.country.len() != 2 || !self.country.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(FieldError::new("place.country", "must be an ISO 3166-1 alpha-2 code"));
        }
        Ok(())
    }
}
