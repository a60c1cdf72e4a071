//! A message that several sessions wait with lies on the disk once.

use super::persistence::Kept;
use super::*;

const BODY: u8 = 6;

fn bodies(k: &Kept) -> usize {
    k.disk.keys().filter(|key| key[0] == BODY).count()
}

fn bytes(k: &Kept) -> usize {
    k.disk.values().map(|value| value.len()).sum()
}

/// So many absent sessions with QoS 1 and 2 in turn.
fn sleepers(k: &mut Kept, count: u32) {
    for c in 1..=count {
        let name: &'static str = Box::leak(format!("sleeper-{c}").into_boxed_str());
        k.join(c, resume(V5, name));
        k.subscribe(c, "t/#", if c.is_multiple_of(2) { Q2 } else { Q1 });
        k.bench.cut(c);
        k.settle();
    }
    k.join(90, connect(V5, "publisher"));
}

/// A sleeper comes back and takes its one message, to the end.
fn wake(k: &mut Kept, c: u32, payload: &str) {
    let name: &'static str = Box::leak(format!("sleeper-{c}").into_boxed_str());
    assert!(k.join(c, resume(V5, name)));
    if c.is_multiple_of(2) {
        k.bench.expect(c, message("t/a", Q2, 1, payload));
        k.bench.send(c, pubrec(1));
        k.settle();
        k.bench.expect(c, pubrel(1));
        k.bench.send(c, pubcomp(1));
    } else {
        k.bench.expect(c, message("t/a", Q1, 1, payload));
        k.bench.send(c, puback(1));
    }
    k.settle();
    k.bench.nothing(c);
}

#[test]
fn a_message_for_many_absent_sessions_lies_on_the_disk_once_and_goes_with_the_last() {
    let payload = "x".repeat(5_000);
    for crash in [false, true] {
        let mut k = Kept::new();
        sleepers(&mut k, 8);
        let before = bytes(&k);
        k.bench.send(90, message("t/a", Q2, 7, &payload));
        k.settle();
        k.bench.expect(90, pubrec(7));
        assert_eq!(bodies(&k), 1);
        assert!(bytes(&k) - before < 5_300, "{}", bytes(&k) - before);
        for c in 1..=8 {
            if crash {
                k.crash();
            }
            assert_eq!(bodies(&k), 1, "{c}");
            wake(&mut k, c, &payload);
        }
        assert_eq!(bodies(&k), 0);
        assert!(k.bench.broker.is_saved());
        // Numbers of bodies are not used twice.
        k.crash();
        assert_eq!(k.bench.broker.all_keys().len(), k.disk.len());
    }
}

#[test]
fn a_small_message_and_one_for_a_single_session_lie_with_their_sessions() {
    let mut k = Kept::new();
    sleepers(&mut k, 3);
    k.bench.send(90, message("t/a", Q1, 1, "small"));
    k.settle();
    assert_eq!(bodies(&k), 0);
    let mut k = Kept::new();
    sleepers(&mut k, 1);
    k.bench.send(90, message("t/a", Q1, 1, &"x".repeat(5_000)));
    k.settle();
    assert_eq!(bodies(&k), 0);
}

#[test]
fn what_a_crash_leaves_without_a_session_goes_from_the_disk_and_a_session_without_its_body_loses_that_alone()
{
    let payload = "x".repeat(5_000);
    let mut k = Kept::new();
    sleepers(&mut k, 2);
    k.bench.send(90, message("t/a", Q1, 1, &payload));
    k.settle();
    k.bench.expect(90, puback(1));
    // As damage would leave it: the body without its sessions' messages, or these without their body.
    let whole = k.disk.clone();
    k.disk.retain(|key, _| key[0] != 4);
    k.crash();
    k.settle();
    k.settle();
    assert_eq!(bodies(&k), 0);

    k.disk = whole;
    k.disk.retain(|key, _| key[0] != BODY);
    k.crash();
    assert!(k.join(1, resume(V5, "sleeper-1")));
    k.bench.nothing(1);
    k.settle();
    k.settle();
    assert!(k.disk.keys().all(|key| key[0] != 4), "{:?}", k.disk);
}

#[test]
fn a_session_that_takes_its_copy_at_once_leaves_the_others_theirs() {
    let payload = "x".repeat(5_000);
    let mut k = Kept::new();
    k.join(50, resume(V5, "awake"));
    k.subscribe(50, "t/#", Q1);
    sleepers(&mut k, 1);
    k.bench.send(90, message("t/a", Q1, 1, &payload));
    k.bench.expect(50, message("t/a", Q1, 1, &payload));
    k.bench.send(50, puback(1));
    k.settle();
    k.bench.expect(90, puback(1));
    k.crash();
    wake(&mut k, 1, &payload);
    assert_eq!(bodies(&k), 0);
}
