//! An outbox at its bounds: bytes, records, age, free disk. What goes is what the rule says, all of it is counted, and
//! what is refused leaves no trace.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::path::Path;
use std::time::Duration;

use fieldgate::message::OutboxId;
use fieldgate::record::{RecordNo, StoredRecord};
use fieldgate::store::{Alarm, Bounds, Config, Full, OutboxState, Store, StoreError};
use fieldgate::time::Timestamp;

const CLOUD: OutboxId = OutboxId(0);
const MIB: u64 = 1024 * 1024;
const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);
const HOUR: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + seconds * 1000)
}

fn noise(no: u64, len: usize) -> StoredRecord {
    let mut rng = fastrand::Rng::with_seed(no);
    StoredRecord { no: RecordNo(no), bytes: (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>().into() }
}

fn batch(from: u64, to: u64, len: usize) -> Vec<StoredRecord> {
    (from..=to).map(|no| noise(no, len)).collect()
}

fn open(dir: &Path, bounds: Bounds) -> (Store, OutboxState) {
    let mut store = Store::open(dir, Config { outbox_bytes_max: 256 * MIB }, NOW).unwrap();
    store.vouch_for_clock(true);
    let state = store.open_outbox_within(CLOUD, "cloud", bounds).unwrap();
    (store, state)
}

fn numbers(store: &mut Store) -> Vec<u64> {
    let (mut out, mut next) = (Vec::new(), RecordNo(0));
    loop {
        let records = store.read(CLOUD, next, 1_000_000).unwrap();
        let Some(last) = records.last() else { return out };
        next = last.no.next();
        out.extend(records.iter().map(|record| record.no.0));
    }
}

/// What waits: behind the cursor, as the next start finds it.
fn waits(store: Store, dir: &Path, bounds: Bounds) -> (u64, u64, u64) {
    drop(store);
    let (_, state) = open(dir, bounds);
    (state.acked.0, state.last.0, state.records)
}

#[test]
fn beyond_the_bound_of_records_exactly_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { records_max: Some(1000), ..Bounds::default() };
    let (mut store, _) = open(dir.path(), bounds);
    let (mut lost, mut acked) = (0, 0);
    for from in (1..=3000).step_by(60) {
        if let Some(dropped) = store.commit(CLOUD, &batch(from, from + 59, 40), NOW).unwrap() {
            assert_eq!((dropped.up_to.0, dropped.bytes), (acked + dropped.records, dropped.records * 40));
            lost += dropped.records;
            acked = dropped.up_to.0;
        }
        // Upstream gets on a little: that is no loss, and makes room.
        if from > 1500 {
            acked += 7;
            store.ack(CLOUD, RecordNo(acked), NOW, false).unwrap();
        }
        assert!(store.usage(CLOUD).fill_percent <= 100);
    }
    let last = 3000;
    assert_eq!(store.usage(CLOUD).alarm, Alarm::Critical);
    assert_eq!(store.read(CLOUD, RecordNo(acked + 1), 1).unwrap(), [noise(acked + 1, 40)]);
    assert!(last - acked <= 1000 && last - acked >= 990, "{acked}");
    assert_eq!(lost, acked - 25 * 7);
    assert_eq!(waits(store, dir.path(), bounds), (acked, last, last - acked));
}

#[test]
fn an_outbox_that_keeps_what_it_has_refuses_until_upstream_has_made_room() {
    let dir = tempfile::tempdir().unwrap();
    for bounds in [
        Bounds { records_max: Some(300), full: Full::Refuse, ..Bounds::default() },
        Bounds { bytes_max: Some(9 * MIB), full: Full::Refuse, ..Bounds::default() },
        // One generation is all that fits here.
        Bounds { bytes_max: Some(MIB), full: Full::Refuse, ..Bounds::default() },
    ] {
        let dir = dir.path().join(format!("{:?}", bounds.bytes_max));
        let (mut store, _) = open(&dir, bounds);
        let mut no = 0;
        for _ in 0..3 {
            let error =
                (0..1000).find_map(|_| match store.commit(CLOUD, &batch(no + 1, no + 20, 3000), NOW) {
                    Ok(dropped) => {
                        assert_eq!(dropped, None, "nothing is dropped");
                        no += 20;
                        None
                    }
                    Err(error) => Some(error),
                });
            assert!(matches!(error.unwrap(), StoreError::Full { .. }), "{bounds:?}");
            assert!(store.commit(CLOUD, &batch(no + 1, no + 20, 3000), NOW).is_err());
            if let Some(bytes) = bounds.bytes_max {
                let most = if bytes < 8 * MIB { bytes + MIB / 2 } else { bytes };
                assert!(store.usage(CLOUD).disk_bytes <= most, "{:?}", store.usage(CLOUD));
            }
            let kept = numbers(&mut store);
            assert_eq!(*kept.last().unwrap(), no);
            assert!(kept.len() > 100, "{}", kept.len());
            store.ack(CLOUD, RecordNo(no), NOW, true).unwrap();
        }
        assert_eq!(waits(store, &dir, bounds), (no, no, 0));
    }
}

