//! Whether acknowledged records survive a power cut. A writer runs under strace; its system calls are replayed up to
//! a random instant, with what was not synced by then lost, kept at random, or torn; the store that is opened on
//! what is left must have every record whose commit had returned.
//!
//! The same with the syncs of sled's data file taken out of the history must lose records: so the test can fail, and
//! does when the store's fdatasync is taken out.
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

mod disk;
mod state;
mod strace;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use fieldgate::message::OutboxId;
use fieldgate::record::{RecordNo, StoredRecord};
use fieldgate::store::{Config, Damage, Store};
use fieldgate::time::Timestamp;

use disk::{Disk, Unsynced, WAYS};

const CLOUD: OutboxId = OutboxId(0);
const NOW: i64 = 1_795_186_265_123;
const WRITER_DIR: &str = "FIELDGATE_TEST_POWERCUT_DIR";

/// A sixteenth of it is a generation: 1 MiB.
const CONFIG: Config = Config { outbox_bytes_max: 16 * 1024 * 1024 };

/// Each in four ways.
const CUTS: usize = 24;

/// Everything that changes files, and what moves a descriptor. Names that a machine doesn't have are passed over.
const TRACED: &str = "trace=?open,openat,close,lseek,read,write,pwrite64,?ftruncate,fsync,fdatasync,?mkdir,mkdirat,\
    ?unlink,unlinkat,?rmdir,?rename,?renameat,?renameat2";

