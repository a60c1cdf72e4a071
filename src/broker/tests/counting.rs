//! Counters that `$SYS` tells.

use super::*;

#[test]
fn packets_and_bytes_are_counted_as_they_stand_on_the_wire() {
    let mut t = Bench::new();
    t.join(1, connect(V311, "p"));
    t.join(2, connect(V5, "s"));
    t.subscribe(2, "t", Q1);
    let before = t.broker.stats();
    assert_eq!((before.sockets_opened, before.connects_received, before.clients_maximum), (2, 2, 2));
    // CONNECT twice and SUBSCRIBE, and their answers.
    assert_eq!((before.packets_received, before.packets_sent), (3, 3));
    t.send(1, message("t", Q1, 9, "0123456789"));
    t.send(1, message("t", Q0, 0, "01234"));
    let after = t.broker.stats();
    assert_eq!((after.publish_received, after.publish_bytes_received), (2, 15));
    assert_eq!((after.publish_sent, after.publish_bytes_sent), (2, 15));
    // Two PUBLISH and a PUBACK.
    assert_eq!(
        (after.packets_received - before.packets_received, after.packets_sent - before.packets_sent),
        (2, 3)
    );
    // 3.3: header 2, topic 3, identifier 2, payload 10; then without identifier.
    assert_eq!(after.bytes_received - before.bytes_received, 17 + 10);
    // PUBACK 4; the PUBLISHes as they came, but with the length of their properties, 1.
    assert_eq!(after.bytes_sent - before.bytes_sent, 4 + 18 + 11);
}

#[test]
fn what_is_kept_is_counted_while_it_is_kept() {
    let mut t = Bench::new();
    t.join(1, connect(V311, "p"));
    t.join(2, connect(V5, "s"));
    t.subscribe(2, "$share/g/t", Q1);
    t.subscribe(2, "u", Q1);
    t.send(1, retained("r", Q0, 0, "xyz"));
    let stats = t.broker.stats();
    assert_eq!((stats.subscriptions, stats.shared_subscriptions), (2, 1));
    assert_eq!((stats.stored_messages, stats.retained), (1, 1));
    assert!(stats.stored_bytes >= 4, "topic and payload: {}", stats.stored_bytes);
    t.send(1, message("u", Q1, 1, "under way"));
    assert_eq!(t.broker.stats().stored_messages, 2);
    t.send(2, puback(1));
    assert_eq!(t.broker.stats().stored_messages, 1);
    t.cut(2);
    let stats = t.broker.stats();
    assert_eq!((stats.subscriptions, stats.shared_subscriptions), (0, 0), "the session was a clean one");
    assert_eq!(stats.clients_maximum, 2);
}
