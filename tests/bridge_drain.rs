//! How a backlog drains, and the account of it: live messages in between, receipts, the ledger, what upstream refused, the
//! bytes of a day. With real sockets and a real Mosquitto upstream.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests and their helpers"
)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use support::{
    Gateway, Mosquitto, Process, Pty, Relay, Tap, eventually, fieldgate, json_device, publish, publish_with,
    upstream,
};

/// What `fieldgate ledger verify` says about a capture: its exit code and its JSON.
fn ledger(dir: &Path, capture: &str, arguments: &[&str]) -> (i32, Json) {
    let file = dir.join("capture");
    std::fs::write(&file, capture).unwrap();
    let mut command = fieldgate();
    command.args(["ledger", "verify", "--json"]).arg(&file).args(arguments);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code().unwrap(), json)
}

fn capture(tap: &Tap) -> String {
    tap.messages().iter().map(|message| format!("{} {}\n", message.topic, message.payload)).collect()
}

#[test]
fn an_outage_with_a_crash_in_it_leaves_one_receipt_that_agrees_with_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("#"));
    let sensor = Pty::open();
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream(relay.port)));
    gateway.wait_online();
    let mut number = 0;
    let mut read = |count: usize| {
        for _ in 0..count {
            number += 1;
            sensor.line(&format!(r#"{{"n":{number}}}"#));
        }
    };
    read(10);
    tap.wait("the tenth reading", |message| {
        message.topic.ends_with("data/scale") && message.json()["values"]["n"] == 10
    });
    relay.cut();
    gateway.wait("offline", |status| status["upstreams"][0]["state"] != "online");
    read(20);
    gateway.wait("all is on disk", |status| {
        let backlog = &status["upstreams"][0]["backlog"];
        backlog["messages"] == 20 && backlog["in_memory_only"] == 0
    });
    gateway.kill9();
    sensor.release();
    gateway.start_again();
    gateway.wait("the port is open again", |status| status["ports"][0]["state"] == "open");
    read(5);
    gateway.wait("all is kept", |status| status["upstreams"][0]["backlog"]["messages"] == 25);
    relay.open();
    gateway.wait_drained();
    let topic = Gateway::topic("receipt");
    let receipt = tap.wait("the receipt", |message| message.topic == topic).json();
    println!("{receipt:#}");
    assert_eq!((&receipt["upstream"], &receipt["restarts"]), (&"up".into(), &1.into()));
    assert_eq!((&receipt["stored"], &receipt["sent"]), (&25.into(), &25.into()));
    assert!(receipt["dropped"].as_object().unwrap().values().all(|count| *count == 0), "{receipt}");
    let devices = receipt["devices"].as_array().unwrap();
    let spans: Vec<(u64, u64)> = devices
        .iter()
        .map(|device| (device["first"].as_u64().unwrap(), device["last"].as_u64().unwrap()))
        .collect();
    assert_eq!(spans, [(11, 30), (1, 5)], "one per run: {receipt}");
    let retained = Tap::subscribe(mosquitto.port, &topic);
    assert!(retained.wait("the retained receipt", |_| true).retain);
    assert_eq!(gateway.ask("status")["upstreams"][0]["receipt"], receipt);
    assert_eq!(tap.messages().iter().filter(|message| message.topic == topic).count(), 1);

    let whole = capture(&tap);
    let (code, verdict) = ledger(dir.path(), &whole, &["--receipts"]);
    assert_eq!((code, &verdict["missing"], &verdict["late"]), (0, &0.into(), &0.into()), "{verdict:#}");
    assert_eq!((&verdict["topics"][0]["readings"], &verdict["receipts"]), (&35.into(), &1.into()));
    // One reading less is found, and no receipt excuses it.
    let line = whole.lines().find(|line| line.contains("\"n\":20}")).unwrap();
    let (code, verdict) = ledger(dir.path(), &whole.replace(&format!("{line}\n"), ""), &["--receipts"]);
    assert_eq!((code, &verdict["missing"]), (3, &1.into()), "{verdict:#}");
    let (code, verdict) = ledger(dir.path(), &format!("{whole}{line}\n"), &[]);
    assert_eq!((code, &verdict["duplicates"]), (0, &1.into()), "{verdict:#}");
}

#[test]
fn live_messages_do_not_wait_for_the_backlog_where_the_drain_is_interleaved() {
    const BACKLOG: u16 = 3_000;
    const LIVE: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("#"));
    let sensor = Pty::open();
    // Slow enough that the backlog lasts for as long as the live messages come.
    let upstream = upstream(relay.port) + "drain = \"interleave\"\ndrain_messages_max = 300\n";
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream));
    gateway.wait_online();
    relay.cut();
    gateway.wait("offline", |status| status["upstreams"][0]["state"] != "online");
    sensor.play(usize::from(BACKLOG), 2_000, |number| format!(r#"{{"n":{number}}}"#)).finish();
    gateway.wait("the backlog is kept", |status| {
        status["upstreams"][0]["backlog"]["messages"].as_u64() >= Some(u64::from(BACKLOG) * 9 / 10)
            && status["upstreams"][0]["backlog"]["in_memory_only"] == 0
    });
    relay.open();
    tap.wait("the drain begins", |message| message.topic.ends_with("data/scale"));
    let (mut delays, mut waiting) = (Vec::new(), 0);
    for number in 0..LIVE {
        let sent = Instant::now();
        sensor.line(&format!(r#"{{"live":{number}}}"#));
        let wanted = format!("\"live\":{number}}}");
        let seen = eventually("a live reading", || {
            tap.messages().into_iter().rev().find(|message| message.payload.contains(&wanted))
        });
        waiting = gateway.ask("status")["upstreams"][0]["backlog"]["messages"].as_u64().unwrap();
        if waiting < 100 {
            break;
        }
        delays.push(seen.at.saturating_duration_since(sent));
    }
    assert!(delays.len() >= LIVE / 10, "the backlog was gone after {} live messages", delays.len());
    delays.sort_unstable();
    let p99 = delays[(delays.len() * 99 / 100).saturating_sub(1)];
    println!(
        "live messages while {waiting} and more waited: median {:?}, p99 {p99:?}",
        delays[delays.len() / 2]
    );
    // 100 ms is the aim on a machine that does nothing else.
    assert!(p99 < Duration::from_secs(2), "{delays:?}");
    gateway.wait_drained();
    eventually("the receipt", || {
        tap.messages().into_iter().find(|message| message.topic.ends_with("receipt"))
    });
    let (code, verdict) = ledger(dir.path(), &capture(&tap), &["--any-order"]);
    assert_eq!((code, &verdict["missing"]), (0, &0.into()), "{verdict:#}");
    assert!(verdict["late"].as_u64() >= Some(100), "the backlog came behind the live ones: {verdict:#}");
}

#[test]
fn what_is_too_old_for_its_map_is_dropped_told_on_the_receipt_and_explained_in_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("#"));
    let sensor = Pty::open();
    let map = format!("[[upstream.map]]\nfilter = \"{}\"\nexpiry = \"2s\"\n", Gateway::topic("data/#"));
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream(relay.port) + &map));
    gateway.wait_online();
    sensor.line(r#"{"n":1}"#);
    tap.wait("the first reading", |message| message.topic.ends_with("data/scale"));
    relay.cut();
    gateway.wait("offline", |status| status["upstreams"][0]["state"] != "online");
    for number in 2..=4 {
        sensor.line(&format!(r#"{{"n":{number}}}"#));
    }
    gateway.wait("they are too old", |status| {
        let backlog = &status["upstreams"][0]["backlog"];
        backlog["messages"] == 3 && backlog["oldest_s"].as_f64() > Some(4.0)
    });
    relay.open();
    let receipt = tap.wait("the receipt", |message| message.topic.ends_with("/receipt")).json();
    assert_eq!(receipt["dropped"]["expired"], 3, "{receipt}");
    sensor.line(r#"{"n":5}"#);
    tap.wait("a new reading", |message| message.payload.contains("\"n\":5"));
    let (code, verdict) = ledger(dir.path(), &capture(&tap), &["--receipts"]);
    assert_eq!((code, &verdict["explained"]), (0, &3.into()), "{verdict:#}");
    let (code, verdict) = ledger(dir.path(), &capture(&tap), &[]);
    assert_eq!((code, &verdict["missing"]), (3, &3.into()), "{verdict:#}");
}

#[test]
fn a_lan_message_that_waits_is_sent_with_the_rest_of_its_time_to_live_or_dropped_once_that_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    // Its payload is the expiry interval as it came, and the payload.
    let format = ["-V", "5", "-F", "MSG|%t|%q|%r|%E %p"];
    let tap = Tap::subscribe_with(mosquitto.port, "lan/#", &format);
    let map = "version = \"5\"\n[[upstream.map]]\nfilter = \"lan/#\"\n";
    let mut gateway = Gateway::start(&(upstream(relay.port) + map));
    gateway.wait_online();
    relay.cut();
    gateway.wait("offline", |status| status["upstreams"][0]["state"] != "online");
    for (payload, seconds) in [("short", "2"), ("long", "600")] {
        let arguments = ["-V", "5", "-q", "1", "-D", "publish", "message-expiry-interval", seconds];
        publish_with(gateway.lan_port, "lan/a", payload, &arguments);
    }
    publish(gateway.lan_port, "lan/a", "for ever");
    gateway.wait("one is too old", |status| {
        let backlog = &status["upstreams"][0]["backlog"];
        backlog["messages"] == 3 && backlog["oldest_s"].as_f64() > Some(4.0)
    });
    // Also over a restart: the records on disk say when they came.
    gateway.stop();
    gateway.start_again();
    relay.open();
    let last = tap.wait("the last one", |message| message.payload.ends_with("for ever"));
    assert_eq!(last.payload, " for ever");
    let messages = tap.messages();
    assert_eq!(
        messages.len(),
        2,
        "{:?}",
        messages.iter().map(|message| &message.payload).collect::<Vec<_>>()
    );
    let (left, payload) = messages[0].payload.split_once(' ').unwrap();
    let left: u64 = left.parse().unwrap();
    assert_eq!(payload, "long");
    // It came a moment after the first.
    assert!((400..=598).contains(&left), "{left} s");
    let status = gateway.wait_drained();
    assert_eq!(status["upstreams"][0]["drops"]["expired"], 1, "{status:#}");
}

#[test]
fn a_metered_upstream_gets_only_its_bytes_a_day_and_its_status_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("#"));
    let sensor = Pty::open();
    let more = "health_every = \"1h\"\nbytes_per_day_max = \"8 KiB\"\n";
    let mut gateway =
        Gateway::start(&(json_device("scale", sensor.path()) + &upstream(mosquitto.port) + more));
    gateway.wait_online();
    tap.wait("health", |message| message.topic.ends_with("/health"));
    let told = |status: &Json| status["problems"].to_string().contains("the day's bytes are used up");
    let begin = Instant::now();
    let mut number = 0;
    let status = loop {
        sensor.line(&format!(r#"{{"n":{number}}}"#));
        number += 1;
        let status = gateway.ask("status");
        let waiting = status["upstreams"][0]["backlog"]["messages"].as_u64();
        if told(&status) && waiting >= Some(5) {
            break status;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{status:#}");
    };
    let traffic = &status["upstreams"][0]["traffic"];
    let used = traffic["sent_today"].as_u64().unwrap() + traffic["received_today"].as_u64().unwrap();
    assert!((8_192..16_384).contains(&used), "{traffic}");
    assert_eq!(tap.messages().iter().filter(|message| message.topic.ends_with("/health")).count(), 1);
    gateway.stop();
    let farewell = tap.wait("the farewell", |message| message.payload.contains("\"stopped\""));
    assert_eq!(farewell.json()["state"], "offline");
    gateway.start_again();
    let status = gateway.wait_online();
    assert!(told(&status), "the bytes of before the restart count: {}", status["problems"]);
    assert!(gateway.ask("status")["upstreams"][0]["backlog"]["messages"].as_u64() >= Some(5));
}

#[test]
fn the_ledger_command_reads_standard_input_and_says_in_words_what_is_missing() {
    let lines = "a/data/x {\"seq\":\"3-4\"}\na/data/x {\"seq\":\"3-7\"}\nnothing\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines");
    std::fs::write(&file, lines).unwrap();
    let mut command = fieldgate();
    command.args(["ledger", "verify", "-"]).stdin(std::fs::File::open(&file).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "a/data/x: 2 readings of 1 run, 2 missing, 0 twice, 0 late\n\
         a/data/x: 3-5 to 3-6 missing\n\
         not whole: 2 missing without a receipt, 0 dropped as receipts say, 0 twice, 0 late\n"
    );
    let mut command = fieldgate();
    command.args(["ledger", "verify", "/dev/null"]);
    let (status, text) = Process::run("ledger", &mut command);
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("holds no reading"), "{text}");
}
