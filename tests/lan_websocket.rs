//! MQTT over WebSocket and secure WebSocket: paho-mqtt of both generations, and raw sockets where brokers get it wrong
//! (MQTT 5, 6.0.0-1 to -4; statement 79). The frames here are made by hand, not by the gateway's own codec.

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

use support::{
    Certificates, Gateway, PATIENCE, Process, Python, Tap, eventually, find, free_port, publish_with,
};

const CONNECT: [u8; 14] = *b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn start(more: &str) -> (Gateway, u16) {
    let port = free_port();
    let config = format!("[[broker.listener]]\nname = \"web\"\nbind = \"127.0.0.1:{port}\"\n{more}\n");
    let mut gateway = Gateway::start(&config);
    gateway.wait("the listener is open", |status| find(&status["listeners"], "web")["error"].is_null());
    (gateway, port)
}

/// A WebSocket client that knows nothing but frames.
struct Raw {
    stream: TcpStream,
    /// Payload of binary frames that was not looked at yet.
    payload: Vec<u8>,
}

impl Raw {
    /// Sends a request and returns the answer's head.
    fn ask(port: u16, path: &str, headers: &[&str]) -> (Self, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for header in headers {
            request += &format!("{header}\r\n");
        }
        stream.write_all((request + "\r\n").as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        (Self { stream, payload: Vec::new() }, String::from_utf8(head).unwrap())
    }

    /// Opens one with a subprotocol, which must be confirmed.
    fn open(port: u16, subprotocol: &str) -> Self {
        let (raw, head) = Self::ask(port, "/mqtt", &[&format!("Sec-WebSocket-Protocol: {subprotocol}")]);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let confirmed = format!("\r\nsec-websocket-protocol: {subprotocol}\r\n");
        assert!(head.to_lowercase().contains(&confirmed), "{head}");
        raw
    }

    /// Opens one and says CONNECT.
    fn connected(port: u16) -> Self {
        let mut raw = Self::open(port, "mqtt");
        raw.send(0x82, &CONNECT);
        assert_eq!(raw.mqtt(4), CONNACK);
        raw
    }

    /// A masked frame.
    fn send(&mut self, first: u8, payload: &[u8]) {
        let mask = [9, 8, 7, 6];
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
            medium @ 126..=0xFFFF => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend(u64::try_from(long).unwrap().to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame).unwrap();
    }

    /// The next frame from the server.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        assert_eq!(head[1] & 0x80, 0, "a server's frames are not masked");
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).unwrap();
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }

    /// So many bytes of MQTT, out of binary frames.
    fn mqtt(&mut self, count: usize) -> Vec<u8> {
        while self.payload.len() < count {
            let (first, payload) = self.frame();
            assert_eq!(first, 0x82, "a whole binary frame");
            self.payload.extend(payload);
        }
        self.payload.drain(..count).collect()
    }

    /// The server closes with this code, then ends the connection.
    fn closed_with(mut self, code: u16) {
        let (first, payload) = self.frame();
        assert_eq!((first, payload), (0x88, code.to_be_bytes().to_vec()));
        let mut rest = Vec::new();
        let ended = self.stream.read_to_end(&mut rest);
        assert!(ended.is_err() || rest.is_empty(), "{rest:?}");
    }
}

