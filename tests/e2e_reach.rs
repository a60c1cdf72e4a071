//! The way to an upstream: several addresses, proxies, pins, the way out of the machine. With real brokers and relays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;
use support::{
    Certificates, Gateway, Mosquitto, Process, Pty, Relay, Tap, TlsServer, eventually, free_port, json_device,
};

fn upstream_with(port: u16, rest: &str) -> String {
    format!(
        "[[upstream]]\nname = \"cloud\"\nhost = \"127.0.0.1\"\nport = {port}\nbackoff_max = \"1s\"\n{rest}\n"
    )
}

fn address(status: &Json) -> &str {
    status["upstreams"][0]["address"].as_str().unwrap_or_default()
}

fn is_online_at(status: &Json, port: u16) -> bool {
    status["upstreams"][0]["state"] == "online" && address(status) == format!("127.0.0.1:{port}")
}

#[test]
fn readings_go_to_the_next_address_when_the_first_is_away_and_back_when_it_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = Mosquitto::start(dir.path());
    let (near, far) = (Relay::to(first.port), Relay::to(first.port));
    let tap = Tap::subscribe(first.port, &Gateway::topic("data/#"));
    let sensor = Pty::open();
    let rest = format!("fallback = [\"127.0.0.1:{}\"]\nreturn_after = \"2s\"", far.port);
    let mut gateway =
        Gateway::start(&(json_device("scale", sensor.path()) + &upstream_with(near.port, &rest)));
    gateway.wait("online at the first", |status| is_online_at(status, near.port));

    let player = sensor.play(300, 20, |number| format!(r#"{{"n":{number}}}"#));
    near.cut();
    gateway.wait("online at the second", |status| is_online_at(status, far.port));
    near.open();
    gateway.wait("back at the first", |status| is_online_at(status, near.port));
    player.finish();
    tap.wait("the last reading", |message| message.json()["values"]["n"] == 299);
    let numbers: Vec<i64> =
        tap.messages().iter().map(|message| message.json()["values"]["n"].as_i64().unwrap()).collect();
    for number in 0..300 {
        assert!(numbers.contains(&number), "{number} is lost");
    }
}

/// What a proxy was asked for.
type Asked = Arc<Mutex<Vec<String>>>;

/// An HTTP proxy that lets through who says `ann:secret`; the first lines of all requests.
fn http_proxy(login: Option<&'static str>) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Asked::default();
    let told = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if line == "\r\n" {
                        break;
                    }
                    lines.push(line.trim_end().to_owned());
                }
                told.lock().unwrap().push(lines[0].clone());
                let mut stream = stream;
                let wanted = login.map(|login| format!("Proxy-Authorization: Basic {login}"));
                if wanted.is_some_and(|wanted| !lines.contains(&wanted)) {
                    let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
                    return;
                }
                let place = lines[0].split_whitespace().nth(1).unwrap().to_owned();
                let Ok(target) = TcpStream::connect(place) else {
                    let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n");
                    return;
                };
                let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n");
                join(stream, target);
            });
        }
    });
    (port, asked)
}

/// A SOCKS 5 proxy (RFC 1928, 1929) that lets through who says `ann` and `secret`.
fn socks_proxy() -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Asked::default();
    let told = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || {
                let mut take = |count: usize| {
                    let mut bytes = vec![0; count];
                    stream.read_exact(&mut bytes).map(|()| bytes)
                };
                let Ok(head) = take(2) else { return };
                let methods = take(head[1].into()).unwrap();
                assert!(methods.contains(&2), "it offers a login: {methods:?}");
                stream.write_all(&[5, 2]).unwrap();
                let mut version = [0];
                stream.read_exact(&mut version).unwrap();
                let text = |stream: &mut TcpStream| {
                    let mut length = [0];
                    stream.read_exact(&mut length).unwrap();
                    let mut bytes = vec![0; length[0].into()];
                    stream.read_exact(&mut bytes).unwrap();
                    String::from_utf8(bytes).unwrap()
                };
                let (user, password) = (text(&mut stream), text(&mut stream));
                let good = user == "ann" && password == "secret";
                stream.write_all(&[1, u8::from(!good)]).unwrap();
                if !good {
                    return;
                }
                let mut request = [0; 4];
                stream.read_exact(&mut request).unwrap();
                let host = match request[3] {
                    3 => text(&mut stream),
                    1 => {
                        let mut address = [0; 4];
                        stream.read_exact(&mut address).unwrap();
                        std::net::Ipv4Addr::from(address).to_string()
                    }
                    other => panic!("address type {other}"),
                };
                let mut port = [0; 2];
                stream.read_exact(&mut port).unwrap();
                let port = u16::from_be_bytes(port);
                told.lock().unwrap().push(format!("{host}:{port}"));
                let target = TcpStream::connect((host.as_str(), port)).unwrap();
                stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1]).unwrap();
                join(stream, target);
            });
        }
    });
    (port, asked)
}

