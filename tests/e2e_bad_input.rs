//! Garbage and misplaced things: each gets one clear error that names the thing and what to do, and nothing else
//! stops.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use support::{
    Gateway, Mosquitto, Process, Pty, Tap, fieldgate, find, free_port, json_device, publish, publish_with,
    upstream,
};

#[test]
fn garbage_between_good_lines_is_counted_and_costs_no_good_line() {
    let sensor = Pty::open();
    let healthy = Pty::open();
    let config = json_device("noisy", sensor.path()) + &json_device("healthy", healthy.path());
    let mut gateway = Gateway::start(&config);
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    let mut random = fastrand::Rng::with_seed(0x5EED);
    let mut noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(20_000).collect();
    noise.push(b'\n');
    let mut endless = vec![b'x'; 1_000_000];
    endless.push(b'\n');
    let garbage: [(&str, &[u8]); 6] = [
        ("random bytes", &noise),
        ("a megabyte without a line end", &endless),
        ("NULs", b"\0\0\0\0\n"),
        ("invalid UTF-8", b"{\"n\":\"\xff\xfe\"}\n"),
        ("half a line", b"{\"n\":1\n"),
        ("JSON of another shape", b"[1,2,3]\n"),
    ];
    sensor.line(r#"{"n":0}"#);
    for (number, (what, bytes)) in (1..).zip(garbage) {
        sensor.write(bytes);
        sensor.line(&format!(r#"{{"n":{number}}}"#));
        let topic = Gateway::topic("data/noisy");
        tap.wait(&format!("the line after {what}"), |message| {
            message.topic == topic && message.json()["values"]["n"] == number
        });
        healthy.line(&format!(r#"{{"n":{number}}}"#));
    }
    let status = gateway.wait_readings("healthy", 6);
    let readings: Vec<Json> = tap
        .messages()
        .iter()
        .filter(|message| message.topic.ends_with("/noisy"))
        .map(|message| message.json()["values"]["n"].clone())
        .collect();
    assert_eq!(readings, (0..=6).map(Json::from).collect::<Vec<_>>(), "the good lines, and nothing else");
    let port = find(&status["ports"], "noisy-port");
    let device = find(&status["devices"], "noisy");
    let bad = port["bad_lines"].as_u64().unwrap() + device["bad_lines"].as_u64().unwrap();
    assert!(bad >= 6, "all garbage is counted: {port} {device}");
    assert!(device["last_error"].as_str().is_some_and(|error| !error.is_empty()), "{device}");
    assert_eq!(find(&status["devices"], "healthy")["bad_lines"], 0);
    // Good lines end an episode; each of the six is told once, however many lines it had.
    let told = gateway.log().matches("a line can't be decoded").count();
    assert!((1..=6).contains(&told), "{told} lines in the log:\n{}", gateway.log());
}

#[test]
fn garbage_on_the_mqtt_port_harms_nobody() {
    let mut gateway = Gateway::start("");
    let port = gateway.lan_port;
    let tap = Tap::subscribe(port, "lan/#");
    let mut random = fastrand::Rng::with_seed(0xBAD);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(100_000).collect();
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x";
    let garbage: [(&str, Vec<u8>); 9] = [
        ("random bytes", noise),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n".to_vec()),
        ("a TLS client", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20)),
        ("a packet of 256 MB to come", b"\x10\xff\xff\xff\x7f".to_vec()),
        ("a length that never ends", b"\x10\xff\xff\xff\xff\xff\xff".to_vec()),
        ("PUBLISH before CONNECT", b"\x30\x05\x00\x03a/bx".to_vec()),
        ("two CONNECTs", connect.repeat(2)),
        ("a reserved packet type behind CONNECT", [&connect[..], b"\xf0\x00"].concat()),
        ("a topic with a NUL behind CONNECT", [&connect[..], b"\x30\x05\x00\x03a\0bx"].concat()),
    ];
    for (what, bytes) in garbage {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        // The gateway may close before all is written.
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{what}: the gateway must close the connection: {error}"),
        }
        publish(port, "lan/a", what);
        tap.wait_payload(what);
    }
    let status = gateway.wait("the errors are counted", |status| {
        let broker = &status["broker"];
        let count = |key: &str| broker[key].as_u64().unwrap_or(0);
        count("protocol_errors") + count("connects_refused") >= 9
    });
    assert_eq!(status["state"], "ok", "strangers don't make the gateway ill: {status}");
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let gateway = Gateway::start("[broker]\nconnect_timeout = \"300ms\"\n");
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.lan_port)).unwrap();
    stream.write_all(b"\x10").unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the gateway closes the connection");
    assert_eq!(answer, b"");
}

#[test]
fn a_config_that_cannot_be_read_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("folder")).unwrap();
    std::fs::write(path("latin1.toml"), b"[gateway]\nsite = \"K\xf6ln\"\n").unwrap();
    std::fs::write(path("huge.toml"), vec![b'#'; 32 << 20]).unwrap();
    std::os::unix::fs::symlink(path("loop.toml"), path("loop.toml")).unwrap();
    std::fs::write(path("locked.toml"), "").unwrap();
    std::fs::set_permissions(path("locked.toml"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut rows = vec![
        ("folder", "is a folder; name the file"),
        ("missing.toml", "no such file; write one"),
        ("latin1.toml", "is not UTF-8 text (byte 19)"),
        ("huge.toml", "is larger than"),
        ("loop.toml", "ymbolic links"),
    ];
    // Nothing is unreadable for root.
    if !rustix::process::geteuid().is_root() {
        rows.push(("locked.toml", "permission denied; it must be readable"));
    }
    for (name, words) in rows {
        for command in ["run", "check"] {
            let (status, text) =
                Process::run("fieldgate", fieldgate().args([command, "--config"]).arg(path(name)));
            assert_eq!(status.code(), Some(2), "{command} {name}: {text}");
            assert!(text.contains(words), "{command} {name}: {text}");
            assert!(text.contains(&path(name).display().to_string()), "{command} {name} names it: {text}");
            assert_eq!(text.lines().count(), 1, "{command} {name} is one error: {text}");
        }
    }
}

#[test]
fn a_data_directory_that_cannot_be_used_is_told_in_words_and_the_rest_works() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("mosquitto.db"), "somebody else's").unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "a file").unwrap();
    let rows = [
        (foreign.clone(), "is not a data directory of fieldgate"),
        (file.clone(), "a file, not a directory"),
        (file.join("below"), "cannot create"),
        // Nobody can make a folder there, not even root.
        (PathBuf::from("/proc/fieldgate-test"), "cannot create"),
    ];
    for (data_dir, words) in rows {
        let sensor = Pty::open();
        let mut gateway = Gateway::new(&(json_device("scale", sensor.path()) + &upstream(mosquitto.port)));
        move_data_dir(&gateway, &data_dir);
        gateway.start_again();
        let status = gateway.wait_online();
        let problem = status["problems"][0].as_str().unwrap_or_default();
        assert!(problem.contains("kept in memory only"), "{problem:?}");
        assert!(problem.contains(words) && problem.contains(&data_dir.display().to_string()), "{problem:?}");
        assert_eq!((&status["store"]["state"], &status["state"]), (&"failed".into(), &"degraded".into()));
        // The LAN and the way upstream work all the same.
        let lan = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
        let up = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
        sensor.line(r#"{"kg":2}"#);
        for tap in [&lan, &up] {
            tap.wait("the reading", |message| message.json()["values"]["kg"] == 2);
        }
        sessions_are_in_memory(&gateway, &status["problems"][1]);
        gateway.stop();
        assert_eq!(gateway.log().matches("readings are kept in memory only").count(), 1, "{}", gateway.log());
    }
    let left: Vec<_> = std::fs::read_dir(&foreign).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mosquitto.db"], "nothing was put among another program's files");
    assert_eq!(std::fs::read_to_string(foreign.join("mosquitto.db")).unwrap(), "somebody else's");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a file");
}

