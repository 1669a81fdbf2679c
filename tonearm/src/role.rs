//! Running a role: read the configuration, start, wait for the end.

use std::future::Future;

use serde::Serialize;
use service::config::{Loader, LogConfig};
use service::{Running, Shutdown};

use crate::cli::RoleArgs;

/// A role's configuration beside that of the process it runs in.
#[derive(Serialize)]
struct Process<C> {
    log: LogConfig,
    #[serde(flatten)]
    role: C,
}

/// Runs a role until it is told to stop or fails.
pub(crate) fn run<C, S, F>(args: &RoleArgs, read: impl FnOnce(&mut Loader) -> C, start: S) -> anyhow::Result<()>
where
    C: Serialize,
    S: FnOnce(C, Shutdown) -> F,
    F: Future<Output = anyhow::Result<Running>>,
{
    run_in(args, std::env::vars(), read, start)
}

/// The same in an environment that the command line has added to.
pub(crate) fn run_in<C, S, F>(
    args: &RoleArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    read: impl FnOnce(&mut Loader) -> C,
    start: S,
) -> anyhow::Result<()>
where
    C: Serialize,
    S: FnOnce(C, Shutdown) -> F,
    F: Future<Output = anyhow::Result<Running>>,
{
    let process = read_all(args, environment, read)?;
    if args.print_config {
        print!("{}", toml::to_string_pretty(&process)?);
        return Ok(());
    }
    service::telemetry::start(&process.log);
    service::metrics::start();
    runtime()?.block_on(async {
        let shutdown = service::shutdown::on_signal()?;
        start(process.role, shutdown).await?.wait().await
    })
}

fn read_all<C>(
    args: &RoleArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    read: impl FnOnce(&mut Loader) -> C,
) -> anyhow::Result<Process<C>> {
    let mut loader = Loader::new(args.config.as_deref(), environment)?;
    let process = Process { log: loader.section(), role: read(&mut loader) };
    loader.finish()?;
    Ok(process)
}

/// The runtime of roles and tools: a thread a core.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
