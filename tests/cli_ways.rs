//! The ways of `fieldgate pub` and `fieldgate sub` to a broker: WebSocket, Unix socket, a chosen address of this machine;
//! and those of mosquitto_pub's and mosquitto_sub's options that scripts use now and then.

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
use std::process::{Command, Output};

use support::{
    Certificates, Gateway, Mosquitto, PATIENCE, Process, Tap, client, eventually, fieldgate, free_port,
    publish_with,
};

fn run(arguments: &[&str]) -> Output {
    fieldgate().args(arguments).output().unwrap()
}

/// Runs a command that must succeed; returns what it printed.
fn well(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn with_port<'a>(which: &'a str, port: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&[which, "-h", "127.0.0.1", "-p", port], arguments].concat()
}

/// A gateway with a listener of its own beside the plain one.
fn gateway_with(more: &str) -> (Gateway, String) {
    let port = free_port();
    let config = format!("[[broker.listener]]\nname = \"other\"\nbind = \"127.0.0.1:{port}\"\n{more}\n");
    (Gateway::start(&config), port.to_string())
}

#[test]
fn websocket_carries_a_large_message_both_ways_and_a_url_says_it_all() {
    let (gateway, port) =
        gateway_with("websocket = { path = \"/broker\" }\n[broker]\nretained_message_max = \"1 MiB\"");
    let dir = tempfile::tempdir().unwrap();
    let (large, got) = (dir.path().join("large"), dir.path().join("got"));
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    std::fs::write(&large, &bytes).unwrap();
    let ws = ["--ws", "--ws-path", "/broker", "-q", "1", "-t", "large"];
    let mut publish = fieldgate();
    publish.args(with_port("pub", &port, &ws)).args(["-r", "-f"]).arg(&large);
    well(&mut publish);
    let mut subscribe = fieldgate();
    subscribe.args(with_port("sub", &port, &ws)).args(["-C", "1", "-N"]);
    subscribe.stdout(std::fs::File::create(&got).unwrap());
    assert!(subscribe.status().unwrap().success());
    assert!(std::fs::read(&got).unwrap() == bytes, "the payload came back changed");
    let tap = Tap::subscribe(gateway.lan_port, "by/url");
    well(
        fieldgate()
            .args(["pub", "-L", &format!("ws://127.0.0.1:{port}/by/url"), "--ws-path", "/broker"])
            .args(["-m", "hello", "-q", "2"]),
    );
    tap.wait_payload("hello");
}

#[test]
fn secure_websocket_checks_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let issued = authority.issue("listener", "IP:127.0.0.1");
    let tls = format!("tls = {{ cert = {:?}, key = {:?} }}", issued.certificate, issued.key);
    let (gateway, port) = gateway_with(&format!("websocket = true\n{tls}"));
    let tap = Tap::subscribe(gateway.lan_port, "by/url");
    let ca = authority.authority().display().to_string();
    let url = format!("wss://127.0.0.1:{port}/by/url");
    well(fieldgate().args(["pub", "-L", &url, "--cafile", &ca, "-m", "safe", "-q", "1"]));
    tap.wait_payload("safe");
    let other = Certificates::new(dir.path(), "other").authority().display().to_string();
    let output = run(&["pub", "-L", &url, "--cafile", &other, "-m", "unsafe", "-q", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("certificate"), "{words}");
}

/// A server that reads a request and answers it with these bytes; the connection and the request's key are then
/// given to `go_on`.
fn server(go_on: impl FnOnce(TcpStream, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().lines().next().unwrap().to_owned();
        assert!(request.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{request}");
        go_on(stream, key);
    });
    port.to_string()
}

/// Sec-WebSocket-Accept, as the openssl command computes it (RFC 6455, 4.2.2).
fn accept(key: &str) -> String {
    let script = "printf %s \"$1\" | openssl dgst -sha1 -binary | openssl base64";
    let guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    well(Command::new("sh").args(["-c", script, "sh", &format!("{key}{guid}")])).trim().to_owned()
}

fn switched(key: &str, more: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{more}\r\n",
        accept(key)
    )
}

const MQTT: &str = "Sec-WebSocket-Protocol: mqtt\r\n";

/// The payload of a client's frame, which must be masked, and its first byte.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[1] & 0x80, 0x80, "a client masks its frames");
    assert!(head[1] & 0x7F < 126, "a short frame");
    let mut payload = vec![0; usize::from(head[1] & 0x7F)];
    stream.read_exact(&mut payload).unwrap();
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= head[2 + at % 4];
    }
    (head[0], payload)
}

