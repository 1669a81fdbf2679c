//! Configuration: environment over a TOML file over defaults, read once at the start.
//!
//! One file may hold the sections of every role; a role reads those it knows. Inside a section an
//! unknown key is an error, so that a typing mistake is seen. The environment names a key as
//! `TONEARM_<SECTION>_<KEY>`, and four short names point at one's own servers: `TONEARM_KAFKA`,
//! `TONEARM_CLICKHOUSE`, `TONEARM_POSTGRES`, `TONEARM_S3`.

mod environment;
mod sections;
mod values;

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

pub use sections::S3Config;
pub use sections::{
    AnalystConfig, AuthConfig, ClickHouseConfig, HttpConfig, KafkaConfig, LogConfig, LogFormat, PostgresConfig,
};
pub use values::{Secret, Span};

/// A section of the configuration: all of its keys have defaults, and what has no sensible one is
/// asked for by `check`.
pub trait Section: Default + DeserializeOwned + Serialize {
    /// The section's name in the file, such as `kafka`.
    const NAME: &'static str;

    /// Tells what no type can refuse: a key that must be given, one that contradicts another.
    fn check(&self, _problems: &mut Problems<'_>) {}
}

/// Where a section's check puts what it finds.
#[derive(Debug)]
pub struct Problems<'a> {
    section: &'static str,
    found: &'a mut Vec<BadValue>,
}

impl Problems<'_> {
    pub fn add(&mut self, key: &str, detail: impl Into<String>) {
        self.found.push(BadValue {
            key: format!("{}.{key}", self.section),
            source: Source::Check,
            detail: detail.into(),
        });
    }

    pub fn require(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            let name = format!("TONEARM_{}_{}", self.section, key).to_uppercase();
            self.add(key, format!("is required; set it in the file or by {name}"));
        }
    }
}

/// Every bad value of a configuration, one a line.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(Vec<BadValue>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration has {} bad value(s):", self.0.len())?;
        self.0.iter().try_for_each(|bad| write!(f, "\n  {bad}"))
    }
}

#[derive(Debug)]
struct BadValue {
    key: String,
    source: Source,
    detail: String,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Environment(name) => write!(f, "{} (from {name}): {}", self.key, self.detail),
            Source::File | Source::Check => write!(f, "{}: {}", self.key, self.detail),
        }
    }
}

#[derive(Debug, Clone)]
enum Source {
    File,
    Environment(String),
    Check,
}

/// Reads sections one after another and keeps every problem for [`Loader::finish`].
#[derive(Debug)]
pub struct Loader {
    file: toml::Table,
    environment: Vec<environment::Variable>,
    found: Vec<BadValue>,
}

impl Loader {
    /// # Errors
    /// When the file cannot be read or is no TOML.
    pub fn new(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let table = match file {
            Some(path) => read_table(path)?,
            None => toml::Table::new(),
        };
        let mut found = Vec::new();
        let environment = environment::variables(environment, &mut found);
        Ok(Self { file: table, environment, found })
    }

    /// The section as configured; the defaults stand in for what is bad, until [`Loader::finish`] says so.
    pub fn section<S: Section>(&mut self) -> S {
        let mut keys = self.keys_of(S::NAME);
        let section = self.parse::<S>(&mut keys);
        section.check(&mut Problems { section: S::NAME, found: &mut self.found });
        section
    }

    /// # Errors
    /// [`ConfigErrors`] with every bad value of every section that was read.
    pub fn finish(self) -> Result<(), ConfigErrors> {
        if self.found.is_empty() { Ok(()) } else { Err(ConfigErrors(self.found)) }
    }

    fn keys_of(&mut self, section: &'static str) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        match self.file.get(section) {
            Some(Value::Table(table)) => {
                keys.extend(table.iter().map(|(name, value)| Key::from_file(name, value)));
            }
            Some(_) => self.found.push(BadValue {
                key: section.into(),
                source: Source::File,
                detail: "must be a table".into(),
            }),
            None => {}
        }
        for variable in self.environment.iter().filter(|v| v.section == section) {
            keys.retain(|key| key.name != variable.key);
            keys.push(Key::from_environment(variable));
        }
        keys
    }

    /// Takes out one bad key after another until the rest parses; ends because each round removes one.
    fn parse<S: Section>(&mut self, keys: &mut Vec<Key>) -> S {
        loop {
            let table: toml::Table = keys.iter().map(|key| (key.name.clone(), key.value.clone())).collect();
            let error = match serde_path_to_error::deserialize::<_, S>(Value::Table(table)) {
                Ok(section) => return section,
                Err(error) => error,
            };
            let path = error.path().to_string();
            let name = path.split(['.', '[']).next().unwrap_or_default().to_owned();
            let Some(at) = keys.iter().position(|key| key.name == name) else {
                self.found.push(BadValue {
                    key: S::NAME.into(),
                    source: Source::File,
                    detail: error.into_inner().message().to_owned(),
                });
                return S::default();
            };
            // An environment variable is text first and, where the key wants no text, TOML.
            if let Some(value) = keys[at].other_reading.take() {
                keys[at].value = value;
                continue;
            }
            let bad = keys.remove(at);
            let detail = error.into_inner().message().trim().to_owned();
            self.found.push(BadValue { key: format!("{}.{path}", S::NAME), source: bad.source, detail });
        }
    }
}

fn read_table(path: &Path) -> anyhow::Result<toml::Table> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| anyhow::anyhow!("cannot read the configuration file {}: {e}", path.display()))?;
    text.parse().map_err(|e| anyhow::anyhow!("the configuration file {} is no TOML: {e}", path.display()))
}

struct Key {
    name: String,
    value: Value,
    other_reading: Option<Value>,
    source: Source,
}

impl Key {
    fn from_file(name: &str, value: &Value) -> Self {
        Self { name: name.into(), value: value.clone(), other_reading: None, source: Source::File }
    }

    fn from_environment(variable: &environment::Variable) -> Self {
        let typed = format!("v = {}", variable.value).parse::<toml::Table>().ok();
        Self {
            name: variable.key.clone(),
            value: Value::String(variable.value.clone()),
            other_reading: typed.and_then(|mut table| table.remove("v")),
            source: Source::Environment(variable.name.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
