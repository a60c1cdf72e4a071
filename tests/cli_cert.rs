//! `fieldgate cert`: what it prints makes a listener that only its own devices get into; a revoked device is out within
//! seconds; its files survive a crash. openssl judges what it makes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{
    Gateway, PATIENCE, Process, Python, Tap, client, eventually, fieldgate, find, free_port, publish_with,
    within,
};

/// An authority in a folder of its own.
struct Authority {
    parent: tempfile::TempDir,
    dir: PathBuf,
}

impl Authority {
    /// One with a listener on this machine.
    fn new(folder: &str) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let authority = Self { dir: parent.path().join(folder), parent };
        authority.well(&["init", "--name", "test authority"]);
        authority
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = fieldgate();
        command.arg("cert").arg("--dir").arg(&self.dir).args(arguments);
        command
    }

    fn well(&self, arguments: &[&str]) -> String {
        Process::run_well("fieldgate cert", &mut self.command(arguments))
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let (status, words) = Process::run("fieldgate cert", &mut self.command(arguments));
        assert_eq!(status.code(), Some(1), "{arguments:?}: {words}");
        words
    }

    fn path(&self, file: &str) -> String {
        self.dir.canonicalize().unwrap().join(file).display().to_string()
    }

    /// Certificate and key of a device, for mosquitto's clients.
    fn device(&self, name: &str) -> [String; 6] {
        ["--cafile", "--cert", "--key"]
            .into_iter()
            .zip([
                self.path("ca.pem"),
                self.path(&format!("devices/{name}.pem")),
                self.path(&format!("devices/{name}.key")),
            ])
            .flat_map(|(option, file)| [option.to_owned(), file])
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    /// The serial numbers on the revocation list, as openssl reads it.
    fn revoked(&self) -> Vec<String> {
        let text = openssl(&["crl", "-in", &self.path("crl.pem"), "-noout", "-text"]);
        let serials = text.lines().filter_map(|line| line.trim().strip_prefix("Serial Number: "));
        serials.map(str::to_lowercase).collect()
    }
}

fn openssl(arguments: &[&str]) -> String {
    Process::run_well("openssl", Command::new("openssl").args(arguments))
}

/// The line of a text that begins so, without its beginning.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name:?} in {text}")).trim().to_owned()
}

/// What is to be put into the config, listening on this machine alone.
fn config_lines(told: &str, port: u16) -> String {
    let lines = told.split_once("Put into the config:\n\n").unwrap().1;
    assert!(lines.contains("bind = \"0.0.0.0:8883\""), "{lines}");
    lines.replace("0.0.0.0:8883", &format!("127.0.0.1:{port}"))
}