#[test]
fn a_server_that_opens_no_websocket_for_mqtt_is_told_in_words() {
    type Answer = fn(&str) -> String;
    let answers: [(Answer, &str); 5] = [
        (|_| "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(), "404 Not Found"),
        (|key| switched(key, ""), "not one for MQTT"),
        (|key| switched(key, "Sec-WebSocket-Protocol: soap\r\n"), "\"soap\""),
        (|_| switched("other", MQTT), "not understood"),
        (|_| "220 mail.example ESMTP\r\n\r\n".into(), "no WebSocket"),
    ];
    for (answer, part) in answers {
        let port = server(move |mut stream, key| stream.write_all(answer(&key).as_bytes()).unwrap());
        let output = run(&with_port("pub", &port, &["--ws", "-t", "t", "-m", "x"]));
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn pings_are_answered_cut_messages_are_joined_and_a_close_is_told() {
    let port = server(|mut stream, key| {
        // The answer and the first frame in one segment, a ping between two halves of CONNACK.
        let mut bytes = switched(&key, MQTT).into_bytes();
        bytes.extend([0x02, 2, 0x20, 0x02, 0x89, 2, b'h', b'i', 0x80, 2, 0x00, 0x00]);
        stream.write_all(&bytes).unwrap();
        let mut frames = [frame(&mut stream), frame(&mut stream), frame(&mut stream)];
        // CONNECT, SUBSCRIBE and the pong, whichever comes first.
        frames.sort_by_key(|(first, payload)| (*first, payload.first().copied()));
        assert_eq!((frames[0].0, frames[0].1[0]), (0x82, 0x10));
        assert_eq!((frames[1].0, frames[1].1[0]), (0x82, 0x82));
        assert_eq!(frames[2], (0x8A, b"hi".to_vec()));
        // SUBACK, a message, and the end.
        stream.write_all(&[0x82, 5, 0x90, 3, 0, 1, 0, 0x82, 6, 0x30, 4, 0, 1, b't', b'x']).unwrap();
        stream.write_all(&[0x88, 2, 0x03, 0xE9]).unwrap();
        assert_eq!(frame(&mut stream), (0x88, vec![0x03, 0xE8]), "a close is answered");
    });
    let mut sub = Process::start(
        "fieldgate sub",
        fieldgate().args(with_port("sub", &port, &["--ws", "-t", "t", "-F", "got %p"])),
    );
    sub.wait_line("got x");
    sub.wait_line("the broker has closed the WebSocket");
}

#[test]
fn a_masked_frame_from_the_broker_ends_the_connection() {
    let port = server(|mut stream, key| {
        stream.write_all(switched(&key, MQTT).as_bytes()).unwrap();
        stream.write_all(&[0x82, 0x84, 0, 0, 0, 0, 0x20, 2, 0, 0]).unwrap();
        let mut rest = Vec::new();
        // CONNECT may come before the close frame; a reset is an end too.
        let _ = stream.read_to_end(&mut rest);
    });
    let output = run(&with_port("pub", &port, &["--ws", "-t", "t", "-m", "x"]));
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("a masked WebSocket frame"), "{words}");
}

#[test]
fn a_connection_comes_from_the_address_that_was_chosen() {
    let mut gateway = Gateway::start("");
    let port = gateway.lan_port.to_string();
    well(fieldgate().args(with_port(
        "pub",
        &port,
        &["-A", "127.0.0.9", "-i", "chosen", "-t", "t", "-m", "x"],
    )));
    eventually("the client is logged", || {
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains("client_id=\"chosen\"") && line.contains("peer="));
        line.map(|line| assert!(line.contains("127.0.0.9:"), "{line}"))
    });
    for (address, part) in [("192.0.2.1", "192.0.2.1 can't be bound to"), ("::1", "one is IPv4, one IPv6")] {
        let output = run(&with_port("pub", &port, &["-A", address, "-t", "t", "-m", "x"]));
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(part), "{words}");
    }
    gateway.stop();
    let output = run(&["pub", "--unix", "/nowhere/mqtt.sock", "-t", "t", "-m", "x"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("/nowhere/mqtt.sock"), "{words}");
}

#[test]
fn pretty_json_is_laid_out_as_mosquitto_sub_does_it() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let port = mosquitto.port.to_string();
    let payload = r#"{"a": [1, {"b": "x, y: {"}], "c": {"d": null}, "e": []}"#;
    publish_with(mosquitto.port, "pretty", payload, &["-r", "-q", "1"]);
    for format in ["%J", "%j"] {
        let arguments = ["-t", "pretty", "-C", "1", "--pretty", "-F", format];
        let ours = well(fieldgate().args(with_port("sub", &port, &arguments)));
        let mut theirs = client("mosquitto_sub");
        let theirs = well(theirs.env("TZ", "UTC").args(["-h", "127.0.0.1", "-p", &port]).args(arguments));
        let without_time = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.contains("\"tst\"")).map(str::to_owned).collect()
        };
        assert_eq!(without_time(&ours), without_time(&theirs), "{format}");
        assert!(ours.contains("\n\t\"tst\":\t\""), "{ours}");
    }
}

