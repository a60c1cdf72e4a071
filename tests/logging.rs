//! The log as its readers see it: syslog, journald, files, topics, pipes, and what people change at runtime.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod raw;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fieldgate::io::control;
use raw::{Client, Connect, Publish, V, Will};
use rustix::process::Signal;
use serde_json::{Value as Json, json};
use support::{Gateway, PATIENCE, Process, Tap, eventually, fieldgate, publish_with};

/// A datagram socket that stands in for a daemon's.
fn daemon(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Reads datagrams until one has this in it.
fn datagram(socket: &UnixDatagram, part: &str) -> String {
    let mut bytes = vec![0; 300_000];
    loop {
        let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no {part:?}: {error}"));
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text.contains(part) {
            return text;
        }
    }
}

fn wait_log(gateway: &Gateway, part: &str) -> String {
    let found = || gateway.log().lines().find(|line| line.contains(part)).map(str::to_owned);
    eventually(&format!("the log says {part:?}"), found)
}

fn count(text: &str, part: &str) -> usize {
    text.lines().filter(|line| line.contains(part)).count()
}

/// Comes and goes, so that a line is logged.
fn visit(gateway: &Gateway, client_id: &str) {
    Client::connect(gateway.lan_port, &Connect::new(V::V5, client_id)).disconnect();
}

/// What `fieldgate log` prints, as JSON.
fn log_command(gateway: &Gateway, arguments: &[&str]) -> Json {
    let mut command = fieldgate();
    command.args(["log", "--json", "--socket"]).arg(gateway.socket()).args(arguments);
    serde_json::from_str(&Process::run_well("fieldgate log", &mut command)).unwrap()
}

fn destination(gateway: &Gateway, name: &str) -> Json {
    support::find(&gateway.ask("log")["destinations"], name).clone()
}

#[test]
fn syslog_journald_file_and_stderr_get_the_same_line_each_in_its_form() {
    let mut gateway = Gateway::new("");
    let at = |name: &str| gateway.dir.path().join(name);
    let (syslog, journal) = (daemon(&at("syslog")), daemon(&at("journal")));
    gateway.configure(&format!(
        "[log]\nto = [\"stderr\", \"syslog\", \"journald\", \"file\"]\ntimestamp = \"epoch\"\nevents = [\"connection\", \
         \"subscribe\", \"unsubscribe\"]\nfile.path = {:?}\nsyslog = {{ socket = {:?}, facility = \"local3\" }}\n\
         journald.socket = {:?}\n",
        at("logs/f.log"),
        at("syslog"),
        at("journal"),
    ));
    let path = at("logs/f.log");
    gateway.start_again();
    let mut client = Client::connect(gateway.lan_port, &Connect::new(V::V5, "meter-1").keep_alive(60));
    client.subscribe("a/+", 1);
    client.unsubscribe("a/+");
    client.disconnect();

    // local3 is 19; a notice is 5: 19 * 8 + 5.
    let line = datagram(&syslog, "client connected");
    assert!(line.starts_with("<157>"), "{line}");
    assert!(line.contains(&format!(" fieldgate[{}]: client connected conn=", gateway.pid())), "{line}");
    assert!(line.contains("client_id=\"meter-1\" version=\"5\" clean_start=true keep_alive=60"), "{line}");
    assert!(datagram(&syslog, "client subscribed").contains("client_id=\"meter-1\" filter=\"a/+\" qos=1"));
    assert!(datagram(&syslog, "client unsubscribed").contains("client_id=\"meter-1\" filter=\"a/+\""));

    let entry = datagram(&journal, "MESSAGE=client connected");
    for field in [
        "PRIORITY=5",
        "SYSLOG_IDENTIFIER=fieldgate",
        "FIELDGATE_SUBSYSTEM=broker",
        "FIELDGATE_EVENT=connection",
    ] {
        assert!(entry.lines().any(|line| line == field), "{field} in {entry}");
    }
    assert!(entry.lines().any(|line| line == "FIELDGATE_CLIENT_ID=meter-1"), "{entry}");
    assert!(datagram(&journal, "client subscribed").contains("FIELDGATE_FILTER=a/+\n"));

    let shown = wait_log(&gateway, "client disconnected");
    gateway.stop();
    let file = std::fs::read_to_string(&path).unwrap();
    assert!(file.lines().any(|line| line == shown), "{file}");
    let seconds: u64 = shown.split(' ').next().unwrap().parse().unwrap();
    assert!(seconds > 1_600_000_000, "{shown}");
    assert!(file.lines().last().unwrap().ends_with("INFO stopped"), "nothing is lost at the end: {file}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
}

#[test]
fn a_line_of_json_is_an_object() {
    let mut gateway = Gateway::start("[log]\nformat = \"json\"\n");
    visit(&gateway, "meter-1");
    wait_log(&gateway, "client disconnected");
    gateway.stop();
    let lines: Vec<Json> = gateway.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let connected = lines.iter().find(|line| line["message"] == "client connected").unwrap();
    assert_eq!((&connected["level"], &connected["event"]), (&json!("info"), &json!("connection")));
    assert_eq!((&connected["client_id"], &connected["keep_alive"]), (&json!("meter-1"), &json!(0)));
}

/// The log file and those put aside, oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let aside = (1..20).rev().map(|number| PathBuf::from(format!("{}.{number}", path.display())));
    aside.chain([path.to_owned()]).filter(|path| path.exists()).collect()
}

#[test]
fn a_file_is_put_aside_by_size_under_load_and_no_line_is_lost_or_cut() {
    const MESSAGES: usize = 300;
    let mut gateway = Gateway::new("");
    let path = gateway.dir.path().join("f.log");
    gateway.configure(&format!(
        "[log]\nto = [\"file\"]\nlevel = \"debug\"\nfile = {{ path = {path:?}, max_size = \"16 KiB\", keep = 19 }}\n"
    ));
    gateway.start_again();
    let mut client = Client::connect(gateway.lan_port, &Connect::new(V::V311, "meter-1"));
    for number in 0..MESSAGES {
        client.say(&format!("load/{number}"), 1, "x");
    }
    client.disconnect();
    assert_eq!(destination(&gateway, "file")["lost"], 0);
    gateway.stop();
    assert_eq!(gateway.log(), "", "stderr is no destination");
    let files = files(&path);
    assert!(files.len() > 2, "{files:?}");
    let mut all = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.len() <= 16 * 1024 && text.ends_with('\n'), "{}", file.display());
        all += &text;
    }
    for number in 0..MESSAGES {
        assert_eq!(
            count(&all, &format!("load/{number} ")) + count(&all, &format!("load/{number}\"")),
            1,
            "{number}"
        );
    }
    assert!(all.lines().all(|line| line.starts_with("20") && line.contains("Z ")), "every line is whole");
}

