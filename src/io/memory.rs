//! How much memory there is and how much this process takes. What follows from it decides [`crate::broker::memory`].

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::shard::Shard;
use crate::broker::Input;

/// How often it is looked at least.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// It is looked again when clients have sent so much: within a second a flood would fill a small machine.
pub(super) const LOOK_BYTES: u64 = 2 * 1024 * 1024;

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// Tells the broker what is taken, until the task is aborted.
pub(super) async fn turns(shard: Rc<Shard>) {
    let budget = budget();
    let mut turn = tokio::time::interval(LOOK_INTERVAL);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = turn.tick() => {}
            () = shard.much_came.notified() => {}
        }
        if let Some(used) = own_bytes() {
            shard.input(Input::Memory { used, budget });
        }
    }
}

/// Memory that only this process can give back: resident, less what files back. The program's own pages are there again
/// as soon as they are wanted, and the kernel takes them when memory runs short; no message is dropped for them.
fn own_bytes() -> Option<u64> {
    let (resident, of_files) = resident()?;
    Some(resident.saturating_sub(of_files))
}

/// Resident memory of this process, in bytes.
pub(super) fn rss_bytes() -> Option<u64> {
    resident().map(|(bytes, _)| bytes)
}

/// Resident bytes, and how many of them files back (proc_pid_statm(5)).
fn resident() -> Option<(u64, u64)> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let bytes = |at: usize| Some(statm.split_whitespace().nth(at)?.parse::<u64>().ok()? * page);
    Some((bytes(1)?, bytes(2)?))
}

/// What this process should take at most: half of the memory, or the limit of its control group if that is less.
fn budget() -> Option<u64> {
    let half = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| half_of_memory(&text));
    let group = std::fs::read_to_string("/proc/self/cgroup").ok();
    let limit = group.and_then(|groups| {
        own_groups(&groups).into_iter().filter_map(|group| lowest_limit(Path::new(GROUPS), &group)).min()
    });
    half.into_iter().chain(limit).min()
}

fn half_of_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024) / 2)
}

/// The process's groups that bound memory, below the root: of the common hierarchy, and of the older one.
fn own_groups(text: &str) -> Vec<String> {
    let group = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = path.trim_matches('/');
        match controllers {
            "" => Some(path.to_owned()),
            _ if controllers.split(',').any(|name| name == "memory") => Some(format!("memory/{path}")),
            _ => None,
        }
    };
    text.lines().filter_map(group).collect()
}

/// The lowest limit of a group and those above it.
fn lowest_limit(root: &Path, group: &str) -> Option<u64> {
    let own = root.join(group);
    let groups = own.ancestors().take_while(|path| path.starts_with(root));
    let names = ["memory.max", "memory.high", "memory.limit_in_bytes"];
    let files = groups.flat_map(|path| names.map(|name| path.join(name)));
    files.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_all_groups_above_counts() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("system.slice/fieldgate.service");
        std::fs::create_dir_all(&below).unwrap();
        let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
        let limit = || lowest_limit(dir.path(), "system.slice/fieldgate.service");
        assert_eq!(limit(), None);
        write("system.slice/fieldgate.service/memory.max", "max\n");
        assert_eq!(limit(), None);
        write("system.slice/memory.max", "300000000\n");
        assert_eq!(limit(), Some(300_000_000));
        write("system.slice/fieldgate.service/memory.high", "200000000\n");
        assert_eq!(limit(), Some(200_000_000));
        write("memory.limit_in_bytes", "100\n");
        assert_eq!(limit(), Some(100));
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(half_of_memory("MemTotal:        1000 kB\nMemFree: 5 kB\n"), Some(512_000));
        assert_eq!(half_of_memory("MemFree: 5 kB\n"), None);
        assert_eq!(own_groups("0::/system.slice/a.service\n"), ["system.slice/a.service"]);
        assert_eq!(own_groups("5:cpu,memory:/a\n4:cpu:/b\n0::/\n"), ["memory/a", ""]);
        assert!(budget().is_some_and(|bytes| bytes > 1 << 20));
    }
}
