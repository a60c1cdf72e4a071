//! Looks into a data directory that no gateway has open: what is in it, whether it is whole, record by record. Changes
//! nothing but what sled itself writes when it opens a database; damaged parts stay where they are.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::database::{DATA_FILE, Database};
use super::done::{BeyondFile, Done};
use super::error::{StoreError, Trouble};
use super::generation::{Backlog, Generation, Named, parse_name};
use super::lock::{self, DirLock};
use super::meta::CursorFile;
use super::names::{OUTBOX_PREFIX, decoded, directory_name};
use super::segment;
use super::state;
use super::summary::{self, Summary, Tally};
use super::sync;
use super::walk::{Damage, Walk};
use crate::ranges::Ranges;
use crate::record::{RecordNo, StoredRecord};
use crate::time::Timestamp;

/// What an outbox holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The upstream's name, as far as its directory tells.
    pub name: String,
    /// Everything up to here is acknowledged upstream.
    pub acked: RecordNo,
    /// The last record.
    pub last: RecordNo,
    /// Records that wait.
    pub records: u64,
    /// Their bytes, as records.
    pub bytes: u64,
    /// When the oldest of them was committed.
    pub oldest: Option<Timestamp>,
    /// Generations.
    pub generations: u64,
    /// Bytes on disk, with what was set aside.
    pub disk_bytes: u64,
    /// Generations that were set aside.
    pub quarantined: u64,
    /// Their bytes on disk.
    pub quarantined_bytes: u64,
    /// What is damaged, as far as was looked.
    pub damage: Damage,
}

/// What a look at every byte of one generation, or of the broker's state, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Segments, or keys of the state, that are right.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// What is not.
    pub damage: Damage,
    /// Why it could not be read to the end.
    pub error: Option<String>,
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.error.is_none() && self.damage == Damage::default()
    }
}

/// A data directory of a gateway that doesn't run, locked.
#[derive(Debug)]
pub struct Inspection {
    dir: PathBuf,
    _lock: DirLock,
}

impl Inspection {
    /// Takes the directory's lock. Nothing is made: there must be a store.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while a gateway runs on it, and whatever else is wrong with it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { dir: dir.to_owned(), _lock: lock::claim_existing(dir)? })
    }

    /// The names of the outboxes, and their directories.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn outboxes(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        outboxes(&self.dir)
    }

    /// The directory of the outbox for this upstream, if there is one.
    #[must_use]
    pub fn outbox(&self, name: &str) -> Option<PathBuf> {
        Some(self.dir.join(directory_name(name))).filter(|path| path.is_dir())
    }

    /// The database of the broker's state, and its bytes on disk.
    #[must_use]
    pub fn state(&self) -> Option<(PathBuf, u64)> {
        let path = state::current(&self.dir)?;
        let bytes = sync::disk_bytes(&path);
        Some((path, bytes))
    }

    /// What an outbox holds. Generations that were sealed are taken at their word.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn report(&self, name: &str, outbox: &Path) -> Result<Report, StoreError> {
        let done = done(outbox)?;
        let acked = done.acked;
        let mut report = Report { name: name.to_owned(), acked, last: acked, ..Report::default() };
        report.disk_bytes = sync::disk_bytes(outbox);
        for path in quarantined(outbox)? {
            report.quarantined = report.quarantined.saturating_add(1);
            report.quarantined_bytes = report.quarantined_bytes.saturating_add(sync::disk_bytes(&path));
        }
        let mut backlog = Backlog::default();
        for number in numbers(outbox)? {
            report.generations = report.generations.saturating_add(1);
            let (mut generation, summary) = Generation::found(outbox, number);
            let opened =
                if matches!(summary, Summary::Sealed(_)) { Ok(Damage::default()) } else { generation.open() };
            match opened.and_then(|damage| generation.behind(&done).map(|behind| (damage, behind))) {
                Ok((damage, behind)) => {
                    report.damage.add(damage);
                    backlog.add(behind);
                }
                Err(Trouble::Unavailable(error)) => return Err(error),
                Err(Trouble::Damaged(_)) => report.damage.add(generation.whole(&done)),
            }
            report.last = report.last.max(generation.tally.last);
            generation.close();
        }
        Ok(Report { records: backlog.records, bytes: backlog.bytes, oldest: backlog.oldest, ..report })
    }

    /// Gives everything back to the directory's owner: a command that root runs must not lock the service out.
    pub fn hand_back(&self) {
        sync::hand_back(&self.dir);
    }
}

