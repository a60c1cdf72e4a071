//! A running gateway whose upstreams change: another password, other maps, one more, one less. What waits stays and goes
//! out once; LAN clients and other upstreams notice nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "tests and their helpers"
)]

mod raw;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use raw::{Client, Connect, V};
use rustix::process::Signal;
use serde_json::{Value as Json, json};
use support::*;

fn reopened(answer: &Json) -> Vec<&str> {
    answer["reopened"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// An `[[upstream]]` of that name that is tried again soon.
fn named(name: &str, port: u16, more: &str) -> String {
    upstream(port).replace("\"up\"", &format!("\"{name}\"")) + more
}

/// The numbers in the readings of a device, in the order of arrival.
fn numbers(tap: &Tap, device: &str) -> Vec<u64> {
    let topic = Gateway::topic(&format!("data/{device}"));
    let of = tap.messages().into_iter().filter(|message| message.topic.ends_with(&topic));
    of.map(|message| message.json()["values"]["n"].as_u64().unwrap()).collect()
}

/// Waits until so many have come; each must be there once, and in order.
fn all_once(tap: &Tap, device: &str, count: u64) {
    within(2 * PATIENCE, "all have come", || (numbers(tap, device).len() as u64 >= count).then_some(()));
    let got = numbers(tap, device);
    assert!(got.iter().copied().eq(0..count), "{} of {count}", got.len());
}

fn lines(from: u64, to: u64) -> String {
    (from..to).map(|number| format!("{{\"n\": {number}}}\n")).collect()
}

fn set_password(accounts: &Path, user: &str, password: &str) {
    let mut command = client("mosquitto_passwd");
    command.arg("-b");
    if !accounts.exists() {
        command.arg("-c");
    }
    Process::run_well("mosquitto_passwd", command.arg(accounts).args([user, password]));
}

fn of<'a>(status: &'a Json, name: &str) -> &'a Json {
    find(&status["upstreams"], name)
}

#[test]
fn five_thousand_readings_that_wait_for_a_right_password_arrive_once_when_it_is_corrected() {
    const COUNT: u64 = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    set_password(&accounts, "gateway", "right");
    let port = free_port();
    let listeners = format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nmax_inflight_messages 0\n",
        accounts.display()
    );
    let _mosquitto = Mosquitto::start_with(dir.path(), port, &listeners);
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "wrong").unwrap();
    let sensor = Pty::open();
    let account = |more: &str| {
        let account =
            format!("user_name = \"gateway\"\npassword = {{ file = \"{}\" }}\n{more}", secret.display());
        json_device("scale", sensor.path()) + &upstream(port).replace("500ms", "60s") + &account
    };
    let mut gateway = Gateway::start(&account(""));
    let mut lan = Client::connect(gateway.lan_port, &Connect::new(V::V5, "stays"));
    sensor.write(lines(0, COUNT).as_bytes());
    gateway.wait("all wait", |status| {
        let up = of(status, "up");
        up["backlog"]["messages"] == COUNT
            && up["error"].as_str().is_some_and(|error| error.contains("authorized"))
    });
    let tap = Tap::subscribe_with(port, &Gateway::topic("data/#"), &["-u", "gateway", "-P", "right"]);
    // No key has changed, but what it names has.
    std::fs::write(&secret, "right").unwrap();
    let answer = gateway.take_config(&account(""));
    assert_eq!((&answer["applied"], reopened(&answer)), (&json!([]), vec!["upstream up"]));
    gateway.wait_drained();
    all_once(&tap, "scale", COUNT);
    // All is as it was, but for what is new.
    let before = gateway.ask("status");
    gateway.take_config(&account(""));
    sensor.write(lines(COUNT, COUNT + 1).as_bytes());
    all_once(&tap, "scale", COUNT + 1);
    let after = gateway.ask("status");
    assert_eq!(of(&before, "up")["connections"], of(&after, "up")["connections"], "the link was left alone");
    lan.nothing();
}

