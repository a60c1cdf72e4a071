//! When a will goes out, and when not.

use super::*;

/// How the connection of the client with the will ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Cut,
    Normal,
    WithWill,
    TakeoverClean,
    TakeoverResume,
}

#[test]
fn the_will_goes_out_when_the_table_says() {
    use End::{Cut, Normal, TakeoverClean, TakeoverResume, WithWill};
    // End, will delay, session expiry, seconds until the will (None: never).
    for (end, delay, expiry, expected) in [
        (Cut, 0, 0, Some(0)),
        (Cut, 0, 60, Some(0)),
        (Cut, 3, 60, Some(3)),
        (Cut, 60, 0, Some(0)),
        (Cut, 60, 2, Some(2)),
        (Cut, 5, u32::MAX, Some(5)),
        (Normal, 0, 0, None),
        (Normal, 3, 60, None),
        (WithWill, 0, 60, Some(0)),
        (WithWill, 3, 60, Some(3)),
        (WithWill, 3, 0, Some(0)),
        (TakeoverClean, 0, 60, Some(0)),
        (TakeoverClean, 9, 60, Some(0)),
        (TakeoverClean, 9, 0, Some(0)),
        (TakeoverResume, 0, 60, Some(0)),
        (TakeoverResume, 9, 60, None),
        (TakeoverResume, 9, 0, Some(0)),
    ] {
        let mut t = Bench::new();
        t.join(9, connect(V311, "watcher"));
        t.subscribe(9, "w", Q0);
        let delayed = properties(&[Property::U32(PropertyId::WillDelayInterval, delay)]);
        let will = will("w", "gone").map(|will| Will { properties: delayed, ..will });
        t.join(1, Connect { will, ..resume_for(V5, "a", expiry) });
        match end {
            Cut => t.cut(1),
            Normal => t.disconnect(1),
            WithWill => {
                let reason = ReasonCode::DisconnectWithWillMessage;
                t.send(1, Packet::Disconnect(Disconnect { reason, properties: Properties::EMPTY }));
                t.expect_closed(1);
                t.cut(1);
            }
            TakeoverClean => {
                assert!(!t.join(2, Connect { clean_start: true, ..resume_for(V5, "a", expiry) }))
            }
            TakeoverResume => assert_eq!(t.join(2, resume_for(V5, "a", expiry)), expiry > 0),
        }
        let case = format!("{end:?}, delay {delay}, expiry {expiry}");
        match expected {
            None => {}
            Some(0) => assert!(t.next(9).is_some(), "{case}"),
            Some(seconds) => {
                t.wait(secs(seconds) - millis(1));
                assert!(t.next(9).is_none(), "{case}: too early");
                t.wait(millis(1));
                assert!(t.next(9).is_some(), "{case}: too late");
            }
        }
        t.wait(secs(1_000));
        assert!(t.next(9).is_none(), "{case}: once is enough");
    }
}

#[test]
fn a_client_that_is_back_before_the_delay_has_no_will() {
    let mut t = Bench::new();
    t.join(9, connect(V311, "watcher"));
    t.subscribe(9, "w", Q0);
    let delayed = properties(&[Property::U32(PropertyId::WillDelayInterval, 5)]);
    let will = will("w", "gone").map(|will| Will { properties: delayed, ..will });
    t.join(1, Connect { will, ..resume(V5, "a") });
    t.cut(1);
    t.wait(millis(4_999));
    assert!(t.join(1, resume(V5, "a")));
    t.wait(secs(100));
    t.cut(1);
    t.wait(secs(100));
    t.nothing(9);
}

#[test]
fn an_older_clients_will_goes_out_unless_it_says_goodbye() {
    for version in [V31, V311] {
        for clean in [true, false] {
            let mut t = Bench::new();
            t.join(9, connect(V311, "watcher"));
            t.subscribe(9, "w", Q0);
            let hello = Connect { will: will("w", "gone"), clean_start: clean, ..connect(version, "a") };
            t.join(1, hello.clone());
            t.disconnect(1);
            t.nothing(9);
            t.join(1, hello.clone());
            t.cut(1);
            t.expect(9, message("w", Q0, 0, "gone"));
            // A protocol error is no goodbye either.
            t.join(1, hello.clone());
            t.bytes(1, &[0xD0, 0]);
            t.expect_closed(1);
            t.expect(9, message("w", Q0, 0, "gone"));
            t.cut(1);
            t.nothing(9);
        }
    }
}

#[test]
fn a_will_is_routed_like_a_message() {
    let mut t = Bench::with(forwarding(&[("w", 0)]));
    t.join(9, connect(V5, "watcher"));
    t.subscribe(9, "w", Q2);
    let list = [
        Property::U32(PropertyId::WillDelayInterval, 1),
        Property::Str(PropertyId::ContentType, "text/plain"),
        Property::User("k", "v"),
    ];
    let with_will =
        Will { qos: Q1, retain: true, properties: properties(&list), ..will("w", "gone").unwrap() };
    t.join(1, Connect { will: Some(with_will), ..resume(V5, "a") });
    t.cut(1);
    t.wait(secs(1));
    let travelling = properties(&list[1..]);
    t.expect(9, Packet::Publish(Publish { properties: travelling, ..publish("w", Q1, 1, "gone") }));
    let (outbox, forwarded, token) = t.forwards.pop_front().unwrap();
    assert_eq!((outbox, forwarded.retain, forwarded.qos, token), (OutboxId(0), true, Q1, None));
    t.join(2, connect(V5, "late"));
    t.subscribe(2, "w", Q0);
    t.expect(
        2,
        Packet::Publish(Publish { properties: travelling, retain: true, ..publish("w", Q0, 0, "gone") }),
    );
    // An empty retained will clears.
    let empty = Will { retain: true, ..will("w", "").unwrap() };
    t.join(1, Connect { will: Some(empty), ..connect(V5, "a") });
    t.cut(1);
    assert_eq!(t.broker.stats().retained, 0);
}
