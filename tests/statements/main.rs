//! The statements of the MQTT standards that brokers get wrong, numbered, each against the built gateway over a raw
//! socket: what goes out and what must come back are bytes, written by hand. "v5 x.y.z-n" is the number of a
//! conformance statement of MQTT 5, "v3" of MQTT 3.1.1.
#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../raw/mod.rs"]
mod raw;
#[path = "../support/mod.rs"]
mod support;

mod alias;
mod expiry;
mod flow;
mod keep_alive;
mod properties_errors;
mod qos2;
mod retain;
mod sessions;
mod shared;
mod size;
mod subscriptions;
mod topics;
mod utf8;
mod will;

/// The statements that have no test here, or a part of which has none, each with the reason.
const NOT_HERE: &[(u32, &str)] = &[
    (47, "user properties: the broker never sets any of its own, so there are none to leave out"),
    (52, "restart of the broker: sessions on disk have tests of their own"),
    (64, "may be refused with 0x99: it is not, the payload is nobody's business but the receiver's"),
    (76, "restart of the broker: sessions on disk have tests of their own"),
    (79, "WebSocket has tests of its own"),
];

#[test]
fn every_statement_has_its_test_or_its_reason() {
    for (number, reason) in NOT_HERE {
        println!("statement {number}: {reason}");
    }
    let sources = [
        include_str!("alias.rs"),
        include_str!("expiry.rs"),
        include_str!("flow.rs"),
        include_str!("keep_alive.rs"),
        include_str!("properties_errors.rs"),
        include_str!("qos2.rs"),
        include_str!("retain.rs"),
        include_str!("sessions.rs"),
        include_str!("shared.rs"),
        include_str!("size.rs"),
        include_str!("subscriptions.rs"),
        include_str!("topics.rs"),
        include_str!("utf8.rs"),
        include_str!("will.rs"),
    ]
    .concat();
    for number in 1..=80 {
        let tested = sources.contains(&format!("fn statement_{number:02}_"));
        let excused = NOT_HERE.iter().any(|(other, _)| *other == number);
        assert!(tested || excused, "statement {number}");
    }
}