fn join(client: TcpStream, target: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), target.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    let (mut from, mut to) = (target, client);
    let _ = std::io::copy(&mut from, &mut to);
}

fn secret(dir: &Path, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!("{{ file = \"{}\" }}", path.display())
}

#[test]
fn an_upstream_is_reached_through_an_http_proxy_and_a_wrong_login_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    // ann:secret
    let (proxy, asked) = http_proxy(Some("YW5uOnNlY3JldA=="));
    let table = |password: &str| {
        format!(
            "proxy = {{ host = \"127.0.0.1\", port = {proxy}, user_name = \"ann\", password = {} }}",
            secret(dir.path(), "proxy", password)
        )
    };
    let mut gateway = Gateway::start(&upstream_with(mosquitto.port, &table("wrong")));
    let status = gateway.wait("the refusal", |status| status["upstreams"][0]["error"].is_string());
    let error = status["upstreams"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("it wants another login; check proxy.user_name and proxy.password"), "{error}");

    gateway.stop();
    gateway.configure(&upstream_with(mosquitto.port, &table("secret")));
    gateway.start_again();
    gateway.wait_online();
    let wanted = format!("CONNECT 127.0.0.1:{} HTTP/1.1", mosquitto.port);
    assert!(asked.lock().unwrap().contains(&wanted), "{asked:?}");
}

#[test]
fn an_upstream_is_reached_through_a_socks_proxy_that_looks_up_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let (proxy, asked) = socks_proxy();
    let rest = format!(
        "proxy = {{ kind = \"socks5\", host = \"127.0.0.1\", port = {proxy}, user_name = \"ann\", password = {} }}",
        secret(dir.path(), "proxy", "secret")
    );
    let config = upstream_with(mosquitto.port, &rest).replace("\"127.0.0.1\"\nport", "\"localhost\"\nport");
    let mut gateway = Gateway::start(&config);
    gateway.wait_online();
    assert_eq!(*asked.lock().unwrap(), [format!("localhost:{}", mosquitto.port)]);
}

#[test]
fn something_that_is_no_proxy_is_told_and_gets_no_byte_of_mqtt() {
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 403 Forbidden\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = seen.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                stream.write_all(answer.as_bytes()).unwrap();
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes);
                told.lock().unwrap().extend(bytes);
            }
        });
        let rest = format!("proxy = {{ host = \"127.0.0.1\", port = {port} }}");
        let mut gateway = Gateway::start(&upstream_with(1, &rest));
        let status = gateway.wait("the refusal", |status| status["upstreams"][0]["error"].is_string());
        let error = status["upstreams"][0]["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(&format!("proxy 127.0.0.1:{port}: it doesn't ")), "{error}");
        let seen = eventually("the end of the request", || {
            let seen = seen.lock().unwrap().clone();
            (!seen.is_empty()).then_some(seen)
        });
        assert!(seen.starts_with(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n"), "{seen:?}");
        assert!(!seen.windows(4).any(|bytes| bytes == b"MQTT"), "{seen:?}");
    }
}

fn pin(certificate: &Path) -> String {
    let command = format!(
        "openssl x509 -in {} -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
        certificate.display()
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    format!("sha256/{}", String::from_utf8(output.stdout).unwrap().trim())
}

#[test]
fn a_pinned_key_lets_a_certificate_in_that_signs_itself_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    // The kind that rustls refuses otherwise: an authority's own, for another name, long expired.
    let (certificate, key) = (dir.path().join("own.pem"), dir.path().join("own.key"));
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-days",
            "1",
        ])
        .args(["-subj", "/CN=somewhere", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    Process::run_well("openssl", &mut command);
    let port = free_port();
    let listener = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {}\nkeyfile {}\n",
        certificate.display(),
        key.display()
    );
    let _mosquitto = Mosquitto::start_with(dir.path(), port, &listener);
    let good = format!("tls = {{ pin = [\"{}\"] }}", pin(&certificate));
    let mut gateway = Gateway::start(&upstream_with(port, &good));
    gateway.wait_online();
    drop(gateway);

    let other = Certificates::new(dir.path(), "other");
    let issued = other.issue("other", "IP:127.0.0.1");
    // Another key, even with a right chain behind it, and the right key without the chain that is asked for.
    let server = TlsServer::start(&issued);
    let chain = other.authority();
    for (port, table) in [
        (server.port, good.clone()),
        (server.port, format!("tls = {{ ca = \"{}\", pin = [\"{}\"] }}", chain.display(), pin(&certificate))),
        (port, format!("tls = {{ ca = \"{}\", pin = [\"{}\"] }}", chain.display(), pin(&certificate))),
    ] {
        let mut gateway = Gateway::start(&upstream_with(port, &table));
        let status = gateway.wait("the refusal", |status| status["upstreams"][0]["error"].is_string());
        let error = status["upstreams"][0]["error"].as_str().unwrap().to_owned();
        assert!(
            error.contains("its public key is not one") || error.contains("its certificate is"),
            "{error}"
        );
    }
    assert_eq!(server.told(), b"", "not a byte of CONNECT");
}

