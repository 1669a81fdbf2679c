//! Which key of which section an environment variable sets.

use url::Url;

use super::{BadValue, Source};

#[derive(Debug, Clone)]
pub(super) struct Variable {
    /// As the operator wrote it, for messages.
    pub(super) name: String,
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// Sorts out `TONEARM_…`; the short names give way to the long ones.
pub(super) fn variables(
    environment: impl IntoIterator<Item = (String, String)>,
    found: &mut Vec<BadValue>,
) -> Vec<Variable> {
    let mut short = Vec::new();
    let mut long = Vec::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix("TONEARM_") else { continue };
        match rest.split_once('_') {
            Some((section, key)) => {
                long.push(Variable { section: section.to_lowercase(), key: key.to_lowercase(), name, value })
            }
            None => short.extend(own_server(&name, rest, &value, found)),
        }
    }
    short.retain(|s| !long.iter().any(|l| l.section == s.section && l.key == s.key));
    short.extend(long);
    short
}

/// `TONEARM_KAFKA`, `TONEARM_CLICKHOUSE`, `TONEARM_POSTGRES`, `TONEARM_S3`: one's own server in one variable.
fn own_server(name: &str, rest: &str, value: &str, found: &mut Vec<BadValue>) -> Vec<Variable> {
    let one = |section: &str, key: &str, value: &str| Variable {
        name: name.into(),
        section: section.into(),
        key: key.into(),
        value: value.into(),
    };
    let pairs = match rest {
        "KAFKA" => return vec![one("kafka", "brokers", value)],
        "POSTGRES" => return vec![one("postgres", "url", value)],
        "CLICKHOUSE" => clickhouse_keys(value).map(|keys| ("clickhouse", keys)),
        "S3" => s3_keys(value).map(|keys| ("s3", keys)),
        _ => return Vec::new(),
    };
    match pairs {
        Ok((section, keys)) => keys.iter().map(|(key, value)| one(section, key, value)).collect(),
        Err(detail) => {
            let source = Source::Environment(name.into());
            found.push(BadValue { key: rest.to_lowercase(), source, detail });
            Vec::new()
        }
    }
}

/// `http://user:password@host:8123/?database=name`, all but the host optional.
fn clickhouse_keys(value: &str) -> Result<Vec<(&'static str, String)>, String> {
    let url = http_url(value)?;
    let mut keys = vec![("url", bare(&url))];
    if !url.username().is_empty() {
        keys.push(("user", decoded(url.username())?));
    }
    if let Some(password) = url.password() {
        keys.push(("password", decoded(password)?));
    }
    if let Some((_, database)) = url.query_pairs().find(|(key, _)| key == "database") {
        keys.push(("database", database.into_owned()));
    }
    Ok(keys)
}

/// `http://ACCESS:SECRET@host:port/bucket?region=name`, the region optional.
fn s3_keys(value: &str) -> Result<Vec<(&'static str, String)>, String> {
    let form = "must be http(s)://ACCESS:SECRET@host:port/bucket";
    let url = http_url(value)?;
    let secret = url.password().ok_or(form)?;
    let bucket = url.path().trim_matches('/');
    if bucket.is_empty() || bucket.contains('/') {
        return Err(form.into());
    }
    let mut keys = vec![
        ("endpoint", bare(&url)),
        ("bucket", bucket.to_owned()),
        ("access_key", decoded(url.username())?),
        ("secret_key", decoded(secret)?),
    ];
    if let Some((_, region)) = url.query_pairs().find(|(key, _)| key == "region") {
        keys.push(("region", region.into_owned()));
    }
    Ok(keys)
}

fn http_url(value: &str) -> Result<Url, String> {
    let url = Url::parse(value).map_err(|e| format!("is no URL: {e}"))?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err("must be an http or https URL".into()) }
}

/// Scheme, host and port alone.
fn bare(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The user part of a URL is percent-encoded; S3 secrets often hold `/` and `+`.
fn decoded(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "user or password is no UTF-8 once percent-decoded".into())
}