#[test]
fn a_second_upstream_comes_and_goes_and_comes_again_with_what_waited_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (Mosquitto::start(dir.path()), Mosquitto::start(dir.path()));
    let relay = Relay::to(second.port);
    let sensor = Pty::open();
    let device = json_device("scale", sensor.path());
    let one = device.clone() + &named("first", first.port, "");
    let map = "\n[[upstream.map]]\nfilter = \"lan/#\"\n[[upstream.map]]\nfilter = \"fieldgate/gw/data/#\"\nremote_prefix = \"x/\"\n";
    let both = one.clone() + &named("second", relay.port, map);
    let mut gateway = Gateway::start(&one);
    let mut lan = Client::connect(gateway.lan_port, &Connect::new(V::V5, "stays"));
    let (at_first, at_second) = (Tap::subscribe(first.port, "#"), Tap::subscribe(second.port, "#"));
    gateway.wait_online();
    sensor.write(lines(0, 100).as_bytes());
    gateway.wait_readings("scale", 100);
    let answer = gateway.take_config(&both);
    assert_eq!(reopened(&answer), ["upstream second"]);
    gateway.wait("it is online", |status| of(status, "second")["state"] == "online");
    at_second.wait("what is known of the device", |message| message.topic.ends_with("info/scale"));
    // What came before it was there isn't for it.
    sensor.write(lines(100, 200).as_bytes());
    let of_second = || numbers(&at_second, "scale");
    eventually("the readings are there too", || (of_second().len() >= 100).then_some(()));
    assert!(of_second().into_iter().eq(100..200));
    lan.say("lan/a", 1, "hello");
    at_second.wait_payload("hello");
    // It is away: what comes waits for it, also while it isn't in the config.
    relay.cut();
    gateway.wait("it is offline", |status| of(status, "second")["state"] != "online");
    sensor.write(lines(200, 300).as_bytes());
    lan.say("lan/a", 1, "it waits");
    gateway.wait("it waits", |status| of(status, "second")["backlog"]["messages"] == 101);
    let answer = gateway.take_config(&one);
    assert_eq!(reopened(&answer), ["upstream second"]);
    let shown = gateway.ask("status");
    assert_eq!(shown["upstreams"].as_array().unwrap().len(), 1);
    assert!(gateway.data_dir().join("outbox-second").exists(), "what waits stays on disk");
    lan.say("lan/a", 1, "for nobody");
    relay.open();
    gateway.take_config(&both);
    gateway.wait("all is sent", |status| {
        let second = of(status, "second");
        second["state"] == "online" && second["backlog"]["messages"] == 0
    });
    at_second.wait_payload("it waits");
    assert!(of_second().into_iter().eq(100..300), "{:?}", of_second());
    assert!(!at_second.messages().iter().any(|message| message.payload == "for nobody"));
    // Taken out while it is there, it says goodbye.
    gateway.take_config(&one);
    at_second.wait("it says goodbye", |message| {
        message.topic.ends_with("gw/status") && message.json()["reason"] == "stopped"
    });
    all_once(&at_first, "scale", 300);
    let shown = gateway.ask("status");
    assert_eq!(of(&shown, "first")["connections"], 1, "the other was never touched");
    lan.say("lan/a", 1, "the same connection to the end");
    gateway.stop();
}