#[test]
fn after_sighup_the_log_goes_on_in_a_new_file() {
    let mut gateway = Gateway::new("");
    let path = gateway.dir.path().join("f.log");
    gateway.configure(&format!("[log]\nto = [\"file\"]\nfile.path = {path:?}\n"));
    gateway.start_again();
    let moved = gateway.dir.path().join("moved");
    eventually("the file is there", || path.exists().then_some(()));
    std::fs::rename(&path, &moved).unwrap();
    gateway.signal(Signal::HUP);
    let mut number = 0;
    eventually("the file is there again", || {
        number += 1;
        visit(&gateway, &format!("meter-{number}"));
        path.exists().then_some(())
    });
    gateway.stop();
    assert!(std::fs::read_to_string(&path).unwrap().contains("stopped"));
    assert!(!std::fs::read_to_string(&moved).unwrap().contains("stopped"));
}

#[test]
fn a_full_disk_is_told_elsewhere_and_stops_nobody() {
    let mut gateway = Gateway::start(
        "[log]\nto = [\"stderr\", \"file\"]\nfile = { path = \"/dev/full\", max_size = \"1 B\" }\n",
    );
    let line = wait_log(&gateway, "a destination of the log fails");
    assert!(line.contains("destination=\"file\" error=\"/dev/full: No space left"), "{line}");
    let tap = Tap::subscribe(gateway.lan_port, "a");
    publish_with(gateway.lan_port, "a", "still here", &[]);
    tap.wait_payload("still here");
    let file = destination(&gateway, "file");
    assert!(file["lost"].as_u64().unwrap() > 0 && file["written"] == 0, "{file}");
    assert!(file["error"].as_str().unwrap().contains("No space left"), "{file}");
    gateway.stop();
    assert_eq!(count(&gateway.log(), "a destination of the log fails"), 1);
}

#[test]
fn a_destination_that_comes_back_gets_lines_again_and_the_gap_is_told() {
    let mut gateway = Gateway::new("");
    let path = gateway.dir.path().join("syslog");
    gateway.configure(&format!("[log]\nto = [\"stderr\", \"syslog\"]\nsyslog.socket = {path:?}\n"));
    gateway.start_again();
    wait_log(&gateway, "a destination of the log fails");
    let syslog = daemon(&path);
    let mut number = 0;
    let line = eventually("it works again", || {
        number += 1;
        visit(&gateway, &format!("meter-{number}"));
        gateway.log().lines().find(|line| line.contains("works again")).map(str::to_owned)
    });
    assert!(line.contains("WARN") && line.contains("destination=\"syslog\" lost="), "{line}");
    assert!(datagram(&syslog, "works again").contains("lost="));
    let lost = destination(&gateway, "syslog")["lost"].as_u64().unwrap();
    assert!(line.ends_with(&format!("lost={lost}")), "{line}, {lost}");
    gateway.stop();
}

