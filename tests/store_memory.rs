//! What the broker's state on disk costs in memory: little, however much is there, and however much of it comes or goes at
//! once. Alone in its process, since it looks at the process's memory.
#![allow(clippy::unwrap_used, reason = "tests")]

use fieldgate::state::Change;
use fieldgate::store::{Config, Store};
use fieldgate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);
const MESSAGES: u64 = 60_000;

/// Memory that only this process can give back.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

fn changes(numbers: std::ops::Range<u64>, value: Option<&'static [u8]>) -> Vec<Change> {
    let key = |number: u64| [b"message ".as_slice(), &number.to_be_bytes()].concat();
    numbers.map(|number| Change { key: key(number), value: value.map(bytes::Bytes::from_static) }).collect()
}

#[test]
fn messages_that_came_and_went_leave_their_memory_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), Config { outbox_bytes_max: 1 << 30 }, NOW).unwrap();
    store.open_state().unwrap();
    let idle = resident_mib();
    for from in (0..MESSAGES).step_by(1_000) {
        store.commit_state(&changes(from..from + 1_000, Some(&[7; 120])), NOW).unwrap();
    }
    let waiting = resident_mib();
    // Their clients take all of them at once.
    store.commit_state(&changes(0..MESSAGES, None), NOW).unwrap();
    let gone = resident_mib();
    // sled's pages were some 250 MiB before they were given back in time.
    assert!(waiting < idle + 24, "{idle} MiB, then {waiting} with {MESSAGES} messages");
    assert!(gone < idle + 40, "{idle} MiB, then {waiting}, then {gone}");
    assert!(store.state_bytes() < 20 << 20, "{} bytes on disk", store.state_bytes());
}
