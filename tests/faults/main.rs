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
mod tls;

/// The items whose test stands elsewhere: the file, and the test's name.
const ELSEWHERE: &[(u32, &str, &str)] = &[
    (11, "tests/lan_listeners.rs", "slow_handshakes_keep_nobody_out"),
    (
        26,
        "src/io/shard/tests.rs",
        "fault_26_a_panic_in_a_connections_work_ends_that_connection_alone_as_if_it_were_cut",
    ),
    (27, "src/broker/tests/access.rs", "a_client_without_a_name_matches_no_pattern_with_a_name_in_it"),
    (29, "src/io/websocket_tests.rs", "what_breaks_the_protocol_closes_with_its_code"),
    (
        31,
        "tests/store_damage.rs",
        "whichever_byte_of_whichever_file_is_changed_the_rest_is_read_and_the_loss_is_counted",
    ),
    (32, "src/io/shard/tests.rs", "fault_32_a_panic_between_the_socket_and_mqtt_ends_that_connection_alone"),
    (
        33,
        "src/bridge/tests/inward.rs",
        "each_byte_that_a_hostile_upstream_changes_leaves_a_link_that_comes_back",
    ),
    (34, "tests/bridge_hostile.rs", "topics_that_nobody_asked_for_are_dropped_counted_and_acknowledged"),
    (36, "tests/lan_access.rs", "an_acl_file_that_is_empty_missing_or_broken_denies_everything"),
    (37, "tests/lan_access.rs", "the_rules_hold_at_every_listener_and_for_those_without_a_name_too"),
    (38, "src/broker/tests/access.rs", "rules_that_change_hold_for_every_way_to_a_client"),
    (39, "src/broker/tests/access.rs", "a_will_is_judged_at_connect_and_when_it_fires"),
    (43, "tests/lan_reload.rs", "fault_43_without_file_descriptors_the_old_security_settings_stay"),
    (44, "tests/config_mistakes.rs", "each_bad_config_gets_all_its_mistakes_and_no_other"),
    (
        56,
        "tests/bridge_hostile.rs",
        "an_upstream_that_answers_with_the_wrong_acknowledgement_gets_a_new_session",
    ),
    (
        57,
        "tests/e2e_flapping.rs",
        "a_link_that_comes_and_goes_loses_nothing_and_repeats_at_most_its_window_per_cut",
    ),
    (
        59,
        "tests/e2e_upstream.rs",
        "an_upstream_whose_certificate_is_wrong_is_told_in_words_and_hears_nothing",
    ),
    (
        60,
        "tests/lan_certificates.rs",
        "fault_60_certificates_are_asked_for_over_tcp_and_over_websocket_alike",
    ),
    (61, "src/auth/tests.rs", "a_malformed_line_is_told_with_its_number"),
];

/// The items that have no test, each with the reason.
const NOWHERE: &[(u32, &str)] = &[
    (12, "there is no HTTP server yet"),
    (13, "there is no HTTP server yet"),
    (62, "there is no HTTP server yet"),
];

#[test]
fn every_fault_has_its_test_or_its_reason() {
    for (number, reason) in NOWHERE {
        println!("fault {number}: {reason}");
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (number, file, name) in ELSEWHERE {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(&format!("#[test]\nfn {name}()")), "fault {number}: {file} has no test {name}");
    }
    let sources = [
        include_str!("exhaustion.rs"),
        include_str!("malformed.rs"),
        include_str!("queues.rs"),
        include_str!("rights.rs"),
        include_str!("takeover.rs"),
        include_str!("tls.rs"),
    ]
    .concat();
    let excused: Vec<u32> = ELSEWHERE
        .iter()
        .map(|(number, ..)| *number)
        .chain(NOWHERE.iter().map(|(number, _)| *number))
        .collect();
    for number in 1..=62 {
        let times = usize::from(sources.contains(&format!("fn fault_{number:02}_")))
            + excused.iter().filter(|other| **other == number).count();
        assert_eq!(times, 1, "fault {number} needs a test or a reason, and one place");
    }
}
