//! Stores of each layout that a release has written are opened and read completely. `fixtures/store/v1.tar.gz` holds one
//! of layout 1; `FIELDGATE_KEEP_STORE=DIR cargo test --test store_layouts` leaves what this release writes in DIR.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_wrap,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use fieldgate::message::{Message, OutboxId};
use fieldgate::mqtt::{PropertiesBuf, QoS};
use fieldgate::reading::{Quality, Reading, Run, Sample, Seq, Value};
use fieldgate::record::{self, RecordNo, StoredRecord};
use fieldgate::state::Change;
use fieldgate::store::{Config, Store};
use fieldgate::time::{BootId, ClockTrust, Mono, Timestamp};

const CLOUD: OutboxId = OutboxId(0);
const MIB: u64 = 1024 * 1024;
const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);
const CONFIG: Config = Config { outbox_bytes_max: 16 * MIB };
const COUNT: u64 = 6500;
const ACKED: u64 = 7;

/// Readings and messages of the LAN, with every type of value, one longer than a segment.
fn message(no: u64) -> Message {
    let payload = if no == 1000 { "long ".repeat(5000) } else { format!("on {no}") };
    let sample = |point: &str, value, quality| Sample { point: Arc::from(point), value, quality };
    let reading = Reading {
        device: Arc::from("boiler"),
        seq: Seq { run: Run(3), number: no },
        wall: Timestamp::from_millis(NOW.as_millis() + no as i64),
        trust: if no.is_multiple_of(3) { ClockTrust::Unsynced } else { ClockTrust::Synced },
        boot: BootId([7; 16]),
        mono: Mono::from_nanos(no * 1_000_000),
        samples: vec![
            sample("temperature", Some(Value::Number(21.5)), Quality::Good),
            sample("pulses", Some(Value::Integer(-12)), Quality::Good),
            sample("on", Some(Value::Bool(true)), Quality::OutOfRange),
            sample("word", Some(Value::Text("größe".into())), Quality::Good),
            sample("none", None, Quality::Invalid),
        ],
    };
    let is_reading = no.is_multiple_of(2);
    Message {
        topic: Arc::from(if is_reading { "fieldgate/gw/data/boiler" } else { "valve/1" }),
        payload: if is_reading { Bytes::new() } else { Bytes::from(payload) },
        qos: QoS::AtLeastOnce,
        retain: no.is_multiple_of(5),
        properties: PropertiesBuf::new(),
        reading: is_reading.then(|| Arc::new(reading)),
    }
}

fn entries() -> Vec<(Vec<u8>, Bytes)> {
    let value = |len: usize| Bytes::from(vec![b'v'; len]);
    vec![(b"a".to_vec(), value(3)), (b"b".to_vec(), value(20_000)), (b"c".to_vec(), value(0))]
}

/// A store with all of that, in two generations at least.
fn make(dir: &Path) {
    let mut store = Store::open(dir, CONFIG, NOW).unwrap();
    store.open_outbox(CLOUD, "cloud/1").unwrap();
    for no in 1..=COUNT {
        let stored = StoredRecord { no: RecordNo(no), bytes: record::encode(&message(no)) };
        store.commit(CLOUD, &[stored], NOW).unwrap();
    }
    store.ack(CLOUD, RecordNo(ACKED), NOW, true).unwrap();
    assert!(store.usage(CLOUD).generations >= 2, "{:?}", store.usage(CLOUD));
    store.open_state().unwrap();
    let changes: Vec<Change> =
        entries().into_iter().map(|(key, value)| Change { key, value: Some(value) }).collect();
    store.commit_state(&changes, NOW).unwrap();
}

fn read_completely(dir: &Path) {
    let mut store = Store::open(dir, CONFIG, NOW).unwrap();
    assert_eq!(store.run(), Run(2));
    let state = store.open_outbox(CLOUD, "cloud/1").unwrap();
    assert_eq!((state.acked.0, state.last.0, state.records), (ACKED, COUNT, COUNT - ACKED));
    assert_eq!(state.oldest, Some(NOW));
    let mut next = ACKED + 1;
    loop {
        let records = store.read(CLOUD, RecordNo(next), 100_000).unwrap();
        if records.is_empty() {
            break;
        }
        for stored in records {
            assert_eq!((stored.no.0, record::decode(&stored.bytes).unwrap()), (next, message(next)));
            next += 1;
        }
    }
    assert_eq!(next, COUNT + 1);
    assert_eq!(store.damage(CLOUD).segments, 0);
    assert!(store.open_state().unwrap() == entries(), "the state is another");
    let stored = StoredRecord { no: RecordNo(next), bytes: Bytes::from_static(b"new") };
    store.commit(CLOUD, std::slice::from_ref(&stored), NOW).unwrap();
    assert_eq!(store.read(CLOUD, RecordNo(next), 1).unwrap(), [stored]);
}

#[test]
fn what_this_release_writes_it_reads() {
    let own = tempfile::tempdir().unwrap();
    let dir = std::env::var_os("FIELDGATE_KEEP_STORE").map_or_else(|| own.path().join("store"), Into::into);
    make(&dir);
    let copy = own.path().join("copy");
    assert!(Command::new("cp").arg("-r").arg(&dir).arg(&copy).status().unwrap().success());
    read_completely(&copy);
}

#[test]
fn a_store_of_layout_1_is_read_completely() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/store/v1.tar.gz");
    assert!(Command::new("tar").args(["xzf", fixture, "-C"]).arg(dir.path()).status().unwrap().success());
    read_completely(&dir.path().join("v1"));
}
