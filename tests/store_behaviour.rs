//! The store as its callers see it: what is written is read, what is acknowledged goes, what must be dropped is
//! counted, and every refusal is in words. Crashes and damage have tests of their own.
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

use std::path::Path;

use bytes::Bytes;
use fieldgate::message::OutboxId;
use fieldgate::reading::Run;
use fieldgate::record::{RecordNo, StoredRecord};
use fieldgate::store::{Config, Dropped, OutboxState, Store, StoreError};
use fieldgate::time::Timestamp;

const CLOUD: OutboxId = OutboxId(0);
const LOCAL: OutboxId = OutboxId(1);
const MIB: u64 = 1024 * 1024;
const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + seconds * 1000)
}

fn noise(no: u64, len: usize) -> StoredRecord {
    let mut rng = fastrand::Rng::with_seed(no);
    StoredRecord { no: RecordNo(no), bytes: (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>().into() }
}

fn text(no: u64) -> StoredRecord {
    let bytes = format!(r#"{{"seq":"17-{no}","values":{{"temperature":21.5,"humidity":61}}}}"#);
    StoredRecord { no: RecordNo(no), bytes: Bytes::from(bytes) }
}

fn open_with(dir: &Path, bytes_max: u64) -> (Store, OutboxState) {
    let mut store = Store::open(dir, Config { outbox_bytes_max: bytes_max }, NOW).unwrap();
    let state = store.open_outbox(CLOUD, "cloud").unwrap();
    (store, state)
}

fn open(dir: &Path) -> (Store, OutboxState) {
    open_with(dir, 256 * MIB)
}

/// Reads everything from `from` on, `step` bytes at a time.
fn read_all(store: &mut Store, id: OutboxId, from: u64, step: usize) -> Vec<StoredRecord> {
    let (mut out, mut next) = (Vec::new(), RecordNo(from));
    loop {
        let records = store.read(id, next, step).unwrap();
        let Some(last) = records.last() else { return out };
        next = last.no.next();
        out.extend(records);
    }
}

fn numbers(records: &[StoredRecord]) -> Vec<u64> {
    records.iter().map(|record| record.no.0).collect()
}

/// A copy of the directory as it is now: what a process that is killed leaves.
fn copy(from: &Path) -> tempfile::TempDir {
    fn walk(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    walk(from, to.path());
    to
}

#[test]
fn records_are_read_in_order_whatever_the_step_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<StoredRecord> = (1..=3000).map(text).collect();
    {
        let (mut store, state) = open(dir.path());
        assert_eq!(state, OutboxState::default());
        for batch in all.chunks(70) {
            assert_eq!(store.commit(CLOUD, batch, NOW).unwrap(), None);
        }
        for step in [1000, 10_000, 10_000_000] {
            assert_eq!(read_all(&mut store, CLOUD, 1, step), all);
        }
        assert_eq!(read_all(&mut store, CLOUD, 2990, 1), all[2989..]);
        assert_eq!(store.read(CLOUD, RecordNo(5), 0).unwrap(), all[4..5], "at least one");
        assert_eq!(store.read(CLOUD, RecordNo(3001), 1000).unwrap(), []);
    }
    let (mut store, state) = open(dir.path());
    assert_eq!(state.last, RecordNo(3000));
    assert_eq!((state.acked, state.records), (RecordNo(0), 3000));
    assert_eq!(state.bytes, all.iter().map(|record| record.bytes.len() as u64).sum::<u64>());
    assert_eq!(state.oldest, Some(NOW));
    assert_eq!(read_all(&mut store, CLOUD, 1, 5000), all);
    assert_eq!(read_all(&mut store, CLOUD, 1234, 5000), all[1233..]);
}

#[test]
fn gaps_in_the_numbers_are_normal() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<StoredRecord> = (1..=500).map(|no| text(no * no)).collect();
    let (mut store, _) = open(dir.path());
    for batch in all.chunks(9) {
        store.commit(CLOUD, batch, NOW).unwrap();
    }
    assert_eq!(read_all(&mut store, CLOUD, 2, 100), all[1..], "2 and 3 were elided: 4 comes next");
    assert_eq!(read_all(&mut store, CLOUD, 200 * 200 + 1, 9999), all[200..]);
    store.ack(CLOUD, RecordNo(450 * 450 + 5), NOW, true).unwrap();
    drop(store);
    let (store, state) = open(dir.path());
    assert_eq!((state.records, state.last), (50, RecordNo(250_000)));
    assert!(store.damage(CLOUD).segments == 0 && state.damaged_records == 0);
}

#[test]
fn big_records_come_back_among_small_ones() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [10, 7000, 7104, 7105, 8000, 49_152, 262_144, 1, 300_001, 0, 1_000_000, 100];
    let all: Vec<StoredRecord> =
        sizes.iter().enumerate().map(|(no, len)| noise(no as u64 + 1, *len)).collect();
    let (mut store, _) = open(dir.path());
    store.commit(CLOUD, &all[..6], NOW).unwrap();
    store.commit(CLOUD, &all[6..], NOW).unwrap();
    let blobs = std::fs::read_dir(dir.path().join("outbox-cloud/gen-000000000001/blobs")).unwrap().count();
    assert_eq!(blobs, 0, "sled never syncs what it puts there");
    for step in [1, 100_000, 100_000_000] {
        let read = read_all(&mut store, CLOUD, 1, step);
        assert_eq!(numbers(&read), numbers(&all));
        assert!(read == all, "their bytes are the same");
    }
    drop(store);
    let (mut store, state) = open(dir.path());
    assert_eq!(state.records, sizes.len() as u64);
    assert!(read_all(&mut store, CLOUD, 7, 1) == all[6..]);
}