/// The names of the outboxes in a data directory, and their directories.
///
/// # Errors
/// [`StoreError::Io`].
pub fn outboxes(dir: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let names = sync::names(dir)?.into_iter().filter_map(|name| {
        let path = dir.join(&name);
        Some((decoded(name.strip_prefix(OUTBOX_PREFIX)?), path))
    });
    Ok(names.filter(|(_, path)| path.is_dir()).collect())
}

/// The generations of an outbox, oldest first.
///
/// # Errors
/// [`StoreError::Io`].
pub fn generations(outbox: &Path) -> Result<Vec<PathBuf>, StoreError> {
    Ok(numbers(outbox)?.into_iter().map(|number| Generation::found(outbox, number).0.path()).collect())
}

/// The generations that stand right before something that is acknowledged out of turn: there reading backwards may have
/// been when the store was left.
pub(super) fn before_done(outbox: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let beyond = acked_beyond(outbox)?;
    let mut found = Vec::new();
    if beyond.is_empty() {
        return Ok(found);
    }
    for number in numbers(outbox)? {
        let (generation, _) = Generation::found(outbox, number);
        let (first, last) = (generation.tally.first.0, generation.tally.last.0);
        if beyond.iter().any(|(begin, _)| (first..=last).contains(&begin.saturating_sub(1))) {
            found.push(generation.path());
        }
    }
    Ok(found)
}

/// What was set aside in an outbox, oldest first.
///
/// # Errors
/// [`StoreError::Io`].
pub fn quarantined(outbox: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let names = sync::names(outbox)?.into_iter().filter(|name| parse_name(name) == Named::Quarantine);
    Ok(names.map(|name| outbox.join(name)).collect())
}