fn gets_in(port: u16, arguments: &[String]) -> bool {
    let mut command = client("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "try", "-m", "x", "-q", "1"]);
    Process::run("mosquitto_pub", command.args(arguments)).0.success()
}

#[test]
fn the_printed_lines_make_a_listener_for_the_authoritys_devices_until_they_are_revoked() {
    // A folder whose name must be quoted for the config and for a shell.
    let authority = Authority::new("own \"tls\" 'x'");
    let other = Authority::new("other");
    let told = authority.well(&["listener", "--name", "localhost", "--name", "127.0.0.1"]);
    let port = free_port();
    let told_device = authority.well(&["device", "plc-7"]);
    authority.well(&["device", "Stall Süd"]);
    other.well(&["device", "plc-7"]);
    let mut gateway = Gateway::start(&config_lines(&told, port));
    gateway.wait("the listener is open", |status| find(&status["listeners"], "devices")["error"].is_null());

    // The command that was printed.
    let tap = Tap::subscribe(gateway.lan_port, "test");
    let try_it = told_device.lines().find(|line| line.starts_with("mosquitto_pub ")).unwrap();
    let try_it = try_it.replace("-p 8883", &format!("-p {port}"));
    Process::run_well("the printed command", Command::new("sh").args(["-c", &try_it]));
    tap.wait_payload("hello");
    // Others don't get in: another authority's of the same names, one without a certificate.
    let (seven, south) = (authority.device("plc-7"), authority.device("Stall Süd"));
    let mut stranger = other.device("plc-7");
    stranger[1] = authority.path("ca.pem");
    let nameless = &seven[..2];
    assert!(gets_in(port, &seven) && gets_in(port, &south));
    assert!(!gets_in(port, &stranger) && !gets_in(port, nameless));
    // A device's certificate makes no listener, and the listener's no device.
    let listener = [
        &seven[..2],
        &["--cert".into(), authority.path("listener.pem")],
        &["--key".into(), authority.path("listener.key")],
    ];
    assert!(!gets_in(port, &listener.concat()));

    // Two that stay connected; one of them is revoked.
    let stay = |name: &str, device: &[String]| {
        let mut command = client("mosquitto_sub");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-V",
            "mqttv5",
            "-d",
            "-t",
            "all",
            "-i",
            name,
        ]);
        let mut process =
            Process::start("mosquitto_sub", command.args(["-F", "MSG|%t|%q|%r|%p"]).args(device));
        process.wait_line("Subscribed (mid");
        process
    };
    let mut revoked = stay("by-seven", &seven);
    let mut kept = stay("by-south", &south);
    let line = eventually("the log names the client", || {
        gateway.log().lines().find(|line| line.contains("client_id=\"by-south\"")).map(str::to_owned)
    });
    assert!(line.contains("user=\"Stall Süd\""), "{line}");
    let started = Instant::now();
    let said = authority.well(&["revoke", "plc-7"]);
    assert!(said.contains("\"plc-7\" is revoked"), "{said}");
    // 0x87: not authorized.
    revoked.wait_line("Received DISCONNECT (135)");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    println!("the revoked device was disconnected after {took:?}");
    eventually("the revoked device is refused", || (!gets_in(port, &seven)).then_some(()));
    eventually("that is told", || gateway.log().contains("their certificates were revoked").then_some(()));
    publish_with(gateway.lan_port, "all", "still here", &["-q", "1"]);
    eventually("the other is served", || {
        support::received(&kept).into_iter().find(|m| m.payload == "still here")
    });
    assert!(kept.is_running() && gets_in(port, &south));
    assert!(!kept.text().contains("Received DISCONNECT"), "{}", kept.text());

    // A new certificate for the same device lets it in again, while the old one stays out.
    let old = authority.parent.path().join("old");
    std::fs::create_dir(&old).unwrap();
    for end in ["pem", "key"] {
        std::fs::copy(authority.path(&format!("devices/plc-7.{end}")), old.join(format!("x.{end}"))).unwrap();
    }
    let mut before = seven.clone();
    (before[3], before[5]) =
        (old.join("x.pem").display().to_string(), old.join("x.key").display().to_string());
    assert!(authority.fails(&["renew", "plc-7"]).contains("was revoked"));
    authority.well(&["device", "plc-7"]);
    assert!(gets_in(port, &seven) && !gets_in(port, &before));
    gateway.stop();
}

#[test]
fn paho_gets_in_over_tls_and_secure_websocket_with_an_issued_certificate() {
    let authority = Authority::new("tls");
    let told = authority.well(&["listener", "--name", "127.0.0.1"]);
    authority.well(&["device", "paho"]);
    let (tcp, web) = (free_port(), free_port());
    let second = config_lines(&told, web).replace("\"devices\"", "\"pages\"");
    let second = second.replace("\n[broker.listener.tls]", "websocket = true\n\n[broker.listener.tls]");
    let mut gateway = Gateway::start(&(config_lines(&told, tcp) + &second));
    gateway.wait("the listener is open", |status| find(&status["listeners"], "pages")["error"].is_null());
    let tap = Tap::subscribe(gateway.lan_port, "paho/#");
    let [_, ca, _, cert, _, key] = authority.device("paho");
    for python in [Python::Paho1, Python::Paho2] {
        for (port, transport) in [(tcp, "tcp"), (web, "websockets")] {
            let (topic, payload) = (format!("paho/{python:?}"), format!("{transport}-"));
            let client_id = format!("publisher-{python:?}-{transport}");
            let arguments = [
                &port.to_string(),
                &client_id,
                &topic,
                &payload,
                "--transport",
                transport,
                "--ca",
                &ca,
                "--cert",
                &cert,
                "--key",
                &key,
            ];
            python.start("publisher.py", &arguments).wait_line("published 1");
            tap.wait("the message arrives", |m| m.topic == topic && m.payload == format!("{transport}-0"));
        }
    }
    eventually("each login is told with the device's name", || {
        (gateway
            .log()
            .lines()
            .filter(|line| line.contains("client connected") && line.contains("user=\"paho\""))
            .count()
            == 4)
            .then_some(())
    });
}

