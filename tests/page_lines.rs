//! What the page does with lines: scans them, tells what passes over them, who has them open, and when they come and go.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};
use support::http::{Http, web_config, with_page};
use support::{BusLine, Gateway, Habit, Pty, Tree, eventually, find, free_port, json_device, slaves};

/// One test at a time: the kernel gives the number of a terminal that is pulled to the next one that is opened, and for a
/// moment a gateway may take that for its own.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port over which unit 5 is asked, with what is there.
fn config(line: &BusLine) -> String {
    format!(
        "[[port]]\nname = \"bus\"\npath = \"{}\"\nbaud = 115200\n\n[[device]]\nname = \"meter\"\nport = \"bus\"\n\
         decode = \"registers\"\nunit_id = 5\nevery = \"200ms\"\ntimeout = \"3s\"\n[[device.points]]\nname = \"n\"\n\
         function = 3\naddress = 0\ntype = \"u16\"\n\n",
        line.gateway_path().display()
    )
}

#[test]
fn a_line_is_scanned_from_the_page_and_who_answers_becomes_lines_of_the_config() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let dead = Habit { is_dead: true, ..Habit::default() };
    let line = BusLine::open([1, 3, 4].map(|unit| (unit, dead)));
    let spec = json!({"devices": {
        "2": [[4, 0, "FLOAT32", "big", 230.5], [4, 70, "FLOAT32", "big", 49.98], [4, 342, "FLOAT32", "big", 12.5]],
        "5": [[3, 0, "UINT16", "big", 1234], [3, 3, "UINT16", "big", 77]],
    }});
    let _slaves = slaves(dir.path(), "serial", line.slaves_path().to_str().unwrap(), &spec);
    let (mut gateway, mut http, _) = with_page("", &config(&line));
    http.claim(&gateway);
    gateway.wait_readings("meter", 2);
    let begin = |body: &Json| http.post("/api/v1/ports/bus/scan", body);
    for (field, body) in [
        ("kind", json!({})),
        ("kind", json!({"kind": "everything"})),
        ("baud", json!({"kind": "modbus", "baud": "fast"})),
        ("units", json!({"kind": "modbus", "units": "9-1"})),
        ("units", json!({"kind": "modbus", "units": "1-900"})),
        ("listen_s", json!({"kind": "modbus", "listen_s": 0})),
        ("ask", json!({"kind": "serial", "ask": "yes"})),
    ] {
        let answer = begin(&body);
        let told = answer.json()["error"]["field"].as_str().map(str::to_owned);
        assert_eq!((answer.status, told.as_deref()), (400, Some(field)), "{body}: {answer:?}");
    }
    assert_eq!(begin(&json!({"kind": "modbus", "units": "0"})).status, 400, "no address of a device");
    assert_eq!(http.post("/api/v1/ports/nothing/scan", &json!({"kind": "modbus"})).status, 400);
    assert_eq!(http.post("/api/v1/ports/bus/scan/stop", &json!({})).status, 400, "none is under way");

    let begun = begin(&json!({"kind": "modbus", "units": "1-5", "listen_s": 2}));
    assert_eq!(begun.status, 200, "{begun:?}");
    assert_eq!(begin(&json!({"kind": "modbus", "units": "2"})).status, 503, "one at a time");
    let told = eventually("the scan ends", || {
        let told = http.get("/api/v1/ports/bus/scan").json();
        (told["scan"]["state"] == "done").then_some(told)
    });
    let scan = &told["scan"];
    assert_eq!((&told["kinds"], &scan["by"]), (&json!(["serial", "modbus", "mbus"]), &json!("anna")));
    let findings = scan["findings"].as_array().unwrap();
    let units: Vec<&Json> =
        findings.iter().filter(|one| one["event"] == "unit").map(|one| &one["unit_id"]).collect();
    assert_eq!(units, [2, 5], "{scan}");
    let page = http.get("/ports/bus").body;
    for expected in [
        "Address 2 answers at 115200 8N1",
        "unit_id = 2",
        "/config?path=device&#38;new=1&#38;with.name=unit-2&#38;with.port=bus&#38;with.profile=eastron-",
        "Bus doctor",
        "this gateway (process ",
    ] {
        assert!(page.contains(expected), "{expected} is missing in {page}");
    }
    // The line is given back.
    let before = find(&gateway.ask("status")["devices"], "meter")["readings"].as_u64().unwrap();
    gateway.wait_readings("meter", before + 2);

    // One that takes minutes is ended; what was found stays, and the line is given back.
    assert_eq!(begin(&json!({"kind": "modbus", "units": "5-247"})).status, 200);
    eventually("something is found", || {
        let told = http.get("/api/v1/ports/bus/scan").json();
        told["scan"]["findings"].as_array().filter(|found| !found.is_empty()).map(|_| ())
    });
    assert_eq!(http.post("/api/v1/ports/bus/scan/stop", &json!({})).status, 200);
    let told = eventually("it is stopped", || {
        let told = http.get("/api/v1/ports/bus/scan").json();
        (told["scan"]["state"] != "running").then_some(told)
    });
    assert_eq!(told["scan"]["state"], "stopped", "{told}");
    assert!(!told["scan"]["findings"].as_array().unwrap().is_empty(), "{told}");
    let before = find(&gateway.ask("status")["devices"], "meter")["readings"].as_u64().unwrap();
    gateway.wait_readings("meter", before + 1);
    let journal = http.get("/api/v1/journal").body;
    assert!(journal.contains("\"scan\"") && journal.contains("bus: scan for modbus"), "{journal}");
    assert!(journal.contains("\"scan_stopped\""), "{journal}");
    eventually("how busy the bus was has a history", || {
        let links = http.get("/api/v1/links").json();
        let is_it = |point: &Json| point["device"] == "bus" && point["point"] == "load";
        links["points"].as_array()?.iter().any(is_it).then_some(())
    });
}

