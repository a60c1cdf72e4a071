//! Whether acknowledged records survive `kill -9`: a child commits and says so, its parent kills it at a random
//! moment, opens what is left, and goes on with another child.
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

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use fieldgate::message::OutboxId;
use fieldgate::record::{RecordNo, StoredRecord};
use fieldgate::store::{Config, Damage, Store};
use fieldgate::time::Timestamp;

const CLOUD: OutboxId = OutboxId(0);
const NOW: i64 = 1_795_186_265_123;
const CHILD_DIR: &str = "FIELDGATE_TEST_KILL_DIR";
const CONFIG: Config = Config { outbox_bytes_max: 16 * 1024 * 1024 };
/// How often the child is killed; ROUNDS in the environment asks for more.
const ROUNDS: u64 = 20;

fn record(no: u64) -> StoredRecord {
    let mut rng = fastrand::Rng::with_seed(no);
    let len = if no.is_multiple_of(91) { 40_000 } else { rng.usize(50..900) };
    StoredRecord { no: RecordNo(no), bytes: (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>().into() }
}

/// Commits until it is killed; says what is acknowledged once it is, and what is released before it is.
#[test]
#[ignore = "a helper process of the test below"]
fn child() {
    let dir = std::env::var(CHILD_DIR).unwrap();
    let mut now = Timestamp::from_millis(NOW);
    let mut store = Store::open(Path::new(&dir), CONFIG, now).unwrap();
    let state = store.open_outbox(CLOUD, "cloud").unwrap();
    let mut no = state.last.max(state.acked).0;
    let mut rng = fastrand::Rng::with_seed(no);
    let say = |what: &str, number: u64| {
        let mut out = std::io::stdout().lock();
        out.write_all(format!("\n{what} {number}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    say("run", store.run().0);
    // Without end, but for the parent: a bound, should it have gone.
    for commit in 1..100_000 {
        now = Timestamp::from_millis(now.as_millis() + 150);
        let batch: Vec<StoredRecord> = (no + 1..=no + rng.u64(1..60)).map(record).collect();
        no = batch.last().unwrap().no.0;
        store.commit(CLOUD, &batch, now).unwrap();
        say("acknowledged", no);
        if commit % 30 == 0 {
            let up_to = no.saturating_sub(400);
            say("released", up_to);
            store.ack(CLOUD, RecordNo(up_to), now, false).unwrap();
        }
    }
}

#[test]
fn acknowledged_records_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut released, mut run) = (0, 0, 0);
    let mut rng = fastrand::Rng::with_seed(3);
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for round in 1..=rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The moment: after so many lines, and a little more.
        let lines = rng.usize(1..60);
        let mut said = 0;
        let mut killed = false;
        let out = BufReader::new(child.stdout.take().unwrap());
        for line in out.lines().map_while(Result::ok) {
            let Some((what, number)) = line.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "run" => {
                    assert!(number > run, "round {round}: run {number} after {run}");
                    run = number;
                }
                "acknowledged" => acknowledged = number,
                "released" => released = number,
                _ => continue,
            }
            said += 1;
            if said == lines {
                std::thread::sleep(std::time::Duration::from_micros(rng.u64(0..4000)));
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "round {round}: the child ended by itself");

        let mut store = Store::open(dir.path(), CONFIG, Timestamp::from_millis(NOW)).unwrap();
        let state = store.open_outbox(CLOUD, "cloud").unwrap();
        assert!(store.run().0 > run);
        run = store.run().0;
        assert!(state.acked.0 <= released && state.last.0 >= acknowledged, "round {round}: {state:?}");
        let mut read: Vec<StoredRecord> = Vec::new();
        loop {
            let next = read.last().map_or(RecordNo(released + 1), |last| last.no.next());
            let more = store.read(CLOUD, next, 200_000).unwrap();
            if more.is_empty() {
                break;
            }
            read.extend(more);
        }
        let numbers: Vec<u64> = read.iter().map(|record| record.no.0).collect();
        assert_eq!(numbers, (released + 1..=state.last.0).collect::<Vec<u64>>(), "round {round}");
        assert!(read.iter().all(|one| *one == record(one.no.0)), "round {round}");
        assert_eq!(store.damage(CLOUD), Damage::default(), "round {round}");
    }
    assert!(released > 0 && acknowledged > 1000, "{acknowledged} records: the child hardly ran");
}
