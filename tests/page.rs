//! The page in a real browser: Debian's Chromium, driven by the scripts of `tests/web`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "tests and their helpers"
)]

mod raw;
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raw::{Client, Connect, V};
use serde_json::{Value as Json, json};
use support::http::{Http, PASSWORD, claim_code, with_page};
use support::{Gateway, Process, Pty, free_port, json_device, upstream, within};

/// A script ends within this on a slow, busy machine.
const SCRIPT_MAX: Duration = Duration::from_secs(180);

/// Runs a script of `tests/web` against a gateway's page; it must say that all is well. `more` is added to its settings.
fn browse(script: &str, gateway: &Gateway, page: &Http, more: Json) {
    finish(script, gateway, begin(script, gateway, page, more));
}

/// Starts a script.
fn begin(script: &str, gateway: &Gateway, page: &Http, more: Json) -> Process {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("node");
    assert!(
        packages.join("node_modules/playwright-core").exists(),
        "./tests/run (or tests/install-peers) makes it"
    );
    let mut settings = json!({
        "page": format!("https://127.0.0.1:{}/", page.port),
        "certificate": gateway.data_dir().join("web/certificate.pem"),
        "packages": packages,
        "chromium": support::program("chromium"),
        "password": PASSWORD,
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut command = Command::new("node");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web").join(script))
        .arg(settings.to_string());
    Process::start(script, &mut command)
}

/// Waits until it says that all is well.
fn finish(script: &str, gateway: &Gateway, mut process: Process) {
    let status = process.wait_end(SCRIPT_MAX);
    let text = process.text();
    assert!(
        status.success() && text.contains("all is well"),
        "{script} ends with {status}:\n{text}\n{}",
        gateway.log()
    );
}

#[test]
fn from_the_claim_to_a_value_that_changes_while_one_looks() {
    let pty = Pty::open();
    let (gateway, _, tls) = with_page("", &json_device("weather", pty.path()));
    let code = claim_code(&gateway);
    while_it_sends(
        &pty,
        |number| f64::from(1_000 + number),
        || {
            let screenshot = std::env::var("FIELDGATE_SCREENSHOT").ok();
            browse("first_steps.mjs", &gateway, &tls, json!({"code": code, "screenshot": screenshot}));
        },
    );
}

/// Has a sensor send the values of 1, 2, 3 …, as long as `during` takes.
fn while_it_sends(pty: &Pty, value: fn(u32) -> f64, during: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                pty.write(format!("{{\"t\": {}}}\n", value(number)).as_bytes());
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        // Ends the sensor too if the script fails.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(during));
        is_over.store(true, Ordering::Relaxed);
        if let Err(cause) = ended {
            std::panic::resume_unwind(cause);
        }
    });
}

#[test]
fn a_technician_looks_at_what_hangs_on_the_gateway_and_where_readings_go() {
    let (pty, silent) = (Pty::open(), Pty::open());
    let device = |name: &str, path: &Path| {
        let points = "points = [{ name = \"t\", unit = \"Cel\", max = 50 }]";
        json_device(name, path).replace("points = \"*\"", points)
    };
    let config = device("weather", pty.path())
        + &device("cellar", silent.path())
        + &upstream(support::free_port())
        + "[[gpio]]\nname = \"pump\"\nline = \"pump\"\nbackend = \"sim\"\nmode = \"output\"\nevery = \"200ms\"\n";
    let (gateway, plain, tls) = with_page("", &config);
    plain.clone().claim(&gateway);
    let warm = |number| f64::from(number % 40) + 0.5;
    while_it_sends(&pty, warm, || {
        browse("plant.mjs", &gateway, &tls, json!({"shots": std::env::var("FIELDGATE_SHOTS").ok()}));
    });
}

#[test]
fn the_config_is_changed_tried_taken_back_and_kept_without_a_lan_client_being_dropped() {
    let pty = Pty::open();
    let (old, new) = (free_port(), free_port());
    let device = json_device("weather", pty.path()).replace("points = \"*\"", "")
        + "[[device.points]]\nname = \"t\"\n";
    let rest = format!(
        "{device}[config]\nconfirm_within = \"6s\"\n[[broker.listener]]\nname = \"panel\"\nbind = \"127.0.0.1:{old}\"\n"
    );
    let (gateway, _, tls) = with_page("", &rest);
    let code = claim_code(&gateway);
    let mut stays = Client::connect(gateway.lan_port, &Connect::new(V::V5, "stays"));
    while_it_sends(
        &pty,
        |number| f64::from(1_000 + number),
        || {
            let settings = json!({
                "code": code,
                "before": format!("127.0.0.1:{old}"),
                "elsewhere": format!("127.0.0.1:{new}"),
                "screenshots": std::env::var("FIELDGATE_SCREENSHOTS").ok(),
            });
            let script = begin("config.mjs", &gateway, &tls, settings);
            within(SCRIPT_MAX, "the script has come to the edit by hand, or has failed", || {
                let text = script.text();
                (text.contains("edit by hand") || text.contains("Error")).then_some(())
            });
            let text = std::fs::read_to_string(gateway.config()).unwrap();
            std::fs::write(gateway.config(), text + "# by hand\n").unwrap();
            finish("config.mjs", &gateway, script);
        },
    );
    // Whoever was there all the time still is.
    stays.nothing();
}

#[test]
fn a_client_of_the_lan_is_seen_asked_about_and_disconnected_on_the_page() {
    let (gateway, mut plain, tls) = with_page("", "");
    plain.claim(&gateway);
    let more = json!({"lan": gateway.lan_port, "screenshot": std::env::var("FIELDGATE_SCREENSHOT").ok()});
    browse("broker.mjs", &gateway, &tls, more);
    let events = plain.get("/api/v1/journal").body;
    assert!(events.contains("client_kicked") && events.contains("plc-7"), "{events}");
}

#[test]
fn topics_are_watched_published_to_and_forgotten_on_the_page_while_a_thousand_change() {
    let (gateway, mut plain, tls) = with_page("", "");
    plain.claim(&gateway);
    let more = json!({"lan": gateway.lan_port, "screenshot": std::env::var("FIELDGATE_SCREENSHOT").ok()});
    browse("topics.mjs", &gateway, &tls, more);
}

#[test]
fn somebody_finds_out_what_went_wrong() {
    let (gateway, _, tls) = with_page("", &upstream(free_port()));
    let screenshots = std::env::var("FIELDGATE_SCREENSHOTS").ok();
    browse("machine.mjs", &gateway, &tls, json!({"code": claim_code(&gateway), "screenshots": screenshots}));
}
