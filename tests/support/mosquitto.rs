//! Mosquitto as a real upstream, and its command-line clients.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{PATIENCE, Process, eventually, free_port};

/// A Mosquitto that keeps its sessions on disk. One that is killed loses what it acknowledged, so it is stopped
/// with SIGTERM.
pub struct Mosquitto {
    pub port: u16,
    config: PathBuf,
    database: PathBuf,
    process: Option<Process>,
}

impl Mosquitto {
    /// Starts one that lets everybody in.
    pub fn start(dir: &Path) -> Self {
        let port = free_port();
        Self::start_with(dir, port, &format!("listener {port} 127.0.0.1\nallow_anonymous true\n"))
    }

    /// Starts one with listeners of its own, which must have one on `port`.
    pub fn start_with(dir: &Path, port: u16, listeners: &str) -> Self {
        let dir = dir.join(format!("mosquitto-{port}"));
        std::fs::create_dir(&dir).unwrap();
        let config = dir.join("mosquitto.conf");
        // Started as root it would become a user who can't write here.
        let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
        let text = format!(
            "{user}persistence true\npersistence_location {}/\nautosave_interval 0\nmax_queued_messages 0\n\
             max_queued_bytes 0\nset_tcp_nodelay true\nlog_dest stdout\nlog_type all\n{listeners}",
            dir.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut mosquitto = Self { port, config, database: dir.join("mosquitto.db"), process: None };
        mosquitto.start_again();
        mosquitto
    }

    /// Starts it after [`Self::stop`], with what it had kept.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "mosquitto runs already");
        let process = Process::start("mosquitto", client("mosquitto").arg("-c").arg(&self.config));
        let process = self.process.insert(process);
        eventually("mosquitto listens", || {
            assert!(process.is_running(), "mosquitto ended:\n{}", process.text());
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Stops it cleanly.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("mosquitto runs");
        let status = process.terminate(PATIENCE);
        assert!(status.success(), "mosquitto did not stop cleanly ({status}):\n{}", process.text());
    }

    /// Sends it a signal; SIGHUP makes it read its accounts anew.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("mosquitto runs").signal(signal);
    }

    /// Throws away all that it had kept.
    pub fn forget(&mut self) {
        assert!(self.process.is_none(), "mosquitto still runs");
        std::fs::remove_file(&self.database).expect("a stopped mosquitto has kept its sessions");
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("mosquitto runs").pid()
    }

    /// What it has logged since it was started.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::text).unwrap_or_default()
    }
}

/// Where a program is, also where a user's PATH lacks the system's folders.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{path}:/usr/local/sbin:/usr/sbin:/sbin");
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}; ./tests/run installs it"))
}

/// A command by its program's name.
pub fn client(name: &str) -> Command {
    // Lines at once, although it writes into a pipe.
    let mut command = Command::new("stdbuf");
    command.arg("-oL").arg(program(name));
    command
}

/// A message as a subscriber got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub topic: String,
    pub qos: u8,
    pub retain: bool,
    pub payload: String,
    pub at: Instant,
}

impl Received {
    /// The payload as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.payload)
            .unwrap_or_else(|error| panic!("{}: {:?} is no JSON: {error}", self.topic, self.payload))
    }
}

/// A subscriber that is subscribed: mosquitto_sub.
pub struct Tap {
    process: Process,
}

impl Tap {
    /// Subscribes with QoS 2 at most; returns when the broker has said yes.
    pub fn subscribe(port: u16, topic: &str) -> Self {
        Self::subscribe_with(port, topic, &[])
    }

    /// The same with more arguments for mosquitto_sub.
    pub fn subscribe_with(port: u16, topic: &str, arguments: &[&str]) -> Self {
        let mut process = Process::start("mosquitto_sub", Self::command(port, topic).args(arguments));
        process.wait_line("Subscribed (mid");
        Self { process }
    }

    /// Makes a durable session and leaves it.
    pub fn register(port: u16, topic: &str, client_id: &str, arguments: &[&str]) {
        let mut command = Self::command(port, topic);
        command.args(["-c", "-i", client_id, "-E"]).args(arguments);
        Process::run_well("mosquitto_sub -E", &mut command);
    }

    /// Comes back to a durable session. What had waited for it may come before the subscription is confirmed.
    pub fn resume(port: u16, topic: &str, client_id: &str, arguments: &[&str]) -> Self {
        let mut command = Self::command(port, topic);
        command.args(["-c", "-i", client_id]).args(arguments);
        Self { process: Process::start("mosquitto_sub", &mut command) }
    }

    fn command(port: u16, topic: &str) -> Command {
        let mut command = client("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "2", "-t", topic]);
        command.args(["-d", "-F", "MSG|%t|%q|%r|%p"]);
        command
    }

    /// All messages so far.
    pub fn messages(&self) -> Vec<Received> {
        received(&self.process)
    }

    /// Waits until the broker has confirmed the subscription of a [`Self::resume`].
    pub fn wait_subscribed(&self) {
        eventually("SUBACK", || self.process.text().contains("Subscribed (mid").then_some(()));
    }

    /// Waits for a message.
    pub fn wait(&self, what: &str, mut wanted: impl FnMut(&Received) -> bool) -> Received {
        eventually(what, || self.messages().into_iter().find(|message| wanted(message)))
    }

    /// Waits for a payload.
    pub fn wait_payload(&self, payload: &str) -> Received {
        self.wait(&format!("{payload:?} arrives"), |message| message.payload == payload)
    }

    /// Ends the subscriber without a DISCONNECT.
    pub fn kill(mut self) {
        self.process.kill9();
    }

    /// Ends the subscriber with a DISCONNECT.
    pub fn leave(mut self) {
        self.process.terminate(PATIENCE);
        let text = self.process.text();
        assert!(text.contains("sending DISCONNECT"), "mosquitto_sub leaves politely: {text}");
    }
}

/// All messages that a subscriber has printed as `MSG|topic|qos|retain|payload`.
pub fn received(subscriber: &Process) -> Vec<Received> {
    subscriber.parsed(|line| {
        let mut parts = line.text.strip_prefix("MSG|")?.splitn(4, '|');
        Some(Received {
            topic: parts.next()?.to_owned(),
            qos: parts.next()?.parse().ok()?,
            retain: parts.next()? == "1",
            payload: parts.next()?.to_owned(),
            at: line.at,
        })
    })
}

/// Publishes with mosquitto_pub, QoS 1.
pub fn publish(port: u16, topic: &str, payload: &str) {
    publish_with(port, topic, payload, &["-q", "1"]);
}

/// Publishes with mosquitto_pub.
pub fn publish_with(port: u16, topic: &str, payload: &str, arguments: &[&str]) {
    let mut command = client("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic, "-m", payload]).args(arguments);
    Process::run_well("mosquitto_pub", &mut command);
}
