//! The state over restarts, crashes in the middle of a batch, damage and copies.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);

fn change(key: &str, value: Option<Vec<u8>>) -> Change {
    Change { key: key.into(), value: value.map(Bytes::from) }
}

fn reopened(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let (_, entries) = StateStore::open(dir, NOW).unwrap();
    entries.into_iter().map(|(key, value)| (String::from_utf8(key).unwrap(), value.to_vec())).collect()
}

#[test]
fn what_was_committed_is_there_after_a_restart_whatever_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, entries) = StateStore::open(dir.path(), NOW).unwrap();
    assert_eq!(entries, []);
    let mut model = BTreeMap::new();
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..40 {
        let changes: BTreeMap<u8, Option<Vec<u8>>> = (0..rng.usize(1..20))
            .map(|_| {
                let len = *rng.choice(&[0, 10, 6144, 6145, 40_000]).unwrap();
                (rng.u8(..30), rng.bool().then(|| vec![rng.u8(..); len]))
            })
            .collect();
        let changes: Vec<Change> =
            changes.into_iter().map(|(key, value)| change(&format!("key {key}"), value)).collect();
        for Change { key, value } in &changes {
            let key = String::from_utf8(key.clone()).unwrap();
            match value {
                Some(value) => drop(model.insert(key, value.to_vec())),
                None => drop(model.remove(&key)),
            }
        }
        store.commit(&changes, NOW).unwrap();
    }
    drop(store);
    assert!(reopened(dir.path()) == model);
}

#[test]
fn a_database_that_is_mostly_garbage_is_copied_and_the_old_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
    store.commit(&[change("kept", Some(vec![1; 10]))], NOW).unwrap();
    let first = store.number;
    let mut rng = fastrand::Rng::with_seed(3);
    for key in 0..24 {
        let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(1024 * 1024).collect();
        store.commit(&[change(&format!("noise {key}"), Some(noise))], NOW).unwrap();
    }
    let full = sync::disk_bytes(dir.path());
    for key in 0..24 {
        store.commit(&[change(&format!("noise {key}"), None)], NOW).unwrap();
    }
    assert!(store.number > first);
    let empty = sync::disk_bytes(dir.path());
    assert!(empty < full / 2, "{full}, then {empty}");
    drop(store);
    assert_eq!(databases(&dir.path().join(DIR)).unwrap().len(), 1);
    assert_eq!(reopened(dir.path()), BTreeMap::from([("kept".to_owned(), vec![1; 10])]));
}

#[test]
fn a_batch_of_any_size_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(8 * 1024 * 1024).collect();
    let model: BTreeMap<String, Vec<u8>> = (0..3000)
        .map(|at| (format!("key {at}"), noise[at..at + 3000].to_vec()))
        .chain([("large".to_owned(), noise.clone())])
        .collect();
    let changes: Vec<Change> = model.iter().map(|(key, value)| change(key, Some(value.clone()))).collect();
    store.commit(&changes, NOW).unwrap();
    drop(store);
    assert!(reopened(dir.path()) == model);
}

#[test]
fn a_copy_that_was_cut_short_is_not_taken_for_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
    store.commit(&[change("kept", Some(vec![1; 10]))], NOW).unwrap();
    let next = dir.path().join(DIR).join(name(store.number + 1));
    drop(store);
    let mut cut_short = Database::open(&next).unwrap();
    cut_short.commit().unwrap();
    drop(cut_short);
    assert_eq!(reopened(dir.path()), BTreeMap::from([("kept".to_owned(), vec![1; 10])]));
    assert!(!next.exists());
}

#[test]
fn a_database_of_other_bytes_is_set_aside_and_a_fresh_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
    store.commit(&[change("lost", Some(vec![1; 10]))], NOW).unwrap();
    let data = store.path().join(super::super::database::DATA_FILE);
    drop(store);
    std::fs::write(&data, [0xA5; 100_000]).unwrap();
    let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
    store.commit(&[change("new", Some(vec![2; 10]))], NOW).unwrap();
    drop(store);
    assert_eq!(reopened(dir.path()).get("new"), Some(&vec![2; 10]));
}

/// More than is put in one go, in values of several lengths; those of the round before go.
fn large_batch(round: u32) -> Vec<Change> {
    let came = (0..1_500).map(|at| {
        let len = if at % 100 == 0 { 20_000 } else { 30 };
        change(&format!("round {round} key {at}"), Some(vec![round.to_be_bytes()[3]; len]))
    });
    let went = (0..1_500).map(|at| change(&format!("round {} key {at}", round.wrapping_sub(1)), None));
    let both = change("both", Some(round.to_be_bytes().to_vec()));
    came.chain(went).chain([both]).collect()
}

