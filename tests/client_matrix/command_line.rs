//! mosquitto_pub and mosquitto_sub, and fieldgate's own `pub` and `sub`, in the matrix: both take the same options.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Ways;
use crate::support::{Process, client, eventually, fieldgate};
use crate::table::{Cell, Row};

/// A pair of commands.
pub struct CommandLine {
    name: String,
    publish: fn() -> Command,
    subscribe: fn() -> Command,
    /// What it says, with -d, when it has subscribed.
    subscribed: &'static str,
    transports: Vec<&'static str>,
    cannot: Option<&'static str>,
}

impl CommandLine {
    pub fn mosquitto() -> Self {
        let help = Process::run("mosquitto_pub", client("mosquitto_pub").arg("--help")).1;
        let version = help.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap();
        // WebSocket came with 2.1.
        let has_ws = help.contains("--ws");
        let websocket: &[&str] = if has_ws { &["ws", "wss"] } else { &[] };
        Self {
            name: format!("mosquitto_pub, _sub {version}"),
            publish: || client("mosquitto_pub"),
            subscribe: || client("mosquitto_sub"),
            subscribed: "Subscribed (mid",
            transports: [&["tcp", "tls", "unix"], websocket].concat(),
            cannot: (!has_ws).then_some("the installed one has no --ws"),
        }
    }

    pub fn fieldgate() -> Self {
        Self {
            name: "fieldgate pub, sub".to_owned(),
            publish: || ours("pub"),
            subscribe: || ours("sub"),
            subscribed: "< SUBACK",
            transports: vec!["tcp", "tls", "ws", "wss", "unix"],
            cannot: None,
        }
    }

    pub fn row(&self) -> Row {
        let row = Row::new(&self.name, &[3, 4, 5], &self.transports);
        match self.cannot {
            Some(why) => row.cannot("ws, wss", why),
            None => row,
        }
    }

    /// All cells.
    pub fn run(&self, ways: &Ways, dir: &Path) -> Vec<Cell> {
        let mut cells = Vec::new();
        for version in [3, 4, 5] {
            for transport in &self.transports {
                for qos in 0..=2 {
                    let cell = Place { line: self, ways, dir, version, transport, qos };
                    cells.extend(cell.run());
                }
            }
        }
        cells
    }
}

fn ours(which: &str) -> Command {
    let mut command = fieldgate();
    command.arg(which);
    command
}

/// One version, transport and QoS.
struct Place<'a> {
    line: &'a CommandLine,
    ways: &'a Ways,
    dir: &'a Path,
    version: u8,
    transport: &'static str,
    qos: u8,
}

