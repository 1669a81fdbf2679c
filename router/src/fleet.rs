//! The fleet as this router last saw it: edges in the order of their ids.

pub(crate) mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Uri;
use wire::fleet::Edge;
use wire::{EdgeId, FieldError};

use crate::signals::Live;

/// More rows than this are not read: a decision names every edge, and one message of Kafka's holds no
/// more than 1 MB.
pub(crate) const EDGES_MAX: u16 = 4096;

#[derive(Debug, Clone, Default)]
pub(crate) struct Fleet {
    edges: Vec<Site>,
    /// Entries of the database that no router can use, by id, with the reason.
    refused: BTreeMap<String, String>,
}

/// One edge, and what is known of it at this moment.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) edge: Edge,
    /// What probes fetch, and players to measure.
    pub(crate) ping: Uri,
    pub(crate) live: Arc<Live>,
}

impl Site {
    /// # Errors
    /// [`FieldError`] naming what of the edge cannot be used.
    pub(crate) fn new(edge: Edge) -> Result<Self, FieldError> {
        edge.check()?;
        // PostgreSQL stores no NUL.
        if edge.place.as_ref().is_some_and(|p| !(1..=128).contains(&p.city.len()) || p.city.contains('\0')) {
            return Err(FieldError::new("place.city", "must be 1 to 128 bytes without NUL"));
        }
        parse_base("admin_url", &edge.admin_url, "/")?;
        let ping = parse_base("url", &edge.url, "/.tonearm/ping")?;
        Ok(Self { edge, ping, live: Arc::default() })
    }

    /// What probes measured stays true while they would measure the same.
    fn continues(&self, before: &Self) -> bool {
        self.ping == before.ping && self.edge.icmp_host == before.edge.icmp_host && self.edge.pop == before.edge.pop
    }
}

fn parse_base(field: &str, base: &str, path: &str) -> Result<Uri, FieldError> {
    let url = url::Url::parse(base).map_err(|e| FieldError::new(field, format!("is no URL: {e}")))?;
    if base.contains(['?', '#']) || !url.username().is_empty() || url.password().is_some() {
        return Err(FieldError::new(field, "must be a URL without user, query and fragment"));
    }
    let uri = format!("{base}{path}").parse::<Uri>().map_err(|e| FieldError::new(field, format!("is no URL: {e}")))?;
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(uri),
        _ => Err(FieldError::new(field, "must be a URL with a host")),
    }
}

impl Fleet {
    /// A fleet of what was read; edges that were there before keep their signals.
    pub(crate) fn build(read: Vec<Result<Edge, (String, FieldError)>>, before: &Self) -> Self {
        let mut fleet = Self::default();
        for entry in read {
            let site = entry.and_then(|edge| {
                let id = edge.edge_id.to_string();
                Site::new(edge).map_err(|e| (id, e))
            });
            match site {
                Ok(site) => fleet.edges.push(site),
                Err((id, e)) => {
                    fleet.refused.insert(id, e.to_string());
                }
            }
        }
        fleet.edges.sort_by(|a, b| a.edge.edge_id.cmp(&b.edge.edge_id));
        fleet.inherit(before);
        fleet
    }

    fn inherit(&mut self, before: &Self) {
        for site in &mut self.edges {
            if let Some(known) = before.find(&site.edge.edge_id).filter(|known| site.continues(known)) {
                site.live = known.live.clone();
            }
        }
    }

    pub(crate) fn edges(&self) -> &[Site] {
        &self.edges
    }

    pub(crate) fn refused(&self) -> &BTreeMap<String, String> {
        &self.refused
    }

    pub(crate) fn find(&self, id: &EdgeId) -> Option<&Site> {
        let at = self.edges.binary_search_by(|site| site.edge.edge_id.cmp(id)).ok()?;
        Some(&self.edges[at])
    }

    /// Whether operators have said the same of both; signals aside.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let said = |fleet: &Self| fleet.edges.iter().map(|site| site.edge.clone()).collect::<Vec<_>>();
        self.refused == other.refused && said(self) == said(other)
    }

    /// Logs entries that are refused now and were not before.
    pub(crate) fn log_refusals(&self, before: &Self) {
        for (edge, reason) in &self.refused {
            if before.refused.get(edge) != Some(reason) {
                tracing::warn!(edge.id = edge, reason, "an entry of the fleet is refused, the others stand");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(id: &str, url: &str) -> Edge {
        serde_json::from_value(serde_json::json!({
            "edge_id": id, "pop": "fra", "url": url, "admin_url": "http://10.0.0.1:7201", "capacity_bps": 1_000_000_000u64,
        }))
        .unwrap()
    }

    #[test]
    fn a_bad_entry_is_refused_alone() {
        let read = vec![Ok(edge("b", "http://b")), Ok(edge("c", "http://")), Ok(edge("a", "http://a:80"))];
        let fleet = Fleet::build(read, &Fleet::default());
        let ids: Vec<&str> = fleet.edges().iter().map(|site| site.edge.edge_id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(fleet.refused()["c"].starts_with("url: "), "{:?}", fleet.refused());
    }

    #[test]
    fn signals_survive_a_refresh_but_not_a_new_url() {
        let first = Fleet::build(vec![Ok(edge("a", "http://a")), Ok(edge("b", "http://b"))], &Fleet::default());
        let second = Fleet::build(vec![Ok(edge("a", "http://a")), Ok(edge("b", "http://elsewhere"))], &first);
        let kept = |i: usize| Arc::ptr_eq(&first.edges()[i].live, &second.edges()[i].live);
        assert!(kept(0) && !kept(1));
        assert!(!first.same_as(&second) && first.same_as(&first.clone()));
    }

    #[test]
    fn urls_that_no_prober_can_use() {
        for url in ["http://", "http://[::1", "http://a?x", "http://a#x", "http://me@a", "http://a:99999"] {
            let error = Site::new(edge("a", url)).unwrap_err();
            assert_eq!(error.field, "url", "{url}");
        }
        assert_eq!(Site::new(edge("a", "https://a.example/base")).unwrap().ping.path(), "/base/.tonearm/ping");
    }
}
