//! Watches the store thread: sled may hang for good after an error in one of its own threads. A call that takes too long
//! while no thread of the process waits for a disk is a hang; a slow or dead disk is none, and is waited for. At a hang
//! the process ends, for its supervisor to start it again: what was open is then checked from outside.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::error;

use super::clock;
use crate::store;
use crate::time::Mono;

/// The exit code after a hang: an input/output error, as `sysexits.h` counts.
pub const EXIT_HUNG: i32 = 74;

/// The log has this long for its last words.
const LOG_GRACE: Duration = Duration::from_millis(500);

/// A call may take this long, whatever it does.
const CALL_MAX: Duration = Duration::from_secs(30);
/// A disk at which no thread has waited for this long isn't what the call waits for.
const DISK_QUIET: Duration = Duration::from_secs(10);
/// How often the threads are looked at while a call is long at it, and how often it is asked whether one is.
const LOOK: Duration = Duration::from_millis(100);

/// Since when the store thread is busy, in nanoseconds of the monotonic clock; 0 while it is idle.
#[derive(Clone, Debug, Default)]
pub struct Busy(Arc<AtomicU64>);

impl Busy {
    /// A call begins.
    pub fn begin(&self) {
        self.0.store(clock::mono().as_nanos(), Ordering::Relaxed);
    }

    /// It has ended.
    pub fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn since(&self) -> Option<Mono> {
        Some(self.0.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0).map(Mono::from_nanos)
    }
}

/// Tells a hang from a disk that is slow. Pure.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    /// When a thread was last seen waiting for a disk, or there was nothing to look for.
    quiet_since: Mono,
}

impl Watch {
    /// One look: since when the call lasts, and whether a thread waits for a disk. Whether it is a hang.
    fn look(&mut self, now: Mono, busy: Option<Mono>, waits_for_disk: impl FnOnce() -> bool) -> bool {
        let Some(busy) = busy.filter(|&since| now.since(since) >= CALL_MAX - DISK_QUIET) else {
            self.quiet_since = now;
            return false;
        };
        if waits_for_disk() {
            self.quiet_since = now;
        }
        now.since(busy) >= CALL_MAX && now.since(self.quiet_since) >= DISK_QUIET
    }
}

/// Starts the watch; it lasts as long as the process.
///
/// # Errors
/// If the thread can't be started.
pub fn spawn(busy: Busy, data_dir: PathBuf) -> std::io::Result<()> {
    let mut watch = Watch { quiet_since: clock::mono() };
    std::thread::Builder::new().name("fg-store-dog".into()).stack_size(128 * 1024).spawn(move || {
        loop {
            std::thread::sleep(LOOK);
            if watch.look(clock::mono(), busy.since(), waits_for_disk) {
                end(&data_dir);
            }
        }
    })?;
    Ok(())
}

fn end(data_dir: &Path) {
    error!(
        exit_code = EXIT_HUNG,
        "the store hangs though the disk doesn't; the gateway ends, to be started again"
    );
    store::mark_suspect(
        data_dir,
        "a call into the store took more than 30 s while no thread waited for the disk\n",
    );
    // The log's threads get a moment to write why.
    std::thread::sleep(LOG_GRACE);
    std::process::exit(EXIT_HUNG);
}

/// Whether a thread of this process is in the state that only a disk (or a file system over a network) explains.
fn waits_for_disk() -> bool {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return true };
    tasks.flatten().any(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The thread's name stands in brackets before it and may hold anything.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('D'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks ten times a second for `seconds`; after how many it was a hang.
    fn watch(seconds: u64, busy: impl Fn(u64) -> Option<u64>, disk: impl Fn(u64) -> bool) -> Option<u64> {
        let mut watch = Watch::default();
        (0..seconds * 10).find_map(|tenth| {
            let at = |tenth: u64| Mono::from_nanos(tenth * 100_000_000);
            watch.look(at(tenth), busy(tenth).map(at), || disk(tenth)).then_some(tenth / 10)
        })
    }

    #[test]
    fn a_long_call_is_a_hang_only_while_nothing_waits_for_the_disk() {
        let always = |_| Some(0);
        assert_eq!(watch(600, always, |_| false), Some(30));
        assert_eq!(watch(600, always, |_| true), None, "a dead disk");
        assert_eq!(watch(600, always, |tenth| tenth % 90 == 0), None, "a slow one, seen now and then");
        assert_eq!(watch(600, always, |tenth| tenth < 2_000), Some(209), "first a slow disk, then a hang");
        assert_eq!(watch(600, |_| None, |_| false), None, "idle");
        assert_eq!(watch(600, |tenth| Some(tenth / 250 * 250), |_| false), None, "many calls of 25 s");
    }

    #[test]
    fn a_thread_that_sleeps_doesnt_wait_for_a_disk() {
        // The other tests' threads may: so only that the state can be read.
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        assert!(stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('R')), "{stat}");
    }
}
