//! Files and directories that must survive a power cut: made, replaced, synced, measured. Knows nothing of what is
//! in them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::error::StoreError;

/// Directories and files are for the service's user alone: records may be anything that a sensor says.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// What a file takes on disk: whole blocks of this many bytes.
const BLOCK_BYTES: u64 = 4096;

/// Syncs a file's or a directory's content and everything that is needed to find it.
///
/// # Errors
/// [`StoreError::Io`], "sync".
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io("sync", path))
}

/// Makes a directory, and those above it that are missing, so that they stay. One that exists is fine.
///
/// # Errors
/// [`StoreError::Io`], "create" or "sync".
pub(super) fn create_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_dir(parent)?;
    }
    match DirBuilder::new().mode(DIR_MODE).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::Io { doing: "create", path: dir.to_owned(), source: error })
        }
        _ => sync(parent.unwrap_or(Path::new("."))),
    }
}

/// Puts a file with this content at `dir/name`, whole or not at all: a new file, synced, renamed over the old one.
/// It stays once the directory is synced, which is the caller's: often one sync serves several files.
///
/// # Errors
/// [`StoreError::Io`]: the old file, if there was one, is still there.
pub(super) fn replace_file(dir: &Path, name: &str, content: &[u8]) -> Result<(), StoreError> {
    replace_file_by(dir, name, |file| file.write_all(content))
}

/// The same with what `write` writes, of which no more than a little is in memory.
///
/// # Errors
/// [`StoreError::Io`]: the old file, if there was one, is still there.
pub(super) fn replace_file_by(
    dir: &Path,
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), StoreError> {
    let path = dir.join(name);
    let new = dir.join(format!("{name}{NEW_SUFFIX}"));
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new);
    let written = open
        .and_then(|file| {
            let mut file = BufWriter::new(file);
            write(&mut file)?;
            file.into_inner()?.sync_all()
        })
        .and_then(|()| std::fs::rename(&new, &path));
    written.map_err(StoreError::io("write", &path))
}

/// What a file is called until it is whole. One that is left over means nothing.
pub(super) const NEW_SUFFIX: &str = ".new";

/// Opens or makes a file for reading and writing.
///
/// # Errors
/// [`StoreError::Io`], "create".
pub(super) fn open_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(StoreError::io("create", path))
}

/// Bytes on disk of a file, or of all files below a directory. What can't be looked at counts nothing.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return file_bytes(metadata.len());
    }
    let Ok(entries) = std::fs::read_dir(path) else { return BLOCK_BYTES };
    entries.flatten().map(|entry| disk_bytes(&entry.path())).fold(BLOCK_BYTES, u64::saturating_add)
}

/// Gives a directory and all in it to the directory's owner, if it belongs to another than this process. What can't be
/// given stays as it is.
pub(super) fn hand_back(dir: &Path) {
    use std::os::unix::fs::MetadataExt;
    let Ok(owner) = std::fs::metadata(dir) else { return };
    if owner.uid() != rustix::process::geteuid().as_raw() {
        give(dir, owner.uid(), owner.gid());
    }
}

fn give(path: &Path, user: u32, group: u32) {
    let _ = std::os::unix::fs::lchown(path, Some(user), Some(group));
    let is_dir = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    for entry in std::fs::read_dir(path).ok().filter(|_| is_dir).into_iter().flatten().flatten() {
        give(&entry.path(), user, group);
    }
}

/// What a file of this length takes on disk.
pub(super) fn file_bytes(len: u64) -> u64 {
    len.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX)
}

/// The names in a directory, sorted. Names that are not UTF-8 come with replacement characters: they are not ours.
///
/// # Errors
/// [`StoreError::Io`], "read".
pub(super) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    read().map_err(StoreError::io("read", dir))
}

/// Removes a file or a directory with all that is in it; what is not there is fine.
///
/// # Errors
/// [`StoreError::Io`], "remove".
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::Io { doing: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
