//! An audit as people read it.

use std::fmt;

use super::finding::Grade;
use super::topics::TopicAudit;
use super::{Audit, PartitionAudit, ViewAudit};

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.hours.from.map_or_else(|| "the beginning".into(), |from| from.to_string());
        let to = self.hours.to.map_or_else(|| "now".into(), |to| to.to_string());
        writeln!(f, "Audit of what was received from {from} to {to}, as of {}\n", self.at)?;
        writeln!(
            f,
            "{:<36} {:>10} {:>10} {:>10} {:>10} {:>9} {:>7} {:>7} {:>8} {:>8}",
            "topic, partition",
            "from",
            "watermark",
            "in Kafka",
            "raw",
            "repeats",
            "dead",
            "erased",
            "missing",
            "doubled"
        )?;
        for topic in &self.topics {
            topic.fmt(f)?;
        }
        writeln!(f)?;
        instances(f, self)?;
        for view in &self.views {
            let ViewAudit { target, measure, counted, hours, exact, hours_off, .. } = view;
            let compared = format!("{counted} {measure} in {hours} hours, {exact} of them compared exactly");
            writeln!(f, "{target:<36} {compared}; off in {hours_off}")?;
        }
        writeln!(f)?;
        for finding in &self.findings {
            writeln!(f, "{:<9} {}: {}", finding.grade, finding.about, finding.what)?;
        }
        match self.verdict {
            Grade::Holds => writeln!(f, "It adds up."),
            Grade::Unjudged => writeln!(f, "Not all of it could be judged."),
            Grade::Off => writeln!(f, "It does NOT add up."),
        }
    }
}

/// Those with something to see, and how many have nothing.
fn instances(f: &mut fmt::Formatter<'_>, audit: &Audit) -> fmt::Result {
    let counted: u64 = audit.instances.iter().map(|of| (of.settled + 1).saturating_sub(of.first)).sum();
    let missing: u64 = audit.instances.iter().map(|of| of.missing).sum();
    let unproven: u64 = audit.instances.iter().map(|of| of.unproven).sum();
    let processes = audit.instances.len();
    writeln!(
        f,
        "{processes} ingest processes promised {counted} events; missing {missing}; numbered after that and not seen {unproven}\n"
    )
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds => "note",
            Self::Unjudged => "unjudged",
            Self::Off => "OFF",
        })
    }
}

impl fmt::Display for TopicAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for partition in &self.partitions {
            let name = format!("{} {}", self.topic, partition.place.partition);
            line(f, &name, &partition.first.to_string(), &partition.end.to_string(), |of| of(partition))?;
        }
        line(f, &format!("{}, all", self.topic), "", "", |of| self.sum(of))
    }
}

type Of<'a> = &'a dyn Fn(&PartitionAudit) -> u64;

fn line(f: &mut fmt::Formatter<'_>, name: &str, first: &str, end: &str, sum: impl Fn(Of<'_>) -> u64) -> fmt::Result {
    writeln!(
        f,
        "{name:<36} {first:>10} {end:>10} {:>10} {:>10} {:>9} {:>7} {:>7} {:>8} {:>8}",
        sum(&|p| p.end - p.first),
        sum(&|p| p.counts.raw),
        sum(&|p| p.counts.repeats),
        sum(&|p| p.counts.dead_letter),
        sum(&|p| p.counts.erased),
        sum(&|p| p.missing),
        sum(&|p| p.doubled),
    )
}
