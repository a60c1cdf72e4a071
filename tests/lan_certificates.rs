//! What a listener makes of certificates: the same over TCP and WebSocket, in both versions of TLS, from a file or a
//! folder of authorities, with revocation lists that grow, end and come back; and that the ends of its own are told.

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
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use support::{
    Certificates, Gateway, Issued, Mosquitto, PATIENCE, Process, client, eventually, fieldgate, find,
    free_port,
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A further listener of the gateway, with TLS.
fn listener(name: &str, port: u16, more: &str, issued: &Issued, tls: &str) -> String {
    format!(
        "[[broker.listener]]\nname = \"{name}\"\nbind = \"127.0.0.1:{port}\"\nallow_anonymous = false\n{more}\n\
         tls = {{ cert = {:?}, key = {:?}{tls} }}\n\n",
        issued.certificate, issued.key
    )
}

fn open(gateway: &mut Gateway, name: &str) {
    gateway.wait("the listener is open", |status| {
        let listener = find(&status["listeners"], name);
        listener.is_object() && listener["error"].is_null()
    });
}

/// A TLS client that trusts an authority and may have a certificate.
fn config(
    ca: &Certificates,
    who: Option<&Issued>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    config_with(default_provider(), ca, who, version)
}

fn config_with(
    provider: CryptoProvider,
    ca: &Certificates,
    who: Option<&Issued>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.authority()).unwrap()).unwrap();
    let builder =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match who {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = vec![CertificateDer::from_pem_file(&issued.certificate).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&issued.key).unwrap()).unwrap()
        }
    })
}

/// CONNECT over TLS, in a WebSocket or not: the code of the CONNACK, or nothing if it never came to that.
fn connack(port: u16, websocket: bool, config: Arc<ClientConfig>) -> Option<u8> {
    visit(port, websocket, config).map(|(code, _)| code)
}

/// The same, with the connection as it is then.
fn visit(port: u16, websocket: bool, config: Arc<ClientConfig>) -> Option<(u8, ClientConnection)> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp);
    let mut connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x".to_vec();
    if websocket {
        let request = "GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        // One frame, masked with nothing.
        connect = [&[0x82, 0x80 | u8::try_from(connect.len()).unwrap(), 0, 0, 0, 0], &connect[..]].concat();
    }
    stream.write_all(&connect).ok()?;
    if websocket {
        let mut head = [0; 2];
        stream.read_exact(&mut head).ok()?;
        assert_eq!(head, [0x82, 4]);
    }
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).ok()?;
    assert_eq!(answer[..3], [0x20, 2, 0]);
    Some((answer[3], stream.conn))
}

#[test]
fn fault_60_certificates_are_asked_for_over_tcp_and_over_websocket_alike() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let strangers = Certificates::new(dir.path(), "strangers");
    let server = authority.issue("listener", "IP:127.0.0.1");
    let good = authority.issue_client("good", "plc-7", "DNS:seven.example");
    let revoked = authority.issue_client("revoked", "plc-8", "DNS:eight.example");
    let stranger = strangers.issue_client("stranger", "plc-7", "DNS:seven.example");
    // A certificate of the right authority that is no client's.
    let other_use = authority.issue("other-use", "DNS:plc-7");
    authority.revoke(&revoked);
    let tls = |asked: &str| {
        format!(
            ", client_ca = {:?}, crl = {:?}, client_cert = \"{asked}\", user_from_cert = \"cn\"",
            authority.authority(),
            authority.revocation_list()
        )
    };
    let cells: Vec<(u16, bool, bool)> = [(false, true), (false, false), (true, true), (true, false)]
        .map(|(websocket, required)| (free_port(), websocket, required))
        .into();
    let listeners: String = cells
        .iter()
        .map(|(port, websocket, required)| {
            let asked = if *required { "required" } else { "optional" };
            listener(&format!("l{port}"), *port, &format!("websocket = {websocket}"), &server, &tls(asked))
        })
        .collect();
    // A user, so that a listener without anonymous clients makes sense where certificates are optional.
    let password = dir.path().join("password");
    std::fs::write(&password, "right").unwrap();
    let user = format!("[[broker.user]]\nname = \"ann\"\npassword = {{ file = {password:?} }}\n");
    let mut gateway = Gateway::start(&(listeners + &user));
    for (port, ..) in &cells {
        open(&mut gateway, &format!("l{port}"));
    }
    for (port, websocket, required) in cells {
        for version in VERSIONS {
            for (name, who, expected) in [
                ("good", Some(&good), Some(0)),
                // Not authorized: it is asked for a name then.
                ("none", None, if required { None } else { Some(5) }),
                ("revoked", Some(&revoked), None),
                ("stranger", Some(&stranger), None),
                ("other use", Some(&other_use), None),
            ] {
                let got = connack(port, websocket, config(&authority, who, version));
                let cell = format!("{version:?}, websocket {websocket}, required {required}, {name}");
                assert_eq!(got, expected, "{cell}:\n{}", gateway.log());
            }
        }
    }
}

