//! The same for the broker's state: every batch whose commit had returned is there, and no batch is there in part.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use fieldgate::state::Change;
use fieldgate::store::Store;
use fieldgate::time::Timestamp;

use super::disk::Disk;
use super::{CONFIG, CUTS, NOW, WRITER_DIR, cut, said, say, seed, trace};

const BATCHES: u64 = 120;

type Model = BTreeMap<Vec<u8>, Bytes>;

/// What a batch changes: some keys come, some go, some values need several chunks, some batches are too large for one go.
fn batch(number: u64) -> Vec<Change> {
    let mut rng = fastrand::Rng::with_seed(number);
    let mut changes = BTreeMap::new();
    for _ in 0..rng.usize(1..40) {
        let len = if rng.u8(..20) == 0 { 20_000 } else { rng.usize(0..400) };
        let value = (rng.u8(..3) > 0).then(|| (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>().into());
        changes.insert(format!("key {}", rng.u8(..)).into_bytes(), value);
    }
    if number.is_multiple_of(15) {
        // More than is put in one go; those of the last such batch go.
        for key in 0..1_200 {
            changes.insert(format!("one of many {} {key}", number - 15).into_bytes(), None);
            let value = Bytes::from(number.to_be_bytes().to_vec());
            changes.insert(format!("one of many {number} {key}").into_bytes(), Some(value));
        }
    }
    changes.insert(b"number".to_vec(), Some(number.to_be_bytes().to_vec().into()));
    changes.into_iter().map(|(key, value)| Change { key, value }).collect()
}

fn apply(model: &mut Model, number: u64) {
    for Change { key, value } in batch(number) {
        match value {
            Some(value) => drop(model.insert(key, value)),
            None => drop(model.remove(&key)),
        }
    }
}

/// The writer: commits, stops and starts again in the middle, says what is promised after it is promised.
#[test]
#[ignore = "a helper process of the test below"]
fn writer() {
    let dir = std::env::var(WRITER_DIR).unwrap();
    let now = Timestamp::from_millis(NOW);
    let mut number = 0;
    for _session in 0..2 {
        let mut store = Store::open(Path::new(&dir), CONFIG, now).unwrap();
        store.open_state().unwrap();
        say(&format!("run {}", store.run().0));
        for _ in 0..BATCHES / 2 {
            number += 1;
            store.commit_state(&batch(number), now).unwrap();
            say(&format!("committed {number}"));
        }
    }
}

/// Opens the image, which must be as some batch has left it: the last that was promised, or the one after it.
fn check(disk: &Disk, image: &Path, line: usize) -> Result<(), String> {
    let committed = said(disk, line, "committed ");
    let now = Timestamp::from_millis(NOW);
    let mut number = 0;
    for round in 0..2 {
        let mut store = Store::open(image, CONFIG, now).map_err(|error| error.to_string())?;
        let found: Model = store.open_state().map_err(|error| error.to_string())?.into_iter().collect();
        if round == 0 {
            let told = found.get(b"number".as_slice()).and_then(|bytes| bytes[..].try_into().ok());
            number = told.map_or(0, u64::from_be_bytes);
            if number < committed {
                return Err(format!("batches after {number} are missing, of {committed}"));
            }
        }
        if number > committed + 1 {
            return Err(format!("batch {number} is there, though {committed} was the last"));
        }
        let mut model = Model::new();
        (1..=number).for_each(|number| apply(&mut model, number));
        if found != model {
            return Err(format!("it is not as batch {number} has left it, round {round}"));
        }
        if round == 0 {
            // What a recovered store writes must be there as well.
            let mark = Change { key: b"mark".to_vec(), value: Some(Bytes::from_static(b"x")) };
            let unmark = Change { key: b"mark".to_vec(), value: None };
            store.commit_state(&[mark], now).map_err(|error| error.to_string())?;
            store.commit_state(&[unmark], now).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

#[test]
fn the_brokers_state_survives_a_power_cut_batch_by_batch_and_would_not_without_the_fdatasync() {
    let dir = tempfile::tempdir().unwrap();
    let disk = trace(dir.path(), "state::writer");
    assert_eq!(said(&disk, usize::MAX, "committed "), BATCHES);
    let seed = seed();
    let (images, wrong) = cut(&disk, CUTS, true, seed, check);
    assert!(wrong.is_empty(), "{} of {images} with seed {seed}:\n{}", wrong.len(), wrong.join("\n"));

    let (images, wrong) = cut(&disk, 4, false, seed, check);
    let lost = wrong.iter().filter(|what| what.contains("are missing")).count();
    println!(
        "without the fdatasync: {} of {images} images wrong, {lost} of them have lost batches",
        wrong.len()
    );
    assert!(lost > 0, "the syncs of the data file were taken out, and nobody noticed: {wrong:?}");
}
