//! The `$SYS` topics beside those of a real Mosquitto, as mosquitto_sub sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use support::{Gateway, Mosquitto, Process, Tap, client, eventually, publish_with};

/// Every topic below `$SYS` with its payload, as it is now.
fn sys(port: u16) -> BTreeMap<String, String> {
    let mut command = client("mosquitto_sub");
    let arguments = ["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "$SYS/#", "--retained-only"];
    // The first message that is no retained one ends it, and after a second it ends by itself.
    let (_, text) =
        Process::run("mosquitto_sub", command.args(arguments).args(["-W", "1", "-F", "SYS|%t|%p"]));
    let parts = text.lines().filter_map(|line| line.strip_prefix("SYS|")?.split_once('|'));
    parts.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())).collect()
}

#[test]
fn every_topic_of_mosquitto_is_there_and_has_the_same_shape() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let gateway = Gateway::start("");
    let theirs = sys(mosquitto.port);
    let ours = sys(gateway.lan_port);
    assert!(theirs.len() > 40, "{theirs:?}");
    let shape = |payload: &str| -> String {
        let digits = payload.chars().map(|c| if c.is_ascii_digit() { '0' } else { c });
        digits.collect::<String>().replace("00", "0").replace("00", "0")
    };
    for (topic, payload) in &theirs {
        let own = ours.get(topic).unwrap_or_else(|| panic!("{topic} is missing in {ours:?}"));
        if topic != "$SYS/broker/version" {
            assert_eq!(shape(own).replace("00", "0"), shape(payload).replace("00", "0"), "{topic}: {own}");
        }
    }
    assert_eq!(ours["$SYS/broker/version"], format!("fieldgate version {}", env!("CARGO_PKG_VERSION")));
    for topic in ours.keys().filter(|topic| !theirs.contains_key(*topic)) {
        let own = topic.starts_with("$SYS/fieldgate/") || topic == "$SYS/broker/clients/maximum";
        assert!(own, "{topic} is not Mosquitto's");
    }
}

#[test]
fn counters_follow_what_happens_and_only_subscribers_of_sys_see_them() {
    let gateway = Gateway::start("[broker]\nsys_interval = \"200ms\"\n");
    let port = gateway.lan_port;
    let everything = Tap::subscribe(port, "#");
    let watch = Tap::subscribe(port, "$SYS/#");
    Tap::register(port, "away", "sleeper", &["-q", "1"]);
    for _ in 0..5 {
        publish_with(port, "count/me", "0123456789", &[]);
    }
    publish_with(port, "away", "kept", &["-q", "1"]);
    publish_with(port, "r", "retained", &["-r"]);
    let last = |topic: &str| {
        let topic = format!("$SYS/{topic}");
        watch.messages().into_iter().rfind(|message| message.topic == topic).map(|message| message.payload)
    };
    for (topic, expected) in [
        ("broker/publish/messages/received", "7"),
        ("broker/publish/bytes/received", "62"),
        ("broker/clients/connected", "2"),
        ("broker/clients/total", "3"),
        ("broker/clients/disconnected", "1"),
        ("broker/subscriptions/count", "3"),
        ("fieldgate/sessions/offline", "1"),
    ] {
        eventually(&format!("{topic} is {expected}; it is {:?}", last(topic)), || {
            (last(topic).as_deref() == Some(expected)).then_some(())
        });
    }
    eventually("the load is seen", || {
        last("broker/load/publish/received/1min").filter(|load| load != "0.00")
    });
    let uptime = last("broker/uptime").unwrap();
    assert!(uptime.ends_with(" seconds"), "{uptime}");
    // The gateway's own status is retained too.
    let retained: u64 = last("broker/retained messages/count").unwrap().parse().unwrap();
    assert!((1..10).contains(&retained), "{retained}");
    let stored: u64 = last("broker/store/messages/count").unwrap().parse().unwrap();
    assert!(stored > retained, "the message that waits is kept: {stored}");
    let seen: Vec<String> = everything.messages().into_iter().map(|message| message.topic).collect();
    assert!(
        seen.contains(&"count/me".to_owned()) && seen.iter().all(|topic| !topic.starts_with('$')),
        "{seen:?}"
    );
    // Live ones come without the retain flag, and only when they have changed.
    let versions = watch.messages().into_iter().filter(|message| message.topic == "$SYS/broker/version");
    assert_eq!(versions.count(), 1);
}

#[test]
fn an_interval_of_nothing_turns_them_off() {
    let gateway = Gateway::start("[broker]\nsys_interval = \"0s\"\n");
    assert_eq!(sys(gateway.lan_port), BTreeMap::new());
}
