//! Why an edge was picked, ranked or left out: values that tests compare, and sentences for people.

use std::fmt;

/// Why an edge may get no listeners, whatever the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// An operator drains it, or it said itself that it stops.
    Drain,
    Maintenance,
    /// Consecutive probes without an answer.
    Down {
        failed: u32,
    },
    NeverReported,
    /// Seconds since its newest load report.
    Silent {
        seconds: u64,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain => f.write_str("drain"),
            Self::Maintenance => f.write_str("maintenance"),
            Self::Down { failed } => write!(f, "down: {failed} probes failed"),
            Self::NeverReported => f.write_str("no load report yet"),
            Self::Silent { seconds } => write!(f, "no load report for {seconds} s"),
        }
    }
}

/// Why a policy left an edge out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Exclusion {
    Unfit(Unfit),
    Overloaded {
        load: f64,
        max: f64,
    },
    /// Others are nearer, `nearest` of them.
    Further {
        nearest: usize,
        rtt_ms: Option<f64>,
    },
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::Overloaded { load, max } => write!(f, "load {} over {max:.2}", Apart(*load, *max)),
            Self::Further { nearest, rtt_ms } => write!(f, "further than the {nearest} nearest: {}", Rtt(*rtt_ms)),
        }
    }
}

/// Why an edge has its rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    OnlyOne,
    LowestNetworkLoad {
        nearest: usize,
    },
    /// Follows because of its network load; `first` is the picked edge's.
    NetworkLoad {
        rank: usize,
        load: f64,
        first: f64,
    },
    /// As much network load as the picked edge, but further.
    TieByRtt {
        rank: usize,
        load: f64,
        rtt_ms: Option<f64>,
        first_ms: Option<f64>,
    },
    /// Nothing is under the limit: rather a slow answer than none.
    FailOpen {
        rank: usize,
        load: f64,
        max: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyOne => f.write_str("the only edge that may get listeners"),
            Self::LowestNetworkLoad { nearest } => write!(f, "lowest network load of the {nearest} nearest"),
            Self::NetworkLoad { rank, load, first } => {
                let (mine, its) = (Apart(*load, *first), Apart(*first, *load));
                write!(f, "{}: network load {mine} against {its}", Ordinal(*rank))
            }
            Self::TieByRtt { rank, load, rtt_ms, first_ms } => {
                let (mine, its) = (Rtt(*rtt_ms), Rtt(*first_ms));
                write!(f, "{}: network load {load:.2} like the first, {mine} against {its}", Ordinal(*rank))
            }
            Self::FailOpen { rank: 1, load, max } => {
                write!(f, "every edge is over load {max:.2}: the lowest is {}", Apart(*load, *max))
            }
            Self::FailOpen { rank, load, max } => {
                write!(f, "{}: every edge is over load {max:.2}, this one at {}", Ordinal(*rank), Apart(*load, *max))
            }
        }
    }
}

/// A share with two digits, or as many as show that it is not the other one, at most six.
struct Apart(f64, f64);

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differ = |digits: &usize| (self.0 - self.1).abs() >= 10f64.powi(-i32::try_from(*digits).unwrap_or(0));
        let digits = (2..6).find(differ).unwrap_or(6);
        write!(f, "{:.digits$}", self.0)
    }
}

struct Rtt(Option<f64>);

impl fmt::Display for Rtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ms) => write!(f, "{ms:.1} ms"),
            None => f.write_str("round trip unknown"),
        }
    }
}

struct Ordinal(usize);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.0 {
            1 => "st",
            2 => "nd",
            3 => "rd",
            _ => "th",
        };
        write!(f, "{}{suffix}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let cases: [(&dyn fmt::Display, &str); 10] = [
            (&Exclusion::Overloaded { load: 0.86, max: 0.80 }, "load 0.86 over 0.80"),
            (&Exclusion::Overloaded { load: 0.8002, max: 0.80 }, "load 0.8002 over 0.80"),
            (&Exclusion::Further { nearest: 3, rtt_ms: Some(105.2) }, "further than the 3 nearest: 105.2 ms"),
            (&Exclusion::Unfit(Unfit::Silent { seconds: 6 }), "no load report for 6 s"),
            (&Exclusion::Unfit(Unfit::Down { failed: 3 }), "down: 3 probes failed"),
            (&Reason::LowestNetworkLoad { nearest: 3 }, "lowest network load of the 3 nearest"),
            (&Reason::NetworkLoad { rank: 2, load: 0.31, first: 0.12 }, "2nd: network load 0.31 against 0.12"),
            (
                &Reason::NetworkLoad { rank: 2, load: 0.000_031, first: 0.000_012 },
                "2nd: network load 0.00003 against 0.00001",
            ),
            (
                &Reason::TieByRtt { rank: 3, load: 0.0, rtt_ms: None, first_ms: Some(12.0) },
                "3rd: network load 0.00 like the first, round trip unknown against 12.0 ms",
            ),
            (&Reason::FailOpen { rank: 1, load: 0.86, max: 0.8 }, "every edge is over load 0.80: the lowest is 0.86"),
        ];
        for (value, sentence) in cases {
            assert_eq!(value.to_string(), sentence);
        }
    }
}
