//! Closed days against a reference model: random plays whose events come when they like, closes that are cut
//! off in the middle, repeated, and run several at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::NaiveDate;
use ingest::royalties::{self, Error, Line, Refusal};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use service::config::{ClickHouseConfig, Loader};

use crate::audit::change;
use crate::rows::{DAY, MIDNIGHT, SECOND, accepted, insert};
use crate::support::Stack;

/// Days that are closed: the last before `MIDNIGHT`, which is over wherever this runs.
const DAYS: i64 = 5;
const FIRST: i64 = MIDNIGHT - DAYS * DAY;
const PLAYS: usize = 120;
const STREAM_MS: i64 = 30 * SECOND;
const TOLERANCE_MS: i64 = 5 * SECOND;

fn config(stack: &Stack) -> ClickHouseConfig {
    let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
    loader.section()
}

fn day(number: i64) -> NaiveDate {
    chrono::DateTime::from_timestamp_millis(FIRST + number * DAY).unwrap().date_naive()
}

/// What the model knows of a play: its events so far, as (when, played).
#[derive(Default)]
struct Play {
    events: Vec<(i64, i64)>,
    track: String,
    app: String,
}

impl Play {
    fn started(&self) -> i64 {
        self.events.iter().map(|event| event.0).min().unwrap_or_default()
    }

    fn heard_ms(&self) -> i64 {
        let ended = self.events.iter().map(|event| event.0).max().unwrap_or_default();
        let claimed = self.events.iter().map(|event| event.1).max().unwrap_or_default();
        claimed.min(ended - self.started() + TOLERANCE_MS)
    }
}

/// One event to come: on which evening, of which play.
struct Coming {
    evening: i64,
    play: usize,
    at: i64,
    played: i64,
    event: Value,
}

fn coming(random: &mut StdRng) -> Vec<Coming> {
    let mut all = Vec::new();
    for play in 0..PLAYS {
        let starts = random.random_range(FIRST..FIRST + DAYS * DAY - 1);
        let (track, app) = (format!("t-{}", random.random_range(0..4)), ["web", "ios"][random.random_range(0..2)]);
        let fast = random.random_range(1..3);
        for step in 0..random.random_range(1..8_i64) {
            let (at, played) = (starts + step * 10 * SECOND, step * 10 * SECOND * fast);
            let more = json!({"track_id": track, "played_ms": played});
            let mut event = accepted(at, "progress", &format!("s-{play}"), &more);
            event["app"] = json!(app);
            let today = (at - FIRST) / DAY;
            let late = if random.random_range(0..3) == 0 { random.random_range(0..DAYS) } else { 0 };
            let copies = random.random_range(1..3);
            all.extend((0..copies).map(|copy| Coming {
                evening: today + late + copy,
                play,
                at,
                played,
                event: event.clone(),
            }));
        }
    }
    all
}

/// What the close of an evening has to pay, by day of play, track and app.
fn owed(plays: &[Play], evening: i64, paid: &mut BTreeSet<usize>) -> BTreeMap<(NaiveDate, String, String), (u64, u64)> {
    let mut owed = BTreeMap::new();
    for (number, play) in plays.iter().enumerate() {
        let began = (play.started() - FIRST).div_euclid(DAY);
        if play.events.is_empty() || play.heard_ms() < STREAM_MS || began > evening || !paid.insert(number) {
            continue;
        }
        let line: &mut (u64, u64) = owed.entry((day(began), play.track.clone(), play.app.clone())).or_default();
        *line = (line.0 + 1, line.1 + play.heard_ms().unsigned_abs());
    }
    owed
}

