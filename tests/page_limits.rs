//! What the page does with too much: bodies, heads, connections, slow ones; and what its answers have in their heads.

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
use std::time::{Duration, Instant};

use support::http::{Http, read_answer, with_page};
use support::{Gateway, Mosquitto, Pty, eventually, json_device, upstream};

fn resident_bytes(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_body_of_100_mb_is_refused_unread() {
    let (gateway, plain, mut tls) = with_page("", "");
    tls.claim(&gateway);
    let before = resident_bytes(&gateway);
    // Announced, and sent as far as it is taken.
    let mut stream = TcpStream::connect(("127.0.0.1", plain.port)).unwrap();
    let mut head = format!(
        "POST /api/v1/login HTTP/1.1\r\nhost: 127.0.0.1:{0}\r\norigin: http://127.0.0.1:{0}\r\nx-fg-csrf: none\r\n\
         content-type: application/json\r\ncontent-length: 100000000\r\n\r\n",
        plain.port
    );
    let answer = read_answer(&mut stream, head.as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    // Not announced: in pieces, until nobody takes any more.
    head = head.replace("content-length: 100000000", "transfer-encoding: chunked");
    let mut stream = TcpStream::connect(("127.0.0.1", plain.port)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let piece = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let mut sent = 0;
    while sent < 100_000_000 && stream.write_all(piece.as_bytes()).is_ok() {
        sent += piece.len();
    }
    assert!(sent < 20_000_000, "{sent} bytes were taken");
    let after = resident_bytes(&gateway);
    assert!(after < before + 8_000_000, "{before} became {after}");
    assert_eq!(plain.get("/healthz").status, 200);
}

#[test]
fn two_hundred_slow_ones_are_closed_and_cost_nothing() {
    let (gateway, plain, tls) = with_page("", "");
    let before = resident_bytes(&gateway);
    let began = Instant::now();
    let slow: Vec<TcpStream> = (0..200)
        .map(|number| {
            let port = if number % 2 == 0 { plain.port } else { tls.port };
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
            // The beginning of a head, or of a handshake, and then nothing.
            let _ = stream.write_all(b"GET / HT");
            stream
        })
        .collect();
    let during = resident_bytes(&gateway);
    assert!(during < before + 8_000_000, "{before} became {during}");
    for mut stream in slow {
        let mut rest = Vec::new();
        // Closed, or reset where it had sent what nobody read.
        let ended = stream.read_to_end(&mut rest);
        assert!(
            !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "still open"
        );
    }
    assert!(began.elapsed() < support::PATIENCE);
    eventually("others are served again", || (plain.get("/healthz").status == 200).then_some(()));
    // The broker was never in their way.
    assert_eq!(gateway.ask("status")["state"], "ok");
}

#[test]
fn heads_that_are_too_long_and_what_is_no_http_are_refused() {
    let (_gateway, plain, _) = with_page("", "");
    let long = plain.send("GET", "/healthz", &[("x-long", &"a".repeat(20_000))], "");
    assert_eq!(long.status, 431);
    let many: Vec<(String, String)> = (0..100).map(|number| (format!("x-{number}"), "a".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(plain.send("GET", "/healthz", &many, "").status, 431);
    for bad in [
        "nonsense\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: a\r\nhost: 127.0.0.1\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", plain.port)).unwrap();
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        let answer = read_answer(&mut stream, bad.as_bytes());
        assert!(matches!(answer.status, 0 | 400 | 421), "{bad:?}: {answer:?}");
    }
    for bad in ["[]", "{", "\"x\"", "1"] {
        let answer = plain.send("POST", "/api/v1/claim", &[], bad);
        assert_eq!((answer.status, answer.code().as_str()), (400, "body"), "{bad}");
    }
}

#[test]
fn whoever_forgets_https_is_sent_there_and_nowhere_else() {
    let (_gateway, _, tls) = with_page("", "");
    let without = Http::new(tls.port, None);
    let answer = without.get("/sensors?q=a");
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("location"), format!("https://127.0.0.1:{}/sensors?q=a", tls.port));
    assert_eq!(answer.body, "");
    for (method, path, other) in [
        ("GET", "/", [("host", "evil.example")]),
        ("GET", "//evil.example/", [("host", "evil.example")]),
        ("POST", "/api/v1/login", [("x-more", "1")]),
        ("GET", "http://evil.example/", [("x-more", "1")]),
    ] {
        let answer = without.send(method, path, &other, "");
        assert_eq!((answer.status, answer.header("location")), (421, ""), "{method} {path}: {answer:?}");
    }
    assert_eq!(tls.get("/healthz").status, 200);
}

#[test]
fn every_answer_says_what_its_page_may_do() {
    let (gateway, plain, mut tls) = with_page("", "");
    tls.claim(&gateway);
    let page = tls.get("/");
    assert_eq!(page.status, 200);
    let asset =
        page.body.split("href=\"").find(|rest| rest.starts_with("/assets/") && rest.contains("app.css"));
    let asset = asset.unwrap().split('"').next().unwrap().to_owned();
    for (path, answer) in [
        ("/", page.clone()),
        ("/api/v1/status", tls.get("/api/v1/status")),
        ("asset", tls.get(&asset)),
        ("/nowhere", tls.get("/nowhere")),
        ("401", plain.get("/api/v1/status")),
        ("421", plain.send("GET", "/", &[("host", "evil.example")], "")),
    ] {
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        if path != "asset" {
            assert!(answer.header("cache-control").contains("no-store"), "{path}");
        }
    }
    let first = tls.get(&asset);
    assert!(first.header("cache-control").contains("immutable"), "{first:?}");
    let again = tls.send("GET", &asset, &[("if-none-match", first.header("etag"))], "");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let weight = ["app.css", "app.js", "icon.svg"]
        .map(|name| tls.get(&asset.replace("app.css", name)).body.len())
        .iter()
        .sum::<usize>()
        + page.body.len();
    assert!(weight < 200_000, "{weight} bytes");
    // Nothing stands inline that the policy would stop.
    for inline in ["style=", "<style", "onclick", "<script>", "javascript:"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
    let german = tls.send("GET", "/", &[("accept-language", "de-AT,de;q=0.9")], "");
    assert!(
        german.body.contains("Alles ist in Ordnung.") && german.body.contains("<html lang=\"de\""),
        "{german:?}"
    );
}

#[test]
fn a_page_that_stays_open_sees_values_as_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let pty = Pty::open();
    let config = json_device("weather", pty.path()) + &upstream(mosquitto.port);
    let (mut gateway, _, mut http) = with_page("", &config);
    http.claim(&gateway);
    gateway.wait_online();
    let mut stream = http.connect();
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncookie: {}\r\n\r\n",
        http.port, http.cookie
    );
    let head = read_answer(&mut *stream, request.as_bytes());
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
    let mut text = head.body;
    let mut number = 0;
    let deadline = Instant::now() + support::PATIENCE;
    while !(text.contains("event: readings") && text.contains("event: status")) {
        number += 1;
        pty.write(format!("{{\"t\": {number}.5}}\n").as_bytes());
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).unwrap();
        text += &String::from_utf8_lossy(&piece[..count]);
        assert!(Instant::now() < deadline, "{text}");
    }
    let history = eventually("the history has it", || {
        let answer = http.get("/api/v1/history?device=weather&point=t").json();
        (answer["points"][0]["buckets"][0]["count"].as_u64()? >= 1).then_some(answer)
    });
    assert_eq!(history["points"][0]["point"], "t");
    let unknown = http.get("/api/v1/history?device=none");
    assert_eq!((unknown.status, unknown.json()["error"]["field"].as_str()), (400, Some("device")));
    // Whoever looks on isn't waited for: the gateway goes on, and stops in time.
    gateway.stop();
    assert!(Instant::now() < deadline + Duration::from_secs(30));
}

#[test]
fn an_address_that_is_taken_stops_nothing_and_is_taken_later() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut gateway = Gateway::start(&format!("[web]\nbind = \"127.0.0.1:{port}\"\n"));
    let status = gateway.wait("it says why", |status| status["web"]["error"].is_string());
    assert!(status["problems"][0].as_str().unwrap().contains("can't listen on"), "{status}");
    drop(holder);
    gateway.wait("it listens", |status| status["web"]["error"].is_null());
    let certificate = gateway.data_dir().join("web/certificate.pem");
    assert_eq!(Http::new(port, Some(certificate)).get("/healthz").status, 200);
}
