//! An outbox that is read from its end: across generations, long records and gaps; what is acknowledged out of turn stays
//! acknowledged over a restart, and goes from the disk.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use std::path::Path;

use fieldgate::message::OutboxId;
use fieldgate::ranges::Ranges;
use fieldgate::record::{RecordNo, StoredRecord};
use fieldgate::store::{Config, OutboxState, Store};
use fieldgate::time::Timestamp;

const CLOUD: OutboxId = OutboxId(0);
const MIB: u64 = 1024 * 1024;
const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);

/// Noise; every hundredth is longer than a segment.
fn record(no: u64) -> StoredRecord {
    let mut rng = fastrand::Rng::with_seed(no);
    let len = if no.is_multiple_of(100) { 20_000 } else { 1_000 };
    StoredRecord { no: RecordNo(no), bytes: (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>().into() }
}

fn open(dir: &Path) -> (Store, OutboxState) {
    // Generations of 3 MiB.
    let mut store = Store::open(dir, Config { outbox_bytes_max: 48 * MIB }, NOW).unwrap();
    let state = store.open_outbox(CLOUD, "cloud").unwrap();
    (store, state)
}

/// Every record whose number isn't divisible by seven: elision leaves gaps.
fn fill(store: &mut Store, last: u64) -> Vec<u64> {
    let all: Vec<u64> = (1..=last).filter(|no| no % 7 != 0).collect();
    for batch in all.chunks(90) {
        let batch: Vec<StoredRecord> = batch.iter().map(|no| record(*no)).collect();
        assert_eq!(store.commit(CLOUD, &batch, NOW).unwrap(), None);
    }
    all
}

fn read_all_back(store: &mut Store, before: u64, step: usize) -> Vec<StoredRecord> {
    let (mut out, mut before) = (Vec::new(), RecordNo(before));
    loop {
        let records = store.read_back(CLOUD, before, step).unwrap();
        let Some(last) = records.last() else { return out };
        before = last.no;
        out.extend(records);
    }
}

fn numbers(records: &[StoredRecord]) -> Vec<u64> {
    records.iter().map(|record| record.no.0).collect()
}

fn ranges(all: &[(u64, u64)]) -> Ranges {
    all.iter().copied().collect()
}

#[test]
fn records_are_read_backwards_whatever_the_step_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let mut expected = fill(&mut store, 5_000);
    expected.reverse();
    assert!(store.usage(CLOUD).generations >= 2);
    for step in [1, 40_000, 300_000] {
        let read = read_all_back(&mut store, u64::MAX, step);
        assert_eq!(numbers(&read), expected, "{step}");
        assert!(read.iter().all(|read| *read == record(read.no.0)));
    }
    assert_eq!(numbers(&store.read_back(CLOUD, RecordNo(101), 0).unwrap()), [100], "at least one");
    assert_eq!(store.read_back(CLOUD, RecordNo(1), 1_000).unwrap(), []);
    drop(store);
    let (mut store, _) = open(dir.path());
    assert_eq!(numbers(&read_all_back(&mut store, 2_501, 64 * 1024)), expected[expected.len() - 2_143..]);
}

#[test]
fn what_is_acknowledged_out_of_turn_stays_so_and_is_neither_read_nor_counted_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let all = fill(&mut store, 9_000);
    let disk_before = store.usage(CLOUD).disk_bytes;
    let beyond = ranges(&[(2_000, 2_100), (2_300, 10_000)]);
    store.ack_beyond(CLOUD, RecordNo(300), &beyond, NOW, true).unwrap();
    let left: Vec<u64> = all.into_iter().filter(|no| *no > 300 && !beyond.contains(*no)).collect();
    let check = |store: &mut Store| {
        let mut back = numbers(&read_all_back(store, u64::MAX, 64 * 1024));
        back.reverse();
        assert_eq!(back, left);
        let (mut forth, mut next) = (Vec::new(), RecordNo(301));
        while let Some(last) = store
            .read(CLOUD, next, 64 * 1024)
            .map(|records| {
                forth.extend(numbers(&records));
                records.last().map(|last| last.no)
            })
            .unwrap()
        {
            next = last.next();
        }
        assert_eq!(forth, left);
        assert_eq!(store.report(CLOUD, "cloud").unwrap().records, left.len() as u64);
    };
    check(&mut store);
    let disk = store.usage(CLOUD).disk_bytes;
    assert!(
        disk < disk_before * 8 / 10,
        "what is done at the end goes as well: {disk} of {disk_before} bytes"
    );
    drop(store);
    let (mut store, state) = open(dir.path());
    assert_eq!((state.acked, &state.beyond), (RecordNo(300), &beyond));
    assert_eq!(state.records, left.len() as u64);
    // No record was ever written under these numbers, and none may be now.
    assert_eq!(state.last, RecordNo(10_000));
    check(&mut store);
    // The gap closes, and the cursor runs on over what was done behind it.
    store.ack(CLOUD, RecordNo(1_999), NOW, true).unwrap();
    drop(store);
    let (store, state) = open(dir.path());
    assert_eq!((state.acked, state.beyond), (RecordNo(2_100), ranges(&[(2_300, 10_000)])));
    drop(store);
}

#[test]
fn a_purge_and_a_bound_count_nothing_that_is_acknowledged_out_of_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let all = fill(&mut store, 1_000);
    let beyond = ranges(&[(500, 799)]);
    store.ack_beyond(CLOUD, RecordNo(0), &beyond, NOW, true).unwrap();
    let left = all.iter().filter(|no| !beyond.contains(**no)).count() as u64;
    let dropped = store.purge(CLOUD, None, NOW).unwrap().unwrap();
    assert_eq!((dropped.purged, dropped.records), (left, left));

    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let mut waiting = fill(&mut store, 5_000).len() as u64;
    store.ack_beyond(CLOUD, RecordNo(0), &ranges(&[(100, 4_000)]), NOW, true).unwrap();
    waiting -= (100..=4_000).filter(|no| no % 7 != 0).count() as u64;
    let (mut lost, mut no) = (0, 5_001);
    while lost < 99 - 14 {
        let batch: Vec<StoredRecord> = (no..no + 100).map(record).collect();
        waiting += 100;
        no += 100;
        if let Some(dropped) = store.commit(CLOUD, &batch, NOW).unwrap() {
            lost += dropped.records;
        }
    }
    assert_eq!(store.report(CLOUD, "cloud").unwrap().records, waiting - lost);
}

/// A copy of the directory as it is now: what a process that is killed leaves.
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

#[test]
fn after_a_crash_what_was_read_backwards_is_suspect_too() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    fill(&mut store, 9_000);
    let generations = store.usage(CLOUD).generations;
    assert!(generations >= 3, "{generations}");
    let left = tempfile::tempdir().unwrap();
    copy(dir.path(), &left.path().join("before"));
    store.ack_beyond(CLOUD, RecordNo(0), &ranges(&[(4_500, 9_000)]), NOW, true).unwrap();
    copy(dir.path(), &left.path().join("while"));
    drop(store);
    let suspects = |name: &str| {
        let config = Config { outbox_bytes_max: 48 * MIB };
        let store = Store::open(&left.path().join(name), config, NOW).unwrap();
        store
            .suspects()
            .unwrap()
            .iter()
            .map(|suspect| suspect.path().file_name().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(suspects("before"), ["gen-000000000001", &format!("gen-{generations:012}")]);
    let last = format!("gen-{generations:012}");
    assert_eq!(suspects("while"), ["gen-000000000001", last.as_str(), "gen-000000000002"]);
}