fn told(lines: Vec<Line>) -> BTreeMap<(NaiveDate, String, String), (u64, u64)> {
    let line = |line: Line| ((line.play_day, line.track_id, line.app), (line.streams, line.heard_ms));
    lines.into_iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stream_is_paid_once_however_closes_end() {
    let stack = Stack::new().await;
    let config = config(&stack);
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let all = coming(&mut random);
    let mut plays: Vec<Play> = (0..PLAYS).map(|_| Play::default()).collect();
    let (mut paid, mut history) = (BTreeSet::new(), Vec::new());
    for evening in 0..DAYS {
        let mut batch = Vec::new();
        for event in all.iter().filter(|event| event.evening == evening) {
            let play = &mut plays[event.play];
            play.events.push((event.at, event.played));
            play.track = event.event["event"]["track_id"].as_str().unwrap().into();
            play.app = event.event["app"].as_str().unwrap().into();
            batch.push(event.event.clone());
        }
        insert(&stack, &format!("evening-{evening}"), &batch).await;
        let wanted = owed(&plays, evening, &mut paid);
        // Cut off somewhere, as a killed process is.
        let cut = Duration::from_millis(random.random_range(0..120));
        let _cut_off = tokio::time::timeout(cut, royalties::close(&config, day(evening))).await;
        let close = || royalties::close(&config, day(evening));
        let (one, two, three) = tokio::join!(close(), close(), close());
        let (one, two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
        assert_eq!((&one.close, &one.close), (&two.close, &three.close));
        assert!(u8::from(one.anew) + u8::from(two.anew) + u8::from(three.anew) <= 1);
        let again = close().await.unwrap();
        assert!(!again.anew && again.close == one.close);
        let (shown, lines) = royalties::show(&config, day(evening)).await.unwrap();
        assert_eq!(shown, one.close);
        let lines = told(lines);
        assert_eq!(lines, wanted, "evening {evening}, seed {seed}");
        let corrections = lines.iter().filter(|((of, ..), _)| *of < day(evening)).map(|(_, line)| line.0).sum::<u64>();
        assert_eq!((shown.corrections, shown.streams), (corrections, lines.values().map(|line| line.0).sum()));
        history.push(lines);
    }
    // What was closed has not changed by what came later, and nothing is left of the closes that came second.
    for (evening, lines) in (0..DAYS).zip(&history) {
        assert_eq!(told(royalties::show(&config, day(evening)).await.unwrap().1), *lines);
    }
    assert_eq!(stack.number("SELECT sum(streams) FROM royalties").await, paid.len() as u64);
    assert_eq!(stack.number("SELECT count() FROM royalty_closes").await, DAYS.unsigned_abs());
    assert!(paid.len() > 20 && stack.number("SELECT countIf(is_correction) FROM royalties").await > 0);
}

/// A play of one track by this listener, long enough to be a stream.
fn streamed(day: i64, session: &str, hash: &str) -> [Value; 2] {
    [0, 40].map(|second| {
        let more = json!({"user_id": hash, "track_id": "t", "played_ms": (second * SECOND).unsigned_abs()});
        accepted(FIRST + day * DAY + second * SECOND, "progress", session, &more)
    })
}

/// What was paid was heard, whoever asks to be forgotten later; what nobody can prove any more is not paid.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_leaves_closed_days_as_they_are() {
    let stack = Stack::new().await;
    let config = config(&stack);
    let pseudonyms = ingest::privacy::read(&stack.postgres).await.unwrap();
    let hash = |user: &str| pseudonyms.current(ingest::privacy::Subject::User, user);
    let (anna, bert) = (hash("anna"), hash("bert"));
    let paid = streamed(0, "anna-0", &anna);
    insert(&stack, "first", &[paid.clone(), streamed(0, "bert-0", &bert)].concat()).await;
    let first = royalties::close(&config, day(0)).await.unwrap().close;
    assert_eq!(first.streams, 2);
    insert(&stack, "second", &[streamed(1, "anna-1", &anna), streamed(1, "bert-1", &bert)].concat()).await;

    let proof = {
        let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
        let config = ingest::erase::Config::read(&mut loader);
        ingest::erase::run(&config, "anna").await.unwrap()
    };
    assert!(proof.complete && proof.remains.iter().any(|left| left.place == "closed royalties"), "{proof}");
    assert_eq!(stack.number("SELECT uniqExact(session_id) FROM events").await, 2, "Bert's are there");
    let (kept, lines) = royalties::show(&config, day(0)).await.unwrap();
    assert_eq!((&kept, told(lines).values().copied().collect::<Vec<_>>()), (&first, vec![(2, 80_000)]));
    assert_eq!(royalties::close(&config, day(0)).await.unwrap().close, first);

    // Out of a spool, say: a stream that a close has paid is not paid again.
    insert(&stack, "late", &paid).await;
    let second = royalties::close(&config, day(1)).await.unwrap().close;
    assert_eq!((second.streams, second.corrections), (1, 0), "Bert's alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_may_not_be_closed_are_refused() {
    let stack = Stack::new().await;
    let config = config(&stack);
    let today = wire::Timestamp::now().to_datetime().date_naive();
    let refused = |outcome: Result<royalties::Closed, Error>| match outcome {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let close = |day| royalties::close(&config, day);
    // Midnight may pass meanwhile.
    assert!(matches!(refused(close(today.succ_opt().unwrap()).await), Refusal::NotOver { .. }));
    assert_eq!(close(day(0)).await.unwrap().close.streams, 0);
    assert_eq!(refused(close(day(2)).await), Refusal::OutOfOrder { day: day(2), next: day(1) });
    assert_eq!(refused(close(day(-1)).await), Refusal::BeforeTheFirst { day: day(-1), first: day(0) });
    let Err(Error::Refused(unknown)) = royalties::show(&config, day(1)).await else { panic!("it is not closed") };
    assert_eq!(unknown, Refusal::NotClosed { day: day(1) });
}

/// As it may where it is killed at the very moment: it knows the token, and has no row.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_close_clickhouse_lost_is_closed_all_the_same() {
    let stack = Stack::new().await;
    let config = config(&stack);
    for _ in 0..2 {
        let close = || royalties::close(&config, day(0));
        let (first, again) = (close().await.unwrap(), close().await.unwrap());
        assert_eq!((first.anew, again.anew), (true, false));
        assert_eq!(again.close, first.close);
        change(&stack, "ALTER TABLE royalty_closes DELETE WHERE 1").await;
    }
}