/// A process that doesn't outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nobody() {
    let gateway = Gateway::new("[log]\nlevel = \"debug\"\n");
    let mut command = fieldgate();
    command.arg("run").arg("--config").arg(gateway.config()).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = Ended(command.spawn().unwrap());
    eventually("the gateway answers", || control::ask(&gateway.socket(), "log").ok());
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", gateway.lan_port)).ok());
    let mut client = Client::connect(gateway.lan_port, &Connect::new(V::V311, "meter-1"));
    // Two lines each: more than the pipe and the queue hold.
    for _ in 0..4_000 {
        client.say("a", 1, "x");
    }
    let lost = destination(&gateway, "stderr")["lost"].as_u64().unwrap();
    assert!(lost > 100, "the pipe was full: {lost}");
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let status = eventually("it ends all the same", || child.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn subscribers_of_the_log_topics_see_what_mosquitto_would_show_and_no_line_makes_another() {
    let mut gateway = Gateway::start(
        "[log]\nto = [\"stderr\", \"topic\"]\nlevel = \"trace\"\ntimestamp = \"none\"\n\
         events = [\"connection\", \"subscribe\", \"unsubscribe\"]\n",
    );
    let tap = Tap::subscribe(gateway.lan_port, "$SYS/broker/log/#");
    let mut client = Client::connect(gateway.lan_port, &Connect::new(V::V5, "meter-1"));
    client.subscribe("b/#", 2);
    client.unsubscribe("b/#");
    client.disconnect();
    for (topic, part) in [
        ("N", "client connected"),
        ("M/subscribe", "filter=\"b/#\" qos=2"),
        ("M/unsubscribe", "filter=\"b/#\""),
        ("N", "client disconnected"),
    ] {
        let seen = tap.wait(&format!("{part} at {topic}"), |message| {
            message.topic == format!("$SYS/broker/log/{topic}")
                && message.payload.contains(part)
                && message.payload.contains("meter-1")
        });
        assert!(!seen.retain && seen.payload.starts_with(" INFO "), "{seen:?}");
    }
    log_command(&gateway, &["store=warn"]);
    tap.wait("the change at I", |message| {
        message.topic == "$SYS/broker/log/I" && message.payload.contains("store=warn")
    });
    let told = tap.messages();
    assert!(told.len() < 20, "{told:?}");
    assert!(told.iter().all(|message| !message.payload.contains("DEBUG")), "{told:?}");
    // Each message to the tap is a line at debug on stderr, and that line is no message again.
    assert!(count(&gateway.log(), "DEBUG sent") >= told.len());
    gateway.stop();
    // Nobody finds a line of before.
    gateway.start_again();
    let late = Tap::subscribe(gateway.lan_port, "$SYS/broker/log/#");
    visit(&gateway, "meter-2");
    late.wait("a new line", |message| message.payload.contains("meter-2"));
    assert!(late.messages().iter().all(|message| !message.payload.contains("meter-1")));
}

#[test]
fn levels_are_changed_while_it_runs_and_go_back_by_themselves() {
    let mut gateway = Gateway::start("");
    assert_eq!(log_command(&gateway, &[])["levels"]["broker"], json!({ "level": "info" }));
    visit(&gateway, "before");
    let changed = log_command(&gateway, &["broker=debug", "connection=off", "--for", "3s"]);
    assert_eq!(changed["levels"]["broker"]["level"], "debug");
    assert!(changed["levels"]["broker"]["for_s"].as_f64().unwrap() <= 3.0, "{changed}");
    visit(&gateway, "during");
    wait_log(&gateway, "DEBUG received");
    wait_log(&gateway, "their time is over");
    visit(&gateway, "after");
    wait_log(&gateway, "client_id=\"after\"");
    gateway.stop();
    let log = gateway.log();
    let (during, after) = log.split_once("their time is over").unwrap();
    let (before, during) = during.split_once("log levels were set").unwrap();
    assert_eq!((count(before, "DEBUG"), count(after, "DEBUG")), (0, 0), "{log}");
    assert!(count(during, "DEBUG") > 1 && count(during, "client connected") == 0, "{log}");
}

#[test]
fn a_level_that_is_not_known_is_refused_and_reset_takes_back_what_was_set() {
    let gateway = Gateway::start("[log.levels]\nbridge = \"warn\"\n");
    let mut command = fieldgate();
    command.args(["log", "brokr=debug", "--socket"]).arg(gateway.socket());
    let (status, text) = Process::run("fieldgate log", &mut command);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("\"brokr\" is no subsystem; known: default, broker, listener"), "{text}");
    let set = log_command(&gateway, &["debug", "bridge=trace"])["levels"].clone();
    assert_eq!(
        [&set["default"], &set["store"], &set["bridge"]].map(|entry| entry["level"].as_str().unwrap()),
        ["debug", "debug", "trace"]
    );
    let reset = log_command(&gateway, &["reset"])["levels"].clone();
    assert_eq!((&reset["default"]["level"], &reset["bridge"]["level"]), (&json!("info"), &json!("warn")));
    let mut command = fieldgate();
    command.args(["log", "broker=debug", "--for", "soon"]);
    let (status, text) = Process::run("fieldgate log", &mut command);
    assert_eq!(status.code(), Some(2), "{text}");
}

