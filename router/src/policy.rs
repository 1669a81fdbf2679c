//! Policies: pure functions from a view of the fleet to a ranking with reasons.
//!
//! A policy reads a [`View`] and nothing else: no clock, no lock, no randomness. What it read is logged
//! with what it chose, so that a decision can be explained and made again. A new policy is a file under
//! `policy/` and a variant of [`Policy`].

mod reason;
mod three_nearest;

use serde::{Deserialize, Serialize};
use wire::decision::RttSource;
use wire::{EdgeId, PopId};

pub use reason::{Exclusion, Reason, Unfit};

/// The policies that can be configured, by the names that decisions carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    ThreeNearest,
}

impl Policy {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ThreeNearest => "three-nearest",
        }
    }

    /// Ranks the edges of a view.
    #[must_use]
    pub fn choose(self, view: &View<'_>) -> Choice {
        match self {
            Self::ThreeNearest => three_nearest::choose(view),
        }
    }
}

/// What a policy may know when it decides.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub edges: &'a [EdgeView<'a>],
    /// An edge over this load gets no new listeners.
    pub load_max: f64,
}

/// One edge, as one listener's network sees it at one moment.
#[derive(Debug, Clone, Copy)]
pub struct EdgeView<'a> {
    pub edge: &'a EdgeId,
    pub pop: &'a PopId,
    /// Whether it may get listeners at all, whatever the policy.
    pub fit: Result<(), Unfit>,
    /// In milliseconds; none where nothing was measured.
    pub rtt_ms: Option<f64>,
    pub rtt_source: RttSource,
    pub jitter_ms: f64,
    /// 0 to 1.
    pub loss: f64,
    /// The busiest resource, 0 to 1.
    pub load: f64,
    /// Network out against capacity, 0 to 1.
    pub network_load: f64,
}

impl EdgeView<'_> {
    /// For sorting: what was never measured is further than everything that was.
    fn rtt_or_last(&self) -> f64 {
        self.rtt_ms.unwrap_or(f64::INFINITY)
    }
}

/// A policy's answer: positions in the view, each edge of it exactly once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// Best first; empty only where no edge is fit.
    pub ranked: Vec<(usize, Reason)>,
    /// In the view's order.
    pub excluded: Vec<(usize, Exclusion)>,
}
