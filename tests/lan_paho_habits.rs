//! What scripts on paho-mqtt do every day (`tests/py/everyday.py`), on 1.6.1 and on 2, against the LAN broker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Certificates, Gateway, Process, Python, free_port};

const HABITS: [&str; 15] = [
    "publish_single",
    "publish_multiple",
    "subscribe_simple",
    "subscribe_callback",
    "list_subscribe",
    "connect_async",
    "connect_srv",
    "reinitialise",
    "reconnect_delay_set",
    "inflight_and_queue",
    "tls_set_and_insecure",
    "ws_set_options",
    "will_set",
    "leading_slash",
    "downgrade_to_3_1",
];

/// All habits; some seconds on an idle machine.
const SCRIPT_MAX: Duration = Duration::from_secs(120);

fn check(python: Python) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let [tls, elsewhere, ws, old] = [(); 4].map(|()| free_port());
    let listener = |name: &str, port: u16, more: &str| {
        format!("[[broker.listener]]\nname = \"{name}\"\nbind = \"127.0.0.1:{port}\"\n{more}\n")
    };
    let with_certificate = |file: &str, name: &str| {
        let issued = authority.issue(file, name);
        format!("tls = {{ cert = {:?}, key = {:?} }}", issued.certificate, issued.key)
    };
    let config = [
        listener("tls", tls, &with_certificate("listener", "IP:127.0.0.1")),
        listener("elsewhere", elsewhere, &with_certificate("elsewhere", "DNS:elsewhere.test")),
        listener("ws", ws, "websocket = { path = \"/broker\" }"),
        listener("old", old, "versions = [\"3.1\"]"),
    ];
    let gateway = Gateway::start(&config.concat());
    let ways = serde_json::json!({
        "tcp": gateway.lan_port, "tls": tls, "elsewhere": elsewhere, "ws": ws, "old": old,
        "ca": authority.authority(),
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/py/everyday.py");
    let mut command = Command::new(python.interpreter());
    command.args(["-u", "-W", "ignore::DeprecationWarning"]).arg(script).arg(ways.to_string());
    let mut process = Process::start("everyday.py", &mut command);
    assert!(process.wait_end(SCRIPT_MAX).success(), "{}", process.text());
    let told = process.parsed(|line| {
        let (result, habit) = line.text.split_once(' ')?;
        matches!(result, "ok" | "failed").then(|| (result.to_owned(), habit.to_owned()))
    });
    let expected: Vec<_> = HABITS.iter().map(|habit| ("ok".to_owned(), (*habit).to_owned())).collect();
    assert_eq!(told, expected);
}

#[test]
fn scripts_on_paho_mqtt_1_do_what_they_always_did() {
    check(Python::Paho1);
}

#[test]
fn scripts_on_paho_mqtt_2_do_what_they_always_did() {
    check(Python::Paho2);
}
