//! What is kept over a crash, together with what else bounds it: rights, the bound of all queues, `$SYS`, reason strings.

use super::persistence::{Kept, persistent};
use super::words::{told, words};
use super::*;
use crate::broker::acl::{Acl, parse_file};

/// Publishes to the one sleeper and waits until that is on disk.
fn publish_kept(k: &mut Kept, topic: &str, payload: &str) {
    k.bench.send(9, message(topic, Q1, 1, payload));
    k.settle();
    k.bench.expect(9, puback(1));
}

#[test]
fn sys_topics_never_touch_the_disk_even_if_it_has_lost_all() {
    let mut k = Kept::new();
    k.join(1, connect(V311, "publisher"));
    for number in ["1", "2"] {
        k.bench.handle(Input::Local(local("$SYS/broker/uptime", Q0, true, number)));
    }
    k.wait(secs(60));
    assert_eq!(k.bench.batches.len(), 0);
    k.bench.send(1, retained("t", Q1, 7, "kept"));
    k.wait(secs(1));
    let (number, _) = k.bench.batches.pop_front().unwrap();
    k.bench.handle(Input::PersistFailed { number, lost: true });
    k.settle();
    k.bench.expect(1, puback(7));
    k.crash();
    k.join(1, connect(V311, "reader"));
    k.bench.send(1, subscribe(1, &[("$SYS/#", Q0), ("#", Q0)]));
    k.bench.expect(1, suback(1, &[0, 0]));
    k.bench.expect(1, retained("t", Q0, 0, "kept"));
    k.bench.nothing(1);
}

#[test]
fn a_suback_that_waited_for_the_disk_still_says_in_words_what_was_refused() {
    let mut k = Kept::new();
    k.join(1, resume(V5, "a"));
    k.bench.send(1, subscribe(1, &[("a/#/b", Q0), ("t", Q1)]));
    k.bench.nothing(1);
    k.settle();
    assert_eq!(told(&mut k.bench), words(0x8F, "topic filter invalid"));
}

fn denying() -> Arc<Acl> {
    Arc::new(Acl::of(parse_file(b"topic readwrite #\ntopic deny t/secret\n").unwrap()))
}

#[test]
fn rights_that_were_taken_away_hold_for_what_was_kept_and_it_leaves_the_disk() {
    for at_start in [true, false] {
        let mut k = Kept::new();
        k.join(9, connect(V5, "publisher"));
        k.sleeper(V5, Q1);
        for (topic, payload) in [("t/secret", "first"), ("t/open", "second"), ("t/secret", "third")] {
            publish_kept(&mut k, topic, payload);
        }
        // One is under way, the rest is queued.
        let list = [
            Property::U32(PropertyId::SessionExpiryInterval, u32::MAX),
            Property::U16(PropertyId::ReceiveMaximum, 1),
        ];
        k.join(1, Connect { properties: properties(&list), ..resume(V5, "sleeper") });
        k.bench.expect(1, message("t/secret", Q1, 1, "first"));
        k.settle();

        if at_start {
            k.crash_into(Config { acl: denying(), ..persistent() });
        } else {
            k.crash();
            k.bench.handle(Input::Access(denying().into()));
        }
        assert!(k.join(1, resume(V5, "sleeper")));
        // It may have been sent before the crash, so it is marked.
        let bytes = k.bench.next(1).unwrap();
        let Packet::Publish(open) = decode(frame(&bytes, 1 << 20).unwrap().unwrap(), V5).unwrap() else {
            panic!()
        };
        assert_eq!((open.topic, open.packet_id.map(PacketId::get)), ("t/open", Some(2)));
        k.bench.nothing(1);
        assert_eq!(k.bench.broker.stats().dropped_revoked, 2);
        assert_eq!(k.bench.broker.queued_bytes(), 0);
        k.bench.send(1, puback(2));
        k.settle();

        // They don't come back with the rights.
        k.crash_into(persistent());
        assert!(k.join(1, resume(V5, "sleeper")));
        k.bench.nothing(1);
    }
}

#[test]
fn a_message_that_waits_for_the_disk_while_rights_are_taken_away_is_not_sent() {
    let mut k = Kept::new();
    k.join(1, resume(V5, "reader"));
    k.subscribe(1, "t/#", Q2);
    k.join(9, connect(V5, "publisher"));
    for (id, topic) in [(1, "t/secret"), (2, "t/open")] {
        k.bench.send(9, message(topic, Q2, id, "x"));
    }
    k.bench.handle(Input::Access(denying().into()));
    k.settle();
    k.bench.expect(9, pubrec(1));
    k.bench.expect(9, pubrec(2));
    k.bench.expect(1, message("t/open", Q2, 2, "x"));
    k.bench.nothing(1);
    assert_eq!(k.bench.broker.stats().dropped_revoked, 1);
    k.bench.send(1, pubrec(2));
    k.settle();
    k.bench.expect(1, pubrel(2));
    k.bench.send(1, pubcomp(2));
    k.settle();
    k.crash_into(persistent());
    assert!(k.join(1, resume(V5, "reader")));
    k.bench.nothing(1);
}

#[test]
fn the_bound_of_all_queues_counts_what_was_kept_and_what_it_drops_leaves_the_disk() {
    // Each message has 10 bytes.
    let mut k = Kept::with(Config { queues_bytes_max: 100, ..persistent() });
    k.sleeper(V5, Q1);
    k.join(9, connect(V5, "publisher"));
    (1..=8).for_each(|n| publish_kept(&mut k, "t/a", &format!("{n:07}")));
    k.crash();
    assert_eq!(k.bench.broker.queued_bytes(), 80);
    k.join(9, connect(V5, "publisher"));
    (9..=13).for_each(|n| publish_kept(&mut k, "t/a", &format!("{n:07}")));
    assert_eq!(k.bench.broker.stats().dropped_queue_full, 3);
    k.crash();
    assert_eq!(k.bench.broker.queued_bytes(), 100);
    assert!(k.join(1, resume(V5, "sleeper")));
    for n in 4..=13 {
        k.bench.expect(1, message("t/a", Q1, n, &format!("{n:07}")));
    }
    k.bench.nothing(1);
    assert_eq!(k.bench.broker.queued_bytes(), 0);
}
