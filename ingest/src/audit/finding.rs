//! What an audit has to say.

use serde::Serialize;

/// How good or bad it is; the worst one is the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be; a finding of this grade is only worth knowing.
    Holds,
    /// Could not be judged.
    Unjudged,
    /// Lost, doubled, or counted otherwise than it is stored.
    Off,
}

impl Grade {
    pub(super) fn of(findings: &[Finding]) -> Self {
        findings.iter().map(|finding| finding.grade).max().unwrap_or(Self::Holds)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub grade: Grade,
    /// The topic and partition, the table, the view or the process.
    pub about: String,
    pub what: String,
}

impl Finding {
    pub(super) fn new(grade: Grade, about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { grade, about: about.into(), what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_verdict() {
        let of =
            |grades: &[Grade]| Grade::of(&grades.iter().map(|grade| Finding::new(*grade, "", "")).collect::<Vec<_>>());
        assert_eq!(of(&[]), Grade::Holds);
        assert_eq!(of(&[Grade::Holds, Grade::Unjudged]), Grade::Unjudged);
        assert_eq!(of(&[Grade::Unjudged, Grade::Off, Grade::Holds]), Grade::Off);
    }
}
