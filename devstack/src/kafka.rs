//! Kafka: one KRaft node, and the question whether it really works.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::folder::on_path;
use crate::probe::Probe;
use crate::process::Launch;
use crate::unit::Unit;

/// Where the question is asked; nobody else writes to it.
const PROBE_TOPIC: &str = "devstack.ready";
const STEP: Duration = Duration::from_secs(5);
const FORMAT_WITHIN: Duration = Duration::from_secs(60);

/// Warnings and errors to stdout, which is the log.
const LOG4J: &str = r#"<Configuration><Appenders><Console name="out"><PatternLayout pattern="%d %p %m (%c)%n"/></Console></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers></Configuration>"#;

#[derive(Debug, Clone)]
pub struct Kafka {
    pub libs: PathBuf,
    pub dir: PathBuf,
    pub port: u16,
    pub controller_port: u16,
}

impl Kafka {
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lays out its folder and says how it is run.
    ///
    /// # Errors
    /// When Java is missing, or the folder cannot be formatted.
    pub async fn prepare(&self, log: PathBuf) -> Result<Unit> {
        fs::create_dir_all(&self.dir).with_context(|| format!("create {}", self.dir.display()))?;
        fs::write(self.dir.join("log4j2.xml"), LOG4J)?;
        fs::write(self.dir.join("server.properties"), self.properties(&self.data()))?;
        if !self.data().is_dir() {
            self.format().await?;
        }
        let launch = Launch::new(java()?, &self.dir, log).args(self.java_args());
        Ok(Unit {
            name: "Kafka".into(),
            launch: launch.args(["kafka.Kafka", "server.properties"]),
            probe: Probe::Kafka(self.brokers()),
            ready_within: Duration::from_secs(90),
            stop_within: Duration::from_secs(15),
            postgres_dir: None,
        })
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn java_args(&self) -> Vec<String> {
        let jars = format!("{}/*", self.libs.display());
        // A small heap and two cores: the serial collector starts sooner and needs less than the default.
        let flags = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.configurationFile=log4j2.xml", "-cp"];
        flags.into_iter().map(str::to_owned).chain([jars]).collect()
    }

    /// Into a folder that is then renamed, so that a format cut short leaves nothing half made.
    async fn format(&self) -> Result<()> {
        let partial = self.dir.join("formatting");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::write(self.dir.join("format.properties"), self.properties(&partial))?;
        let mut tool = Command::new(java()?);
        tool.args(self.java_args()).args(["kafka.tools.StorageTool", "format", "-t"]);
        tool.args([&cluster_id(), "-c", "format.properties"]).current_dir(&self.dir).kill_on_drop(true);
        let output =
            tokio::time::timeout(FORMAT_WITHIN, tool.output()).await.context("format Kafka's folder in time")??;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            bail!("format Kafka's folder: {}: {said}", output.status);
        }
        fs::rename(&partial, self.data()).context("put Kafka's formatted folder in place")
    }

    fn properties(&self, data: &Path) -> String {
        let (port, controller) = (self.port, self.controller_port);
        let lines = [
            "process.roles=broker,controller".to_owned(),
            "node.id=1".to_owned(),
            format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
            "controller.listener.names=CONTROLLER".to_owned(),
            "inter.broker.listener.name=PLAINTEXT".to_owned(),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            format!("log.dirs={}", data.display()),
            "offsets.topic.replication.factor=1".to_owned(),
            "transaction.state.log.replication.factor=1".to_owned(),
            "transaction.state.log.min.isr=1".to_owned(),
            "share.coordinator.state.topic.replication.factor=1".to_owned(),
            "share.coordinator.state.topic.min.isr=1".to_owned(),
            // One node needs no fifty partitions of either; fewer open faster.
            "offsets.topic.num.partitions=4".to_owned(),
            "transaction.state.log.num.partitions=4".to_owned(),
            // After a `kill -9` the node waits for its former self's session to end; nine seconds by default.
            "broker.session.timeout.ms=4000".to_owned(),
            "broker.heartbeat.interval.ms=1000".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            "auto.create.topics.enable=false".to_owned(),
        ];
        lines.join("\n") + "\n"
    }
}

fn java() -> Result<PathBuf> {
    let home =
        std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")).filter(|java| java.is_file());
    home.or_else(|| on_path("java")).context("find java on the PATH; scripts/prerequisites installs it")
}

/// Kafka wants 16 bytes in base64 without padding: 22 characters, the last of which carries two bits.
fn cluster_id() -> String {
    crate::secret::random(21) + "A"
}

/// Metadata, a message and a group's offset: after a `kill -9` the port opens long before the last of these works.
///
/// # Errors
/// With the first that did not.
pub async fn check(brokers: &str) -> Result<()> {
    let first = brokers.split(',').next().unwrap_or(brokers);
    // A refused connection costs librdkafka a line of log and a pause; us nothing.
    TcpStream::connect(first).await.with_context(|| format!("connect to Kafka at {first}"))?;
    let config = client_config(brokers);
    make_probe_topic(&config).await?;
    produce(&config).await?;
    tokio::task::spawn_blocking(move || commit(&config)).await?
}

fn client_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("reconnect.backoff.max.ms", "500").set("log_level", "0");
    config.set("message.timeout.ms", "5000").set("acks", "all").set("group.id", PROBE_TOPIC);
    config
}

async fn make_probe_topic(config: &ClientConfig) -> Result<()> {
    let admin: AdminClient<_> = config.create()?;
    let topic = NewTopic::new(PROBE_TOPIC, 1, TopicReplication::Fixed(1)).set("retention.ms", "60000");
    let options = AdminOptions::new().request_timeout(Some(STEP)).operation_timeout(Some(STEP));
    let results = admin.create_topics([&topic], &options).await.context("create a topic")?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => bail!("create a topic: {code}"),
        }
    }
    Ok(())
}

async fn produce(config: &ClientConfig) -> Result<()> {
    let producer: FutureProducer = config.create()?;
    let record = FutureRecord::<(), str>::to(PROBE_TOPIC).payload("ready?");
    let sent = producer.send(record, STEP).await;
    sent.map(drop).map_err(|(error, _)| error).context("produce a message")
}

fn commit(config: &ClientConfig) -> Result<()> {
    let consumer: BaseConsumer = config.create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(PROBE_TOPIC, 0, Offset::Offset(1))?;
    consumer.commit(&offsets, CommitMode::Sync).context("commit an offset")
}
