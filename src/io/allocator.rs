//! glibc's allocator, told to give large blocks back.
//!
//! By default it raises the size from which a block has a mapping of its own with each such block that is freed. The
//! store's half-megabyte buffers then come from the heap, leave holes, and the process keeps 60 to 80 MiB after an outage
//! with ten million readings; with the threshold fixed it is 26 (`cargo bench --bench store`). The threshold can be set
//! from outside only (mallopt(3) is not for safe code), so the program starts itself once more with it set.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// mallopt(3): bytes from which a block has a mapping of its own, which is gone when it is freed.
const THRESHOLD: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");

/// Goes on as this process with the threshold set; to be called before anything was opened or started. Does nothing
/// where somebody has set one, where the C library is another one, or where the program can't be started again.
pub fn settle() {
    let (name, bytes) = THRESHOLD;
    if !cfg!(target_env = "gnu") || std::env::var_os(name).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(own_name) = arguments.next() {
        command.arg0(own_name);
    }
    // Only comes back if it fails, and then all goes on as it is.
    let _ = command.args(arguments).env(name, bytes).exec();
}
