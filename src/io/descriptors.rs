//! File descriptors: as many as the system allows, of which some are kept for the store, for files that are read again
//! and for upstreams. Clients have the others.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// So many stay free for others than clients.
const RESERVED: u64 = 64;

/// While there are too few, it is looked so often whether that is still so.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Raises the limit of open files to what the system allows this process.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => info!(files_max = limit.maximum, "open files are allowed up to the system's limit"),
        Err(error) => warn!(%error, files_max = limit.current, "the limit of open files can't be raised"),
    }
}

/// Whether the last connection took one of those descriptors that are kept for others. The system gives the lowest
/// number that is free: so its number says whether all below are taken.
pub(super) fn are_short(last: &impl AsFd) -> bool {
    is_near_limit(last, RESERVED)
}

/// Whether there are so many that it will not run short again at once.
pub(super) fn are_plenty(last: &impl AsFd) -> bool {
    !is_near_limit(last, RESERVED.saturating_add(RESERVED / 4))
}

fn is_near_limit(last: &impl AsFd, reserved: u64) -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return false };
    let mark = limit.saturating_sub(reserved.min(limit / 2 + limit / 8));
    let is_above = |number: i32| u64::try_from(number).is_ok_and(|number| number >= mark);
    if !is_above(last.as_fd().as_raw_fd()) {
        return false;
    }
    // Those that were taken when it came may be free again: what number would the next one get?
    match rustix::io::fcntl_dupfd_cloexec(last, 0) {
        Ok(next) => is_above(next.as_raw_fd()),
        Err(_) => true,
    }
}
