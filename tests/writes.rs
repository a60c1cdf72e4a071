//! Commands to devices, from outside: pymodbus holds what was written and its own client reads it, scripts on
//! pseudo-terminals take what devices are told in their own protocol.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::as_conversions,
    reason = "tests"
)]

mod raw;
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fieldgate::io::control;
use serde_json::{Value as Json, json};

use raw::{Client, Connect, Publish, V, text};
use support::*;

/// Slaves of pymodbus on a line of their own, with a side door by which pymodbus's client looks at what they hold.
struct Slaves {
    line: BusLine,
    _process: Process,
    door: u16,
}

impl Slaves {
    fn start(dir: &Path, habits: &[(u8, Habit)], devices: &Json) -> Self {
        let line = BusLine::open(habits.iter().copied());
        let (spec, door) = (dir.join("slaves.json"), free_port());
        std::fs::write(&spec, json!({ "devices": devices }).to_string()).unwrap();
        let place = line.slaves_path().to_str().unwrap().to_owned();
        let arguments = ["serial", &place, spec.to_str().unwrap(), &door.to_string()];
        let process = Python::Pymodbus.start("slaves.py", &arguments);
        eventually("pymodbus listens", || process.text().contains("ready").then_some(()));
        Self { line, _process: process, door }
    }

    fn hold(&self, what: &Json) -> Json {
        held(self.door, what)
    }
}

/// What slaves hold: rows of unit, function, address, type, word order.
fn held(port: u16, what: &Json) -> Json {
    let script = format!("{}/tests/py/pymodbus/read.py", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(Python::Pymodbus.interpreter());
    let printed = Process::run_well("read", command.arg(script).arg(port.to_string()).arg(what.to_string()));
    printed.lines().last().unwrap().parse().unwrap_or_else(|_| panic!("{printed}"))
}

fn serial_port(path: &Path) -> String {
    format!("[[port]]\nname = \"bus\"\npath = \"{}\"\nbaud = 115200\n\n", path.display())
}

fn device(name: &str, unit: u8, keys: &str) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nport = \"bus\"\ndecode = \"registers\"\nunit_id = {unit}\nevery = \"1s\"\n{keys}\n"
    )
}

fn point(name: &str, function: u8, address: u16, more: &str) -> String {
    format!(
        "[[device.points]]\nname = \"{name}\"\nfunction = {function}\naddress = {address}\nwritable = true\n{more}\n"
    )
}

fn write(gateway: &Gateway, device: &str, point: &str, value: &Json) -> Json {
    let request = json!({ "op": "write", "write": { "device": device, "point": point, "value": value } });
    control::request(&gateway.socket(), &request).unwrap_or_else(|error| panic!("{error}\n{}", gateway.log()))
}

/// The command as a person gives it: whether it is done, and what is shown.
fn by_hand(gateway: &Gateway, device: &str, point: &str, value: &str) -> (bool, String) {
    let mut command = fieldgate();
    command.args(["write", device, point, value, "--config"]).arg(gateway.config());
    let (status, shown) = Process::run("write", &mut command);
    (status.success(), shown.trim().to_owned())
}

/// Name, function, address, keys, what is written, what pymodbus must hold, its type and order.
type Row = (&'static str, u8, u16, &'static str, Json, Json, &'static str, &'static str);

