//! Every client that people use on a LAN, in every protocol version and on every kind of listener that it speaks, with
//! every QoS: it gets its own message back byte for byte, a retained message, a will, and what came while it was away.
//! With `--nocapture` the result is printed as a table, and what a client can't do with the reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod command_line;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use command_line::CommandLine;
use support::{Certificates, Gateway, Process, Python, client, free_port};
use table::{Cell, Row, Table};

/// All cells of one client; the slowest takes ten seconds on an idle machine.
const CLIENT_MAX: Duration = Duration::from_secs(150);

/// Where the listeners are.
#[derive(Clone)]
struct Ways {
    tcp: u16,
    tls: u16,
    ws: u16,
    wss: u16,
    unix: PathBuf,
    ca: PathBuf,
    certificate: PathBuf,
}

impl Ways {
    fn json(&self) -> String {
        let Self { tcp, tls, ws, wss, .. } = self;
        let ways = serde_json::json!({
            "tcp": tcp, "tls": tls, "ws": ws, "wss": wss, "unix": self.unix, "ca": self.ca,
            "certificate": self.certificate,
        });
        ways.to_string()
    }
}

/// A gateway with a listener of every kind.
fn start(dir: &Path) -> (Gateway, Ways) {
    let authority = Certificates::new(dir, "ca");
    let issued = authority.issue("listener", "IP:127.0.0.1");
    let ways = Ways {
        tcp: 0,
        tls: free_port(),
        ws: free_port(),
        wss: free_port(),
        unix: dir.join("mqtt.sock"),
        ca: authority.authority(),
        certificate: issued.certificate.clone(),
    };
    let tls = format!("tls = {{ cert = {:?}, key = {:?} }}\n", issued.certificate, issued.key);
    let listener =
        |name: &str, bind: &str| format!("[[broker.listener]]\nname = \"{name}\"\nbind = \"{bind}\"\n");
    let rest = [
        listener("tls", &format!("127.0.0.1:{}", ways.tls)) + &tls,
        listener("ws", &format!("127.0.0.1:{}", ways.ws)) + "websocket = true\n",
        listener("wss", &format!("127.0.0.1:{}", ways.wss)) + "websocket = true\n" + &tls,
        listener("unix", &format!("unix:{}", ways.unix.display())),
    ];
    let mut gateway = Gateway::start(&rest.concat());
    gateway.wait("all listeners are open", |status| {
        status["listeners"].as_array().unwrap().iter().all(|listener| listener["error"].is_null())
    });
    let tcp = gateway.lan_port;
    (gateway, Ways { tcp, ..ways })
}

/// What `tests/install-peers` has put into the build folder.
fn peer(path: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join(path);
    assert!(file.exists(), "{} is missing; ./tests/run (or tests/install-peers) makes it", file.display());
    file
}

fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// The clients with a program of their own, which prints a line for each check.
fn programs(ways: &Ways, dir: &Path) -> Vec<(Vec<Row>, Process)> {
    let ways = ways.json();
    let all = ["tcp", "tls", "ws", "wss", "unix"];
    let start = |row: Row, command: &mut Command| {
        let process = Process::start(&row.name, command);
        (vec![row], process)
    };
    let python = |python: Python, file: &str| {
        let mut command = Command::new(python.interpreter());
        command.arg(script("py/matrix").join(file)).arg(&ways);
        command
    };
    let packages = peer("node/node_modules").parent().unwrap().to_owned();
    let mut node = [client("node"), client("node")];
    node[0].arg(script("js/mqttjs.mjs")).arg(&ways).arg(&packages);
    node[1]
        .arg(script("js/browser.mjs"))
        .arg(&ways)
        .arg(&packages)
        .arg(support::program("chromium"))
        .arg(dir.join("browser"));
    let [mut mqttjs, mut browser] = node;
    vec![
        start(
            Row::new("paho-mqtt 1", &[3, 4, 5], &all[..4]).cannot("unix", "came with paho-mqtt 2.1"),
            &mut python(Python::Paho1, "with_paho1.py"),
        ),
        start(Row::new("paho-mqtt 2", &[3, 4, 5], &all), &mut python(Python::Paho2, "with_paho2.py")),
        start(Row::new("aiomqtt", &[3, 4, 5], &all), &mut python(Python::Paho2, "with_aiomqtt.py")),
        start(
            Row::new("gmqtt", &[4, 5], &all[..2])
                .cannot("ws, wss, unix", "it opens TCP connections only")
                .cannot("3.1", "it was written for 3.1.1 and 5"),
            &mut python(Python::Paho2, "with_gmqtt.py"),
        ),
        start(Row::new("MQTT.js", &[3, 4, 5], &all), &mut mqttjs),
        (
            vec![
                Row::new("Chromium: Paho JavaScript", &[3, 4], &all[2..4])
                    .cannot("tcp, tls, unix", "a page in a browser has none of them")
                    .cannot("5", "it was written for 3.1 and 3.1.1"),
                Row::new("Chromium: MQTT.js", &[3, 4, 5], &all[2..4])
                    .cannot("tcp, tls, unix", "a page in a browser has none of them"),
            ],
            Process::start("Chromium", &mut browser),
        ),
        start(
            Row::new("rumqttc", &[4, 5], &all).cannot("3.1", "it was written for 3.1.1 and 5"),
            Command::new(peer("rumqttc/debug/rumqttc-probe")).arg(&ways),
        ),
    ]
}

/// The cells of a program that has come to its end.
fn finish(process: &mut Process) -> Vec<Cell> {
    process.wait_end(CLIENT_MAX);
    process.parsed(|line| Cell::parse(&line.text))
}

#[test]
fn every_client_does_all_it_can_in_every_version_on_every_listener_with_every_qos() {
    let dir = tempfile::tempdir().unwrap();
    let (_gateway, ways) = start(dir.path());
    let mut table = Table::default();
    let command_lines = [CommandLine::mosquitto(), CommandLine::fieldgate()].map(|command_line| {
        let (ways, dir) = (ways.clone(), dir.path().to_owned());
        std::thread::spawn(move || (command_line.row(), command_line.run(&ways, &dir)))
    });
    for (rows, mut process) in programs(&ways, dir.path()) {
        let mut cells = finish(&mut process);
        if cells.iter().any(|cell| !cell.is_ok()) || cells.is_empty() {
            println!("{}", process.text());
        }
        for row in rows {
            let (of_row, others) = cells.into_iter().partition(|cell| cell.client.starts_with(&row.name));
            table.add(row, of_row);
            cells = others;
        }
        assert!(cells.is_empty(), "nobody expects {}", cells[0].client);
    }
    for command_line in command_lines {
        let (row, cells) = command_line.join().expect("the clients run to their end");
        table.add(row, cells);
    }
    println!("{table}");
    table.assert_whole();
}
