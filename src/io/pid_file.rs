//! The file that holds the number of the running process, for init scripts. It is locked while the gateway runs, so
//! that one that a crash left behind is in nobody's way.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

/// A locked file; removed when dropped.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    path: PathBuf,
}

impl PidFile {
    /// Takes the file, making it if needed.
    ///
    /// # Errors
    /// In words: another process holds it, or something else is there.
    pub fn take(path: &Path) -> Result<Self, String> {
        let wrong = |error: std::io::Error| format!("can't write the pid file {}: {error}", path.display());
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(no_follow);
        let mut file = options.open(path).map_err(wrong)?;
        let mut text = String::new();
        // A process number is short; what is longer is something else.
        let read = (&mut file).take(32).read_to_string(&mut text);
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(format!(
                "another gateway holds the pid file {}; its process is {}",
                path.display(),
                text.trim()
            ));
        }
        let is_ours = text.trim().is_empty() || text.trim().parse::<u32>().is_ok();
        if read.is_err() || !is_ours {
            return Err(format!("{} is in the way: it is no pid file", path.display()));
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes our number.
    ///
    /// # Errors
    /// In words.
    pub fn fill(&mut self) -> Result<(), String> {
        let wrong =
            |error: std::io::Error| format!("can't write the pid file {}: {error}", self.path.display());
        self.file.set_len(0).map_err(wrong)?;
        std::io::Seek::rewind(&mut self.file).map_err(wrong)?;
        writeln!(self.file, "{}", std::process::id()).map_err(wrong)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It may have been removed by hand: then there is nothing to do.
        let _ = std::fs::remove_file(&self.path);
    }
}
