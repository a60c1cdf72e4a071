//! What the store tells of an outbox.

use super::{Alarm, Damage};
use crate::ranges::Ranges;
use crate::record::RecordNo;
use crate::time::Timestamp;

/// What was found at opening an outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Everything up to here is acknowledged upstream, or was dropped.
    pub acked: RecordNo,
    /// And these behind it.
    pub beyond: Ranges,
    /// The last record on disk, or that is done; `acked` if there is none behind it.
    pub last: RecordNo,
    /// Records on disk that are neither.
    pub records: u64,
    /// Their bytes, as records.
    pub bytes: u64,
    /// When the oldest of them was committed.
    pub oldest: Option<Timestamp>,
    /// Segments that were damaged, and the records that were lost with them. Generations that are not read yet are
    /// not looked into: [`super::Store::damage`] tells what is found later.
    pub damaged_segments: u64,
    /// Records lost in damage, as far as can be told.
    pub damaged_records: u64,
}

/// What an append had to drop to stay within the outbox's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Everything up to here is gone.
    pub up_to: RecordNo,
    /// Records that had not been acknowledged.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the records, those that were older than they may be.
    pub expired: u64,
    /// Of the records, those that a person wanted gone.
    pub purged: u64,
}

/// What an outbox takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk, as files, with what was set aside.
    pub disk_bytes: u64,
    /// Generations.
    pub generations: u64,
    /// Bytes that it may take on disk.
    pub bytes_max: u64,
    /// How full it is: of its bytes or of its records, whichever is more.
    pub fill_percent: u64,
    /// What people are told of that.
    pub alarm: Alarm,
    /// Generations that were set aside.
    pub quarantined: u64,
    /// Their bytes on disk, which `disk_bytes` includes.
    pub quarantined_bytes: u64,
    /// What was found damaged since it was opened.
    pub damage: Damage,
    /// Generations that were set aside since the start; what was in them may not be known.
    pub set_aside: u64,
}
