//! A server as a process of its own: its core, its CPU time, its end.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Where a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// Under measurement: on core 0, while the load comes from core 1.
    First,
    Any,
}

/// Ended with SIGKILL when dropped, also when the program that started it fails.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    pub fn start(core: Core, program: &str, args: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_with_log(core, program, args, environment, Stdio::inherit())
    }

    /// As `start`, for programs that have much to say.
    pub fn start_quietly(
        core: Core,
        program: &str,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        Self::start_with_log(core, program, args, environment, Stdio::null())
    }

    /// As `start`, with its standard error sent elsewhere.
    pub fn start_with_log(
        core: Core,
        program: &str,
        args: &[&str],
        environment: &[(&str, &str)],
        log: Stdio,
    ) -> anyhow::Result<Self> {
        let mut command = match core {
            Core::First => Command::new("taskset"),
            Core::Any => Command::new(program),
        };
        if core == Core::First {
            command.args(["-c", "0", program]);
        }
        command.args(args).envs(environment.iter().copied());
        let child =
            command.stdin(Stdio::null()).stderr(log).spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Self { child })
    }

    /// User and system time of the process and the children it has, in microseconds.
    pub fn cpu_us(&self) -> anyhow::Result<f64> {
        self.pids().map(|pid| cpu_us_of(&pid)).sum()
    }

    /// The part of [`Self::cpu_us`] that is system time.
    pub fn kernel_us(&self) -> anyhow::Result<f64> {
        self.pids().map(|pid| Ok(times_us(&pid)?.kernel)).sum()
    }

    fn pids(&self) -> impl Iterator<Item = String> {
        let pid = self.child.id().to_string();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
        std::iter::once(pid).chain(children)
    }

    /// Its own resident memory, and what it keeps in files that are memory (memfd), mapped or not.
    pub fn resident_bytes(&self) -> anyhow::Result<f64> {
        let process = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{process}/status"))?;
        let kib = |name: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        let mut blocks = 0;
        for file in fs::read_dir(format!("{process}/fd"))? {
            let file = file?.path();
            // It may have been closed since.
            if fs::read_link(&file).is_ok_and(|name| name.to_string_lossy().starts_with("/memfd:")) {
                blocks += fs::metadata(&file)?.blocks();
            }
        }
        Ok((kib("VmRSS:")? - kib("RssShmem:")?) * 1024.0 + blocks as f64 * 512.0)
    }
}

impl Server {
    /// `kill -9`, and waits for its end.
    pub fn kill(self) {
        drop(self);
    }

    /// SIGSTOP, or SIGCONT after it.
    pub fn freeze(&self, still: bool) -> anyhow::Result<()> {
        let signal = if still { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        Ok(rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)?)
    }

    /// SIGTERM, and the status it ends with.
    pub fn terminate(mut self) -> anyhow::Result<std::process::ExitStatus> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process, in microseconds.
pub fn cpu_us_of(pid: &str) -> anyhow::Result<f64> {
    let Times { user, kernel, .. } = times_us(pid)?;
    Ok(user + kernel)
}

/// User and system time of those that this process has started and waited for, in microseconds.
pub fn cpu_us_of_ended() -> anyhow::Result<f64> {
    Ok(times_us("self")?.ended)
}

/// In microseconds.
struct Times {
    user: f64,
    kernel: f64,
    /// Of both, what children had that have been waited for.
    ended: f64,
}

/// Fields 14 to 17 of `stat`, in ticks of 10 ms.
fn times_us(pid: &str) -> anyhow::Result<Times> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("stat has no command")?;
    let ticks = fields.split(' ').skip(11).take(4).map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [user, kernel, ended_user, ended_kernel] = ticks[..] else { bail!("stat has too few fields") };
    let us = |ticks| ticks * 10_000.0;
    Ok(Times { user: us(user), kernel: us(kernel), ended: us(ended_user + ended_kernel) })
}

/// A port that is free at this moment.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until a GET is answered with 200.
pub async fn ready(url: &str) -> anyhow::Result<()> {
    let api = service::client::ApiClient::new(Duration::from_secs(2));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match api.get(url).await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            _ if Instant::now() > deadline => bail!("{url} did not become ready"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
