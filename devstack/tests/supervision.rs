//! What is looked after is started again when it dies, and is gone when it is finished.

#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there and show it")]

use std::path::Path;
use std::time::{Duration, Instant};

use devstack::probe::Probe;
use devstack::process::Launch;
use devstack::stack::hold::{Hold, holder};
use devstack::supervisor::Supervised;
use devstack::unit::Unit;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::net::TcpListener;

/// A shell script that is ready as soon as something listens at `probe`.
fn unit(dir: &Path, script: &str, probe: String) -> Unit {
    let launch = Launch::new("/bin/sh", dir, dir.join("unit.log")).args(["-c", script]);
    let (ready_within, stop_within) = (Duration::from_secs(5), Duration::from_secs(2));
    Unit { name: "script".to_owned(), launch, probe: Probe::Tcp(probe), ready_within, stop_within, postgres_dir: None }
}

async fn pids(file: &Path, count: usize) -> Vec<Pid> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let pids: Vec<Pid> = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
        if pids.len() >= count {
            return pids;
        }
        assert!(Instant::now() < deadline, "{} of {count} were started", pids.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_dies_is_started_again_until_it_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probe = listener.local_addr().unwrap().to_string();
    let file = dir.path().join("pids");
    let supervised = Supervised::start(unit(dir.path(), "echo $$ >> pids; exec sleep 300", probe)).await.unwrap();
    let first = pids(&file, 1).await[0];
    kill_process(first, Signal::KILL).unwrap();
    let second = pids(&file, 2).await[1];
    assert_ne!(first, second);
    test_kill_process(second).unwrap();
    supervised.finish().await;
    assert!(test_kill_process(second).is_err(), "a finished unit still runs");
}

#[tokio::test]
async fn what_does_not_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let broken = unit(dir.path(), "echo no such planet; exit 3", nobody);
    let error = Supervised::start(broken).await.unwrap_err().to_string();
    assert!(error.contains("no such planet") && error.contains("exit status: 3"), "{error}");
}

#[tokio::test]
async fn what_is_never_ready_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let mut deaf = unit(dir.path(), "echo $$ >> pids; exec sleep 300", nobody);
    deaf.ready_within = Duration::from_millis(300);
    let error = Supervised::start(deaf).await.unwrap_err().to_string();
    assert!(error.contains("not ready within 300ms"), "{error}");
    let pid = pids(&dir.path().join("pids"), 1).await[0];
    assert!(test_kill_process(pid).is_err(), "what was given up still runs");
}

#[test]
fn a_stack_is_held_once_and_let_go() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(holder(root.path()).unwrap(), None);
    let hold = Hold::try_take(root.path()).unwrap().expect("free");
    assert!(Hold::try_take(root.path()).unwrap().is_none());
    assert_eq!(holder(root.path()).unwrap(), Some(rustix::process::getpid()));
    drop(hold);
    assert_eq!(holder(root.path()).unwrap(), None);
    // As after a kill -9: the pid is there, the lock is not.
    std::fs::write(root.path().join("stack.pid"), "1").unwrap();
    assert_eq!(holder(root.path()).unwrap(), None);
    assert!(Hold::try_take(root.path()).unwrap().is_some());
}