#[test]
fn a_storm_of_one_client_is_a_line_a_second_with_the_count_of_the_others() {
    const VISITS: u64 = 80;
    let mut gateway = Gateway::start("[log]\nformat = \"json\"\n");
    for _ in 0..VISITS {
        visit(&gateway, "storm");
    }
    gateway.stop();
    let log = gateway.log();
    let (mut said, mut held) = (0, 0);
    for line in log.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()) {
        if line["message"] == "client connected" {
            said += 1;
            held += line["more"].as_u64().unwrap_or(0);
        } else if line["like"] == "client connected storm" {
            held += line["more"].as_u64().unwrap();
        }
    }
    assert_eq!(said + held, VISITS, "{log}");
    assert!(held > 0, "{log}");
}

#[test]
fn no_password_and_no_payload_is_logged_at_any_level() {
    let mut gateway = Gateway::new("");
    let path = gateway.dir.path().join("f.log");
    let password = gateway.dir.path().join("password");
    std::fs::write(&password, "CANARY-PASSWORD").unwrap();
    gateway.configure(&format!(
        "[log]\nlevel = \"trace\"\nto = [\"stderr\", \"file\", \"topic\"]\nformat = \"json\"\nfile.path = {path:?}\n\
         events = [\"connection\", \"subscribe\", \"unsubscribe\", \"websockets\"]\n\
         [[broker.user]]\nname = \"plc\"\npassword = {{ file = {password:?} }}\n"
    ));
    gateway.start_again();
    let tap =
        Tap::subscribe_with(gateway.lan_port, "$SYS/broker/log/#", &["-u", "plc", "-P", "CANARY-PASSWORD"]);
    for version in [V::V311, V::V5] {
        let connect = Connect::new(version, "meter-1")
            .user("plc", "CANARY-PASSWORD")
            .will(Will::new("w", "CANARY-WILL").retain());
        let mut client = Client::connect(gateway.lan_port, &connect);
        client.subscribe("a", 2);
        for qos in 0..3 {
            client.send(&Publish::new("a", "CANARY-PAYLOAD").qos(qos, 9).bytes(version));
        }
        client.cut();
        let mut refused = Client::open(gateway.lan_port, version);
        refused.send(&Connect::new(version, "meter-2").user("plc", "CANARY-WRONG").bytes());
        refused.rest();
    }
    tap.wait("the refusal", |message| message.payload.contains("client refused"));
    wait_log(&gateway, "\"received\"");
    gateway.stop();
    let file = std::fs::read_to_string(&path).unwrap();
    let topics: String = tap.messages().into_iter().map(|message| message.payload + "\n").collect();
    for (place, text) in [("stderr", gateway.log()), ("file", file), ("topic", topics)] {
        assert!(text.contains("meter-1"), "{place} has lines");
        assert!(!text.contains("CANARY"), "{place}: {text}");
        // Nor as bytes: C, A, N.
        assert!(!text.contains("67, 65, 78") && !text.contains("43414e"), "{place}: {text}");
    }
}

#[test]
fn a_gateway_holds_its_pid_file_and_takes_over_that_of_a_crash() {
    let mut gateway = Gateway::new("");
    let path = gateway.dir.path().join("gateway.pid");
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(
        gateway.config(),
        text.replace("id = \"gw\"", &format!("id = \"gw\"\npid_file = {path:?}")),
    )
    .unwrap();
    gateway.start_again();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", gateway.pid()));
    let mut second: Command = fieldgate();
    second.arg("run").arg("--config").arg(gateway.config());
    let (status, said) = Process::run("a second gateway", &mut second);
    assert_eq!(status.code(), Some(1), "{said}");
    let expected =
        format!("another gateway holds the pid file {}; its process is {}", path.display(), gateway.pid());
    assert!(said.contains(&expected), "{said}");
    gateway.kill9();
    gateway.start_again();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", gateway.pid()));
    gateway.stop();
    assert!(!path.exists());
    std::fs::write(&path, "precious notes").unwrap();
    gateway.launch();
    let (status, said) = gateway.wait_end();
    assert!(status.code() == Some(1) && said.contains("is in the way: it is no pid file"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious notes");
}