#[test]
fn maps_and_streams_change_while_a_backlog_drains_and_each_message_arrives_once() {
    const COUNT: u64 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let sensor = Pty::open();
    let with = |more: &str| json_device("scale", sensor.path()) + &named("up", relay.port, more);
    let data = "[[upstream.map]]\nfilter = \"fieldgate/gw/data/#\"\n";
    let slow = "drain_messages_max = 800\n";
    let mut gateway = Gateway::start(&with(&(slow.to_owned() + data)));
    let tap = Tap::subscribe(mosquitto.port, "#");
    gateway.wait_online();
    relay.cut();
    gateway.wait("it is offline", |status| of(status, "up")["state"] != "online");
    sensor.write(lines(0, COUNT).as_bytes());
    gateway.wait("all wait", |status| of(status, "up")["backlog"]["messages"] == COUNT);
    relay.open();
    let mut lan = Client::connect(gateway.lan_port, &Connect::new(V::V5, "stays"));
    let alarms = "[[upstream.map]]\nfilter = \"alarm/#\"\nstream = \"alarms\"\n\
                  [[upstream.stream]]\nname = \"alarms\"\npriority = \"high\"\n";
    for turn in 0..6_u64 {
        let some = (turn + 1) * COUNT / 10;
        within(PATIENCE, "a part is sent", || (numbers(&tap, "scale").len() as u64 > some).then_some(()));
        let more = match turn % 3 {
            0 => format!("{slow}keep_alive = \"{}s\"\n{data}{alarms}", 20 + turn),
            1 => format!("{slow}inflight_max = {}\n{data}{alarms}", 8 + turn),
            _ => format!("{slow}{data}[[upstream.map]]\nfilter = \"other/#\"\n"),
        };
        let answer = gateway.take_config(&with(&more));
        assert_eq!(reopened(&answer), ["upstream up"]);
        if turn % 3 < 2 {
            lan.say("alarm/x", 1, &format!("alarm {turn}"));
            tap.wait_payload(&format!("alarm {turn}"));
        } else {
            lan.say("other/x", 1, &format!("other {turn}"));
        }
    }
    gateway.take_config(&with(data));
    gateway.wait_drained();
    all_once(&tap, "scale", COUNT);
    for payload in ["other 2", "other 5"] {
        // Both waited behind the backlog, for a map that was taken out again: they are not for this upstream any more.
        let came = tap.messages().iter().filter(|message| message.payload == payload).count();
        assert!(came <= 1, "{payload} came {came} times");
    }
    lan.nothing();
    assert_eq!(of(&gateway.ask("status"), "up")["streams"].as_array().unwrap().len(), 2);
    gateway.stop();
}

#[test]
fn bounds_of_the_buffer_count_at_once() {
    let sensor = Pty::open();
    let rest = json_device("scale", sensor.path()) + &upstream(1);
    let mut gateway = Gateway::start(&rest);
    sensor.write(lines(0, 500).as_bytes());
    gateway.wait("all wait", |status| of(status, "up")["backlog"]["messages"] == 500);
    let buffer = "[buffer]\nmax_records = 100\nmax_size = \"2 MiB\"\nmemory = \"1 MiB\"\ncommit_interval = \"100ms\"\n";
    let answer = gateway.take_config(&(rest.clone() + buffer));
    assert_eq!(reopened(&answer), Vec::<&str>::new());
    assert_eq!(answer["applied"].as_array().unwrap().len(), 4);
    sensor.write(lines(500, 501).as_bytes());
    gateway.wait("the oldest are gone", |status| {
        let up = of(status, "up");
        up["backlog"]["messages"] == 100 && up["outbox"]["bytes_max"] == 2 * 1024 * 1024
    });
}

