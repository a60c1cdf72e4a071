//! What the store costs: durable records a second, memory, time to open after a crash, bytes that reach the disk, disk
//! after a drain. Run with:
//!
//! ```text
//! cargo bench --bench store                      everything, some minutes; in $TMPDIR
//! cargo bench --bench store -- rate wear         only these; also: backlog=1000000, backlog=10000000,
//!                                                away=100000, away=1000000
//! ```
//! The records are readings as JSON of 100 bytes, with values that change. Bytes that reach the disk are those that
//! the block device under $TMPDIR counts, journal of the file system included: they mean something where nobody else
//! writes to it, as on the loop device that `tests/heavy/run store` makes. Where no device can be told, it is what the
//! kernel counts for the process (`write_bytes` of /proc/self/io), without the journal.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use fieldgate::message::OutboxId;
use fieldgate::record::{RecordNo, StoredRecord};
use fieldgate::state::Change;
use fieldgate::store::{Bounds, Config, Store, inspect};
use fieldgate::time::Timestamp;

const CLOUD: OutboxId = OutboxId(0);
const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);
const MIB: f64 = 1024.0 * 1024.0;

fn reading(no: u64) -> StoredRecord {
    let mut rng = fastrand::Rng::with_seed(no);
    let (temperature, humidity) = (rng.u32(150..300), rng.u32(300..700));
    let text = format!(
        r#"{{"time":"2026-11-20T14:{:02}:{:02}.{:03}Z","seq":"17-{no:06}","values":{{"t":{}.{},"rh":{}.{},"battery":3.7125}}}}"#,
        no / 6000 % 60,
        no / 100 % 60,
        no % 1000,
        temperature / 10,
        temperature % 10,
        humidity / 10,
        humidity % 10,
    );
    StoredRecord { no: RecordNo(no), bytes: Bytes::from(text) }
}

fn readings(from: u64, count: u64) -> Vec<StoredRecord> {
    (from..from + count).map(reading).collect()
}

fn open(dir: &Path) -> Store {
    let mut store = Store::open(dir, Config { outbox_bytes_max: 1 << 40 }, NOW).unwrap();
    let bounds = Bounds { bytes_max: Some(1 << 40), ..Bounds::default() };
    store.open_outbox_within(CLOUD, "cloud", bounds).unwrap();
    store
}

