//! One of the two brokers that a fixture is run with: Mosquitto itself, and fieldgate with what became of the file.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Certificates, Gateway, Mosquitto, PATIENCE, Process, client, eventually, fieldgate, free_port, received,
};

/// The upstream broker of a side, in the place of a listener's number.
pub const UPSTREAM: usize = 9;

/// Folders that both users may write to: Mosquitto gives up root.
fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
}

/// A fixture laid out in a folder of its own, with free ports.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub ports: [u16; 2],
    pub upstream: Mosquitto,
}

impl Site {
    /// Copies a fixture, fills in ports and folder, and makes its password file.
    pub fn new(fixture: &str, users: &[(&str, &str)], upstream: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let port = free_port();
        let authority = Certificates::new(dir.path(), "authority");
        let server = authority.issue("server", "IP:127.0.0.1");
        let thing = authority.issue_client("thing", "thing", "DNS:thing.example");
        let revoked = authority.issue_client("revoked", "plc-8", "DNS:eight.example");
        authority.revoke(&revoked);
        let plc = authority.issue_client("plc", "plc-7", "DNS:seven.example");
        for (name, issued) in [("server", &server), ("thing", &thing), ("revoked", &revoked), ("plc", &plc)] {
            std::fs::copy(&issued.certificate, dir.path().join(format!("{name}.pem"))).unwrap();
            std::fs::copy(&issued.key, dir.path().join(format!("{name}.key"))).unwrap();
            std::fs::set_permissions(
                dir.path().join(format!("{name}.key")),
                PermissionsExt::from_mode(0o644),
            )
            .unwrap();
        }
        std::fs::copy(authority.authority(), dir.path().join("ca.pem")).unwrap();
        std::fs::copy(authority.revocation_list(), dir.path().join("crl.pem")).unwrap();
        for (user, password) in users {
            let file = dir.path().join("passwd");
            if !file.exists() {
                std::fs::write(&file, "").unwrap();
            }
            let mut command = client("mosquitto_passwd");
            Process::run_well("mosquitto_passwd", command.arg("-b").arg(&file).args([user, password]));
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        }
        let listeners =
            upstream.replace("{PORT}", &port.to_string()).replace("{DIR}", &dir.path().display().to_string());
        let upstream = Mosquitto::start_with(dir.path(), port, &listeners);
        let site = Self { ports: [free_port(), free_port()], dir, upstream };
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mosquitto").join(fixture);
        site.copy(&from, site.dir.path());
        site
    }

    fn copy(&self, from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let from = entry.unwrap().path();
            let to = to.join(from.file_name().unwrap());
            if from.is_dir() {
                std::fs::create_dir(&to).unwrap();
                open_to_all(&to);
                self.copy(&from, &to);
            } else {
                std::fs::write(&to, self.fill(&std::fs::read_to_string(&from).unwrap())).unwrap();
            }
        }
    }

    /// With what stands for the placeholders.
    pub fn fill(&self, text: &str) -> String {
        text.replace("{DIR}", &self.dir.path().display().to_string())
            .replace("{PORT0}", &self.ports[0].to_string())
            .replace("{PORT1}", &self.ports[1].to_string())
            .replace("{UPSTREAM}", &self.upstream.port.to_string())
    }

    pub fn conf(&self) -> PathBuf {
        self.dir.path().join("mosquitto.conf")
    }

    /// Imports the file; returns the exit code and standard error.
    pub fn import(&self) -> (i32, String) {
        let mut command = fieldgate();
        command.arg("import").arg(self.conf()).arg("-o").arg(self.config());
        let output = command.output().unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Where the config is imported to.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("imported.toml")
    }

    fn port(&self, number: usize) -> u16 {
        if number == UPSTREAM { self.upstream.port } else { self.ports[number] }
    }
}

/// A broker that runs a fixture.
pub struct Side {
    pub name: &'static str,
    // Before the site, so that it ends before its folder goes.
    broker: Broker,
    pub site: Site,
}

enum Broker {
    Mosquitto(Option<Process>),
    Gateway(Box<Gateway>),
}

impl Side {
    /// Mosquitto itself.
    pub fn mosquitto(site: Site) -> Self {
        let mut side = Self { name: "mosquitto", broker: Broker::Mosquitto(None), site };
        side.start();
        side
    }

    /// fieldgate with the imported config, which must be right.
    pub fn fieldgate(site: Site) -> Self {
        Process::run_well("fieldgate check", fieldgate().arg("check").arg(site.config()));
        let gateway = Gateway::new("");
        let own = format!(
            "[web]\nenabled = false\n[time]\ntrust = \"always\"\n[gateway]\nid = \"gw\"\ndata_dir = {:?}\ncontrol_socket = {:?}\n",
            gateway.data_dir(),
            gateway.socket()
        );
        let imported = std::fs::read_to_string(site.config()).unwrap();
        // Both have something to say of the gateway.
        let config = match imported.split_once("[gateway]\n") {
            Some((before, behind)) => format!("{before}{own}{behind}"),
            None => own + &imported,
        };
        std::fs::write(gateway.config(), config).unwrap();
        let mut side = Self { name: "fieldgate", broker: Broker::Gateway(Box::new(gateway)), site };
        side.start();
        side
    }

