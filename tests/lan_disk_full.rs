//! A disk that is full: what can't be kept is not acknowledged, everybody can see why, and it heals by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::Write;

use support::{Gateway, Process, Tap, client, eventually, fieldgate, publish_with};

/// Publishes with QoS 1, and ends with its acknowledgement.
fn publisher(port: u16, payload: &str) -> Process {
    let mut command = client("mosquitto_pub");
    let port = port.to_string();
    command.args(["-h", "127.0.0.1", "-p", &port, "-t", "plant/pump", "-m", payload, "-q", "1"]);
    Process::start("mosquitto_pub", &mut command)
}

#[test]
fn a_full_disk_holds_acknowledgements_back_says_so_and_heals() {
    let mut gateway = Gateway::new("");
    gateway.set_disk("24m");
    gateway.start_again();
    let port = gateway.lan_port;
    Tap::register(port, "plant/#", "sleeper", &[]);
    publish_with(port, "plant/pump", "before", &["-q", "1"]);
    let before = gateway.ask("status");
    assert_eq!((&before["state"], &before["store"]["state"]), (&"ok".into(), &"ok".into()), "{before}");
    assert!(before["broker"]["commits"].as_u64() > Some(0), "{before}");

    let path = gateway.own_data_dir().join("filler");
    let mut filler = std::fs::File::create(&path).unwrap();
    let block = vec![7_u8; 4096];
    while filler.write_all(&block).is_ok() {}

    // It must not fit into what the file had room for already.
    let mut waiting = publisher(port, &"x".repeat(100_000));
    let status = gateway.wait("it says that it can't write", |status| status["store"]["state"] == "failing");
    assert_eq!(status["state"], "degraded");
    let problem = status["problems"][0].as_str().unwrap();
    assert!(problem.contains("sessions and retained messages can't be written"), "{problem}");
    assert!(status["broker"]["commit_failures"].as_u64() > Some(0), "{status}");
    let (code, text) =
        Process::run("fieldgate status", fieldgate().arg("status").arg("--socket").arg(gateway.socket()));
    assert_eq!(code.code(), Some(3), "{text}");
    assert!(text.contains("can't be written"), "{text}");
    assert!(waiting.is_running(), "it was acknowledged");
    // Nobody is kept out, and what needs no disk works.
    let tap = Tap::resume(port, "other/#", "latecomer", &[]);
    eventually("messages pass", || {
        publish_with(port, "other/x", "passes", &["-q", "0"]);
        (!tap.messages().is_empty()).then_some(())
    });

    std::fs::remove_file(&path).unwrap();
    drop(filler);
    assert!(waiting.wait_end(support::PATIENCE).success(), "{}", waiting.text());
    let status = gateway.wait("all is well again", |status| status["store"]["state"] == "ok");
    assert_eq!(status["state"], "ok", "{status}");
    assert!(gateway.log().contains("sessions and retained messages are on disk again"));
    let tap = Tap::resume(port, "plant/#", "sleeper", &[]);
    tap.wait_payload("before");
    tap.wait("the one that waited", |message| message.payload.len() == 100_000);
}
