//! What survives the process: a bench with a disk, which may fail, and a crash that leaves only what is on it.

use bytes::Bytes;

use super::*;
use crate::time::{ClockTrust, Timestamp};

/// A broker whose state is kept.
pub(super) struct Kept {
    pub(super) bench: Bench,
    pub(super) disk: BTreeMap<Vec<u8>, Bytes>,
    pub(super) writes: usize,
}

pub(super) fn persistent() -> Config {
    Config { persistence: true, ..config() }
}

impl Kept {
    pub(super) fn new() -> Self {
        Self::with(persistent())
    }

    pub(super) fn with(config: Config) -> Self {
        let mut bench = Bench::with(config);
        bench.now.wall = Timestamp::from_millis(1_795_186_265_123);
        bench.now.trust = ClockTrust::Synced;
        Self { bench, disk: BTreeMap::new(), writes: 0 }
    }

    pub(super) fn wait(&mut self, span: Duration) {
        self.bench.wait(span);
        self.bench.now.wall = self.bench.now.wall.plus(span);
    }

    /// Writes the batch that was handed out, without telling the broker.
    pub(super) fn write(&mut self) -> Option<u64> {
        let (number, changes) = self.bench.batches.pop_front()?;
        for change in changes {
            self.writes += 1;
            match change.value {
                Some(value) => drop(self.disk.insert(change.key, value)),
                None => drop(self.disk.remove(&change.key)),
            }
        }
        Some(number)
    }

    /// Lets time pass until nothing waits for the disk any more.
    pub(super) fn settle(&mut self) {
        let mut idle = 0;
        for _ in 0..200 {
            self.wait(millis(300));
            match self.write() {
                Some(number) => {
                    idle = 0;
                    self.bench.handle(Input::Persisted { number });
                }
                // Longer than the wait after a failure.
                None if idle == 5 => return,
                None => idle += 1,
            }
        }
        panic!("the broker never stops writing");
    }

    /// All that is not on disk is gone. Clients have to connect again.
    pub(super) fn crash(&mut self) {
        self.crash_into(Config::clone(&self.bench.broker.config));
    }

    /// The same, and the config is another from then on.
    pub(super) fn crash_into(&mut self, config: Config) {
        let entries = self.disk.clone().into_iter().collect();
        let now = self.bench.now;
        self.bench = Bench::with(config);
        self.bench.now = now;
        self.bench.broker.restore(entries, now);
        self.wait(Duration::ZERO);
    }

    fn crash_for(&mut self, span: Duration) {
        self.bench.now.mono = self.bench.now.mono + span;
        self.bench.now.wall = self.bench.now.wall.plus(span);
        self.crash();
    }

    /// As [`Bench::join`], for which the disk may be needed.
    pub(super) fn join(&mut self, c: u32, connect: Connect<'_>) -> bool {
        self.bench.open(c);
        self.bench.send(c, Packet::Connect(connect));
        if self.bench.paused.contains(&c) {
            self.settle();
        }
        self.bench.welcomed(c)
    }

    pub(super) fn subscribe(&mut self, c: u32, filter: &str, qos: QoS) {
        self.bench.send(c, subscribe(1, &[(filter, qos)]));
        self.settle();
        self.bench.expect(c, suback(1, &[qos.as_u8()]));
    }

    /// A persistent session with one subscription, whose client has gone.
    pub(super) fn sleeper(&mut self, version: Version, qos: QoS) {
        self.join(1, resume(version, "sleeper"));
        self.subscribe(1, "t/#", qos);
        self.bench.cut(1);
        self.settle();
    }
}

#[test]
fn an_acknowledgement_waits_for_the_disk_where_only_that_helps_and_the_message_survives_a_crash() {
    for version in [V311, V5] {
        for (qos, answer) in [(Q1, puback(7)), (Q2, pubrec(7))] {
            let mut k = Kept::new();
            k.sleeper(version, Q2);
            k.join(2, resume(V5, "publisher"));
            k.bench.send(2, message("t/a", qos, 7, "kept"));
            k.wait(secs(5));
            k.bench.nothing(2);
            assert_eq!(k.bench.batches.len(), 1, "one at a time");
            let number = k.write().unwrap();
            k.bench.handle(Input::Persisted { number });
            k.bench.expect(2, answer);

            k.crash();
            assert!(k.join(1, resume(version, "sleeper")));
            k.bench.expect(1, message("t/a", qos, 1, "kept"));
            k.bench.nothing(1);
        }
    }
}

