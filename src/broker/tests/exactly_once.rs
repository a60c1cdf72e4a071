//! QoS 2 over a crash: identifiers towards clients and from them, and what an outbox had not got or had refused.

use super::persistence::Kept;
use super::*;

#[test]
fn qos_2_to_a_client_goes_on_where_it_was_under_the_same_identifier() {
    let mut k = Kept::new();
    k.join(1, resume(V311, "a"));
    k.subscribe(1, "t", Q2);
    k.join(2, connect(V311, "publisher"));
    k.bench.send(2, message("t", Q1, 1, "first"));
    k.bench.expect(1, message("t", Q1, 1, "first"));
    k.bench.send(1, puback(1));
    k.bench.send(2, message("t", Q2, 2, "second"));
    k.bench.nothing(1);
    k.settle();
    k.bench.expect(1, message("t", Q2, 2, "second"));
    k.crash();
    assert!(k.join(1, resume(V311, "a")));
    k.bench.expect(1, dup("t", Q2, 2, "second"));
    k.bench.send(1, pubrec(2));
    k.bench.nothing(1);
    k.settle();
    k.bench.expect(1, pubrel(2));
    k.crash();
    k.join(1, resume(V311, "a"));
    k.bench.expect(1, pubrel(2));
    k.bench.send(1, pubcomp(2));
    k.wait(secs(1));
    k.settle();
    k.crash();
    k.join(1, resume(V311, "a"));
    k.bench.nothing(1);
}

#[test]
fn an_identifier_of_a_client_stays_open_over_a_crash_until_its_pubcomp() {
    let mut k = Kept::new();
    k.sleeper(V311, Q2);
    k.join(2, resume(V311, "publisher"));
    k.bench.send(2, message("t/a", Q2, 7, "once"));
    k.settle();
    k.bench.expect(2, pubrec(7));
    k.crash();
    assert!(k.join(2, resume(V311, "publisher")));
    k.bench.send(2, dup("t/a", Q2, 7, "once"));
    k.settle();
    k.bench.expect(2, pubrec(7));
    k.bench.send(2, pubrel(7));
    k.bench.nothing(2);
    k.settle();
    k.bench.expect(2, pubcomp(7));
    k.crash();
    k.join(2, resume(V311, "publisher"));
    k.bench.send(2, message("t/a", Q2, 7, "another"));
    k.settle();
    k.bench.expect(2, pubrec(7));
    k.join(1, resume(V311, "sleeper"));
    k.settle();
    k.bench.expect(1, message("t/a", Q2, 1, "once"));
    k.bench.expect(1, message("t/a", Q2, 2, "another"));
    k.bench.nothing(1);
}

/// The identifier was on disk when the process ended; whether the message was in the outbox, only the outbox knows.
#[test]
fn what_a_client_sends_again_after_a_crash_goes_to_the_outbox_again_and_to_nobody_else() {
    let mut k = Kept::with(Config { persistence: true, ..forwarding(&[("t/#", 0)]) });
    k.sleeper(V311, Q2);
    k.join(2, resume(V311, "publisher"));
    k.bench.send(2, message("t/a", Q2, 7, "once"));
    assert_eq!(k.bench.forwards.len(), 1);
    k.settle();
    k.bench.nothing(2);
    k.crash();
    assert!(k.join(2, resume(V311, "publisher")));
    // A client that forgets DUP says with the identifier alone that it is the same.
    for again in [message("t/a", Q2, 7, "once"), dup("t/a", Q2, 7, "once")] {
        k.bench.send(2, again);
        k.settle();
        k.bench.nothing(2);
        assert_eq!(k.bench.forwards.len(), 1, "forwarded again, and only once");
    }
    k.bench.answer(true);
    k.bench.expect(2, pubrec(7));
    k.join(1, resume(V311, "sleeper"));
    k.bench.expect(1, message("t/a", Q2, 1, "once"));
    k.bench.nothing(1);
}

/// Its identifier may still be on disk when the client, told so, uses it for another message.
#[test]
fn what_an_outbox_refuses_is_taken_up_where_it_is_sent_again_and_its_identifier_is_free_for_another() {
    for crashes in [false, true] {
        let mut k = Kept::with(Config { persistence: true, ..forwarding(&[("t/#", 0)]) });
        k.sleeper(V311, Q2);
        k.join(2, resume(V5, "publisher"));
        k.bench.send(2, message("t/a", Q2, 7, "refused"));
        k.settle();
        k.bench.answer(false);
        k.bench.expect(2, Packet::PubRec(ack(7, ReasonCode::QuotaExceeded)));
        k.bench.cut(2);
        if crashes {
            k.crash();
        }
        k.join(2, resume(V5, "publisher"));
        k.bench.send(2, dup("t/a", Q2, 7, "refused"));
        k.settle();
        k.bench.answer(false);
        k.bench.expect(2, Packet::PubRec(ack(7, ReasonCode::QuotaExceeded)));
        if crashes {
            k.crash();
            k.join(2, resume(V5, "publisher"));
        }
        k.bench.send(2, message("t/a", Q2, 7, "another"));
        k.bench.answer(true);
        k.settle();
        k.bench.expect(2, pubrec(7));
        k.join(1, resume(V311, "sleeper"));
        k.bench.expect(1, message("t/a", Q2, 1, "refused"));
        k.bench.expect(1, message("t/a", Q2, 2, "another"));
        k.bench.nothing(1);
    }
}
