//! Faults that brokers had in the field, numbered, each as the test that would have caught it: against the built
//! gateway, over raw sockets. What the faults were stands in each test's name.
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

mod exhaustion;
mod malformed;
mod queues;
mod rights;
mod takeover;

/// The items that have no test here, each with the reason.
const NOT_HERE: &[(u32, &str)] = &[
    (11, "TLS and WebSocket listeners have tests of their own"),
    (12, "there is no HTTP server yet"),
    (13, "there is no HTTP server yet"),
    (14, "TLS listeners have tests of their own"),
    (15, "TLS listeners have tests of their own"),
    (
        26,
        "a panic can't be injected into the built program; nothing in the broker's code can panic by its lints",
    ),
    (27, "access rules have tests of their own"),
    (29, "WebSocket has tests of its own"),
    (31, "damage to the store has tests of its own"),
    (32, "a panic can't be injected into the built program"),
    (33, "concerns the bridge"),
    (34, "concerns the bridge"),
    (35, "access rules have tests of their own"),
    (36, "access rules have tests of their own"),
    (37, "access rules have tests of their own"),
    (38, "access rules have tests of their own"),
    (39, "access rules have tests of their own; for the gateway's own topics see 42"),
    (43, "reloading has tests of its own"),
    (44, "the tests of the config hold it: a listener that faces the network needs users or says so"),
    (56, "concerns the bridge"),
    (57, "concerns the bridge"),
    (58, "concerns the bridge"),
    (59, "concerns the bridge"),
    (60, "TLS listeners have tests of their own"),
    (61, "password files have tests of their own"),
    (62, "there is no HTTP server yet"),
];

#[test]
fn every_fault_has_its_test_or_its_reason() {
    for (number, reason) in NOT_HERE {
        println!("fault {number}: {reason}");
    }
    let sources = [
        include_str!("exhaustion.rs"),
        include_str!("malformed.rs"),
        include_str!("queues.rs"),
        include_str!("rights.rs"),
        include_str!("takeover.rs"),
    ]
    .concat();
    for number in 1..=62 {
        let tested = sources.contains(&format!("fn fault_{number:02}_"));
        let excused = NOT_HERE.iter().any(|(other, _)| *other == number);
        assert!(tested != excused, "fault {number} needs a test or a reason, and not both");
    }
}
