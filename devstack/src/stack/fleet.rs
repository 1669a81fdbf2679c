//! The demo's fleet: five edges in three POPs, each POP at its distance.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use http::Method;
use serde_json::Value;
use wire::endpoints::{EdgeEndpoint, Endpoints};
use wire::fleet::{Edge, EdgeState, Place};

use crate::http::Request;
use crate::relay::Distance;

/// A POP, as seen from here.
#[derive(Debug)]
pub struct Pop {
    pub id: &'static str,
    /// The POP that its edges ask before the origin.
    pub parent: Option<&'static str>,
    round_trip_ms: u64,
    jitter_ms: u64,
    city: &'static str,
    country: &'static str,
    latitude: f64,
    longitude: f64,
}

const WARSAW: Pop = Pop {
    id: "waw",
    parent: Some("fra"),
    round_trip_ms: 12,
    jitter_ms: 1,
    city: "Warsaw",
    country: "PL",
    latitude: 52.23,
    longitude: 21.01,
};
const FRANKFURT: Pop = Pop {
    id: "fra",
    parent: None,
    round_trip_ms: 24,
    jitter_ms: 1,
    city: "Frankfurt",
    country: "DE",
    latitude: 50.11,
    longitude: 8.68,
};
const NEW_YORK: Pop = Pop {
    id: "nyc",
    parent: Some("fra"),
    round_trip_ms: 105,
    jitter_ms: 2,
    city: "New York",
    country: "US",
    latitude: 40.71,
    longitude: -74.01,
};

/// Every edge with its POP; the order gives them their ports.
pub const EDGES: [(&str, &Pop); 5] =
    [("waw-1", &WARSAW), ("fra-1", &FRANKFURT), ("fra-2", &FRANKFURT), ("nyc-1", &NEW_YORK), ("nyc-2", &NEW_YORK)];

/// Edges report each second, and probes come every few.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// What each edge's uplink is said to carry.
pub const CAPACITY_BPS: u64 = 1_000_000_000;

impl Pop {
    #[must_use]
    pub fn distance(&self) -> Distance {
        let (round_trip, jitter) = (Duration::from_millis(self.round_trip_ms), Duration::from_millis(self.jitter_ms));
        Distance { round_trip, jitter }
    }

    fn place(&self) -> Place {
        let (city, country) = (self.city.to_owned(), self.country.to_owned());
        Place { city, country, latitude: self.latitude, longitude: self.longitude }
    }
}

/// Tells the router about every edge; telling it again changes nothing.
///
/// # Errors
/// When the router refuses.
pub async fn register(at: &Endpoints) -> Result<()> {
    for edge in &at.edges {
        let url = format!("{}/v1/fleet/edges/{}", at.router, edge.id);
        let body = serde_json::to_vec(&describe(edge))?;
        let request = Request::new(Method::PUT, url).header("content-type", "application/json");
        let answer = request.header("authorization", format!("Bearer {}", at.admin_token)).body(body).send().await?;
        answer.success(&format!("registering edge {}", edge.id))?;
    }
    Ok(())
}

/// Until the router has heard from every edge and measured the way to it; before that it has nobody to send listeners to.
///
/// # Errors
/// With the edges that it still knows too little of.
pub async fn wait_until_known(at: &Endpoints) -> Result<()> {
    let deadline = Instant::now() + KNOWN_WITHIN;
    loop {
        let request = Request::get(format!("{}/v1/pops", at.router));
        let answer = request.header("authorization", format!("Bearer {}", at.admin_token)).send().await?;
        let pops: Value = serde_json::from_slice(&answer.success("asking the router for its fleet")?.body)?;
        let edges = at.edges.iter().map(|edge| edge.id.as_str());
        let unknown: Vec<&str> = edges.filter(|id| !is_known(&pops, id)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("after {KNOWN_WITHIN:?} the router cannot route to {}: {pops}", unknown.join(", "));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Fit, and at a measured distance, wherever in the answer the edge stands.
fn is_known(pops: &Value, id: &str) -> bool {
    match pops {
        Value::Object(edge) if edge.get("edge_id").is_some_and(|edge_id| edge_id == id) => {
            edge.get("fit") == Some(&Value::Bool(true)) && edge.get("rtt_ms").is_some_and(Value::is_number)
        }
        Value::Object(fields) => fields.values().any(|field| is_known(field, id)),
        Value::Array(items) => items.iter().any(|item| is_known(item, id)),
        _ => false,
    }
}

fn describe(edge: &EdgeEndpoint) -> Edge {
    let pop = EDGES.iter().map(|(_, pop)| *pop).find(|pop| pop.id == edge.pop.as_str());
    Edge {
        edge_id: edge.id.clone(),
        pop: edge.pop.clone(),
        url: edge.url.clone(),
        admin_url: edge.admin.clone(),
        capacity_bps: CAPACITY_BPS,
        // Every edge is this machine; only requests through the relay have the POP's distance.
        icmp_host: None,
        state: EdgeState::Active,
        place: pop.map(Pop::place),
    }
}
