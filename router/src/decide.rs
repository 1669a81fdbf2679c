//! One decision: the snapshot and the listener's network become a view, the policy chooses, and what it
//! read and said is put down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::decision::{Candidate, Decision, Excluded, RttSource, Via};
use wire::{ClientNet, DecisionId, Timestamp, TrackId};

use crate::config::RouterConfig;
use crate::fleet::Site;
use crate::listeners::{Estimates, Network};
use crate::policy::{Choice, EdgeView, Policy, Reason, View};
use crate::snapshot::Snapshot;

#[derive(Debug)]
pub(crate) struct Decider {
    policy: Policy,
    load_max: f64,
    ttl_s: u32,
    router_id: String,
    report_max_age: Duration,
    estimates: Arc<Estimates>,
}

/// Who asks for what, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) track: &'a TrackId,
    pub(crate) net: ClientNet,
    pub(crate) via: Via,
}

impl Decider {
    pub(crate) fn new(config: &RouterConfig, estimates: Arc<Estimates>) -> Self {
        Self {
            policy: config.policy,
            load_max: config.load_max,
            ttl_s: config.ttl_s,
            router_id: config.id.clone(),
            report_max_age: config.report_max_age.0,
            estimates,
        }
    }

    /// The decision, without candidates where no edge may get listeners.
    pub(crate) fn decide(&self, snapshot: &Snapshot, question: Question<'_>, now: Instant) -> Decision {
        let network = self.estimates.of(question.net);
        let sites = snapshot.fleet.edges();
        let edges: Vec<EdgeView<'_>> = sites.iter().map(|site| self.view(site, network.as_deref(), now)).collect();
        let choice = self.policy.choose(&View { edges: &edges, load_max: self.load_max });
        self.record(snapshot.version, question, &edges, &choice)
    }

    /// One edge as the listener's network sees it.
    pub(crate) fn view<'a>(&self, site: &'a Site, network: Option<&Network>, now: Instant) -> EdgeView<'a> {
        let signals = site.live.read();
        let path = signals.path();
        let listeners = path.rtt_ms.and_then(|probed| network?.rtt_ms(&site.edge.edge_id, probed, now));
        let rtt_source = match (listeners, path.rtt_ms) {
            (Some(_), _) => RttSource::Listeners,
            (None, Some(_)) => RttSource::Probe,
            (None, None) => RttSource::Unknown,
        };
        EdgeView {
            edge: &site.edge.edge_id,
            pop: &site.edge.pop,
            fit: signals.fit(site.edge.state, now, self.report_max_age),
            rtt_ms: listeners.or(path.rtt_ms),
            rtt_source,
            jitter_ms: path.jitter_ms,
            loss: path.loss,
            load: signals.report.map_or(0.0, |report| report.load),
            network_load: signals.report.map_or(0.0, |report| report.network_load),
        }
    }

    fn record(&self, version: u64, question: Question<'_>, edges: &[EdgeView<'_>], choice: &Choice) -> Decision {
        let ranked = choice.ranked.iter().zip(1..);
        let excluded = choice.excluded.iter().map(|(at, why)| Excluded {
            pop: edges[*at].pop.clone(),
            edge: edges[*at].edge.clone(),
            reason: why.to_string(),
        });
        Decision {
            decision_id: DecisionId::generate(),
            decided_at: Timestamp::now(),
            router_id: self.router_id.clone(),
            via: question.via,
            policy: self.policy.name().to_owned(),
            track_id: question.track.clone(),
            client_net: question.net.to_string(),
            snapshot_version: version,
            ttl_s: self.ttl_s,
            candidates: ranked.map(|((at, reason), rank)| candidate(&edges[*at], rank, reason)).collect(),
            excluded: excluded.collect(),
        }
    }
}

fn candidate(edge: &EdgeView<'_>, rank: u32, reason: &Reason) -> Candidate {
    Candidate {
        pop: edge.pop.clone(),
        edge: edge.edge.clone(),
        rtt_ms: edge.rtt_ms,
        rtt_source: edge.rtt_source,
        jitter_ms: edge.jitter_ms,
        loss: edge.loss,
        load: edge.load,
        network_load: edge.network_load,
        rank,
        reason: reason.to_string(),
    }
}