#[test]
fn a_disk_that_fails_keeps_acknowledgements_back_until_it_works() {
    let mut k = Kept::new();
    k.sleeper(V311, Q1);
    k.join(2, connect(V311, "publisher"));
    k.bench.send(2, message("t/a", Q1, 7, "kept"));
    for _ in 0..3 {
        k.wait(secs(5));
        let (number, _) = k.bench.batches.pop_front().unwrap();
        k.bench.handle(Input::PersistFailed { number, lost: false });
        k.bench.nothing(2);
    }
    k.settle();
    k.bench.expect(2, puback(7));
    k.crash();
    k.join(1, resume(V311, "sleeper"));
    k.bench.expect(1, message("t/a", Q1, 1, "kept"));
}

#[test]
fn a_disk_that_has_lost_all_gets_all_again() {
    let mut k = Kept::new();
    k.sleeper(V311, Q1);
    k.join(2, connect(V311, "publisher"));
    k.bench.send(2, retained("t/a", Q1, 7, "kept"));
    k.settle();
    k.bench.expect(2, puback(7));
    k.bench.send(2, retained("t/b", Q1, 8, "kept too"));
    k.wait(secs(1));
    let (number, _) = k.bench.batches.pop_front().unwrap();
    k.disk.clear();
    k.bench.handle(Input::PersistFailed { number, lost: true });
    k.settle();
    k.bench.expect(2, puback(8));
    k.crash();
    assert_eq!(k.bench.broker.stats().retained, 2);
    assert!(k.join(1, resume(V311, "sleeper")));
    k.bench.expect(1, message("t/a", Q1, 1, "kept"));
    k.bench.expect(1, message("t/b", Q1, 2, "kept too"));
}

#[test]
fn what_its_client_acknowledges_in_time_never_touches_the_disk() {
    let mut k = Kept::new();
    k.join(1, resume(V311, "awake"));
    k.subscribe(1, "t/#", Q1);
    k.join(2, connect(V311, "publisher"));
    k.settle();
    let before = k.writes;
    for id in 1..100 {
        k.bench.send(2, message("t/a", Q1, id, "x"));
        k.bench.nothing(2);
        k.bench.expect(1, message("t/a", Q1, id, "x"));
        k.bench.send(1, puback(id));
        k.bench.expect(2, puback(id));
    }
    k.settle();
    k.settle();
    assert_eq!(k.writes, before);
}

#[test]
fn clean_sessions_and_qos_0_wait_for_nothing_and_never_touch_the_disk() {
    let mut k = Kept::new();
    k.join(1, connect(V311, "clean"));
    k.bench.subscribe(1, "t/#", Q2);
    k.join(2, connect(V5, "publisher"));
    k.join(3, resume(V311, "awake"));
    k.subscribe(3, "q0/#", Q0);
    let before = k.writes;
    k.bench.send(2, message("t/a", Q1, 1, "one"));
    k.bench.expect(2, puback(1));
    k.bench.send(2, message("t/a", Q2, 2, "two"));
    k.bench.expect(2, pubrec(2));
    k.bench.send(2, pubrel(2));
    k.bench.expect(2, pubcomp(2));
    k.bench.expect(1, message("t/a", Q1, 1, "one"));
    k.bench.expect(1, message("t/a", Q2, 2, "two"));
    k.bench.send(2, message("q0/a", Q1, 3, "three"));
    k.bench.expect(2, puback(3));
    k.bench.expect(3, message("q0/a", Q0, 0, "three"));
    k.settle();
    assert_eq!(k.writes, before);
}

