//! What is damaged in an outbox: counted, passed over, set aside. How damage is found is the generation's concern.

use std::path::{Path, PathBuf};

use super::Outbox;
use crate::store::error::StoreError;
use crate::store::generation::Generation;
use crate::store::sync;
use crate::store::walk::Damage;
use crate::time::Timestamp;

/// Generations that were set aside, at most; the oldest is deleted beyond it, as its loss is counted already.
const QUARANTINED_MAX: usize = 4;

impl Outbox {
    pub(super) fn note_newest(&mut self, damage: Damage) {
        self.note_at(damage, self.generations.len().saturating_sub(1));
    }

    pub(super) fn note_at(&mut self, damage: Damage, index: usize) {
        let path = self.generations.get(index).map(Generation::path).unwrap_or_default();
        self.note_path(damage, &path);
    }

    pub(super) fn note(&mut self, damage: Damage, generation: &Generation) {
        self.note_path(damage, &generation.path());
    }

    fn note_path(&mut self, damage: Damage, path: &Path) {
        if !damage.is_none() {
            tracing::error!(path = %path.display(), segments = damage.segments, records = damage.records,
                "a part of the outbox is damaged; it is passed over");
            self.damage.add(damage);
        }
    }

    /// Sets the newest generation aside after a failed write to it, and tells so.
    pub(super) fn lose_newest(&mut self, what: String, now: Timestamp) -> StoreError {
        let quarantine = match self.generations.pop_back() {
            Some(mut newest) => self.set_aside(&mut newest, &what, now),
            None => self.dir.clone(),
        };
        StoreError::Damaged { quarantine, what }
    }

    /// Sets the generation at this place aside.
    pub(super) fn lose(&mut self, index: usize, what: &str, now: Timestamp) {
        if let Some(mut generation) = self.generations.remove(index) {
            self.set_aside(&mut generation, what, now);
        }
    }

    /// Sets a generation aside and counts what was in it. Gives where it is now.
    pub(super) fn set_aside(&mut self, generation: &mut Generation, what: &str, now: Timestamp) -> PathBuf {
        let damage = generation.whole(&self.done);
        self.damage.add(damage);
        self.set_aside = self.set_aside.saturating_add(1);
        self.last = self.last.max(generation.tally.last);
        let path = generation.path();
        match generation.quarantine(now) {
            Ok(quarantine) => {
                tracing::error!(path = %path.display(), quarantine = %quarantine.display(), error = what,
                    segments = damage.segments, records = damage.records,
                    "a generation of the outbox is damaged; it was set aside");
                self.quarantined.push_back((quarantine.clone(), sync::disk_bytes(&quarantine)));
                self.limit_quarantined();
                quarantine
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, what,
                    "a generation of the outbox is damaged and can't be set aside; it is passed over");
                path
            }
        }
    }

    fn limit_quarantined(&mut self) {
        while self.quarantined.len() > QUARANTINED_MAX {
            if let Some((path, _)) = self.quarantined.pop_front()
                && let Err(error) = sync::remove(&path)
            {
                tracing::warn!(path = %path.display(), %error, "what was set aside can't be deleted");
            }
        }
    }
}
