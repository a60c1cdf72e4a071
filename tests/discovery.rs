//! The gateway is found by a neighbour: another network namespace at the other end of a virtual cable, where python-zeroconf
//! looks for it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value as Json;
use support::{Gateway, Process, Python, within};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(90);

/// Has the neighbour's namespace a cable to that of the process `$1`, and runs the rest there.
const CABLE: &str = r#"
ip link set lo up
ip link add near type veth peer name far netns "$1"
ip addr add 10.99.0.2/24 dev near
ip link set near up
nsenter --target "$1" --net sh -c 'ip link set lo up; ip addr add 10.99.0.1/24 dev far; ip link set far up'
shift
exec "$@"
"#;

fn config(mdns: bool, tail: &str) -> String {
    format!(
        "[web]\nbind = \"[::]:8443\"\n[discovery]\nmdns = {mdns}\n\
         [[broker.listener]]\nname = \"lan\"\nbind = \"0.0.0.0:1883\"\nallow_anonymous = true\n{tail}"
    )
}

/// What the neighbour has found last.
fn found(neighbour: &Process) -> Json {
    let text = neighbour.text();
    let last = text.lines().rev().find(|line| line.starts_with("{\"host\""));
    last.map_or(Json::Null, |line| serde_json::from_str(line).unwrap())
}

fn wait_found(neighbour: &Process, what: &str, wanted: impl Fn(&Json) -> bool) -> Json {
    within(PATIENCE, what, || {
        let found = found(neighbour);
        wanted(&found).then_some(found)
    })
}

#[test]
fn a_neighbour_finds_the_page_and_the_broker_as_long_as_it_may() {
    assert!(rustix::process::geteuid().is_root(), "a cable between two networks takes root");
    let mut gateway = Gateway::new(&config(true, ""));
    gateway.set_wrapper(["unshare", "--net"].map(str::to_owned).to_vec());
    gateway.launch();
    // Without any network there is nobody to be told, and nothing wrong.
    let status = gateway.wait("it answers", |status| status["web"]["address"].is_string());
    assert_eq!(status["web"]["local_name"], Json::Null);
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-ec", CABLE, "sh", &gateway.pid().to_string()]);
    command.arg(Python::Web.interpreter()).arg("-u").arg(Python::Web.script("neighbour.py"));
    command.args(["10.99.0.2", "gw.local", "_https._tcp", "_http._tcp", "_mqtt._tcp", "_secure-mqtt._tcp"]);
    let neighbour = Process::start("neighbour", &mut command);

    let all = wait_found(&neighbour, "page and broker are found", |found| {
        found["services"].as_object().is_some_and(|services| services.len() == 3)
            && found["host"][0].is_string()
    });
    assert_eq!(all["host"], serde_json::json!(["10.99.0.1"]));
    let page = &all["services"]["fieldgate gw._https._tcp.local."];
    assert_eq!((&page["port"], &page["server"]), (&Json::from(8443), &Json::from("gw.local.")), "{all}");
    assert_eq!(page["addresses"], serde_json::json!(["10.99.0.1"]));
    assert_eq!(page["facts"], serde_json::json!({"txtvers": "1", "path": "/", "unclaimed": "1"}));
    let broker = &all["services"]["fieldgate gw._mqtt._tcp.local."];
    assert_eq!(
        (&broker["port"], &broker["facts"]),
        (&Json::from(1883), &serde_json::json!({"txtvers": "1"}))
    );
    let status = gateway.wait("it knows its name", |status| status["web"]["local_name"] == "gw.local");
    assert_eq!(status["state"], "ok", "{status}");
    // The certificate names what the neighbour asks for, also the address that has come while it runs.
    let text = |file: &str| {
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-text", "-in"]).arg(gateway.data_dir().join("web").join(file));
        Process::run_well("openssl x509", &mut command)
    };
    within(PATIENCE, "the certificate has the new address", || {
        let text = text("certificate.pem");
        assert!(text.contains("DNS:gw.local"), "{text}");
        text.contains("IP Address:10.99.0.1").then_some(())
    });

    // Another listener is told as soon as it is there, one that is gone no longer.
    let more = "[[broker.listener]]\nname = \"plc\"\nbind = \"10.99.0.1:1999\"\nallow_anonymous = true\n";
    gateway.configure(&config(true, more));
    gateway.signal(Signal::HUP);
    wait_found(&neighbour, "the new listener is found", |found| {
        found["services"]["fieldgate gw plc._mqtt._tcp.local."]["port"] == 1999
            && found["services"]["fieldgate gw lan._mqtt._tcp.local."]["port"] == 1883
            && found["services"].as_object().unwrap().len() == 4
    });

    // One key, while it runs, and it is silent.
    gateway.configure(&config(false, ""));
    gateway.signal(Signal::HUP);
    wait_found(&neighbour, "nothing is found", |found| found["services"] == serde_json::json!({}));
    gateway.wait("it has no name there", |status| status["web"]["local_name"].is_null());

    gateway.configure(&config(true, ""));
    gateway.signal(Signal::HUP);
    wait_found(&neighbour, "it is found again", |found| found["services"].as_object().unwrap().len() == 3);
    // At the end what was told is taken back, and not left to time out.
    gateway.stop();
    wait_found(&neighbour, "it has said goodbye", |found| found["services"] == serde_json::json!({}));
}

#[test]
fn the_list_of_passwords_is_made_as_it_says() {
    let output = Command::new(Python::Web.interpreter())
        .arg(Python::Web.script("common_passwords.py"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/src/people/common_passwords.bin")).unwrap();
    assert!(output.stdout == kept, "tests/py/web/common_passwords.py makes another list");
}
