//! What a person asks the gateway: the control socket, `fieldgate status`, `fieldgate check`, exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::{Value as Json, json};
use support::{Gateway, Mosquitto, Process, Pty, Tap, fieldgate, free_port, json_device, upstream};

#[test]
fn the_control_socket_answers_each_request_with_a_line_of_json() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let sensor = Pty::open();
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream(mosquitto.port)));
    gateway.wait_online();
    sensor.line(r#"{"kg":2.5,"stable":true}"#);
    gateway.wait_readings("scale", 1);
    gateway.wait_drained();
    let stream = UnixStream::connect(gateway.socket()).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut ask = |request: &str| -> Json {
        (&stream).write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    };
    let status = ask(r#"{"op":"status"}"#);
    let expected =
        json!({"state": "ok", "problems": [], "gateway": Gateway::ID, "run": 1, "clock": "synced"});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&status[key], value, "{key} in {status}");
    }
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["rss_bytes"].as_u64() > Some(1_000_000) && status["disk_free_bytes"].as_u64() > Some(0));
    let upstream = &status["upstreams"][0];
    assert_eq!((&upstream["delivered"], &upstream["connections"]), (&1.into(), &1.into()), "{upstream}");
    let readings = ask(r#"{"op":"readings"}"#);
    assert_eq!(readings, status_readings(&status, &readings));
    assert_eq!(readings[0]["values"], json!({"kg": 2.5, "stable": true}));
    assert_eq!(readings[0]["seq"], "1-1");
    let backlog = ask(r#"{"op":"backlog"}"#);
    assert_eq!(
        backlog,
        json!([{"upstream": "up", "messages": 0, "bytes": 0, "oldest_s": null, "in_memory_only": 0, "refused": []}])
    );
    assert_eq!(ask(r#"{"op":"health"}"#)["ports"][0]["state"], "open");
    // A mistake is told, and the next request is served.
    for wrong in ["{}", "nonsense", r#"{"op":"reboot"}"#, r#"{"op":"status","x":1}"#, "\0", ""] {
        let error = ask(wrong)["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("status|health|readings|backlog"), "{wrong:?}: {error:?}");
    }
    let misplaced = [
        r#"{"op":"status","upstream":"u"}"#,
        r#"{"op":"health","all":true}"#,
        r#"{"op":"deadletters","before":1}"#,
        r#"{"op":"store-stat","action":"purge"}"#,
        r#"{"op":"store-stat","for_s":1}"#,
    ];
    for misplaced in misplaced {
        let error = ask(misplaced)["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("go with ") || error.contains("goes with "), "{misplaced:?}: {error:?}");
    }
    assert_eq!(ask(r#"{"op":"status"}"#)["state"], "ok");
    let mode = std::fs::metadata(gateway.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "the service's group may ask, nobody else");
    gateway.stop();
    assert!(!gateway.socket().exists(), "a clean stop takes the socket away");
}

/// What status says of the readings, with the ages of another answer: time goes on between the two.
fn status_readings(status: &Json, other: &Json) -> Json {
    let mut readings = status["readings"].clone();
    for (reading, other) in readings.as_array_mut().unwrap().iter_mut().zip(other.as_array().unwrap()) {
        reading["age_s"] = other["age_s"].clone();
    }
    readings
}

#[test]
fn a_socket_left_by_a_crash_is_replaced() {
    let mut gateway = Gateway::start("");
    gateway.kill9();
    assert!(gateway.socket().exists());
    gateway.start_again();
    assert_eq!(gateway.ask("status")["run"], 2);
}

#[test]
fn status_is_a_screen_for_people_with_an_exit_code_for_scripts() {
    let sensor = Pty::open();
    let mut gateway = Gateway::start(&json_device("scale", sensor.path()));
    sensor.line(r#"{"kg":2.5}"#);
    gateway.wait_readings("scale", 1);
    gateway.wait("all is well", |status| status["state"] == "ok");
    let (code, screen) = status(fieldgate_status(&gateway).arg("--json"));
    assert_eq!(code, 0, "{screen}");
    let json: Json = serde_json::from_str(&screen).unwrap();
    assert_eq!(json["gateway"], Gateway::ID);
    let (code, screen) = status(&mut fieldgate_status(&gateway));
    assert_eq!(code, 0, "{screen}");
    for part in ["gw is ok (fieldgate ", "scale", "kg=2.5", "127.0.0.1:", "clients"] {
        assert!(screen.contains(part), "{part:?} in {screen}");
    }
    for what in ["readings", "backlog", "health"] {
        let (code, screen) = status(fieldgate_status(&gateway).arg(what));
        assert_eq!(code, 0, "{what}: {screen}");
        let answer: Json = serde_json::from_str(&screen).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.is_object(), what == "health", "{what}: {answer}");
    }
    let (code, screen) = status(fieldgate().args(["status", "--config"]).arg(gateway.config()));
    assert_eq!(code, 0, "the config names the socket: {screen}");

    gateway.stop();
    let (code, screen) = status(&mut fieldgate_status(&gateway));
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("no gateway answers on") && screen.contains("is it running?"), "{screen}");

    gateway.configure(&upstream(free_port()));
    gateway.start_again();
    gateway.wait("the upstream is told", |status| {
        status["upstreams"][0]["error"].as_str().is_some_and(|error| error.contains("connection refused"))
    });
    let (code, screen) = status(&mut fieldgate_status(&gateway));
    assert_eq!(code, 3, "degraded has a code of its own: {screen}");
    assert!(screen.contains("gw is degraded") && screen.contains("! upstream up is offline: "), "{screen}");
}

fn fieldgate_status(gateway: &Gateway) -> Command {
    let mut command = fieldgate();
    command.args(["status", "--socket"]).arg(gateway.socket());
    command
}

fn status(command: &mut Command) -> (i32, String) {
    let (status, text) = Process::run("fieldgate status", command);
    (status.code().expect("an exit code"), text)
}

#[test]
fn check_prints_every_mistake_with_its_place_and_exits_with_2() {
    let gateway = Gateway::new(
        "[[port]]\nname = \"usb0\"\npath = \"/dev/ttyUSB0\"\nbauds = 9600\nparity = \"od\"\n\n\
         [[device]]\nname = \"scale\"\nport = \"usb1\"\ndecode = \"json\"\npoints = \"*\"\nstale_after = \"5\"\n\n\
         [[upstream]]\nport = 70000\n",
    );
    let (code, text) = check(&gateway);
    assert_eq!(code, 2, "{text}");
    let mistake = |message: &str, place: &str, line: &str, caret: &str, help: &str| {
        let number = place.split(':').next().unwrap();
        let help = if help.is_empty() { String::new() } else { format!("   = help: {help}\n") };
        let file = gateway.config().display().to_string();
        format!("error: {message}\n  --> {file}:{place}\n   |\n{number} | {line}\n   | {caret}\n{help}\n")
    };
    let duration = "write a whole number and ms, s, min, h or d, such as \"5s\"";
    let expected = [
        mistake(
            "unknown key \"bauds\" in [[port]]",
            "15:1",
            "bauds = 9600",
            "^^^^^",
            "did you mean \"baud\"?",
        ),
        mistake(
            "parity: expected \"none\", \"odd\" or \"even\", found string \"od\"",
            "16:10",
            "parity = \"od\"",
            "         ^^^^",
            "did you mean \"odd\"?",
        ),
        mistake(
            "port: there is no [[port]] with the name \"usb1\"",
            "20:8",
            "port = \"usb1\"",
            "       ^^^^^^",
            "did you mean \"usb0\"?",
        ),
        mistake(
            "stale_after: \"5\" is no duration",
            "23:15",
            "stale_after = \"5\"",
            "              ^^^",
            duration,
        ),
        mistake(
            "[[upstream]] has no \"host\"",
            "25:1",
            "[[upstream]]",
            "^^^^^^^^^^^^",
            "add host = \"mqtt.example.com\"",
        ),
        mistake("port: 70000 is not between 1 and 65535", "26:8", "port = 70000", "       ^^^^^", ""),
    ];
    assert_eq!(text.trim_end(), format!("fieldgate: {}6 mistakes", expected.concat()));
    // Running says the same, and does not start.
    let (status, run) =
        Process::run("fieldgate run", fieldgate().args(["run", "--config"]).arg(gateway.config()));
    assert_eq!((status.code(), run), (Some(2), text));
    assert!(!gateway.data_dir().exists());
}

#[test]
fn check_says_what_a_right_config_has() {
    let sensor = Pty::open();
    let gateway = Gateway::new(&(json_device("scale", sensor.path()) + &upstream(1883)));
    let (code, text) = check(&gateway);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("gateway gw, 1 port, 1 device, 0 GPIO lines, 1 listener, 1 upstream"), "{text}");
}

fn check(gateway: &Gateway) -> (i32, String) {
    let (status, text) = Process::run("fieldgate check", fieldgate().arg("check").arg(gateway.config()));
    (status.code().expect("an exit code"), text)
}

#[test]
fn wrong_arguments_exit_with_2_and_help_with_0() {
    for (arguments, code) in [
        (&["fly"][..], 2),
        (&["run", "--confg", "x"], 2),
        (&[], 2),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
    ] {
        let (status, text) = Process::run("fieldgate", fieldgate().args(arguments));
        assert_eq!(status.code(), Some(code), "{arguments:?}: {text}");
        assert!(!text.is_empty());
    }
}

#[test]
fn lan_subscribers_see_readings_status_and_health_of_the_gateway() {
    let sensor = Pty::open();
    let mut gateway = Gateway::start(&json_device("scale", sensor.path()));
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("#"));
    sensor.line(r#"{"kg":2.5}"#);
    let reading = tap.wait("the reading", |message| message.topic == Gateway::topic("data/scale"));
    let json = reading.json();
    assert_eq!((&json["values"], &json["seq"]), (&json!({"kg": 2.5}), &"1-1".into()));
    assert!(json["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{json}");
    assert!(json.get("time_quality").is_none(), "the clock is trusted: {json}");
    let status = tap.wait("the status", |message| message.topic == Gateway::topic("status"));
    assert_eq!(status.json()["state"], "online");
    let health = tap.wait("the health", |message| message.topic == Gateway::topic("health"));
    assert_eq!(health.json()["gateway"], Gateway::ID);
    gateway.stop();
    tap.wait("the farewell", |message| {
        message.topic == Gateway::topic("status") && message.json()["state"] == "offline"
    });
}

#[test]
fn the_running_gateway_has_its_allocator_told_to_give_large_blocks_back() {
    let gateway = Gateway::start("");
    let process = format!("/proc/{}", gateway.pid());
    let name = std::fs::read_to_string(format!("{process}/comm")).unwrap();
    assert_eq!(name.trim(), "fieldgate");
    let environment = std::fs::read(format!("{process}/environ")).unwrap();
    let is_told = environment.split(|&byte| byte == 0).any(|entry| entry == b"MALLOC_MMAP_THRESHOLD_=131072");
    assert_eq!(is_told, cfg!(target_env = "gnu"));
}