fn model_of(round: u32) -> BTreeMap<String, Vec<u8>> {
    let changes = large_batch(round).into_iter();
    let values =
        changes.filter_map(|Change { key, value }| Some((String::from_utf8(key).unwrap(), value?.to_vec())));
    values.collect()
}

/// The chunks that the batch after round 1 puts, as a store that holds that round finds them.
fn puts_of_round_2(store: &mut StateStore) -> Vec<Put> {
    let db = store.db.as_mut().unwrap();
    let mut puts = Vec::new();
    for Change { key, value } in large_batch(2) {
        let (old, _) = chunk::held(db, &key).unwrap();
        let new = value.map_or(0, |value| put_chunks(&key, &value, &mut puts));
        puts.extend((new..old).map(|chunk| (place(&key, chunk), None)));
    }
    puts
}

#[test]
fn a_large_batch_that_a_crash_cuts_short_at_any_slice_is_whole_after_it_and_what_follows_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
    store.commit(&large_batch(1), NOW).unwrap();
    let puts = puts_of_round_2(&mut store);
    assert!(puts.len() > AT_ONCE_MAX);
    drop(store);
    assert!(reopened(dir.path()) == model_of(1));
    for done in [0, 1, SLICE, 3 * SLICE, puts.len()] {
        // The file is there, and so much of it is in the database.
        let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
        store.commit(&large_batch(1), NOW).unwrap();
        let remains: Vec<Change> = large_batch(2)
            .into_iter()
            .filter(|one| one.value.is_some() && one.key != b"both")
            .map(|one| Change { key: one.key, value: None })
            .collect();
        store.commit(&remains, NOW).unwrap();
        assert!(!store.dir.join("batch").exists());
        batch::write(&store.dir, store.number, &puts).unwrap();
        let db = store.db.as_mut().unwrap();
        put_in_slices(db, puts[..done].to_vec()).unwrap();
        db.commit().unwrap();
        drop(store);
        assert!(reopened(dir.path()) == model_of(2), "{done} of {}", puts.len());
        // Not put once more over what came later.
        let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
        store.commit(&[change("both", None)], NOW).unwrap();
        drop(store);
        let mut model = model_of(2);
        model.remove("both");
        assert!(reopened(dir.path()) == model, "{done} of {}", puts.len());
    }
}

#[test]
fn a_batch_that_a_failure_cuts_short_is_ended_before_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
    store.commit(&large_batch(1), NOW).unwrap();
    let puts = puts_of_round_2(&mut store);
    batch::write(&store.dir, store.number, &puts).unwrap();
    put_in_slices(store.db.as_mut().unwrap(), puts[..SLICE].to_vec()).unwrap();
    // As after an error of the disk.
    store.db = None;
    store.commit(&[change("both", None)], NOW).unwrap();
    let live = store.live_bytes;
    drop(store);
    let mut model = model_of(2);
    model.remove("both");
    assert!(reopened(dir.path()) == model);
    let (store, _) = StateStore::open(dir.path(), NOW).unwrap();
    assert!(live >= store.live_bytes, "{live}, {}", store.live_bytes);
}

#[test]
fn a_batch_of_a_database_that_was_set_aside_is_not_put_into_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
    store.commit(&[change("kept", Some(vec![1; 10]))], NOW).unwrap();
    batch::write(&store.dir, store.number - 1, &[(place(b"other", 0), None)]).unwrap();
    drop(store);
    assert_eq!(reopened(dir.path()), BTreeMap::from([("kept".to_owned(), vec![1; 10])]));
    assert!(!dir.path().join(DIR).join("batch").exists());
}

#[test]
fn how_much_is_held_is_known_without_a_list_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
    let mut rng = fastrand::Rng::with_seed(8);
    let mut model = BTreeMap::new();
    for _ in 0..60 {
        let key = format!("key {}", rng.u8(..8));
        let len = *rng.choice(&[0, 10, 6_143, 6_144, 6_145, 12_288, 40_000]).unwrap();
        let value = rng.bool().then(|| vec![7; len]);
        store.commit(&[change(&key, value.clone())], NOW).unwrap();
        match value {
            Some(value) => drop(model.insert(key, value.len())),
            None => drop(model.remove(&key)),
        }
        let held: usize = model.values().sum();
        assert_eq!(store.live_bytes, u64::try_from(held).unwrap());
    }
    drop(store);
    let (store, _) = StateStore::open(dir.path(), NOW).unwrap();
    assert_eq!(store.live_bytes, u64::try_from(model.values().sum::<usize>()).unwrap());
}