/// Every type and word order.
fn every_type() -> Vec<Row> {
    let low = |kind: &str| -> &'static str {
        Box::leak(format!("type = \"{kind}\"\nword_order = \"low-word-first\"").into_boxed_str())
    };
    let mode = "type = \"u16\"\nmap = { 0 = \"off\", 2 = \"auto\" }";
    vec![
        ("u16", 3, 0, "type = \"u16\"", json!(65_535), json!(65_535), "UINT16", "big"),
        ("i16", 3, 1, "type = \"i16\"\nscale = 0.1", json!(-10.1), json!(-101), "INT16", "big"),
        ("u32", 3, 2, "type = \"u32\"", json!(4_000_000_001_u32), json!(4_000_000_001_u32), "UINT32", "big"),
        ("u32_low", 3, 4, low("u32"), json!(138_730), json!(138_730), "UINT32", "little"),
        ("i32", 3, 6, "type = \"i32\"", json!(-2_000_000_001), json!(-2_000_000_001), "INT32", "big"),
        ("i32_low", 3, 8, low("i32"), json!(-7), json!(-7), "INT32", "little"),
        (
            "u64",
            3,
            10,
            "type = \"u64\"",
            json!(9_007_199_254_740_993_u64),
            json!(9_007_199_254_740_993_u64),
            "UINT64",
            "big",
        ),
        ("u64_low", 3, 14, low("u64"), json!(77), json!(77), "UINT64", "little"),
        ("i64_low", 3, 22, low("i64"), json!(-78), json!(-78), "INT64", "little"),
        ("f32", 3, 30, "type = \"f32\"", json!(230.25), json!(230.25), "FLOAT32", "big"),
        ("f32_low", 3, 32, low("f32"), json!(-0.125), json!(-0.125), "FLOAT32", "little"),
        (
            "f64",
            3,
            34,
            "type = \"f64\"\nscale = 0.5",
            json!(617.283_945),
            json!(1_234.567_89),
            "FLOAT64",
            "big",
        ),
        ("f64_low", 3, 38, low("f64"), json!(-1e-9), json!(-1e-9), "FLOAT64", "little"),
        ("label", 3, 42, "type = \"string\"\nlength = 10", json!("PUMP-7"), json!("PUMP-7"), "STRING", "big"),
        ("mode", 3, 50, mode, json!("auto"), json!(2), "UINT16", "big"),
        ("alone", 3, 51, "type = \"u16\"\nwrite_function = 16", json!(7), json!(7), "UINT16", "big"),
        ("bit", 3, 52, "type = \"bit\"\nbit = 3", json!(true), json!(0x1209), "UINT16", "big"),
        (
            "part",
            3,
            53,
            "type = \"u16\"\nmask = 0xff00\nshift = 8",
            json!(0xab),
            json!(0xab34),
            "UINT16",
            "big",
        ),
        ("relay", 1, 5, "", json!("on"), json!(true), "BITS", ""),
        ("relay2", 1, 6, "write_function = 15", json!(true), json!(true), "BITS", ""),
    ]
}

/// Their registers before: what is a part of one has something beside it.
fn before() -> Json {
    json!({ "1": [[3, 52, "UINT16", "big", 0x1201], [3, 53, "UINT16", "big", 0x1234]] })
}

fn points() -> String {
    every_type()
        .iter()
        .map(|(name, function, address, keys, ..)| point(name, *function, *address, keys))
        .collect()
}

fn write_every_type(gateway: &Gateway, door: u16) {
    for (name, _, _, _, value, ..) in every_type() {
        let answer = write(gateway, "all", name, &value);
        assert_eq!(answer["result"], "done", "{name}: {answer}");
        let read = &answer["value"];
        let is_same = match (name, value.as_f64(), read.as_f64()) {
            ("relay", ..) => *read == json!(true),
            (_, Some(one), Some(other)) => (one - other).abs() < 1e-12,
            _ => *read == value,
        };
        assert!(is_same, "{name}: {read} was read back for {value}");
    }
    let row = |(_, function, address, _, _, _, kind, order): (_, u8, u16, _, _, _, &str, &str)| {
        json!([1, function, address, kind, order])
    };
    let what: Vec<Json> = every_type().into_iter().map(row).collect();
    let held = held(door, &json!(what));
    for ((name, .., expected, _, _), held) in every_type().into_iter().zip(held.as_array().unwrap()) {
        let held = held.as_str().map_or(held.clone(), |text| json!(text.trim_end_matches(['\0', ' '])));
        let is_same = match (held.as_f64(), expected.as_f64()) {
            (Some(one), Some(other)) if !expected.is_u64() && !expected.is_i64() => {
                (one - other).abs() < 1e-12
            }
            _ => held == expected,
        };
        assert!(is_same, "{name}: pymodbus holds {held}, not {expected}");
    }
}

