//! Crashes, broken connections and failing disks in any order, under many seeds: what was promised holds. A failing seed
//! is printed.

use super::chaos::{answer_all, join, step};
use super::persistence::{Kept, persistent};
use super::*;

/// A client as the standard wants one: it keeps what is open over connections, and notes what it got.
#[derive(Default)]
struct Client {
    got: Vec<String>,
    /// QoS 2 identifiers that it has, and has not got PUBREL for.
    open: BTreeSet<u16>,
    /// What it has sent and not got the end of: identifier, payload, whether it has PUBREC.
    sending: BTreeMap<u16, (QoS, String, bool)>,
    next_id: u16,
    acknowledged: BTreeSet<String>,
    /// It has got no CONNACK since it came back.
    waits: bool,
    /// It was told that it has a session.
    has_session: bool,
}

impl Client {
    /// Answers all that has come, as far as the client lives for now.
    fn take(&mut self, bench: &mut Bench, c: u32) {
        while let Some(bytes) = bench.next(c) {
            match decode(frame(&bytes, 1 << 20).unwrap().unwrap(), V311).unwrap() {
                Packet::Publish(publish) => {
                    let id = publish.packet_id.unwrap();
                    let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                    if publish.qos == Q1 {
                        self.got.push(payload);
                        bench.send(c, puback(id.0.get()));
                    } else {
                        if self.open.insert(id.0.get()) {
                            self.got.push(payload);
                        }
                        bench.send(c, pubrec(id.0.get()));
                    }
                }
                Packet::PubRel(ack) => {
                    self.open.remove(&ack.packet_id.0.get());
                    bench.send(c, pubcomp(ack.packet_id.0.get()));
                }
                Packet::PubAck(ack) | Packet::PubComp(ack) => {
                    if let Some((_, payload, _)) = self.sending.remove(&ack.packet_id.0.get()) {
                        self.acknowledged.insert(payload);
                    }
                }
                Packet::PubRec(ack) => {
                    if let Some((_, payload, received)) = self.sending.get_mut(&ack.packet_id.0.get()) {
                        *received = true;
                        self.acknowledged.insert(payload.clone());
                        bench.send(c, pubrel(ack.packet_id.0.get()));
                    }
                }
                Packet::ConnAck(connack) => {
                    assert_eq!(connack.reason, ReasonCode::Success);
                    assert!(connack.session_present || !self.has_session, "the session is gone");
                    self.has_session = true;
                    self.waits = false;
                    self.send_again(bench, c);
                }
                Packet::SubAck(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn publish(&mut self, bench: &mut Bench, c: u32, qos: QoS, payload: String) {
        if self.waits || self.sending.len() >= 10 {
            return;
        }
        self.next_id = self.next_id % 12 + 1;
        if self.sending.contains_key(&self.next_id) {
            return;
        }
        bench.send(c, message("t/a", qos, self.next_id, &payload));
        self.sending.insert(self.next_id, (qos, payload, false));
    }

    /// Connects again; goes on where it was once it has CONNACK.
    fn back(&mut self, bench: &mut Bench, c: u32, name: &str) {
        bench.open(c);
        bench.send(c, Packet::Connect(resume(V311, name)));
        self.waits = true;
        self.take(bench, c);
    }

    fn send_again(&self, bench: &mut Bench, c: u32) {
        for (id, (qos, payload, received)) in self.sending.clone() {
            if received {
                bench.send(c, pubrel(id));
            } else {
                bench.send(c, dup("t/a", qos, id, &payload));
            }
        }
    }
}

/// Crashes and broken connections at random points: what was acknowledged arrives, QoS 2 once.
#[test]
fn in_any_order_of_crashes_what_was_acknowledged_arrives_and_qos_2_arrives_once() {
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut k = Kept::new();
        let (mut publisher, mut subscriber) = (Client::default(), Client::default());
        k.join(1, resume(V311, "subscriber"));
        k.subscribe(1, "t/#", Q2);
        publisher.back(&mut k.bench, 2, "publisher");
        subscriber.has_session = true;
        let mut here = [true, true];
        for number in 0..rng.u32(50..300) {
            match rng.u8(..20) {
                0 => {
                    // A batch that the store has not answered may be on disk or not.
                    if rng.bool() {
                        k.write();
                    }
                    k.crash();
                    here = [false, false];
                }
                1 => {
                    let c = rng.usize(..2);
                    if std::mem::replace(&mut here[c], false) {
                        k.bench.cut(c as u32 + 1);
                    }
                }
                2 | 3 => {
                    if !std::mem::replace(&mut here[0], true) {
                        subscriber.back(&mut k.bench, 1, "subscriber");
                    }
                    if !std::mem::replace(&mut here[1], true) {
                        publisher.back(&mut k.bench, 2, "publisher");
                    }
                }
                4..=9 if here[1] => {
                    let qos = if number % 2 == 0 { Q2 } else { Q1 };
                    let payload = format!("{} {number}", qos.as_u8());
                    publisher.publish(&mut k.bench, 2, qos, payload);
                }
                10..=12 => k.wait(millis(rng.u64(1..300))),
                13..=15 => {
                    if let Some(number) = k.write() {
                        let answer = match rng.u8(..8) {
                            0 => Input::PersistFailed { number, lost: false },
                            _ => Input::Persisted { number },
                        };
                        k.bench.handle(answer);
                    }
                }
                16 | 17 if here[0] => subscriber.take(&mut k.bench, 1),
                _ if here[1] => publisher.take(&mut k.bench, 2),
                _ => {}
            }
        }
        for (client, c, name) in [(&mut subscriber, 1, "subscriber"), (&mut publisher, 2, "publisher")] {
            if !here[c as usize - 1] {
                client.back(&mut k.bench, c, name);
            }
        }
        for _ in 0..40 {
            publisher.take(&mut k.bench, 2);
            subscriber.take(&mut k.bench, 1);
            k.settle();
        }
        assert!(publisher.sending.is_empty(), "seed {seed}: {:?}", publisher.sending);
        for payload in &publisher.acknowledged {
            let times = subscriber.got.iter().filter(|got| *got == payload).count();
            let right = if payload.starts_with('2') { times == 1 } else { times >= 1 };
            assert!(right, "seed {seed}: {payload:?} came {times} times");
        }
        assert!(k.bench.broker.is_saved() && subscriber.open.is_empty());
    }
}

/// Retained messages of three topics, each with a number that rises.
#[test]
fn in_any_order_of_crashes_a_retained_message_is_no_older_than_its_acknowledgement() {
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut k = Kept::new();
        let (mut sent, mut acknowledged) = (BTreeMap::new(), [0_u16; 3]);
        let mut here = false;
        for number in 1..rng.u16(20..200) {
            if !std::mem::replace(&mut here, true) {
                k.join(1, connect(V5, "publisher"));
                sent.clear();
            }
            match rng.u8(..10) {
                0 => {
                    if rng.bool() {
                        k.write();
                    }
                    k.crash();
                    here = false;
                }
                1..=4 if sent.len() < 20 => {
                    let topic = rng.usize(..3);
                    k.bench.send(1, retained(["a", "b", "c"][topic], Q1, number, &number.to_string()));
                    sent.insert(number, topic);
                }
                5 | 6 => k.wait(millis(rng.u64(1..300))),
                _ => {
                    if let Some(number) = k.write() {
                        k.bench.handle(Input::Persisted { number });
                    }
                }
            }
            while let Some(bytes) = k.bench.next(1) {
                match decode(frame(&bytes, 1 << 20).unwrap().unwrap(), V5).unwrap() {
                    Packet::PubAck(ack) => {
                        let number = ack.packet_id.get();
                        acknowledged[sent.remove(&number).unwrap()] = number;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        k.crash();
        k.join(2, connect(V311, "reader"));
        for (topic, acknowledged) in ["a", "b", "c"].into_iter().zip(acknowledged) {
            k.bench.subscribe(2, topic, Q0);
            let found = k.bench.next(2).map_or(0, |bytes| {
                match decode(frame(&bytes, 1 << 20).unwrap().unwrap(), V311).unwrap() {
                    Packet::Publish(p) => std::str::from_utf8(p.payload).unwrap().parse().unwrap(),
                    other => panic!("{other:?}"),
                }
            });
            assert!(
                found >= acknowledged,
                "seed {seed}, {topic}: {found}, but {acknowledged} was acknowledged"
            );
        }
    }
}

fn differences(a: &BTreeSet<Vec<u8>>, b: &BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
    a.symmetric_difference(b).cloned().collect()
}

/// Whatever clients do, the disk ends with what the broker has, no more and no less, and a broker that starts from it
/// has the same.
#[test]
fn whatever_happens_the_disk_has_what_the_broker_has() {
    let keys = |broker: &Broker| -> BTreeSet<Vec<u8>> {
        let kept = broker.all_keys().into_iter().filter(|key| broker.value_of(key).is_some());
        kept.map(|key| key.encode()).collect()
    };
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = Config {
            out_buffer_bytes_max: 600,
            receive_max: 5,
            inflight_max: 3,
            queue_messages_max: 10,
            retained_max: 4,
            sessions_max: 3,
            ..forwarding(&[("up/#", 0)])
        };
        let mut k = Kept::with(Config { persistence: true, ..config });
        for c in 0..5 {
            join(&mut k.bench, &mut rng, c);
        }
        let mut next_id = 0;
        for _ in 0..400 {
            step(&mut k.bench, &mut rng, &mut next_id);
            if rng.u8(..4) == 0
                && let Some(number) = k.write()
            {
                let answer = match rng.u8(..10) {
                    0 => Input::PersistFailed { number, lost: false },
                    1 => {
                        k.disk.clear();
                        Input::PersistFailed { number, lost: true }
                    }
                    _ => Input::Persisted { number },
                };
                k.bench.handle(answer);
            }
        }
        k.bench.stuck.clear();
        for c in 0..5 {
            answer_all(&mut k.bench, c);
        }
        // Longer than anything may wait for the disk; meanwhile sessions end, which is written again.
        let saved = (0..40).any(|_| {
            k.settle();
            k.bench.broker.is_saved()
        });
        assert!(saved, "seed {seed}");
        let on_disk: BTreeSet<Vec<u8>> = k.disk.keys().cloned().collect();
        assert_eq!(differences(&keys(&k.bench.broker), &on_disk), Vec::<Vec<u8>>::new(), "seed {seed}");
        let before = k.bench.broker.stats();
        let entries = k.disk.clone().into_iter().collect();
        let mut again = Broker::new(Config { persistence: true, ..persistent() }, 1);
        again.restore(entries, k.bench.now);
        assert_eq!(differences(&keys(&again), &on_disk), Vec::<Vec<u8>>::new(), "seed {seed}");
        assert!(again.stats().sessions_offline <= before.sessions_offline + before.clients_connected);
    }
}