#[test]
fn with_persistence_off_nothing_waits_and_nothing_is_written() {
    let mut k = Kept::with(config());
    k.join(1, resume(V311, "sleeper"));
    k.bench.subscribe(1, "t/#", Q2);
    k.bench.cut(1);
    k.join(2, resume(V311, "publisher"));
    k.bench.send(2, retained("t/a", Q2, 1, "x"));
    k.bench.expect(2, pubrec(1));
    k.bench.send(2, pubrel(1));
    k.bench.expect(2, pubcomp(1));
    k.wait(secs(60));
    assert!(k.bench.batches.is_empty() && k.bench.broker.is_saved());
}

#[test]
fn retained_messages_are_there_as_acknowledged_and_cleared_ones_are_not() {
    let mut k = Kept::new();
    k.join(2, connect(V5, "publisher"));
    k.bench.send(2, retained("r/kept", Q1, 1, "old"));
    k.bench.send(2, retained("r/kept", Q1, 2, "new"));
    k.bench.send(2, retained("r/cleared", Q1, 3, "x"));
    k.bench.nothing(2);
    k.settle();
    for id in 1..4 {
        k.bench.expect(2, puback(id));
    }
    assert_eq!(k.writes, 2, "one for each topic");
    k.bench.send(2, retained("r/cleared", Q1, 4, ""));
    k.bench.send(2, retained("r/never", Q1, 5, ""));
    k.settle();
    k.bench.expect(2, puback(4));
    k.bench.expect(2, puback(5));
    k.crash();
    k.join(1, connect(V311, "reader"));
    k.bench.subscribe(1, "r/#", Q1);
    k.bench.expect(1, retained("r/kept", Q1, 1, "new"));
    k.bench.nothing(1);
}

#[test]
fn the_gateways_own_retained_messages_are_made_anew_and_not_kept() {
    let mut k = Kept::new();
    k.bench.handle(Input::Local(local("gw/status", Q1, true, "online")));
    k.settle();
    k.wait(secs(60));
    assert_eq!((k.writes, k.bench.batches.len()), (0, 0));
}

#[test]
fn a_subscription_is_there_once_it_is_acknowledged_and_gone_once_its_end_is() {
    let mut k = Kept::new();
    k.join(1, resume(V5, "a"));
    let filters = [("t/+", Q1), ("$share/g/u", Q1), ("gone", Q1)];
    k.bench.send(1, subscribe(1, &filters));
    k.bench.nothing(1);
    k.settle();
    k.bench.expect(1, suback(1, &[1, 1, 1]));
    k.bench.send(1, unsubscribe(2, &["gone", "never"]));
    k.bench.nothing(1);
    k.settle();
    k.bench.expect(1, unsuback(2, &[0, 0x11]));
    k.crash();
    assert!(k.join(1, resume(V5, "a")));
    k.join(2, connect(V311, "publisher"));
    for topic in ["t/x", "u", "gone"] {
        k.bench.send(2, message(topic, Q0, 0, topic));
    }
    k.bench.expect(1, message("t/x", Q0, 0, "t/x"));
    k.bench.expect(1, message("u", Q0, 0, "u"));
    k.bench.nothing(1);
}

#[test]
fn a_late_suback_does_not_go_to_the_next_connection() {
    let mut k = Kept::new();
    k.join(1, resume(V311, "a"));
    k.bench.send(1, subscribe(9, &[("t", Q1)]));
    k.bench.cut(1);
    assert!(k.join(1, resume(V311, "a")));
    k.settle();
    k.bench.nothing(1);
}

#[test]
fn a_session_ends_in_time_over_a_restart_and_takes_all_with_it() {
    for (away, present) in [(50, true), (70, false)] {
        let mut k = Kept::new();
        k.join(1, resume_for(V5, "a", 60));
        k.subscribe(1, "t", Q1);
        k.bench.cut(1);
        k.settle();
        k.join(2, connect(V311, "publisher"));
        k.bench.send(2, message("t", Q1, 1, "x"));
        k.settle();
        k.bench.expect(2, puback(1));
        k.crash_for(secs(away));
        k.settle();
        assert_eq!(k.join(1, resume_for(V5, "a", 60)), present, "{away}");
        if !present {
            k.bench.disconnect(1);
            k.wait(secs(70));
            k.settle();
            assert!(k.disk.is_empty(), "{:?}", k.disk);
        }
    }
}

