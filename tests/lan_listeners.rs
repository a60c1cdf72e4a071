//! LAN clients through every kind of listener but plain TCP: TLS with and without client certificates, certificates that
//! change under connected clients, Unix sockets, the PROXY protocol, and many slow handshakes at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{
    Certificates, Gateway, Issued, PATIENCE, Process, Tap, client, eventually, find, free_port, publish_with,
};

/// A second listener of the gateway, on a port of its own.
fn listener(name: &str, port: u16, more: &str) -> String {
    format!("[[broker.listener]]\nname = \"{name}\"\nbind = \"127.0.0.1:{port}\"\n{more}\n\n")
}

/// The `tls` of a listener.
fn tls(issued: &Issued, more: &str) -> String {
    format!("tls = {{ cert = {:?}, key = {:?}{more} }}", issued.certificate, issued.key)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Whether mosquitto_pub gets in.
fn gets_in(port: u16, arguments: &[&str]) -> bool {
    let mut command = client("mosquitto_pub");
    command
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "try", "-m", "x", "-q", "1"])
        .args(arguments);
    Process::run("mosquitto_pub", &mut command).0.success()
}

/// The serial number of the certificate that a new handshake gets.
fn serial(port: u16) -> String {
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    Process::run_well("openssl", Command::new("sh").args(["-c", &script])).trim().to_owned()
}

/// A CONNECT of 3.1.1 for this client identifier.
fn connect(client_id: &str) -> Vec<u8> {
    let id = client_id.as_bytes();
    let length = u8::try_from(12 + id.len()).unwrap();
    let id_length = u8::try_from(id.len()).unwrap();
    [&[0x10, length, 0, 4][..], b"MQTT", &[4, 2, 0, 60, 0, id_length], id].concat()
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Everything until the end, which must come.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    bytes
}

#[test]
fn clients_speak_tls_1_2_and_1_3_and_nothing_older_and_never_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let issued = authority.issue("listener", "IP:127.0.0.1");
    let port = free_port();
    let mut gateway = Gateway::start(&listener("secure", port, &tls(&issued, "")));
    gateway.wait("the listener is open", |status| find(&status["listeners"], "secure")["error"].is_null());
    let ca = text(&authority.authority());
    let large = dir.path().join("large");
    std::fs::write(&large, "abcdefghij".repeat(20_000)).unwrap();
    for version in ["tlsv1.2", "tlsv1.3"] {
        let arguments = ["--cafile", &ca, "--tls-version", version];
        let tap = Tap::subscribe_with(port, version, &arguments);
        for qos in ["0", "1", "2"] {
            publish_with(port, version, &format!("small {qos}"), &[&arguments[..], &["-q", qos]].concat());
            tap.wait_payload(&format!("small {qos}"));
        }
        // Many TLS records each way.
        let mut command = client("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", version, "-q", "1", "-f"]);
        Process::run_well("mosquitto_pub", command.arg(&large).args(arguments));
        let got = tap.wait("the large message", |message| message.payload.len() > 1_000);
        assert_eq!(got.payload, "abcdefghij".repeat(20_000));
        tap.leave();
    }
    for (option, accepted) in [("-tls1_2", true), ("-tls1_3", true), ("-tls1_1", false)] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), option]);
        command.args(["-cipher", "DEFAULT:@SECLEVEL=0"]).stdin(std::process::Stdio::null());
        let (_, said) = Process::run("openssl", &mut command);
        assert_eq!(said.contains("Server certificate"), accepted, "{option}: {said}");
    }
    // In clear there is no answer but the end, or an alert.
    let mut clear = dial(port);
    clear.write_all(&connect("clear")).unwrap();
    let answer = read_to_end(&mut clear);
    assert!(!answer.starts_with(&CONNACK[..1]), "{answer:?}");
    assert!(!gateway.log().contains("client_id=\"clear\""), "{}", gateway.log());
}

