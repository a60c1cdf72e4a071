//! What people look with: the bytes of a port as they pass, the values as they change, and devices that are simulated.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value as Json, json};
use support::{Gateway, Mosquitto, Pty, Tap, eventually, fieldgate, find, json_device, upstream};

/// A program whose standard output is read line by line, killed when dropped.
struct Looker {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Looker {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(support::PATIENCE).expect("a line is printed")
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn asking(gateway: &Gateway, command: &str) -> Command {
    let mut asking = fieldgate();
    asking.arg(command).arg("--socket").arg(gateway.socket());
    asking
}

#[test]
fn the_bytes_of_a_port_are_shown_as_they_pass() {
    let mut pty = Pty::open();
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("port");
    std::os::unix::fs::symlink(pty.path(), &link).unwrap();
    let mut gateway = Gateway::start(&json_device("a", &link));
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    let shown = Looker::start(asking(&gateway, "trace").arg("a-port"));
    let machine = Looker::start(asking(&gateway, "trace").args(["a-port", "--json"]));
    // Whoever looks on sees what comes from then on.
    let first = eventually("both look on", || {
        pty.write(b"~\n");
        let lines = (shown.lines.try_recv().ok(), machine.lines.try_recv().ok());
        match lines {
            (Some(_), Some(first)) => Some(first),
            _ => None,
        }
    });
    let first: Json = serde_json::from_str(&first).unwrap();
    assert!(first["bytes"].as_str().unwrap().contains("7e0a"), "{first}");
    // What is written by and by is read in one go where the machine is busy: the line begins when all before it is told.
    let told = |looker: &Looker| {
        pty.write(b"=");
        eventually("what was before is told", || {
            let line = looker.line();
            (line.ends_with('=') || line.contains("3d\"")).then_some(())
        });
    };
    told(&shown);
    told(&machine);
    eventually("the other mark is told", || shown.line().ends_with('=').then_some(()));
    pty.write(b"{\"n\": 1, \"x\": 7}\r\n");
    let text = eventually("the line is shown", || Some(shown.line()).filter(|line| line.contains("{\"n\"")));
    assert!(
        text.contains(" < 7b 22 6e 22 3a 20 31 2c 20 22 78 22 3a 20 37 7d  {\"n\": 1, \"x\": 7}"),
        "{text}"
    );
    assert!(shown.line().trim_end().ends_with(".."), "CR and LF are no characters to show");
    let piece = eventually("the piece is told", || {
        let piece: Json = serde_json::from_str(&machine.line()).unwrap();
        (piece["bytes"] == "7b226e223a20312c202278223a20377d0d0a").then_some(piece)
    });
    assert_eq!((&piece["direction"], &piece["lost"]), (&json!("in"), &json!(0)));
    assert!(piece["time"].as_str().unwrap().starts_with("20"), "{piece}");

    // Unplugged and back: that is told too.
    let next = Pty::open();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(next.path(), &link).unwrap();
    drop(std::mem::replace(&mut pty, next));
    let events: Vec<String> = [machine.line(), machine.line()]
        .map(|line| {
            serde_json::from_str::<Json>(&line).unwrap()["event"].as_str().unwrap_or("bytes").to_owned()
        })
        .to_vec();
    assert_eq!(events, ["down", "open"]);

    let unknown = asking(&gateway, "trace").arg("b-port").output().unwrap();
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert!(told.contains("there is no port \"b-port\"; known are a-port"), "{told}");
    assert_eq!(unknown.status.code(), Some(1));
    // Looking on keeps nobody from asking, and who has gone makes room.
    for _ in 0..12 {
        let counted = asking(&gateway, "trace").args(["a-port", "--count", "0"]).spawn().unwrap();
        let mut counted = Looker { child: counted, lines: std::sync::mpsc::channel().1 };
        counted.child.kill().unwrap();
        assert_eq!(gateway.ask("health")["gateway"], Gateway::ID);
    }
    eventually("there is room again", || {
        pty.line("{\"n\": 2}");
        let again =
            asking(&gateway, "trace").args(["a-port", "--count", "1"]).stderr(Stdio::null()).spawn().unwrap();
        let mut again = Looker { child: again, lines: std::sync::mpsc::channel().1 };
        eventually("it sees a piece, or is refused", || {
            pty.line("{\"n\": 3}");
            again.child.try_wait().unwrap()
        })
        .success()
        .then_some(())
    });
    gateway.stop();
}

#[test]
fn values_are_shown_as_they_change_on_a_terminal_and_elsewhere() {
    let (pty, screen) = (Pty::open(), Pty::open());
    let mut gateway = Gateway::start(&json_device("air", pty.path()));
    pty.line("{\"t\": 21.5, \"state\": \"on\"}");
    gateway.wait_readings("air", 1);
    let plain = Looker::start(asking(&gateway, "watch").args(["--every", "50"]));
    let line = plain.line();
    assert!(line.starts_with("air ") && line.ends_with("-1 state=on t=21.5"), "{line}");
    screen.shown();
    let terminal = File::options().write(true).open(screen.path()).unwrap();
    let mut drawn = asking(&gateway, "watch");
    let drawn = drawn.args(["air", "--every", "50"]).env_remove("NO_COLOR").stdout(terminal).spawn().unwrap();
    let drawn = Looker { child: drawn, lines: std::sync::mpsc::channel().1 };
    let mut seen = String::new();
    eventually("the table is drawn", || {
        seen += &screen.shown();
        (seen.contains("\x1b[H") && seen.contains("21.5")).then_some(())
    });
    pty.line("{\"t\": 22.75, \"state\": \"on\"}");
    assert!(plain.line().ends_with("-2 state=on t=22.75"));
    eventually("what has changed stands out", || {
        seen += &screen.shown();
        let changed = seen.lines().find(|line| line.contains("22.75"))?;
        changed.contains("\x1b[32m").then_some(())
    });
    drop(drawn);
    let json = asking(&gateway, "watch").args(["--json", "--count", "1"]).output().unwrap();
    let json: Json = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[0]["values"]["t"], 22.75);
    gateway.stop();
    let gone = asking(&gateway, "watch").output().unwrap();
    assert_eq!(gone.status.code(), Some(1));
}

#[test]
fn a_simulated_device_is_read_as_a_real_one_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let link = dir.path().join("dust");
    let simulate = |more: &[&str]| {
        let mut command = fieldgate();
        command.arg("simulate").args(more).args(["--every", "50", "--link"]).arg(&link);
        Looker::start(&mut command)
    };
    let simulated = simulate(&["pms5003"]);
    assert_eq!(simulated.line(), link.display().to_string());
    let config = format!(
        "[[port]]\nname = \"p\"\npath = \"{}\"\n[[device]]\nname = \"dust\"\nport = \"p\"\nprofile = \"pms5003\"\n{}",
        link.display(),
        upstream(mosquitto.port)
    );
    let mut gateway = Gateway::start(&config);
    let value = |message: &support::Received| message.json()["values"]["pm25"].as_f64();
    let first = tap.wait("a first value", |message| value(message).is_some());
    tap.wait("another value", |message| value(message) != value(&first));
    let status = gateway.wait_readings("dust", 20);
    assert_eq!(find(&status["devices"], "dust")["bad_lines"], 0, "{status}");
    // Killed, it hangs up as an adapter that is unplugged; its link stays behind, and the next one takes its place.
    drop(simulated);
    gateway.wait("the port is down", |status| status["ports"][0]["state"] == "down");
    let again = simulate(&["pms5003"]);
    again.line();
    gateway.wait("the port is back", |status| status["ports"][0]["state"] == "open");
    gateway.stop();

