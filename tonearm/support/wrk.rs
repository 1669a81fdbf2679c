//! Load by wrk, from core 1.

use std::io::Write;
use std::process::Command;

use anyhow::{Context, ensure};

use super::process::{Server, cpu_us_of_ended};

/// What wrk and the server's CPU clock say of one run.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub requests_s: f64,
    pub cpu_us: f64,
    /// The part of it that the kernel spent.
    pub kernel_us: f64,
    /// How much of its own core's time wrk used.
    pub load_share: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Asks for `url` over 32 kept connections for `seconds`.
pub fn run(server: &Server, url: &str, headers: &[&str], seconds: u32) -> anyhow::Result<Load> {
    let headers: Vec<&str> = headers.iter().flat_map(|header| ["-H", *header]).collect();
    measure(server, url, &headers, seconds)
}

/// As `run`, for `url` with a number below `count` after it, each as likely as any other.
pub fn run_over(server: &Server, url: &str, count: usize, seconds: u32) -> anyhow::Result<Load> {
    let path = url.parse::<http::Uri>()?.path().to_owned();
    let mut script = tempfile::NamedTempFile::with_suffix(".lua")?;
    writeln!(script, "function request() return wrk.format(nil, \"{path}\" .. math.random(0, {count} - 1)) end")?;
    measure(server, url, &["-s", &script.path().display().to_string()], seconds)
}

fn measure(server: &Server, url: &str, args: &[&str], seconds: u32) -> anyhow::Result<Load> {
    let (before, kernel_before, load_before) = (server.cpu_us()?, server.kernel_us()?, cpu_us_of_ended()?);
    let text = wrk(url, args, seconds)?;
    let (cpu, kernel, load) =
        (server.cpu_us()? - before, server.kernel_us()? - kernel_before, cpu_us_of_ended()? - load_before);
    ensure!(!text.contains("Non-2xx"), "answers were not 2xx:\n{text}");
    let requests: f64 = field(&text, " requests in ", false)?.parse()?;
    Ok(Load {
        requests_s: field(&text, "Requests/sec:", true)?.parse()?,
        cpu_us: cpu / requests,
        kernel_us: kernel / requests,
        load_share: load / (f64::from(seconds) * 1e6),
        p50_ms: millis(field(&text, "50%", true)?)?,
        p99_ms: millis(field(&text, "99%", true)?)?,
    })
}

fn wrk(url: &str, args: &[&str], seconds: u32) -> anyhow::Result<String> {
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "wrk", "-t1", "-c32", "--latency", &format!("-d{seconds}s")]);
    let output = command.args(args).arg(url).output().context("wrk is not installed")?;
    ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The word after a mark that begins a line, or before one in its middle.
fn field<'a>(text: &'a str, mark: &str, after: bool) -> anyhow::Result<&'a str> {
    let found = text.lines().find_map(|line| match after {
        true => line.trim_start().strip_prefix(mark)?.split_whitespace().next(),
        false => line.split_once(mark)?.0.split_whitespace().next(),
    });
    found.with_context(|| format!("wrk did not say {mark}:\n{text}"))
}

fn millis(text: &str) -> anyhow::Result<f64> {
    let split = text.find(|c: char| c.is_alphabetic()).context("a time without a unit")?;
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => anyhow::bail!("wrk's unit {unit} is not known"),
    };
    Ok(number.parse::<f64>()? * scale)
}