#[test]
fn a_subscriber_over_tls_that_stops_reading_gets_all_when_it_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let issued = authority.issue("listener", "IP:127.0.0.1");
    let port = free_port();
    let config = listener("secure", port, &tls(&issued, "")) + "[broker]\nqueue_max = \"16 MiB\"\n";
    let mut gateway = Gateway::start(&config);
    gateway.wait("the listener is open", |status| find(&status["listeners"], "secure")["error"].is_null());
    let ca = text(&authority.authority());
    let mut command = client("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "--cafile", &ca, "-q", "1", "-t", "slow"]);
    let mut subscriber = Process::start("mosquitto_sub", command.args(["-d", "-F", "MSG|%t|%q|%r|%p"]));
    subscriber.wait_line("Subscribed (mid");
    subscriber.signal(Signal::STOP);
    let payload = |number: usize| format!("{number:03}") + &"x".repeat(100_000);
    for number in 0..40 {
        publish_with(gateway.lan_port, "slow", &payload(number), &["-q", "1"]);
    }
    subscriber.signal(Signal::CONT);
    let messages = eventually("all arrive", || {
        let messages = support::received(&subscriber);
        (messages.len() >= 40).then_some(messages)
    });
    for (number, message) in messages.iter().enumerate() {
        assert!(message.payload == payload(number), "message {number}: {} bytes", message.payload.len());
    }
}

#[test]
fn client_certificates_decide_who_gets_in_and_under_which_name() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let strangers = Certificates::new(dir.path(), "strangers");
    let server = authority.issue("listener", "IP:127.0.0.1");
    let good = authority.issue_client("good", "plc-7", "DNS:seven.example");
    let revoked = authority.issue_client("revoked", "plc-8", "DNS:eight.example");
    let wild = authority.issue_client("wild", "plc#9", "DNS:nine.example");
    let stranger = strangers.issue_client("stranger", "plc-7", "DNS:seven.example");
    authority.revoke(&revoked);
    let asks = format!(
        ", client_ca = {:?}, crl = {:?}",
        text(&authority.authority()),
        text(&authority.revocation_list())
    );
    let (must, may, san) = (free_port(), free_port(), free_port());
    let required = tls(&server, &format!("{asks}, user_from_cert = \"cn\""));
    let optional = tls(&server, &format!("{asks}, client_cert = \"optional\", user_from_cert = \"cn\""))
        + "\nallow_anonymous = false";
    let alternative = tls(&server, &format!("{asks}, user_from_cert = \"san\""));
    let password = dir.path().join("password");
    std::fs::write(&password, "right").unwrap();
    let user = format!("[[broker.user]]\nname = \"ann\"\npassword = {{ file = {password:?} }}\n");
    let listeners = [
        listener("must", must, &required),
        listener("may", may, &optional),
        listener("san", san, &alternative),
    ];
    let gateway = Gateway::start(&(listeners.concat() + &user));
    let ca = text(&authority.authority());
    let tries = |port, who: Option<&Issued>, version: &str, more: &[&str]| {
        let mut arguments = vec!["--cafile".to_owned(), ca.clone(), "--tls-version".into(), version.into()];
        if let Some(who) = who {
            arguments.extend(["--cert".into(), text(&who.certificate), "--key".into(), text(&who.key)]);
        }
        arguments.extend(more.iter().map(|more| (*more).to_owned()));
        gets_in(port, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for version in ["tlsv1.2", "tlsv1.3"] {
        for (port, who, expected) in [
            (must, Some(&good), true),
            (must, None, false),
            (must, Some(&revoked), false),
            (must, Some(&stranger), false),
            (must, Some(&wild), false),
            (may, Some(&good), true),
            (may, None, false),
            (may, Some(&revoked), false),
            (may, Some(&stranger), false),
            (san, Some(&wild), true),
            (san, Some(&good), true),
            (san, Some(&revoked), false),
        ] {
            let name = who.map(|who| text(&who.certificate));
            assert_eq!(tries(port, who, version, &[]), expected, "{version} {name:?}:\n{}", gateway.log());
        }
    }
    // Where a certificate is optional, whoever has none needs a password.
    assert!(tries(may, None, "tlsv1.3", &["-u", "ann", "-P", "right"]));
    assert!(!tries(may, None, "tlsv1.3", &["-u", "ann", "-P", "wrong"]));
    assert!(!tries(must, None, "tlsv1.3", &["-u", "ann", "-P", "right"]));
    // A list that grows is taken up without a restart.
    let later = authority.issue_client("later", "plc-6", "DNS:six.example");
    assert!(tries(must, Some(&later), "tlsv1.3", &[]));
    authority.revoke(&later);
    eventually("the certificate is refused", || (!tries(must, Some(&later), "tlsv1.3", &[])).then_some(()));
    // Whatever the client calls itself, and whatever password it sends.
    assert!(tries(must, Some(&good), "tlsv1.3", &["-i", "liar", "-u", "admin", "-P", "wrong"]));
    assert!(tries(san, Some(&good), "tlsv1.3", &["-i", "san-client"]));
    // The client is back before its line has come through the pipe.
    let line = |client: &str| {
        let part = format!("client_id=\"{client}\"");
        let find = || gateway.log().lines().find(|line| line.contains(&part)).map(str::to_owned);
        eventually("the log names the client", find)
    };
    assert!(line("liar").contains("user=\"plc-7\""), "{}", line("liar"));
    assert!(line("san-client").contains("user=\"seven.example\""), "{}", line("san-client"));
    let log = gateway.log();
    assert!(!log.contains("plc-8") && !log.contains("user=\"plc#9\""), "{log}");
}

#[test]
fn new_certificates_are_used_at_once_and_clients_stay() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let (first, second, third) = (
        authority.issue("first", "IP:127.0.0.1"),
        authority.issue("second", "IP:127.0.0.1"),
        authority.issue("third", "IP:127.0.0.1"),
    );
    let used = Issued { certificate: dir.path().join("used.pem"), key: dir.path().join("used.key") };
    let put = |issued: &Issued| {
        std::fs::copy(&issued.certificate, &used.certificate).unwrap();
        std::fs::copy(&issued.key, &used.key).unwrap();
    };
    put(&first);
    let port = free_port();
    let mut gateway = Gateway::start(&listener("secure", port, &tls(&used, "")));
    gateway.wait("the listener is open", |status| find(&status["listeners"], "secure")["error"].is_null());
    let ca = text(&authority.authority());
    let tap = Tap::subscribe_with(port, "stay", &["--cafile", &ca, "-i", "stayer"]);
    let before = serial(port);

    put(&second);
    let after = eventually("a new handshake gets the new certificate", || {
        let now = serial(port);
        (now != before).then_some(now)
    });
    publish_with(port, "stay", "after the change", &["--cafile", &ca, "-q", "1"]);
    tap.wait_payload("after the change");

    // Another's key doesn't go with the certificate: the old pair stays in use, and that is said once.
    std::fs::copy(&third.key, &used.key).unwrap();
    let status = gateway.wait("the mistake is in the status", |status| {
        find(&status["listeners"], "secure")["error"]
            .as_str()
            .is_some_and(|error| error.contains("still used"))
    });
    let error = find(&status["listeners"], "secure")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("used.key") && error.contains("used.pem"), "{error}");
    assert_eq!(serial(port), after);
    // Time for two more looks at the files.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(gateway.log().matches("the old ones are kept").count(), 1, "{}", gateway.log());

    // SIGHUP reads at once what is right again.
    put(&third);
    gateway.signal(Signal::HUP);
    gateway.wait("the mistake is mended", |status| find(&status["listeners"], "secure")["error"].is_null());
    assert!(serial(port) != after);
    publish_with(port, "stay", "at the end", &["--cafile", &ca, "-q", "1"]);
    tap.wait_payload("at the end");
    // mosquitto_sub would have come back by itself, so this is what shows that it was never thrown out.
    assert_eq!(gateway.log().matches("client_id=\"stayer\"").count(), 1, "{}", gateway.log());
    gateway.stop();
}

