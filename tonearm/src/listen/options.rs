//! What the command line may ask of a listener.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use wire::endpoints::Endpoints;

use super::player::Play;
use super::target::Target;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Track to play; a crowd without one plays the whole library
    #[arg(long, value_name = "ID")]
    pub(crate) track: Option<String>,
    /// Stop after so many seconds of audio and skip
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    pub(crate) seconds: Option<u32>,
    /// Play X times as fast
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed, allow_negative_numbers = true)]
    pub(crate) speed: f64,
    /// A crowd of listeners, their tracks by Zipf's law
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) listeners: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the rows that ClickHouse holds afterwards, and fail when they do not come
    #[arg(long, conflicts_with = "json")]
    pub(crate) explain: bool,
    /// Where a local stack listens
    #[arg(long, value_name = "FILE", default_value = ".tonearm/endpoints.json")]
    endpoints: PathBuf,
    /// Router, instead of the one in the endpoints file
    #[arg(long, value_name = "URL")]
    router: Option<String>,
    /// Ingest, instead of the one in the endpoints file
    #[arg(long, value_name = "URL")]
    ingest: Option<String>,
    /// Write key, instead of the one in the endpoints file
    #[arg(long, value_name = "KEY", env = "TONEARM_WRITE_KEY", hide_env_values = true)]
    write_key: Option<String>,
    /// Seed of the crowd's choices, for a run that can be repeated
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.1..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("must be a number from 0.1 to 1000".into()),
    }
}

impl Options {
    pub(crate) fn play(&self, track: String) -> Play {
        Play { track, most: self.seconds.map(|s| Duration::from_secs(u64::from(s))), speed: self.speed }
    }

    /// Whom to ask: the endpoints file, where one stands, and what was given instead.
    ///
    /// # Errors
    /// When something that is needed is in neither.
    pub(crate) fn target(&self) -> anyhow::Result<Target> {
        let file = self.read_endpoints()?;
        let given = |option: &Option<String>, known: fn(&Endpoints) -> &String| {
            option.clone().or_else(|| file.as_ref().map(|file| known(file).clone()))
        };
        let missing = |what: &str| format!("--{what} is needed where there is no {}", self.endpoints.display());
        Ok(Target {
            router: given(&self.router, |f| &f.router).with_context(|| missing("router"))?,
            ingest: given(&self.ingest, |f| &f.ingest).with_context(|| missing("ingest"))?,
            write_key: given(&self.write_key, |f| &f.write_key).with_context(|| missing("write-key"))?,
            stack: file,
        })
    }

    fn read_endpoints(&self) -> anyhow::Result<Option<Endpoints>> {
        let path = self.endpoints.display();
        match std::fs::read(&self.endpoints) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("{path} is damaged"))?)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => bail!("cannot read {path}: {e}"),
        }
    }
}
