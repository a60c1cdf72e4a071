//! What the bridge accounts for beside its records: outages, refused messages, bytes, health.

use serde_json::Value as Json;

use super::rig::Rig;
use super::*;
use crate::reading::{Reading, Seq};

const V5: Version = Version::V5;

fn with_receipts() -> Config {
    Config { receipts: true, ..config(V5) }
}

fn reading(number: u64) -> Message {
    let reading = Reading {
        device: Arc::from("scale"),
        seq: Seq { run: Run(7), number },
        boot: BootId::default(),
        mono: Mono::ZERO,
        wall: at(0).wall,
        trust: ClockTrust::Synced,
        samples: Vec::new(),
    };
    Message { reading: Some(Arc::new(reading)), ..message("data/scale", "") }
}

impl Rig {
    fn read(&mut self, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.input(Input::Append { message: reading(number), token: None });
        }
    }

    /// Acknowledges all that is on its way, until nothing is.
    fn acknowledge_all(&mut self) {
        let mut answered = 0;
        while let Some(seen) = self.publishes().get(answered) {
            answered += 1;
            self.puback(seen.id.unwrap());
        }
    }

    fn receipt(&self) -> Option<Json> {
        let sent = self.publishes().into_iter().find(|seen| seen.topic == "fieldgate/gw/receipt")?;
        assert!(sent.retain);
        Some(serde_json::from_str(&sent.payload).unwrap())
    }

    fn kept(&self, wanted: &str) -> Vec<Vec<u8>> {
        let content = |output: &Output| match output {
            Output::Keep { name, content } if *name == wanted => Some(content.clone()),
            _ => None,
        };
        self.done.iter().filter_map(content).collect()
    }
}

#[test]
fn an_outage_ends_with_one_receipt_when_all_that_waited_is_done() {
    let mut rig = Rig::new(with_receipts(), Backlog::default());
    rig.connect(false);
    rig.read(1..=3);
    rig.acknowledge_all();
    assert_eq!(rig.receipt(), None, "no outage, no receipt");
    rig.clear();
    rig.read(4..=5);
    rig.pass(100);
    rig.clear();
    rig.input(Input::Closed { error: "connection reset" });
    assert_eq!(rig.kept(notes::OUTAGE).len(), 1, "its begin is noted at once");
    rig.read(6..=20);
    rig.pass(10_000);
    rig.attempt();
    rig.connect(false);
    // While live messages come, only what waited counts.
    rig.read(21..=22);
    assert_eq!(rig.receipt(), None, "not before all is done");
    rig.acknowledge_all();
    let receipt = rig.receipt().expect("a receipt");
    assert_eq!((&receipt["stored"], &receipt["sent"]), (&17.into(), &17.into()), "{receipt}");
    assert_eq!(receipt["duplicates_possible"], 2);
    assert_eq!(receipt["why"], "connection reset");
    assert_eq!(receipt["dropped"]["disk_full"], 0);
    assert!(receipt["duration_s"].as_u64().unwrap() >= 10, "{receipt}");
    assert_eq!(receipt["number"], "7-1");
    let devices = serde_json::json!([{"device": "scale", "run": 7, "first": 4, "last": 20}]);
    assert_eq!(receipt["devices"], devices);
    assert_eq!(rig.kept(notes::OUTAGE).last().unwrap(), b"", "nothing is left to go on with");
    assert_eq!(rig.publishes().iter().filter(|seen| seen.topic.ends_with("/receipt")).count(), 1);
}

#[test]
fn a_crash_within_an_outage_does_not_change_when_it_began_nor_why() {
    let mut rig = Rig::new(with_receipts(), Backlog::default());
    rig.connect(false);
    rig.read(1..=1);
    rig.acknowledge_all();
    rig.clear();
    rig.input(Input::Closed { error: "no route to host" });
    rig.read(2..=9);
    rig.pass(61_000);
    let outage = rig.kept(notes::OUTAGE).pop();

    let mut config = with_receipts();
    config.run = Run(8);
    let mut rig = Rig::new(config, Backlog::default());
    rig.now = at(61_000 + 5_000);
    let notes = Notes { outage, ..Notes::default() };
    rig.bridge.restore(rig.now, &notes);
    rig.read(2..=2);
    rig.attempt();
    rig.connect(false);
    rig.acknowledge_all();
    let receipt = rig.receipt().expect("a receipt");
    assert_eq!(receipt["why"], "no route to host");
    assert_eq!((&receipt["number"], &receipt["restarts"]), (&"7-1".into(), &1.into()));
    assert_eq!(receipt["duplicates_possible"], Json::Null);
    assert!(receipt["duration_s"].as_u64().unwrap() >= 60, "{receipt}");
    // What was kept before the crash is known from the note.
    assert_eq!(receipt["devices"][0]["first"], 2);
    assert_eq!(receipt["devices"][0]["last"], 9);
}

