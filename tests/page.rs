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
use support::browser::{SCRIPT_MAX, begin, browse, finish};
use support::http::{Http, claim_code, web_config, with_page};
use support::{BusLine, Gateway, Habit, Process, Pty, free_port, json_device, slaves, upstream, within};

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
        + "[[gpio]]\nname = \"pump\"\nline = \"pump\"\nbackend = \"sim\"\nmode = \"output\"\nevery = \"200ms\"\n\n\
           [[gpio]]\nname = \"water\"\nline = \"water\"\nbackend = \"sim\"\nevery = \"200ms\"\n\
           mode = { kind = \"counter\", unit = \"m3\", persist_every = \"1s\" }\n";
    let (gateway, plain, tls) = with_page("", &config);
    plain.clone().claim(&gateway);
    let mut stays = Client::connect(gateway.lan_port, &Connect::new(V::V5, "stays"));
    let warm = |number| f64::from(number % 40) + 0.5;
    while_it_sends(&pty, warm, || {
        browse("plant.mjs", &gateway, &tls, json!({"shots": std::env::var("FIELDGATE_SHOTS").ok()}));
    });
    // A sensor was changed meanwhile; whoever was there all the time still is.
    stays.nothing();
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
fn a_new_gateway_is_set_up_on_the_page_from_the_claim_to_a_reading_at_the_upstream() {
    let (gateway, _, tls) = with_page("", "");
    let accounts = gateway.dir.path().join("accounts");
    let mut command = Command::new(support::program("mosquitto_passwd"));
    Process::run_well(
        "mosquitto_passwd",
        command.args(["-b", "-c"]).arg(&accounts).args(["gateway", "right"]),
    );
    let (port, open) = (free_port(), free_port());
    let listeners = format!(
        "per_listener_settings true\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n\
         listener {open} 127.0.0.1\nallow_anonymous true\n",
        accounts.display()
    );
    let _mosquitto = support::Mosquitto::start_with(gateway.dir.path(), port, &listeners);
    let readings = support::Tap::subscribe(open, &Gateway::topic("data/dust"));
    let line = gateway.dir.path().join("line");
    let mut command = support::fieldgate();
    command.args(["simulate", "pms5003", "--every", "200", "--link"]).arg(&line);
    let mut simulator = Process::start("simulate", &mut command);
    support::eventually("the simulated sensor is there", || std::fs::metadata(&line).ok());
    let mut stays = Client::connect(gateway.lan_port, &Connect::new(V::V5, "stays"));
    let settings = json!({
        "code": claim_code(&gateway),
        "line": line,
        "upstream": port,
        "nobody": free_port(),
        "screenshots": std::env::var("FIELDGATE_SCREENSHOTS").ok(),
    });
    browse("first_run.mjs", &gateway, &tls, settings);
    let reading = readings.wait("a reading is at the upstream", |_| true).json();
    assert!(reading["values"]["pm25"].is_number(), "{reading}");
    assert_eq!(gateway.ask("status")["site"], "North barn");
    let config = std::fs::read_to_string(gateway.config()).unwrap();
    assert!(!config.contains("right"), "{config}");
    // Whoever was there all the time still is.
    stays.nothing();
    assert!(simulator.is_running());
}

#[test]
fn a_device_is_asked_out_of_turn_on_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let line = dir.path().join("line");
    let mut command = support::fieldgate();
    command.args(["simulate", "eastron-sdm120", "--link"]).arg(&line);
    let simulator = Process::start("simulate", &mut command);
    support::eventually("the simulated meter is there", || std::fs::metadata(&line).ok());
    let config = format!(
        "[[port]]\nname = \"bus\"\npath = \"{}\"\n[[device]]\nname = \"meter\"\nport = \"bus\"\n\
         profile = \"eastron-sdm120\"\nunit_id = 1\nevery = \"1h\"\ntimeout = \"3s\"\n",
        line.display()
    );
    let (gateway, mut plain, tls) = with_page("", &config);
    plain.claim(&gateway);
    let screenshots = std::env::var("FIELDGATE_SCREENSHOTS").ok();
    let stopped = gateway.dir.path().join("stopped");
    let more = json!({ "screenshots": screenshots, "stopped": stopped });
    let script = begin("poll.mjs", &gateway, &tls, more);
    within(SCRIPT_MAX, "the script has polled it, or has failed", || {
        let text = script.text();
        (text.contains("silence") || text.contains("Error")).then_some(())
    });
    simulator.signal(rustix::process::Signal::STOP);
    std::fs::write(stopped, "").unwrap();
    finish("poll.mjs", &gateway, script);
    simulator.signal(rustix::process::Signal::CONT);
}

#[test]
fn somebody_finds_out_what_went_wrong() {
    let (gateway, _, tls) = with_page("", &upstream(free_port()));
    let screenshots = std::env::var("FIELDGATE_SCREENSHOTS").ok();
    browse("machine.mjs", &gateway, &tls, json!({"code": claim_code(&gateway), "screenshots": screenshots}));
}

#[test]
fn who_speaks_on_a_bus_is_found_listened_to_and_put_into_the_config() {
    let dir = tempfile::tempdir().unwrap();
    let line = BusLine::open([1, 3, 4].map(|unit| (unit, Habit { is_dead: true, ..Habit::default() })));
    let spec = json!({"devices": {
        "2": [[4, 0, "FLOAT32", "big", 230.5], [4, 70, "FLOAT32", "big", 49.98], [4, 342, "FLOAT32", "big", 12.5]],
        "5": [[3, 0, "UINT16", "big", 1234]],
    }});
    let _slaves = slaves(dir.path(), "serial", line.slaves_path().to_str().unwrap(), &spec);
    let config = format!(
        "[[port]]\nname = \"bus\"\npath = \"{}\"\nbaud = 115200\n\n[[device]]\nname = \"meter\"\nport = \"bus\"\n\
         decode = \"registers\"\nunit_id = 5\nevery = \"200ms\"\ntimeout = \"3s\"\n[[device.points]]\nname = \"n\"\n\
         function = 3\naddress = 0\ntype = \"u16\"\n",
        line.gateway_path().display()
    );
    let (gateway, plain, tls) = with_page("", &config);
    plain.clone().claim(&gateway);
    browse("port.mjs", &gateway, &tls, json!({"shots": std::env::var("FIELDGATE_SHOTS").ok()}));
}

