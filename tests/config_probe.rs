//! A new config is tried before it counts: ports give a sample and are given back, upstreams say what they say, and the
//! asker is told in words.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value as Json, json};
use support::{
    Certificates, Gateway, Mosquitto, Pty, TlsServer, eventually, find, free_port, json_device, program,
    upstream,
};

/// What a try of these edits tells, from the first progress to the answer.
fn probe(gateway: &Gateway, edits: &Json) -> Vec<Json> {
    let stream = UnixStream::connect(gateway.socket()).unwrap();
    let request = json!({"op": "config-probe", "config": {"edits": edits}});
    (&stream).write_all(format!("{request}\n").as_bytes()).unwrap();
    BufReader::new(stream).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// What was found of one thing: its state, and the words.
#[track_caller]
fn found(gateway: &Gateway, edits: &Json, what: &str, name: &str) -> (String, String) {
    let told = probe(gateway, edits);
    let answer = told.last().unwrap();
    let found = answer["probe"].as_array().unwrap_or_else(|| panic!("{answer}\n{}", gateway.log()));
    let one = found.iter().find(|one| one["what"] == what && one["name"] == name);
    let one = one.unwrap_or_else(|| panic!("{what} {name} is not in {answer}"));
    assert!(told.iter().any(|line| line["progress"] == *one), "each is told as it ends: {told:?}");
    (one["state"].as_str().unwrap().to_owned(), one["words"].as_str().unwrap().to_owned())
}

/// A sensor that sends numbered lines until it is dropped.
struct Sender {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sender {
    fn start(pty: &Pty) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (pty, stopping, count) = (pty.clone(), stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let n = count.fetch_add(1, Ordering::Relaxed) + 1;
                pty.line(&format!("{{\"n\":{n}}}"));
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// Stops it; how many lines it has sent.
    fn end(mut self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

fn device(gateway: &Gateway, name: &str) -> Json {
    find(&gateway.ask("status")["devices"], name).clone()
}

#[test]
fn a_changed_device_is_tried_on_the_running_line_and_no_line_is_lost() {
    let pty = Pty::open();
    let mut gateway = Gateway::start(&json_device("scale", pty.path()));
    let sender = Sender::start(&pty);
    gateway.wait_readings("scale", 3);
    let edits = json!([{"path": "device.scale.stale_after", "value": "9s"}]);
    let (state, words) = found(&gateway, &edits, "port", "scale-port");
    assert_eq!(state, "good", "{words}");
    assert!(words.starts_with("scale: n = "), "{words}");
    let sent = sender.end();
    // All but the one of which the gateway saw only the end when it opened the line.
    let status = gateway.wait_readings("scale", u64::from(sent) - 1);
    assert_eq!(find(&status["devices"], "scale")["bad_lines"], 0);
    assert_eq!(find(&status["ports"], "scale-port")["lost"], 0, "it was looked on at, not borrowed");
}

#[test]
fn a_port_with_other_line_settings_is_borrowed_and_given_back() {
    let pty = Pty::open();
    let mut gateway = Gateway::start(&json_device("scale", pty.path()));
    let sender = Sender::start(&pty);
    gateway.wait_readings("scale", 3);
    let edits = json!([{"path": "port.scale-port.baud", "value": 9600}]);
    let begun = std::time::Instant::now();
    let (state, words) = found(&gateway, &edits, "port", "scale-port");
    assert!(state == "good" && words.starts_with("scale: n = "), "{state}: {words}");
    let before = device(&gateway, "scale")["readings"].as_u64().unwrap();
    gateway.wait_readings("scale", before + 20);
    let away = begun.elapsed();
    let sent = sender.end();
    assert!(gateway.log().contains("port is lent"), "{}", gateway.log());
    let status = gateway
        .wait("the line is open again", |status| find(&status["ports"], "scale-port")["state"] == "open");
    assert_eq!(find(&status["ports"], "scale-port")["lost"], 0, "lent is not lost");
    // Lines come 50 ms apart: beyond the time of the loan none is missing.
    let readings = find(&status["devices"], "scale")["readings"].as_u64().unwrap();
    let missing = u64::from(sent).saturating_sub(readings);
    assert!(u128::from(missing) <= away.as_millis() / 50, "{missing} of {sent} are missing after {away:?}");
}

#[test]
fn whoever_goes_away_in_the_middle_leaves_the_port_to_the_gateway() {
    let pty = Pty::open();
    let mut gateway = Gateway::start(&json_device("scale", pty.path()));
    pty.line(r#"{"n":1}"#);
    gateway.wait_readings("scale", 1);
    let stream = UnixStream::connect(gateway.socket()).unwrap();
    let edits = json!([{"path": "port.scale-port.baud", "value": 9600}]);
    let request = json!({"op": "config-probe", "config": {"edits": edits}});
    (&stream).write_all(format!("{request}\n").as_bytes()).unwrap();
    eventually("the port is lent", || gateway.log().contains("port is lent").then_some(()));
    drop(stream);
    let gone = std::time::Instant::now();
    eventually("it is open again", || {
        pty.line(r#"{"n":2}"#);
        (device(&gateway, "scale")["readings"].as_u64() >= Some(3)).then_some(())
    });
    assert!(gone.elapsed() < std::time::Duration::from_secs(20));
    let again = probe(&gateway, &json!([{"path": "gateway.site", "value": "x"}]));
    assert_eq!(again.last().unwrap()["outcome"], "right", "another try may begin: {again:?}");
}

#[test]
fn a_line_that_says_nothing_or_nonsense_is_told_in_words() {
    let (pty, silent, noisy) = (Pty::open(), Pty::open(), Pty::open());
    let gateway = Gateway::start(&json_device("scale", pty.path()));
    let port = |path: &Path| json!({"path": path.to_str().unwrap()});
    let device = |port: &str| json!({"port": port, "decode": "json", "points": "*"});
    silent.forget();
    let edits =
        json!([{"path": "port.s", "value": port(silent.path())}, {"path": "device.s", "value": device("s")}]);
    let (state, words) = found(&gateway, &edits, "port", "s");
    assert!(
        state == "doubtful" && words.contains("nothing came within 4.5 s at 9600 baud"),
        "{state}: {words}"
    );
    let nonsense = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !nonsense.load(Ordering::Relaxed) {
                noisy.line("+3.5 kg");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        });
        let edits = json!([{"path": "port.n", "value": port(noisy.path())}, {"path": "device.n", "value": device("n")}]);
        let (state, words) = found(&gateway, &edits, "port", "n");
        nonsense.store(true, Ordering::Relaxed);
        assert!(
            state == "wrong" && words.contains("bytes came, but no value: ") && words.contains("2b 33 2e"),
            "{words}"
        );
    });
    let edits = json!([{"path": "port.x", "value": port(Path::new("/dev/nowhere"))}]);
    let (state, words) = found(&gateway, &edits, "port", "x");
    assert!(state == "wrong" && words.contains("no such port"), "{words}");
}

/// A Modbus TCP server for one client at a time, whose registers all hold 7.
fn registers() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 12];
            while stream.read_exact(&mut request).is_ok() {
                let count = request[11];
                let mut answer = request[..4].to_vec();
                answer.extend([0, 3 + 2 * count, request[6], request[7], 2 * count]);
                answer.extend([0, 7].repeat(usize::from(count)));
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[test]
fn a_polled_port_is_asked_once_and_goes_on_after_it() {
    let address = registers();
    let config = format!(
        "[[port]]\nname = \"bus\"\nkind = \"tcp\"\naddress = \"{address}\"\n\n[[device]]\nname = \"meter\"\n\
         port = \"bus\"\ndecode = \"registers\"\nunit_id = 1\nevery = \"1s\"\n[[device.points]]\nname = \"v\"\n\
         function = 3\naddress = 0\ntype = \"u16\"\n"
    );
    let mut gateway = Gateway::start(&config);
    gateway.wait_readings("meter", 2);
    let edits = json!([{"path": "device.meter.points.v.unit", "value": "V"}]);
    // The server has a single client: only who has borrowed the port is answered.
    let (state, words) = found(&gateway, &edits, "port", "bus");
    assert_eq!((state.as_str(), words.as_str()), ("good", "meter: v = 7"));
    let before = device(&gateway, "meter")["readings"].as_u64().unwrap();
    gateway.wait_readings("meter", before + 2);
    let nobody = free_port();
    let edits = json!([{"path": "port.bus.address", "value": format!("127.0.0.1:{nobody}")}]);
    let (state, words) = found(&gateway, &edits, "port", "bus");
    assert!(state == "wrong" && words.contains("refused"), "{words}");
}

#[test]
fn an_upstream_says_what_is_wrong_and_the_running_connection_stays() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    let status = Command::new(program("mosquitto_passwd"))
        .args(["-b", "-c"])
        .arg(&accounts)
        .args(["gateway", "right"])
        .status()
        .unwrap();
    assert!(status.success());
    let port = free_port();
    let listeners =
        format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n", accounts.display());
    let mosquitto = Mosquitto::start_with(dir.path(), port, &listeners);
    let secret = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (right, wrong) = (secret("right", "right\n"), secret("wrong", "wrong-canary\n"));
    let account = format!("user_name = \"gateway\"\npassword = {{ file = {right:?} }}\n");
    let mut gateway = Gateway::start(&(upstream(port) + &account));
    gateway.wait_online();
    let (state, words) =
        found(&gateway, &json!([{"path": "upstream.up.keep_alive", "value": "20s"}]), "upstream", "up");
    assert_eq!(state, "good", "{words}");
    assert!(words.contains("it lets \"gw-probe\" in"), "{words}");
    let edits = json!([{"path": "upstream.up.password.file", "value": wrong}]);
    let told = probe(&gateway, &edits);
    let all = format!("{told:?}");
    assert!(all.contains("check user_name, password") && !all.contains("wrong-canary"), "{all}");
    assert_eq!(told.last().unwrap()["outcome"], "wrong");
    let (state, words) =
        found(&gateway, &json!([{"path": "upstream.up.port", "value": free_port()}]), "upstream", "up");
    assert!(state == "wrong" && words.contains("nothing listens there"), "{words}");
    let edits = json!([{"path": "upstream.up.password.file", "value": "/nowhere/secret"}]);
    let (state, words) = found(&gateway, &edits, "upstream", "up");
    assert!(state == "wrong" && words.contains("the password can't be read"), "{words}");
    let status = gateway.ask("status");
    assert_eq!(status["upstreams"][0]["connections"], 1, "the running connection was not disturbed");
    let log = mosquitto.log();
    let probes = log.lines().filter(|line| line.contains("as gw-probe")).collect::<Vec<_>>();
    assert!(probes.iter().all(|line| line.contains("c1")), "each is a clean session: {probes:?}");
}

#[test]
fn where_connect_is_not_answered_tls_alone_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(dir.path(), "ca");
    let server = TlsServer::start(&certificates.issue("server", "DNS:localhost"));
    let gateway = Gateway::start("");
    let value = json!({"host": "localhost", "port": server.port, "tls": {"ca": certificates.authority()}});
    let (state, words) =
        found(&gateway, &json!([{"path": "upstream.cloud", "value": value}]), "upstream", "cloud");
    assert!(
        state == "doubtful" && words.contains("TLS is right, but CONNECT as \"gw-probe\" was not answered"),
        "{words}"
    );
}

#[test]
fn the_disk_must_hold_what_may_wait() {
    let gateway = Gateway::start("");
    let port = free_port();
    let edits = |size: &str| {
        json!([
            {"path": "buffer.max_size", "value": size},
            {"path": "upstream.up", "value": {"host": "127.0.0.1", "port": port}},
        ])
    };
    let (state, words) = found(&gateway, &edits("1 TiB"), "disk", "");
    assert!(state == "wrong" && words.contains("the disk is too small: 1048576 MiB may wait"), "{words}");
    let (state, words) = found(&gateway, &edits("8 MiB"), "disk", "");
    assert!(state == "good" && words.starts_with("8 MiB may wait"), "{words}");
}
