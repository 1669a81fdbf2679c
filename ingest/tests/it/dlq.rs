//! Dead letters are listed, shown, and sent again exactly once.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ingest::dlq::{Config, Filter, Progress};
use rand::RngExt;
use serde_json::{Value, json};
use service::config::Loader;
use uuid::Uuid;
use wire::topic::Topic;

use crate::refused::{change, poisoned, refuse_poison};
use crate::support::{Stack, post};

const CHILD: &str = "INGEST_TEST_REPLAY";

fn config(stack: &Stack) -> Config {
    let mut loader = Loader::new(None, stack.environment.iter().cloned()).unwrap();
    Config::read(&mut loader)
}

fn about(reason: &str) -> Filter {
    Filter { reason: Some(reason.into()), ..Filter::default() }
}

async fn replay(stack: &Stack, filter: &Filter) -> Progress {
    ingest::dlq::replay(&config(stack), filter, |_| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_shown_and_sent_again_once() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    refuse_poison(&stack).await;
    let sent = poisoned(90, &[3, 60]);
    assert_eq!(post(&ingest, &sent).await.status, 202);
    stack.produce(Topic::Listens, "k", &["no event".into(), "{}".into()]).await;
    let sink = stack.sink(&[]).await;
    stack.until("SELECT count() FROM dead_letter", 4).await;
    let groups = ingest::dlq::list(&config(&stack), &Filter::default()).await.unwrap();
    let mut counted: Vec<(String, u64, u64)> =
        groups.iter().map(|group| (group.kind.clone(), group.letters, group.sent)).collect();
    counted.sort();
    assert_eq!(counted, [("refused".into(), 2, 0), ("unreadable".into(), 1, 0), ("unreadable".into(), 1, 0)]);
    let shown = ingest::dlq::show(&config(&stack), &about("no_poison"), 10).await.unwrap();
    let tracks = shown.iter().map(|letter| serde_json::from_slice::<Value>(&letter.payload).unwrap());
    assert!(tracks.map(|accepted| accepted["event"]["track_id"].clone()).eq([json!("poison"), json!("poison")]));

    change(&stack, "ALTER TABLE events DROP CONSTRAINT no_poison").await;
    assert_eq!(replay(&stack, &about("no_poison")).await, Progress { letters: 2, sent: 2, found: 0, unknown: 0 });
    stack.until("SELECT count() FROM events WHERE track_id = 'poison'", 2).await;
    assert_eq!(replay(&stack, &about("no_poison")).await, Progress::default());
    // Sent again by the player too, a bad one is known by then.
    assert_eq!(post(&ingest, &json!([sent[3], sent[60]])).await.status, 202);
    stack.until("SELECT count() FROM repeats WHERE topic LIKE '%listens%'", 2).await;
    stack.adds_up(90).await;
    // What nobody can read is a letter once more.
    assert_eq!(replay(&stack, &Filter::default()).await.sent, 2);
    stack.until("SELECT count() FROM dead_letter WHERE kind = 'unreadable'", 4).await;
    let became = "SELECT count() FROM dead_letters WHERE replay = 'sent' AND replayed_offset > _offset";
    stack.until(became, 4).await;
    sink.stop().await.unwrap();
}

/// What the test below runs as a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other test runs it, as a process to be killed"]
async fn replay_process() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut loader = Loader::new(None, std::env::vars()).unwrap();
    let config = Config::read(&mut loader);
    // By the first letters that are told, the test knows that it has begun.
    ingest::dlq::replay(&config, &Filter::default(), |progress| println!("sent {}", progress.sent)).await.unwrap();
}

fn start(stack: &Stack) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "dlq::replay_process", "--ignored", "--nocapture"]);
    command.envs(stack.environment.iter().cloned()).env(CHILD, "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Returns once it has sent some, with the end of the pipe that it goes on writing to.
async fn begun(child: &mut Child) -> impl Sized + use<> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let read = move || {
        let sent = |line: &std::io::Result<String>| {
            line.as_ref().is_ok_and(|line| line.starts_with("sent ") && line != "sent 0")
        };
        assert!(lines.any(|line| sent(&line)), "the replay ended before it sent anything");
        lines
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_sends_nothing_twice() {
    const LETTERS: usize = 3000;
    let stack = Stack::new().await;
    let accepted = include_bytes!("../../../wire/tests/golden/accepted_event.json");
    let topic = Topic::Listens.name(&stack.kafka.topic_prefix);
    let mut rows = Vec::new();
    for offset in 0..LETTERS {
        let mut accepted: Value = serde_json::from_slice(accepted).unwrap();
        accepted["event"]["event_id"] = json!(Uuid::now_v7());
        let payload = STANDARD.encode(accepted.to_string());
        rows.push(format!(
            "('{topic}', {}, {offset}, now(), 'refused', 'once', NULL, 'k', base64Decode('{payload}'))",
            offset % 3
        ));
    }
    change(&stack, &format!("INSERT INTO dead_letter VALUES {}", rows.join(", "))).await;
    for _ in 0..3 {
        let mut child = start(&stack);
        let _pipe = begun(&mut child).await;
        // The moment of the kill is the test's one free variable; it is not a wait for anything.
        let moment = rand::rng().random_range(0..400);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    replay(&stack, &Filter::default()).await;
    assert_eq!(stack.kafka_messages(Topic::Listens).await, LETTERS as u64);
    assert_eq!(replay(&stack, &Filter::default()).await, Progress::default());
    assert_eq!(stack.number("SELECT count() FROM dead_letters WHERE replay = 'sent'").await, LETTERS as u64);
    let sink = stack.sink(&[]).await;
    stack.until("SELECT uniqExact(event_id) FROM events", LETTERS as u64).await;
    assert_eq!(stack.number("SELECT count() FROM events").await, LETTERS as u64);
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replays_at_once_are_one() {
    let stack = Stack::new().await;
    stack.produce(Topic::Listens, "k", &vec!["no event".to_owned(); 50]).await;
    let sink = stack.sink(&[]).await;
    stack.until("SELECT count() FROM dead_letter", 50).await;
    sink.stop().await.unwrap();
    let config = config(&stack);
    let all = Filter::default();
    let (one, other) =
        tokio::join!(ingest::dlq::replay(&config, &all, |_| {}), ingest::dlq::replay(&config, &all, |_| {}));
    // The second waits for the first, and may find nothing left.
    let sent = |end: &anyhow::Result<Progress>| end.as_ref().map_or(0, |progress| progress.sent);
    assert_eq!(sent(&one) + sent(&other), 50);
    assert_eq!(stack.kafka_messages(Topic::Listens).await, 100);
}
