//! `kill -9` in mid-fill: an edge in a process of its own, started again on what was left.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use service::config::Span;
use tokio::sync::Semaphore;

use crate::admin::post;
use crate::client::{get, open, send};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, TOKEN, config, eventually, noise};

const DIR: &str = "EDGE_TEST_DIR";
const ORIGIN: &str = "EDGE_TEST_ORIGIN";
/// Where it is to listen, as a plain cache of a web origin.
const PUBLIC: &str = "EDGE_TEST_PUBLIC";

/// Not a test: the process that is killed. It writes its address into its folder.
#[tokio::test]
#[ignore = "run by the test beside it, as a process"]
async fn edge_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = std::path::PathBuf::from(dir);
    let mut config = config(&dir);
    let origin = std::env::var(ORIGIN).unwrap();
    match std::env::var(PUBLIC) {
        Ok(listen) => {
            (config.edge.origin, config.edge.public, config.edge.listen) = (origin, true, listen.parse().unwrap());
            config.edge.origin_first_byte_timeout = Span::from_secs(2);
        }
        Err(_) => config.s3.endpoint = origin,
    }
    let edge = cdn_edge::start(config, service::shutdown::on_signal().unwrap()).await.unwrap();
    std::fs::write(dir.join("admin"), format!("http://{}", edge.admin_addr.unwrap())).unwrap();
    std::fs::write(dir.join("address.new"), edge.url()).unwrap();
    std::fs::rename(dir.join("address.new"), dir.join("address")).unwrap();
    edge.wait().await.unwrap();
}

/// Ends with the test, however that ends.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Lets it end in order.
    pub(crate) async fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut status = None;
        eventually("the edge has stopped", || {
            status = self.0.try_wait().unwrap();
            std::future::ready(status.is_some())
        })
        .await;
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) async fn spawn(dir: &std::path::Path, origin: &Origin) -> (Process, String) {
    start(dir, Command::new(std::env::current_exe().unwrap()).env(ORIGIN, &origin.url)).await
}

/// A plain cache of a web origin.
pub(crate) async fn spawn_public(dir: &std::path::Path, origin: &str, listen: &str) -> (Process, String) {
    start(dir, Command::new(std::env::current_exe().unwrap()).env(ORIGIN, origin).env(PUBLIC, listen)).await
}

async fn start(dir: &std::path::Path, command: &mut Command) -> (Process, String) {
    let address = dir.join("address");
    let _ = std::fs::remove_file(&address);
    command.args(["--exact", "killed::edge_process", "--ignored", "--nocapture"]).env(DIR, dir).stdout(Stdio::null());
    let process = Process(command.spawn().unwrap());
    eventually("the edge has started", || async { address.exists() }).await;
    (process, std::fs::read_to_string(address).unwrap())
}

#[tokio::test]
async fn no_wrong_byte_after_a_kill_in_mid_fill() {
    let origin = Origin::start().await;
    let dir = tempfile::tempdir().unwrap();
    let bytes = noise(1, 20 * CHUNK + 1);
    // `make chaos-edge` asks for more.
    let rounds = std::env::var("ROUNDS").map_or(3, |rounds| rounds.parse().expect("ROUNDS is a number"));
    for round in 0..rounds {
        // From the third chunk to the last but one, and within it anywhere.
        let pieces = Arc::new(Semaphore::new(16 * (2 + round * 7 % 17) + 1 + round * 5 % 16));
        let key = format!("song-{round}");
        origin.put(&key, Act { pieces: Some(pieces), ..Act::of(bytes.clone()) });
        let (process, url) = spawn(dir.path(), &origin).await;
        let mut listener = open(Method::GET, &format!("{url}/{key}"), &[]).await;
        listener.next().await.unwrap().unwrap();
        // Somewhere between the writing of chunks; where exactly is what the rounds vary.
        tokio::time::sleep(Duration::from_millis(5 * (round % 5) as u64)).await;
        drop(process);
        assert!(listener.rest().await.is_err(), "a killed edge leaves no clean end");
        origin.change(&key, |act| act.pieces = None);
        let (_process, url) = spawn(dir.path(), &origin).await;
        // Of all rounds before the last few, one: each is looked at again and again.
        let before = (round >= 4).then(|| round * 11 % (round - 3));
        for earlier in (round.saturating_sub(3)..=round).chain(before) {
            assert_eq!(get(&format!("{url}/song-{earlier}")).await.bytes(), &bytes, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_purge_that_was_answered_outlives_a_kill() {
    let origin = Origin::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (noise(1, CHUNK), noise(2, CHUNK));
    for key in ["a/1", "a/2", "b"] {
        origin.put(key, Act::of(old.clone()));
    }
    let (process, url) = spawn(dir.path(), &origin).await;
    for key in ["a/1", "a/2", "b"] {
        get(&format!("{url}/{key}")).await;
    }
    for key in ["a/1", "a/2", "b"] {
        origin.put(key, Act { etag: "\"two\"".into(), ..Act::of(new.clone()) });
    }
    let admin = std::fs::read_to_string(dir.path().join("admin")).unwrap();
    let bearer = format!("Bearer {TOKEN}");
    eventually("b is on disk", || async {
        let held = send(Method::GET, &format!("{admin}/v1/objects/b"), &[("authorization", &bearer)]).await;
        held.json()["chunks_on_disk"] == 1
    })
    .await;
    let purged = post(&format!("{admin}/v1/purge"), TOKEN, r#"{"prefixes":["a/"]}"#).await;
    drop(process);
    assert_eq!(purged.status, 200);
    let (_process, url) = spawn(dir.path(), &origin).await;
    for (key, wanted) in [("a/1", &new), ("a/2", &new), ("b", &old)] {
        assert_eq!(get(&format!("{url}/{key}")).await.bytes(), wanted, "{key}");
    }
}
