//! Ports that come and go, from outside: adapters that come back under another name, adapters found by what they say of
//! themselves, and the command that lists them.
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

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fieldgate::sensor::modbus::rtu;
use serde_json::Value as Json;
use support::{Gateway, PATIENCE, Pty, Tap, Tree, fieldgate, find, json_device};

/// Leads a link to another place in one step, as udev does.
fn lead(link: &Path, target: &Path) {
    let new = link.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

/// The link goes first: whoever opens a pseudo-terminal next may get the number that it led to.
fn unplug<T>(link: &Path, plugged: T) {
    fs::remove_file(link).unwrap();
    drop(plugged);
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Unplugs a port and plugs it in again, so many times; returns how long each took to be read again.
fn replug(link: &Path, tap: &Tap, first: Pty, times: usize) -> Vec<Duration> {
    let mut plugged = first;
    let mut took = Vec::new();
    for number in 1..=times {
        if number % 2 == 0 {
            // Gone for a while, as a cable that is pulled.
            unplug(link, plugged);
            plugged = Pty::open();
            lead(link, plugged.path());
        } else {
            // Another is there before the old one hangs up.
            let next = Pty::open();
            lead(link, next.path());
            plugged = next;
        }
        let began = Instant::now();
        plugged.write(b"\xff\x00{\"n\":");
        plugged.line("");
        plugged.line(&format!("{{\"n\": {number}}}"));
        tap.wait("the port is read again", |message| message.json()["values"]["n"] == number);
        took.push(began.elapsed());
    }
    unplug(link, plugged);
    took
}

fn replugs(ports: usize, times: usize) {
    let dir = tempfile::tempdir().unwrap();
    let link = |number: usize| dir.path().join(format!("usb-adapter-{number}"));
    let ptys: Vec<Pty> = (0..ports).map(|_| Pty::open()).collect();
    let calm = Pty::open();
    let mut config = json_device("calm", calm.path());
    for (number, pty) in ptys.iter().enumerate() {
        symlink(pty.path(), link(number)).unwrap();
        config += &json_device(&format!("d{number}"), &link(number));
    }
    let mut gateway = Gateway::start(&config);
    gateway.wait("all ports are open", |status| {
        status["ports"].as_array().unwrap().iter().all(|port| port["state"] == "open")
    });
    let calm_tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/calm"));
    let player = calm.play(times * 10, 20, |number| format!("{{\"n\": {number}}}"));
    let before = descriptors(gateway.pid());
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = ptys
            .into_iter()
            .enumerate()
            .map(|(number, pty)| {
                let (link, port) = (link(number), gateway.lan_port);
                scope.spawn(move || {
                    let tap = Tap::subscribe(port, &Gateway::topic(&format!("data/d{number}")));
                    replug(&link, &tap, pty, times)
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    took.sort();
    println!(
        "{} replugs: read again after {:?} (median), {:?} (longest)",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
    // On a quiet machine it is two seconds at most; this one may be busy.
    assert!(took[took.len() / 2] < Duration::from_secs(3) && took[took.len() - 1] < PATIENCE, "{took:?}");
    player.finish();
    let last = times * 10 - 1;
    calm_tap.wait("the last line of the calm port", |message| message.json()["values"]["n"] == last);
    assert_eq!(calm_tap.messages().len(), times * 10, "nothing of the calm port is lost");
    let status = gateway.ask("status");
    assert_eq!(find(&status["ports"], "calm-port")["lost"], 0);
    // The ends of these threads' subscribers take a moment.
    gateway.wait("no descriptor is left open", |_| true);
    let pid = gateway.pid();
    support::eventually("no descriptor is left open", || (descriptors(pid) <= before).then_some(()));
    gateway.stop();
}

#[test]
fn ports_that_are_unplugged_are_read_again_soon_under_whatever_number_and_others_are_undisturbed() {
    replugs(8, 25);
}

#[test]
#[ignore = "takes a minute or two: tests/heavy/run e2e_ports"]
fn a_thousand_replugs_leave_nothing_open() {
    replugs(8, 125);
}

/// Answers to reads of one register by unit 1, from a thread that ends with the line: with the number of the plugging.
struct Slave {
    pty: Pty,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Slave {
    fn plug(number: u16, is_mute: bool) -> Self {
        let pty = Pty::open();
        pty.forget();
        let stop = Arc::new(AtomicBool::new(false));
        let (line, stopping) = (pty.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut heard = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                heard.extend(line.taken());
                while heard.len() >= 8 {
                    let request: Vec<u8> = heard.drain(..8).collect();
                    assert_eq!(request[..6], [1, 4, 0, 0, 0, 1], "{request:02x?}");
                    if !is_mute {
                        let value = number.to_be_bytes();
                        line.write(&rtu::frame(1, &[4, 2, value[0], value[1]]));
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { pty, stop, thread: Some(thread) }
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "only what is configured is asked");
    }
}

fn polled_replugs(ports: usize, times: u16) {
    let dir = tempfile::tempdir().unwrap();
    let link = |name: &str| dir.path().join(name);
    let mut config = String::new();
    let names: Vec<String> = (0..ports).map(|number| format!("bus{number}")).chain(["calm".into()]).collect();
    for name in &names {
        config += &format!(
            "[[port]]\nname = \"{name}\"\npath = \"{}\"\nbaud = 115200\n\n[[device]]\nname = \"{name}-d\"\nport = \"{name}\"\n\
             decode = \"registers\"\nunit_id = 1\nevery = \"200ms\"\ntimeout = \"3s\"\n[[device.points]]\nname = \"n\"\n\
             function = 4\naddress = 0\ntype = \"u16\"\n\n",
            link(name).display()
        );
    }
    let mut plugged: Vec<Slave> = names.iter().map(|_| Slave::plug(0, false)).collect();
    for (name, slave) in names.iter().zip(&plugged) {
        lead(&link(name), slave.pty.path());
    }
    let calm = plugged.pop().unwrap();
    let mut gateway = Gateway::start(&config);
    gateway.wait("all ports are open", |status| {
        status["ports"].as_array().unwrap().iter().all(|port| port["state"] == "open")
    });
    let before = descriptors(gateway.pid());
    let lan_port = gateway.lan_port;
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = plugged
            .into_iter()
            .zip(&names)
            .map(|(slave, name)| {
                let link = link(name);
                scope.spawn(move || polled_replug(&link, lan_port, name, slave, times))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    took.sort();
    println!(
        "{} replugs of polled ports: asked and read again after {:?} (median), {:?} (longest)",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
    // On a quiet machine it is two seconds at most; this one may be busy.
    assert!(took[took.len() / 2] < Duration::from_secs(3) && took[took.len() - 1] < PATIENCE, "{took:?}");
    let status = gateway.ask("status");
    assert_eq!(find(&status["ports"], "calm")["lost"], 0);
    let calm_bus = status["buses"].as_array().unwrap().iter().find(|bus| bus["port"] == "calm").unwrap();
    let slave = &calm_bus["devices"][0];
    assert_eq!((&slave["timeouts"], &slave["crc_errors"]), (&Json::from(0), &Json::from(0)), "{slave}");
    let pid = gateway.pid();
    support::eventually("no descriptor is left open", || (descriptors(pid) <= before).then_some(()));
    gateway.stop();
    drop(calm);
}

/// Unplugs a polled port and plugs it in again; each third time while a request is under way that nobody answers.
fn polled_replug(link: &Path, lan_port: u16, name: &str, first: Slave, times: u16) -> Vec<Duration> {
    let tap = Tap::subscribe(lan_port, &Gateway::topic(&format!("data/{name}-d")));
    let mut plugged = first;
    let mut took = Vec::new();
    for number in 1..=times {
        if number % 3 == 0 {
            let mute = Slave::plug(number, true);
            lead(link, mute.pty.path());
            plugged = mute;
        }
        if number % 2 == 0 {
            unplug(link, plugged);
            plugged = Slave::plug(number, false);
            lead(link, plugged.pty.path());
        } else {
            // Another is there before the old one hangs up.
            let next = Slave::plug(number, false);
            lead(link, next.pty.path());
            plugged = next;
        }
        let began = Instant::now();
        tap.wait("the port is asked again", |message| message.json()["values"]["n"] == number);
        took.push(began.elapsed());
    }
    unplug(link, plugged);
    took
}

#[test]
fn polled_ports_that_are_unplugged_are_asked_again_soon_under_whatever_number() {
    polled_replugs(4, 20);
}

#[test]
#[ignore = "takes a minute or two: tests/heavy/run e2e_ports"]
fn a_thousand_replugs_of_polled_ports_leave_nothing_open() {
    polled_replugs(8, 125);
}

fn ports(tree: &Tree, arguments: &[&str]) -> (i32, String) {
    let output =
        fieldgate().arg("ports").args(arguments).env("FIELDGATE_SYS_ROOT", tree.root()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

fn usb_device(name: &str, usb: &str) -> String {
    json_device(name, Path::new("/dev/x")).replace("path = \"/dev/x\"", usb)
}

#[test]
fn an_adapter_is_found_by_its_serial_number_and_two_that_match_are_told() {
    let tree = Tree::new();
    let (one, two) = (Pty::open(), Pty::open());
    tree.plug("ttyUSB0", "A1", &one);
    let config = usb_device("a", "usb = { serial = \"A1\" }")
        + &usb_device("any", "usb = { vid_pid = \"0403:6001\", interface = 0 }")
        + &usb_device("glob", &format!("path = \"{}/dev/serial/by-id/*_B2-*\"", tree.root().display()));
    let mut gateway = Gateway::new(&config);
    gateway.set_env("FIELDGATE_SYS_ROOT", tree.root().to_str().unwrap());
    gateway.start_again();
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    let read = |pty: &Pty, number: u64, device: &str| {
        pty.line(&format!("{{\"n\": {number}}}"));
        tap.wait("a line", |message| {
            message.topic.ends_with(device) && message.json()["values"]["n"] == number
        });
    };
    gateway.wait("the first is open", |status| find(&status["ports"], "a-port")["state"] == "open");
    read(&one, 1, "data/a");

    // A second of the kind: by kind alone nobody can say which, by a pattern of its name it is found.
    tree.plug("ttyUSB1", "B2", &two);
    gateway.wait("the second is found by its name", |status| {
        find(&status["ports"], "glob-port")["state"] == "open"
    });
    read(&two, 2, "data/glob");
    let status = gateway.wait("two that match are told", |status| {
        let error = find(&status["ports"], "any-port")["error"].as_str().unwrap_or_default().to_owned();
        error.contains("usb 0403:6001 interface 0: 2 ports match: ") && error.contains("ttyUSB1")
    });
    assert!(status["problems"].to_string().contains("2 ports match"), "{}", status["problems"]);

    // The first comes back under another number.
    tree.unplug("ttyUSB0", "A1");
    drop(one);
    gateway.wait("the first is gone", |status| find(&status["ports"], "a-port")["state"] == "down");
    let again = Pty::open();
    tree.plug("ttyUSB7", "A1", &again);
    gateway.wait("the first is back", |status| find(&status["ports"], "a-port")["state"] == "open");
    read(&again, 3, "data/a");
    assert_eq!(find(&gateway.ask("status")["ports"], "glob-port")["lost"], 0);

    let config = gateway.config();
    let config = config.to_str().unwrap();
    let (code, text) = ports(&tree, &["--config", config]);
    assert_eq!(code, 3, "one port matches two: {text}");
    assert!(text.contains("ttyUSB7  ftdi_sio  used by a-port"), "{text}");
    assert!(text.contains("usb 0403:6001  interface 0  serial A1  FTDI FT232R USB UART"), "{text}");
    assert!(text.contains("[[port]]  usb = { serial = \"A1\" }"), "{text}");
    assert!(text.contains("port any-port: usb 0403:6001 interface 0: 2 ports match"), "{text}");
    let real = fs::canonicalize(again.path()).unwrap();
    assert!(
        text.contains(&format!("port a-port: {}, open in the running gateway", real.display())),
        "{text}"
    );
    assert!(text.contains(&format!("open in fieldgate, process {}", gateway.pid())), "{text}");
    let (_, text) = ports(&tree, &["--json", "--config", config]);
    let json: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(json["plugged"][0]["used_by"], serde_json::json!(["glob-port"]));
    assert_eq!(json["plugged"][1]["serial"], "A1");
    // This test holds the other end of the line open too.
    let open_in = json["plugged"][1]["open_in"].as_array().unwrap();
    assert!(open_in.iter().any(|holder| holder["pid"] == gateway.pid()), "{open_in:?}");
    assert_eq!(find(&json["gateway"], "a-port")["state"], "open");
    assert!(json["plugged"][1]["by_id"].as_str().unwrap().ends_with("usb-FTDI_A1-if00"));
    gateway.stop();
}

/// Ticks of the processor that a process has used, a hundredth of a second each, and its resident kilobytes.
fn used(pid: u32) -> (f64, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (ticks as f64 / 100.0, rss.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
#[ignore = "takes the whole machine: tests/heavy/run e2e_ports"]
fn sixty_four_ports_at_full_speed_lose_nothing() {
    const PORTS: usize = 64;
    const SECONDS: u64 = 20;
    // 115200 baud are 11,520 bytes a second: 192 lines of 60 bytes.
    const PER_SECOND: u64 = 192;
    let ptys: Vec<Pty> = (0..PORTS).map(|_| Pty::open()).collect();
    let mut config = String::new();
    for (number, pty) in ptys.iter().enumerate() {
        config += &json_device(&format!("d{number}"), pty.path());
    }
    let mut gateway = Gateway::start(&config);
    gateway.wait("all ports are open", |status| {
        status["ports"].as_array().unwrap().iter().all(|port| port["state"] == "open")
    });
    let (before, _) = used(gateway.pid());
    let began = Instant::now();
    // One thread for all lines, in steps of 50 ms, as adapters hand their bytes over.
    let steps = SECONDS * 20;
    let mut sent = 0_u64;
    for step in 0..steps {
        let due = (step + 1) * PER_SECOND / 20;
        let mut burst = String::new();
        for number in sent..due {
            let line = format!("{{\"n\": {number}, \"t\": 21.5, \"h\": 45.25, \"p\": 1013.1");
            burst += &format!("{line}{:>width$}}}\n", "", width = 58 - line.len());
        }
        sent = due;
        for pty in &ptys {
            pty.write(burst.as_bytes());
        }
        let next = began + Duration::from_millis((step + 1) * 50);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let took = began.elapsed();
    let (after, rss) = used(gateway.pid());
    println!(
        "{PORTS} ports, {} bytes a second each, {:.1} s: {:.0} % of one processor, {rss} kB",
        sent * 60 / SECONDS,
        took.as_secs_f64(),
        (after - before) / took.as_secs_f64() * 100.0
    );
    let status = gateway.wait("every line is read", |status| {
        status["devices"].as_array().unwrap().iter().all(|device| device["readings"] == sent)
    });
    for device in status["devices"].as_array().unwrap() {
        assert_eq!(device["bad_lines"], 0, "{device}");
    }
    assert_eq!(status["drops"]["handover_full"], 0, "{status}");
    assert_eq!(find(&status["devices"], "d63")["readings"], sent);
    gateway.stop();
}