#[test]
fn openssl_finds_what_is_issued_right() {
    let authority = Authority::new("tls");
    let told = authority.well(&["listener", "--name", "gw.example", "--name", "10.0.0.5", "--days", "30"]);
    let device = authority.well(&["device", "plc-7", "--days", "10"]);
    let (ca, crl) = (authority.path("ca.pem"), authority.path("crl.pem"));
    let verify = |purpose: &[&str], file: &str| {
        let mut command = Command::new("openssl");
        command
            .args(["verify", "-x509_strict", "-CAfile", &ca, "-crl_check", "-CRLfile", &crl])
            .args(purpose);
        let (status, words) = Process::run("openssl verify", command.arg(authority.path(file)));
        (status.success(), words)
    };
    for (purpose, file, expected) in [
        (&["-purpose", "sslserver", "-verify_hostname", "gw.example"][..], "listener.pem", true),
        (&["-purpose", "sslserver", "-verify_ip", "10.0.0.5"], "listener.pem", true),
        (&["-purpose", "sslserver", "-verify_ip", "10.0.0.6"], "listener.pem", false),
        (&["-purpose", "sslclient"], "listener.pem", false),
        (&["-purpose", "sslclient"], "devices/plc-7.pem", true),
        (&["-purpose", "sslserver"], "devices/plc-7.pem", false),
    ] {
        let (accepted, words) = verify(purpose, file);
        assert_eq!(accepted, expected, "{file} {purpose:?}: {words}");
    }
    for (told, file, days) in [(&told, "listener.pem", 30), (&device, "devices/plc-7.pem", 10)] {
        let path = authority.path(file);
        let show = |what: &[&str]| openssl(&[&["x509", "-noout", "-in", &path], what].concat());
        assert!(show(&["-fingerprint", "-sha256"]).contains(&field(told, "SHA-256")));
        assert!(show(&["-serial"]).to_lowercase().contains(&field(told, "serial")));
        // Ends on that day, not before and not long after.
        let ends = |days: u64| {
            let seconds = (days * 86_400).to_string();
            let mut command = Command::new("openssl");
            command.args(["x509", "-noout", "-checkend", &seconds, "-in", &path]);
            !Process::run("openssl", &mut command).0.success()
        };
        assert!(!ends(days - 1) && ends(days + 1), "{file}");
        let text = show(&["-text"]);
        assert!(text.contains("prime256v1") && text.contains("CA:FALSE"), "{text}");
        // A clock that says 1970 doesn't take it for not valid yet.
        assert!(text.contains("Not Before: Jan  1 00:00:00 1970"), "{text}");
    }
    assert_eq!(authority.revoked(), Vec::<String>::new());
    authority.well(&["revoke", "plc-7"]);
    assert_eq!(authority.revoked(), [field(&device, "serial")]);
    let (accepted, words) = verify(&[], "devices/plc-7.pem");
    assert!(!accepted && words.contains("certificate revoked"), "{words}");
    assert!(verify(&[], "listener.pem").0);
}