#[test]
fn without_good_certificates_a_listener_stays_closed_until_they_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let issued = authority.issue("listener", "IP:127.0.0.1");
    let used = Issued { certificate: dir.path().join("used.pem"), key: issued.key.clone() };
    std::fs::write(&used.certificate, "not a certificate\n").unwrap();
    let (port, missing) = (free_port(), free_port());
    let nowhere = Issued { certificate: dir.path().join("nowhere.pem"), key: issued.key.clone() };
    let mut gateway = Gateway::start(
        &[listener("secure", port, &tls(&used, "")), listener("missing", missing, &tls(&nowhere, ""))]
            .concat(),
    );
    for (name, file) in [("secure", "used.pem"), ("missing", "nowhere.pem")] {
        let status = gateway.wait("the status names the file", |status| {
            find(&status["listeners"], name)["error"].as_str().is_some_and(|error| error.contains(file))
        });
        let error = find(&status["listeners"], name)["error"].as_str().unwrap();
        assert!(error.starts_with("closed: "), "{error}");
        assert_eq!(status["state"], "degraded");
    }
    for port in [port, missing] {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody listens there");
    }
    // The others are open.
    publish_with(gateway.lan_port, "plain", "x", &["-q", "1"]);
    assert!(gateway.log().contains("stays closed"), "{}", gateway.log());
    std::fs::copy(&issued.certificate, &used.certificate).unwrap();
    gateway.wait("the listener opens", |status| find(&status["listeners"], "secure")["error"].is_null());
    assert!(gets_in(port, &["--cafile", &text(&authority.authority())]));
}

