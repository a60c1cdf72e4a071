//! A disk of its own that really is full: a small file system in memory, in a namespace of this test's. Draining and
//! opening go on with what the ballast gives back.
#![allow(
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use fieldgate::message::OutboxId;
use fieldgate::record::{RecordNo, StoredRecord};
use fieldgate::store::{Bounds, Config, Store, StoreError};
use fieldgate::time::Timestamp;

const CLOUD: OutboxId = OutboxId(0);
const MIB: u64 = 1024 * 1024;
const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);
/// The file system, as the test in its namespace finds it.
const DISK: &str = "FIELDGATE_TEST_DISK";

fn batch(from: u64, to: u64) -> Vec<StoredRecord> {
    let noise = |no: u64| {
        let mut rng = fastrand::Rng::with_seed(no);
        StoredRecord { no: RecordNo(no), bytes: (0..5000).map(|_| rng.u8(..)).collect::<Vec<u8>>().into() }
    };
    (from..=to).map(noise).collect()
}

/// Runs the test called `name` again, where `DISK` is a file system of so many bytes.
fn on_a_small_disk(name: &str, bytes: u64) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let dir = tempfile::tempdir().unwrap();
    let script =
        format!("mount -t tmpfs -o size={bytes} tmpfs \"${DISK}\" && exec \"$0\" --exact {name} --nocapture");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(DISK, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    None
}

fn free(disk: &Path) -> u64 {
    let stat = rustix::fs::statvfs(disk).unwrap();
    stat.f_bavail * stat.f_frsize
}

fn open(disk: &Path) -> (Store, u64) {
    let mut store = Store::open(&disk.join("data"), Config { outbox_bytes_max: 256 * MIB }, NOW).unwrap();
    let state = store.open_outbox_within(CLOUD, "cloud", Bounds::default()).unwrap();
    (store, state.records)
}

/// Takes all that is left of the disk.
fn take_the_rest(disk: &Path) {
    let file = std::fs::File::create(disk.join("others")).unwrap();
    let room = free(disk);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, room).unwrap();
    assert_eq!(free(disk), 0);
}

#[test]
fn a_full_disk_can_be_opened_and_drained_and_takes_records_again_when_there_is_room() {
    let name = "a_full_disk_can_be_opened_and_drained_and_takes_records_again_when_there_is_room";
    let Some(disk) = on_a_small_disk(name, 64 * MIB) else { return };
    let ballast = disk.join("data/ballast");
    let (mut store, _) = open(&disk);
    assert_eq!(store.usage(CLOUD).bytes_max / MIB, 15, "a quarter of what was free");
    assert_eq!(std::fs::metadata(&ballast).unwrap().len(), 4 * MIB);
    let mut last = 0;
    while last < 800 {
        store.commit(CLOUD, &batch(last + 1, last + 40), NOW).unwrap();
        last += 40;
    }
    take_the_rest(&disk);
    let error = store.commit(CLOUD, &batch(last + 1, last + 40), NOW).unwrap_err();
    assert!(matches!(error, StoreError::Reserve { free: 0, .. }), "{error}");
    drop(store);

    // What sled needs for opening, the ballast gives.
    let (mut store, records) = open(&disk);
    assert_eq!(records, 800);
    let mut next = RecordNo(1);
    while let Some(end) = store.read(CLOUD, next, 200_000).unwrap().last().map(|record| record.no) {
        store.ack(CLOUD, end, NOW, true).unwrap();
        next = end.next();
    }
    assert_eq!(next, RecordNo(801));
    assert!(!ballast.exists(), "it was needed");
    drop(store);

    std::fs::remove_file(disk.join("others")).unwrap();
    let (mut store, records) = open(&disk);
    assert_eq!((records, std::fs::metadata(&ballast).unwrap().len()), (0, 4 * MIB), "it is back");
    store.commit(CLOUD, &batch(last + 1, last + 40), NOW).unwrap();
}

#[test]
fn a_disk_that_fills_up_at_any_point_of_a_commit_costs_nothing_that_was_promised() {
    let name = "a_disk_that_fills_up_at_any_point_of_a_commit_costs_nothing_that_was_promised";
    let Some(disk) = on_a_small_disk(name, 48 * MIB) else { return };
    let others = disk.join("others");
    for point in 0..20_u64 {
        let (mut store, _) = open(&disk);
        // Without a reserve, commits run into the wall itself.
        store.leave_free(Some(0));
        let left = 300_000 + point * 97_000;
        let file = std::fs::File::create(&others).unwrap();
        let room = free(&disk).saturating_sub(left);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, room).unwrap();
        let first = point * 100_000 + 1;
        let mut promised = first - 1;
        let error = loop {
            match store.commit(CLOUD, &batch(promised + 1, promised + 7), NOW) {
                Ok(_) => promised += 7,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        drop(store);
        let (mut store, _) = open(&disk);
        let mut next = first;
        while let Some(records) =
            Some(store.read(CLOUD, RecordNo(next), 200_000).unwrap()).filter(|r| !r.is_empty())
        {
            for record in records {
                assert_eq!(record, batch(next, next)[0]);
                next += 1;
            }
        }
        assert!(next > promised, "point {point}: {promised} were promised, {next} would come next");
        assert_eq!(store.damage(CLOUD).records, 0);
        store.ack(CLOUD, RecordNo(next - 1), NOW, true).unwrap();
        drop(store);
        std::fs::remove_file(&others).unwrap();
    }
}
