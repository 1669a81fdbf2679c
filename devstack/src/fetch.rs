//! Brings Kafka, ClickHouse and, where tests ask for it, versitygw into the cache, once, with the package managers that are there anyway.
//!
//! What is fetched lies under a name with its version; it gets there by a rename, so a folder of that
//! name is whole. Two processes that want the same wait for each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::folder::{self, Lock};
use crate::progress::{during, say};

const KAFKA_VERSION: &str = "4.1.1";
const CLICKHOUSE_VERSION: &str = "26.7.3-stable.1";
const VERSITYGW_VERSION: &str = "1.8.0";
/// A slow line takes minutes; a broken one must end.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(15 * 60);
/// The libraries, their archives and what is unpacked from them.
const SPACE_GIB: u64 = 3;

/// What Maven resolves: the broker with all it needs, and a logger for it.
const KAFKA_POM: &str = concat!(
    "<project><modelVersion>4.0.0</modelVersion>\n",
    "  <groupId>tonearm</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n",
    "  <dependencies>\n",
    "    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>KAFKA_VERSION</version></dependency>\n",
    "    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.1</version></dependency>\n",
    "  </dependencies>\n",
    "</project>\n",
);

/// The folder with Kafka's jars: `KAFKA_HOME`'s, or the fetched.
///
/// # Errors
/// When `KAFKA_HOME` holds none, or they cannot be fetched.
pub async fn kafka() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("KAFKA_HOME").filter(|home| !home.is_empty()) {
        let libs = Path::new(&home).join("libs");
        if libs.is_dir() {
            return Ok(libs);
        }
        bail!(
            "KAFKA_HOME is {}, which has no folder libs: correct it, or unset it to have Kafka fetched",
            home.display()
        );
    }
    let folder = cached(&format!("kafka-{KAFKA_VERSION}"), "Kafka (43 MB)", download_kafka).await?;
    Ok(folder.join("libs"))
}

async fn download_kafka(into: PathBuf) -> Result<()> {
    fs::write(into.join("pom.xml"), KAFKA_POM.replace("KAFKA_VERSION", KAFKA_VERSION))?;
    run(&into, "mvn", &["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"]).await
}

/// How ClickHouse is run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClickHouse {
    /// A `clickhouse` of the user's own.
    Binary(PathBuf),
    /// The engine as a library, to be given a process of its own.
    Library(PathBuf),
}

/// The user's `clickhouse`, or the fetched library.
///
/// # Errors
/// When it cannot be fetched.
pub async fn clickhouse() -> Result<ClickHouse> {
    if let Some(binary) = folder::on_path("clickhouse") {
        return Ok(ClickHouse::Binary(binary));
    }
    let name = format!("clickhouse-{CLICKHOUSE_VERSION}");
    let folder = cached(&name, "ClickHouse (178 MB)", download_clickhouse).await?;
    Ok(ClickHouse::Library(folder.join("libchdb.so")))
}

async fn download_clickhouse(into: PathBuf) -> Result<()> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => bail!("no ClickHouse library for {other}: put a `clickhouse` binary on the PATH"),
    };
    let package = format!("@chdb/lib-linux-{machine}-gnu@{CLICKHOUSE_VERSION}");
    run(&into, "npm", &["pack", "--silent", &package]).await?;
    let packed = format!("chdb-lib-linux-{machine}-gnu-{CLICKHOUSE_VERSION}.tgz");
    run(&into, "tar", &["xzf", &packed, "--strip-components=1", "package/libchdb.so"]).await?;
    fs::remove_file(into.join(packed)).context("remove the unpacked archive")
}

/// The S3 server that `docker-compose.yml` runs.
///
/// # Errors
/// When it cannot be fetched and built.
pub async fn versitygw() -> Result<PathBuf> {
    let name = format!("versitygw-{VERSITYGW_VERSION}");
    let folder = cached(&name, "versitygw (built by Go)", download_versitygw).await?;
    Ok(folder.join("versitygw"))
}

async fn download_versitygw(into: PathBuf) -> Result<()> {
    let package = format!("github.com/versity/versitygw/cmd/versitygw@v{VERSITYGW_VERSION}");
    let built = into.display().to_string();
    run(&into, "env", &[&format!("GOBIN={built}"), "go", "install", &package]).await
}

/// The folder of that name in the cache, downloaded by whoever comes first.
async fn cached<F: Future<Output = Result<()>>>(
    name: &str,
    what: &str,
    download: impl FnOnce(PathBuf) -> F,
) -> Result<PathBuf> {
    cached_in(&folder::cache(), name, what, download).await
}

async fn cached_in<F: Future<Output = Result<()>>>(
    cache: &Path,
    name: &str,
    what: &str,
    download: impl FnOnce(PathBuf) -> F,
) -> Result<PathBuf> {
    let ready = cache.join(name);
    if ready.is_dir() {
        return Ok(ready);
    }
    let _lock = Lock::wait(&cache.join(format!(".{name}.lock")), &format!("fetches {what}"), DOWNLOAD_WITHIN).await?;
    if ready.is_dir() {
        return Ok(ready);
    }
    folder::check_space(cache, SPACE_GIB)?;
    let partial = cache.join(format!(".{name}.partial"));
    make_empty(&partial)?;
    say(&format!("fetching {what} into {}", cache.display()));
    let step = format!("fetching {what}");
    let done = tokio::time::timeout(DOWNLOAD_WITHIN, during(&step, download(partial.clone()))).await;
    done.with_context(|| format!("fetch {what}: not done within {DOWNLOAD_WITHIN:?}"))??;
    fs::rename(&partial, &ready).with_context(|| format!("move {what} to {}", ready.display()))?;
    Ok(ready)
}

fn make_empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

async fn run(dir: &Path, program: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("run {program}; scripts/prerequisites installs it"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let end: Vec<&str> = said.lines().rev().take(12).collect();
    bail!("{program} {}: {}:\n{}", args.join(" "), output.status, end.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn two_who_want_the_same_fetch_once() {
        let cache = tempfile::tempdir().unwrap();
        let downloads = AtomicU32::new(0);
        let fetch = || {
            cached_in(cache.path(), "thing-1", "a thing", async |into: PathBuf| {
                downloads.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(fs::write(into.join("file"), "whole")?)
            })
        };
        let (first, second) = tokio::join!(fetch(), fetch());
        assert_eq!(first.unwrap(), second.unwrap());
        assert_eq!(downloads.load(Ordering::SeqCst), 1);
        assert_eq!(fs::read_to_string(cache.path().join("thing-1/file")).unwrap(), "whole");
    }

    #[tokio::test]
    async fn what_failed_half_way_is_fetched_anew() {
        let cache = tempfile::tempdir().unwrap();
        let broken = cached_in(cache.path(), "thing-1", "a thing", async |into: PathBuf| {
            fs::write(into.join("half"), "")?;
            bail!("line cut")
        });
        assert!(broken.await.unwrap_err().to_string().contains("line cut"));
        let whole =
            cached_in(cache.path(), "thing-1", "a thing", async |into: PathBuf| Ok(fs::write(into.join("file"), "")?));
        let folder = whole.await.unwrap();
        assert!(folder.join("file").exists() && !folder.join("half").exists());
    }
}
