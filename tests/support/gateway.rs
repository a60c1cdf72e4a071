//! The built gateway as a process, with a folder of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use fieldgate::io::control;
use rustix::process::Signal;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::{LOOK, PATIENCE, Process, free_port};

/// A clean stop commits and says goodbye to every upstream within this.
const STOP_MAX: Duration = Duration::from_secs(20);

/// A gateway, running or not.
pub struct Gateway {
    // First, so that the process is gone before its folder.
    process: Option<Process>,
    logs: String,
    environment: Vec<(String, String)>,
    /// The size of the disk that its data are on, if it has one of its own.
    disk: Option<&'static str>,
    /// The words of a command that starts it.
    wrapper: Vec<String>,
    pub lan_port: u16,
    pub dir: TempDir,
}

impl Gateway {
    /// Its id, the first part of all its topics' second level.
    pub const ID: &'static str = "gw";

    /// One that has a `[gateway]` and a listener, and `rest`; not started.
    pub fn new(rest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (lan_port, logs, environment) = (free_port(), String::new(), Vec::new());
        let gateway =
            Self { dir, lan_port, process: None, logs, environment, disk: None, wrapper: Vec::new() };
        gateway.configure(rest);
        gateway
    }

    /// One that has been started.
    pub fn start(rest: &str) -> Self {
        let mut gateway = Self::new(rest);
        gateway.start_again();
        gateway
    }

    /// Writes the config anew.
    pub fn configure(&self, rest: &str) {
        let text = format!(
            "[gateway]\nid = \"{}\"\ndata_dir = \"{}\"\ncontrol_socket = \"{}\"\n{}[time]\ntrust = \"always\"\n\
             [[broker.listener]]\nbind = \"127.0.0.1:{}\"\n\n{rest}",
            Self::ID,
            self.data_dir().display(),
            self.socket().display(),
            // Tests run side by side, and its address is one. The rest begins with keys of the listener.
            if rest.contains("[web]") { "\n\n" } else { "[web]\nenabled = false\n" },
            self.lan_port,
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// Has it take another config while it runs, without dropping anybody; the answer.
    #[track_caller]
    pub fn take_config(&self, rest: &str) -> Json {
        self.configure(rest);
        let answer = self.ask("reload");
        assert_eq!(answer["outcome"], "applied", "{answer}\n{}", self.log());
        let expected = (&serde_json::json!(0), &serde_json::json!([]));
        assert_eq!((&answer["disconnected"], &answer["next_start"]), expected, "{answer}");
        answer
    }

    /// Sets an environment variable for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Gives it a disk of its own of that size for the next start, gone when it ends.
    pub fn set_disk(&mut self, size: &'static str) {
        self.disk = Some(size);
    }

    /// Has it started by a command, as its last words, for the next start.
    pub fn set_wrapper(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    /// The data directory as the gateway sees it, which may be on a disk of its own.
    pub fn own_data_dir(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(self.data_dir().strip_prefix("/").unwrap())
    }

    /// The config file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("fieldgate.toml")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A topic of the gateway: `fieldgate/gw/<rest>`.
    pub fn topic(rest: &str) -> String {
        format!("fieldgate/{}/{rest}", Self::ID)
    }

    /// Starts it, and waits until it answers and each of its listeners listens or says why not.
    pub fn start_again(&mut self) {
        self.launch();
        let plain = self.plain_page();
        self.wait("the gateway answers and listens", |status| {
            let listeners = status["listeners"].as_array().unwrap();
            let is_open = |listener: &Json| listener["error"].is_string() || listens(&listener["address"]);
            // The page's address is the one that counts, whatever a change that isn't confirmed says.
            let mut page =
                plain.iter().chain(status["web"].get("address").filter(|address| address.is_string()));
            listeners.iter().all(is_open) && (status["web"]["error"].is_string() || page.all(listens))
        });
    }

    /// Where the config wants the page without TLS.
    fn plain_page(&self) -> Option<Json> {
        let config = std::fs::read_to_string(self.config()).unwrap_or_default();
        let config: toml::Table = config.parse().unwrap_or_default();
        let web = config.get("web")?.as_table()?;
        let is_enabled = web.get("enabled").and_then(toml::Value::as_bool) != Some(false);
        web.get("plain").filter(|_| is_enabled)?.as_str().map(Json::from)
    }

    /// Starts it.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "the gateway runs already");
        let mut command = fieldgate();
        if let Some(size) = self.disk {
            std::fs::create_dir_all(self.data_dir()).unwrap();
            let program = command.get_program().to_owned();
            let mount =
                "mount --make-rprivate / && mount -t tmpfs -o size=$1 none \"$2\" && shift 2 && exec \"$@\"";
            command = Command::new("unshare");
            // Who isn't root gets the same rights inside a user namespace.
            if !rustix::process::geteuid().is_root() {
                command.args(["--user", "--map-root-user"]);
            }
            command.args(["--mount", "sh", "-c", mount, "sh", size]).arg(self.data_dir()).arg(program);
        }
        if let Some((first, words)) = self.wrapper.split_first() {
            let program = command.get_program().to_owned();
            command = Command::new(first);
            command.args(words).arg(program);
        }
        command.arg("run").arg("--config").arg(self.config()).envs(self.environment.iter().cloned());
        self.process = Some(Process::start("fieldgate", &mut command));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("the gateway runs").signal(signal);
    }

    /// Kills it as a crash would.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().expect("the gateway runs");
        process.kill9();
        self.logs += &process.text();
    }

    /// Stops it with SIGTERM; it must end with exit code 0.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("the gateway runs");
        let status = process.terminate(STOP_MAX);
        self.logs += &process.text();
        assert!(status.success(), "the gateway did not stop cleanly: {status}\n{}", process.text());
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Waits until it ends by itself.
    pub fn wait_end(&mut self) -> (ExitStatus, String) {
        let mut process = self.process.take().expect("the gateway runs");
        let status = process.wait_end(PATIENCE);
        self.logs += &process.text();
        (status, process.text())
    }

    /// Its process's number.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the gateway runs").pid()
    }