#[test]
fn a_session_that_was_connected_has_its_whole_time_and_that_of_another_user_is_not_given_away() {
    let mut k = Kept::new();
    k.bench.open_at(1, 1);
    let hello = Connect { user_name: Some("plc"), password: Some(b"x"), ..resume_for(V5, "a", 60) };
    k.bench.send(1, Packet::Connect(hello.clone()));
    k.bench.handle(Input::Authenticated { conn: ConnId(1), accepted: true });
    k.settle();
    assert!(!k.bench.welcomed(1));
    k.subscribe(1, "t", Q1);
    k.crash_for(secs(70));
    k.bench.open(2);
    k.bench.send(2, Packet::Connect(resume_for(V5, "a", 60)));
    assert_ne!(k.bench.next(2).unwrap()[3], 0, "refused");
    k.bench.open_at(1, 1);
    k.bench.send(1, Packet::Connect(hello));
    k.bench.handle(Input::Authenticated { conn: ConnId(1), accepted: true });
    assert!(k.bench.welcomed(1));
}

#[test]
fn a_clean_start_leaves_nothing_on_the_disk() {
    let mut k = Kept::new();
    k.sleeper(V311, Q1);
    k.join(2, connect(V311, "publisher"));
    k.bench.send(2, message("t/a", Q1, 1, "x"));
    k.settle();
    assert!(!k.disk.is_empty());
    assert!(!k.join(1, connect(V311, "sleeper")));
    k.settle();
    assert!(k.disk.is_empty(), "{:?}", k.disk);
}

#[test]
fn wills_of_those_who_were_connected_go_out_after_a_crash_respecting_their_delay() {
    let mut k = Kept::new();
    k.join(1, Connect { will: will("w/clean", "gone"), ..connect(V311, "clean") });
    let delayed = |seconds| {
        let properties = properties(&[Property::U32(PropertyId::WillDelayInterval, seconds)]);
        Some(Will { properties, ..will("w/delayed", "gone").unwrap() })
    };
    k.join(2, Connect { will: delayed(30), ..resume(V5, "delayed") });
    k.join(3, Connect { will: will("w/normal", "never"), ..resume(V311, "normal") });
    k.settle();
    k.bench.disconnect(3);
    k.join(4, resume(V311, "watcher"));
    k.subscribe(4, "w/#", Q1);
    k.bench.cut(4);
    k.settle();
    // A will with QoS 1 reaches who is away; these have QoS 0, so the watcher has to be there in time.
    let entries = k.disk.clone().into_iter().collect();
    let now = k.bench.now;
    k.bench = Bench::with(persistent());
    k.bench.now = now;
    k.bench.broker.restore(entries, now);
    assert!(k.join(4, resume(V311, "watcher")));
    k.wait(secs(1));
    k.bench.expect(4, message("w/clean", Q0, 0, "gone"));
    k.bench.nothing(4);
    k.wait(secs(30));
    k.bench.expect(4, message("w/delayed", Q0, 0, "gone"));
    k.bench.nothing(4);
    k.settle();
    k.crash();
    k.join(4, resume(V311, "watcher"));
    k.wait(secs(60));
    k.bench.nothing(4);
}

#[test]
fn a_message_expires_over_a_restart() {
    for (away, arrives) in [(40, true), (70, false)] {
        let mut k = Kept::new();
        k.sleeper(V5, Q1);
        k.join(2, connect(V5, "publisher"));
        let publish = Publish {
            properties: properties(&[Property::U32(PropertyId::MessageExpiryInterval, 60)]),
            ..publish("t/a", Q1, 1, "x")
        };
        k.bench.send(2, Packet::Publish(publish));
        k.settle();
        k.bench.expect(2, puback(1));
        k.crash_for(secs(away));
        k.join(1, resume(V5, "sleeper"));
        assert_eq!(k.bench.next(1).is_some(), arrives, "{away}");
        k.settle();
    }
}

