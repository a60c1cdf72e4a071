//! What a listener offers: the highest QoS, retained messages.

use super::*;

/// A broker whose first listener takes QoS up to 1, and nothing to retain; the second is as ever.
fn bounded() -> Bench {
    let mut config = config();
    config.listeners[0].qos_max = Q1;
    config.listeners[0].retain_available = false;
    config.listeners[1].allow_anonymous = true;
    Bench::with(config)
}

fn connack<'a>(bytes: &'a [u8]) -> ConnAck<'a> {
    match decode(frame(bytes, 1 << 20).unwrap().unwrap(), V5).unwrap() {
        Packet::ConnAck(connack) => connack,
        other => panic!("{other:?}"),
    }
}

#[test]
fn connack_tells_what_a_listener_doesnt_offer_and_nothing_where_it_offers_all() {
    for (listener, expected) in [(0, (Some(1), Some(0))), (1, (None, None))] {
        let mut t = bounded();
        t.open_at(1, listener);
        t.send(1, Packet::Connect(connect(V5, "a")));
        let bytes = t.next(1).unwrap();
        let told = connack(&bytes).properties;
        let found = (told.number(PropertyId::MaximumQoS), told.number(PropertyId::RetainAvailable));
        assert_eq!(found, expected);
    }
}

#[test]
fn what_isnt_offered_ends_the_connection_and_reaches_nobody() {
    for (version, qos, retain, reason) in [
        (V5, Q2, false, ReasonCode::QoSNotSupported),
        (V5, Q0, true, ReasonCode::RetainNotSupported),
        (V311, Q2, false, ReasonCode::QoSNotSupported),
        (V31, Q1, true, ReasonCode::RetainNotSupported),
    ] {
        let mut t = bounded();
        t.open_at(9, 1);
        t.send(9, Packet::Connect(connect(V5, "other")));
        t.welcomed(9);
        t.subscribe(9, "#", Q2);
        t.join(1, connect(version, "a"));
        t.send(1, message("t", Q1, 1, "fine"));
        t.expect(1, puback(1));
        t.expect(9, message("t", Q1, 1, "fine"));
        let Packet::Publish(plain) = message("t", qos, if qos == Q0 { 0 } else { 2 }, "x") else { panic!() };
        t.send(1, Packet::Publish(Publish { retain, ..plain }));
        if version == V5 {
            let bytes = t.next(1).expect("a DISCONNECT");
            assert_eq!((bytes[0], bytes[2]), (0xE0, reason.as_u8()));
        }
        t.expect_closed(1);
        t.nothing(9);
        assert_eq!(t.broker.stats().retained, 0);
        // Elsewhere it is offered.
        t.send(9, Packet::Publish(Publish { retain: true, ..plain_of(Q2) }));
        assert_eq!(t.broker.stats().retained, 1);
    }
}

fn plain_of(qos: QoS) -> Publish<'static> {
    let Packet::Publish(plain) = message("u", qos, 3, "x") else { panic!() };
    plain
}

#[test]
fn a_will_beyond_what_is_offered_keeps_its_client_out_and_a_subscription_is_granted_less() {
    for (qos, retain, expected) in
        [(Q2, false, Some(0x9B)), (Q1, true, Some(0x9A)), (Q1, false, None), (Q0, false, None)]
    {
        let mut t = bounded();
        t.open(1);
        let will = Will { topic: "w", payload: b"x", qos, retain, properties: Properties::EMPTY };
        t.send(1, Packet::Connect(Connect { will: Some(will), ..connect(V5, "a") }));
        let bytes = t.next(1).unwrap();
        assert_eq!(bytes[3], expected.unwrap_or(0), "{qos:?} {retain}");
    }
    let mut t = bounded();
    t.join(1, connect(V311, "a"));
    t.send(1, subscribe(7, &[("a", Q2), ("b", Q1), ("c", Q0)]));
    t.expect(1, suback(7, &[1, 1, 0]));
}