#[test]
fn what_was_dropped_in_an_outage_stands_on_its_receipt_by_reason() {
    let map = Mapping { expiry: Some(Duration::from_secs(60)), ..mapping("data/#", "", "") };
    let mut rig = Rig::new(Config { maps: vec![map], ..with_receipts() }, Backlog::default());
    rig.connect(false);
    rig.acknowledge_all();
    rig.input(Input::Closed { error: "reset" });
    rig.append("old");
    rig.pass(100_000);
    rig.attempt();
    rig.append("new");
    rig.connect(false);
    rig.acknowledge_all();
    let receipt = rig.receipt().expect("a receipt");
    assert_eq!((&receipt["sent"], &receipt["dropped"]["expired"]), (&1.into(), &1.into()), "{receipt}");
}

#[test]
fn refused_messages_outlive_the_process_and_go_once_more_when_asked() {
    let mut rig = Rig::online(V5);
    rig.append("bad");
    let id = rig.records()[0].1;
    rig.refuse(id, ReasonCode::NotAuthorized);
    rig.pass(3_000);
    let refused = rig.kept(notes::REFUSED).pop();
    assert!(refused.is_some());

    let mut rig = Rig::new(config(V5), Backlog::default());
    rig.bridge.restore(rig.now, &Notes { refused, ..Notes::default() });
    rig.connect(false);
    rig.ack_slot();
    let letters = rig.status().dead_letters;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].reason.as_str(), &letters[0].payload[..]), ("not authorized", &b"bad"[..]));
    assert_eq!(letters[0].topic, "data/a");
    rig.clear();
    rig.input(Input::Letters(Handling::Retry));
    assert_eq!(rig.payloads(), ["bad"]);
    assert_eq!(rig.status().dead_letters, []);
    rig.pass(3_000);
    assert_eq!(rig.kept(notes::REFUSED), [vec![1]], "none is left");

    // Whatever the note's bytes are, they do no harm.
    for note in [&b""[..], b"\x01\xff\xff\xff", b"\x02", b"\x01\x02\x01a"] {
        let mut rig = Rig::new(config(V5), Backlog::default());
        rig.bridge.restore(rig.now, &Notes { refused: Some(note.to_vec()), ..Notes::default() });
        assert_eq!(rig.status().dead_letters, []);
    }
}

#[test]
fn refused_messages_that_are_purged_stay_counted() {
    let mut rig = Rig::online(V5);
    rig.append("bad");
    let id = rig.records()[0].1;
    rig.refuse(id, ReasonCode::NotAuthorized);
    rig.input(Input::Letters(Handling::Purge));
    assert_eq!((rig.status().dead_letters.len(), rig.status().drops.refused), (0, 1));
}

#[test]
fn when_the_days_bytes_are_used_up_records_wait_for_the_next_day_and_slots_go() {
    let mut config = config(V5);
    config.bytes_per_day_max = Some(2_000);
    let mut rig = Rig::new(config, Backlog::default());
    rig.connect(false);
    rig.ack_slot();
    rig.append(&"x".repeat(2_000));
    rig.append("waits");
    let id = rig.records()[0].1;
    rig.puback(id);
    rig.clear();
    rig.append("waits too");
    assert_eq!(rig.payloads(), [""; 0]);
    assert_eq!(rig.status().backlog_records, 2);
    assert!(rig.status().traffic.used_up);
    rig.input(Input::Slot { topic: Arc::from("fieldgate/gw/health"), payload: Bytes::from_static(b"h") });
    assert_eq!(rig.slots().len(), 1);

    // Noted, and gone on with by the next process on the same day.
    rig.pass(600_000);
    let traffic = rig.kept(notes::TRAFFIC).pop().expect("noted");
    let mut later = Rig::new(super::config(V5), Backlog::default());
    later.bridge.restore(later.now, &Notes { traffic: Some(traffic), ..Notes::default() });
    assert!(later.status().traffic.today.0 > 2_000);

    let used = rig.status().traffic.today;
    rig.now = at(86_400_000 + 600_000);
    rig.clear();
    rig.connect_again();
    assert_eq!(rig.payloads(), ["waits", "waits too"]);
    assert_eq!(rig.status().traffic.yesterday, used);
}

impl Rig {
    fn connect_again(&mut self) {
        self.input(Input::Closed { error: "reset" });
        self.attempt();
        self.connect(false);
        self.ack_slot();
    }
}

#[test]
fn health_goes_at_most_as_often_as_the_upstream_wants_it_and_then_the_newest() {
    let mut config = config(V5);
    config.health_every = Some(Duration::from_secs(60));
    let mut rig = Rig::new(config, Backlog::default());
    rig.connect(false);
    rig.ack_slot();
    rig.clear();
    for n in 0..5 {
        let payload = Bytes::from(n.to_string());
        rig.input(Input::Slot { topic: Arc::from("fieldgate/gw/health"), payload });
        if n == 0 {
            rig.ack_slot();
        }
    }
    let sent = |rig: &Rig| rig.slots().into_iter().map(|seen| seen.payload).collect::<Vec<_>>();
    assert_eq!(sent(&rig), ["0"]);
    rig.pass(20_000);
    assert_eq!(sent(&rig), ["0"]);
    rig.keep_alive_and_pass(60_000);
    assert_eq!(sent(&rig), ["0", "4"]);
}

impl Rig {
    /// Lets time pass while upstream answers pings.
    fn keep_alive_and_pass(&mut self, millis: u64) {
        for _ in 0..millis / 1_000 {
            self.pass(1_000);
            let version = self.version;
            self.bytes(&super::upstream::pingresp(version));
        }
    }
}
