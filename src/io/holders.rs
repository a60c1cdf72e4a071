//! Which processes have device files open, as /proc tells whoever may know: root all of them, others their own.

use std::fs;
use std::path::{Path, PathBuf};

/// A process that has a file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name, 15 bytes at most.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Who has one of these files open, each process once for each file. The paths are real ones, without links.
#[must_use]
pub fn of(paths: &[PathBuf]) -> Vec<Holder> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<Holder> = processes
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .flat_map(|(pid, folder)| open_by(&folder, paths).into_iter().map(move |path| (pid, path)))
        .map(|(pid, path)| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Holder { pid, name: name.trim().to_owned(), path }
        })
        .collect();
    found.sort_by_key(|holder| holder.pid);
    found
}

fn open_by(process: &Path, paths: &[PathBuf]) -> Vec<PathBuf> {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let mut open: Vec<PathBuf> = files.filter_map(|file| fs::read_link(file.path()).ok()).collect();
    open.retain(|path| paths.contains(path));
    open.sort();
    open.dedup();
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_open_what_it_has_opened() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = fs::canonicalize(file.path()).unwrap();
        let holders = of(std::slice::from_ref(&path));
        assert!(holders.iter().any(|holder| holder.pid == std::process::id() && holder.path == path));
        drop(file);
        assert!(of(&[path]).is_empty());
    }
}
