//! Load reports: what an edge tells every router each second.

use serde::{Deserialize, Serialize};

use crate::held::HeldDigest;
use crate::{EdgeId, FieldError, PopId, Timestamp};

/// One second of an edge, as `POST /v1/fleet/reports` carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    pub edge_id: EdgeId,
    pub pop: PopId,
    /// When this edge's process started; with `seq` it tells a late report from a new one.
    pub started_at: Timestamp,
    /// Counts reports from 1 since `started_at`.
    pub seq: u64,
    pub sent_at: Timestamp,
    /// Share of the cores the edge may use, 0 to 1.
    pub cpu: f64,
    /// Resident memory against what the edge may use, 0 to 1.
    pub memory: f64,
    /// Disk reads and writes, in bytes a second.
    pub disk_io_bytes_s: u64,
    /// What the disk sustains, in bytes a second; 0 where nobody said.
    pub disk_capacity_bytes_s: u64,
    pub connections: u32,
    pub connections_max: u32,
    /// Body bytes sent, in bits a second.
    pub network_out_bps: u64,
    /// What the uplink carries, in bits a second.
    pub network_capacity_bps: u64,
    /// Share of responses since the last report that needed no fill; none where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_ratio: Option<f64>,
    /// Fills that are running: objects, or parts of them, on their way from other edges or the origin.
    #[serde(default)]
    pub fills: u32,
    /// Share of the room for listeners who wait for their first bytes that is taken, 0 to 1: beyond it they are refused.
    #[serde(default)]
    pub fill_backlog: f64,
    /// What is held, where this router has not been told since it changed; now and then all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldDigest>,
    /// True once the edge has been told to stop: it takes no new listeners.
    #[serde(default)]
    pub draining: bool,
}

impl LoadReport {
    /// Network out against capacity, 0 to 1 and above when the capacity was understated.
    #[must_use]
    pub fn network_load(&self) -> f64 {
        share(self.network_out_bps, self.network_capacity_bps)
    }

    /// The busiest resource: an edge with an idle CPU and a full uplink is full.
    #[must_use]
    pub fn load(&self) -> f64 {
        [
            self.cpu,
            self.memory,
            self.network_load(),
            share(self.disk_io_bytes_s, self.disk_capacity_bytes_s),
            share(u64::from(self.connections), u64::from(self.connections_max)),
        ]
        .into_iter()
        .fold(0.0, f64::max)
    }

    /// Parses a report and refuses what no edge can measure.
    ///
    /// # Errors
    /// [`FieldError`] naming the field.
    pub fn parse(json: &[u8]) -> Result<Self, FieldError> {
        let report: Self = crate::field::parse(json)?;
        for (field, value) in [("cpu", report.cpu), ("memory", report.memory)] {
            if !(0.0..=1.5).contains(&value) {
                return Err(FieldError::new(field, format!("must be between 0 and 1.5, not {value}")));
            }
        }
        if report.network_capacity_bps == 0 {
            return Err(FieldError::new("network_capacity_bps", "must be above 0"));
        }
        if let Some(ratio) = report.hit_ratio.filter(|ratio| !(0.0..=1.0).contains(ratio)) {
            return Err(FieldError::new("hit_ratio", format!("must be between 0 and 1, not {ratio}")));
        }
        if !(0.0..=1.0).contains(&report.fill_backlog) {
            let detail = format!("must be between 0 and 1, not {}", report.fill_backlog);
            return Err(FieldError::new("fill_backlog", detail));
        }
        report.held.as_ref().map_or(Ok(()), HeldDigest::check)?;
        Ok(report)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
