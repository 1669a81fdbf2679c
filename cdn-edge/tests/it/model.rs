//! Random operations on an edge before the real S3 server, against the bytes that are known.

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::admin::post;
use crate::client::send;
use crate::stage::{CHUNK, Stage, TOKEN, noise};

const SIZES: [usize; 6] = [0, 1, 70_000, CHUNK, CHUNK + 1, 5 * CHUNK + 12_345];

#[derive(Debug, Clone)]
enum Operation {
    Get(usize),
    Head(usize),
    /// The first byte and the last one, in shares of the object; may lie past its end.
    Range(usize, f64, f64),
    From(usize, f64),
    Suffix(usize, f64),
    Purge(usize),
    Warm(usize),
    Restart,
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..SIZES.len();
    let at = 0.0..1.1f64;
    prop_oneof![
        4 => key.clone().prop_map(Operation::Get),
        1 => key.clone().prop_map(Operation::Head),
        8 => (key.clone(), at.clone(), at.clone()).prop_map(|(k, a, b)| Operation::Range(k, a, b)),
        3 => (key.clone(), at.clone()).prop_map(|(k, a)| Operation::From(k, a)),
        3 => (key.clone(), at).prop_map(|(k, a)| Operation::Suffix(k, a)),
        2 => key.clone().prop_map(Operation::Purge),
        1 => key.prop_map(Operation::Warm),
        1 => Just(Operation::Restart),
    ]
}

/// What a range request must get: a part, or 416.
fn expected(bytes: &Bytes, first: usize, last: Option<usize>) -> (u16, Bytes) {
    let end = last.map_or(bytes.len(), |last| (last + 1).min(bytes.len()));
    if first < end { (206, bytes.slice(first..end)) } else { (416, Bytes::new()) }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
fn place(size: usize, share: f64) -> usize {
    (size as f64 * share) as usize
}

async fn check_range(stage: &Stage, key: usize, range: String, wanted: (u16, Bytes)) {
    let got = send(Method::GET, &stage.at(&format!("o-{key}")), &[("range", &range)]).await;
    assert_eq!(got.status.as_u16(), wanted.0, "o-{key} {range}");
    if wanted.0 == 206 {
        assert!(got.bytes() == &wanted.1, "o-{key} {range}: other bytes");
    }
}

async fn apply(stage: &mut Stage, objects: &[Bytes], operation: Operation) {
    match operation {
        Operation::Get(key) => {
            let got = send(Method::GET, &stage.at(&format!("o-{key}")), &[]).await;
            assert_eq!(got.status, 200);
            assert!(got.bytes() == &objects[key], "o-{key}: other bytes");
        }
        Operation::Head(key) => {
            let got = send(Method::HEAD, &stage.at(&format!("o-{key}")), &[]).await;
            assert_eq!(got.header("content-length"), objects[key].len().to_string());
        }
        Operation::Range(key, a, b) => {
            let (a, b) = (place(objects[key].len(), a), place(objects[key].len(), b));
            let (first, last) = (a.min(b), a.max(b));
            check_range(stage, key, format!("bytes={first}-{last}"), expected(&objects[key], first, Some(last))).await;
        }
        Operation::From(key, a) => {
            let first = place(objects[key].len(), a);
            check_range(stage, key, format!("bytes={first}-"), expected(&objects[key], first, None)).await;
        }
        Operation::Suffix(key, a) => {
            let n = place(objects[key].len(), a);
            let first = objects[key].len().saturating_sub(n);
            let wanted = if n == 0 { (416, Bytes::new()) } else { expected(&objects[key], first, None) };
            check_range(stage, key, format!("bytes=-{n}"), wanted).await;
        }
        Operation::Purge(key) => {
            let answer =
                post(&format!("{}/v1/purge", stage.admin), TOKEN, &format!("{{\"keys\":[\"o-{key}\"]}}")).await;
            assert_eq!(answer.status, 200);
        }
        Operation::Warm(key) => {
            let answer = post(&format!("{}/v1/warm", stage.admin), TOKEN, &format!("{{\"keys\":[\"o-{key}\"]}}")).await;
            assert_eq!(answer.json()["results"][0]["bytes"], objects[key].len(), "{}", answer.json());
        }
        Operation::Restart => stage.restart().await,
    }
}

#[test]
fn an_edge_is_its_origin() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let objects: Vec<Bytes> = SIZES.iter().enumerate().map(|(n, size)| noise(n as u64, *size)).collect();
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let many = proptest::collection::vec(operation(), 1..40);
    // Memory for one object at most, so that disk and fills take part.
    let (stage, s3) = runtime.block_on(Stage::before_s3(|config| {
        config.edge.cache_memory = bytesize::ByteSize::kib(700);
        config.edge.cache_disk = bytesize::ByteSize::mib(2);
    }));
    let stage = std::cell::RefCell::new(stage);
    for (n, bytes) in objects.iter().enumerate() {
        runtime.block_on(s3.put(&format!("o-{n}"), "audio/mp4", bytes.clone())).unwrap();
    }
    let outcome = runner.run(&many, |operations| {
        for operation in operations {
            runtime.block_on(apply(&mut stage.borrow_mut(), &objects, operation));
        }
        Ok(())
    });
    outcome.unwrap();
}
