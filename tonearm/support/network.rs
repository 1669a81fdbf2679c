//! A network of the benchmark's own: a loopback on which nothing is paced.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::Context;

/// Set in the program that has one.
const IN_ITS_OWN: &str = "TONEARM_BENCH_NETWORK";

/// Brings the loopback up, and has every connection over it use CUBIC, whatever the host prefers.
const SET_UP: &str = "ip link set lo up && \
    for to in 127.0.0.0/8 127.0.0.1; do \
        ip route change local $to dev lo table local proto kernel scope host src 127.0.0.1 congctl cubic || exit; \
    done && exec \"$@\"";

/// Starts this program anew in a network namespace of its own. A host that has BBR sends by timers, at the rate that it
/// has last measured: on a loopback that is noise, and more for who writes little at a time. Where the system gives no
/// namespace, this says so and goes on.
///
/// # Errors
/// When the program cannot be started anew.
pub fn have_one() -> anyhow::Result<()> {
    if env::var_os(IN_ITS_OWN).is_some() {
        return Ok(());
    }
    let alone = || {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-c", SET_UP, "sh"]);
        command
    };
    let given = alone().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !given {
        let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
        eprintln!("no network of its own: over this host's loopback, with TCP's {}", control.trim());
        return Ok(());
    }
    let program = env::current_exe().context("cannot find this program")?;
    let failed = alone().arg(program).args(env::args_os().skip(1)).env(IN_ITS_OWN, "yes").exec();
    Err(failed).context("cannot start this program in a network of its own")
}