    fn start(&mut self) {
        match &mut self.broker {
            Broker::Mosquitto(process) => {
                let mut command = client("mosquitto");
                let started = Process::start("mosquitto", command.arg("-c").arg(self.site.conf()));
                let process = process.insert(started);
                // The first may stand in an included file.
                let conf = std::fs::read_to_string(self.site.conf()).unwrap();
                let [first, second] = self.site.ports;
                let second = conf.contains(&second.to_string()).then_some(second);
                for port in [first].into_iter().chain(second) {
                    eventually("mosquitto listens", || {
                        assert!(process.is_running(), "mosquitto ended:\n{}", process.text());
                        TcpStream::connect(("127.0.0.1", port)).ok()
                    });
                }
            }
            Broker::Gateway(gateway) => {
                gateway.start_again();
                let status = gateway.ask("status");
                for listener in status["listeners"].as_array().unwrap() {
                    assert!(listener["error"].is_null(), "{listener}");
                }
            }
        }
    }

    /// Stops it cleanly and starts it again.
    pub fn restart(&mut self) {
        match &mut self.broker {
            Broker::Mosquitto(process) => {
                assert!(process.take().unwrap().terminate(PATIENCE).success());
            }
            Broker::Gateway(gateway) => gateway.stop(),
        }
        self.start();
    }

    /// Whether mosquitto_pub gets in with these arguments and its message is acknowledged.
    pub fn gets_in(&self, listener: usize, arguments: &str) -> bool {
        let (status, _) = Process::run(
            "mosquitto_pub",
            self.client("mosquitto_pub", listener, arguments).args(["-t", "probe", "-m", "x", "-q", "1"]),
        );
        status.success()
    }

    /// What a subscriber gets of these messages, the last of which must arrive. Each is published by a client of its
    /// own, with its arguments, to its topic.
    pub fn exchange(&self, listener: usize, subscriber: &str, puts: &[(usize, &str, &str)]) -> Vec<String> {
        let mut command = self.client("mosquitto_sub", listener, subscriber);
        let mut subscriber =
            Process::start("mosquitto_sub", command.args(["-d", "-q", "2", "-F", "MSG|%t|%q|%r|%p"]));
        subscriber.wait_line("Subscribed (mid");
        for (number, (listener, arguments, topic)) in puts.iter().enumerate() {
            let payload = number.to_string();
            let mut command = self.client("mosquitto_pub", *listener, arguments);
            // Whoever is refused says so; what matters is what arrives.
            Process::run("mosquitto_pub", command.args(["-t", topic, "-m", &payload, "-q", "1"]));
        }
        let last = (puts.len() - 1).to_string();
        eventually(&format!("the last message arrives from {}", self.name), || {
            received(&subscriber).iter().any(|message| message.payload == last).then_some(())
        });
        let shown = |message: &crate::support::Received| {
            format!(
                "{} {} q{}{}",
                message.topic,
                message.payload,
                message.qos,
                if message.retain { " r" } else { "" }
            )
        };
        // The gateway's own status and health are nobody's message.
        received(&subscriber)
            .iter()
            .filter(|message| !message.topic.starts_with("fieldgate/gw/"))
            .map(shown)
            .collect()
    }

    /// The status code of a WebSocket's opening handshake, and the code of CONNACK if it went well.
    pub fn page(&self, listener: usize, path: &str, origin: Option<&str>) -> (u16, Option<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.site.port(listener))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let origin = origin.map_or_else(String::new, |origin| format!("Origin: {origin}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{origin}\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                break;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        if status != 101 {
            return (status, None);
        }
        // A binary frame, masked with zeros, with a CONNECT of 3.1.1.
        let mut frame = b"\x82\x8f\x00\x00\x00\x00".to_vec();
        frame.extend(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01w");
        stream.write_all(&frame).unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], [0x82, 4, 0x20, 2], "a frame with a CONNACK");
        (status, Some(answer[5]))
    }

    fn client(&self, name: &str, listener: usize, arguments: &str) -> Command {
        let mut command = client(name);
        let arguments = self.site.fill(arguments);
        if !arguments.contains("--unix") {
            command.args(["-h", "127.0.0.1", "-p", &self.site.port(listener).to_string()]);
        }
        command.args(arguments.split_whitespace());
        command
    }

    pub fn log(&self) -> String {
        match &self.broker {
            Broker::Mosquitto(process) => process.as_ref().map(Process::text).unwrap_or_default(),
            Broker::Gateway(gateway) => gateway.log(),
        }
    }
}
