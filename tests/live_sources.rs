//! A running gateway that reads another config: what is changed of ports, devices, programs, files, GPIO lines and of what
//! is published counts at once; whoever and whatever isn't named in the change notices nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::too_many_lines,
    reason = "tests and their helpers"
)]

mod support;

use std::path::Path;
use std::process::Command;

use fieldgate::io::control;
use serde_json::{Value as Json, json};
use support::*;

fn names(answer: &Json) -> Vec<&str> {
    answer["reopened"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// A port with a device that sends `{"n": 1}`, which is multiplied.
fn device(name: &str, path: &Path, scale: &str, more: &str) -> String {
    format!(
        "[[port]]\nname = \"{name}-port\"\npath = \"{}\"\nbaud = 115200\n\n\
         [[device]]\nname = \"{name}\"\nport = \"{name}-port\"\ndecode = \"json\"\n\
         points = [{{ name = \"n\", scale = {scale}, unit = \"kg\" }}]\n{more}\n",
        path.display()
    )
}

/// A LAN client that hears of this, and takes it one by one. It is the same connection to the end.
struct Ear {
    tap: Tap,
    taken: usize,
}

impl Ear {
    fn take(&mut self) -> Received {
        let next = || self.tap.messages().into_iter().nth(self.taken);
        let message = eventually("a message comes", next);
        self.taken += 1;
        message
    }

    /// Nothing has come but what was taken. What the gateway publishes itself goes in order, so a sign behind it shows.
    fn nothing(&self) {
        assert_eq!(self.tap.messages().len(), self.taken, "{:?}", self.tap.messages().last());
    }
}

fn listener(gateway: &Gateway, filter: &str) -> Ear {
    Ear { tap: Tap::subscribe(gateway.lan_port, filter), taken: 0 }
}

fn value(message: &Received) -> Json {
    message.json()["values"]["n"].clone()
}

/// The number behind the run.
fn number(message: &Received) -> u64 {
    let seq = message.json()["seq"].clone();
    let seq = seq.as_str().map_or_else(|| seq.to_string(), str::to_owned);
    seq.rsplit('-').next().unwrap().parse().unwrap_or_else(|_| panic!("{}", message.payload))
}

fn wait_open(gateway: &mut Gateway, port: &str) {
    gateway.wait("the port is open", |status| find(&status["ports"], port)["state"] == "open");
}

#[test]
fn a_changed_device_is_read_by_its_new_rules_and_the_other_port_loses_no_line() {
    const LINES: usize = 1_500;
    let (a, b) = (Pty::open(), Pty::open());
    let other = device("b", b.path(), "1", "");
    let with = |scale: &str| device("a", a.path(), scale, "") + &other;
    let mut gateway = Gateway::start(&with("1"));
    let mut of_a = listener(&gateway, &Gateway::topic("data/a"));
    let mut of_b = listener(&gateway, &Gateway::topic("data/b"));
    for port in ["a-port", "b-port"] {
        wait_open(&mut gateway, port);
    }
    let player = b.play(LINES, 300, |number| format!("{{\"n\": {number}}}"));
    a.line("{\"n\": 10}");
    let first = of_a.take();
    assert_eq!((value(&first), number(&first)), (json!(10), 1));
    for (turn, scale) in ["0.1", "2", "0.5", "1"].iter().enumerate() {
        let answer = gateway.take_config(&with(scale));
        assert_eq!(answer["applied"], json!(["device.a.points.n.scale"]), "{answer}");
        assert_eq!(names(&answer), ["port a-port"]);
        wait_open(&mut gateway, "a-port");
        // The rest of a line that began before anybody listened is not taken.
        a.line("~\n{\"n\": 10}");
        let message = of_a.take();
        let scale: f64 = scale.parse().unwrap();
        assert_eq!(value(&message).as_f64(), Some(10.0 * scale), "{}", message.payload);
        assert_eq!(number(&message), turn as u64 + 2, "numbers go on");
    }
    // Gone, and back.
    let answer = gateway.take_config(&other);
    assert_eq!(names(&answer), ["port a-port"]);
    let shown = gateway.ask("status");
    assert_eq!(find(&shown["ports"], "a-port"), &Json::Null);
    gateway.take_config(&with("3"));
    wait_open(&mut gateway, "a-port");
    a.line("~\n{\"n\": 10}");
    let message = of_a.take();
    assert_eq!((value(&message), number(&message)), (json!(30), 6), "no number is used twice");
    player.finish();
    for line in 0..LINES {
        let message = of_b.take();
        assert_eq!((value(&message), number(&message)), (json!(line), line as u64 + 1));
    }
    of_a.nothing();
    // What status tells of the other port goes on too.
    let shown = gateway.ask("status");
    assert_eq!(find(&shown["devices"], "b")["readings"], json!(LINES));
}

#[test]
fn what_is_published_and_told_of_a_device_changes_without_its_port_being_closed() {
    let pty = Pty::open();
    let with = |more: &str| device("scale", pty.path(), "1", more);
    let mut gateway = Gateway::start(&with(""));
    let mut data = listener(&gateway, &Gateway::topic("data/scale"));
    wait_open(&mut gateway, "scale-port");
    pty.line("{\"n\": 1}");
    assert_eq!(value(&data.take()), json!(1));
    // What was measured before a change is published as it was to be: the window is over with it.
    let answer = gateway.take_config(&with("[device.publish]\nmode = \"mean\"\nwindow = \"1h\"\n"));
    assert_eq!(answer["applied"], json!(["device.scale.publish"]));
    assert_eq!(names(&answer), Vec::<&str>::new());
    pty.line("{\"n\": 10}");
    pty.line("{\"n\": 20}");
    gateway.wait_readings("scale", 3);
    data.nothing();
    gateway.take_config(&with("[device.publish]\npayload = \"plain\"\n"));
    let mean = data.take();
    assert_eq!((value(&mean), number(&mean)), (json!(15), 2), "{}", mean.payload);
    let mut plain = listener(&gateway, &Gateway::topic("data/scale/n"));
    pty.line("{\"n\": 7}");
    assert_eq!(plain.take().payload, "7");
    // Announced to Home Assistant, otherwise, and not at all.
    let mut announced = listener(&gateway, "+/sensor/#");
    let mut info = listener(&gateway, &Gateway::topic("info/#"));
    assert!(info.take().payload.contains("\"kg\""));
    let discovery = |prefix: &str| format!("[home_assistant]\nenabled = true\nprefix = \"{prefix}\"\n");
    gateway.take_config(&(discovery("homeassistant") + &with("")));
    let told = announced.take();
    assert!(told.topic.starts_with("homeassistant/sensor/"), "{told:?}");
    gateway.take_config(&(discovery("ha") + &with("")));
    let both = [announced.take(), announced.take()];
    let (new, old): (Vec<_>, Vec<_>) = both.iter().partition(|message| message.topic.starts_with("ha/"));
    assert_eq!((new.len(), old.len()), (1, 1));
    assert_eq!((&old[0].topic, &*old[0].payload), (&told.topic, ""), "the old one is taken back");
    gateway.take_config(&with(""));
    assert_eq!(announced.take().payload, "");
    // The port was never closed.
    pty.line("{\"n\": 8}");
    assert_eq!(value(&data.take()), json!(8));
    assert_eq!(gateway.log().matches("port is open").count(), 1, "{}", gateway.log());
    // The device is gone, and so is what is known of it.
    gateway.take_config("");
    let cleared = loop {
        let message = info.take();
        if message.payload.is_empty() {
            break message;
        }
    };
    assert_eq!(cleared.topic, Gateway::topic("info/scale"));
    let late = listener(&gateway, &Gateway::topic("info/#"));
    late.nothing();
}

#[test]
fn programs_and_files_come_and_go_and_those_that_stay_run_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t");
    std::fs::write(&file, "21500\n").unwrap();
    let program = |name: &str, value: u32| {
        format!(
            "[[exec]]\nname = \"{name}\"\ncommand = [\"/bin/sh\", \"-c\", \"echo '{{\\\"n\\\": {value}}}'; exec sleep 1000\"]\n\
             [[device]]\nname = \"{name}-device\"\nport = \"{name}\"\ndecode = \"json\"\npoints = \"*\"\n\n"
        )
    };
    let files = |scale: &str| {
        format!(
            "[[file]]\nname = \"cellar\"\npath = \"{}\"\nevery = \"100ms\"\nscale = {scale}\n\n",
            file.display()
        )
    };
    let mut gateway = Gateway::start(&(program("stays", 1) + &program("changes", 1)));
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    let of = |device: &str, value: Json| {
        let topic = Gateway::topic(&format!("data/{device}"));
        let is_it = move |message: &Received| {
            message.topic == topic
                && message.json()["values"].as_object().unwrap().values().any(|one| *one == value)
        };
        tap.wait(device, is_it)
    };
    gateway.wait_readings("changes-device", 1);
    let children = |gateway: &Gateway| {
        let mut command = Command::new("pgrep");
        command.args(["-P", &gateway.pid().to_string()]);
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        text.lines().map(|line| line.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    let before = children(&gateway);
    assert_eq!(before.len(), 2);
    let answer = gateway.take_config(&(program("stays", 1) + &program("changes", 2) + &files("0.001")));
    assert_eq!(names(&answer), ["files cellar", "program changes"]);
    of("changes-device", json!(2));
    of("cellar", json!(21.5));
    let after = children(&gateway);
    assert_eq!(after.iter().filter(|pid| before.contains(pid)).count(), 1, "{before:?} {after:?}");
    let answer = gateway.take_config(&(program("stays", 1) + &files("0.01")));
    assert_eq!(names(&answer), ["files cellar", "program changes"]);
    of("cellar", json!(215));
    assert_eq!(children(&gateway).len(), 1);
    gateway.take_config(&program("stays", 1));
    let shown = gateway.wait("the file is gone", |status| find(&status["ports"], "cellar").is_null());
    assert_eq!(find(&shown["devices"], "stays-device")["readings"], 1);
    assert_eq!(children(&gateway).first(), after.iter().find(|pid| before.contains(pid)));
}

/// A `[[gpio]]` of the backend `sim`.
fn line(name: &str, mode: &str, more: &str) -> String {
    format!(
        "[[gpio]]\nname = \"{name}\"\nline = \"{name}\"\nbackend = \"sim\"\nevery = \"1h\"\nmode = {mode}\n{more}\n"
    )
}

fn gpio(gateway: &Gateway, op: &str, arguments: Json) {
    let answer = control::request(&gateway.socket(), &json!({ "op": op, "gpio": arguments })).unwrap();
    assert_eq!(answer["result"], "done", "{answer}\n{}", gateway.log());
}

#[test]
fn gpio_lines_come_and_go_outputs_that_stay_hold_their_level_and_totals_go_on() {
    let counter = r#"{ kind = "counter", per_pulse = 0.5, persist_every = "1h" }"#;
    let output = r#"{ kind = "output" }"#;
    let stay = line("lamp", output, "") + &line("water", counter, "");
    let mut gateway = Gateway::start(&(stay.clone() + &line("fan", output, "")));
    let mut of_lamp = listener(&gateway, &Gateway::topic("data/lamp"));
    for name in ["lamp", "fan"] {
        gpio(&gateway, "gpio-set", json!({ "name": name, "value": true }));
    }
    gpio(&gateway, "gpio-pulse", json!({ "name": "water", "count": 4, "period_us": 5_000 }));
    gateway.wait("the total", |status| find(&status["gpio"], "water")["pulses"] == 4);
    assert!(of_lamp.take().payload.contains("true"));
    // The fan is changed: it is as at the start; a door is new.
    let changed = line("fan", output, "active_low = true") + &line("door", "\"input\"", "");
    let answer = gateway.take_config(&(stay.clone() + &changed));
    assert_eq!(names(&answer), ["GPIO line door", "GPIO line fan"]);
    let shown = gateway.wait("they are open", |status| {
        ["fan", "door"].iter().all(|name| find(&status["gpio"], name)["error"].is_null())
            && find(&status["gpio"], "fan")["actual"] == false
    });
    let lamp = find(&shown["gpio"], "lamp");
    assert_eq!((&lamp["actual"], &find(&shown["gpio"], "water")["pulses"]), (&json!(true), &json!(4)));
    gpio(&gateway, "gpio-set", json!({ "name": "fan", "value": true }));
    gpio(&gateway, "gpio-pulse", json!({ "name": "water", "count": 2, "period_us": 5_000 }));
    gateway.wait("it counts on", |status| find(&status["gpio"], "water")["pulses"] == 6);
    // A counter that is changed begins with its total, whenever that was to be on disk.
    let other = r#"{ kind = "counter", per_pulse = 0.5, persist_every = "30min" }"#;
    let answer = gateway.take_config(&(line("lamp", output, "") + &line("water", other, "")));
    assert_eq!(names(&answer), ["GPIO line door", "GPIO line fan", "GPIO line water"]);
    let shown = gateway.wait("the total is there", |status| find(&status["gpio"], "water")["pulses"] == 6);
    assert_eq!(shown["gpio"].as_array().unwrap().len(), 2);
    let refused = control::request(
        &gateway.socket(),
        &json!({ "op": "gpio-set", "gpio": { "name": "fan", "value": true } }),
    );
    assert!(refused.unwrap().to_string().contains("fan"), "there is no such line any more");
    // The lamp was never touched: it has told nothing since it was switched on.
    of_lamp.nothing();
    // All gone, and back.
    gateway.take_config("");
    gateway.take_config(&stay);
    gateway.wait("the total is there again", |status| find(&status["gpio"], "water")["pulses"] == 6);
}

#[test]
fn a_config_that_is_refused_touches_nothing() {
    let pty = Pty::open();
    let good = device("scale", pty.path(), "1", "") + &line("lamp", r#"{ kind = "output" }"#, "");
    let mut gateway = Gateway::start(&good);
    let mut data = listener(&gateway, &Gateway::topic("data/scale"));
    wait_open(&mut gateway, "scale-port");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = [
        device("scale", pty.path(), "0", "wrong = 1"),
        // All is right with the sensors, but not with the rest.
        device("scale", pty.path(), "5", "")
            + &format!("[[broker.listener]]\nname = \"x\"\nbind = \"{}\"\n", taken.local_addr().unwrap()),
        upstream(1) + "user_name = \"x\"\npassword = { file = \"/nowhere/password\" }\n",
    ];
    for (turn, rest) in refused.iter().enumerate() {
        gateway.configure(rest);
        let answer = gateway.ask("reload");
        assert_eq!(answer["outcome"], "refused", "{answer}");
        pty.line(&format!("{{\"n\": {turn}}}"));
        assert_eq!(value(&data.take()), json!(turn));
    }
    let shown = gateway.ask("status");
    assert_eq!((&shown["upstreams"], shown["gpio"].as_array().unwrap().len()), (&json!([]), 1));
    assert_eq!(gateway.log().matches("port is open").count(), 1);
}