#[test]
fn a_unix_socket_serves_its_group_and_is_removed_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/mqtt.sock");
    let more = format!("[[broker.listener]]\nname = \"local\"\nbind = \"unix:{}\"\n", path.display());
    let mut gateway = Gateway::start(&more);
    gateway.wait("the listener is open", |_| path.exists());
    let tap = Tap::subscribe(gateway.lan_port, "unix");
    let mut command = client("mosquitto_pub");
    command.args(["--unix", &text(&path), "-i", "by-socket", "-t", "unix", "-m", "hello", "-q", "2"]);
    Process::run_well("mosquitto_pub --unix", &mut command);
    tap.wait_payload("hello");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("by-socket")).unwrap();
    assert!(line.contains("unix:uid="), "{line}");
    // A socket that a crash left behind is no obstacle.
    gateway.kill9();
    assert!(path.exists());
    gateway.start_again();
    gateway.wait("it listens again", |status| find(&status["listeners"], "local")["error"].is_null());
    Process::run_well("mosquitto_pub --unix", &mut command);
    gateway.stop();
    assert!(!path.exists(), "a clean stop removes it");
}

#[test]
fn a_proxy_tells_the_clients_address_and_nobody_gets_in_without_its_header() {
    let port = free_port();
    let mut gateway =
        Gateway::start(&listener("behind", port, "proxy_protocol = true\nallow_anonymous = true"));
    gateway.wait("the listener is open", |status| find(&status["listeners"], "behind")["error"].is_null());
    let version_2 = |rest: &[u8]| {
        let length = u8::try_from(rest.len()).unwrap();
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0".as_slice(), &[length], rest].concat()
    };
    for (id, header, peer) in [
        ("v1", b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 1883\r\n".to_vec(), "192.0.2.7:56324"),
        ("v1-six", b"PROXY TCP6 2001:db8::7 2001:db8::1 4124 1883\r\n".to_vec(), "[2001:db8::7]:4124"),
        ("v2", version_2(&[192, 0, 2, 9, 192, 0, 2, 1, 0x12, 0x34, 7, 91]), "192.0.2.9:4660"),
    ] {
        // In one piece, and byte by byte.
        for (id, at_once) in [(id.to_owned(), true), (format!("{id}-slow"), false)] {
            let mut stream = dial(port);
            let bytes = [&header[..], &connect(&id)].concat();
            if at_once {
                stream.write_all(&bytes).unwrap();
            } else {
                stream.set_nodelay(true).unwrap();
                bytes.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
            }
            assert_eq!(read::<4>(&mut stream), CONNACK, "{id}");
            let wanted = format!("client_id=\"{id}\"");
            let line = eventually("the log names the client", || {
                gateway.log().lines().find(|line| line.contains(&wanted)).map(str::to_owned)
            });
            assert!(line.contains(peer), "{line}");
        }
    }
    let mut bare = dial(port);
    bare.write_all(&connect("bare")).unwrap();
    assert_eq!(read_to_end(&mut bare), b"");
    assert!(!gateway.log().contains("client_id=\"bare\""));
    // The other listener knows no such header.
    let mut other = dial(gateway.lan_port);
    other.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 1883\r\n").unwrap();
    assert_eq!(read_to_end(&mut other), b"");
}

#[test]
fn a_listener_lets_in_its_versions_and_so_many_clients_only() {
    let (new, few) = (free_port(), free_port());
    let gateway = Gateway::start(
        &[listener("new", new, "versions = [\"5\"]"), listener("few", few, "connections_max = 2")].concat(),
    );
    for (version, expected) in [("mqttv31", false), ("mqttv311", false), ("mqttv5", true)] {
        assert_eq!(gets_in(new, &["-V", version]), expected, "{version}");
        assert!(gets_in(gateway.lan_port, &["-V", version]), "{version} on the other listener");
    }
    let mut refused = dial(new);
    refused.write_all(&connect("old")).unwrap();
    assert_eq!(read_to_end(&mut refused), [0x20, 2, 0, 1], "unacceptable protocol version");
    let mut clients: Vec<TcpStream> = ["a", "b"]
        .map(|id| {
            let mut stream = dial(few);
            stream.write_all(&connect(id)).unwrap();
            assert_eq!(read::<4>(&mut stream), CONNACK);
            stream
        })
        .into();
    let mut third = dial(few);
    third.write_all(&connect("c")).unwrap();
    assert_eq!(read_to_end(&mut third), [0x20, 2, 0, 3], "server unavailable");
    // One's own place can be taken, and one that is given up is free.
    let mut again = dial(few);
    again.write_all(&connect("b")).unwrap();
    assert_eq!(read::<4>(&mut again), CONNACK);
    drop(clients.remove(0));
    eventually("the place is free", || gets_in(few, &["-i", "d"]).then_some(()));
    assert!(gets_in(gateway.lan_port, &[]), "the other listener has room");
}

#[test]
fn every_interface_means_ipv4_and_ipv6() {
    let port = free_port();
    let more =
        format!("[[broker.listener]]\nname = \"all\"\nbind = \"[::]:{port}\"\nallow_anonymous = true\n");
    let mut gateway = Gateway::start(&more);
    gateway.wait("the listener is open", |status| find(&status["listeners"], "all")["error"].is_null());
    for (host, id, peer) in [("127.0.0.1", "four", "127.0.0.1:"), ("::1", "six", "[::1]:")] {
        let mut stream = TcpStream::connect((host, port)).unwrap();
        stream.write_all(&connect(id)).unwrap();
        assert_eq!(read::<4>(&mut stream), CONNACK, "{host}");
        let wanted = format!("client_id=\"{id}\"");
        let log = eventually("the log names the client", || {
            gateway.log().lines().find(|line| line.contains(&wanted)).map(str::to_owned)
        });
        assert!(log.contains(&format!("peer=\"{peer}")), "{log}");
    }
}

#[test]
fn noise_on_any_listener_ends_that_connection_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let issued = authority.issue("listener", "IP:127.0.0.1");
    let (secure, web, behind) = (free_port(), free_port(), free_port());
    let mut gateway = Gateway::start(
        &[
            listener("secure", secure, &tls(&issued, "")),
            listener("web", web, "websocket = true"),
            listener("behind", behind, "proxy_protocol = true\nallow_anonymous = true"),
        ]
        .concat(),
    );
    gateway.wait("the listener is open", |status| find(&status["listeners"], "secure")["error"].is_null());
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let starts: [&[u8]; 4] = [b"", &[22, 3, 1], b"GET /mqtt HTTP/1.1\r\n", b"\r\n\r\n\0\r\nQUIT\n"];
    for _ in 0..150 {
        for port in [secure, web, behind] {
            let mut noise = rng.choice(starts).unwrap().to_vec();
            let length = rng.usize(1..600);
            noise.extend(std::iter::repeat_with(|| rng.u8(..)).take(length));
            let mut stream = dial(port);
            // It may be closed while it is written.
            let _ = stream.write_all(&noise);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            read_to_end(&mut stream);
        }
    }
    assert!(gets_in(secure, &["--cafile", &text(&authority.authority())]), "seed {seed}");
    assert!(gets_in(gateway.lan_port, &[]), "seed {seed}");
    gateway.stop();
    assert!(!gateway.log().contains("panicked"), "seed {seed}: {}", gateway.log());
}