impl Place<'_> {
    fn root(&self) -> String {
        format!("{}/{}/{}/{}", self.line.name, self.version, self.transport, self.qos).replace(' ', "-")
    }

    fn connected(&self, mut command: Command) -> Command {
        let version = match self.version {
            3 => "mqttv31",
            4 => "mqttv311",
            _ => "mqttv5",
        };
        let ways = self.ways;
        let port = match self.transport {
            "tcp" => ways.tcp,
            "tls" => ways.tls,
            "ws" => ways.ws,
            _ => ways.wss,
        };
        match self.transport {
            "unix" => command.arg("--unix").arg(&ways.unix),
            _ => command.args(["-h", "127.0.0.1", "-p", &port.to_string()]),
        };
        if self.transport.starts_with("ws") {
            command.arg("--ws");
        }
        if matches!(self.transport, "tls" | "wss") {
            command.arg("--cafile").arg(&ways.ca);
        }
        command.args(["-V", version, "-q", &self.qos.to_string()]);
        command
    }

    fn subscribe(&self, topic: &str, arguments: &[&str]) -> Command {
        let mut command = self.connected((self.line.subscribe)());
        command.args(["-t", topic, "-F", "MSG|%t|%q|%r|%x"]).args(arguments);
        command
    }

    fn publish(&self, topic: &str, payload: &[u8], arguments: &[&str]) {
        let mut command = self.connected((self.line.publish)());
        command.args(["-t", topic]).args(arguments);
        if payload.is_empty() {
            command.arg("-n");
        } else {
            let file: PathBuf = self.dir.join(format!("{}.payload", self.root().replace('/', "-")));
            std::fs::write(&file, payload).unwrap();
            command.arg("-f").arg(file);
        }
        Process::run_well("the publisher", &mut command);
    }

    fn line(&self, topic: &str, payload: &[u8], retain: bool) -> String {
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("MSG|{topic}|{}|{}|{hex}", self.qos, u8::from(retain))
    }

    fn cell(&self, check: &str, result: Result<(), String>) -> Cell {
        Cell {
            client: self.line.name.clone(),
            version: self.version,
            transport: self.transport.to_owned(),
            qos: self.qos,
            check: check.to_owned(),
            result: result.err().unwrap_or_else(|| "ok".to_owned()),
        }
    }

    fn run(&self) -> Vec<Cell> {
        let root = self.root();
        let mut main = Process::start(&root, &mut self.subscribe(&format!("{root}/#"), &["-d"]));
        main.wait_line(self.line.subscribed);
        let mut cells = vec![
            self.cell("echo", self.echo(&main)),
            self.cell("retained", self.retained()),
            self.cell("will", self.will(&mut main)),
        ];
        if self.qos > 0 {
            cells.push(self.cell("session", self.session()));
        }
        cells
    }

    fn echo(&self, main: &Process) -> Result<(), String> {
        let topic = format!("{}/echo", self.root());
        let large: Vec<u8> = (0..=255).cycle().take(256 * 70).collect();
        for (number, payload) in [&large[..], b"", b"\0"].into_iter().enumerate() {
            self.publish(&topic, payload, &[]);
            let got = eventually("the message comes back", || messages(main).into_iter().nth(number));
            same(&got, &self.line(&topic, payload, false))?;
        }
        Ok(())
    }

    fn retained(&self) -> Result<(), String> {
        let topic = format!("{}/kept", self.root());
        self.publish(&topic, b"kept", &["-r"]);
        let late = Process::run_well("a late subscriber", &mut self.subscribe(&topic, &["-C", "1"]));
        self.publish(&topic, b"", &["-r"]);
        same(late.trim_end(), &self.line(&topic, b"kept", true))
    }

    fn will(&self, main: &mut Process) -> Result<(), String> {
        let topic = format!("{}/will", self.root());
        let qos = self.qos.to_string();
        let will = ["-d", "--will-topic", &topic, "--will-payload", "gone", "--will-qos", &qos];
        let mut doomed = Process::start("a client with a will", &mut self.subscribe("nothing", &will));
        doomed.wait_line(self.line.subscribed);
        doomed.kill9();
        main.wait_line(&self.line(&topic, b"gone", false));
        Ok(())
    }

    fn session(&self) -> Result<(), String> {
        let topic = format!("{}/away", self.root());
        let id = topic.replace('/', "-");
        let mut durable = vec!["-c", "-i", &id];
        if self.version == 5 {
            durable.extend(["-x", "3600"]);
        }
        let register = [&durable[..], &["-E"]].concat();
        Process::run_well("a subscriber that leaves", &mut self.subscribe(&topic, &register));
        self.publish(&topic, b"while away", &[]);
        let back = [&durable[..], &["-C", "1"]].concat();
        let got = Process::run_well("a subscriber that comes back", &mut self.subscribe(&topic, &back));
        same(got.trim_end(), &self.line(&topic, b"while away", false))
    }
}

fn messages(process: &Process) -> Vec<String> {
    process.parsed(|line| line.text.starts_with("MSG|").then(|| line.text.clone()))
}

fn same(got: &str, wanted: &str) -> Result<(), String> {
    if got == wanted {
        return Ok(());
    }
    let start = |text: &str| text.chars().take(100).collect::<String>();
    Err(format!("got {:?}, wanted {:?}", start(got), start(wanted)))
}