#[test]
fn paho_round_trips_over_websocket_and_secure_websocket_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let issued = authority.issue("listener", "IP:127.0.0.1");
    let ca = authority.authority().display().to_string();
    let (clear, secure) = (free_port(), free_port());
    let config = format!(
        "[[broker.listener]]\nname = \"ws\"\nbind = \"127.0.0.1:{clear}\"\nwebsocket = true\n\n\
         [[broker.listener]]\nname = \"wss\"\nbind = \"127.0.0.1:{secure}\"\nwebsocket = {{ path = \"/mqtt\" }}\n\
         tls = {{ cert = {:?}, key = {:?} }}\n",
        issued.certificate, issued.key
    );
    let mut gateway = Gateway::start(&config);
    gateway.wait("the listener is open", |status| find(&status["listeners"], "wss")["error"].is_null());
    for python in [Python::Paho1, Python::Paho2] {
        for protocol in ["3", "4", "5"] {
            for (port, more) in [(clear, &[][..]), (secure, &["--ca", ca.as_str()])] {
                let (port, topic) = (port.to_string(), format!("web/{python:?}/{protocol}/{port}"));
                let arguments = |own: &[&str]| {
                    let common = ["--protocol", protocol, "--transport", "websockets"];
                    [own, &common, more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
                };
                let run = |script: &str, own: &[&str]| {
                    let arguments = arguments(own);
                    python.start(script, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
                };
                let mut subscriber = run("subscriber.py", &[&port, "listener", &topic]);
                subscriber.wait_line("subscribed");
                let mut publishers: Vec<Process> = ["0", "1", "2"]
                    .map(|qos| {
                        let (id, payload) = (format!("speaker-{qos}"), format!("q{qos}-"));
                        let own = [&port, &id, &topic, &payload, "--qos", qos, "--count", "20"];
                        run("publisher.py", &own.map(|word: &str| word))
                    })
                    .into();
                for publisher in &mut publishers {
                    publisher.wait_line("published 20");
                }
                let messages = eventually(&format!("{topic}: all 60 arrive"), || {
                    let messages = support::received(&subscriber);
                    (messages.len() >= 60).then_some(messages)
                });
                for qos in 0..=2_u8 {
                    let of_qos = messages.iter().filter(|message| message.qos == qos);
                    let got: Vec<&str> = of_qos.map(|message| message.payload.as_str()).collect();
                    let expected: Vec<String> = (0..20).map(|number| format!("q{qos}-{number}")).collect();
                    assert_eq!(got, expected, "{topic}: each once, in order");
                }
            }
        }
    }
}

#[test]
fn statement_79_packets_and_frames_have_nothing_to_do_with_one_another() {
    let (_gateway, port) = start("websocket = true");
    // Many packets in one frame.
    let mut raw = Raw::open(port, "mqtt");
    raw.send(0x82, &[&CONNECT[..], &PINGREQ, &PINGREQ].concat());
    assert_eq!(raw.mqtt(8), [&CONNACK[..], &PINGRESP, &PINGRESP].concat());
    // One packet over many frames, each a message of its own.
    for byte in PINGREQ {
        raw.send(0x82, &[byte]);
    }
    assert_eq!(raw.mqtt(2), PINGRESP);
    // Continuation frames, an empty one among them, cut within packets, a ping between them.
    raw.send(0x02, &[0xC0]);
    raw.send(0x00, &[]);
    raw.send(0x89, b"are you there");
    assert_eq!(raw.frame(), (0x8A, b"are you there".to_vec()), "a ping within a message is answered");
    raw.send(0x00, &[0, 0xC0]);
    raw.send(0x80, &[0]);
    assert_eq!(raw.mqtt(4), [PINGRESP, PINGRESP].concat());
    raw.send(0x8A, b"unasked pong");
    raw.send(0x82, &PINGREQ);
    assert_eq!(raw.mqtt(2), PINGRESP);
    // The client closes: its close frame is answered.
    raw.send(0x88, &1000_u16.to_be_bytes());
    raw.closed_with(1000);
}

#[test]
fn statement_79_the_subprotocol_is_confirmed_and_one_that_is_not_mqtt_refused() {
    let (_gateway, port) = start("websocket = true");
    for subprotocol in ["mqtt", "mqttv3.1"] {
        Raw::open(port, subprotocol);
    }
    for headers in [&["Sec-WebSocket-Protocol: soap"][..], &[]] {
        let (_, head) = Raw::ask(port, "/mqtt", headers);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }
    // MQTT without WebSocket, and a browser that looks at the page.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&CONNECT).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn statement_79_text_frames_unmasked_frames_and_broken_ones_close_the_connection() {
    let (_gateway, port) = start("websocket = true");
    let mut text = Raw::connected(port);
    text.send(0x81, &PINGREQ);
    text.closed_with(1003);
    let mut unmasked = Raw::connected(port);
    unmasked.stream.write_all(&[0x82, 2, 0xC0, 0]).unwrap();
    unmasked.closed_with(1002);
    let mut nothing_to_continue = Raw::connected(port);
    nothing_to_continue.send(0x80, &PINGREQ);
    nothing_to_continue.closed_with(1002);
    let mut reserved = Raw::connected(port);
    reserved.send(0xC2, &PINGREQ);
    reserved.closed_with(1002);
    // A frame that claims more bytes than there are in the world holds nobody's memory.
    let mut huge = Raw::connected(port);
    huge.stream.write_all(&[0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]).unwrap();
    huge.stream.write_all(&PINGREQ).unwrap();
    assert_eq!(huge.mqtt(2), PINGRESP, "its payload is served as it comes");
}

#[test]
fn whoever_breaks_mqtt_within_websocket_is_closed_in_websocket() {
    let (_gateway, port) = start("websocket = true");
    let mut raw = Raw::connected(port);
    raw.send(0x82, &CONNECT);
    raw.closed_with(1000);
    // DISCONNECT likewise, and the frame behind it isn't waited for.
    let mut raw = Raw::connected(port);
    raw.send(0x82, &[0xE0, 0]);
    raw.closed_with(1000);
}

#[test]
fn a_will_goes_out_when_a_websocket_client_vanishes() {
    let (gateway, port) = start("websocket = true");
    let tap = Tap::subscribe(gateway.lan_port, "web/will");
    let mut raw = Raw::open(port, "mqtt");
    let connect = b"\x10\x1c\x00\x04MQTT\x04\x06\x00\x3c\x00\x00\x00\x08web/will\x00\x04gone";
    raw.send(0x82, connect);
    assert_eq!(raw.mqtt(4), CONNACK);
    raw.send(0x81, b"text");
    raw.closed_with(1003);
    tap.wait_payload("gone");
}

#[test]
fn large_messages_pass_both_ways_whatever_the_frames() {
    let (gateway, port) = start("websocket = true");
    let mut raw = Raw::connected(port);
    raw.send(0x82, b"\x82\x08\x00\x01\x00\x03big\x00");
    assert_eq!(raw.mqtt(5), [0x90, 3, 0, 1, 0]);
    let payload = "0123456789".repeat(10_000);
    publish_with(gateway.lan_port, "big", &payload, &["-q", "1"]);
    // 100,005 bytes behind a length of three.
    let got = raw.mqtt(4 + 5 + payload.len());
    assert_eq!(got[..4], [0x30, 0xA5, 0x8D, 0x06]);
    assert_eq!(&got[9..], payload.as_bytes());
    // The same back, in one frame.
    let tap = Tap::subscribe(gateway.lan_port, "back");
    let publish = [&[0x30, 0xA6, 0x8D, 0x06, 0, 4][..], b"back", payload.as_bytes()].concat();
    raw.send(0x82, &publish);
    assert_eq!(tap.wait("the large message", |message| message.topic == "back").payload, payload);
}

#[test]
fn only_listed_pages_and_those_of_this_host_may_connect() {
    let (gateway, port) = start("websocket = { path = \"/broker\", origins = [\"https://panel.example\"] }");
    let ask = |path: &str, origin: Option<&str>| {
        let origin = origin.map(|origin| format!("Origin: {origin}"));
        let headers: Vec<&str> =
            ["Sec-WebSocket-Protocol: mqtt"].into_iter().chain(origin.as_deref()).collect();
        let (_, head) = Raw::ask(port, path, &headers);
        head[9..12].to_owned()
    };
    assert_eq!(ask("/broker", None), "101");
    assert_eq!(ask("/broker", Some("https://panel.example")), "101");
    assert_eq!(ask("/broker", Some("http://127.0.0.1:8080")), "101");
    assert_eq!(ask("/broker", Some("https://evil.example")), "403");
    assert_eq!(ask("/mqtt", None), "404");
    eventually("that is told", || gateway.log().contains("client turned away").then_some(()));
}

#[test]
fn a_page_whose_name_was_pointed_at_this_address_may_not_connect() {
    let (_gateway, port) = start("websocket = { hosts = [\"gw.example.com\"] }");
    let own = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    for (host, expected) in
        [("127.0.0.1", "101"), (&*own, "101"), ("gw.example.com", "101"), ("rebound.example", "403")]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(std::str::from_utf8(&status[9..]).unwrap(), expected, "{host}");
    }
}

#[test]
fn a_request_without_end_is_refused() {
    let (_gateway, port) = start("websocket = true");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /mqtt HTTP/1.1\r\nHost: a\r\nX-Padding: ").unwrap();
    // Exactly the limit, so that no byte is left unread that would reset the connection.
    stream.write_all(&vec![b'x'; 16 * 1024 - 40]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
