//! What people ask of an outbox: what it takes, what it holds, whether it is whole.

use super::Outbox;
use crate::record::RecordNo;
use crate::store::Usage;
use crate::store::done::BeyondFile;
use crate::store::error::{StoreError, Trouble};
use crate::store::generation::Generation;
use crate::store::inspect::{Checked, Report};
use crate::store::meta::CursorFile;
use crate::store::walk::Damage;
use crate::time::Timestamp;

impl Outbox {
    /// What it takes on disk.
    pub(in crate::store) fn usage(&self) -> Usage {
        Usage {
            disk_bytes: self.disk_bytes(),
            generations: u64::try_from(self.generations.len()).unwrap_or(u64::MAX),
            bytes_max: self.bytes_max,
            fill_percent: self.fill_percent(),
            alarm: self.alarm,
            quarantined: u64::try_from(self.quarantined.len()).unwrap_or(u64::MAX),
            quarantined_bytes: self.quarantined.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add),
            damage: self.damage,
            set_aside: self.set_aside,
        }
    }

    /// So many were set aside before it was opened.
    pub(in crate::store) fn note_set_aside(&mut self, count: u64) {
        self.set_aside = self.set_aside.saturating_add(count);
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        let generations = self.generations.iter().map(Generation::disk_bytes);
        let quarantined = self.quarantined.iter().map(|(_, bytes)| *bytes);
        generations
            .chain(quarantined)
            .fold(0, u64::saturating_add)
            .saturating_add(CursorFile::disk_bytes(&self.dir))
            .saturating_add(BeyondFile::disk_bytes(&self.dir))
    }

    /// Everything up to here is acknowledged upstream, or was dropped.
    pub(in crate::store) const fn acked(&self) -> RecordNo {
        self.done.acked
    }

    /// What it holds.
    pub(in crate::store) fn report(&mut self, name: &str, now: Timestamp) -> Result<Report, StoreError> {
        let backlog = self.backlog(now)?;
        self.close_unused();
        let usage = self.usage();
        Ok(Report {
            name: name.to_owned(),
            acked: self.done.acked,
            last: self.last,
            records: backlog.records,
            bytes: backlog.bytes,
            oldest: backlog.oldest,
            generations: usage.generations,
            disk_bytes: usage.disk_bytes,
            quarantined: usage.quarantined,
            quarantined_bytes: usage.quarantined_bytes,
            damage: usage.damage,
        })
    }

    /// Looks at every byte of the first generation after the one with this number.
    pub(in crate::store) fn verify_after(
        &mut self,
        number: u64,
        now: Timestamp,
    ) -> Result<Option<(u64, Checked)>, StoreError> {
        let Some(index) = self.generations.iter().position(|generation| generation.number > number) else {
            return Ok(None);
        };
        let Some(generation) = self.generations.get_mut(index) else { return Ok(None) };
        let number = generation.number;
        let checked = match generation.check_again() {
            Ok((fresh, damage)) => {
                let (segments, records) = (generation.tally.segments, generation.records());
                let segments = segments.saturating_sub(damage.segments);
                self.note_at(fresh, index);
                Checked { segments, records, damage, error: None }
            }
            Err(Trouble::Unavailable(error)) => return Err(error),
            Err(Trouble::Damaged(what)) => {
                let damage = generation.whole(&self.done);
                self.lose(index, &what, now);
                Checked { damage, error: Some(what), ..Checked::default() }
            }
        };
        self.close_unused();
        Ok(Some((number, checked)))
    }

    /// What was found damaged since it was opened.
    pub(in crate::store) fn damage(&self) -> Damage {
        self.damage
    }
}