#[test]
fn a_connection_leaves_from_the_address_that_bind_names_and_a_foreign_one_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let from = std::thread::spawn(move || listener.accept().unwrap().1.ip().to_string());
    let _gateway = Gateway::start(&upstream_with(port, "bind = \"127.0.0.77\""));
    assert_eq!(from.join().unwrap(), "127.0.0.77");

    for (bind, words) in
        [("192.0.2.1", "192.0.2.1 can't be bound to"), ("nowhere0", "nowhere0 can't be bound to")]
    {
        let mut gateway = Gateway::start(&upstream_with(port, &format!("bind = \"{bind}\"")));
        let status = gateway.wait("the refusal", |status| status["upstreams"][0]["error"].is_string());
        let error = status["upstreams"][0]["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_captive_portal_is_told_and_gets_no_byte_of_connect() {
    // The portal answers everything in plain HTTP, as it does on port 443 and 8883.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap_or(0);
            told.lock().unwrap().extend_from_slice(&bytes[..count]);
            let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n");
        }
    });
    let mut gateway = Gateway::start(&upstream_with(port, "tls = true"));
    let status = gateway.wait("the refusal", |status| status["upstreams"][0]["error"].is_string());
    let error = status["upstreams"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("doesn't speak TLS"), "{error}");
    let seen = seen.lock().unwrap().clone();
    assert!(!seen.is_empty() && !seen.windows(4).any(|bytes| bytes == b"MQTT"), "{seen:?}");
}

#[test]
fn an_upstream_is_reached_within_websocket_with_and_without_tls() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "authority");
    let server = authority.issue("server", "IP:127.0.0.1");
    let (plain, web, secure) = (free_port(), free_port(), free_port());
    let listeners = format!(
        "allow_anonymous true\nlistener {plain} 127.0.0.1\nlistener {web} 127.0.0.1\nprotocol websockets\n\
         listener {secure} 127.0.0.1\nprotocol websockets\ncertfile {}\nkeyfile {}\n",
        server.certificate.display(),
        server.key.display()
    );
    let _mosquitto = Mosquitto::start_with(dir.path(), plain, &listeners);
    let tap = Tap::subscribe(plain, &Gateway::topic("data/#"));
    let tls = format!("websocket = true\ntls = {{ ca = \"{}\" }}", authority.authority().display());
    for (port, rest, number) in [(web, "websocket = true".to_owned(), 1), (secure, tls, 2)] {
        let sensor = Pty::open();
        let mut gateway =
            Gateway::start(&(json_device("scale", sensor.path()) + &upstream_with(port, &rest)));
        gateway.wait_online();
        sensor.write(format!("{{\"n\":{number}}}\n").as_bytes());
        tap.wait("the reading", |message| message.json()["values"]["n"] == number);
    }
}
