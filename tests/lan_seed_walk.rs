//! The walk that every small project with a broker takes, with scripts as people have them: publisher and
//! subscriber, a durable subscriber, retained, wills. Once with paho-mqtt 1.6.1, once with paho-mqtt 2.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Gateway, Process, Python, Received, eventually, received};

#[test]
fn scripts_for_paho_1_work_unchanged() {
    walk(Python::Paho1);
}

#[test]
fn scripts_for_paho_2_work_unchanged() {
    walk(Python::Paho2);
}

fn walk(python: Python) {
    let gateway = Gateway::start("");
    let walk = Walk { python, port: gateway.lan_port.to_string() };
    walk.publisher_and_subscriber();
    walk.durable_subscriber();
    walk.retained();
    walk.will_of_a_killed_process();
    walk.will_of_a_silent_process();
    walk.no_will_after_a_disconnect();
}

struct Walk {
    python: Python,
    port: String,
}

impl Walk {
    fn start(&self, script: &str, arguments: &[&str]) -> Process {
        let arguments: Vec<&str> =
            [self.port.as_str()].into_iter().chain(arguments.iter().copied()).collect();
        self.python.start(script, &arguments)
    }

    fn subscribe(&self, client_id: &str, topic: &str, more: &[&str]) -> Process {
        let arguments: Vec<&str> = [client_id, topic].into_iter().chain(more.iter().copied()).collect();
        let mut subscriber = self.start("subscriber.py", &arguments);
        subscriber.wait_line("subscribed");
        subscriber
    }

    fn publish(&self, topic: &str, payload: &str, more: &[&str]) {
        let arguments: Vec<&str> =
            ["publisher", topic, payload].into_iter().chain(more.iter().copied()).collect();
        let mut publisher = self.start("publisher.py", &arguments);
        let status = publisher.wait_end(support::PATIENCE);
        assert!(status.success(), "the publisher ends by itself: {status}\n{}", publisher.text());
    }

    fn publisher_and_subscriber(&self) {
        let subscriber = self.subscribe("walk-subscriber", "walk/plain/#", &[]);
        self.publish("walk/plain/a", "reading ", &["--count", "100"]);
        let got = wait_count(&subscriber, 100);
        let expected: Vec<String> = (0..100).map(|number| format!("reading {number}")).collect();
        assert_eq!(payloads(&got), expected);
    }

    fn durable_subscriber(&self) {
        let topic = "walk/durable";
        self.subscribe("walk-durable", topic, &["--durable"]).kill9();
        self.publish(topic, "missed ", &["--count", "150"]);
        let subscriber = self.start("subscriber.py", &["walk-durable", topic, "--durable"]);
        let got = wait_count(&subscriber, 150);
        let expected: Vec<String> = (0..150).map(|number| format!("missed {number}")).collect();
        assert_eq!(payloads(&got), expected);
    }

    fn retained(&self) {
        self.publish("walk/retained", "kept ", &["--retain"]);
        let subscriber = self.subscribe("walk-late", "walk/retained", &[]);
        let got = wait_count(&subscriber, 1);
        assert!(got[0].retain && got[0].payload == "kept 0", "{got:?}");
    }

    fn will_of_a_killed_process(&self) {
        let subscriber = self.subscribe("walk-watch-1", "walk/will/killed", &[]);
        let mut willed = self.start("willed.py", &["walk-killed", "walk/will/killed"]);
        willed.wait_line("connected");
        let killed = Instant::now();
        willed.kill9();
        let got = wait_count(&subscriber, 1);
        assert_eq!(got[0].payload, "gone walk-killed");
        let after = got[0].at - killed;
        assert!(after < Duration::from_secs(2), "at once, not after {after:?}");
    }

    fn will_of_a_silent_process(&self) {
        const KEEPALIVE: u64 = 2;
        let subscriber = self.subscribe("walk-watch-2", "walk/will/silent", &[]);
        let mut willed = self
            .start("willed.py", &["walk-silent", "walk/will/silent", "--keepalive", &KEEPALIVE.to_string()]);
        // CONNECT was its last packet: from there the broker counts.
        willed.wait_line("connected");
        willed.signal(Signal::STOP);
        let silent = Instant::now();
        let got = wait_count(&subscriber, 1);
        assert_eq!(got[0].payload, "gone walk-silent");
        let after = got[0].at - silent;
        let limit = Duration::from_secs(KEEPALIVE) * 3 / 2;
        let about = limit - Duration::from_millis(300)..limit + Duration::from_millis(1_500);
        assert!(about.contains(&after), "after 1.5 times the keepalive ({limit:?}), not after {after:?}");
    }

    fn no_will_after_a_disconnect(&self) {
        let subscriber = self.subscribe("walk-watch-3", "walk/will/left", &[]);
        let mut willed = self.start("willed.py", &["walk-left", "walk/will/left", "--leave"]);
        assert!(willed.wait_end(support::PATIENCE).success(), "{}", willed.text());
        self.publish("walk/will/left", "marker ", &[]);
        let got = wait_count(&subscriber, 1);
        assert_eq!(payloads(&got), ["marker 0"], "a clean disconnect has no will");
    }
}

fn wait_count(subscriber: &Process, count: usize) -> Vec<Received> {
    eventually(&format!("{count} messages arrive"), || {
        let messages = received(subscriber);
        (messages.len() >= count).then_some(messages)
    })
}

fn payloads(messages: &[Received]) -> Vec<&str> {
    messages.iter().map(|message| message.payload.as_str()).collect()
}
