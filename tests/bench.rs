//! `fieldgate bench` against a real Mosquitto and against the gateway, a moment for each scenario: what is counted must be
//! right. How fast it is says nothing here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::collections::BTreeMap;

use serde_json::Value as Json;
use support::{Certificates, Gateway, Mosquitto, fieldgate};

/// Room for the clients and messages of all scenarios that run here.
const ROOM: &str = "[broker]\nsubscriptions_max = 2000\nqueue_messages_max = 10000\n";

/// Runs it to its end and gives what it has printed.
fn bench(arguments: &[&str]) -> String {
    let mut command = fieldgate();
    // A busy machine takes its time.
    command.args(["bench", "--seconds", "0.2", "--warmup", "0.05", "--patience", "60"]).args(arguments);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// All that was measured, by scenario and target.
fn measured(json: &str) -> BTreeMap<(String, String), Json> {
    let json: Json = serde_json::from_str(json).unwrap();
    let key = |one: &Json| {
        (one["scenario"].as_str().unwrap().to_owned(), one["target"].as_str().unwrap().to_owned())
    };
    json["measured"].as_array().unwrap().iter().map(|one| (key(one), one.clone())).collect()
}

/// The scenarios, but for those with thousands of clients or subscriptions.
fn scenarios() -> Vec<String> {
    let list = fieldgate().args(["bench", "--list"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let names = list.lines().map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| !["clients-1000", "clients-5000", "filters-100000"].contains(&&**name)).collect()
}

#[test]
fn every_scenario_counts_right_against_both_brokers() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let gateway = Gateway::start(ROOM);
    let names = scenarios();
    assert!(names.len() > 25, "{names:?}");
    let (ours, other) =
        (format!("ours=127.0.0.1:{}", gateway.lan_port), format!("other=127.0.0.1:{}", mosquitto.port));
    let (our_pid, other_pid) = (gateway.pid().to_string(), mosquitto.pid().to_string());
    let mut arguments = vec!["--json", "--connections", "40", "--messages", "1000", "--retained", "100"];
    arguments.extend([&*ours, "--against", &*other, "--pid", &*our_pid, "--pid", &*other_pid]);
    arguments.extend(names.iter().map(String::as_str));
    let measured = measured(&bench(&arguments));
    assert_eq!(measured.len(), 2 * names.len());
    let mut lost = 0.0;
    for ((name, target), one) in measured {
        let all = &one["all"];
        assert!(one["error"].is_null(), "{name}, {target}: {one}");
        assert!(all["messages"].as_f64().unwrap() > 0.0, "{name}, {target}: {one}");
        assert!(all["resident_bytes"].as_f64().unwrap() > 1e6, "{name}, {target}: {one}");
        if name == "connects" {
            continue;
        }
        if name == "idle" {
            assert_eq!(all["messages"], 40.0);
            continue;
        }
        let mut wrong = vec!["duplicates", "out_of_order", "refused"];
        if target == "ours" && ["qos0", "clients", "filters"].iter().any(|qos_0| name.starts_with(qos_0)) {
            // On a busy machine a reader may be away for too long to be waited for.
            lost += all["lost"].as_f64().unwrap();
        } else {
            wrong.push("lost");
        }
        for wrong in wrong {
            assert_eq!(all[wrong], 0.0, "{name}, {target}: {one}");
        }
        if name == "offline" {
            assert_eq!(all["messages"], 1_000.0, "{target}: {one}");
        } else {
            assert!(all["latency_p99_us"].as_f64().unwrap() > 0.0, "{name}, {target}: {one}");
        }
    }
    let dropped = gateway.ask("status")["broker"]["drops"]["queue_full"].as_f64().unwrap();
    assert!(lost <= dropped, "{lost} messages are lost, the gateway has dropped {dropped}");
}

#[test]
fn rounds_alternate_and_make_one_table_with_ratios() {
    let gateway = Gateway::start(ROOM);
    let place = format!("127.0.0.1:{}", gateway.lan_port);
    let twice = format!("again={place}");
    let text =
        bench(&["--v5", "--rounds", "2", "--markdown", &place, "--against", &twice, "qos1-1", "qos2-10"]);
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 2 + 4, "{text}");
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(cells(rows[2])[1..3], ["QoS 1, 1 pair, window 20".to_owned(), place.clone()]);
    assert_eq!(cells(rows[2])[4], "", "the first target is what others are compared with");
    let (first, second) = (cells(rows[4]), cells(rows[5]));
    assert_eq!(second[2], "again");
    let number = |cell: &str| cell.replace(',', "").parse::<f64>().unwrap();
    let ratio = number(&first[3]) / number(&second[3]);
    assert!((ratio / number(&second[4]) - 1.0).abs() < 0.1, "{text}");
}

#[test]
fn loads_go_through_tls_with_a_login_too_and_growth_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(dir.path(), "ca");
    let issued = certificates.issue("server", "DNS:localhost");
    let mut gateway = Gateway::new("");
    gateway.configure(&format!(
        "tls = {{ cert = \"{}\", key = \"{}\" }}\n[[broker.user]]\nname = \"load\"\npassword = {{ env = \"LOAD\" }}\n",
        issued.certificate.display(),
        issued.key.display()
    ));
    gateway.set_env("LOAD", "secret");
    gateway.start_again();
    let password = dir.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let (place, plot) = (format!("tls=localhost:{}", gateway.lan_port), dir.path().join("growth.svg"));
    let text = bench(&[
        "--json",
        "--cafile",
        certificates.authority().to_str().unwrap(),
        "-u",
        "load",
        "--pw-from",
        &format!("file:{}", password.display()),
        "--plot",
        plot.to_str().unwrap(),
        &place,
        "clients-1",
        "clients-10",
        "qos1-10",
        "connects",
    ]);
    for ((name, _), one) in measured(&text) {
        assert!(one["all"]["messages"].as_f64().unwrap() > 0.0, "{name}: {one}");
        assert!(name == "connects" || one["all"]["lost"] == 0.0, "{name}: {one}");
    }
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert_eq!(svg.matches("<circle").count(), 2, "two points, in the panel of throughput alone: {svg}");
    assert!(svg.contains(">tls</text>"), "{svg}");
}

#[test]
fn what_is_wrong_is_said() {
    let check = |arguments: &[&str], code: i32, part: &str| {
        let output = fieldgate().arg("bench").args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
    };
    check(&["127.0.0.1:1", "qos3"], 2, "no scenario \"qos3\"");
    check(&["127.0.0.1"], 2, "HOST:PORT");
    check(&["127.0.0.1:1", "--pid", "1", "--pid", "2"], 2, "for 1 brokers");
    let port = support::free_port();
    check(&[&format!("127.0.0.1:{port}"), "qos1-1"], 1, "refused");
}
