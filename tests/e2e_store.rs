//! The store from outside: its bounds as LAN clients meet them, `fieldgate store` on a running and on a stopped gateway,
//! a disk that fills up under it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::process::Command;

use serde_json::Value as Json;
use support::{Gateway, Mosquitto, Process, Pty, fieldgate, free_port, json_device, upstream};

/// An upstream that isn't there, which gets everything.
fn away() -> String {
    upstream(free_port()) + "[[upstream.map]]\nfilter = \"#\"\n\n"
}

fn run(command: &mut Command) -> (i32, String) {
    let (status, text) = Process::run("fieldgate", command);
    (status.code().expect("an exit code"), text)
}

fn publish(gateway: &Gateway, version: &str, topic: &str, payload: &str) -> (i32, String) {
    let port = gateway.lan_port.to_string();
    run(fieldgate().args(["pub", "-p", &port, "-V", version, "-q", "1", "-t", topic, "-m", payload]))
}

fn store(gateway: &Gateway, args: &[&str]) -> (i32, String) {
    run(fieldgate().arg("store").args(args).arg("--config").arg(gateway.config()))
}

fn stat(gateway: &Gateway) -> Json {
    let (code, text) = store(gateway, &["stat", "--json"]);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The payloads of an export.
fn exported(gateway: &Gateway, args: &[&str]) -> Vec<String> {
    let (code, text) = store(gateway, &[&["export"], args].concat());
    assert_eq!(code, 0, "{text}");
    let line = |line: &str| -> String {
        let json: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        json["payload"].as_str().unwrap_or_default().to_owned()
    };
    text.lines().map(line).collect()
}

#[test]
fn the_store_is_shown_checked_exported_and_purged_whether_the_gateway_runs_or_not() {
    let sensor = Pty::open();
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &away()));
    sensor.line(r#"{"kg":2.5}"#);
    gateway.wait_readings("scale", 1);
    for (topic, payload) in [("a", "one"), ("b/c", "two"), ("d", "three")] {
        assert_eq!(publish(&gateway, "5", topic, payload).0, 0);
    }
    gateway.wait("four wait, all of them on disk", |status| {
        let backlog = &status["upstreams"][0]["backlog"];
        backlog["messages"] == 4 && backlog["in_memory_only"] == 0
    });
    for running in [true, false] {
        if !running {
            gateway.stop();
        }
        let stat = stat(&gateway);
        assert_eq!(stat["running"], running);
        let outbox = &stat["outboxes"][0];
        assert_eq!((&outbox["upstream"], &outbox["records"]), (&"up".into(), &4.into()), "{stat}");
        assert_eq!((&outbox["damaged_segments"], &outbox["quarantined"]), (&0.into(), &0.into()), "{stat}");
        assert!(outbox["oldest"].is_string() && outbox["disk_bytes"].as_u64() > Some(1000), "{stat}");
        let (code, text) = store(&gateway, &["verify"]);
        assert!(code == 0 && text.contains("4 records, whole") && text.ends_with("all is whole\n"), "{text}");
        let (code, text) = store(&gateway, &["export"]);
        assert_eq!(code, 0);
        let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!((&lines[0]["kind"], &lines[0]["device"]), (&"reading".into(), &"scale".into()), "{text}");
        assert_eq!(lines[0]["payload"]["values"]["kg"], 2.5, "{text}");
        assert_eq!((&lines[2]["topic"], &lines[2]["payload"]), (&"b/c".into(), &"two".into()), "{text}");
        assert_eq!(lines[3]["qos"], 1);
        let (code, text) = store(&gateway, &["purge", "--upstream", "up", "--all"]);
        assert!(code == 2 && text.contains("4 records") && text.contains("add --yes"), "{text}");
        let (code, text) = store(&gateway, &["purge", "--upstream", "down", "--all", "--yes"]);
        assert!(code == 1 && text.contains("upstream down"), "{text}");
        let (code, text) =
            store(&gateway, &["purge", "--upstream", "up", "--before", "2020-01-01T00:00:00Z", "--yes"]);
        assert!(code == 0 && text.starts_with("0 records"), "{text}");
    }
    let (code, text) = store(&gateway, &["purge", "--upstream", "up", "--all", "--yes"]);
    assert!(code == 0 && text.starts_with("4 records"), "{text}");
    assert_eq!(exported(&gateway, &[]), [""; 0]);

    // The running gateway counts what a person gave up, and goes on.
    gateway.start_again();
    assert_eq!(publish(&gateway, "3.1.1", "e", "four").0, 0);
    assert_eq!(publish(&gateway, "3.1.1", "e", "five").0, 0);
    let (code, text) = store(&gateway, &["purge", "--upstream", "up", "--all", "--yes"]);
    assert!(code == 0 && text.starts_with("2 records"), "{text}");
    let status = gateway.ask("status");
    assert_eq!(status["upstreams"][0]["drops"]["purged"], 2, "{status}");
    assert_eq!(status["upstreams"][0]["backlog"]["messages"], 0, "{status}");
    assert_eq!(publish(&gateway, "3.1.1", "e", "six").0, 0);
    assert_eq!(exported(&gateway, &["--upstream", "up"]), ["six"]);
    gateway.stop();
}

#[test]
fn a_full_outbox_refuses_publishers_where_that_is_its_rule_and_takes_them_again_when_drained() {
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    mosquitto.stop();
    let rest = "[buffer]\nfull = \"reject\"\nmax_records = 5\n\n".to_owned()
        + &upstream(mosquitto.port)
        + "[[upstream.map]]\nfilter = \"d/#\"\n\n";
    let mut gateway = Gateway::start(&rest);
    for number in 0..5 {
        assert_eq!(publish(&gateway, "5", "d/x", &number.to_string()).0, 0);
    }
    let (code, text) = publish(&gateway, "5", "d/x", "too much");
    assert!(code != 0 && text.to_lowercase().contains("quota"), "{code}: {text}");
    let status = gateway.wait("it is told", |status| status["upstreams"][0]["drops"]["disk_full"] == 1);
    let problems = status["problems"].to_string();
    assert!(problems.contains("the outbox of upstream up is 100 % full"), "{problems}");
    assert_eq!(status["upstreams"][0]["outbox"]["fill_percent"], 100);
    assert_eq!(exported(&gateway, &[]), ["0", "1", "2", "3", "4"], "nothing was dropped");
    assert_eq!(gateway.log().matches("the outbox is getting full").count(), 2, "at 80 % and at 95 %");
    mosquitto.start_again();
    gateway.wait_drained();
    gateway.wait("there is room again", |status| status["upstreams"][0]["outbox"]["fill_percent"] == 0);
    assert_eq!(publish(&gateway, "5", "d/x", "after").0, 0);
    gateway.stop();
}

#[test]
fn the_oldest_go_where_that_is_the_rule_and_health_says_so() {
    let mut gateway = Gateway::start(&("[buffer]\nmax_records = 3\n\n".to_owned() + &away()));
    for number in 0..8 {
        assert_eq!(publish(&gateway, "3.1.1", "d/x", &number.to_string()).0, 0);
    }
    let status = gateway.wait("they are counted", |status| status["upstreams"][0]["drops"]["disk_full"] == 5);
    assert_eq!(status["upstreams"][0]["backlog"]["messages"], 3, "{status}");
    assert!(status["problems"].to_string().contains("5 messages for upstream up were dropped"), "{status}");
    assert_eq!(exported(&gateway, &[]), ["5", "6", "7"]);
    gateway.stop();
}
