//! Readings that share a message, for links that are paid by the byte: with real sockets and a real Mosquitto, over a cut,
//! beside an upstream that gets the same readings each by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests and their helpers"
)]

mod support;

use serde_json::Value as Json;
use support::{Gateway, Mosquitto, Pty, Relay, Tap, fieldgate, json_device, upstream};

const READINGS: usize = 300;
const TOGETHER: usize = 20;
/// Messages that may be unacknowledged when the link is cut.
const WINDOW: usize = 8;

/// What `fieldgate ledger verify` says about a capture: whether it is whole, and how many readings it holds.
fn ledger(tap: &Tap) -> (bool, Json) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("capture.txt");
    let lines = tap.messages().into_iter().map(|message| format!("{} {}\n", message.topic, message.payload));
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let output = fieldgate().args(["ledger", "verify", "--json"]).arg(&file).output().unwrap();
    let verdict: Json = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.success(), verdict["topics"][0]["readings"].clone())
}

fn number(reading: &Json) -> usize {
    usize::try_from(reading["values"]["n"].as_u64().unwrap()).unwrap()
}

/// How many came twice; all are there, and the first copies in order.
fn twice(numbers: &[usize]) -> usize {
    let mut next = 0;
    for number in numbers {
        assert!(*number <= next, "{number} came before {next}");
        next = next.max(number + 1);
    }
    assert_eq!(next, READINGS);
    numbers.len() - READINGS
}

#[test]
fn readings_that_share_messages_all_arrive_over_a_cut_and_cost_fewer_bytes() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let brokers = dirs.each_ref().map(|dir| Mosquitto::start(dir.path()));
    let relays = brokers.each_ref().map(|broker| Relay::to(broker.port));
    let taps = brokers.each_ref().map(|broker| Tap::subscribe(broker.port, &Gateway::topic("data/#")));
    let sensor = Pty::open();
    let map =
        format!("inflight_max = {WINDOW}\n[[upstream.map]]\nfilter = \"{}\"\n", Gateway::topic("data/#"));
    let batch = format!("batch = {{ max_messages = {TOGETHER}, max_wait = \"1s\" }}\n");
    let plain = upstream(relays[0].port) + &map;
    let shared = upstream(relays[1].port).replace("\"up\"", "\"metered\"") + &map + &batch;
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &plain + &shared));
    let are = |status: &Json, state: &str| (0..2).all(|at| status["upstreams"][at]["state"] == state);
    gateway.wait("both are online", |status| are(status, "online"));

    let play = |from: usize| sensor.play(100, 400, move |at| format!(r#"{{"n":{}}}"#, from + at));
    let first = play(0);
    gateway.wait_readings("scale", 50);
    relays.iter().for_each(Relay::cut);
    gateway.wait("both are offline", |status| (0..2).all(|at| status["upstreams"][at]["state"] != "online"));
    first.finish();
    play(100).finish();
    gateway.wait_readings("scale", 200);
    relays.iter().for_each(Relay::open);
    gateway.wait("both are online again", |status| are(status, "online"));
    play(200).finish();
    let status = gateway.wait("all is sent", |status| {
        let sent = |at: usize| status["upstreams"][at]["backlog"]["messages"] == 0;
        are(status, "online") && status["devices"][0]["readings"] == READINGS && sent(0) && sent(1)
    });

    let last = |reading: &Json| number(reading) == READINGS - 1;
    taps[0].wait("the last reading", |message| last(&message.json()));
    taps[1].wait("the last array", |message| message.json().as_array().unwrap().iter().any(last));
    let singles: Vec<usize> = taps[0].messages().iter().map(|message| number(&message.json())).collect();
    let arrays: Vec<Vec<Json>> =
        taps[1].messages().iter().map(|message| message.json().as_array().unwrap().clone()).collect();
    assert!(arrays.iter().all(|array| (1..=TOGETHER).contains(&array.len())));
    let numbers: Vec<usize> = arrays.iter().flatten().map(number).collect();
    let repeated = (twice(&singles), twice(&numbers));
    assert!(repeated.0 <= WINDOW && repeated.1 <= WINDOW * TOGETHER, "{repeated:?}");
    let whole = (true, Json::from(READINGS));
    assert_eq!((ledger(&taps[0]), ledger(&taps[1])), (whole.clone(), whole));

    let [plain, shared] = [0, 1].map(|at| status["upstreams"][at].clone());
    assert_eq!(shared["delivered"], READINGS, "{shared:#}");
    let bytes = |upstream: &Json, way: &str| upstream["traffic"][way].as_u64().unwrap();
    let [out, back] = ["sent_today", "received_today"].map(|way| (bytes(&plain, way), bytes(&shared, way)));
    println!(
        "{READINGS} readings: {} messages, {} B out, {} B back singly; {} messages, {} B out, {} B back together; \
         {repeated:?} came twice",
        singles.len(),
        out.0,
        back.0,
        arrays.len(),
        out.1,
        back.1
    );
    assert!(arrays.len() * 5 < singles.len(), "{} messages", arrays.len());
    assert!(out.1 < out.0 && back.1 < back.0, "{out:?} {back:?}");
}

#[test]
fn what_waits_for_its_batch_outlives_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(broker.port, &Gateway::topic("data/#"));
    let sensor = Pty::open();
    let map = format!(
        "[[upstream.map]]\nfilter = \"{}\"\nbatch = {{ max_wait = \"1h\" }}\n",
        Gateway::topic("data/#")
    );
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream(broker.port) + &map));
    gateway.wait_online();
    for number in 0..5 {
        sensor.line(&format!(r#"{{"n":{number}}}"#));
    }
    gateway.wait("they are on disk, and wait", |status| {
        let backlog = &status["upstreams"][0]["backlog"];
        backlog["messages"] == 5 && backlog["in_memory_only"] == 0
    });
    assert_eq!(tap.messages().len(), 0);
    gateway.kill9();
    sensor.release();
    gateway.start_again();
    gateway.wait_drained();
    let message = tap.wait("the array", |_| true).json();
    assert_eq!(message.as_array().unwrap().iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}
