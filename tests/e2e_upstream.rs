//! The link to a real upstream: status that can't lie, refusals in words, TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value as Json;
use support::{
    Certificates, Gateway, Mosquitto, Process, Pty, Relay, Tap, TlsServer, client, eventually, free_port,
    json_device, publish, upstream,
};

#[test]
fn status_is_offline_after_a_crash_online_after_a_restart_and_offline_at_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let topic = Gateway::topic("status");
    let tap = Tap::subscribe(mosquitto.port, &topic);
    let mut gateway = Gateway::start(&upstream(mosquitto.port));
    gateway.wait_online();
    let online = tap.wait("online", |message| message.json()["state"] == "online").json();
    let text = |json: &Json, key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let (epoch, instance) = (text(&online, "epoch"), text(&online, "instance"));
    assert!(!epoch.is_empty() && !instance.is_empty(), "{online}");

    gateway.kill9();
    let will = tap.wait("the will", |message| message.json()["state"] == "offline").json();
    assert_eq!((text(&will, "epoch"), text(&will, "instance")), (epoch.clone(), instance.clone()), "{will}");
    assert_eq!(will["reason"], "connection lost");

    gateway.start_again();
    gateway.wait_online();
    let again = tap.wait("online with a new epoch", |message| {
        message.json()["state"] == "online" && message.json()["epoch"] != epoch.as_str()
    });
    let again = again.json();
    assert!(run(&again) > run(&online), "the run counts up: {online} then {again}");
    assert_eq!(text(&again, "instance"), instance);

    let asked = Instant::now();
    gateway.stop();
    let farewell =
        tap.wait("offline, by the gateway itself", |message| message.json()["reason"] == "stopped");
    assert!(farewell.at - asked < Duration::from_secs(3), "at once, not after {:?}", farewell.at - asked);
    let farewell = farewell.json();
    assert_eq!((text(&farewell, "epoch"), &farewell["state"]), (text(&again, "epoch"), &"offline".into()));

    // Behind the farewell comes no will.
    publish(mosquitto.port, &topic, r#"{"state":"marker"}"#);
    tap.wait("the marker", |message| message.json()["state"] == "marker");
    let messages = tap.messages();
    assert_eq!(messages[messages.len() - 2].json(), farewell, "nothing came after it");
    let retained = Tap::subscribe(mosquitto.port, &topic);
    let retained = retained.wait("the retained status", |message| message.retain);
    assert_eq!(retained.json(), farewell, "later readers see it too");
}

/// `17` of the epoch `17-2`.
fn run(status: &Json) -> u64 {
    let (run, _) = status["epoch"].as_str().unwrap().split_once('-').unwrap();
    run.parse().unwrap()
}

#[test]
fn a_wrong_password_is_told_in_words_retried_slowly_and_harms_nobody_on_the_lan() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    set_password(&accounts, "gateway", "another");
    set_password(&accounts, "watcher", "watching");
    let port = free_port();
    let listeners =
        format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n", accounts.display());
    let mosquitto = Mosquitto::start_with(dir.path(), port, &listeners);
    let relay = Relay::to(port);
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "right\n").unwrap();
    let sensor = Pty::open();
    let account = format!("user_name = \"gateway\"\npassword = {{ file = \"{}\" }}\n", secret.display());
    // A refusal starts with backoff_max and doubles, so that a test needn't take minutes.
    let upstream = upstream(relay.port).replace("500ms", "1s") + &account;
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream));
    let refused = gateway.wait("the refusal is told", |status| {
        status["upstreams"][0]["error"].as_str().is_some_and(|error| error.contains("not authorized"))
    });
    assert_eq!(refused["state"], "degraded");
    assert!(
        refused["problems"][0].as_str().unwrap().contains("upstream up is offline: "),
        "{}",
        refused["problems"]
    );

    // The LAN keeps its pace for as long as the upstream refuses us.
    let tap = Tap::subscribe(gateway.lan_port, "#");
    let first = relay.connections();
    let begin = Instant::now();
    let mut number = 0;
    while begin.elapsed() < Duration::from_secs(6) {
        number += 1;
        let sent = Instant::now();
        publish(gateway.lan_port, "lan/ping", &format!("ping {number}"));
        tap.wait_payload(&format!("ping {number}"));
        sensor.line(&format!(r#"{{"n":{number}}}"#));
        let reading = tap.wait("the reading", |message| {
            message.topic == Gateway::topic("data/scale") && message.json()["values"]["n"] == number
        });
        assert!(reading.at - sent < Duration::from_secs(5), "the LAN is slow: {:?}", reading.at - sent);
    }
    assert!(number >= 3, "{number} rounds in six seconds");
    // From half of 1, 2, 4, 8 s on: three more at most. At the pace of an outage it were a dozen.
    let more = relay.connections() - first;
    assert!(more <= 3, "{more} attempts in {:?}", begin.elapsed());
    let told = gateway.log().matches("no connection to upstream").count();
    assert_eq!(told, 1, "one refusal is one line in the log");

    // As soon as people have mended it, all that waited goes out.
    let watch = Tap::subscribe_with(port, &Gateway::topic("data/#"), &["-u", "watcher", "-P", "watching"]);
    set_password(&accounts, "gateway", "right");
    mosquitto.signal(Signal::HUP);
    for n in 1..=number {
        watch.wait("a reading that had waited", |message| message.json()["values"]["n"] == n);
    }
    gateway.wait_drained();
}

fn set_password(accounts: &Path, user: &str, password: &str) {
    // It warns when it makes a file that others could read; the folder is ours.
    let mut command = client("mosquitto_passwd");
    if !accounts.exists() {
        command.arg("-c");
    }
    Process::run_well("mosquitto_passwd", command.arg("-b").arg(accounts).args([user, password]));
}

#[test]
fn tls_with_a_private_authority_delivers() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "own");
    let issued = authority.issue("server", "DNS:localhost,IP:127.0.0.1");
    let (plain, tls) = (free_port(), free_port());
    let listeners = format!(
        "listener {plain} 127.0.0.1\nallow_anonymous true\nlistener {tls} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        issued.certificate.display(),
        issued.key.display()
    );
    let mosquitto = Mosquitto::start_with(dir.path(), plain, &listeners);
    for host in ["localhost", "127.0.0.1"] {
        let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
        let sensor = Pty::open();
        let config = json_device("scale", sensor.path()) + &tls_upstream(host, tls, &authority.authority());
        let mut gateway = Gateway::start(&config);
        gateway.wait_online();
        sensor.line(r#"{"kg":1.5}"#);
        let got = tap.wait("the reading", |message| message.json()["values"]["kg"] == 1.5);
        assert_eq!(got.qos, 1);
        gateway.wait_drained();
        gateway.stop();
    }
}