#[test]
fn every_type_and_word_order_is_held_by_pymodbus_as_it_was_written_on_a_serial_line() {
    let mut gateway = Gateway::new("");
    let slaves = Slaves::start(gateway.dir.path(), &[], &before());
    gateway.configure(
        &(serial_port(slaves.line.gateway_path()) + &device("all", 1, "timeout = \"5s\"") + &points()),
    );
    gateway.start_again();
    gateway.wait_readings("all", 1);
    write_every_type(&gateway, slaves.door);
    // By the functions that the config wants.
    let requests = slaves.line.requests();
    let by = |function: u8, address: u8| {
        requests.iter().any(|request| request.bytes[1] == function && request.bytes[3] == address)
    };
    assert!(by(6, 0) && by(16, 2) && by(16, 51) && !by(6, 51) && by(5, 5) && by(15, 6) && !by(5, 6));
    // A person sees the value that it has then, and what is wrong with one that it can't have.
    assert_eq!(by_hand(&gateway, "all", "i16", "-3.5"), (true, "all/i16: -3.5".to_owned()));
    assert_eq!(slaves.hold(&json!([[1, 3, 1, "INT16", "big"]])), json!([-35]));
    for (point, value, words) in [
        ("i16", "4000", "4000 is not between -3276.8 and 3276.7, which the device can hold"),
        ("i16", "1.25", "1.25 lies between two steps of 0.1"),
        ("mode", "on", "expected one of off, auto"),
        ("label", "longer than ten", "the text has 15 bytes, the device takes 10"),
        ("relay", "toggle", "expected on, off, true, false, 1 or 0"),
    ] {
        let expected = format!("fieldgate: all/{point}: refused: {words}");
        assert_eq!(by_hand(&gateway, "all", point, value), (false, expected));
    }
    let (done, words) = by_hand(&gateway, "all", "nothing", "1");
    assert!(!done && words.contains("it has no \"nothing\" that can be set; it has u16, i16"), "{words}");
    let (done, words) = by_hand(&gateway, "nobody", "x", "1");
    assert!(!done && words.contains("there is no such device that takes commands"), "{words}");
    gateway.stop();
}

#[test]
fn modbus_tcp_is_written_the_same() {
    let port = free_port();
    let config = format!("[[port]]\nname = \"bus\"\nkind = \"tcp\"\naddress = \"127.0.0.1:{port}\"\n\n");
    let mut gateway = Gateway::new(&(config + &device("all", 1, "timeout = \"5s\"") + &points()));
    let spec = gateway.dir.path().join("slaves.json");
    std::fs::write(&spec, json!({ "devices": before() }).to_string()).unwrap();
    let process = Python::Pymodbus.start("slaves.py", &["tcp", &port.to_string(), spec.to_str().unwrap()]);
    eventually("pymodbus listens", || process.text().contains("ready").then_some(()));
    gateway.start_again();
    gateway.wait_readings("all", 1);
    write_every_type(&gateway, port);
    drop(process);
    gateway.wait("the port is down", |status| status["ports"][0]["state"] == "down");
    let answer = write(&gateway, "all", "u16", &json!(1));
    assert!(answer["error"].as_str().unwrap().contains("the port is down"), "{answer}");
    gateway.stop();
}