#[test]
fn two_outboxes_keep_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.open_outbox(LOCAL, "local/2").unwrap();
    store.commit(CLOUD, &[text(1), text(2)], NOW).unwrap();
    store.commit(LOCAL, &[noise(7, 50)], NOW).unwrap();
    store.ack(CLOUD, RecordNo(1), NOW, true).unwrap();
    drop(store);
    let (mut store, cloud) = open(dir.path());
    let local = store.open_outbox(LOCAL, "local/2").unwrap();
    assert_eq!((cloud.acked, cloud.last, cloud.records), (RecordNo(1), RecordNo(2), 1));
    assert_eq!((local.acked, local.last, local.records), (RecordNo(0), RecordNo(7), 1));
    assert_eq!(read_all(&mut store, LOCAL, 1, 100), [noise(7, 50)]);
    assert_eq!(read_all(&mut store, CLOUD, 2, 100), [text(2)]);
}

#[test]
fn the_start_counter_rises_and_the_instance_stays() {
    let dir = tempfile::tempdir().unwrap();
    let instance =
        Store::open(dir.path(), Config { outbox_bytes_max: MIB }, NOW).unwrap().instance().to_owned();
    for run in 2..6 {
        let (store, _) = open(dir.path());
        assert_eq!((store.run(), store.instance()), (Run(run), instance.as_str()));
    }
    assert_eq!(instance.len(), 16);
}

#[test]
fn records_out_of_order_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(CLOUD, &[text(5)], NOW).unwrap();
    for batch in [vec![text(5)], vec![text(4), text(9)], vec![text(7), text(7)], vec![text(8), text(6)]] {
        let error = store.commit(CLOUD, &batch, NOW).unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error}");
    }
    assert!(matches!(store.commit(LOCAL, &[text(1)], NOW), Err(StoreError::NotOpen { .. })));
    assert_eq!(numbers(&read_all(&mut store, CLOUD, 0, 1000)), [5]);
}

#[test]
fn the_cursor_is_persisted_once_a_second_or_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let all: Vec<StoredRecord> = (1..=100).map(text).collect();
    store.commit(CLOUD, &all, NOW).unwrap();
    let mut check = |up_to: u64, now: Timestamp, sync: bool, expected: u64| {
        store.ack(CLOUD, RecordNo(up_to), now, sync).unwrap();
        let killed = copy(dir.path());
        let (_, state) = open(killed.path());
        assert_eq!(state.acked, RecordNo(expected), "after ack({up_to}, {now}, {sync})");
        assert_eq!((state.last, state.records), (RecordNo(100), 100 - expected));
    };
    check(10, NOW, false, 0);
    check(20, Timestamp::from_millis(NOW.as_millis() + 999), false, 0);
    check(30, at(1), false, 30);
    check(40, at(1), false, 30);
    check(50, at(1), true, 50);
    check(60, at(2), false, 60);
    check(55, at(4), false, 60);
    // The wall clock may be set back by years: that must not hold the cursor up.
    check(70, at(-1_000_000), false, 70);
    drop(store);
    let (_, state) = open(dir.path());
    assert_eq!(state.acked, RecordNo(70));
}

