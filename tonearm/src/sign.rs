//! `tonearm sign`: tokens of media URLs, and the keys that they are made with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use wire::token::keys::{self, KeySet, Kind};
use wire::token::{self, Claims};
use wire::{DecisionId, Timestamp};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a URL with a token, or the token alone where no URL is given
    Url(UrlOptions),
    /// Print a JWK Set with a new key before those of --keys
    NewKey {
        /// Set that the key is put to
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
        /// The new key's id, which tokens name
        #[arg(long = "key", value_name = "ID")]
        id: String,
        /// Ed25519 keys have a public half, which is all that edges need
        #[arg(long, value_enum, default_value_t = KindArg::Ed25519)]
        kind: KindArg,
    },
    /// Print the set for edges: without the private halves of Ed25519 keys
    Public {
        /// Set of all keys
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KindArg {
    Hmac,
    Ed25519,
}

#[derive(Debug, Args)]
pub(crate) struct UrlOptions {
    /// JWK Set with the key
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The key's id
    #[arg(long, value_name = "ID")]
    key: String,
    /// What is opened, percent-decoded, such as /album-7/; by default the folder of the URL's object
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// For how long, such as 6h
    #[arg(long = "for", value_name = "TIME", default_value = "6h", value_parser = humantime::parse_duration)]
    good_for: Duration,
    /// From when on: so long from now
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    not_before: Option<Duration>,
    /// What the listener has paid for
    #[arg(long)]
    tier: Option<String>,
    /// Goes into the records of deliveries
    #[arg(long, value_name = "ID")]
    decision_id: Option<DecisionId>,
    /// Put the token into the query: for a single file, not for a playlist
    #[arg(long)]
    query: bool,
    /// Of an object at an edge
    url: Option<url::Url>,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let text = match command {
        Command::Url(options) => signed(options)?,
        Command::NewKey { keys, id, kind } => {
            let others = keys.as_deref().map(read).transpose()?;
            let kind = match kind {
                KindArg::Hmac => Kind::Hmac,
                KindArg::Ed25519 => Kind::Ed25519,
            };
            keys::with_new(kind, id, others.as_deref())?
        }
        Command::Public { keys } => keys::public(&read(keys)?)?,
    };
    println!("{text}");
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn signed(options: &UrlOptions) -> anyhow::Result<String> {
    let keys =
        KeySet::parse(&read(&options.keys)?).with_context(|| format!("cannot use {}", options.keys.display()))?;
    let now = Timestamp::now().as_millis().div_euclid(1000);
    let after = |span: Duration| i64::try_from(span.as_secs()).map_or(i64::MAX, |seconds| now.saturating_add(seconds));
    let claims = Claims {
        path: path(options)?,
        exp: after(options.good_for),
        nbf: options.not_before.map(after),
        tier: options.tier.clone(),
        decision_id: options.decision_id,
    };
    let made = token::sign(&keys, &options.key, &claims);
    let made = made.with_context(|| format!("{} has no key {:?} to sign with", options.keys.display(), options.key))?;
    Ok(match &options.url {
        None => made,
        Some(url) => put(url.clone(), &made, options.query),
    })
}

fn path(options: &UrlOptions) -> anyhow::Result<String> {
    match (&options.path, &options.url) {
        (Some(path), _) if path.starts_with('/') => Ok(path.clone()),
        (Some(path), _) => bail!("--path {path:?} must begin with a slash"),
        (None, Some(url)) => {
            let decoded =
                percent_encoding::percent_decode_str(url.path()).decode_utf8().context("the URL is no UTF-8")?;
            Ok(token::folder_of(decoded.trim_start_matches('/')))
        }
        (None, None) => bail!("--path or a URL is needed"),
    }
}

fn put(mut url: url::Url, made: &str, query: bool) -> String {
    if query {
        let rest = url.query().map_or(String::new(), |rest| format!("{rest}&"));
        url.set_query(Some(&format!("{rest}{}={made}", token::NAME)));
    } else {
        let path = format!("{}{made}{}", token::PATH, url.path());
        url.set_path(&path);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_into_the_path_or_the_query() {
        let url: url::Url = "http://e:1/a/b%20c.m3u8?x=1".parse().unwrap();
        assert_eq!(put(url.clone(), "a.b.c", false), "http://e:1/.tonearm/t/a.b.c/a/b%20c.m3u8?x=1");
        assert_eq!(put(url, "a.b.c", true), "http://e:1/a/b%20c.m3u8?x=1&tonearm_token=a.b.c");
    }
}
