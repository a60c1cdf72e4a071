//! The plug is pulled. An emulated board boots Linux with the gateway from a disk with a write cache; readings, messages of
//! the LAN and a pulse counter run; the board is killed at a random instant, and its disk loses what was not flushed. It
//! boots again, and whatever had been acknowledged must be there.
//!
//! The board is of this machine's kind and runs the program that is tested; `tests/heavy/run power_cuts` takes an arm64 one,
//! and more cuts. A machine that can't have it says why, and is let off.
#![allow(
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests unwrap freely"
)]
#![allow(clippy::print_stderr, reason = "what was cut, and why nothing was tested, belong to the output")]

mod board;
mod client;
mod disk;
mod load;
#[path = "../raw/mod.rs"]
mod raw;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use board::Machine;
use client::Client;
use disk::{Disk, Loss};
use load::{Load, Shared};
use support::{Mosquitto, Process, Relay, Tap, free_port, within};

/// The board has booted, or done something else that takes a while, on a slow, busy machine.
const SLOW_MAX: Duration = Duration::from_secs(180);
const DISK_BYTES: u64 = 192 * 1024 * 1024;
const CUTS: u64 = 20;
/// Boards that are cut side by side, each with a disk of its own.
const BOARDS: u64 = 2;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

struct Bench<'a> {
    machine: &'a Machine,
    disk: Disk,
    socket: PathBuf,
    lan_port: u16,
    relay: Relay,
    shared: Arc<Shared>,
}

impl Bench<'_> {
    fn boot(&self) -> Process {
        self.machine.boot(&self.socket, self.lan_port, self.relay.port)
    }

    /// Waits until the gateway lets clients in.
    fn wait_up(&self, board: &mut Process) {
        within(SLOW_MAX, "the gateway lets clients in", || {
            assert!(board.is_running(), "{}", board.text());
            Client::is_let_in(self.lan_port).then_some(())
        });
    }

    fn client(&self, id: &str, clean: bool) -> Client {
        Client::connect(self.lan_port, id, clean).unwrap()
    }

    /// The board is up: what was acknowledged before the last cut is there.
    fn check(&self, board: &mut Process) -> Load {
        let promised = self.shared.promised();
        self.wait_up(board);
        let mut asking = self.client("asking", true);
        if let Some(retained) = promised.retained {
            asking.subscribe("load/state", 0).unwrap();
            let there =
                asking.wait(SLOW_MAX, |message| message.retain.then(|| load::number(&message.payload)));
            assert!(there >= Some(retained), "retained: {retained} was acknowledged, {there:?} is there");
        }
        let worker = self.client("worker", false);
        assert!(worker.resumed, "its session was acknowledged");
        let mut load = Load::start(self.lan_port, worker, &self.shared);
        within(SLOW_MAX, "what was acknowledged arrives at the session", || {
            assert!(board.is_running(), "{}", board.text());
            self.shared.is_all_there(&promised).then_some(())
        });
        within(SLOW_MAX, "the counter tells its total", || {
            (self.shared.totals_of_run() > 0 && self.shared.readings_of_run() > 0).then_some(())
        });
        load.go();
        load
    }

    /// After the last cut: everything is there, for whoever was away, and upstream.
    fn end(&self, mut board: Process, upstream: &Tap, number: u64, cuts: u64) {
        let load = self.check(&mut board);
        self.relay.open();
        let mut sleeper = self.client("sleeper", false);
        assert!(sleeper.resumed);
        within(SLOW_MAX, "pulses are counted", || (self.shared.promised().total > 0).then_some(()));
        self.shared.pause();
        let promised = self.shared.promised();
        let mut missing: BTreeSet<u64> = promised.messages.iter().copied().collect();
        sleeper.wait(SLOW_MAX, |message| {
            missing.remove(&load::number(&message.payload));
            missing.is_empty().then_some(())
        });
        assert!(missing.is_empty(), "the session that was away lacks {missing:?}");
        within(SLOW_MAX, "all of it is upstream", || is_all_upstream(upstream, &promised).then_some(()));
        are_in_order(upstream);
        assert!(!promised.readings.is_empty());
        board.kill9();
        load.end();
        eprintln!(
            "board {number}, {cuts} cuts: {} messages acknowledged, {} readings promised, a total of {}; none lost",
            promised.messages.len(),
            promised.readings.values().sum::<u64>(),
            promised.total
        );
    }
}

#[test]
fn what_was_acknowledged_outlives_every_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let machine = match Machine::new(dir.path()) {
        Ok(machine) => machine,
        Err(why) => return eprintln!("{why}; no power was cut"),
    };
    let (cuts, seed) = (setting("CUTS", CUTS), setting("SEED", fastrand::u64(..)));
    eprintln!("{cuts} cuts; SEED={seed}");
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..BOARDS.min(cuts) {
            let cuts = cuts / BOARDS + u64::from(number < cuts % BOARDS);
            let machine = &machine;
            scope.spawn(move || cut(machine, number, cuts, seed.wrapping_add(number)));
        }
    });
    eprintln!("{:.0} s", start.elapsed().as_secs_f32());
}

