//! What a panic on the service thread harms, with a whole gateway in this process, in which some words panic that no
//! other build knows (see [`stub`]).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::*;
use crate::broker::broken::stub;
use crate::config::{Facts, Source};
use crate::limits::PANICS_MAX;

const DEADLINE: Duration = Duration::from_secs(30);

/// A serial line: our end, and the other, held open.
fn line() -> (OwnedFd, OwnedFd, String) {
    use rustix::fs::{Mode, OFlags};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let other = rustix::fs::open(&*path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    let other = other.unwrap();
    let mut termios = tcgetattr(&other).unwrap();
    termios.make_raw();
    tcsetattr(&other, OptionalActions::Now, &termios).unwrap();
    (ours, other, path)
}

fn say(line: &OwnedFd, text: &str) {
    assert_eq!(rustix::io::write(line, text.as_bytes()).unwrap(), text.len());
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    packet
}

/// A client that is let in.
fn client(address: SocketAddr, id: &str) -> TcpStream {
    let begun = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < DEADLINE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut body = text("MQTT");
    body.extend([4, 2, 0, 0]);
    body.extend(text(id));
    stream.write_all(&packet(0x10, &body)).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream
}

/// Subscribes, and calls back until what has come so far holds all these.
fn hear(stream: &mut TcpStream, filter: &str, parts: &[&str], mut meanwhile: impl FnMut()) {
    let mut body = vec![0, 1];
    body.extend(text(filter));
    body.push(0);
    stream.write_all(&packet(0x82, &body)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let (begun, mut heard, mut buffer) = (Instant::now(), Vec::new(), [0; 65_536]);
    loop {
        let text = String::from_utf8_lossy(&heard);
        if parts.iter().all(|part| text.contains(part)) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{parts:?} is not in {text}");
        meanwhile();
        match stream.read(&mut buffer) {
            Ok(bytes) => heard.extend_from_slice(&buffer[..bytes]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }
}

#[test]
fn a_panic_of_a_line_or_of_a_link_ends_it_for_a_moment_and_too_many_end_the_gateway_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (bad_line, _bad, bad_path) = line();
    let (good_line, _good, good_path) = line();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    // Free until it is bound again.
    let lan = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sensor = |name: &str, path: &str| {
        format!(
            "[[port]]\nname = \"{name}-port\"\npath = \"{path}\"\nbaud = 115200\n\
             [[device]]\nname = \"{name}\"\nport = \"{name}-port\"\ndecode = \"json\"\npoints = \"*\"\n"
        )
    };
    let folder = dir.path().display();
    let config = format!(
        "[web]\nenabled = false\n[gateway]\nid = \"gw\"\ndata_dir = \"{folder}/data\"\ncontrol_socket = \"{folder}/control\"\n\
         [[broker.listener]]\nbind = \"{lan}\"\n[[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {}\n\
         backoff_min = \"100ms\"\nbackoff_max = \"500ms\"\n{}{}",
        upstream.local_addr().unwrap().port(),
        sensor("bad", &bad_path),
        sensor("good", &good_path),
    );
    let source = Source { file: "test".into(), text: config };
    let config =
        crate::config::parse(&[source], &Facts { default_id: "gw".into(), ..Facts::default() }).unwrap();
    let gateway = std::thread::spawn(|| run(config, None, None, std::future::pending()));

    // The link: what upstream answers panics; the next connection is tried all the same.
    let (mut first, _) = upstream.accept().unwrap();
    first.write_all(stub::IN_LINK.as_bytes()).unwrap();
    let (second, _) = upstream.accept().unwrap();
    drop((first, second));

    // The line: it goes on after it, and the other went on all the time.
    say(&bad_line, &format!("~\n{}\n", stub::ON_LINE));
    let mut listener = client(lan, "listener");
    let both = ["gw/data/bad", "gw/data/good"];
    hear(&mut listener, "fieldgate/gw/data/+", &both, || {
        say(&good_line, "~\n{\"t\": 1}\n");
        say(&bad_line, "~\n{\"t\": 2}\n");
    });
    let mut health = client(lan, "health");
    let words = ["degraded", "2 panics were caught since the start, the last at src/broker/broken.rs"];
    hear(&mut health, "fieldgate/gw/health", &words, || {});

    // The rest: a client that finds something that panics.
    for _ in 2..=PANICS_MAX {
        let mut stream = client(lan, "again");
        let mut body = text("t");
        body.extend(stub::AT_ONCE.as_bytes());
        stream.write_all(&packet(0x30, &body)).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "it is closed");
    }
    let error = gateway.join().unwrap().unwrap_err();
    assert!(error.contains("panics"), "{error}");
    assert!(TcpStream::connect(lan).is_err(), "nobody listens any more");
}