#[test]
fn an_upstream_whose_certificate_is_wrong_is_told_in_words_and_hears_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let own = Certificates::new(dir.path(), "own");
    let other = Certificates::new(dir.path(), "other");
    let right = own.issue("right", "DNS:localhost");
    let elsewhere = own.issue("elsewhere", "DNS:elsewhere.example");
    let expired = own.issue_expired("expired", "DNS:localhost");
    let by_other = format!("its certificate was not issued by the CA in {}", other.authority().display());
    let rows = [
        ("another authority", &right, other.authority(), by_other.as_str()),
        (
            "another name",
            &elsewhere,
            own.authority(),
            "its certificate is for another name than \"localhost\"",
        ),
        ("expired", &expired, own.authority(), "its certificate expired on 2020-02-01"),
    ];
    for (what, issued, authority, words) in rows {
        let server = TlsServer::start(issued);
        let mut gateway = Gateway::start(&tls_upstream("localhost", server.port, &authority));
        let status = gateway.wait(&format!("{what}: is refused in words"), |status| {
            status["upstreams"][0]["error"].as_str().is_some_and(|error| error.contains(words))
        });
        assert!(status["problems"][0].as_str().unwrap().contains(words), "{what}: {}", status["problems"]);
        eventually(&format!("{what}: the connection ends"), || (server.connections_over() > 0).then_some(()));
        gateway.stop();
        assert_eq!(server.told(), b"", "{what}: nothing was said to a stranger");
    }
    // The same server hears a CONNECT where its certificate is right: it would have heard one above.
    let server = TlsServer::start(&right);
    let gateway = Gateway::start(&tls_upstream("localhost", server.port, &own.authority()));
    eventually("the server hears something", || (!server.told().is_empty()).then_some(()));
    assert_eq!(server.told()[0], 0x10, "it is a CONNECT");
    drop(gateway);
}

fn tls_upstream(host: &str, port: u16, authority: &Path) -> String {
    let plain = upstream(port).replace("127.0.0.1", host);
    format!("{plain}[upstream.tls]\nca = \"{}\"\n", authority.display())
}

#[test]
fn health_is_retained_upstream_and_tells_of_a_change_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let topic = Gateway::topic("health");
    let tap = Tap::subscribe(mosquitto.port, &topic);
    let sensor = Pty::open();
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream(mosquitto.port)));
    gateway.wait_online();
    tap.wait("the port is open", |message| message.json()["ports"][0]["state"] == "open");
    // The default interval is 30 s: what comes before that comes because of the change.
    let unplugged = Instant::now();
    drop(sensor);
    let told = tap.wait("the port is down", |message| message.json()["ports"][0]["state"] == "down");
    assert!(told.at - unplugged < Duration::from_secs(5), "not after {:?}", told.at - unplugged);
    assert_eq!(told.json()["state"], "degraded");
    let late = Tap::subscribe(mosquitto.port, &topic);
    late.wait("health for later readers", |message| message.retain && message.json()["state"] == "degraded");
    // The gateway's own status agrees.
    let status = Tap::subscribe(mosquitto.port, &Gateway::topic("status"));
    status.wait("status says degraded", |message| {
        message.json()["state"] == "online" && message.json()["health"] == "degraded"
    });
    gateway.stop();
}