/// The events of a stream until one contains a text.
fn read_until(http: &Http, path: &str, wanted: &str) -> String {
    let mut stream = http.connect();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncookie: {}\r\nsec-fetch-site: same-origin\r\n\r\n",
        http.port, http.cookie
    );
    stream.write_all(request.as_bytes()).unwrap();
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(wanted) {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the stream has ended: {text}");
        text += &String::from_utf8_lossy(&piece[..count]);
    }
    text
}

#[test]
fn what_passes_over_a_line_is_told_to_who_looks_on_and_too_many_are_refused() {
    let _alone = alone();
    let pty = Pty::open();
    let (mut gateway, mut http, _) = with_page("", &json_device("weather", pty.path()));
    http.claim(&gateway);
    gateway.wait("the port is open", |status| find(&status["ports"], "weather-port")["state"] == "open");
    let player = pty.play(2_000, 20, |number| format!("{{\"t\": {number}}}"));
    let path = "/api/v1/ports/weather-port/trace";
    let text = read_until(&http, path, "\"direction\":\"in\"");
    assert!(text.contains("event: about") && text.contains("text/event-stream"), "{text}");
    assert!(text.contains("event: pieces"), "{text}");
    // Whoever has gone makes room; four look on at a time.
    for _ in 0..8 {
        read_until(&http, path, "event: pieces");
    }
    let lookers: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = http.connect();
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncookie: {}\r\n\r\n",
                http.port, http.cookie
            );
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    eventually("a fifth is refused", || {
        let answer = http.get(path);
        (answer.status == 503).then_some(())
    });
    drop(lookers);
    eventually("there is room again", || (http.get(path).status == 200).then_some(()));
    assert_eq!(http.get("/api/v1/ports/nothing/trace").status, 400);
    player.finish();
    let holders = http.get("/api/v1/holders").json();
    let its = holders.as_array().unwrap().iter().find(|one| one["ports"] == json!(["weather-port"])).unwrap();
    let own = its["open_in"].as_array().unwrap().iter().find(|holder| holder["own"] == true);
    assert_eq!(own.unwrap()["name"], "fieldgate", "{holders}");
}

#[test]
fn a_plug_that_is_pulled_stands_in_the_events_and_a_line_that_nobody_uses_is_scanned_by_its_path() {
    let _alone = alone();
    let tree = Tree::new();
    let (used, free) = (Pty::open(), Pty::open());
    tree.plug("ttyUSB0", "A1", &used);
    let unused = tree.plug("ttyUSB1", "B2", &free);
    let ports = (free_port(), free_port());
    let device = json_device("a", std::path::Path::new("/dev/x"))
        .replace("path = \"/dev/x\"", "usb = { serial = \"A1\" }");
    let mut gateway = Gateway::new(&(web_config(ports.0, ports.1, "") + &device));
    gateway.set_env("FIELDGATE_SYS_ROOT", tree.root().to_str().unwrap());
    gateway.start_again();
    let mut http = Http::new(ports.0, None);
    eventually("the page can be opened", || std::net::TcpStream::connect(("127.0.0.1", ports.0)).ok());
    http.claim(&gateway);
    gateway.wait("it is open", |status| find(&status["ports"], "a-port")["state"] == "open");
    tree.unplug("ttyUSB0", "A1");
    drop(used);
    gateway.wait("it is gone", |status| find(&status["ports"], "a-port")["state"] == "down");
    let gone = http.get("/ports/a-port").body;
    assert!(gone.contains("Gone: ") && !gone.contains("There again"), "{gone}");
    let again = Pty::open();
    tree.plug("ttyUSB0", "A1", &again);
    gateway.wait("it is open again", |status| find(&status["ports"], "a-port")["state"] == "open");
    assert!(http.get("/ports/a-port").body.contains("There again"));
    let events = http.get("/events?group=outages").body;
    assert!(events.contains("Line gone") && events.contains("Line there again"), "{events}");

    let in_address = unused.to_str().unwrap().replace('/', "%2F");
    let list = http.get("/ports").body;
    assert!(list.contains(&format!("href=\"/ports/{in_address}\"")), "{list}");
    let page = http.get(&format!("/ports/{in_address}"));
    assert!(page.status == 200 && page.body.contains("No port of the config uses it"), "{page:?}");
    assert!(!page.body.contains("data-trace="), "nobody reads it");
    let scan = format!("/api/v1/ports/{in_address}/scan");
    let wanted =
        json!({"kind": "modbus", "units": "1-2", "baud": "9600, 19200", "frames": "8E1", "listen_s": 1});
    assert_eq!(http.post(&scan, &wanted).status, 200);
    eventually("the scan ends", || {
        let told = http.get(&scan).json();
        (told["scan"]["state"] == "done").then_some(())
    });
    let asked = free.taken();
    assert!(asked.starts_with(&[1, 3, 0, 0]), "{asked:?}");
    let page = http.get(&format!("/ports/{in_address}")).body;
    assert!(page.contains("Nobody answers."), "{page}");
    // What a port uses is scanned by the port's name only; what isn't there not at all.
    let of_port = tree.root().join("dev/ttyUSB0").to_str().unwrap().replace('/', "%2F");
    let refused = http.post(&format!("/api/v1/ports/{of_port}/scan"), &wanted);
    assert!(refused.status == 400 && refused.body.contains("scan that port"), "{refused:?}");
    let absent = http.post("/api/v1/ports/%2Fdev%2Fmem/scan", &wanted);
    assert!(absent.status == 400 && absent.body.contains("there is no port"), "{absent:?}");
    assert_eq!(http.get("/ports/%2Fetc%2Fpasswd").status, 404);
}