#[test]
fn a_clean_stop_leaves_an_exact_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(CLOUD, &[text(1), text(2), text(3)], NOW).unwrap();
    store.ack(CLOUD, RecordNo(2), NOW, false).unwrap();
    drop(store);
    assert_eq!(open(dir.path()).1.acked, RecordNo(2));
}

/// Commits noise until the outbox has had `payload` bytes; gives the last number and what was dropped.
fn fill(store: &mut Store, payload: u64, len: usize, per_commit: u64) -> (u64, Vec<Dropped>) {
    let (mut no, mut dropped) = (0, Vec::new());
    while no * (len as u64) < payload {
        let batch: Vec<StoredRecord> = (no + 1..=no + per_commit).map(|no| noise(no, len)).collect();
        no += per_commit;
        dropped.extend(store.commit(CLOUD, &batch, NOW).unwrap());
    }
    (no, dropped)
}

#[test]
fn the_oldest_records_are_dropped_at_the_bound_and_counted_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open_with(dir.path(), 8 * MIB);
    store.commit(CLOUD, &[noise(1, 10)], NOW).unwrap();
    store.ack(CLOUD, RecordNo(1), NOW, true).unwrap();
    let (mut no, mut dropped) = (1, Vec::new());
    let mut acked = 1;
    while no < 6000 {
        let batch: Vec<StoredRecord> = (no + 1..=no + 40).map(|no| noise(no, 3000)).collect();
        no += 40;
        let was = store.commit(CLOUD, &batch, NOW).unwrap();
        assert!(store.usage(CLOUD).disk_bytes <= 8 * MIB, "{:?}", store.usage(CLOUD));
        if let Some(one) = was {
            // What was acknowledged is no loss: the count is what lies between the cursor and the last one gone.
            let lost = one.up_to.0 - acked;
            assert_eq!((one.records, one.bytes), (lost, lost * 3000));
            acked = one.up_to.0;
            dropped.push(one);
            let first = store.read(CLOUD, RecordNo(0), 1).unwrap();
            assert_eq!(numbers(&first), [one.up_to.0 + 1], "the next one is still there");
            // Upstream gets a bit further into the oldest generation.
            store.ack(CLOUD, RecordNo(acked + 17), NOW, false).unwrap();
            acked += 17;
        }
    }
    assert!(dropped.len() > 3, "{dropped:?}");
    assert!(store.usage(CLOUD).generations > 1);
    let kept = numbers(&read_all(&mut store, CLOUD, acked + 1, 100_000));
    assert_eq!(kept, (acked + 1..=no).collect::<Vec<u64>>());
    drop(store);
    let (_, state) = open_with(dir.path(), 8 * MIB);
    assert_eq!((state.acked, state.last, state.records), (RecordNo(acked), RecordNo(no), no - acked));
}

#[test]
fn an_outbox_too_small_for_two_generations_still_takes_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open_with(dir.path(), MIB);
    let (no, dropped) = fill(&mut store, 4 * MIB, 2000, 20);
    let lost: u64 = dropped.iter().map(|one| one.records).sum();
    assert!(lost > 0);
    let kept = numbers(&read_all(&mut store, CLOUD, 0, 100_000));
    assert_eq!(kept, (lost + 1..=no).collect::<Vec<u64>>());
    assert_eq!(dropped.last().unwrap().up_to.0, lost);
}

