//! A benchmark's figures: a table for people, `target/bench/NAME.json` for machines.

use std::path::Path;

use serde::Serialize;

/// One figure, where there is one beside a peer's from the same run.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub peer: Option<&'static str>,
    pub peer_value: Option<f64>,
    /// Ours over the peer's.
    pub ratio: Option<f64>,
    /// Such as `ratio <= 0.85`; none for a figure that only informs.
    pub goal: Option<String>,
    pub holds: Option<bool>,
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let name = name.into();
        Self { name, value, unit, peer: None, peer_value: None, ratio: None, goal: None, holds: None }
    }

    pub fn against(mut self, peer: &'static str, value: f64) -> Self {
        self.peer = Some(peer);
        self.peer_value = Some(value);
        self.ratio = Some(self.value / value);
        self
    }

    /// The ratio is to be at most this.
    pub fn ratio_at_most(mut self, most: f64) -> Self {
        self.goal = Some(format!("ratio <= {most}"));
        self.holds = self.ratio.map(|ratio| ratio <= most);
        self
    }

    /// The ratio is to be at least this.
    pub fn ratio_at_least(mut self, least: f64) -> Self {
        self.goal = Some(format!("ratio >= {least}"));
        self.holds = self.ratio.map(|ratio| ratio >= least);
        self
    }

    /// The value is to be at most this.
    pub fn at_most(mut self, most: f64) -> Self {
        self.goal = Some(format!("<= {most}"));
        self.holds = Some(self.value <= most);
        self
    }
}

/// Prints the table and writes `target/bench/NAME.json`.
pub fn publish(name: &str, figures: &[Figure]) -> anyhow::Result<()> {
    println!("\n{:<44} {:>10} {:<7} {:>22} {:>6}  {:<14} holds", name, "value", "unit", "peer", "ratio", "goal");
    for f in figures {
        let peer =
            f.peer.zip(f.peer_value).map_or_else(String::new, |(peer, value)| format!("{peer} {}", short(value)));
        let ratio = f.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let goal = f.goal.clone().unwrap_or_default();
        let holds = f.holds.map_or("", |holds| if holds { "yes" } else { "no" });
        println!("{:<44} {:>10} {:<7} {:>22} {:>6}  {:<14} {holds}", f.name, short(f.value), f.unit, peer, ratio, goal);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(format!("{name}.json")), serde_json::to_vec_pretty(figures)?)?;
    Ok(())
}

fn short(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The value below which `percent` of them lie.
pub fn quantile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// The middle one: a noisy neighbour moves it less than the mean.
pub fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 50)
}
