//! Warm orders: whole objects fetched before anyone asks.

pub mod jobs;
pub mod journal;
pub mod order;
pub mod pace;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use wire::track::{WarmAnswer, WarmOrder, WarmResult};

use crate::key::CacheKey;
use crate::library::Library;
use crate::library::open::{Opened, Outcome};
use crate::library::wish::Wants;
use crate::object::{CHUNK, Object};
use crate::range::RangeSpec;
use crate::reader::Reader;
use pace::Pace;

/// A chunk that met a full disk queue and left memory is fetched again, so often.
const ROUNDS: u32 = 3;

/// A chunk that has come is handed over within so many times this, or is taken as lost.
const HANDOVERS: u32 = 200;
const HANDOVER: Duration = Duration::from_millis(5);

/// What is asked of the origin at a time where there is a pace to be kept: 1 MiB.
const PACED: u32 = 4;

/// Fetches what is not held, `concurrency` objects at a time; one result a key, in the order's order.
pub async fn warm(library: &Arc<Library>, order: WarmOrder, concurrency: usize, pace: &Pace) -> WarmAnswer {
    let fetched = stream::iter(order.keys).map(|key| warm_one(library, key, pace)).buffered(concurrency);
    WarmAnswer { results: fetched.collect().await }
}

async fn warm_one(library: &Arc<Library>, key: String, pace: &Pace) -> WarmResult {
    match fetch_missing(library, &key, pace).await {
        Ok((bytes, fetched)) => WarmResult { key, bytes: Some(bytes), fetched, error: None },
        Err(error) => WarmResult { key, bytes: None, fetched: 0, error: Some(error) },
    }
}

/// The object's size and how many of its bytes were not held.
async fn fetch_missing(library: &Arc<Library>, key: &str, pace: &Pace) -> Result<(u64, u64), String> {
    let mut fetched = 0;
    let key = library.names().keys(key)?.swap_remove(0);
    // Whoever orders it has uploaded it, perhaps since a listener asked in vain.
    library.forget_missing(&key);
    let known = library.held_under(&key.as_ref().as_ref());
    let opened = open(library, &key, pace).await?;
    let object = &opened.object;
    // What the opening has brought by now was not held before it.
    let cold = known.is_none_or(|known| !known.contains(object.id));
    for round in 0..ROUNDS {
        let missing: Vec<u32> = match cold && round == 0 {
            true => (0..object.chunks()).collect(),
            false => (0..object.chunks()).filter(|&chunk| !library.cache.holds(object, chunk)).collect(),
        };
        if missing.is_empty() {
            return Ok((object.size().unwrap_or(0), fetched));
        }
        fetched += missing.iter().map(|&chunk| object.chunk_len(chunk)).sum::<u64>();
        for run in runs(&missing, if pace.is_limited() { PACED } else { u32::MAX }) {
            pace.turn(run.clone().map(|chunk| object.chunk_len(chunk)).sum()).await;
            read(library, object, run.clone()).await?;
            handed_over(library, object, run).await;
        }
    }
    let whole = (0..object.chunks()).all(|chunk| library.cache.holds(object, chunk));
    if whole { Ok((object.size().unwrap_or(0), fetched)) } else { Err("there is no room to hold it whole".into()) }
}

/// The object, once its size is known: one that comes without its length is read to its end for that.
async fn open(library: &Arc<Library>, key: &Arc<CacheKey>, pace: &Pace) -> Result<Opened, String> {
    let wants = match pace.is_limited() {
        // Not more than its turn, where the origin sends less than the whole.
        true => Wants::Part(RangeSpec::From { first: 0, last: Some(u64::from(PACED) * CHUNK - 1) }),
        false => Wants::Whole,
    };
    let opened = match library.open(library.own_wish(key.clone(), wants)).await.map_err(|error| error.to_string())? {
        Outcome::Object(opened) => opened,
        Outcome::Passed(answer, _) if answer.status.is_client_error() || answer.status.is_server_error() => {
            return Err(format!("the origin answered {}", answer.status.as_u16()));
        }
        Outcome::Passed(..) => return Err("the origin forbids to store it".into()),
    };
    if opened.object.size().is_none() {
        let mut reader = Reader::new(library.clone(), opened.object.clone(), 0..u64::MAX);
        while reader.next().await.map_err(|error| error.to_string())?.is_some() {}
    }
    Ok(opened)
}

async fn read(library: &Arc<Library>, object: &Arc<Object>, chunks: std::ops::Range<u32>) -> Result<(), String> {
    let end = (u64::from(chunks.end) * CHUNK).min(object.size().unwrap_or(0));
    let mut reader = Reader::new(library.clone(), object.clone(), u64::from(chunks.start) * CHUNK..end);
    while reader.next().await.map_err(|error| error.to_string())?.is_some() {}
    Ok(())
}

/// Readers have the last bytes of a chunk before the cache has the chunk: waits for those that fills are about to hand
/// over, which would else be counted as lost.
async fn handed_over(library: &Library, object: &Object, chunks: std::ops::Range<u32>) {
    for _ in 0..HANDOVERS {
        if chunks.clone().all(|chunk| !object.is_brought(chunk) || library.cache.holds(object, chunk)) {
            return;
        }
        tokio::time::sleep(HANDOVER).await;
    }
}

/// Neighbours together, so that each gap is one request to the origin, or several of at most so many chunks.
fn runs(chunks: &[u32], most: u32) -> Vec<std::ops::Range<u32>> {
    let mut runs: Vec<std::ops::Range<u32>> = Vec::new();
    for &chunk in chunks {
        match runs.last_mut() {
            Some(run) if run.end == chunk && run.end - run.start < most => run.end += 1,
            _ => runs.push(chunk..chunk + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_become_runs() {
        assert_eq!(runs(&[0, 1, 2, 5, 7, 8], u32::MAX), vec![0..3, 5..6, 7..9]);
        assert_eq!(runs(&[0, 1, 2, 5], 2), vec![0..2, 2..3, 5..6]);
        assert!(runs(&[], 2).is_empty());
    }
}