#[test]
fn retained_messages_come_as_retain_handling_says() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port.to_string();
    publish_with(gateway.lan_port, "kept", "old", &["-r", "-q", "1"]);
    for (when, code, expected) in [("always", 0, "old\n"), ("new", 0, "old\n"), ("never", 27, "")] {
        let arguments = ["-t", "kept", "--retain-handling", when, "-C", "1", "-W", "1"];
        let output = run(&with_port("sub", &port, &arguments));
        let got = (output.status.code(), String::from_utf8(output.stdout).unwrap());
        assert_eq!(got, (Some(code), expected.to_owned()), "{when}");
    }
}

#[test]
fn a_random_filter_prints_about_its_share() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port.to_string();
    let arguments = ["-t", "many", "--random-filter", "25", "-C", "2000", "-d"];
    let mut sub = Process::start("fieldgate sub", fieldgate().args(with_port("sub", &port, &arguments)));
    sub.wait_line("< SUBACK");
    let repeat = ["-t", "many", "-m", "drawn", "--repeat", "2000", "-q", "1"];
    well(fieldgate().args(with_port("pub", &port, &repeat)));
    assert!(sub.wait_end(PATIENCE).success());
    let printed = sub.lines().iter().filter(|line| line.text == "drawn").count();
    // 500 on average; beyond these bounds once in more runs than will ever be.
    assert!((300..700).contains(&printed), "{printed} of 2000");
}

#[test]
fn options_in_a_file_are_taken_and_the_command_line_wins() {
    let gateway = Gateway::start("");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("options");
    let tap = Tap::subscribe_with(gateway.lan_port, "#", &["-V", "5", "-T", "$SYS/#"]);
    let text = format!(
        "# where the broker is\n-h 127.0.0.1\n-p {}\n\n-t from/file\n-m two words\n-q 1\n\
         -D publish user-property name some value\n",
        gateway.lan_port
    );
    std::fs::write(&file, text.replace(" some value", " value")).unwrap();
    let path = file.display().to_string();
    well(fieldgate().args(["pub", "-o", &path]));
    assert_eq!(tap.wait_payload("two words").topic, "from/file");
    well(fieldgate().args(["pub", "-t", "from/line", "-o", &path, "-m", "other"]));
    let got = tap.wait_payload("other");
    assert_eq!((got.topic.as_str(), got.qos), ("from/line", 1));
    for (text, part) in
        [("host = x\n", "line 1: an option begins with -"), ("-t a\n-o other\n", "can't name another one")]
    {
        std::fs::write(&file, text).unwrap();
        let output = run(&["pub", "-o", &path, "-t", "t", "-m", "x"]);
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains(part), "{words}");
    }
    let output = run(&["sub", "-o", "/nowhere/options", "-t", "t"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), words.contains("/nowhere/options")), (Some(2), true), "{words}");
}

#[test]
fn options_that_are_not_there_are_refused_with_a_reason() {
    for (arguments, part) in [
        (&["-S"][..], "-S is not supported: SRV records"),
        (&["--psk", "00", "--psk-identity", "me"], "--psk is not supported: pre-shared keys"),
        (&["--ciphers", "DEFAULT"], "--ciphers is not supported"),
        (&["--tls-version", "tlsv1.2"], "--tls-version is not supported: TLS 1.3"),
        (&["--proxy", "socks5h://x"], "--proxy is not supported"),
        (&["--tls-engine", "pkcs11"], "--tls-engine is not supported"),
        (&["--keyform", "engine"], "--keyform is not supported"),
        (&["--unix", "/s", "-h", "h"], "cannot be used with"),
        (&["--unix", "/s", "--ws"], "cannot be used with"),
        (&["--ws", "--ws-path", "mqtt"], "is a path such as /mqtt"),
        (&["-A", "eth0"], "invalid IP address"),
    ] {
        for which in [&["pub", "-t", "t", "-m", "x"][..], &["sub", "-t", "t"]] {
            let output = run(&[which, arguments].concat());
            let words = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {words}");
            assert!(words.contains(part), "{arguments:?}: {words}");
        }
    }
    for (arguments, part) in [
        (&["--random-filter", "0"][..], "from 0.1 to 100"),
        (&["--retain-handling", "often"], "is always, new or never"),
        (&["--retain-handling", "new", "-V", "311"], "--retain-handling needs MQTT 5"),
    ] {
        let output = run(&[&["sub", "-t", "t"], arguments].concat());
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {words}");
        assert!(words.contains(part), "{arguments:?}: {words}");
    }
}
