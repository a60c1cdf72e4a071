//! A control group of a test's own, of either kind, on a machine where root may make one.

use std::path::{Path, PathBuf};

/// Removed when dropped; whoever was in it must have ended.
pub struct Cgroup {
    folder: PathBuf,
    is_common: bool,
}

impl Cgroup {
    /// One with this controller; `Err` is why there can't be one.
    pub fn new(controller: &str) -> Result<Self, String> {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("fieldgate-test-{}-{controller}", std::process::id());
        let is_common = root.join("cgroup.controllers").exists();
        let folder = if is_common {
            // A group hands a controller down only if it is told to.
            let _ = std::fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
            root.join(name)
        } else {
            root.join(controller).join(name)
        };
        std::fs::create_dir(&folder)
            .map_err(|error| format!("no control group {} can be made: {error}", folder.display()))?;
        let group = Self { folder, is_common };
        let own = ["max", "limit_in_bytes", "cfs_quota_us"].map(|end| format!("{controller}.{end}"));
        if own.iter().any(|name| group.folder.join(name).exists()) {
            return Ok(group);
        }
        Err(format!("this machine's control groups have no {controller}"))
    }

    /// Bounds the memory.
    pub fn bound_memory(&self, bytes: u64) {
        self.write(if self.is_common { "memory.max" } else { "memory.limit_in_bytes" }, &bytes.to_string());
    }

    /// Bounds the processors to this share of one.
    pub fn bound_processor(&self, percent: u64) {
        let quota = percent * 1_000;
        if self.is_common {
            self.write("cpu.max", &format!("{quota} 100000"));
        } else {
            self.write("cpu.cfs_period_us", "100000");
            self.write("cpu.cfs_quota_us", &quota.to_string());
        }
    }

    /// What starts a program in it: these words come before the program's.
    pub fn wrapper(&self) -> Vec<String> {
        let into = self.folder.join("cgroup.procs");
        let script = format!("echo $$ >'{}' && exec \"$@\"", into.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }

    /// How often memory had to be looked for because of the bound, and how often a process was killed for it.
    pub fn memory_events(&self) -> (u64, u64) {
        let name = if self.is_common { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(self.folder.join(name)).unwrap();
        let of = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            value.unwrap_or(0)
        };
        let failed = std::fs::read_to_string(self.folder.join("memory.failcnt")).unwrap_or_default();
        (failed.trim().parse().unwrap_or_else(|_| of("max ")), of("oom_kill "))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel may still be at the end of who was in it.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(super::LOOK);
        }
    }
}
