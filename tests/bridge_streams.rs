//! Streams of one upstream: what fills one costs no other's messages, and the most urgent goes first. With real sockets, a
//! real Mosquitto, and a restart in the outage.

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
use support::{Gateway, Mosquitto, Pty, Relay, Tap, fieldgate, find, json_device, upstream};

const RARE: u64 = 60;
const CHATTY: u64 = 3_000;
const CHATTY_MAX: u64 = 500;

/// What `fieldgate store` says.
fn store(gateway: &Gateway, arguments: &[&str]) -> (bool, String) {
    let mut command = fieldgate();
    command.arg("store").args(arguments).arg("--config").arg(gateway.config());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// What the config says of the upstream's streams.
fn streams() -> String {
    format!(
        "drain_messages_max = 400\n\
         [[upstream.stream]]\nname = \"bulk\"\nmax_records = {CHATTY_MAX}\npriority = \"low\"\n\
         [[upstream.map]]\nfilter = \"{}\"\nstream = \"bulk\"\n\
         [[upstream.map]]\nfilter = \"{}\"\n",
        Gateway::topic("data/chatty"),
        Gateway::topic("data/#"),
    )
}

/// What waits in a stream.
fn waits(status: &Json, name: &str) -> Json {
    find(&status["upstreams"][0]["streams"], name)["backlog"].clone()
}

fn device(topic: &str) -> &str {
    topic.rsplit('/').next().unwrap()
}

#[test]
fn a_stream_that_overflows_costs_no_other_one_a_message_and_waits_for_the_more_urgent() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("#"));
    let (rare, chatty) = (Pty::open(), Pty::open());
    let devices = json_device("rare", rare.path()) + &json_device("chatty", chatty.path());
    let mut gateway = Gateway::start(&(devices + &upstream(relay.port) + &streams()));
    gateway.wait_online();
    relay.cut();
    gateway.wait("offline", |status| status["upstreams"][0]["state"] != "online");
    let lines = chatty.play(usize::try_from(CHATTY).unwrap(), 2_000, |number| format!(r#"{{"n":{number}}}"#));
    for number in 0..RARE {
        rare.line(&format!(r#"{{"n":{number}}}"#));
    }
    lines.finish();
    let status = gateway.wait("all has come, and the stream keeps what it may", |status| {
        let (rare, bulk) = (waits(status, "default"), waits(status, "bulk"));
        rare["messages"] == RARE
            && rare["in_memory_only"] == 0
            && bulk["messages"] == CHATTY_MAX
            && bulk["in_memory_only"] == 0
    });
    let drops = |status: &Json, name: &str| {
        let drops = find(&status["upstreams"][0]["streams"], name)["drops"].clone();
        drops.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((drops(&status, "default"), drops(&status, "bulk")), (0, CHATTY - CHATTY_MAX), "{status:#}");

    gateway.stop();
    rare.release();
    chatty.release();
    let (good, text) = store(&gateway, &["stat"]);
    println!("{text}");
    assert!(good && text.contains("up/bulk"), "{text}");
    let (good, text) = store(&gateway, &["export", "--upstream", "up/bulk"]);
    assert!(good);
    assert_eq!(text.lines().filter(|line| line.contains("data/chatty")).count(), 500, "{text}");
    gateway.start_again();
    gateway.wait("all that waited waits again", |status| {
        waits(status, "default")["messages"] == RARE && waits(status, "bulk")["messages"] == CHATTY_MAX
    });
    let (good, text) = store(&gateway, &["stat"]);
    assert!(good && text.contains("up/bulk"), "of a running one: {text}");
    relay.open();
    gateway.wait_drained();
    let receipt = tap.wait("the receipt", |message| message.topic.ends_with("/receipt")).json();
    println!("{receipt:#}");
    assert_eq!(receipt["streams"]["default"]["sent"], RARE);
    assert_eq!(receipt["streams"]["default"]["dropped"], 0);
    assert_eq!(receipt["streams"]["bulk"]["sent"], CHATTY_MAX);
    assert_eq!(receipt["streams"]["bulk"]["dropped"], CHATTY - CHATTY_MAX);

    let messages = tap.messages();
    let data = messages.iter().filter(|message| message.topic.contains("/data/"));
    let order: Vec<(&str, u64)> = data
        .filter_map(|message| Some((device(&message.topic), message.json()["values"]["n"].as_u64()?)))
        .collect();
    let of_rare: Vec<u64> = order.iter().filter(|(name, _)| *name == "rare").map(|(_, n)| *n).collect();
    assert_eq!(of_rare, (0..RARE).collect::<Vec<_>>());
    let bulk: Vec<u64> = order.iter().filter(|(name, _)| *name == "chatty").map(|(_, n)| *n).collect();
    assert_eq!(bulk, (CHATTY - CHATTY_MAX..CHATTY).collect::<Vec<_>>(), "the newest, in order");
    // Memory that holds the one and a disk that must be read for the other may let a few by.
    let last_rare = order.iter().rposition(|(name, _)| *name == "rare").unwrap();
    let before = order[..last_rare].iter().filter(|(name, _)| *name == "chatty").count();
    assert!(before <= 100, "{before} of low priority before the last of normal");
}

#[test]
fn one_stream_of_a_running_gateway_can_be_given_up_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let (rare, chatty) = (Pty::open(), Pty::open());
    let devices = json_device("rare", rare.path()) + &json_device("chatty", chatty.path());
    let mut gateway = Gateway::start(&(devices + &upstream(relay.port) + &streams()));
    gateway.wait_online();
    relay.cut();
    gateway.wait("offline", |status| status["upstreams"][0]["state"] != "online");
    for number in 0..5 {
        chatty.line(&format!(r#"{{"n":{number}}}"#));
        rare.line(&format!(r#"{{"n":{number}}}"#));
    }
    gateway.wait("both wait", |status| {
        let kept = |name| waits(status, name)["messages"] == 5 && waits(status, name)["in_memory_only"] == 0;
        kept("default") && kept("bulk")
    });
    let (good, text) = store(&gateway, &["purge", "--upstream", "up/bulk", "--all", "--yes"]);
    assert!(good, "{text}");
    let status = gateway.wait("the stream is empty", |status| waits(status, "bulk")["messages"] == 0);
    assert_eq!(waits(&status, "default")["messages"], 5);
    assert_eq!(find(&status["upstreams"][0]["streams"], "bulk")["drops"]["purged"], 5, "{status:#}");
}
