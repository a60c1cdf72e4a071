//! Certificates of connections to upstreams: what is told of them, and how ours is renewed while all runs. With a real
//! Mosquitto that wants client certificates and logs whom it let in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use support::{
    Certificates, Gateway, Issued, Mosquitto, Process, Pty, Relay, Tap, TlsServer, eventually, fieldgate,
    free_port, json_device, within,
};

/// Takes clients whose certificates the authority signed, and calls them by their common names.
fn strict_mosquitto(dir: &Path, authority: &Certificates) -> (Mosquitto, u16) {
    let (plain, tls) = (free_port(), free_port());
    let server = authority.issue("server", "DNS:localhost");
    let listeners = format!(
        "per_listener_settings true\nlistener {plain} 127.0.0.1\nallow_anonymous true\nlistener {tls} 127.0.0.1\n\
         cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nuse_identity_as_username true\n",
        authority.authority().display(),
        server.certificate.display(),
        server.key.display()
    );
    (Mosquitto::start_with(dir, plain, &listeners), tls)
}

/// Puts a pair in place as people do: one file after the other.
fn put(dir: &Path, issued: &Issued) {
    std::fs::copy(&issued.key, dir.join("client.key")).unwrap();
    std::fs::copy(&issued.certificate, dir.join("client.pem")).unwrap();
}

fn upstream(dir: &Path, port: u16, authority: &Certificates) -> String {
    format!(
        "[[upstream]]\nname = \"cloud\"\nhost = \"localhost\"\nport = {port}\nbackoff_max = \"1s\"\n[upstream.tls]\n\
         ca = \"{}\"\ncert = \"{1}/client.pem\"\nkey = \"{1}/client.key\"\n",
        authority.authority().display(),
        dir.display()
    )
}

fn certificate<'a>(status: &'a Json, what: &str) -> &'a Json {
    let all = status["certificates"].as_array().unwrap();
    all.iter().find(|one| one["what"] == what).unwrap_or_else(|| panic!("no {what} in {all:?}"))
}

fn has_problem(status: &Json, words: &str) -> bool {
    status["problems"].as_array().unwrap().iter().any(|problem| problem.as_str().unwrap().contains(words))
}

/// How often Mosquitto let somebody in by this name.
fn let_in(mosquitto: &Mosquitto, name: &str) -> usize {
    let name = format!("u'{name}'");
    mosquitto
        .log()
        .lines()
        .filter(|line| line.contains("New client connected") && line.contains(&name))
        .count()
}

#[test]
fn a_client_certificate_is_renewed_while_all_runs_and_a_broken_one_keeps_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "own");
    let (mosquitto, tls) = strict_mosquitto(dir.path(), &authority);
    let relay = Relay::to(tls);
    let first = authority.issue_client_for_hours("first", "first", 6);
    let second = authority.issue_client_for_hours("second", "second", 20);
    let third = authority.issue_client("third", "third", "DNS:device");
    put(dir.path(), &first);

    let sensor = Pty::open();
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let config = json_device("scale", sensor.path()) + &upstream(dir.path(), relay.port, &authority);
    let mut gateway = Gateway::start(&config);
    gateway.wait_online();
    assert_eq!(let_in(&mosquitto, "first"), 1);

    // Half of a pair: with a new connection the old pair is shown, and people are told.
    std::fs::copy(&third.key, dir.path().join("client.key")).unwrap();
    relay.cut();
    relay.open();
    eventually("in again as the first", || (let_in(&mosquitto, "first") == 2).then_some(()));
    gateway.wait("the broken pair is told", |status| {
        has_problem(status, "the client certificate can't be used, the one before is")
    });

    // A good pair: no connection is cut, and within a while the gateway has gone over to it. Meanwhile it measures.
    let player = sensor.play(400, 30, |number| format!(r#"{{"n":{number}}}"#));
    put(dir.path(), &second);
    within(Duration::from_secs(60), "in as the second", || (let_in(&mosquitto, "second") == 1).then_some(()));
    let status = gateway.wait("nothing is wrong with the pair", |status| {
        status["upstreams"][0]["state"] == "online" && !has_problem(status, "can't be used")
    });
    assert_eq!(certificate(&status, "client certificate")["subject"], "CN=second");
    player.finish();
    tap.wait("the last reading", |message| message.json()["values"]["n"] == 399);
    let mut numbers: Vec<i64> =
        tap.messages().iter().map(|message| message.json()["values"]["n"].as_i64().unwrap()).collect();
    let sent = numbers.len();
    numbers.dedup();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>(), "in order, and none is lost");
    assert_eq!(sent, 400, "none was sent twice");
    let log = gateway.log();
    assert!(log.contains("the client certificate was renewed"), "{log}");
    assert_eq!(gateway.ask("status")["upstreams"][0]["connections"], 3);
    gateway.stop();
}