#[test]
fn nothing_is_overwritten_and_nobody_else_reads_the_keys() {
    let authority = Authority::new("deep/down/tls");
    authority.well(&["listener"]);
    authority.well(&["device", "plc-7"]);
    for (file, mode) in [
        ("", 0o700),
        ("devices", 0o700),
        ("ca.key", 0o600),
        ("listener.key", 0o600),
        ("devices/plc-7.key", 0o600),
    ] {
        let found = std::fs::metadata(authority.path(file)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{file}");
    }
    let before = all(&authority.dir);
    assert!(authority.fails(&["init"]).contains("nothing was changed"));
    assert!(authority.fails(&["device", "plc-7"]).contains("has a certificate until"));
    for name in ["a/b", "../x", "+", "#", ".", "", " x", &"x".repeat(65)] {
        authority.fails(&["device", "--", name]);
    }
    authority.fails(&["listener", "--name", "not a host"]);
    assert!(authority.fails(&["revoke", "nobody"]).contains("nothing was issued for \"nobody\""));
    assert!(authority.fails(&["renew", "nobody"]).contains("nothing was issued"));
    assert_eq!(all(&authority.dir), before, "whatever is refused changes nothing");
    // Another's key beside the certificate issues nothing.
    let other = Authority::new("tls");
    std::fs::copy(other.path("ca.key"), authority.path("ca.key")).unwrap();
    assert!(authority.fails(&["device", "plc-8"]).contains("is not the key of ca.pem"));
    let nowhere =
        Authority { dir: authority.parent.path().join("nowhere"), parent: tempfile::tempdir().unwrap() };
    assert!(nowhere.fails(&["list"]).contains("`fieldgate cert init` makes one"));
    // A link that somebody has put there leads root's pen nowhere.
    let victim = authority.parent.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::remove_file(other.path("crl.pem")).unwrap();
    std::os::unix::fs::symlink(&victim, other.path("crl.pem")).unwrap();
    assert!(other.fails(&["list"]).contains("is a symbolic link"));
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    // A folder to which others may write is no place for keys.
    let open = Authority { dir: authority.parent.path().join("open"), parent: tempfile::tempdir().unwrap() };
    std::fs::create_dir(&open.dir).unwrap();
    std::fs::set_permissions(&open.dir, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(open.fails(&["init"]).contains("others may write"));
}

/// All files below a folder with what is in them.
fn all(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn renewing_keeps_names_and_days_and_the_list_tells_all() {
    let authority = Authority::new("tls");
    assert!(authority.well(&["list"]).contains("nothing was issued yet"));
    let first = authority.well(&["listener", "--name", "gw.example", "--days", "40"]);
    let second = authority.well(&["renew", "listener"]);
    assert_ne!(field(&first, "serial"), field(&second, "serial"));
    let names =
        openssl(&["x509", "-noout", "-ext", "subjectAltName", "-in", &authority.path("listener.pem")]);
    assert!(names.contains("DNS:gw.example"), "{names}");
    let old = authority.well(&["device", "plc-7", "--days", "20"]);
    let key = std::fs::read(authority.path("devices/plc-7.key")).unwrap();
    let new = authority.well(&["renew", "plc-7"]);
    assert!(new.contains(&format!("fieldgate cert revoke {}", field(&old, "serial"))), "{new}");
    assert_ne!(std::fs::read(authority.path("devices/plc-7.key")).unwrap(), key, "a key of its own");
    authority.well(&["revoke", &field(&old, "serial").to_uppercase()]);
    assert_eq!(authority.revoked(), [field(&old, "serial")]);
    let list = authority.well(&["list"]);
    let line = |told: &str| list.lines().find(|line| line.starts_with(&field(told, "serial"))).unwrap();
    assert!(line(&first).contains("listener  gw.example"), "{list}");
    // Some seconds of the first day are over already.
    assert!(line(&second).ends_with("39 d") || line(&second).ends_with("40 d"), "{list}");
    assert!(line(&old).contains("device    plc-7") && line(&old).contains("revoked 20"), "{list}");
    assert!(line(&new).ends_with("19 d") || line(&new).ends_with("20 d"), "{list}");
}

#[test]
fn a_crash_at_any_moment_leaves_no_certificate_that_is_not_in_the_list() {
    let authority = Authority::new("tls");
    let mut cut_short = 0;
    for round in 0..30 {
        let name = format!("d{round}");
        let mut command = authority.command(&["device", &name]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Killed the moment that the list, the key, or the certificate is seen.
        let is_time = || match round % 3 {
            0 => std::fs::read_to_string(authority.dir.join("index.json"))
                .unwrap()
                .contains(&format!("{name:?}")),
            1 => authority.dir.join(format!("devices/{name}.key")).exists(),
            _ => authority.dir.join(format!("devices/{name}.pem")).exists(),
        };
        while !is_time() && child.try_wait().unwrap().is_none() {}
        let _ = child.kill();
        if !child.wait().unwrap().success() {
            cut_short += 1;
        }
    }
    assert!(cut_short > 0, "none was cut short");
    let list = authority.well(&["list"]);
    for entry in std::fs::read_dir(authority.dir.join("devices")).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "pem") {
            let serial = openssl(&["x509", "-noout", "-serial", "-in", path.to_str().unwrap()]);
            let serial = serial.trim().strip_prefix("serial=").unwrap().to_lowercase();
            assert!(list.contains(&serial), "{} is not in the list:\n{list}", path.display());
        }
    }
    // Whatever was cut short can be done again: what is in the list is renewed.
    for round in 0..30 {
        let name = format!("d{round}");
        if !Path::new(&authority.path(&format!("devices/{name}.pem"))).exists() {
            let again = if list.contains(&format!("  {name} ")) { "renew" } else { "device" };
            authority.well(&[again, &name]);
        }
    }
    let list = authority.well(&["list"]);
    assert!(!list.contains("not in the folder"), "{list}");
}

#[test]
fn a_revocation_that_was_cut_short_is_finished_by_the_next_command() {
    let authority = Authority::new("tls");
    let device = authority.well(&["device", "plc-7"]);
    let before = std::fs::read(authority.path("crl.pem")).unwrap();
    authority.well(&["revoke", "plc-7"]);
    // As a crash leaves it between the two files.
    std::fs::write(authority.path("crl.pem"), &before).unwrap();
    assert!(authority.revoked().is_empty());
    authority.well(&["list"]);
    assert_eq!(authority.revoked(), [field(&device, "serial")]);
    // The same when there is no list at all.
    std::fs::remove_file(authority.path("crl.pem")).unwrap();
    authority.well(&["list"]);
    assert_eq!(authority.revoked(), [field(&device, "serial")]);
}

#[test]
fn two_at_once_wait_for_each_other() {
    let authority = Authority::new("tls");
    let mut running: Vec<Process> = (0..12)
        .map(|number| {
            Process::start("fieldgate cert", &mut authority.command(&["device", &format!("d{number}")]))
        })
        .collect();
    for process in &mut running {
        assert!(process.wait_end(PATIENCE).success(), "{}", process.text());
    }
    let list = authority.well(&["list"]);
    for number in 0..12 {
        assert!(list.contains(&format!("  d{number} ")), "{list}");
    }
    // Nobody has half of one: certificate and key go together.
    let mut again: Vec<Process> =
        (0..6).map(|_| Process::start("fieldgate cert", &mut authority.command(&["renew", "d0"]))).collect();
    for process in &mut again {
        assert!(process.wait_end(PATIENCE).success(), "{}", process.text());
    }
    let of = |kind: &str, file: &str| openssl(&[kind, "-in", &authority.path(file), "-noout", "-pubkey"]);
    let key = openssl(&["pkey", "-in", &authority.path("devices/d0.key"), "-pubout"]);
    assert_eq!(of("x509", "devices/d0.pem"), key);
}

#[test]
fn the_folder_is_in_the_data_directory_of_the_config() {
    let gateway = Gateway::new("");
    let config = gateway.config();
    let run = |arguments: &[&str]| {
        let mut command = fieldgate();
        Process::run_well("fieldgate cert", command.arg("cert").args(arguments).arg("-c").arg(&config))
    };
    let told = run(&["init"]);
    assert!(told.contains("\"fieldgate gw\""), "after the gateway's id: {told}");
    assert!(gateway.data_dir().join("tls/ca.pem").exists());
    let told = run(&["listener"]);
    let names = field(&told, "for");
    for name in ["localhost", "127.0.0.1"] {
        assert!(names.split(' ').any(|found| found == name), "{names}");
    }
    // A gateway that runs with all of it in its own folder finds its store right.
    let port = free_port();
    gateway.configure(&config_lines(&told, port));
    let mut gateway = gateway;
    gateway.start_again();
    run(&["device", "plc-7"]);
    let ca = gateway.data_dir().join("tls/ca.pem").display().to_string();
    let file = |end: &str| gateway.data_dir().join(format!("tls/devices/plc-7.{end}")).display().to_string();
    let device = ["--cafile".into(), ca, "--cert".into(), file("pem"), "--key".into(), file("key")];
    within(PATIENCE, "the device gets in", || gets_in(port, &device).then_some(()));
    assert_eq!(gateway.ask("status")["store"]["state"], "ok");
    gateway.stop();
    gateway.start_again();
    assert!(gets_in(port, &device));
}