#[test]
fn space_returns_when_the_outbox_is_drained() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open_with(dir.path(), 64 * MIB);
    for round in 0..3 {
        let base = round * 2000;
        for from in (base..base + 2000).step_by(50) {
            let batch: Vec<StoredRecord> = (from + 1..=from + 50).map(|no| noise(no, 5000)).collect();
            store.commit(CLOUD, &batch, NOW).unwrap();
        }
        let full = store.usage(CLOUD);
        assert!(full.disk_bytes > 9 * MIB && full.generations > 2, "{full:?}");
        let mut next = RecordNo(base + 1);
        let mut before = full.disk_bytes;
        while let Some(last) = store.read(CLOUD, next, 1_000_000).unwrap().last() {
            store.ack(CLOUD, last.no, NOW, false).unwrap();
            next = last.no.next();
            let usage = store.usage(CLOUD).disk_bytes;
            assert!(usage <= before, "drained from the front");
            before = usage;
        }
        assert_eq!(next, RecordNo(base + 2001));
        let drained = store.usage(CLOUD);
        assert!(drained.disk_bytes <= 2 * MIB, "{drained:?}");
        let outbox = tree_bytes(&dir.path().join("outbox-cloud"));
        assert!(outbox <= 2 * MIB, "{outbox}");
    }
    drop(store);
    let (_, state) = open(dir.path());
    assert_eq!((state.acked, state.records), (RecordNo(6000), 0));
}

fn tree_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { tree_bytes(&entry.path()) } else { metadata.len() }
        })
        .sum()
}

#[test]
fn usage_is_what_the_files_take() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open_with(dir.path(), 64 * MIB);
    fill(&mut store, 5 * MIB, 4000, 30);
    let told = store.usage(CLOUD).disk_bytes;
    let real = tree_bytes(&dir.path().join("outbox-cloud"));
    assert!(told >= real && told < real + 200_000, "told {told}, real {real}");
}

#[test]
fn only_the_written_and_the_read_generation_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open_with(dir.path(), 64 * MIB);
    fill(&mut store, 9 * MIB, 5000, 30);
    assert!(store.usage(CLOUD).generations >= 3);
    store.read(CLOUD, RecordNo(1), 1000).unwrap();
    // A held file is released a moment after its database is closed.
    let open_databases = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        let mut open: Vec<_> = links
            .filter_map(|link| std::fs::read_link(link.ok()?.path()).ok())
            .filter(|path| path.starts_with(dir.path()) && path.ends_with("db"))
            .collect();
        open.sort();
        open.dedup();
        open.len()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while open_databases() > 2 && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(open_databases(), 2);
}

#[test]
fn a_second_opener_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let error = Store::open(dir.path(), Config { outbox_bytes_max: MIB }, NOW).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { dir: locked } if locked == dir.path()), "{error}");
    drop(store);
    open(dir.path());
}

#[test]
fn a_directory_that_cant_be_used_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let check = |path: &Path, expected: &str| {
        let error = Store::open(path, Config { outbox_bytes_max: MIB }, NOW).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(path.to_str().unwrap()), "{error}");
    };
    check(&file, "it holds a file, not a directory; set data_dir");
    check(&file.join("below"), "cannot create");
    check(
        Path::new("/proc/fieldgate"),
        "cannot create /proc/fieldgate: No such file or directory; set data_dir",
    );
    check(dir.path(), "is not a data directory of fieldgate: it holds file;");
    assert_eq!(std::fs::read(&file).unwrap(), b"x", "what is not ours is not touched");
}

#[test]
fn a_failed_write_harms_neither_what_is_there_nor_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open_with(dir.path(), 64 * MIB);
    let outbox = dir.path().join("outbox-cloud");
    let aside = dir.path().join("aside");
    let batch = |no: u64| -> Vec<StoredRecord> { (no + 1..=no + 30).map(|no| noise(no, 5000)).collect() };
    let mut no = 0;
    for _ in 0..3 {
        // With the outbox's directory away, the next generation can't be made: as on a full disk.
        std::fs::rename(&outbox, &aside).unwrap();
        let error = (0..100).find_map(|_| match store.commit(CLOUD, &batch(no), NOW) {
            Ok(_) => {
                no += 30;
                None
            }
            Err(error) => Some(error),
        });
        let error = error.unwrap();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        assert!(store.commit(CLOUD, &batch(no), NOW).is_err());
        std::fs::rename(&aside, &outbox).unwrap();
        store.commit(CLOUD, &batch(no), NOW).unwrap();
        no += 30;
        assert_eq!(numbers(&read_all(&mut store, CLOUD, 0, 100_000)), (1..=no).collect::<Vec<u64>>());
    }
    drop(store);
    let (mut store, state) = open(dir.path());
    assert_eq!((state.records, state.damaged_records), (no, 0));
    assert_eq!(numbers(&read_all(&mut store, CLOUD, 0, 100_000)), (1..=no).collect::<Vec<u64>>());
}
