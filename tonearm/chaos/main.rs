//! `make chaos-ingest ROUNDS=20`: kills and stops under load, and after each round the proof that
//! nothing is lost and nothing is there twice. Five rounds, one for each part that can be struck, run with the tests.
//!
//! One round: [`load`] posts events and deliveries with ids it remembers and sends each again until it is
//! told that it was accepted, and now and then once more after that; [`plan`] picks who is struck, how and
//! when; [`site`] strikes and puts right; then the load rests, [`proof`] waits for the sinks, runs `tonearm
//! audit`, and compares the ids that were accepted with those that are stored. Seed and plan are printed;
//! `SEED=` repeats the plan, though not the machine's own timing.

#![allow(clippy::unwrap_used, reason = "a program that proves something should stop where it meets an error")]
#![allow(clippy::print_stdout, reason = "it is run by people")]

#[path = "../support/mod.rs"]
mod support;

mod load;
mod memory;
mod plan;
mod proof;
mod site;

use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use load::Load;
use plan::Plan;
use site::Site;

/// Where nobody says how many: each part is struck once.
const ROUNDS: usize = 5;

fn main() {
    if !is_meant(std::env::args().skip(1)) {
        return;
    }
    let rounds = number("ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let seed = number("SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    println!("chaos: {rounds} rounds, SEED={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(rounds, seed));
}

/// As a test it is given the arguments that others are chosen by: it is not listed, not ignored, and called chaos.
fn is_meant(mut arguments: impl Iterator<Item = String>) -> bool {
    arguments.all(|argument| match argument.starts_with('-') {
        true => !["--list", "--ignored"].contains(&argument.as_str()),
        false => "chaos".contains(&argument),
    })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

async fn run(rounds: usize, seed: u64) {
    let begun = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::start().await;
    let load = Load::start(&site, seed);
    for (round, plan) in Plan::rounds(&mut random, rounds).into_iter().enumerate() {
        let since = Instant::now();
        println!("round {}: {plan}", round + 1);
        load.run();
        site.suffer(&plan).await;
        load.rest().await;
        let proved = proof::of(&site, &load).await;
        println!("         {proved}; {:.0} s", since.elapsed().as_secs_f64());
    }
    let total = load.total();
    println!("{rounds} rounds in {:.0} s: {total}; 0 lost, 0 double", begun.elapsed().as_secs_f64());
}
