//! The opening handshake and frames, cut anywhere, good and bad.

use super::*;

fn settings(path: &str, origins: &[&str]) -> WebSocket {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    WebSocket { path: path.into(), origins, hosts: vec!["gw.example.com".into()] }
}

fn open(bytes: &[u8], settings: &WebSocket) -> Opening {
    super::open(bytes, settings, "Barn-7")
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

fn request(path: &str, more: &[&str]) -> Vec<u8> {
    let mut lines = vec![
        format!("GET {path} HTTP/1.1"),
        "Host: gw.local:8083".into(),
        "Upgrade: WebSocket".into(),
        "Connection: keep-alive, Upgrade".into(),
        "Sec-WebSocket-Version: 13".into(),
        KEY.into(),
    ];
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    (lines.join("\r\n") + "\r\n\r\n").into_bytes()
}

fn answered(opening: Opening) -> String {
    match opening {
        Opening::Accepted { response, .. } | Opening::Refused { response, .. } => {
            String::from_utf8(response).unwrap()
        }
        Opening::Incomplete => String::new(),
    }
}

const MQTT: &str = "Sec-WebSocket-Protocol: mqtt";

#[test]
fn a_good_request_is_answered_with_the_subprotocol_and_the_accepted_key() {
    for (offer, chosen) in [
        (&["Sec-WebSocket-Protocol: mqtt"][..], "mqtt"),
        (&["Sec-WebSocket-Protocol: mqttv3.1"], "mqttv3.1"),
        (&["Sec-WebSocket-Protocol: mqttv3.1, mqtt"], "mqtt"),
        (&["Sec-WebSocket-Protocol: soap", "Sec-WebSocket-Protocol: other,mqttv3.1"], "mqttv3.1"),
    ] {
        let request = request("/mqtt?token=1", offer);
        for cut in 0..request.len() {
            assert_eq!(open(&request[..cut], &settings("/mqtt", &[])), Opening::Incomplete, "cut at {cut}");
        }
        let with_frames = [&request[..], &[0x82, 0x80]].concat();
        let Opening::Accepted { used, response } = open(&with_frames, &settings("/mqtt", &[])) else {
            panic!("{offer:?} was refused")
        };
        assert_eq!(used, request.len());
        let response = String::from_utf8(response).unwrap().to_lowercase();
        assert!(response.starts_with("http/1.1 101 "), "{response}");
        assert!(response.contains(&format!("\r\nsec-websocket-protocol: {chosen}\r\n")), "{response}");
        // The example of RFC 6455, 1.3.
        assert!(response.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{response}");
        assert!(response.ends_with("\r\n\r\n"));
    }
}

#[test]
fn a_request_that_may_not_connect_is_told_why() {
    let long = format!("X: {}", "x".repeat(REQUEST_BYTES_MAX));
    for (bytes, status) in [
        (request("/", &[MQTT]), "404"),
        (request("/mqttx", &[MQTT]), "404"),
        (request("/mqtt", &[]), "400"),
        (request("/mqtt", &["Sec-WebSocket-Protocol: soap"]), "400"),
        (b"GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "426"),
        (b"POST /mqtt HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "400"),
        (b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00".to_vec(), "400"),
        (request("/mqtt", &[MQTT, "Origin: https://evil.example"]), "403"),
        (format!("GET /mqtt HTTP/1.1\r\n{long}").into_bytes(), "431"),
    ] {
        let answer = answered(open(&bytes, &settings("/mqtt", &["https://panel.example"])));
        let shown = String::from_utf8_lossy(&bytes).chars().take(80).collect::<String>();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {answer}");
    }
}

#[test]
fn pages_of_this_host_and_listed_ones_may_connect_and_no_others() {
    for (origin, origins, expected) in [
        ("http://gw.local", &[][..], true),
        ("https://GW.local:8443", &[], true),
        ("https://gw.local.evil.example", &[], false),
        ("https://evil.example", &[], false),
        ("null", &[], false),
        ("", &[], false),
        ("https://", &[], false),
        ("https://panel.example", &["https://panel.example"], true),
        ("HTTPS://Panel.Example", &["https://panel.example"], true),
        ("http://panel.example", &["https://panel.example"], false),
        ("https://panel.example:444", &["https://panel.example"], false),
        ("null", &["*"], true),
    ] {
        let header = format!("Origin: {origin}");
        let answer = answered(open(&request("/mqtt", &[MQTT, &header]), &settings("/mqtt", origins)));
        assert_eq!(answer.starts_with("HTTP/1.1 101 "), expected, "{origin:?} with {origins:?}: {answer}");
    }
}

#[test]
fn a_page_of_a_name_that_somebody_else_has_pointed_here_may_not_connect() {
    let ask = |host: &str, more: &[&str]| {
        let text = String::from_utf8(request("/mqtt", more)).unwrap();
        let request = text.replace("Host: gw.local:8083", &format!("Host: {host}"));
        answered(open(request.as_bytes(), &settings("/mqtt", &["https://panel.example"])))
    };
    for (host, expected) in [
        ("10.0.0.5", true),
        ("10.0.0.5:8083", true),
        ("[fd00::5]:8083", true),
        ("[::1]", true),
        ("localhost:8083", true),
        ("barn-7:8083", true),
        ("BARN-7", true),
        ("barn-7.local", true),
        ("gw.example.com:8083", true),
        ("evil.example", false),
        ("evil.example:8083", false),
        ("barn-7.evil.example", false),
        ("x.gw.example.com", false),
        ("local", false),
        ("10.0.0.5.evil.example", false),
        ("", false),
    ] {
        // Its page, with the name under which it came.
        let answer = ask(host, &[MQTT, &format!("Origin: http://{host}")]);
        assert_eq!(answer.starts_with("HTTP/1.1 101 "), expected, "{host:?}: {answer}");
        // A listed page is known by its origin, and a device that is no page has none: both may use any name.
        assert!(ask(host, &[MQTT, "Origin: https://panel.example"]).starts_with("HTTP/1.1 101 "), "{host:?}");
        assert!(ask(host, &[MQTT]).starts_with("HTTP/1.1 101 "), "{host:?}");
    }
    let answer = ask("evil.example", &[MQTT, "Origin: http://evil.example"]);
    assert!(answer.contains("websocket.hosts says which are"), "{answer}");
}

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

const CLOSED: [u8; 4] = [0x88, 2, 0x03, 0xE8];

/// Whatever the cuts, the same payload and the same answers come out.
fn check(bytes: &[u8], plain: &[u8], answers: &[u8], ends: bool) {
    for cut in 1..=bytes.len() {
        let mut framing = Framing::default();
        let (mut got, mut out) = (Vec::new(), Vec::new());
        let mut result = Ok(());
        for part in bytes.chunks(cut) {
            result = result.and_then(|()| framing.incoming(part, &mut got, &mut out));
        }
        assert_eq!((&got[..], &out[..], result.is_err()), (plain, answers, ends), "{bytes:?} cut at {cut}");
    }
}

#[test]
fn payload_is_one_stream_of_bytes_whatever_its_frames() {
    let long: Vec<u8> = (0..=255).cycle().take(700).collect();
    check(&frame(0x82, b"two packets"), b"two packets", &[], false);
    check(
        &[frame(0x02, b"one "), frame(0x00, b"message"), frame(0x80, b"!")].concat(),
        b"one message!",
        &[],
        false,
    );
    check(
        &[frame(0x82, b"a"), frame(0x82, b""), frame(0x82, &long)].concat(),
        &[b"a", &long[..]].concat(),
        &[],
        false,
    );
    let ping_within = [frame(0x02, b"a"), frame(0x89, b"hi"), frame(0x8A, b"x"), frame(0x80, b"b")].concat();
    check(&ping_within, b"ab", &[0x8A, 2, b'h', b'i'], false);
    check(
        &[frame(0x82, b"last"), frame(0x88, &[3, 0xE8]), frame(0x82, b"no")].concat(),
        b"last",
        &CLOSED,
        true,
    );
}

#[test]
fn what_breaks_the_protocol_closes_with_its_code() {
    let unmasked = [0x82, 2, 1, 2].to_vec();
    let with = |code: u16| [&[0x88, 2][..], &code.to_be_bytes()].concat();
    for (bytes, code) in [
        (frame(0x81, b"text"), 1003),
        (unmasked, 1002),
        (frame(0xC2, b"compressed"), 1002),
        (frame(0x80, b"continues nothing"), 1002),
        ([frame(0x02, b""), frame(0x82, b"again")].concat(), 1002),
        (frame(0x09, b"cut ping"), 1002),
        (frame(0x89, &[b'x'; 126]), 1002),
        (frame(0x83, b"reserved"), 1002),
        (frame(0x8B, b"reserved"), 1002),
    ] {
        check(&bytes, b"", &with(code), true);
    }
}

#[test]
fn a_flood_of_pings_is_answered_within_bounds() {
    let pings = frame(0x89, &[7; 100]).repeat(600);
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    Framing::default().incoming(&pings, &mut plain, &mut out).unwrap();
    assert!(out.len() >= 102 && out.len() < PONG_BYTES_MAX + 128, "{} bytes", out.len());
}

#[test]
fn our_frames_are_final_binary_and_unmasked() {
    for (bytes, header) in [
        (5, &[0x82, 5][..]),
        (300, &[0x82, 126, 1, 44]),
        (70_000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
    ] {
        let mut out = Vec::new();
        Framing::data(&vec![9; bytes], &mut out);
        assert_eq!(&out[..header.len()], header);
        assert_eq!(out.len(), header.len() + bytes);
    }
}

#[test]
fn both_ends_understand_each_other_wherever_the_bytes_are_cut() {
    for bytes in [0, 1, 125, 126, 65_535, 65_536] {
        let payload: Vec<u8> = (0..=255).cycle().take(bytes).collect();
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        Framing::masked_data(&payload, &mut to_server);
        Framing::data(&payload, &mut to_client);
        for (frames, end) in [(&to_server, End::Server), (&to_client, End::Client)] {
            for cut in [0, 1, 3, 7, 13, frames.len() / 2, frames.len()] {
                let cut = cut.min(frames.len());
                let mut framing = Framing { end, ..Framing::default() };
                let (mut plain, mut out) = (Vec::new(), Vec::new());
                for part in [&frames[..cut], &frames[cut..]] {
                    framing.incoming(part, &mut plain, &mut out).unwrap();
                }
                assert!(plain == payload && out.is_empty(), "{bytes} bytes to the {end:?}, cut at {cut}");
            }
        }
    }
}

#[test]
fn each_end_refuses_the_frames_of_its_own_kind() {
    let (mut masked, mut plain_frame) = (Vec::new(), Vec::new());
    Framing::masked_data(b"x", &mut masked);
    Framing::data(b"x", &mut plain_frame);
    for (mut framing, frame) in [(Framing::client(), masked), (Framing::default(), plain_frame)] {
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        assert!(framing.incoming(&frame, &mut plain, &mut out).is_err());
        assert!(plain.is_empty());
        assert_eq!(out[0], 0x88, "a close frame goes back");
    }
}

#[test]
fn a_client_answers_a_ping_masked() {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    Framing::client().incoming(&[0x89, 2, b'h', b'i'], &mut plain, &mut out).unwrap();
    assert_eq!(out[..2], [0x8A, 0x82]);
    assert_eq!([out[6] ^ out[2], out[7] ^ out[3]], *b"hi");
}
