//! A small value of a device that outlives the process: a counter's total, an output's last state. One slot file each,
//! in a folder of their own. It doesn't know what they mean.

use std::path::Path;

use super::error::StoreError;
use super::lock::is_ours;
use super::names::file_name;
use super::slot::SlotFile;
use super::sync;

/// The folder in the data directory.
const FOLDER: &str = "gpio";

/// The largest value, in bytes.
pub const KEPT_BYTES_MAX: usize = super::slot::VALUE_BYTES_MAX;

/// What was found of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptValue {
    /// It is new.
    Nothing,
    /// As it was written last.
    Value(Vec<u8>),
    /// Both copies are damaged.
    Damaged,
}

/// A value on disk.
#[derive(Debug)]
pub struct Kept {
    file: SlotFile,
}

impl Kept {
    /// Opens or makes the value of that name in a data directory that is ours. A damaged one begins anew, and is told.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Foreign`], [`StoreError::UnknownLayout`].
    pub fn open(data_dir: &Path, name: &str) -> Result<(Self, KeptValue), StoreError> {
        let (dir, file) = (data_dir.join(FOLDER), file_name("", name));
        // Nothing is put among what belongs to somebody else.
        is_ours(data_dir)?;
        sync::create_dir(&dir)?;
        if let Some((file, value)) = SlotFile::open(&dir, &file)? {
            let value = if value.is_empty() { KeptValue::Nothing } else { KeptValue::Value(value) };
            return Ok((Self { file }, value));
        }
        let found = if dir.join(&file).exists() { KeptValue::Damaged } else { KeptValue::Nothing };
        Ok((Self { file: SlotFile::create(&dir, &file, &[])? }, found))
    }

    /// Writes it, at most [`KEPT_BYTES_MAX`] bytes, synced: from then on it survives a power cut.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the old value stays.
    pub fn write(&mut self, value: &[u8]) -> Result<(), StoreError> {
        self.file.write(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_a_damaged_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Kept::open(dir.path(), "water").is_err(), "it is not ours");
        drop(super::super::lock::claim(dir.path()).unwrap());
        let before = std::fs::read_dir(dir.path()).unwrap().count();
        let open = |name: &str| Kept::open(dir.path(), name).unwrap();
        let (mut kept, found) = open("water");
        assert_eq!(found, KeptValue::Nothing);
        kept.write(b"one").unwrap();
        kept.write(b"two").unwrap();
        assert_eq!(open("water").1, KeptValue::Value(b"two".to_vec()));
        assert_eq!(open("../../x y").1, KeptValue::Nothing);
        let after = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(after, before + 1, "nothing lies outside of its folder");
        // A torn write leaves the one before.
        let path = dir.path().join(FOLDER).join("water");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(3).position(|window| window == b"two").unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(open("water").1, KeptValue::Value(b"one".to_vec()));
        std::fs::write(&path, vec![0; bytes.len()]).unwrap();
        assert_eq!(open("water").1, KeptValue::Damaged);
        assert_eq!(open("water").1, KeptValue::Nothing, "it has begun anew");
    }
}
