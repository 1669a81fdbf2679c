//! Logs: text for people, JSON for collectors, always to standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the process. Later calls change nothing, so tests may all call it.
pub fn start(config: &LogConfig) {
    let filter = EnvFilter::try_new(filter(&config.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error here says that a subscriber stands already, which is what was asked for.
    let _ = match config.format {
        LogFormat::Text => builder.with_target(false).with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// While a broker is away librdkafka says so several times a second; health says it once. Whoever names
/// it in the level hears it all the same.
fn filter(level: &str) -> String {
    if level.contains("rdkafka") { level.to_owned() } else { format!("{level},rdkafka=off,librdkafka=off") }
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn librdkafka_is_heard_when_it_is_named() {
        assert_eq!(filter("info"), "info,rdkafka=off,librdkafka=off");
        assert_eq!(filter("info,librdkafka=debug"), "info,librdkafka=debug");
    }
}