#[test]
fn a_listener_may_speak_tls_1_3_alone() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let server = authority.issue("listener", "IP:127.0.0.1");
    let (new, both) = (free_port(), free_port());
    let anonymous = |name, port, tls| {
        listener(name, port, "", &server, tls).replace("allow_anonymous = false", "allow_anonymous = true")
    };
    let listeners = anonymous("new", new, ", min_version = \"1.3\"") + &anonymous("both", both, "");
    let mut gateway = Gateway::start(&listeners);
    open(&mut gateway, "new");
    open(&mut gateway, "both");
    for (port, option, expected) in
        [(new, "-tls1_3", true), (new, "-tls1_2", false), (both, "-tls1_3", true), (both, "-tls1_2", true)]
    {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), option]).stdin(Stdio::null());
        let (_, said) = Process::run("openssl", &mut command);
        assert_eq!(said.contains("Server certificate"), expected, "{port} {option}: {said}");
    }
}

#[test]
fn who_comes_back_shakes_hands_by_a_ticket_and_any_strong_cipher_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let server = authority.issue("listener", "IP:127.0.0.1");
    let ports = [(free_port(), false), (free_port(), true)];
    let listeners = ports.map(|(port, websocket)| {
        let more = format!("websocket = {websocket}");
        listener(&format!("l{port}"), port, &more, &server, "")
            .replace("allow_anonymous = false", "allow_anonymous = true")
    });
    let mut gateway = Gateway::start(&listeners.concat());
    for (port, websocket) in ports {
        open(&mut gateway, &format!("l{port}"));
        for version in VERSIONS {
            let config = config(&authority, None, version);
            for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
                let (code, tls) = visit(port, websocket, config.clone()).unwrap();
                assert_eq!((code, tls.handshake_kind()), (0, Some(expected)), "{version:?} {websocket}");
            }
        }
        for suite in default_provider().cipher_suites {
            // The key of the certificate is none for RSA.
            if format!("{:?}", suite.suite()).contains("_RSA_") {
                continue;
            }
            let provider = CryptoProvider { cipher_suites: vec![suite], ..default_provider() };
            let config = config_with(provider, &authority, None, suite.version());
            let (code, tls) = visit(port, websocket, config).unwrap();
            assert_eq!((code, tls.negotiated_cipher_suite()), (0, Some(suite)), "{websocket}");
        }
    }
}

#[test]
fn authorities_may_stand_in_a_folder_and_a_new_one_counts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, third] = ["one", "two", "three"].map(|name| Certificates::new(dir.path(), name));
    let server = first.issue("listener", "IP:127.0.0.1");
    let folder = dir.path().join("authorities");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(first.authority(), folder.join("one.pem")).unwrap();
    // What `openssl rehash` makes of the second, and what has nothing to do here.
    std::fs::copy(second.authority(), folder.join("0a1b2c3d.0")).unwrap();
    std::os::unix::fs::symlink(folder.join("one.pem"), folder.join("9d66eef0.0")).unwrap();
    std::fs::copy(&server.key, folder.join("key.pem")).unwrap();
    std::fs::copy(third.authority(), folder.join("three.txt")).unwrap();
    let port = free_port();
    let tls = format!(", client_ca = {folder:?}, user_from_cert = \"cn\"");
    let mut gateway = Gateway::start(&listener("folder", port, "", &server, &tls));
    open(&mut gateway, "folder");
    let of = |ca: &Certificates| ca.issue_client("device", "plc", "DNS:plc");
    let [one, two, three] = [of(&first), of(&second), of(&third)];
    let tries = |who: &Issued| connack(port, false, config(&first, Some(who), VERSIONS[1]));
    assert_eq!((tries(&one), tries(&two), tries(&three)), (Some(0), Some(0), None));
    std::fs::copy(third.authority(), folder.join("three.crt")).unwrap();
    eventually("the third counts", || (tries(&three) == Some(0)).then_some(()));
    std::fs::remove_file(folder.join("0a1b2c3d.0")).unwrap();
    eventually("the second counts no longer", || tries(&two).is_none().then_some(()));
    assert_eq!(tries(&one), Some(0));
    // The same folder for a client of ours, and for an upstream.
    let mut publish = fieldgate();
    publish.args(["pub", "-L", &format!("mqtts://127.0.0.1:{port}/t"), "-m", "x", "-q", "1", "--capath"]);
    publish.arg(&folder).arg("--cert").arg(&one.certificate).arg("--key").arg(&one.key);
    Process::run_well("fieldgate pub", &mut publish);
    let (plain, secure) = (free_port(), free_port());
    let listeners = format!(
        "allow_anonymous true\nlistener {plain} 127.0.0.1\nlistener {secure} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        server.certificate.display(),
        server.key.display()
    );
    let _mosquitto = Mosquitto::start_with(dir.path(), plain, &listeners);
    let upstream = format!(
        "[[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {secure}\ntls = {{ ca = {folder:?} }}\n"
    );
    Gateway::start(&upstream).wait_online();
}

