//! `tonearm objects`: what edges hold of an object, how fresh it is, and where it came from.

use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::fleet::{Fleet, FleetArgs, Said, code};
use crate::role::runtime;

const PATIENCE: Duration = Duration::from_secs(10);

/// All but RFC 3986's unreserved characters and the slash between segments.
const SEGMENTS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// An object key of a bucket; of a web origin host/path?query
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// 0 also where no edge holds it: that is an answer.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let said = runtime()?.block_on(async {
        let fleet = Fleet::of(&options.fleet, PATIENCE).await?;
        let path = format!("/v1/objects/{}", utf8_percent_encode(&options.key, SEGMENTS));
        anyhow::Ok(fleet.ask_all(Method::GET, &path, None).await)
    })?;
    let fine = said.iter().all(|said| said.is_success() || said.status == Some(404));
    if options.fleet.json {
        println!("{}", serde_json::to_string_pretty(&said)?);
    } else {
        said.iter().for_each(tell);
    }
    Ok(code(fine))
}

fn tell(said: &Said) {
    match (&said.error, said.status) {
        (Some(_), Some(404)) => println!("{:<24}  not held", said.edge),
        (Some(error), _) => println!("{:<24}  failed: {error}", said.edge),
        (None, _) => {
            answer(&said.edge, &said.answer);
            let others = said.answer["others"].as_array();
            others.into_iter().flatten().for_each(|other| answer("", other));
        }
    }
}

fn answer(edge: &str, held: &Value) {
    let size = held["bytes"].as_u64().map_or_else(|| "unknown size".to_owned(), |bytes| ByteSize(bytes).to_string());
    let text = |field: &str| held[field].as_str().unwrap_or("-").to_owned();
    let runs = |field: &str| held[field].as_array().into_iter().flatten().map(length).sum::<u64>();
    let (memory, disk) = (ByteSize(runs("memory")), ByteSize(runs("disk")));
    println!("{edge:<24}  {} of {size}: {memory} in memory, {disk} on disk", held["status"]);
    println!("{:<24}  {}, {} s old, fresh until {}", "", text("state"), held["age_s"], text("fresh_until"));
    println!("{:<24}  from {} at {}, ETag {}", "", text("filled_by"), text("filled_at"), text("etag"));
    let tags: Vec<&str> = held["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !tags.is_empty() {
        println!("{:<24}  tags {}", "", tags.join(", "));
    }
}

fn length(run: &Value) -> u64 {
    let end = |at: usize| run[at].as_u64().unwrap_or(0);
    end(1).saturating_sub(end(0)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_to_their_last_byte() {
        assert_eq!(length(&serde_json::json!([0, 9])), 10);
        assert_eq!(utf8_percent_encode("x/a?b=ä", SEGMENTS).to_string(), "x/a%3Fb%3D%C3%A4");
    }
}