fn process(gateway: &Gateway) -> (usize, usize, u64) {
    let at = |what: &str| format!("/proc/{}/{what}", gateway.pid());
    let count = |what: &str| std::fs::read_dir(at(what)).unwrap().count();
    let status = std::fs::read_to_string(at("status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (count("fd"), count("task"), rss.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn two_hundred_changes_in_a_row_under_load_leak_nothing_and_lose_nothing() {
    const TURNS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let (stays, changes) = (Pty::open(), Pty::open());
    let config = |turn: usize| {
        let mut text = json_device("stays", stays.path()) + &named("up", mosquitto.port, "");
        if turn % 2 == 1 {
            let device = json_device("changes", changes.path());
            text += &format!("{device}stale_after = \"{}s\"\n", 60 + turn);
            text += "[[gpio]]\nname = \"lamp\"\nline = \"lamp\"\nbackend = \"sim\"\nmode = { kind = \"output\" }\n";
            text += "[[exec]]\nname = \"program\"\ncommand = [\"/bin/sleep\", \"1000\"]\n";
            text += &named("other", mosquitto.port, "client_id = \"other\"\n");
            text += "[[upstream.map]]\nfilter = \"nothing\"\n";
        }
        text
    };
    let mut gateway = Gateway::start(&config(1));
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/stays"));
    gateway.wait_online();
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut warm = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                stays.line(&format!("{{\"n\": {number}}}"));
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        for turn in 0..TURNS {
            gateway.take_config(&config(turn));
            if turn == 19 {
                warm = process(&gateway);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let end = process(&gateway);
    println!("after 20 changes: {warm:?} (files, threads, RSS in KiB); after {TURNS}: {end:?}");
    all_once(&tap, "stays", sent.load(Ordering::Relaxed) as u64);
    // One change more or less is under way, and a thread of the pool comes and goes.
    assert!(end.0 <= warm.0 + 3 && end.1 <= warm.1 + 3, "{warm:?} {end:?}");
    assert!(end.2 <= warm.2 + 6 * 1024, "{warm:?} {end:?}");
    assert_eq!(of(&gateway.ask("status"), "up")["connections"], 1);
    gateway.stop();
}

#[test]
fn a_crash_after_changes_under_load_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let map = "\n[[upstream.map]]\nfilter = \"w/#\"\n";
    let with = |turn: usize| {
        let alive = format!("keep_alive = \"{}s\"\n{map}", 20 + turn);
        let second =
            named("second", relay.port, &format!("client_id = \"second\"\n{map}remote_prefix = \"2/\"\n"));
        named("up", relay.port, &alive) + if turn % 2 == 1 { &second } else { "" }
    };
    let mut gateway = Gateway::start(&with(0));
    let tap = Tap::subscribe(mosquitto.port, "w/#");
    gateway.wait_online();
    relay.cut();
    let port = gateway.lan_port;
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(port, &Connect::new(V::V5, "writer"));
            while !done.load(Ordering::Relaxed) {
                let number = sent.load(Ordering::Relaxed);
                client.say("w/x", 1, &number.to_string());
                sent.store(number + 1, Ordering::Relaxed);
            }
        });
        for turn in 1..12 {
            gateway.take_config(&with(turn));
            let now = sent.load(Ordering::Relaxed);
            eventually("it goes on", || (sent.load(Ordering::Relaxed) > now + 5).then_some(()));
        }
        done.store(true, Ordering::Relaxed);
    });
    gateway.kill9();
    relay.open();
    gateway.start_again();
    let sent = sent.load(Ordering::Relaxed);
    gateway.wait("all is sent", |status| {
        ["up", "second"].iter().all(|name| {
            let up = of(status, name);
            up["state"] == "online" && up["backlog"]["messages"] == 0
        })
    });
    let mut came: BTreeMap<usize, usize> = BTreeMap::new();
    for message in tap.messages() {
        *came.entry(message.payload.parse().unwrap()).or_default() += 1;
    }
    assert!(came.keys().copied().eq(0..sent), "{} of {sent}", came.len());
    assert!(sent > 50, "only {sent} messages");
}

#[test]
fn a_change_that_is_asked_for_while_the_gateway_stops_leaves_all_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let mut gateway = Gateway::start(&named("up", mosquitto.port, ""));
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("status"));
    gateway.wait_online();
    gateway.configure(&named("up", mosquitto.port, "keep_alive = \"20s\"\n"));
    gateway.signal(Signal::HUP);
    gateway.stop();
    // Between two connections there is nobody to say goodbye to: the will says it then.
    eventually("upstream knows that it is gone", || {
        tap.messages().last().is_some_and(|message| message.json()["state"] == "offline").then_some(())
    });
    assert!(!gateway.log().contains("in time"), "{}", gateway.log());
    let mut command: Command = fieldgate();
    command.args(["store", "verify"]).arg("--config").arg(gateway.config());
    Process::run_well("fieldgate store verify", &mut command);
}
