//! The disk's free space: what is left to the system, and the ballast that is given up when there is none left.
//! What is written, and where, is not its concern.

use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::bounds::RESERVE_DEFAULT;
use super::error::StoreError;
use super::sync;

/// What lies there for nothing: on a full disk sled can neither open nor drain, and with this much it can.
pub(super) const BALLAST_BYTES: u64 = 4 * 1024 * 1024;

const BALLAST: &str = "ballast";

/// A file system's room, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// Free for this process.
    pub free: u64,
    /// In all.
    pub total: u64,
}

impl Space {
    /// That of the file system that holds `dir`; `None` where it can't be told.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(dir).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Self { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }
}

/// The file system's room, watched.
#[derive(Debug)]
pub(super) struct Room {
    dir: PathBuf,
    /// Left to the system; `None`: [`RESERVE_DEFAULT`], or a twentieth of a small disk.
    pub reserve: Option<u64>,
    /// Below the reserve at the last look.
    short: bool,
}

impl Room {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), reserve: None, short: false }
    }

    fn reserve(&self, space: Space) -> u64 {
        self.reserve.unwrap_or_else(|| RESERVE_DEFAULT.min(space.total / 20))
    }

    /// Whether records may be written: as long as the reserve is free. After it was touched, some more must be, so
    /// that it isn't left and entered with every commit.
    ///
    /// # Errors
    /// [`StoreError::Reserve`].
    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        let Some(space) = Space::of(&self.dir) else { return Ok(()) };
        let reserve = self.reserve(space);
        let wanted = if self.short { reserve.saturating_add(reserve / 8) } else { reserve };
        self.short = space.free < wanted;
        if self.short { Err(StoreError::Reserve { free: space.free, reserve }) } else { Ok(()) }
    }

    /// Puts the ballast there, unless it is there or the disk has no room to spare. One that can't be made is none.
    pub(super) fn make_ballast(&self) {
        let path = self.dir.join(BALLAST);
        let there = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == BALLAST_BYTES);
        let spare =
            |space: Space| space.free >= self.reserve(space).saturating_add(BALLAST_BYTES.saturating_mul(2));
        if there || !Space::of(&self.dir).is_some_and(spare) {
            return;
        }
        let made = sync::open_file(&path).and_then(|file| {
            // Blocks without content: they cost the flash nothing.
            fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES)
                .map_err(|errno| StoreError::io("create", &path)(errno.into()))
        });
        if let Err(error) = made {
            tracing::debug!(%error, "no ballast");
            let _ = sync::remove(&path);
        }
    }

    /// Gives the ballast up. Whether there was any.
    pub(super) fn drop_ballast(&self) -> bool {
        let path = self.dir.join(BALLAST);
        let there = path.exists() && sync::remove(&path).is_ok();
        if there {
            tracing::warn!(path = %path.display(), bytes = BALLAST_BYTES, "the disk is full; the ballast was deleted");
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_takes_its_room_and_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room { reserve: Some(0), ..Room::new(dir.path()) };
        assert!(!room.drop_ballast());
        room.make_ballast();
        room.make_ballast();
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(dir.path().join(BALLAST)).unwrap();
        assert_eq!(
            (metadata.len(), metadata.blocks() * 512),
            (BALLAST_BYTES, BALLAST_BYTES),
            "blocks, not a hole"
        );
        assert!(room.drop_ballast() && !dir.path().join(BALLAST).exists());
    }

    #[test]
    fn below_the_reserve_nothing_is_written_and_no_ballast_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut room = Room { reserve: Some(u64::MAX), ..Room::new(dir.path()) };
        let error = room.check().unwrap_err();
        assert!(matches!(error, StoreError::Reserve { reserve: u64::MAX, .. }), "{error}");
        room.make_ballast();
        assert!(!dir.path().join(BALLAST).exists());
        room.reserve = Some(0);
        room.check().unwrap();
    }
}
