//! What a player measured, as `POST /v1/measurements` carries it.

use serde::{Deserialize, Serialize};

use crate::{DecisionId, EdgeId, FieldError};

/// Round trips a player measured to the candidates of one decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurements {
    /// A recent decision of the same listener; what binds the numbers to a real session.
    pub decision_id: DecisionId,
    /// At most 8, one for each candidate.
    pub edges: Vec<EdgeMeasurement>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeMeasurement {
    pub edge: EdgeId,
    /// At most 16 round trips, in milliseconds, in the order they were taken.
    pub rtt_ms: Vec<f64>,
    /// Pings that got no answer.
    #[serde(default)]
    pub lost: u32,
}

/// A longer round trip than this is a suspended tab, not a network, in milliseconds.
pub const MAX_RTT_MS: f64 = 10_000.0;

impl Measurements {
    /// Parses a body and refuses what no player can measure.
    ///
    /// # Errors
    /// [`FieldError`] naming the field.
    pub fn parse(json: &[u8]) -> Result<Self, FieldError> {
        let body: Self = crate::field::parse(json)?;
        if !(1..=8).contains(&body.edges.len()) {
            return Err(FieldError::new("edges", "must have 1 to 8 elements"));
        }
        for (i, edge) in body.edges.iter().enumerate() {
            edge.check().map_err(|e| FieldError::new(format!("edges[{i}].{}", e.field), e.detail))?;
        }
        Ok(body)
    }
}

impl EdgeMeasurement {
    fn check(&self) -> Result<(), FieldError> {
        if self.rtt_ms.len() > 16 {
            return Err(FieldError::new("rtt_ms", "must have at most 16 elements"));
        }
        if self.lost > 16 {
            return Err(FieldError::new("lost", "must be at most 16"));
        }
        match self.rtt_ms.iter().position(|ms| !(*ms > 0.0 && *ms <= MAX_RTT_MS)) {
            Some(i) => Err(FieldError::new(
                format!("rtt_ms[{i}]"),
                format!("must be above 0 and at most {MAX_RTT_MS}, not {}", self.rtt_ms[i]),
            )),
            None => Ok(()),
        }
    }
}
