//! Small facts beside an outbox: one file each, with a checksum, replaced as a whole. It doesn't know what they mean.

use std::path::Path;

use super::error::StoreError;
use super::segment::crc32c;
use super::sync;

/// A longer note is not read: nobody wrote it.
const NOTE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Puts a note into `dir`, synced.
///
/// # Errors
/// [`StoreError::Io`]: the old one stays.
pub(super) fn write(dir: &Path, name: &str, content: &[u8]) -> Result<(), StoreError> {
    let crc = crc32c(&[content]).to_be_bytes();
    sync::replace_file(dir, &file(name), &[&crc, content].concat())?;
    sync::sync(dir)
}

/// The note of that name; `None` if there is none or it is damaged.
pub(super) fn read(dir: &Path, name: &str) -> Option<Vec<u8>> {
    let path = dir.join(file(name));
    let len = std::fs::metadata(&path).ok()?.len();
    let bytes = if len <= NOTE_BYTES_MAX { std::fs::read(&path).ok()? } else { Vec::new() };
    let content =
        bytes.split_first_chunk().filter(|(crc, content)| crc32c(&[content]).to_be_bytes() == **crc);
    if content.is_none() {
        tracing::error!(path = %path.display(), "a note beside the outbox is damaged and not used");
    }
    content.map(|(_, content)| content.to_vec())
}

fn file(name: &str) -> String {
    format!("note-{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), "outage"), None);
        for content in [&b"first"[..], b"", b"second"] {
            write(dir.path(), "outage", content).unwrap();
            assert_eq!(read(dir.path(), "outage").as_deref(), Some(content));
        }
        assert_eq!(read(dir.path(), "other"), None);
        let path = dir.path().join("note-outage");
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, bad).unwrap();
            assert_eq!(read(dir.path(), "outage"), None, "byte {at}");
        }
        std::fs::write(&path, [1, 2]).unwrap();
        assert_eq!(read(dir.path(), "outage"), None);
    }
}