fn proc_number(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

fn rss_mib() -> f64 {
    proc_number("/proc/self/status", "VmRSS") as f64 / 1024.0
}

/// The counters of the block device that a folder is on.
fn device(dir: &Path) -> Option<PathBuf> {
    let number = std::fs::metadata(dir).unwrap().dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let stat = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
    stat.exists().then_some(stat)
}

/// Bytes that reached the disk so far; and who says so.
fn bytes_written(dir: &Path) -> (u64, &'static str) {
    let Some(stat) = device(dir) else {
        return (proc_number("/proc/self/io", "write_bytes"), "the process");
    };
    // What the file system still holds back counts as well.
    rustix::fs::syncfs(std::fs::File::open(dir).unwrap()).unwrap();
    let text = std::fs::read_to_string(stat).unwrap();
    let sectors: u64 = text.split_whitespace().nth(6).unwrap().parse().unwrap();
    (sectors * 512, "the device")
}

/// Commits as a gateway makes them every 100 ms, as fast as they go.
fn rate() {
    for per_commit in [1_000, 10_000, 30_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let batches: Vec<Vec<StoredRecord>> =
            (0..20).map(|batch| readings(batch * per_commit + 1, per_commit)).collect();
        let begun = Instant::now();
        for batch in &batches {
            store.commit(CLOUD, batch, NOW).unwrap();
        }
        let rate = (20 * per_commit) as f64 / begun.elapsed().as_secs_f64();
        println!("rate: {per_commit} readings a commit: {rate:.0} durable readings/s");
    }
}

/// An outage: so many readings a second, committed every so many seconds.
fn wear() {
    for (per_second, seconds) in [(100, 10), (100, 1), (10, 10), (10, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let per_commit = per_second * seconds;
        let commits = 600;
        let (before, _) = bytes_written(dir.path());
        let mut payload = 0;
        for commit in 0..commits {
            let batch = readings(commit * per_commit + 1, per_commit);
            payload += batch.iter().map(|record| record.bytes.len() as u64).sum::<u64>();
            store.commit(CLOUD, &batch, NOW).unwrap();
        }
        let (after, who) = bytes_written(dir.path());
        println!(
            "wear: {per_second} readings/s, committed every {seconds} s: {:.2} bytes written per byte of payload, by the \
             count of {who}",
            (after - before) as f64 / payload as f64
        );
    }
}

/// Fills a store and dies, as `kill -9` would have it.
fn fill(dir: &Path, count: u64) {
    let mut store = open(dir);
    let idle = rss_mib();
    let begun = Instant::now();
    for from in (1..=count).step_by(10_000) {
        store.commit(CLOUD, &readings(from, 10_000), NOW).unwrap();
    }
    let took = begun.elapsed().as_secs_f64();
    let usage = store.usage(CLOUD);
    let peak = proc_number("/proc/self/status", "VmHWM") as f64 / 1024.0;
    println!(
        "backlog: {count} readings filled in {took:.1} s; {:.0} MiB on disk in {} generations; memory {idle:.1} MiB \
         idle, {:.1} filled, {peak:.1} at most",
        usage.disk_bytes as f64 / MIB,
        usage.generations,
        rss_mib(),
    );
    std::process::abort();
}

fn backlog(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let filled = Command::new(program).args(["fill", &count.to_string()]).arg(dir.path()).status().unwrap();
    assert!(!filled.success(), "it was to die");
    let begun = Instant::now();
    // What a start has children look at.
    let outbox = dir.path().join("outbox-cloud");
    let generations = inspect::generations(&outbox).unwrap();
    for generation in [generations.first().unwrap(), generations.last().unwrap()] {
        assert!(inspect::check_generation(generation).unwrap().is_whole());
    }
    let checked = begun.elapsed().as_secs_f64();
    let mut store = open(dir.path());
    let mut next = RecordNo(1);
    assert_eq!(store.read(CLOUD, next, 1000).unwrap().first(), Some(&reading(1)));
    println!(
        "backlog: open after the crash in {:.2} s, {checked:.2} s of them for the check of two generations; memory {:.1} MiB",
        begun.elapsed().as_secs_f64(),
        rss_mib()
    );
    let begun = Instant::now();
    while let Some(last) = store.read(CLOUD, next, 64 * 1024).unwrap().last() {
        next = last.no.next();
        store.ack(CLOUD, last.no, NOW, false).unwrap();
    }
    assert_eq!(next, RecordNo(count + 1));
    store.ack(CLOUD, RecordNo(count), NOW, true).unwrap();
    println!(
        "backlog: drained at {:.0} readings/s; {:.1} MiB on disk afterwards; memory {:.1} MiB",
        count as f64 / begun.elapsed().as_secs_f64(),
        store.usage(CLOUD).disk_bytes as f64 / MIB,
        rss_mib()
    );
}

/// Messages for sessions whose clients are away, who then come and get them, so many in a commit.
fn away(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), Config { outbox_bytes_max: 1 << 40 }, NOW).unwrap();
    store.open_state().unwrap();
    let key = |no: u64| [&b"session"[..], &(no % 10).to_be_bytes(), &no.to_be_bytes()].concat();
    let value = reading(1).bytes;
    let mut commit = |numbers: std::ops::Range<u64>, value: Option<&Bytes>| {
        let changes: Vec<Change> = numbers.map(|no| Change { key: key(no), value: value.cloned() }).collect();
        store.commit_state(&changes, NOW).unwrap();
    };
    let anonymous = || proc_number("/proc/self/status", "RssAnon") as f64 / 1024.0;
    let (idle, begun) = (anonymous(), Instant::now());
    for from in (0..count).step_by(200) {
        commit(from..from + 200, Some(&value));
    }
    let (filled, filled_in) = (anonymous(), begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    for from in (0..count).step_by(50_000) {
        commit(from..from + 50_000, None);
    }
    println!(
        "away: {count} messages came at {:.0}/s and went at {:.0}/s; {:.1} MiB on disk afterwards; anonymous memory {idle:.1} MiB \
         idle, {filled:.1} filled, {:.1} afterwards",
        count as f64 / filled_in,
        count as f64 / begun.elapsed().as_secs_f64(),
        store.state_bytes() as f64 / MIB,
        anonymous(),
    );
}

fn main() {
    // As `fieldgate run` has it.
    fieldgate::io::allocator::settle();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [word, count, dir] = &wanted[..]
        && word == "fill"
    {
        return fill(Path::new(dir), count.parse().unwrap());
    }
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    if wants("rate") {
        rate();
    }
    if wants("wear") {
        wear();
    }
    for count in [100_000, 1_000_000] {
        if wants(&format!("away={count}")) {
            away(count);
        }
    }
    for count in [1_000_000, 10_000_000] {
        if wants(&format!("backlog={count}")) {
            backlog(count);
        }
    }
}
