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
    /// By how much it misses its goal, in what the goal is given in.
    pub short_by: Option<f64>,
    /// What is known of why it does.
    pub why: Option<String>,
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let name = name.into();
        let (peer, peer_value, ratio, goal, holds, short_by, why) = Default::default();
        Self { name, value, unit, peer, peer_value, ratio, goal, holds, short_by, why }
    }

    pub fn against(mut self, peer: &'static str, value: f64) -> Self {
        self.peer = Some(peer);
        self.peer_value = Some(value);
        self.ratio = Some(self.value / value);
        self
    }

    /// The ratio is to be at most this.
    pub fn ratio_at_most(self, most: f64) -> Self {
        let over = self.ratio.map(|ratio| ratio - most);
        self.with_goal(format!("ratio <= {most}"), over)
    }

    /// The ratio is to be at least this.
    pub fn ratio_at_least(self, least: f64) -> Self {
        let under = self.ratio.map(|ratio| least - ratio);
        self.with_goal(format!("ratio >= {least}"), under)
    }

    /// The value is to be at most this.
    pub fn at_most(self, most: f64) -> Self {
        let over = self.value - most;
        self.with_goal(format!("<= {most}"), Some(over))
    }

    fn with_goal(mut self, goal: String, short_by: Option<f64>) -> Self {
        self.goal = Some(goal);
        self.holds = short_by.map(|by| by <= 0.0);
        self.short_by = short_by.filter(|by| *by > 0.0);
        self
    }

    /// Said where it falls short of its goal.
    pub fn because(mut self, why: impl FnOnce() -> String) -> Self {
        self.why = self.short_by.map(|_| why());
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
    for f in figures {
        let why = f.why.iter().map(|why| format!(": {why}")).collect::<String>();
        f.short_by.iter().for_each(|by| println!("{} falls short by {by:.2}{why}", f.name));
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