/// Nobody waits for a disk that isn't there, and it is told.
fn sessions_are_in_memory(gateway: &Gateway, problem: &Json) {
    let problem = problem.as_str().unwrap_or_default();
    assert!(problem.contains("acknowledged as with persistence = false"), "{problem:?}");
    let port = gateway.lan_port;
    Tap::register(port, "plant/#", "sleeper", &[]);
    for qos in ["1", "2"] {
        // It ends well only with its PUBACK, or PUBCOMP.
        publish_with(port, "plant/pump", qos, &["-q", qos, "-r"]);
    }
    let tap = Tap::resume(port, "plant/#", "sleeper", &[]);
    for qos in ["1", "2"] {
        tap.wait_payload(qos);
    }
}

#[test]
fn a_place_for_sessions_that_cannot_be_used_is_told_and_nobody_waits_for_it() {
    let mut gateway = Gateway::start("");
    gateway.stop();
    let place = gateway.data_dir().join("state");
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::write(&place, "in the way").unwrap();
    gateway.start_again();
    let status = gateway.wait("it is told", |status| status["store"]["state"] == "failed");
    sessions_are_in_memory(&gateway, &status["problems"][0]);
    gateway.stop();
}

#[test]
fn a_second_gateway_on_one_data_directory_refuses_and_leaves_the_first_alone() {
    let mut first = Gateway::start("");
    let mut second = Gateway::new("");
    move_data_dir(&second, &first.data_dir());
    second.launch();
    let (status, text) = second.wait_end();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains(&first.data_dir().display().to_string()), "{text}");
    assert!(text.contains("in use by another fieldgate"), "{text}");
    let status = first.wait("the first still answers", |_| true);
    assert_eq!(status["store"]["state"], "ok");
    let tap = Tap::subscribe(first.lan_port, "lan/#");
    publish(first.lan_port, "lan/a", "still here");
    tap.wait_payload("still here");
}