fn numbers(outbox: &Path) -> Result<Vec<u64>, StoreError> {
    let mut numbers: Vec<u64> = sync::names(outbox)?
        .iter()
        .filter_map(|name| if let Named::Generation(number) = parse_name(name) { Some(number) } else { None })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Where everything that an outbox has had up to a record is acknowledged.
///
/// # Errors
/// [`StoreError::Io`].
pub fn acked(outbox: &Path) -> Result<RecordNo, StoreError> {
    Ok(done(outbox)?.acked)
}

/// What is acknowledged behind that.
///
/// # Errors
/// [`StoreError::Io`].
pub fn acked_beyond(outbox: &Path) -> Result<Ranges, StoreError> {
    Ok(done(outbox)?.beyond)
}

fn done(outbox: &Path) -> Result<Done, StoreError> {
    let mut done = Done { acked: CursorFile::peek(outbox)?, ..Done::default() };
    done.add(&BeyondFile::open(outbox)?.persisted);
    Ok(done)
}

/// Looks at every byte of a generation, wherever it lies.
///
/// # Errors
/// [`StoreError::Io`]: the system says no. Damage is none.
pub fn check_generation(path: &Path) -> Result<Checked, StoreError> {
    walk_generation(path, RecordNo(0), &mut |_| ControlFlow::Continue(()))
}

/// The same, and shows its records from `from` on.
///
/// # Errors
/// [`StoreError::Io`]: the system says no. Damage is none.
pub fn walk_generation(
    path: &Path,
    from: RecordNo,
    visit: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
) -> Result<Checked, StoreError> {
    let mut checked = Checked::default();
    let mut walk = Walk::from_start();
    let mut found = Tally::default();
    let mut broken_off = false;
    let read = open(path).and_then(|mut db| {
        db.for_each_from(1, |key, stored| {
            walk.segment(key, stored, &mut |walked| {
                found.count(walked.record.no, walked.record.bytes.len(), walked.committed_at);
                let flow =
                    if walked.record.no >= from { visit(walked.record) } else { ControlFlow::Continue(()) };
                broken_off = flow.is_break();
                flow
            })
        })
    });
    match read {
        Ok(()) => {}
        Err(Trouble::Unavailable(error)) => return Err(error),
        Err(Trouble::Damaged(what)) => checked.error = Some(what),
    }
    checked.records = found.records;
    checked.damage = walk.damage;
    let seen = walk.next_segment.saturating_sub(1);
    if let Some(told) = told(path).filter(|_| !broken_off) {
        checked.damage.segments = checked.damage.segments.saturating_add(told.segments.saturating_sub(seen));
        checked.damage.records = told.records.saturating_sub(found.records);
    }
    checked.segments = seen.saturating_sub(walk.damage.segments);
    Ok(checked)
}

/// Looks at every byte of the broker's state.
///
/// # Errors
/// [`StoreError::Io`]: the system says no. Damage is none.
pub fn check_state(path: &Path) -> Result<Checked, StoreError> {
    let mut checked = Checked::default();
    let read = open(path).and_then(|mut db| {
        db.for_each(|place, stored| {
            if state::is_right(place, stored) {
                checked.segments = checked.segments.saturating_add(1);
            } else {
                checked.damage.segments = checked.damage.segments.saturating_add(1);
            }
        })
    });
    match read {
        Ok(()) => Ok(checked),
        Err(Trouble::Unavailable(error)) => Err(error),
        Err(Trouble::Damaged(what)) => Ok(Checked { error: Some(what), ..checked }),
    }
}

/// Copies what can be read of a generation into a fresh one, and syncs it. Gives what was copied as [`Checked::records`],
/// and what was lost.
///
/// # Errors
/// [`StoreError::Io`]: the fresh one is not to be used.
pub fn salvage(generation: &Path, into: &Path) -> Result<Checked, StoreError> {
    std::fs::create_dir(into).map_err(StoreError::io("create", into))?;
    let failed = |trouble: Trouble| match trouble {
        Trouble::Unavailable(error) => error,
        Trouble::Damaged(what) => StoreError::io("write", into)(std::io::Error::other(what)),
    };
    let mut fresh = Database::open(into).map_err(failed)?;
    let (mut wrong, mut kept) = (None, 0_u64);
    // Segments as they are: their numbers and counts tell what is missing between them.
    let read = open(generation).and_then(|mut db| {
        db.for_each_from(1, |key, stored| {
            if segment::head(stored).is_ok_and(|head| head.segment_no == key) {
                match fresh.insert(key, stored) {
                    Ok(()) => kept = kept.saturating_add(1),
                    Err(trouble) => wrong = Some(trouble),
                }
            }
            if wrong.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    });
    if let Some(trouble) = wrong {
        return Err(failed(trouble));
    }
    if let Err(Trouble::Unavailable(error)) = read {
        return Err(error);
    }
    fresh.sync_creation().map_err(failed)?;
    drop(fresh);
    let mut checked = check_generation(into)?;
    if let Some(told) = told(generation) {
        checked.damage.segments = told.segments.saturating_sub(kept);
        checked.damage.records = told.records.saturating_sub(checked.records);
    }
    Ok(checked)
}

/// The same for the broker's state.
///
/// # Errors
/// [`StoreError::Io`]: the fresh one is not to be used.
pub fn salvage_state(from: &Path, into: &Path) -> Result<Checked, StoreError> {
    std::fs::create_dir(into).map_err(StoreError::io("create", into))?;
    let failed = |trouble: Trouble| match trouble {
        Trouble::Unavailable(error) => error,
        Trouble::Damaged(what) => StoreError::io("write", into)(std::io::Error::other(what)),
    };
    let mut fresh = Database::open(into).map_err(failed)?;
    let mut kept = Vec::new();
    let read = open(from).and_then(|mut db| {
        db.for_each(|place, stored| {
            if state::is_right(place, stored) {
                kept.push((place.to_vec(), Some(stored.to_vec())));
            }
        })
    });
    if let Err(Trouble::Unavailable(error)) = read {
        return Err(error);
    }
    fresh.apply(kept).map_err(failed)?;
    fresh.sync_creation().map_err(failed)?;
    drop(fresh);
    check_state(into)
}

/// sled would make what isn't there.
fn open(path: &Path) -> Result<Database, Trouble> {
    if !path.join(DATA_FILE).is_file() {
        return Err(Trouble::Damaged("its data file is missing".to_owned()));
    }
    Database::open(path)
}

/// What the summary says, which lies beside a generation, or within it once it was set aside.
fn told(path: &Path) -> Option<Tally> {
    let name = path.file_name()?.to_str()?;
    let own = name.rfind("gen-").and_then(|at| name.get(at..))?;
    let place = if own == name { path.parent()? } else { path };
    if let Summary::Sealed(tally) = summary::read(place, own) { Some(tally) } else { None }
}
