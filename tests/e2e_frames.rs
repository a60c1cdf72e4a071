//! Sensors that send bytes, from outside: frames on a serial line to a broker by a profile of two lines; the commands
//! that show profiles and try a capture.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Gateway, Mosquitto, Pty, Tap, find, upstream};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn fieldgate(arguments: &[&str], input: &Path) -> Output {
    let input = std::fs::File::open(input).unwrap();
    Command::new(env!("CARGO_BIN_EXE_fieldgate")).args(arguments).stdin(input).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn frames_of_a_dust_sensor_reach_the_upstream_through_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let sensor = Pty::open();
    let config = format!(
        "[[port]]\nname = \"usb0\"\npath = \"{}\"\n[[device]]\nname = \"air\"\nport = \"usb0\"\nprofile = \"pms5003\"\n\
         only = [\"pm25\", \"n0_3\"]\n{}",
        sensor.path().display(),
        upstream(mosquitto.port)
    );
    let mut gateway = Gateway::start(&config);
    gateway.wait_online();
    sensor.write(&std::fs::read(fixture("plantower/stream-damaged.bin")).unwrap());
    sensor.write(&std::fs::read(fixture("plantower/pmsx003.bin")).unwrap());
    tap.wait("the last of fifteen readings", |message| {
        message.json()["seq"].as_str().is_some_and(|seq| seq.ends_with("-15"))
    });
    let oracle = std::fs::read_to_string(fixture("plantower/pmsx003.expected.jsonl")).unwrap();
    let oracle: Vec<serde_json::Value> =
        oracle.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [1, 2, 4, 5, 7].into_iter().chain(0..10).map(|row| &oracle[row]["values"]);
    let messages = tap.messages();
    assert_eq!(messages.len(), 15);
    for (message, expected) in messages.iter().zip(expected) {
        let values = &message.json()["values"];
        assert_eq!(values.as_object().unwrap().len(), 2);
        assert_eq!(values["pm25"].as_f64(), expected["pm25"].as_f64());
        assert_eq!(values["n0_3"].as_f64(), expected["n0_3"].as_f64());
    }
    let status = gateway.ask("status");
    let device = find(&status["devices"], "air");
    assert_eq!(device["readings"], 15);
    assert!(device["bad_lines"].as_u64().unwrap() >= 2, "{device}");
    gateway.stop();
}

#[test]
fn a_capture_is_tried_by_a_profile_or_by_a_file() {
    let capture = fixture("plantower/stream-damaged.bin");
    let output = fieldgate(&["decode", "--profile", "pms5003"], &capture);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(shown.contains("pm25 = 7 ug/m3"), "{shown}");
    assert!(shown.contains("bad        32 bytes  42 4d 00 1c"), "{shown}");
    assert!(shown.contains("check sum16: computed"), "{shown}");
    assert!(shown.contains("5 frames with values, 0 without, 2 bad"), "{shown}");
    assert!(!shown.contains('\x1b'), "no colours where nobody looks");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dust.toml");
    std::fs::write(
        &file,
        "[[device]]\nname = \"air\"\nport = \"x\"\nprofile = \"pms5003\"\nonly = [\"pm10\"]\n",
    )
    .unwrap();
    let output = fieldgate(&["decode", "--json", "--device", file.to_str().unwrap()], &capture);
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let frames: Vec<&serde_json::Value> = lines.iter().filter(|line| line["frame"].is_string()).collect();
    assert_eq!((frames.len(), &frames[0]["values"]), (5, &serde_json::json!({ "pm10": 7.0 })));
    let last = lines.last().unwrap();
    assert_eq!((&last["frames"], &last["bad"]), (&serde_json::json!(5), &serde_json::json!(2)));

    // The sensor of another maker: nothing, and that is told by the exit code.
    let output = fieldgate(&["decode", "--profile", "sds011"], &capture);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    std::fs::write(&file, "[[device]]\nname = \"air\"\nport = \"x\"\nprofile = \"pms503\"\n").unwrap();
    let output = fieldgate(&["decode", "--device", file.to_str().unwrap()], &capture);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean \"pms5003\"?"), "{}", text(&output.stderr));
}

#[test]
fn profiles_are_listed_shown_and_replaced_by_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("fieldgate.toml");
    let own = dir.path().join("profiles");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(&config, format!("[gateway]\nprofiles_dir = \"{}\"\n", own.display())).unwrap();
    let config = config.to_str().unwrap();
    let nothing = Path::new("/dev/null");
    let list = text(&fieldgate(&["profile", "list", "--config", config], nothing).stdout);
    assert!(list.lines().any(|line| line.starts_with("sds011 ") && line.contains("Nova Fitness")), "{list}");

    let shown = fieldgate(&["profile", "show", "sds011", "--config", config], nothing);
    let toml = text(&shown.stdout);
    assert!(toml.contains("sync = \"aa c0\""), "{toml}");
    // As it is shown it is a profile; changed, it takes the place of the built-in one.
    std::fs::write(own.join("sds011.toml"), toml.replace("name = \"pm25\"", "name = \"fine\"")).unwrap();
    let list = text(&fieldgate(&["profile", "list", "--config", config], nothing).stdout);
    assert!(list.lines().any(|line| line.starts_with("sds011 ") && line.ends_with("(your own)")), "{list}");

    let device = format!(
        "[gateway]\nprofiles_dir = \"{}\"\n[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\n\
         port = \"p\"\nprofile = \"sds011\"\nonly = [\"fine\"]\n",
        own.display()
    );
    let whole = dir.path().join("whole.toml");
    std::fs::write(&whole, &device).unwrap();
    let checked = fieldgate(&["check", whole.to_str().unwrap()], nothing);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    // A mistake in it stands in its own file.
    std::fs::write(own.join("sds011.toml"), toml.replace("length = 10", "lenght = 10")).unwrap();
    let checked = fieldgate(&["check", whole.to_str().unwrap()], nothing);
    let told = text(&checked.stderr);
    assert!(told.contains("profiles/sds011.toml:") && told.contains("did you mean \"length\"?"), "{told}");

    let unknown = fieldgate(&["profile", "show", "sds11", "--config", config], nothing);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("did you mean \"sds011\"?"), "{}", text(&unknown.stderr));
}