#[test]
fn the_dead_the_slow_and_the_echoing_are_told_apart() {
    let slow = Habit { delay: Duration::from_millis(800), ..Habit::default() };
    let habits = [
        (2, Habit { is_dead: true, ..Habit::default() }),
        (3, slow),
        (4, Habit { echoes: true, ..Habit::default() }),
    ];
    let mut gateway = Gateway::new("");
    let devices: serde_json::Map<String, Json> =
        (1..=4).map(|unit| (unit.to_string(), json!([[3, 0, "UINT16", "big", 1]]))).collect();
    let slaves = Slaves::start(gateway.dir.path(), &habits, &Json::Object(devices));
    let mut config = serial_port(slaves.line.gateway_path());
    for (name, unit, keys) in [
        // What it is asked when it dies must be over before a command to it is too old.
        ("well", 1, "timeout = \"2s\"\nretries = 0"),
        ("dead", 2, "timeout = \"200ms\""),
        ("slow", 3, "timeout = \"5s\""),
        ("echo", 4, "timeout = \"5s\""),
    ] {
        config += &device(name, unit, keys);
        config += &point("x", 3, 0, "type = \"u16\"\nmax = 100");
    }
    gateway.configure(&config);
    gateway.start_again();
    for name in ["well", "slow", "echo"] {
        gateway.wait_readings(name, 1);
    }
    let hold = |unit: u8| slaves.hold(&json!([[unit, 3, 0, "UINT16", "big"]]))[0].clone();
    let started = Instant::now();
    let answer = write(&gateway, "slow", "x", &json!(33));
    assert_eq!((&answer["result"], &answer["value"], hold(3)), (&json!("done"), &json!(33), json!(33)));
    assert!(started.elapsed() > Duration::from_millis(1_500), "the write and what is read back are slow");
    let answer = write(&gateway, "echo", "x", &json!(44));
    assert_eq!((&answer["result"], &answer["value"], hold(4)), (&json!("done"), &json!(44), json!(44)));
    // Nobody knows what a dead one has heard, until it is known to be offline: then nothing is sent.
    gateway.wait("it is offline", |status| find(&status["buses"][0]["devices"], "dead")["offline"] == true);
    let sent = || slaves.line.requests().iter().filter(|request| request.bytes[..2] == [2, 6]).count();
    let before = sent();
    let started = Instant::now();
    let answer = write(&gateway, "dead", "x", &json!(5));
    assert_eq!(answer["result"], "refused");
    assert!(
        answer["error"].as_str().unwrap().contains("the device is offline: no answer within"),
        "{answer}"
    );
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(sent(), before);
    // One that dies in between: told as what it is, and the others go on.
    slaves.line.set(1, Habit { is_dead: true, ..Habit::default() });
    let answer = write(&gateway, "well", "x", &json!(11));
    assert_eq!(answer["result"], "unknown", "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("sent, but not confirmed"), "{answer}");
    assert_eq!(write(&gateway, "echo", "x", &json!(45))["result"], "done");
    gateway.stop();
}

#[test]
fn a_command_of_the_lan_moves_a_register_once_and_never_late_and_its_answer_says_what_it_is() {
    let mut gateway = Gateway::new("");
    let slaves = Slaves::start(gateway.dir.path(), &[], &json!({ "1": [[3, 0, "UINT16", "big", 20]] }));
    let acl = "[[broker.user]]\nname = \"anna\"\npassword = { env = \"WRITES_ANNA\" }\n\
               [[broker.user]]\nname = \"guest\"\npassword = { env = \"WRITES_ANNA\" }\n\
               [[broker.acl]]\nuser = \"anna\"\nallow = [{ topic = \"#\" }]\n\
               [[broker.acl]]\nuser = \"guest\"\nallow = [{ topic = \"panel/#\" }]\n";
    let points = point("setpoint", 3, 0, "type = \"u16\"\nmin = 5\nmax = 30");
    let config = serial_port(slaves.line.gateway_path()) + &device("heater", 1, "timeout = \"5s\"") + &points;
    gateway.configure(&(config + acl));
    gateway.set_env("WRITES_ANNA", "secret");
    gateway.start_again();
    gateway.wait_readings("heater", 1);
    let hold = || slaves.hold(&json!([[1, 3, 0, "UINT16", "big"]]))[0].clone();
    let login = |name: &str| {
        let mut connect = Connect::new(V::V5, name);
        connect.user = Some(name.into());
        connect.password = Some("secret".into());
        connect
    };
    let mut anna = Client::connect(gateway.lan_port, &login("anna"));
    anna.subscribe("panel/#", 1);
    let command = |payload: &str, reply: &str, correlation: &[u8]| {
        Publish::new(Gateway::topic("cmd/heater/setpoint"), payload)
            .property(&[&[0x08], &text(reply)[..]].concat())
            .property(&[&[0x09], &text(correlation)[..]].concat())
    };
    let answer = |client: &mut Client| -> Json { client.take().text().parse().unwrap() };
    anna.send(&command("21", "panel/a", b"1").bytes(V::V5));
    let first = json!({"device": "heater", "point": "setpoint", "result": "done", "value": 21});
    assert_eq!((answer(&mut anna), hold()), (first, json!(21)));
    // The same once more, with another value: nothing moves, and the answer is that of the first.
    anna.send(&command("25", "panel/a", b"1").bytes(V::V5));
    let again = answer(&mut anna);
    assert_eq!((&again["value"], &again["duplicate"], hold()), (&json!(21), &json!(true), json!(21)));
    anna.send(&command("31", "panel/a", b"2").bytes(V::V5));
    let refused = answer(&mut anna);
    assert_eq!(
        (&refused["result"], &refused["error"]),
        (&json!("refused"), &json!("31 is not between 5 and 30"))
    );
    let mut retained = command("22", "panel/a", b"3");
    retained.retain = true;
    anna.send(&retained.bytes(V::V5));
    let refused = answer(&mut anna);
    assert!(refused["error"].as_str().unwrap().contains("retained"), "{refused}");
    // Whoever may not publish there commands nothing.
    let before = gateway.ask("health")["commands"].clone();
    let mut guest = Client::connect(gateway.lan_port, &login("guest"));
    guest.subscribe("panel/#", 1);
    guest.send(&command("29", "panel/b", b"4").bytes(V::V5));
    guest.nothing();
    assert_eq!((gateway.ask("health")["commands"].clone(), hold()), (before, json!(21)));
    // It is not carried out after a restart either.
    gateway.stop();
    gateway.start_again();
    gateway.wait_readings("heater", 2);
    assert_eq!((&gateway.ask("health")["commands"]["done"], hold()), (&json!(0), json!(21)));
    let log = gateway.log();
    let audited =
        log.lines().filter(|line| line.contains("device=\"heater\"") && line.contains(" command")).count();
    assert_eq!(audited, 4, "a line for each: {log}");
    gateway.stop();
}

#[test]
fn what_an_upstream_kept_while_the_gateway_was_away_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let central = Mosquitto::start(dir.path());
    let mut gateway = Gateway::new("");
    let slaves = Slaves::start(gateway.dir.path(), &[], &json!({ "1": [[3, 0, "UINT16", "big", 20]] }));
    let maps = "[[upstream.map]]\nfilter = \"fieldgate/gw/data/#\"\n\
                [[upstream.map]]\nfilter = \"fieldgate/gw/cmd/#\"\ndirection = \"in\"\n";
    let config = serial_port(slaves.line.gateway_path())
        + &device("heater", 1, "timeout = \"5s\"")
        + &point("setpoint", 3, 0, "type = \"u16\"");
    gateway.configure(&(config + &upstream(central.port) + "version = \"5\"\n" + maps));
    gateway.start_again();
    gateway.wait_online();
    gateway.wait_readings("heater", 1);
    let tap = Tap::subscribe(central.port, "fieldgate/gw/data/#");
    let command =
        |value: &str| publish_with(central.port, &Gateway::topic("cmd/heater/setpoint"), value, &["-q", "1"]);
    let hold = || slaves.hold(&json!([[1, 3, 0, "UINT16", "big"]]))[0].clone();
    command("21");
    tap.wait("the actual state goes up", |message| message.json()["values"]["setpoint"] == 21);
    assert_eq!(hold(), json!(21));
    gateway.stop();
    command("22");
    gateway.start_again();
    gateway
        .wait("it came, and was dropped", |all| all["upstreams"][0]["inward"]["drops"]["old_commands"] == 1);
    gateway.wait_readings("heater", 2);
    assert_eq!((hold(), &gateway.ask("health")["commands"]["done"]), (json!(21), &json!(0)));
    gateway.stop();
}

