//! What the store makes of damaged files: it opens, it never panics, what is readable is read, and what is lost is
//! counted.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

use std::path::{Path, PathBuf};

use fieldgate::message::OutboxId;
use fieldgate::record::{RecordNo, StoredRecord};
use fieldgate::store::{Config, OutboxState, Store};
use fieldgate::time::Timestamp;

const CLOUD: OutboxId = OutboxId(0);
const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);
const CONFIG: Config = Config { outbox_bytes_max: 16 * 1024 * 1024 };

fn record(no: u64) -> StoredRecord {
    let mut rng = fastrand::Rng::with_seed(no);
    let len = if no.is_multiple_of(50) { 20_000 } else { 1500 };
    StoredRecord { no: RecordNo(no), bytes: (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>().into() }
}

fn open(dir: &Path) -> (Store, OutboxState) {
    let mut store = Store::open(dir, CONFIG, NOW).unwrap();
    let state = store.open_outbox(CLOUD, "cloud").unwrap();
    (store, state)
}

/// A store with `count` records in it, stopped cleanly.
fn fill(dir: &Path, count: u64) {
    let (mut store, _) = open(dir);
    let all: Vec<StoredRecord> = (1..=count).map(record).collect();
    for batch in all.chunks(12) {
        store.commit(CLOUD, batch, NOW).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

/// Opens a damaged store twice. What is read and what is counted as lost make the whole, and it can be written to.
fn check(dir: &Path, count: u64, what: &str) -> u64 {
    let (read, lost) = checked(dir, count, what);
    assert_eq!(read + lost, count, "{what}: {lost} counted as lost");
    lost
}

/// The same; gives how many were read, and how many were counted as lost: never too few.
fn checked(dir: &Path, count: u64, what: &str) -> (u64, u64) {
    let (mut store, state) = open(dir);
    let mut read: Vec<StoredRecord> = Vec::new();
    loop {
        let next = read.last().map_or(RecordNo(0), |last| last.no.next());
        let more = store.read(CLOUD, next, 100_000).unwrap();
        if more.is_empty() {
            break;
        }
        read.extend(more);
    }
    assert!(read.iter().all(|one| *one == record(one.no.0)), "{what}: a record was changed");
    assert!(read.is_sorted_by(|a, b| a.no < b.no), "{what}");
    let lost = store.damage(CLOUD);
    assert!(read.len() as u64 + lost.records >= count, "{what}: {lost:?}, {state:?}");
    assert_eq!(lost.records > 0, lost.segments > 0, "{what}: {lost:?}");
    let next = count.max(state.last.0) + 1;
    store.commit(CLOUD, &[record(next)], NOW).unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(store);
    let (mut store, state) = open(dir);
    assert_eq!(state.last, RecordNo(next), "{what}");
    assert_eq!(store.read(CLOUD, RecordNo(next), 1).unwrap(), [record(next)], "{what}");
    (read.len() as u64, lost.records)
}

#[test]
fn whichever_byte_of_whichever_file_is_changed_the_rest_is_read_and_the_loss_is_counted() {
    let good = tempfile::tempdir().unwrap();
    let count = 1500;
    fill(good.path(), count);
    let mut rng = fastrand::Rng::with_seed(11);
    let mut losses = 0;
    for file in files(&good.path().join("outbox-cloud")) {
        let name = file.strip_prefix(good.path()).unwrap();
        let len = std::fs::metadata(&file).unwrap().len() as usize;
        let trials = if file.ends_with("db") { 6 } else { 2 };
        for trial in 0..trials {
            if len == 0 {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            copy(good.path(), dir.path());
            let bad = dir.path().join(name);
            let mut bytes = std::fs::read(&bad).unwrap();
            let at = rng.usize(..len);
            match trial % 3 {
                0 => bytes[at] ^= 1 << rng.u8(..8),
                1 => bytes[at..(at + 4096).min(len)].fill(0),
                _ => bytes.truncate(at),
            }
            std::fs::write(&bad, bytes).unwrap();
            let what = format!("{}, byte {at} of {len}, trial {trial}", name.display());
            // sled may find at a second look what it had missed at the first: then too many are counted.
            let (_, lost) = checked(dir.path(), count, &what);
            losses += u64::from(lost > 0);
        }
    }
    assert!(losses > 3, "the damage was real: {losses}");
}

#[test]
fn two_hundred_flipped_bits_cost_what_they_hit_and_nothing_else() {
    let good = tempfile::tempdir().unwrap();
    let count = 400;
    fill(good.path(), count);
    let mut rng = fastrand::Rng::with_seed(23);
    let files: Vec<PathBuf> = files(&good.path().join("outbox-cloud"));
    let weights: Vec<u64> = files.iter().map(|file| std::fs::metadata(file).unwrap().len()).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut losses = 0;
    for trial in 0..200 {
        let mut at = rng.u64(..weights.iter().sum::<u64>());
        let hit = weights.iter().position(|len| {
            let here = at < *len;
            at -= if here { 0 } else { *len };
            here
        });
        let name = files[hit.unwrap()].strip_prefix(good.path()).unwrap();
        let place = dir.path().join(trial.to_string());
        copy(good.path(), &place);
        let mut bytes = std::fs::read(place.join(name)).unwrap();
        bytes[at as usize] ^= 1 << rng.u8(..8);
        std::fs::write(place.join(name), bytes).unwrap();
        let (_, lost) = checked(&place, count, &format!("{}, byte {at}", name.display()));
        losses += u64::from(lost > 0);
        std::fs::remove_dir_all(&place).unwrap();
    }
    assert!(losses > 20, "the damage was real: {losses}");
}

#[test]
fn a_generation_that_cant_be_opened_is_set_aside_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1500);
    let outbox = dir.path().join("outbox-cloud");
    std::fs::write(outbox.join("gen-000000000002/conf"), "version: nonsense").unwrap();
    let lost = check(dir.path(), 1500, "conf of the second generation");
    assert!(lost > 100);
    let names: Vec<String> = std::fs::read_dir(&outbox)
        .unwrap()
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.contains(&"quarantine-1795186265-gen-000000000002".to_owned()), "{names:?}");
    assert!(outbox.join("quarantine-1795186265-gen-000000000002/gen-000000000002.summary").exists());
    assert!(!names.contains(&"gen-000000000002".to_owned()));
}

#[test]
fn what_was_set_aside_is_bounded_and_its_space_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = dir.path().join("outbox-cloud");
    let mut no = 0;
    for _ in 0..8 {
        {
            let (mut store, _) = open(dir.path());
            store.commit(CLOUD, &[record(no + 1)], NOW).unwrap();
            no += 1;
        }
        let newest = std::fs::read_dir(&outbox)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir() && path.file_name().unwrap().to_str().unwrap().starts_with("gen-"))
            .max()
            .unwrap();
        std::fs::write(newest.join("conf"), "version: nonsense").unwrap();
        let (store, state) = open(dir.path());
        assert_eq!((state.records, state.damaged_records), (0, 1), "{state:?}");
        assert_eq!(state.last, RecordNo(no), "its number is not given again");
        assert!(store.usage(CLOUD).disk_bytes > 4096 * 4);
    }
    let quarantined = std::fs::read_dir(&outbox)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("quarantine-"))
        .count();
    assert_eq!(quarantined, 4);
}

#[test]
fn a_lost_cursor_sends_again_and_a_lost_summary_loses_nothing() {
    let good = tempfile::tempdir().unwrap();
    fill(good.path(), 1500);
    for name in ["cursor", "gen-000000000001.summary", "gen-000000000002.summary"] {
        let dir = tempfile::tempdir().unwrap();
        copy(good.path(), dir.path());
        std::fs::remove_file(dir.path().join("outbox-cloud").join(name)).unwrap();
        assert_eq!(check(dir.path(), 1500, name), 0);
    }
}

#[test]
fn a_missing_generation_loses_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1500);
    std::fs::remove_dir_all(dir.path().join("outbox-cloud/gen-000000000002")).unwrap();
    assert!(check(dir.path(), 1500, "the second generation") > 100);
}
