//! What the service takes of the machine.

use std::path::Path;

/// What the service takes at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) resident: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    pub(crate) disk: u64,
}

pub(crate) fn bytes_below(folder: &Path) -> u64 {
    // What is compacted away meanwhile counts no more.
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}

pub(crate) fn sample(pid: u32, data: &Path) -> Sample {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    Sample {
        resident: number("VmRSS:") * 1024,
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
        threads: number("Threads:"),
        disk: bytes_below(data),
    }
}