#[test]
fn a_satellite_receiver_is_chosen_as_the_source_of_time() {
    let pty = Pty::open();
    let config = format!(
        "[[port]]\nname = \"line\"\npath = {:?}\n[[device]]\nname = \"roof\"\nport = \"line\"\nprofile = \"nmea-gps\"\n",
        pty.path()
    );
    // Whoever vouches for the clock needs no receiver.
    let (gateway, mut plain, tls) = with_page("", &config);
    let path = &gateway.config();
    std::fs::write(
        path,
        std::fs::read_to_string(path).unwrap().replace("trust = \"always\"", "trust = \"auto\""),
    )
    .unwrap();
    gateway.ask("reload");
    plain.claim(&gateway);
    let script = begin(
        "gnss.mjs",
        &gateway,
        &tls,
        json!({ "screenshots": std::env::var("FIELDGATE_SCREENSHOTS").ok() }),
    );
    let chosen = || std::fs::read_to_string(gateway.config()).unwrap().contains("device = \"roof\"");
    within(SCRIPT_MAX, "the receiver stands in the config, or the script has failed", || {
        (chosen() || script.text().contains("Error")).then_some(())
    });
    finish("gnss.mjs", &gateway, script);
    assert!(!chosen(), "and it was taken out again");
}

#[test]
fn what_is_refused_is_said_in_german_to_whoever_reads_german() {
    let (gateway, _, tls) = with_page("", "");
    let more = json!({
        "code": claim_code(&gateway),
        "locale": "de-DE",
        "screenshots": std::env::var("FIELDGATE_SCREENSHOTS").ok(),
    });
    browse("refused.mjs", &gateway, &tls, more);
}

#[test]
fn the_pages_own_address_is_changed_and_the_change_kept_by_the_new_one() {
    let (gateway, _, tls) = with_page("", "[config]\nconfirm_within = \"10min\"\n");
    let bind = format!("127.0.0.1:{}", free_port());
    let more = json!({
        "code": claim_code(&gateway),
        "also": [format!("https://{bind}/")],
        "bind": bind,
        "screenshots": std::env::var("FIELDGATE_SCREENSHOTS").ok(),
    });
    browse("lockout.mjs", &gateway, &tls, more);
}

#[test]
fn a_backup_is_downloaded_the_gateway_reset_and_everything_restored() {
    let mut gateway = Gateway::new("");
    let (plain, tls) = (free_port(), free_port());
    let web = web_config(plain, tls, "");
    let secret = gateway.dir.path().join("plc.secret");
    std::fs::write(&secret, "CANARY-PLC-PASSWORD\n").unwrap();
    let own = format!(
        "[[broker.user]]\nname = \"plc\"\npassword = {{ file = {secret:?} }}\n[config]\nconfirm_within = \"10min\"\n"
    );
    gateway.configure(&(web.clone() + &own));
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), text.replacen("[gateway]\n", "[gateway]\nsite = \"North barn\"\n", 1))
        .unwrap();
    let downloads = tempfile::tempdir().unwrap();
    let file = downloads.path().join("barn.backup");
    let open = |gateway: &mut Gateway| {
        gateway.start_again();
        support::eventually("the page can be opened", || {
            std::net::TcpStream::connect(("127.0.0.1", tls)).ok()
        });
        Http::new(tls, Some(gateway.data_dir().join("web/certificate.pem")))
    };
    let more = |gateway: &Gateway, more: Json| {
        let mut all = json!({
            "code": claim_code(gateway),
            "file": file,
            "passphrase": "a rather long passphrase",
            "screenshots": std::env::var("FIELDGATE_SCREENSHOTS").ok(),
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let page = open(&mut gateway);
    let settings = more(&gateway, json!({"phase": "make"}));
    browse("backup.mjs", &gateway, &page, settings);
    let content = std::fs::read_to_string(&file).unwrap();
    assert!(!content.contains("CANARY") && !content.contains("North barn"), "it is encrypted");
    gateway.stop();
    let mut reset = support::fieldgate();
    Process::run_well(
        "fieldgate reset",
        reset.args(["reset", "--factory", "--yes", "--config"]).arg(gateway.config()),
    );
    // As it is delivered, with what reaches it here.
    std::fs::remove_file(&secret).unwrap();
    gateway.configure(&web);
    let page = open(&mut gateway);
    assert_eq!(gateway.ask("status")["site"], Json::Null);
    let settings = more(
        &gateway,
        json!({"phase": "restore", "name": "somebody", "secret": "plc.secret", "canary": write_canary(&downloads)}),
    );
    browse("backup.mjs", &gateway, &page, settings);
    assert_eq!(gateway.ask("status")["site"], "North barn");
    let mut plc =
        Client::connect(gateway.lan_port, &Connect::new(V::V5, "plc").user("plc", "CANARY-PLC-PASSWORD"));
    plc.nothing();
    assert!(!gateway.log().contains("CANARY"), "{}", gateway.log());
}

fn write_canary(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let file = folder.path().join("canary");
    std::fs::write(&file, "CANARY-PLC-PASSWORD").unwrap();
    file
}