#[test]
fn a_stop_writes_all_at_once() {
    let mut k = Kept::new();
    k.join(2, connect(V311, "publisher"));
    k.bench.send(2, retained("r", Q0, 0, "x"));
    k.bench.handle(Input::Shutdown);
    assert!(!k.bench.broker.is_saved());
    let number = k.write().unwrap();
    k.bench.handle(Input::Persisted { number });
    assert!(k.bench.broker.is_saved());
    k.crash();
    assert_eq!(k.bench.broker.stats().retained, 1);
}

#[test]
fn what_lies_damaged_on_the_disk_is_left_out_and_the_rest_is_used() {
    let mut k = Kept::new();
    k.sleeper(V311, Q1);
    k.join(2, connect(V311, "publisher"));
    k.bench.send(2, retained("t/a", Q1, 1, "x"));
    k.settle();
    let mut rng = fastrand::Rng::with_seed(1);
    let good = k.disk.clone();
    for _ in 0..2_000 {
        k.disk = good.clone();
        let at = rng.usize(..good.len());
        let (key, value) = good.iter().nth(at).unwrap();
        let mut bad = value.to_vec();
        match rng.u8(..3) {
            0 => drop(k.disk.remove(key)),
            1 => {
                bad.truncate(rng.usize(..bad.len()));
                k.disk.insert(key.clone(), bad.into());
            }
            _ => {
                let byte = rng.usize(..bad.len());
                bad[byte] ^= 1 << rng.u8(..8);
                k.disk.insert(key.clone(), bad.into());
            }
        }
        k.crash();
        k.join(1, resume(V311, "sleeper"));
        k.join(3, connect(V311, "reader"));
        k.settle();
    }
}

#[test]
fn a_message_for_many_is_acknowledged_when_each_has_it_on_disk_or_has_acknowledged_it() {
    let mut k = Kept::new();
    for c in [1, 2] {
        let name = format!("session {c}");
        k.join(c, resume(V311, &name));
        k.subscribe(c, "t/#", Q1);
    }
    k.bench.cut(2);
    k.settle();
    k.join(3, connect(V311, "publisher"));
    k.bench.send(3, message("t/a", Q1, 1, "x"));
    k.bench.expect(1, message("t/a", Q1, 1, "x"));
    k.bench.send(1, puback(1));
    k.bench.nothing(3);
    k.wait(millis(20));
    let (number, changes) = k.bench.batches.pop_front().unwrap();
    assert_eq!(changes.len(), 1, "only the one that is away");
    k.bench.handle(Input::Persisted { number });
    k.bench.expect(3, puback(1));
}

#[test]
fn a_stop_with_a_disk_that_fails_tries_again_but_not_without_pause() {
    let mut k = Kept::new();
    k.join(2, connect(V311, "publisher"));
    k.bench.send(2, retained("r", Q1, 1, "x"));
    k.bench.handle(Input::Shutdown);
    for _ in 0..3 {
        let (number, _) = k.bench.batches.pop_front().unwrap();
        k.bench.handle(Input::PersistFailed { number, lost: false });
        k.wait(millis(900));
        assert!(k.bench.batches.is_empty());
        k.wait(millis(200));
    }
    let number = k.write().unwrap();
    k.bench.handle(Input::Persisted { number });
    assert!(k.bench.broker.is_saved());
}

#[test]
fn only_what_the_window_let_out_counts_as_sent_at_a_crash() {
    let mut k = Kept::with(Config { inflight_max: 2, ..persistent() });
    k.join(1, resume(V311, "a"));
    k.subscribe(1, "t", Q1);
    k.join(2, connect(V311, "publisher"));
    for id in 1..5 {
        k.bench.send(2, message("t", Q1, id, "x"));
    }
    k.settle();
    k.crash();
    k.join(1, resume(V311, "a"));
    for id in 1..3 {
        k.bench.expect(1, dup("t", Q1, id, "x"));
    }
    k.bench.send(1, puback(1));
    k.bench.send(1, puback(2));
    for id in 3..5 {
        k.bench.expect(1, message("t", Q1, id, "x"));
    }
    k.bench.nothing(1);
}
