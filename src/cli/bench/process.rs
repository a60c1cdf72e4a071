//! What a process costs: CPU time and memory, as the kernel tells it under `/proc`.

use std::fs;
use std::io;

/// CPU time of all threads so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) total: f64,
    /// The part outside the kernel.
    pub(super) user: f64,
}

impl Cpu {
    /// What was spent since.
    pub(super) fn since(self, before: Self) -> Self {
        Self { total: (self.total - before.total).max(0.0), user: (self.user - before.user).max(0.0) }
    }
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) resident: u64,
    /// The part that no file backs.
    pub(super) anonymous: u64,
    /// The most that it ever was.
    pub(super) peak: u64,
}

/// The CPU time of a process. The kernel splits it into user and system in ticks; the sum is to the nanosecond where the
/// scheduler tells it.
pub(super) fn cpu(pid: u32) -> io::Result<Cpu> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name stands in parentheses and may hold blanks; behind it, fields 14 and 15 are the times.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut times = fields.split_whitespace().skip(11).filter_map(|field| field.parse::<u64>().ok());
    let tick = 1.0 / float(rustix::param::clock_ticks_per_second());
    let user = float(times.next().unwrap_or(0)) * tick;
    let system = float(times.next().unwrap_or(0)) * tick;
    Ok(Cpu { total: scheduled(pid).unwrap_or(user + system), user })
}

/// Seconds that the threads which are alive have run.
fn scheduled(pid: u32) -> Option<f64> {
    let mut nanos = 0_u64;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end while it is looked at.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        nanos = nanos.saturating_add(text.split_whitespace().next()?.parse().ok()?);
    }
    (nanos > 0).then(|| float(nanos) / 1e9)
}

/// The memory of a process.
pub(super) fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: Option<u64> = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        kib.unwrap_or(0).saturating_mul(1_024)
    };
    Ok(Memory { resident: field("VmRSS:"), anonymous: field("RssAnon:"), peak: field("VmHWM:") })
}

/// A count to calculate with.
#[expect(
    clippy::as_conversions,
    reason = "a count beyond 2^53 would lose its last digits, which no table shows"
)]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_run_and_has_memory() {
        let pid = std::process::id();
        let memory = memory(pid).unwrap();
        assert!(memory.resident >= memory.anonymous && memory.peak >= memory.resident, "{memory:?}");
        assert!(memory.anonymous > 0);
        let before = cpu(pid).unwrap();
        let mut sum = 0_u64;
        while cpu(pid).unwrap().since(before).total == 0.0 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu(0).is_err());
    }
}