    /// What it has logged, in all its runs.
    pub fn log(&self) -> String {
        self.logs.clone() + &self.process.as_ref().map(Process::text).unwrap_or_default()
    }

    /// What the control socket answers to `op`.
    pub fn ask(&self, op: &str) -> Json {
        control::ask(&self.socket(), op).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// The last answer of the control socket to one request: what is told before is how it goes on.
    pub fn request(&self, request: &Json) -> Json {
        let stream = UnixStream::connect(self.socket()).unwrap();
        (&stream).write_all(format!("{request}\n").as_bytes()).unwrap();
        let lines =
            BufReader::new(stream).lines().map(|line| serde_json::from_str::<Json>(&line.unwrap()).unwrap());
        lines.filter(|line| line.get("progress").is_none()).last().expect("an answer")
    }

    /// Waits until the status is as `wanted`; returns it.
    pub fn wait(&mut self, what: &str, mut wanted: impl FnMut(&Json) -> bool) -> Json {
        let socket = self.socket();
        let process = self.process.as_mut().expect("the gateway runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = control::ask(&socket, "status");
            if let Ok(status) = &answer
                && wanted(status)
            {
                return status.clone();
            }
            let running = process.is_running();
            if !running || Instant::now() > deadline {
                let why = if running { "in time" } else { "before the gateway ended" };
                let last = answer.map_or_else(|error| error, |status| format!("{status:#}"));
                panic!("did not happen {why}: {what}; the last status: {last}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until the only upstream is online.
    pub fn wait_online(&mut self) -> Json {
        self.wait("the upstream is online", |status| status["upstreams"][0]["state"] == "online")
    }

    /// Waits until nothing waits for the only upstream.
    pub fn wait_drained(&mut self) -> Json {
        self.wait("the backlog is empty", |status| {
            let upstream = &status["upstreams"][0];
            upstream["state"] == "online" && upstream["backlog"]["messages"] == 0
        })
    }

    /// Waits until a device has this many readings.
    pub fn wait_readings(&mut self, device: &str, count: u64) -> Json {
        self.wait(&format!("{device} has {count} readings"), |status| {
            let readings = find(&status["devices"], device)["readings"].as_u64();
            readings.is_some_and(|readings| readings >= count)
        })
    }
}

/// The entry of a list that has this name; null if there is none.
pub fn find<'a>(list: &'a Json, name: &str) -> &'a Json {
    let found = list.as_array().and_then(|list| list.iter().find(|entry| entry["name"] == name));
    found.unwrap_or(&Json::Null)
}

/// The built program.
pub fn fieldgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    // Whoever runs the tests may have set something of their own.
    command.env_remove("JOURNAL_STREAM").env_remove("RUST_LOG");
    command
}

/// 500 files below a folder with that value, and what makes each of them a sensor that is read once a second.
pub fn sensors_of_files(folder: &Path, value: &str) -> String {
    let group = |group: usize| {
        for number in 0..50 {
            std::fs::write(folder.join(format!("g{group}-{number:02}")), format!("{value}\n")).unwrap();
        }
        let path = folder.join(format!("g{group}-*"));
        let path = path.display();
        format!("[[file]]\nname = \"g{group}\"\npath = \"{path}\"\nevery = \"1s\"\nunit = \"Cel\"\n\n")
    };
    (0..10).map(group).collect()
}

/// Whether some program listens on the address of a listener, as the kernel tells it: no connection is made, so
/// nothing is counted. Unix sockets count as listening.
fn listens(address: &Json) -> bool {
    let Ok(address) = address.as_str().unwrap().parse::<std::net::SocketAddr>() else { return true };
    let port = format!(":{:04X}", address.port());
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            // Local address, remote address, state; 0A is LISTEN.
            words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("0A")
        })
    })
}

/// A `[[port]]` with one device of that name that decodes JSON lines and takes what there is.
pub fn json_device(name: &str, path: &Path) -> String {
    format!(
        "[[port]]\nname = \"{name}-port\"\npath = \"{}\"\nbaud = 115200\n\n\
         [[device]]\nname = \"{name}\"\nport = \"{name}-port\"\ndecode = \"json\"\npoints = \"*\"\n\n",
        path.display()
    )
}

/// An `[[upstream]]` on this machine that is tried again soon.
pub fn upstream(port: u16) -> String {
    format!(
        "[[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {port}\nbackoff_min = \"100ms\"\n\
         backoff_max = \"500ms\"\n"
    )
}