    let mut ends = fieldgate();
    ends.args(["simulate", "sds011", "--every", "1", "--count", "3"]);
    let ends = ends.output().unwrap();
    assert!(ends.status.success() && String::from_utf8(ends.stdout).unwrap().starts_with("/dev/pts/"));
    let odd = dir.path().join("odd.toml");
    std::fs::write(
        &odd,
        "[[device]]\nname = \"d\"\nport = \"p\"\npoints = [{ name = \"t\" }]\n\
        decode = { kind = \"regex\", pattern = '^(?<t>[0-9.]+)\\b\\B' }\n",
    )
    .unwrap();
    let refused = fieldgate().args(["simulate", "--device"]).arg(&odd).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--capture FILE"));
}

#[test]
fn a_capture_is_played_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("gps");
    let capture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nmea/bu353s4.nmea");
    let mut command = fieldgate();
    command.arg("simulate").arg("--capture").arg(&capture).args(["--baud", "115200", "--link"]).arg(&link);
    let played = Looker::start(&mut command);
    played.line();
    let config = format!(
        "[[port]]\nname = \"p\"\npath = \"{}\"\n[[device]]\nname = \"gps\"\nport = \"p\"\nprofile = \"nmea-gps\"\n",
        link.display()
    );
    let mut gateway = Gateway::start(&config);
    let status = gateway.wait_readings("gps", 10);
    assert!(status["ports"][0]["bytes"].as_u64().unwrap() > 500, "{status}");
    gateway.stop();
}