#[test]
fn what_is_too_old_goes_record_by_record_and_counts_as_expired() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { age_max: Some(Duration::from_secs(24 * 3600)), ..Bounds::default() };
    let (mut store, _) = open(dir.path(), bounds);
    for hour in 0..24 {
        let no = u64::try_from(hour).unwrap() * 10;
        assert_eq!(store.commit(CLOUD, &batch(no + 1, no + 10, 500), at(hour * HOUR)).unwrap(), None);
    }
    store.ack(CLOUD, RecordNo(3), at(23 * HOUR), true).unwrap();
    // 30 hours after the first: those of the first six hours have been there for longer than a day.
    let dropped = store.commit(CLOUD, &batch(241, 241, 500), at(30 * HOUR)).unwrap().unwrap();
    assert_eq!((dropped.up_to.0, dropped.records, dropped.expired), (60, 57, 57));
    assert_eq!(dropped.bytes, 57 * 500);
    // It is not looked for with every commit.
    assert_eq!(store.commit(CLOUD, &batch(242, 242, 500), at(30 * HOUR + 59)).unwrap(), None);
    let dropped = store.commit(CLOUD, &batch(243, 243, 500), at(100 * HOUR)).unwrap().unwrap();
    assert_eq!((dropped.up_to.0, dropped.records, dropped.expired), (242, 182, 182));
    assert_eq!(waits(store, dir.path(), bounds), (242, 243, 1));
}

#[test]
fn a_clock_that_nobody_vouches_for_makes_nothing_old() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { age_max: Some(Duration::from_secs(3600)), ..Bounds::default() };
    let (mut store, _) = open(dir.path(), bounds);
    // Booted without a clock: it is 1970.
    store.vouch_for_clock(false);
    let boot = Timestamp::from_millis(40_000);
    store.commit(CLOUD, &batch(1, 50, 500), boot).unwrap();
    // Nobody can say yet how late it is.
    assert_eq!(store.commit(CLOUD, &batch(51, 60, 500), NOW).unwrap(), None);
    // Now it is known; those from before have no age of their own…
    store.vouch_for_clock(true);
    assert_eq!(store.commit(CLOUD, &batch(61, 70, 500), at(600)).unwrap(), None);
    assert_eq!(store.commit(CLOUD, &batch(71, 80, 500), at(3000)).unwrap(), None);
    // … but are older than what came after them.
    let dropped = store.commit(CLOUD, &batch(81, 90, 500), at(4300)).unwrap().unwrap();
    assert_eq!((dropped.up_to.0, dropped.expired), (70, 70));
    assert_eq!(waits(store, dir.path(), bounds), (70, 90, 20));
}

#[test]
fn a_purge_takes_all_or_what_was_written_before() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path(), Bounds::default());
    for minute in 0..10 {
        let no = u64::try_from(minute).unwrap() * 10;
        store.commit(CLOUD, &batch(no + 1, no + 10, 3000), at(minute * 60)).unwrap();
    }
    store.ack(CLOUD, RecordNo(5), at(600), true).unwrap();
    let gone = store.purge(CLOUD, Some(at(180)), at(600)).unwrap().unwrap();
    assert_eq!((gone.up_to.0, gone.records, gone.purged, gone.bytes), (30, 25, 25, 75_000));
    assert_eq!(store.purge(CLOUD, Some(at(180)), at(600)).unwrap(), None);
    let gone = store.purge(CLOUD, None, at(600)).unwrap().unwrap();
    assert_eq!((gone.up_to.0, gone.records, gone.purged), (100, 70, 70));
    store.commit(CLOUD, &batch(101, 101, 10), at(601)).unwrap();
    assert_eq!(waits(store, dir.path(), Bounds::default()), (100, 101, 1));
}

#[test]
fn what_the_disk_gave_at_first_stays_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), Bounds::default());
    let first = store.usage(CLOUD).bytes_max;
    let stat = rustix::fs::statvfs(dir.path()).unwrap();
    let quarter = stat.f_bavail * stat.f_frsize / 4;
    assert!(first <= 256 * MIB && (first == 256 * MIB || first.abs_diff(quarter) < quarter / 2), "{first}");
    drop(store);
    // A disk that is smaller meanwhile, as this number is, doesn't shrink it below what the release allows at most.
    let mut store = Store::open(dir.path(), Config { outbox_bytes_max: 3 * MIB }, NOW).unwrap();
    store.open_outbox_within(CLOUD, "cloud", Bounds::default()).unwrap();
    assert_eq!(store.usage(CLOUD).bytes_max, 3 * MIB);
    let bounds = Bounds { bytes_max: Some(900 * MIB), ..Bounds::default() };
    store.open_outbox_within(CLOUD, "cloud", bounds).unwrap();
    assert_eq!(store.usage(CLOUD).bytes_max, 900 * MIB, "the config's word counts");
}

#[test]
fn below_the_reserve_nothing_is_written_and_what_is_there_can_be_drained() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path(), Bounds::default());
    store.commit(CLOUD, &batch(1, 100, 1000), NOW).unwrap();
    store.leave_free(Some(u64::MAX));
    let error = store.commit(CLOUD, &batch(101, 101, 1000), NOW).unwrap_err();
    assert!(error.to_string().ends_with("MB are left to the system; make room"), "{error}");
    assert_eq!(numbers(&mut store).len(), 100);
    store.ack(CLOUD, RecordNo(40), NOW, true).unwrap();
    store.leave_free(Some(MIB));
    store.commit(CLOUD, &batch(101, 101, 1000), NOW).unwrap();
    assert_eq!(waits(store, dir.path(), Bounds::default()), (40, 101, 61));
}