#[test]
fn a_revocation_list_that_is_out_of_date_still_counts_or_closes_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let server = authority.issue("listener", "IP:127.0.0.1");
    let good = authority.issue_client("good", "plc-7", "DNS:seven");
    let revoked = authority.issue_client("revoked", "plc-8", "DNS:eight");
    authority.revoke(&revoked);
    authority.publish_stale_revocations();
    let (warn, deny) = (free_port(), free_port());
    let tls = |more: &str| {
        let (ca, crl) = (authority.authority(), authority.revocation_list());
        format!(", client_ca = {ca:?}, crl = {crl:?}, user_from_cert = \"cn\"{more}")
    };
    let listeners = listener("warn", warn, "", &server, &tls(""))
        + &listener("deny", deny, "", &server, &tls(", crl_expired = \"deny\""));
    let mut gateway = Gateway::start(&listeners);
    let status = gateway.wait("both are told of", |status| {
        let problems = status["problems"].to_string();
        problems.contains("listener warn: the revocation list")
            && problems.contains("listener deny: the revocation")
    });
    let problems = status["problems"].to_string();
    assert!(problems.contains("out of date since 2020-02-01; it still counts"), "{problems}");
    assert!(problems.contains("out of date since 2020-02-01: nobody gets in"), "{problems}");
    let tries = |port, who| connack(port, false, config(&authority, Some(who), VERSIONS[1]));
    assert_eq!((tries(warn, &good), tries(warn, &revoked)), (Some(0), None));
    assert_eq!((tries(deny, &good), tries(deny, &revoked)), (None, None));
    let told = |gateway: &Gateway| gateway.log().matches("is out of date since").count();
    eventually("each is told", || (told(&gateway) == 2).then_some(()));
    authority.publish_revocations();
    eventually("the new list counts", || (tries(deny, &good) == Some(0)).then_some(()));
    assert_eq!(tries(deny, &revoked), None);
    gateway.wait("nothing is wrong any more", |status| {
        let problems = status["problems"].to_string();
        !problems.contains("revocation list")
    });
    assert_eq!(told(&gateway), 2, "once: {}", gateway.log());
}

#[test]
fn the_end_of_the_listeners_certificate_is_told_until_there_is_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let soon = authority.issue_for_days("soon", "IP:127.0.0.1", 5);
    let late = authority.issue_for_days("late", "IP:127.0.0.1", 400);
    let used = Issued { certificate: dir.path().join("used.pem"), key: dir.path().join("used.key") };
    let put = |issued: &Issued| {
        std::fs::copy(&issued.certificate, &used.certificate).unwrap();
        std::fs::copy(&issued.key, &used.key).unwrap();
    };
    put(&soon);
    let port = free_port();
    let config =
        listener("secure", port, "", &used, "").replace("allow_anonymous = false", "allow_anonymous = true");
    let mut gateway = Gateway::start(&config);
    let words = "listener secure: the certificate";
    let status = gateway.wait("its end is told", |status| status["problems"].to_string().contains(words));
    let problems = status["problems"].to_string();
    assert!(problems.contains("used.pem expires in 4 days, on 20"), "{problems}");
    assert_eq!(status["state"], "degraded");
    let entry = &status["certificates"][0];
    assert_eq!((&entry["listener"], &entry["what"]), (&"secure".into(), &"certificate".into()), "{entry}");
    assert_eq!(entry["days"], 4, "{entry}");
    eventually("the log tells it", || gateway.log().contains("used.pem expires in 4 days").then_some(()));
    put(&late);
    let status =
        gateway.wait("the new one is good", |status| !status["problems"].to_string().contains(words));
    assert_eq!(status["certificates"][0]["days"], 399);
    let mut command = fieldgate();
    let (_, screen) = Process::run("status", command.arg("status").arg("--socket").arg(gateway.socket()));
    assert!(
        screen.contains("listener secure   certificate until 20") && screen.contains("(399 d)"),
        "{screen}"
    );
}

