//! `fieldgate scan` from outside: lines that make sense at one rate only, pymodbus as the devices that are looked for, and
//! lines of a running gateway, which are borrowed and given back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value as Json, json};
use support::{BusLine, Gateway, Habit, Process, Pty, Tap, fieldgate, find, free_port, json_device, slaves};

/// Sends one line after the other, those of a line at this rate; at any other rate what a UART makes of it.
struct Talker {
    pty: Pty,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Talker {
    fn at(baud: u32, lines: Vec<Vec<u8>>) -> Self {
        let pty = Pty::open();
        pty.forget();
        let stop = Arc::new(AtomicBool::new(false));
        let (line, stopping) = (pty.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for bytes in lines.iter().cycle() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                if line.baud() == baud {
                    line.write(bytes);
                } else {
                    let mangled: Vec<u8> = bytes.iter().map(|byte| byte.rotate_left(3) ^ 0xa5).collect();
                    line.write(&mangled);
                }
                std::thread::sleep(Duration::from_millis(40));
            }
        });
        Self { pty, stop, thread: Some(thread) }
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

fn lines(name: &str) -> Vec<Vec<u8>> {
    fixture(name).split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// Runs a scan; its exit code and what it printed.
fn scan(arguments: &[&str]) -> (i32, String) {
    // No gateway answers there.
    let socket = ["--socket", "/nonexistent/control.sock"];
    let has_place = arguments.contains(&"--config") || arguments.contains(&"--socket");
    let mut command = fieldgate();
    command.arg("scan").args(arguments).args(if has_place { &[][..] } else { &socket[..] });
    let mut process = Process::start("scan", &mut command);
    let status = process.wait_end(Duration::from_secs(120));
    (status.code().unwrap(), process.text())
}

fn events(text: &str, kind: &str) -> Vec<Json> {
    let all = text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
    all.filter(|event| event["event"] == kind).collect()
}

#[test]
fn a_receiver_is_found_at_its_rate_and_with_its_profile() {
    let talker = Talker::at(19_200, lines("nmea/mtk-3301.nmea"));
    let path = talker.pty.path().to_str().unwrap();
    let (code, text) = scan(&["serial", path, "--listen", "3", "--json"]);
    assert_eq!(code, 0, "{text}");
    let best = events(&text, "best");
    assert_eq!((&best[0]["baud"], &best[0]["frame"]), (&json!(19_200), &json!("8N1")), "{text}");
    assert_eq!(best[0]["matches"][0]["profile"], "nmea-gps", "{text}");
    assert!(best[0]["matches"][0]["good"].as_u64() >= Some(12), "{text}");
    // The two rates that were tried before made no sense.
    let heard = events(&text, "heard");
    assert_eq!(heard.len(), 3, "{text}");
    assert!(heard[..2].iter().all(|heard| heard["sense"] == 0), "{text}");

    let (code, text) = scan(&["serial", path, "--listen", "3", "--baud", "9600,19200"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("9600 8N1: ") && text.contains("bytes without sense"), "{text}");
    let line = text.lines().find(|line| line.starts_with("19200 8N1: ")).unwrap();
    assert!(line.contains("frames read well") && line.contains("try profile nmea-gps"), "{text}");
    assert!(
        text.contains("\n  $") && text.contains("baud = 19200\n") && text.contains("profile = \"nmea-gps\""),
        "{text}"
    );
}

#[test]
fn a_line_where_nobody_speaks_is_told_and_a_port_that_is_not_there_too() {
    let pty = Pty::open();
    pty.forget();
    let (code, text) =
        scan(&["serial", pty.path().to_str().unwrap(), "--listen", "1", "--baud", "9600,4800"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("nothing came at any of these rates") && text.contains("--ask"), "{text}");
    let (code, text) = scan(&["serial", "/dev/ttyNOBODY"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("/dev/ttyNOBODY: no such port"), "{text}");
    let (code, text) = scan(&["modbus", "nobody"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("nobody: no [[port]] of that name"), "{text}");
    let (code, text) = scan(&["modbus", "/dev/x", "--frame", "9Z1"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("9600 9Z1: a rate of 50 to 4000000 and a frame such as 8N1"), "{text}");
}

#[test]
fn a_device_that_speaks_only_when_asked_is_asked_as_its_profile_does() {
    let pty = Pty::open();
    pty.forget();
    let frame = fixture("mhz19/mhz19b.bin")[..9].to_vec();
    let stop = Arc::new(AtomicBool::new(false));
    let (line, stopping) = (pty.clone(), stop.clone());
    let device = std::thread::spawn(move || {
        let mut heard = Vec::new();
        while !stopping.load(Ordering::Relaxed) {
            heard.extend(line.taken());
            if heard.ends_with(&[0xff, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79]) {
                heard.clear();
                line.write(&frame);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let path = pty.path().to_str().unwrap();
    let (code, text) = scan(&["serial", path, "--listen", "1", "--baud", "9600", "--ask", "--json"]);
    stop.store(true, Ordering::Relaxed);
    device.join().unwrap();
    assert_eq!(code, 0, "{text}");
    let best = &events(&text, "best")[0];
    assert_eq!((&best["matches"][0]["profile"], &best["asked"]), (&json!("mh-z19"), &json!(true)), "{text}");
}

/// A single-phase meter as unit 2, something with two registers as unit 5.
fn spec() -> Json {
    json!({
        "identity": ["Eastron", "SDM120", "V2.0"],
        "devices": {
            "2": [[4, 0, "FLOAT32", "big", 230.5], [4, 70, "FLOAT32", "big", 49.98], [4, 342, "FLOAT32", "big", 12.5]],
            "5": [[3, 0, "UINT16", "big", 1234], [3, 3, "UINT16", "big", 77]],
        },
    })
}

/// A line on which only units 2 and 5 are there; pymodbus would answer for others.
fn bus() -> BusLine {
    let dead = Habit { is_dead: true, ..Habit::default() };
    BusLine::open((1..=247).filter(|unit| ![2, 5].contains(unit)).map(|unit| (unit, dead)))
}

/// What the two devices are found to be, on a line or over TCP.
fn check_found(text: &str) {
    let units: Vec<Json> = events(text, "unit").iter().map(|unit| unit["unit_id"].clone()).collect();
    assert_eq!(units, [2, 5], "{text}");
    assert_eq!(events(text, "unit")[1]["answer"], "holding register 0 is 1234", "{text}");
    let identity = &events(text, "identity")[0];
    assert_eq!(
        identity["facts"],
        json!({"vendor": "Eastron", "product": "SDM120", "revision": "V2.0"}),
        "{text}"
    );
    // Single-phase meters of one maker have the same registers; unit 5 is nothing that is known.
    let profiles = events(text, "profiles");
    assert_eq!(profiles.len(), 1, "{text}");
    assert_eq!(profiles[0]["unit_id"], 2, "{text}");
    let names: Vec<&str> =
        profiles[0]["profiles"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
    assert!(names.contains(&"eastron-sdm120") && !names.contains(&"eastron-sdm630"), "{names:?}");
    assert_eq!(profiles[0]["values"]["voltage"], 230.5, "{text}");
}

#[test]
fn modbus_devices_are_found_on_a_line_told_who_they_are_and_their_registers_shown() {
    let dir = tempfile::tempdir().unwrap();
    let line = bus();
    let _slaves = slaves(dir.path(), "serial", line.slaves_path().to_str().unwrap(), &spec());
    let path = line.gateway_path().to_str().unwrap();
    let bounds = ["--baud", "115200", "--units", "1-6", "--timeout", "1500", "--registers", "0-3"];
    let (code, text) = scan(&[&["modbus", path, "--json"][..], &bounds].concat());
    assert_eq!(code, 0, "{text}");
    check_found(&text);
    let registers = events(&text, "registers");
    let of_5 = registers.iter().find(|event| event["unit_id"] == 5 && event["function"] == 3).unwrap();
    assert_eq!((&of_5["address"], &of_5["values"]), (&json!(0), &json!([1234, 0, 0, 77])), "{text}");
    // Nobody was written to, and whoever is not there was asked once.
    for request in line.requests() {
        assert!([3, 4, 0x2b].contains(&request.bytes[1]), "{request:?}");
    }
    assert_eq!(line.requests().iter().filter(|request| request.bytes[0] == 1).count(), 1);

    let (code, text) = scan(&["modbus", path, "--baud", "115200", "--units", "1-6", "--timeout", "1500"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("unit 2 at 115200 8N1 answers after "), "{text}");
    assert!(text.contains("says of itself: product SDM120, revision V2.0, vendor Eastron"), "{text}");
    assert!(text.contains("reads well by the profile eastron-sdm120 or "), "{text}");
    assert!(text.ends_with("2 found\n"), "{text}");
}

#[test]
fn modbus_tcp_is_scanned_without_rates() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let _slaves = slaves(dir.path(), "tcp", &port.to_string(), &spec());
    let address = format!("127.0.0.1:{port}");
    let (code, text) = scan(&["modbus", &address, "--units", "2-5", "--json"]);
    assert_eq!(code, 0, "{text}");
    let units: Vec<Json> = events(&text, "unit").iter().map(|unit| unit["unit_id"].clone()).collect();
    assert!(units.contains(&json!(2)) && units.contains(&json!(5)), "{text}");
    assert_eq!(events(&text, "profiles")[0]["values"]["frequency"].as_f64().unwrap().round(), 50.0, "{text}");
    let (code, text) = scan(&["modbus", &address, "--baud", "9600"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("there are no rates"), "{text}");
}

#[test]
fn meters_on_m_bus_are_found_and_read() {
    let pty = Pty::open();
    pty.forget();
    let telegram = fixture("mbus/elv_temp_humid.bin");
    let stop = Arc::new(AtomicBool::new(false));
    let (line, stopping) = (pty.clone(), stop.clone());
    let meter = std::thread::spawn(move || {
        let mut heard = Vec::new();
        while !stopping.load(Ordering::Relaxed) {
            heard.extend(line.taken());
            while heard.len() >= 5 {
                let request: Vec<u8> = heard.drain(..5).collect();
                match request[1..3] {
                    [0x40, 3] => line.write(&[0xe5]),
                    [0x5b, 3] => line.write(&telegram),
                    _ => {}
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let (code, text) = scan(&["mbus", pty.path().to_str().unwrap(), "--units", "1-5"]);
    stop.store(true, Ordering::Relaxed);
    meter.join().unwrap();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("address 3 at 2400 8E1 answers after "), "{text}");
    assert!(
        text.contains("2400 8E1: 1 of 1 frames read well") && text.contains("try profile mbus-meter"),
        "{text}"
    );
    assert!(text.ends_with("1 found\n"), "{text}");
}

fn borrowing_config(line: &BusLine, calm: &Pty) -> String {
    format!(
        "[[port]]\nname = \"bus\"\npath = \"{}\"\nbaud = 115200\n\n[[device]]\nname = \"meter\"\nport = \"bus\"\n\
         decode = \"registers\"\nunit_id = 5\nevery = \"200ms\"\ntimeout = \"3s\"\n[[device.points]]\nname = \"n\"\n\
         function = 3\naddress = 0\ntype = \"u16\"\n\n{}",
        line.gateway_path().display(),
        json_device("calm", calm.path())
    )
}

#[test]
fn a_line_of_the_running_gateway_is_borrowed_and_given_back_while_others_go_on() {
    let (line, calm) = (bus(), Pty::open());
    let mut gateway = Gateway::new(&borrowing_config(&line, &calm));
    let _slaves = slaves(gateway.dir.path(), "serial", line.slaves_path().to_str().unwrap(), &spec());
    gateway.start_again();
    gateway.wait_readings("meter", 2);
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/calm"));
    let player = calm.play(200, 50, |number| format!("{{\"n\": {number}}}"));
    let config = gateway.config();
    let config = config.to_str().unwrap();

    // By its name, and by its device: both mean the line that the gateway has.
    for port in ["bus", line.gateway_path().to_str().unwrap()] {
        let units = ["--units", "1-6", "--timeout", "1500", "--config", config, "--json"];
        let (code, text) = scan(&[&["modbus", port][..], &units].concat());
        assert_eq!(code, 0, "{text}");
        check_found(&text);
    }
    let before = find(&gateway.ask("status")["devices"], "meter")["readings"].as_u64().unwrap();
    gateway.wait_readings("meter", before + 2);
    player.finish();
    tap.wait("the last line of the calm port", |message| message.json()["values"]["n"] == 199);
    assert_eq!(tap.messages().len(), 200, "nothing of the calm port is lost");
    let status = gateway.ask("status");
    assert_eq!(find(&status["ports"], "calm-port")["lost"], 0);
    assert_eq!(find(&status["ports"], "bus")["lost"], 0, "lent is not lost");
    gateway.stop();
}

#[test]
fn a_scan_that_is_killed_gives_the_line_back_and_one_has_it_at_a_time() {
    let (line, calm) = (bus(), Pty::open());
    let mut gateway = Gateway::new(&borrowing_config(&line, &calm));
    let _slaves = slaves(gateway.dir.path(), "serial", line.slaves_path().to_str().unwrap(), &spec());
    gateway.start_again();
    gateway.wait_readings("meter", 1);
    let config = gateway.config();
    let config = config.to_str().unwrap();
    let start = || {
        let mut command = fieldgate();
        command.args([
            "scan",
            "modbus",
            "bus",
            "--units",
            "100-200",
            "--timeout",
            "2000",
            "--config",
            config,
        ]);
        Process::start("scan", &mut command)
    };
    for signal in [Signal::KILL, Signal::INT] {
        let mut scanning = start();
        let status = gateway
            .wait("the port is borrowed", |status| find(&status["ports"], "bus")["state"] == "borrowed");
        assert_eq!(find(&status["ports"], "bus")["error"], "borrowed by a scan");
        assert!(!status["problems"].to_string().contains("port bus"), "{}", status["problems"]);
        let (code, text) = scan(&["modbus", "bus", "--config", config]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("borrowed by somebody else"), "{text}");
        let (code, text) = {
            let output = fieldgate().args(["ports", "--config", config]).output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        assert!(text.contains("bus") && text.contains("borrowed by a scan"), "{code:?} {text}");
        scanning.signal(signal);
        let ended = scanning.wait_end(Duration::from_secs(20));
        if signal == Signal::INT {
            assert_eq!(ended.code(), Some(3), "it ends with what was found: nobody");
            assert!(scanning.text().contains("nobody answers"), "{}", scanning.text());
        }
        let before = find(&gateway.ask("status")["devices"], "meter")["readings"].as_u64().unwrap();
        gateway.wait_readings("meter", before + 1);
    }
    gateway.stop();
}