/// A board's life.
fn cut(machine: &Machine, number: u64, cuts: u64, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut luck = fastrand::Rng::with_seed(seed);
    let socket = dir.path().join("disk");
    let disk = Disk::serve(board::formatted(dir.path(), DISK_BYTES), &socket);
    let mosquitto = Mosquitto::start(dir.path());
    let upstream = Tap::subscribe(mosquitto.port, "#");
    let relay = Relay::to(mosquitto.port);
    relay.cut();
    let bench = Bench { machine, disk, socket, lan_port: free_port(), relay, shared: Arc::default() };

    // Two sessions that nobody ends: one comes back after each cut, one stays away.
    let mut board = bench.boot();
    bench.wait_up(&mut board);
    for id in ["worker", "sleeper"] {
        bench.client(id, false).subscribe("load/#", 1).unwrap();
    }
    let mut up = Instant::now();
    for cut in 1..=cuts {
        // Now and then the plug is pulled while it boots.
        let is_early = cut % 5 == 0;
        if cut % 4 == 2 {
            bench.relay.open();
        } else {
            bench.relay.cut();
        }
        let load = if !is_early {
            let load = bench.check(&mut board);
            let before = bench.shared.acknowledged();
            let booted = up.elapsed();
            std::thread::sleep(Duration::from_millis(luck.u64(0..1_500)));
            within(SLOW_MAX, "something is acknowledged", || {
                (bench.shared.acknowledged() > before + 3).then_some(())
            });
            // At that instant, or at a write near it.
            if luck.bool() {
                bench.disk.stop_after(luck.u64(1..60));
                within(SLOW_MAX, "it writes", || bench.disk.has_stopped().then_some(()));
            }
            Some((load, format!("up after {:.1} s", booted.as_secs_f32())))
        } else {
            std::thread::sleep(Duration::from_millis(luck.u64(0..8_000)));
            None
        };
        board.kill9();
        let mut when = "while it boots".to_owned();
        if let Some((load, booted)) = load {
            load.end();
            when = booted;
        }
        let loss = match luck.u8(0..4) {
            0 => Loss::All,
            1 => Loss::Nothing,
            _ => Loss::Some(luck.u64(..)),
        };
        let (cached, lost) = bench.disk.cut(loss);
        let promised = bench.shared.acknowledged();
        eprintln!(
            "board {number}, cut {cut}: {when}; {lost} of {cached} sectors lost, {promised} messages acknowledged"
        );
        is_whole(&board);
        up = Instant::now();
        board = bench.boot();
        bench.shared.next_run();
    }
    bench.end(board, &upstream, number, cuts);
}

/// Nothing of the store had to be set aside, and the disk could be mounted.
fn is_whole(board: &Process) {
    for line in board.text().lines() {
        let damaged = line.split("damaged=").nth(1).is_some_and(|count| !count.starts_with('0'));
        assert!(!damaged && !line.contains("can't be mounted") && !line.contains("panicked"), "{line}");
    }
}

/// The device's readings that came upstream, by their runs.
fn readings(upstream: &Tap) -> BTreeMap<u64, BTreeSet<u64>> {
    let mut runs = BTreeMap::<u64, BTreeSet<u64>>::new();
    for message in upstream.messages() {
        if message.topic == "fieldgate/board/data/probe" {
            let (run, number) = load::sequence(&message.json());
            runs.entry(run).or_default().insert(number);
        }
    }
    runs
}

/// The counter's totals that came upstream, in the order of their readings.
fn totals(upstream: &Tap) -> Vec<u64> {
    let mut totals = BTreeMap::new();
    for message in upstream.messages() {
        if message.topic == "fieldgate/board/data/water" {
            let json = message.json();
            totals.insert(load::sequence(&json), load::total(&json));
        }
    }
    totals.into_values().flatten().collect()
}

fn is_all_upstream(upstream: &Tap, promised: &load::Promised) -> bool {
    let messages: BTreeSet<u64> = upstream
        .messages()
        .into_iter()
        .filter(|message| message.topic == "load/x")
        .map(|message| load::number(message.payload.as_bytes()))
        .collect();
    let readings = readings(upstream);
    let last = |run: &u64| readings.get(run).and_then(|numbers| numbers.last().copied());
    promised.messages.iter().all(|number| messages.contains(number))
        && promised.readings.iter().all(|(run, number)| last(run) >= Some(*number))
        && totals(upstream).last() >= Some(&promised.total)
}

/// No reading of a run is missing before its last one, and no total goes back.
fn are_in_order(upstream: &Tap) {
    for (run, numbers) in readings(upstream) {
        let last = *numbers.last().unwrap();
        assert_eq!(numbers.len() as u64, last, "run {run}: numbers are missing before {last}");
    }
    let totals = totals(upstream);
    assert!(totals.is_sorted(), "a total goes back: {totals:?}");
}
