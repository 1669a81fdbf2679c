//! A catalog that is killed in mid-rollout, as a process of its own.

use std::process::{Child, Command, Stdio};

use service::Shutdown;

use crate::edge::{Edge, Mood};
use crate::kafka::events;
use crate::stage::{Api, Stage, TOKEN, eventually, read_environment};

const ADDRESS_FILE: &str = "CATALOG_TEST_ADDRESS_FILE";

/// Not a test: what [`Process`] runs. Without its environment it does nothing.
#[tokio::test]
#[ignore = "a process that other tests start and kill"]
async fn the_process() {
    let Ok(file) = std::env::var(ADDRESS_FILE) else { return };
    let running = catalog::start(read_environment(), Shutdown::new()).await.unwrap();
    std::fs::write(file, running.url()).unwrap();
    running.wait().await.unwrap();
}

struct Process {
    child: Child,
    api: Api,
}

impl Process {
    async fn start(stage: &Stage) -> Self {
        let dir = std::env::temp_dir().join(stage.servers.fresh_name("catalog_process"));
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::the_process", "--exact", "--ignored"])
            .env(ADDRESS_FILE, &dir)
            .env("TONEARM_CATALOG_LISTEN", "127.0.0.1:0")
            .env("TONEARM_CATALOG_WARM_TIMEOUT", "2s")
            .env("TONEARM_KAFKA", &stage.kafka.brokers)
            .env("TONEARM_KAFKA_TOPIC_PREFIX", &stage.kafka.topic_prefix)
            .env("TONEARM_POSTGRES", &stage.postgres)
            .env("TONEARM_AUTH_ADMIN_TOKEN", TOKEN)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let url =
            eventually("the process listens", async || std::fs::read_to_string(&dir).ok().filter(|u| !u.is_empty()));
        let api = Api::at(&url.await);
        std::fs::remove_file(&dir).unwrap();
        Self { child, api }
    }
}

/// As `kill -9` does; so a test that failed leaves no process either.
impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn a_killed_catalog_goes_on_where_it_was() {
    let stage = Stage::new().await;
    let fra_1 = Edge::new(&stage, "fra-1", "fra", Mood::Obeys).await;
    let fra_2 = Edge::new(&stage, "fra-2", "fra", Mood::Hangs).await;
    let first = Process::start(&stage).await;
    first.api.release("t", &[]).await;
    let done = "SELECT count(*) FROM rollouts WHERE state = 'done'";
    eventually("one edge is warm, the other has its order", async || {
        (stage.number(done).await == 1 && !fra_2.orders().is_empty()).then_some(())
    })
    .await;
    drop(first);
    assert_eq!(stage.number("SELECT count(*) FROM tracks WHERE state = 'rolling_out'").await, 1);

    fra_2.becomes(Mood::Obeys);
    let second = Process::start(&stage).await;
    second.api.until_state("t", "live").await;
    assert_eq!(fra_1.orders().len(), 1, "what was done is not done again");
    assert_eq!(events(&stage.kafka).await.len(), 1);
    drop(second);
}

#[tokio::test]
async fn a_catalog_that_stops_gives_its_orders_back() {
    let stage = Stage::new().await;
    let edge = Edge::new(&stage, "fra-1", "fra", Mood::Hangs).await;
    let mut config = stage.config();
    // A lease this long would outlast the test, so only an order that was given back is taken up.
    config.catalog.warm_timeout = service::config::Span::from_secs(100);
    let first = crate::stage::Catalog::start(config.clone()).await;
    first.api.release("t", &[]).await;
    eventually("the edge has its order", async || (!edge.orders().is_empty()).then_some(())).await;
    first.stop().await;
    edge.becomes(Mood::Obeys);
    let second = crate::stage::Catalog::start(config).await;
    second.api.until_state("t", "live").await;
    second.stop().await;
}
