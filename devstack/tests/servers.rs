//! The four servers answer real clients, survive a stop and a kill, and go when whoever started them goes.

#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there and show it")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use devstack::http::Request;
use devstack::probe::Probe;
use devstack::s3client::S3Client;
use devstack::{Server, TestServers};
use sqlx::{Connection, PgConnection};

/// The tests below stop what others use.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn fresh_databases_and_buckets_are_apart() {
    let _alone = ALONE.lock().await;
    let servers = TestServers::shared().await;
    let (one, two) = (servers.fresh_postgres().await, servers.fresh_postgres().await);
    assert_ne!(one, two);
    for url in [one, two] {
        let mut database = PgConnection::connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE t (n int)").execute(&mut database).await.unwrap();
    }
    let (full, empty) = (servers.fresh_bucket().await, servers.fresh_bucket().await);
    let full = S3Client::new(&full).unwrap();
    full.put("a/b.txt", "text/plain", Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(full.list("a/").await.unwrap().into_iter().collect::<Vec<_>>(), [("a/b.txt".to_owned(), 5)]);
    assert!(S3Client::new(&empty).unwrap().list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_wrong_key_or_password_is_refused() {
    let _alone = ALONE.lock().await;
    let servers = TestServers::shared().await;
    let mut endpoint = servers.s3.clone();
    endpoint.secret_key = "wrong".to_owned();
    let refused = S3Client::new(&endpoint).unwrap().list("").await.unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused:#}");
    let password = servers.postgres.split([':', '@']).nth(2).unwrap();
    assert!(PgConnection::connect(&servers.postgres.replace(password, "wrong")).await.is_err());
}

#[tokio::test]
async fn what_was_written_survives_a_kill_and_a_stop() {
    let _alone = ALONE.lock().await;
    let servers = TestServers::shared().await;
    let clickhouse =
        |query: &str| Request::new(http::Method::POST, &servers.clickhouse_http).body(query.to_owned()).send();
    clickhouse("CREATE TABLE kept (n UInt8) ENGINE = MergeTree ORDER BY n").await.unwrap().success("create").unwrap();
    clickhouse("INSERT INTO kept VALUES (7)").await.unwrap().success("insert").unwrap();
    for server in Server::ALL {
        servers.kill(server).await;
        servers.start(server).await;
        servers.stop(server).await;
    }
    let gone = Probe::Postgres(servers.postgres.clone()).check().await;
    assert!(gone.is_err(), "a stopped server answers");
    for server in Server::ALL {
        servers.start(server).await;
    }
    assert_eq!(clickhouse("SELECT n FROM kept").await.unwrap().text().trim(), "7");
    Probe::Kafka(servers.kafka.clone()).check().await.unwrap();
}

#[test]
fn a_killed_devstack_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut devstack = Command::new(env!("CARGO_BIN_EXE_devstack"))
        .args(["servers", "--dir"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(devstack.stdout.take().unwrap()), &mut ready).unwrap();
    assert!(ready.contains("kafka"), "{ready}");
    let name = folder.path().to_str().unwrap();
    assert!(processes_that_name(name) > 4);
    devstack.kill().unwrap();
    devstack.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while processes_that_name(name) > 0 {
        assert!(Instant::now() < deadline, "{} processes are left", processes_that_name(name));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Each of the servers has its folder as an argument or, Kafka, as where it runs.
fn processes_that_name(folder: &str) -> usize {
    let pids = std::fs::read_dir("/proc").expect("Linux has it").flatten();
    let named = pids.filter(|entry| {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let runs_in = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(folder) || runs_in.starts_with(folder)
    });
    named.count()
}