fn record(no: u64) -> StoredRecord {
    let mut rng = fastrand::Rng::with_seed(no);
    let len = if no.is_multiple_of(37) { 30_000 } else { rng.usize(100..3000) };
    StoredRecord { no: RecordNo(no), bytes: (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>().into() }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The writer: commits, acknowledges now and then, stops and starts again in the middle. It says what is promised
/// after it is promised, and what is released before it is released.
#[test]
#[ignore = "a helper process of the test below"]
fn writer() {
    let dir = std::env::var(WRITER_DIR).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut no, mut now) = (0, NOW);
    for _session in 0..2 {
        let mut store = Store::open(Path::new(&dir), CONFIG, Timestamp::from_millis(now)).unwrap();
        store.open_outbox(CLOUD, "cloud").unwrap();
        say(&format!("run {}", store.run().0));
        for commit in 1..=70 {
            now += 400;
            let batch: Vec<StoredRecord> = (no + 1..=no + rng.u64(1..40)).map(record).collect();
            no = batch.last().unwrap().no.0;
            store.commit(CLOUD, &batch, Timestamp::from_millis(now)).unwrap();
            say(&format!("acknowledged {no}"));
            if commit % 20 == 0 {
                let up_to = no - 100;
                say(&format!("released {up_to}"));
                store.ack(CLOUD, RecordNo(up_to), Timestamp::from_millis(now), false).unwrap();
            }
        }
    }
}

/// Runs a writer under strace and replays what it did.
fn trace(dir: &Path, writer: &str) -> Disk {
    let data = dir.join("data");
    std::fs::create_dir(&data).unwrap();
    let output = dir.join("trace");
    let status = Command::new("strace")
        .args(["-f", "-xx", "-s", "2000000", "-e", TRACED, "-o"])
        .arg(&output)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", writer, "--ignored", "--nocapture", "--test-threads=1"])
        .env(WRITER_DIR, &data)
        .output();
    let output_of = match status {
        Ok(output_of) => output_of,
        Err(error) => panic!("this test needs strace (Debian: apt-get install strace): {error}"),
    };
    assert!(output_of.status.success(), "{}", String::from_utf8_lossy(&output_of.stderr));
    let calls = strace::parse(&std::fs::read_to_string(output).unwrap());
    let disk = Disk::replay(&data, &calls);
    // The replay is only worth something if it makes the very files that the writer has made.
    let replayed = dir.join("replayed");
    std::fs::create_dir(&replayed).unwrap();
    disk.image(&replayed, usize::MAX, Unsynced::Kept, true, &mut fastrand::Rng::with_seed(0));
    let compared =
        Command::new("diff").args(["-r", "--exclude=ballast"]).arg(&data).arg(&replayed).output().unwrap();
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
    disk
}

/// The last number that was said with this word before the cut.
fn said(disk: &Disk, cut: usize, word: &str) -> u64 {
    let numbers = disk
        .said
        .iter()
        .filter(|(line, _)| *line <= cut)
        .filter_map(|(_, text)| text.strip_prefix(word).and_then(|rest| rest.trim().parse().ok()));
    numbers.max().unwrap_or(0)
}

/// Opens the image and looks for every promised record. `Err` says what is missing.
fn check(disk: &Disk, image: &Path, cut: usize) -> Result<(), String> {
    let (acknowledged, released) = (said(disk, cut, "acknowledged "), said(disk, cut, "released "));
    let mut before: Option<Vec<StoredRecord>> = None;
    // Twice: what a recovered store writes must be there as well, beside what it has recovered.
    for round in 0..2 {
        let mut store =
            Store::open(image, CONFIG, Timestamp::from_millis(NOW)).map_err(|error| error.to_string())?;
        let state = store.open_outbox(CLOUD, "cloud").map_err(|error| error.to_string())?;
        if store.run().0 <= said(disk, cut, "run ") {
            return Err(format!("run {} was given before", store.run().0));
        }
        let mut read: Vec<StoredRecord> = Vec::new();
        while let Ok(more) =
            store.read(CLOUD, read.last().map_or(RecordNo(0), |last| last.no.next()), 1_000_000)
            && !more.is_empty()
        {
            read.extend(more);
        }
        if let Some(wrong) = read.iter().find(|one| **one != record(one.no.0)) {
            return Err(format!("record {} is not what was written", wrong.no.0));
        }
        let missing: Vec<u64> = (released + 1..=acknowledged)
            .filter(|no| read.binary_search_by_key(no, |record| record.no.0).is_err())
            .collect();
        if !missing.is_empty() {
            return Err(format!("{} of {} are missing: {missing:?}", missing.len(), acknowledged - released));
        }
        if state.acked.0 > released || store.damage(CLOUD) != Damage::default() {
            return Err(format!("released {released}, acknowledged {acknowledged}, but {state:?}"));
        }
        if let Some(before) = before.take()
            && before != read
        {
            return Err(format!("{} records before a restart, {} after it", before.len(), read.len()));
        }
        if round == 0 {
            let next = state.last.max(state.acked).0 + 1;
            let batch: Vec<StoredRecord> = (next..next + 40).map(record).collect();
            store.commit(CLOUD, &batch, Timestamp::from_millis(NOW)).map_err(|error| error.to_string())?;
            read.extend(batch);
            before = Some(read);
        }
    }
    Ok(())
}

/// Cuts at random instants, in all ways; how many images there were, and what was wrong with which.
fn cut(
    disk: &Disk,
    cuts: usize,
    data_syncs: bool,
    seed: u64,
    check: fn(&Disk, &Path, usize) -> Result<(), String>,
) -> (usize, Vec<String>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut images, mut wrong) = (0, Vec::new());
    for index in 0..cuts {
        let restart =
            disk.said.iter().filter(|(_, text)| text.starts_with("run ")).map(|(line, _)| *line).max();
        let restart = restart.unwrap();
        // Right after something was promised, while a store is being opened, and anywhere.
        let line = match index % 4 {
            0 | 2 => disk.said[rng.usize(..disk.said.len())].0,
            1 => rng.usize(restart - 60..restart + 60),
            _ => rng.usize(disk.said[0].0 / 2..=disk.lines),
        };
        for way in WAYS {
            let image = tempfile::tempdir().unwrap();
            disk.image(image.path(), line, way, data_syncs, &mut rng);
            images += 1;
            let checked = catch_unwind(AssertUnwindSafe(|| check(disk, image.path(), line)));
            match checked {
                Ok(Ok(())) => {}
                Ok(Err(what)) => wrong.push(format!("cut at line {line}, unsynced {way:?}: {what}")),
                Err(_) => wrong.push(format!("cut at line {line}, unsynced {way:?}: a panic")),
            }
        }
    }
    (images, wrong)
}

fn seed() -> u64 {
    std::env::var("FIELDGATE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

#[test]
fn acknowledged_records_survive_a_power_cut_and_would_not_without_the_fdatasync() {
    let dir = tempfile::tempdir().unwrap();
    let disk = trace(dir.path(), "writer");
    let names = std::fs::read_dir(dir.path().join("data/outbox-cloud")).unwrap();
    let newest = names.map(|name| name.unwrap().file_name().into_string().unwrap()).max().unwrap();
    assert!(newest.as_str() > "gen-000000000003", "several generations, or this shows little: {newest}");
    assert!(said(&disk, usize::MAX, "released ") > 0);

    let seed = seed();
    let (images, wrong) = cut(&disk, CUTS, true, seed, check);
    assert!(wrong.is_empty(), "{} of {images} with seed {seed}:\n{}", wrong.len(), wrong.join("\n"));

    let (images, wrong) = cut(&disk, 4, false, seed, check);
    let lost = wrong.iter().filter(|what| what.contains("are missing")).count();
    println!(
        "without the fdatasync: {} of {images} images wrong, {lost} of them have lost records",
        wrong.len()
    );
    assert!(lost > 0, "the syncs of the data file were taken out, and nobody noticed: {wrong:?}");
}
