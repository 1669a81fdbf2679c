//! What the kernel says of this process and its machine.

use procfs::Current;
use procfs::process::Process;

/// What does not change while we run.
#[derive(Debug)]
pub struct Machine {
    cores: f64,
    memory: u64,
    ticks_per_second: u64,
}

/// What does. Zeros where the kernel keeps it from us.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// In clock ticks since the process began.
    cpu_ticks: u64,
    resident: u64,
    /// Read from and written to devices.
    pub disk_bytes: u64,
}

impl Machine {
    /// Cores and memory as this process may use them: cgroup limits count.
    #[must_use]
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let total = procfs::Meminfo::current().map_or(u64::MAX, |info| info.mem_total);
        Self {
            cores: f64::from(u32::try_from(cores).unwrap_or(u32::MAX)),
            memory: cgroup_limit().unwrap_or(u64::MAX).min(total),
            ticks_per_second: procfs::ticks_per_second(),
        }
    }

    #[must_use]
    pub fn read(&self) -> Reading {
        let Ok(process) = Process::myself() else { return Reading::default() };
        let (ticks, pages) = process.stat().map_or((0, 0), |stat| (stat.utime + stat.stime, stat.rss));
        Reading {
            cpu_ticks: ticks,
            resident: pages * procfs::page_size(),
            disk_bytes: process.io().map_or(0, |io| io.read_bytes + io.write_bytes),
        }
    }

    /// Between two readings, 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "ticks of one interval")]
    pub fn cpu_share(&self, before: &Reading, now: &Reading, seconds: f64) -> f64 {
        let ticks = now.cpu_ticks.saturating_sub(before.cpu_ticks) as f64;
        (ticks / self.ticks_per_second as f64 / seconds / self.cores).min(1.0)
    }

    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a share")]
    pub fn memory_share(&self, now: &Reading) -> f64 {
        (now.resident as f64 / self.memory as f64).min(1.0)
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

/// The limit of the cgroup that we see as ours; "max" is none.
fn cgroup_limit() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}