/// Takes lines from a pseudo-terminal, and says what the script makes of them, from a thread that ends with the test.
fn script(pty: &Pty, mut says: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
    let pty = pty.clone();
    std::thread::spawn(move || {
        let (mut heard, begin) = (Vec::new(), Instant::now());
        while begin.elapsed() < Duration::from_secs(120) {
            heard.extend(pty.taken());
            if let Some(answer) = says(&heard) {
                heard.clear();
                pty.write(&answer);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
}

#[test]
fn a_device_that_sends_by_itself_takes_a_text_and_its_answer_is_waited_for() {
    let pty = Pty::open();
    script(&pty, |heard| {
        let line = std::str::from_utf8(heard).unwrap().strip_suffix("\r\n")?;
        Some(match line.strip_prefix("SP") {
            // A reading stands before the answer, as with a device that has its own mind.
            Some(value) if value != "013.00" => format!("set={value}\r\nOK\r\n").into_bytes(),
            Some(_) => b"ERR 13\r\n".to_vec(),
            None if line == "RESET" => b"set=0\r\n".to_vec(),
            None => b"?\r\n".to_vec(),
        })
    });
    let config = format!(
        "[[port]]\nname = \"tty\"\npath = \"{}\"\n\n\
         [[device]]\nname = \"heater\"\nport = \"tty\"\ndecode = \"key-value\"\npoints = \"*\"\n\
         [[device.commands]]\nname = \"setpoint\"\nmin = 5\nmax = 30\nsend = \"SP{{value:06.2}}\\r\\n\"\n\
         expect = '^OK'\ntimeout = \"2s\"\n\
         [[device.commands]]\nname = \"reset\"\nsend = \"RESET\\r\\n\"\n",
        pty.path().display()
    );
    let mut gateway = Gateway::start(&config);
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    pty.line("set=20");
    gateway.wait_readings("heater", 1);
    assert_eq!(
        by_hand(&gateway, "heater", "setpoint", "21.5"),
        (true, "heater/setpoint: done; the device tells no value".into())
    );
    tap.wait("what it says of itself", |message| message.json()["values"]["set"] == 21.5);
    // Over MQTT the same.
    publish(gateway.lan_port, &Gateway::topic("cmd/heater/setpoint"), "22.25");
    tap.wait("the next", |message| message.json()["values"]["set"] == 22.25);
    let (done, words) = by_hand(&gateway, "heater", "setpoint", "13");
    assert!(!done && words.ends_with("not confirmed within 2s: it said \"ERR 13\""), "{words}");
    let (done, words) = by_hand(&gateway, "heater", "setpoint", "30.5");
    assert!(!done && words.ends_with("refused: 30.5 is not between 5 and 30"), "{words}");
    let (done, words) = by_hand(&gateway, "heater", "setpoint", "20.125");
    assert!(!done && words.contains("more digits behind the point than the 2"), "{words}");
    assert_eq!(write(&gateway, "heater", "reset", &json!("on"))["result"], "done");
    tap.wait("it was told", |message| message.json()["values"]["set"] == 0);
    let status = gateway.ask("status");
    assert_eq!(find(&status["devices"], "heater")["bad_lines"], 1, "ERR 13 alone, which nobody expected");
    gateway.stop();
}

#[test]
fn a_device_that_is_asked_takes_bytes_with_a_check_and_is_asked_again_at_once() {
    let pty = Pty::open();
    let mut level = 0x0190_u16;
    script(&pty, move |heard| {
        let framed = |body: &[u8]| {
            let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            [body, &[sum]].concat()
        };
        if heard == [0xa0, 0x01] {
            let [high, low] = level.to_be_bytes();
            return Some(framed(&[0xa0, high, low]));
        }
        let (body, _) = heard.split_at_checked(4).filter(|_| heard.len() == 5)?;
        let is_right = heard == framed(body) && body[..2] == [0xa1, 0x02];
        if is_right {
            level = u16::from_be_bytes([body[2], body[3]]);
        }
        Some(framed(&[0xa1, if is_right { 0x06 } else { 0x15 }]))
    });
    let config = format!(
        "[[port]]\nname = \"tty\"\npath = \"{}\"\n\n\
         [[device]]\nname = \"pump\"\nport = \"tty\"\nevery = \"1h\"\ntimeout = \"2s\"\ndecode = \"binary\"\n\
         poll = {{ send = \"a0 01\" }}\nframing = {{ kind = \"packet\", sync = \"a0\", length = 4 }}\ncheck = \"sum8\"\n\
         points = [{{ name = \"level\", at = 1, type = \"u16\", scale = 0.1 }}]\n\
         [[device.commands]]\nname = \"level\"\nscale = 0.1\nmax = 100\nsend_hex = \"a1 02 {{value:u16be}}\"\n\
         check = \"sum8\"\nexpect_hex = \"a1 06\"\n",
        pty.path().display()
    );
    let mut gateway = Gateway::start(&config);
    gateway.wait_readings("pump", 1);
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/pump"));
    assert_eq!(write(&gateway, "pump", "level", &json!(55.5))["result"], "done");
    tap.wait("it is asked at once, not in an hour", |message| message.json()["values"]["level"] == 55.5);
    let answer = write(&gateway, "pump", "level", &json!(100.5));
    assert_eq!(answer["error"], "pump/level: refused: 100.5 is not 100 or below");
    gateway.stop();
}

#[test]
fn the_alarm_threshold_of_a_known_meter_is_written_by_its_profile() {
    let mut gateway = Gateway::new("");
    let slaves = Slaves::start(gateway.dir.path(), &[], &json!({ "1": [[3, 1, "UINT16", "big", 23_000]] }));
    let config = serial_port(slaves.line.gateway_path())
        + "[[device]]\nname = \"pzem\"\nport = \"bus\"\nprofile = \"pzem-004t-v3\"\ntimeout = \"5s\"\n";
    gateway.configure(&config);
    gateway.start_again();
    gateway.wait_readings("pzem", 1);
    assert_eq!(write(&gateway, "pzem", "alarm_threshold", &json!(2_300))["value"], 2_300);
    assert_eq!(slaves.hold(&json!([[1, 3, 1, "UINT16", "big"]])), json!([2_300]));
    let refused = write(&gateway, "pzem", "power", &json!(1));
    assert_eq!(
        refused["error"],
        "pzem/power: refused: it has no \"power\" that can be set; it has alarm_threshold"
    );
    gateway.stop();
}

#[test]
fn a_carbon_dioxide_sensor_gets_the_bytes_that_its_maker_prints() {
    let pty = Pty::open();
    let sink = Arc::new(Mutex::new(Vec::new()));
    let heard: Arc<Mutex<Vec<u8>>> = sink.clone();
    script(&pty, move |bytes| {
        if bytes == [0xff, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79] {
            return Some(vec![0xff, 0x86, 0x02, 0x60, 0x47, 0, 0, 0, 0xd1]);
        }
        if bytes.len() == 9 {
            *heard.lock().unwrap() = bytes.to_vec();
            return Some(Vec::new());
        }
        None
    });
    let config = serial_port(pty.path()).replace("115200", "9600")
        + "[[device]]\nname = \"co2\"\nport = \"bus\"\nprofile = \"mh-z19\"\nevery = \"1h\"\ntimeout = \"5s\"\n";
    let mut gateway = Gateway::start(&config);
    gateway.wait_readings("co2", 1);
    for (value, expected) in [
        ("on", [0xff, 0x01, 0x79, 0xa0, 0, 0, 0, 0, 0xe6]),
        ("off", [0xff, 0x01, 0x79, 0x00, 0, 0, 0, 0, 0x86]),
    ] {
        assert_eq!(write(&gateway, "co2", "self_calibration", &json!(value))["result"], "done");
        eventually("the sensor heard it", || (*sink.lock().unwrap() == expected).then_some(()));
    }
    gateway.stop();
}