#[test]
fn failed_logins_are_told_with_name_and_address_and_counted_and_a_storm_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "right").unwrap();
    let user = format!("[[broker.user]]\nname = \"ann\"\npassword = {{ file = {password:?} }}\n");
    let port = free_port();
    let named = format!(
        "[[broker.listener]]\nname = \"named\"\nbind = \"127.0.0.1:{port}\"\nallow_anonymous = false\n"
    );
    let mut gateway = Gateway::start(&(named + &user));
    open(&mut gateway, "named");
    let login = |arguments: &[&str]| {
        let mut command = client("mosquitto_pub");
        command
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "t", "-m", "x", "-q", "1"])
            .args(arguments);
        Process::run("mosquitto_pub", &mut command).0.success()
    };
    // Each name of its own, as wrong passwords of one name wait for each other.
    for name in ["ann", "bob", "eve"] {
        assert!(!login(&["-u", name, "-P", "wrong secret"]));
    }
    assert!(!login(&[]), "without a name");
    assert!(login(&["-u", "ann", "-P", "right"]));
    let status = gateway.wait("they are counted", |status| status["broker"]["logins_failed"] == 4);
    assert_eq!(status["broker"]["connects_refused"], 4);
    eventually("the log tells it", || gateway.log().contains("login failed").then_some(()));
    let log = gateway.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("login failed")).collect();
    // Four attempts within ten seconds, on a machine that is not asleep, are one line.
    assert!(lines.len() <= 2, "{lines:?}");
    let line = lines[0];
    assert!(line.contains(" WARN ") && line.contains("listener=\"named\""), "{line}");
    assert!(line.contains("user_name=\"ann\"") && line.contains("peer=\"127.0.0.1:"), "{line}");
    assert!(!log.contains("wrong secret"), "{log}");
}

#[test]
fn an_authority_that_is_taken_away_ends_the_connections_that_it_has_vouched_for_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Certificates::new(dir.path(), "one"), Certificates::new(dir.path(), "two"));
    let server = one.issue("listener", "IP:127.0.0.1");
    let of_one = one.issue_client("of-one", "plc-1", "DNS:one.example");
    let of_two = two.issue_client("of-two", "plc-2", "DNS:two.example");
    let trusted = dir.path().join("trusted.pem");
    let read = |authority: &Certificates| std::fs::read_to_string(authority.authority()).unwrap();
    std::fs::write(&trusted, read(&one) + &read(&two)).unwrap();
    let port = free_port();
    let tls = format!(", client_ca = {trusted:?}, client_cert = \"required\", user_from_cert = \"cn\"");
    let mut gateway = Gateway::start(&listener("mtls", port, "", &server, &tls));
    open(&mut gateway, "mtls");
    let stay = |name: &str, issued: &Issued| {
        let mut command = client("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", "5", "-i", name, "-t", "t", "-d"]);
        command.arg("--cafile").arg(one.authority());
        command.arg("--cert").arg(&issued.certificate).arg("--key").arg(&issued.key);
        let mut process = Process::start(name, &mut command);
        process.wait_line("Subscribed (mid");
        process
    };
    let mut good = stay("by-one", &of_one);
    let mut gone = stay("by-two", &of_two);
    // Replaced as a whole, as tools do.
    let new = dir.path().join("new.pem");
    std::fs::write(&new, read(&one)).unwrap();
    std::fs::rename(&new, &trusted).unwrap();
    gone.wait_line("Received DISCONNECT (135)");
    eventually("the log tells", || {
        gateway.log().contains("the authorities behind them taken away").then_some(())
    });
    assert!(good.is_running(), "{}", good.text());
    let mut publish = client("mosquitto_pub");
    publish.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "t", "-m", "still here"]);
    publish.arg("--cafile").arg(one.authority());
    publish.arg("--cert").arg(&of_one.certificate).arg("--key").arg(&of_one.key);
    Process::run_well("mosquitto_pub", &mut publish);
    good.wait_line("still here");
}