#[test]
fn a_server_that_a_tls_upstream_names_gets_no_byte_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "own");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let mut connack = vec![0x20, 0, 0, 0x9C, 0, 0x1C, 0, u8::try_from(place.len()).unwrap()];
    (connack[1], connack[4]) = (connack[7] + 6, connack[7] + 3);
    connack.extend(place.as_bytes());
    let upstream = TlsServer::start_saying(&authority.issue("server", "DNS:localhost"), connack);
    let mut gateway = Gateway::start(&format!(
        "[[upstream]]\nname = \"cloud\"\nhost = \"localhost\"\nport = {}\nversion = \"5\"\nredirect_hosts = [\"{place}\"]\n\
         [upstream.tls]\nca = \"{}\"\n",
        upstream.port,
        authority.authority().display()
    ));
    let (mut stream, _) = listener.accept().unwrap();
    let mut hello = [0; 64];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(hello[..2], [0x16, 3], "a TLS ClientHello");
    assert_eq!(upstream.told()[0], 0x10, "the upstream itself got a CONNECT, within TLS");
    drop(stream);
    gateway.wait("it is not online", |status| status["upstreams"][0]["state"] != "online");
    gateway.stop();
}

#[test]
fn both_certificates_of_a_connection_are_told_with_names_dates_and_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "own");
    let (_mosquitto, tls) = strict_mosquitto(dir.path(), &authority);
    put(dir.path(), &authority.issue_client_for_hours("device", "device", 100));
    let mut gateway = Gateway::start(&upstream(dir.path(), tls, &authority));
    let status = gateway.wait("the ends are told", |status| {
        status["upstreams"][0]["state"] == "online" && has_problem(status, "expires within a day")
    });
    let server = certificate(&status, "certificate of the upstream");
    assert_eq!((&server["upstream"], &server["subject"]), (&"cloud".into(), &"CN=server".into()));
    assert_eq!(server["issuer"], "CN=fieldgate test authority own");
    assert_eq!((&server["days"], &server["file"]), (&0.into(), &Json::Null));
    let client = certificate(&status, "client certificate");
    assert_eq!((&client["subject"], &client["days"]), (&"CN=device".into(), &4.into()));
    assert_eq!(client["file"], dir.path().join("client.pem").display().to_string());
    assert!(has_problem(
        &status,
        "upstream cloud: the certificate of the upstream CN=server expires within a day"
    ));
    assert!(has_problem(&status, "expires in 4 days, on "), "{}", status["problems"]);
    eventually("the log has it", || {
        gateway.log().contains("a certificate of a connection to an upstream ends").then_some(())
    });
    let mut command = fieldgate();
    command.arg("status").arg("--config").arg(gateway.config());
    let (_, shown) = Process::run("fieldgate", &mut command);
    let line = "upstream cloud    certificate of the upstream until ";
    assert!(
        shown.contains(line) && shown.contains("(0 d) CN=server, issued by CN=fieldgate test"),
        "{shown}"
    );
    gateway.stop();
}