/// Changes where the gateway keeps its data.
fn move_data_dir(gateway: &Gateway, to: &Path) {
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    let moved = text.replace(&gateway.data_dir().display().to_string(), &to.display().to_string());
    assert_ne!(text, moved);
    std::fs::write(gateway.config(), moved).unwrap();
}

#[test]
fn a_taken_mqtt_port_is_told_and_used_once_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let sensor = Pty::open();
    let mut gateway = Gateway::new(&(json_device("scale", sensor.path()) + &upstream(mosquitto.port)));
    let taken = TcpListener::bind(("127.0.0.1", gateway.lan_port)).unwrap();
    gateway.start_again();
    let words = format!("can't listen on 127.0.0.1:{}", gateway.lan_port);
    let status = gateway.wait("the listener's error is told", |status| {
        status["listeners"][0]["error"].as_str().is_some_and(|error| error.contains(&words))
    });
    assert!(status["problems"].to_string().contains(&words), "{}", status["problems"]);
    // Sensors and upstream work all the same.
    gateway.wait_online();
    let up = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    sensor.line(r#"{"kg":3}"#);
    up.wait("the reading", |message| message.json()["values"]["kg"] == 3);
    drop(taken);
    gateway.wait("it listens", |status| status["listeners"][0]["error"].is_null());
    let tap = Tap::subscribe(gateway.lan_port, "lan/#");
    publish(gateway.lan_port, "lan/a", "in");
    tap.wait_payload("in");
}

#[test]
fn a_port_that_vanishes_is_reopened_and_its_device_is_stale_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("usb0");
    let plug = |pty: &Pty| std::os::unix::fs::symlink(pty.path(), &link).unwrap();
    let other = Pty::open();
    let first = Pty::open();
    plug(&first);
    let mut gateway = Gateway::start(&(json_device("scale", &link) + &json_device("other", other.path())));
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    first.line(r#"{"n":1}"#);
    gateway.wait_readings("scale", 1);

    std::fs::remove_file(&link).unwrap();
    drop(first);
    let status = gateway.wait("the port is down and its device stale", |status| {
        find(&status["ports"], "scale-port")["state"] == "down"
            && find(&status["devices"], "scale")["state"] == "stale"
    });
    assert!(find(&status["ports"], "scale-port")["error"].as_str().is_some_and(|error| !error.is_empty()));
    assert!(status["problems"].to_string().contains("port scale-port is down"), "{}", status["problems"]);
    // A neighbour keeps its pace.
    other.line(r#"{"n":1}"#);
    gateway.wait_readings("other", 1);
    gateway.wait("the error says that it isn't there", |status| {
        let error = &find(&status["ports"], "scale-port")["error"];
        error.as_str().is_some_and(|error| error.contains("no such port"))
    });

    let second = Pty::open();
    plug(&second);
    gateway.wait("the port is open again", |status| find(&status["ports"], "scale-port")["state"] == "open");
    second.line(r#"{"n":2}"#);
    tap.wait("a reading from the new adapter", |message| message.json()["values"]["n"] == 2);
    gateway.wait("the device is back", |status| find(&status["devices"], "scale")["state"] == "ok");
    assert_eq!(
        gateway.log().matches("port is down").count(),
        1,
        "an episode is told once:\n{}",
        gateway.log()
    );
}

#[test]
fn a_port_that_is_missing_from_the_start_is_told_and_opened_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("usb0");
    let mut gateway = Gateway::start(&json_device("scale", &link));
    let status = gateway.wait("the port is down", |status| status["ports"][0]["state"] == "down");
    let error = status["ports"][0]["error"].as_str().unwrap();
    assert!(error.contains(&link.display().to_string()) && error.contains("is it plugged in?"), "{error}");
    let late = Pty::open();
    std::os::unix::fs::symlink(late.path(), &link).unwrap();
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    late.line(r#"{"n":1}"#);
    gateway.wait_readings("scale", 1);
}

#[test]
fn an_upstream_that_speaks_garbage_is_told_and_tried_again() {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\n\
        Content-Length: 54\r\nConnection: close\r\n\r\n<html><body><h1>400 Bad Request</h1></body></html>\r\n\r\n";
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
            stream.write_all(ANSWER).unwrap();
            // Until the gateway hangs up; it may do so with a reset.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let mut gateway = Gateway::start(&upstream(port));
    gateway.wait("the garbage is told", |status| {
        let upstream = &status["upstreams"][0];
        let told = upstream["error"].as_str().is_some_and(|error| error.contains("malformed"));
        told && upstream["state"] != "online"
    });
    // It comes a second time: one bad answer is not the end.
    server.join().unwrap();
    // The LAN never noticed.
    let tap = Tap::subscribe(gateway.lan_port, "lan/#");
    publish(gateway.lan_port, "lan/a", "in");
    tap.wait_payload("in");
}