#[test]
fn slow_handshakes_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let issued = authority.issue("listener", "IP:127.0.0.1");
    let (secure, web) = (free_port(), free_port());
    let mut gateway = Gateway::start(
        &[listener("secure", secure, &tls(&issued, "")), listener("web", web, "websocket = true")].concat(),
    );
    gateway.wait("the listener is open", |status| find(&status["listeners"], "secure")["error"].is_null());
    let ca = text(&authority.authority());
    let connects = |what: &str| {
        let started = Instant::now();
        assert!(gets_in(secure, &["--cafile", &ca]), "{what}");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
    };
    connects("alone");
    let mut slow = Vec::new();
    // Silent ones, and ones that stop in the middle of a record that says it is a ClientHello; more than are greeted
    // at once.
    for number in 0..400 {
        let mut stream = dial(secure);
        if number % 2 == 0 {
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xFC]).unwrap();
        }
        slow.push(stream);
        let mut stream = dial(web);
        stream.write_all(b"GET /mqtt HTTP/1.1\r\nHost: a\r\n").unwrap();
        slow.push(stream);
        if number % 100 == 99 {
            connects(&format!("beside {} slow ones", 2 * (number + 1)));
        }
    }
    let started = Instant::now();
    publish_with(gateway.lan_port, "plain", "x", &["-q", "1"]);
    assert!(started.elapsed() < Duration::from_secs(1));
    let log = gateway.log();
    assert!(log.contains("the slowest was dropped"), "{log}");
    // The others are dropped when their time is up.
    let mut last = slow.pop().unwrap();
    assert!(read_to_end(&mut last).is_empty());
}
