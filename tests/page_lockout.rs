//! A change of the page's own addresses can't lock anybody out: the new one is open beside the old one, which stays until
//! somebody confirms the change by the new one; else it goes back by itself, also over a crash.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::net::TcpStream;

use serde_json::{Value as Json, json};

use support::http::{Http, with_page};
use support::{Certificates, Gateway, eventually, free_port};

const PATIENT: &str = "[config]\nconfirm_within = \"10min\"\n";
const HASTY: &str = "[config]\nconfirm_within = \"4s\"\n";

fn change(http: &Http, edits: &Json) -> Json {
    let answer = http.post("/api/v1/config/apply", &json!({ "edits": edits }));
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["outcome"], "applied", "{answer}");
    assert!(answer["confirm_within_s"].is_u64(), "{answer}");
    assert_eq!(answer["next_start"], json!([]), "{answer}");
    answer
}

fn set(path: &str, value: impl Into<Json>) -> Json {
    json!([{"path": path, "value": value.into()}])
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn pending(http: &Http) -> Json {
    http.get("/api/v1/config/pending").json()["pending"].clone()
}

/// Who asks at another port of the gateway, with the same cookie: browsers send it to every port.
fn at(http: &Http, port: u16) -> Http {
    Http { port, ..http.clone() }
}

/// A claimed gateway, somebody who is logged in with TLS, and a free port.
fn moved(rest: &str) -> (Gateway, Http, Http, Json) {
    let (gateway, _, mut old) = with_page("", rest);
    old.claim(&gateway);
    let port = free_port();
    let answer = change(&old, &set("web.bind", format!("127.0.0.1:{port}")));
    assert_eq!(answer["applied"], json!(["web.bind"]), "{answer}");
    let new = at(&old, port);
    (gateway, old, new, answer)
}

#[test]
fn a_new_address_that_nobody_confirms_by_it_goes_back_by_itself() {
    let (gateway, old, new, _) = moved(HASTY);
    // Both are open; whoever comes by the old one keeps his session, but can't keep the change.
    let waits = pending(&old);
    assert_eq!(waits["can_confirm"], false, "{waits}");
    assert_eq!(waits["confirm_at"], json!({"port": new.port, "address": "127.0.0.1"}), "{waits}");
    let refused = old.post("/api/v1/config/confirm", &json!({}));
    assert_eq!((refused.status, refused.code().as_str()), (409, "new_address"), "{refused:?}");
    assert!(refused.body.contains(&format!("https://127.0.0.1:{}", new.port)), "{refused:?}");
    assert_eq!(new.get("/api/v1/session").status, 200, "he is logged in there too");
    eventually("the new address is closed", || (!is_open(new.port)).then_some(()));
    assert_eq!(pending(&old), Json::Null);
    assert_eq!(old.get("/api/v1/session").status, 200);
    assert_eq!(gateway.ask("status")["web"]["address"], format!("127.0.0.1:{}", old.port));
    assert!(!std::fs::read_to_string(gateway.config()).unwrap().contains(&new.port.to_string()));
}

#[test]
fn a_new_address_that_is_confirmed_by_it_stays_and_the_old_one_is_closed() {
    let (mut gateway, old, new, _) = moved(PATIENT);
    assert_eq!(pending(&new)["can_confirm"], true);
    let kept = new.post("/api/v1/config/confirm", &json!({}));
    assert_eq!(kept.status, 200, "{kept:?}");
    eventually("the old address is closed", || (!is_open(old.port)).then_some(()));
    assert_eq!(new.get("/api/v1/session").status, 200);
    assert_eq!(gateway.ask("status")["web"]["address"], format!("127.0.0.1:{}", new.port));
    gateway.stop();
    gateway.start_again();
    eventually("the page is there again", || is_open(new.port).then_some(()));
    assert!(!is_open(old.port));
}

#[test]
fn a_gateway_that_crashes_before_somebody_confirms_starts_with_the_old_address() {
    let (mut gateway, old, new, _) = moved(PATIENT);
    gateway.kill9();
    gateway.start_again();
    eventually("the page is where it was", || is_open(old.port).then_some(()));
    assert!(!is_open(new.port));
    assert_eq!(pending(&Http { cookie: String::new(), ..old.clone() }), Json::Null);
    assert!(gateway.log().contains("was not confirmed before the gateway was started again"));
}

#[test]
fn another_certificate_is_confirmed_by_a_connection_that_has_it() {
    let (gateway, _, mut http) = with_page("", HASTY);
    http.claim(&gateway);
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(folder.path(), "page");
    let issued = certificates.issue("page", "IP:127.0.0.1");
    let edits = json!([
        {"path": "web.cert", "value": issued.certificate},
        {"path": "web.key", "value": issued.key},
    ]);
    // A connection from before, kept open as browsers do.
    let mut before = http.connect();
    let ask = |path: &str| {
        let Http { port, cookie, csrf, .. } = &http;
        format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncookie: {cookie}\r\norigin: {}\r\nx-fg-csrf: {csrf}\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
            http.origin()
        )
    };
    let first = support::http::read_answer(&mut *before, ask("/api/v1/config/look").as_bytes());
    assert_eq!(first.status, 200, "{first:?}");
    change(&http, &edits);
    let over = support::http::read_answer(&mut *before, ask("/api/v1/config/confirm").as_bytes());
    assert_eq!(over.status, 0, "the connection has ended: {over:?}");
    let new = Http { certificate: Some(certificates.authority()), ..http.clone() };
    assert_eq!(pending(&new)["can_confirm"], true);
    // Nobody does.
    eventually("the old certificate is back", || {
        gateway.log().contains("was not confirmed and has gone back").then_some(())
    });
    assert_eq!(pending(&http), Json::Null);
    change(&http, &edits);
    assert_eq!(new.post("/api/v1/config/confirm", &json!({})).status, 200);
    assert_eq!(new.get("/api/v1/session").status, 200);
    // It is somebody else's: another name has neither it nor the gateway's own made again.
    let web = gateway.data_dir().join("web");
    let files = || {
        [&issued.certificate, &issued.key, &web.join("certificate.pem")]
            .map(|file| std::fs::read(file).unwrap())
    };
    let as_they_were = files();
    change(&new, &set("web.hosts", json!(["gate.example.com"])));
    assert_eq!(new.send("GET", "/healthz", &[("host", "gate.example.com")], "").status, 200);
    assert!(!new.is_shown_for("gate.example.com"));
    assert_eq!(files(), as_they_were);
}

#[test]
fn the_own_certificate_is_made_again_for_another_name_and_who_is_there_stays() {
    let (gateway, _, mut http) = with_page("", PATIENT);
    http.claim(&gateway);
    let web = gateway.data_dir().join("web");
    // Whoever trusts the first one goes on trusting: the key stays.
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first.pem");
    std::fs::copy(web.join("certificate.pem"), &first).unwrap();
    let key = std::fs::read(web.join("certificate.key")).unwrap();
    http.certificate = Some(first);
    for (name, is_named) in [("gw.local", true), ("127.0.0.1", true), ("gate.example.com", false)] {
        assert_eq!(http.is_shown_for(name), is_named, "{name}");
    }
    let mut stays = http.connect();
    let request = format!(
        "GET /api/v1/session HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncookie: {}\r\n\r\n",
        http.port, http.cookie
    );
    change(&http, &set("web.hosts", json!(["gate.example.com"])));
    eventually("another certificate is shown", || {
        let answer = support::http::read_answer(&mut *stays, request.as_bytes());
        assert_eq!(answer.status, 200, "the connection and the session from before stay: {answer:?}");
        http.is_shown_for("gate.example.com").then_some(())
    });
    assert!(http.is_shown_for("gw.local"));
    assert_eq!(std::fs::read(web.join("certificate.key")).unwrap(), key);
    let told = gateway.ask("events").to_string();
    assert_eq!(told.matches("certificate_made").count(), 1, "{told}");
    assert!(told.contains("gate.example.com"), "{told}");
}

#[test]
fn who_takes_away_the_tunnel_that_he_came_by_confirms_it_by_another_way() {
    let (gateway, mut plain, mut tls) = with_page("", PATIENT);
    plain.claim(&gateway);
    tls.log_in("anna");
    change(&plain, &set("web.plain", Json::Null));
    let waits = pending(&plain);
    assert_eq!((&waits["can_confirm"], &waits["confirm_at"]), (&json!(false), &Json::Null), "{waits}");
    assert_eq!(plain.post("/api/v1/config/confirm", &json!({})).status, 409);
    assert_eq!(tls.post("/api/v1/config/confirm", &json!({})).status, 200);
    eventually("the tunnel's address is closed", || (!is_open(plain.port)).then_some(()));
}

#[test]
fn whoever_looks_on_at_an_address_that_is_closed_is_told_where_the_page_is() {
    let (gateway, _, mut old) = with_page("", PATIENT);
    old.claim(&gateway);
    let mut stream = old.connect();
    let Http { port, cookie, .. } = &old;
    let request =
        format!("GET /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncookie: {cookie}\r\n\r\n");
    assert_eq!(support::http::read_answer(&mut *stream, request.as_bytes()).status, 200);
    let bind = free_port();
    change(&old, &set("web.bind", format!("127.0.0.1:{bind}")));
    // Nothing ends before it is settled.
    let new = at(&old, bind);
    assert_eq!(new.post("/api/v1/config/confirm", &json!({})).status, 200);
    let settled = std::time::Instant::now();
    let mut rest = String::new();
    // Its end may be abrupt: what counts was said before.
    let _ = stream.read_to_string(&mut rest);
    assert!(settled.elapsed().as_secs() < 20, "{:?}", settled.elapsed());
    let last = format!("event: moved\ndata: {}", json!({"address": "127.0.0.1", "port": bind}));
    assert!(rest.contains(&last), "{rest}");
}

#[test]
fn where_the_page_is_tells_a_command_too() {
    let (mut gateway, _, tls) = with_page("", "");
    let place = |gateway: &Gateway| {
        let mut command = support::fieldgate();
        command.args(["claim", "--address", "--config"]).arg(gateway.config());
        support::Process::run_well("fieldgate claim --address", &mut command)
    };
    let expected = format!("https://127.0.0.1:{}/", tls.port);
    eventually("it runs, and says so", || (place(&gateway).trim() == expected).then_some(()));
    assert!(gateway.ask("status")["web"]["unclaimed"] == true, "nothing was claimed or closed by asking");
    gateway.stop();
    assert_eq!(place(&gateway).trim(), expected, "as its config says");
}

#[test]
fn an_address_that_covers_the_old_one_is_opened_beside_it() {
    let (gateway, _, mut old) = with_page("", PATIENT);
    old.claim(&gateway);
    change(&old, &set("web.bind", format!("0.0.0.0:{}", old.port)));
    // Here the old one is nearer.
    assert_eq!(pending(&old)["confirm_at"], json!({"port": old.port, "address": null}));
    assert_eq!(old.post("/api/v1/config/revert", &json!({})).status, 200);
    assert_eq!(old.get("/api/v1/session").status, 200);
    change(&old, &set("web.bind", format!("0.0.0.0:{}", old.port)));
    let out = support::Process::run_well(
        "fieldgate config confirm",
        support::fieldgate().args(["config", "confirm", "--config"]).arg(gateway.config()),
    );
    assert!(out.contains("it stays"), "{out}");
    eventually("everything is at the new address", || {
        (gateway.ask("status")["web"]["address"] == format!("0.0.0.0:{}", old.port)).then_some(())
    });
    assert_eq!(old.get("/api/v1/session").status, 200);
}

#[test]
fn an_address_that_is_taken_is_refused_and_nothing_changes() {
    let (gateway, _, mut http) = with_page("", PATIENT);
    http.claim(&gateway);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = format!("127.0.0.1:{}", taken.local_addr().unwrap().port());
    let body = json!({"edits": set("web.bind", bind.clone()), "probe": true});
    let tried = http.post("/api/v1/config/apply", &body).json();
    assert_eq!(
        (&tried["outcome"], &tried["probe"][0]["what"]),
        (&json!("probe-failed"), &json!("page")),
        "{tried}"
    );
    let body = json!({"edits": set("web.bind", bind), "probe": false});
    let refused = http.post("/api/v1/config/apply", &body).json();
    assert_eq!(refused["outcome"], "refused", "{refused}");
    assert!(refused.to_string().contains("can't listen on"), "{refused}");
    assert_eq!(pending(&http), Json::Null);
    assert_eq!(http.get("/api/v1/session").status, 200);
}

#[test]
fn names_and_the_span_of_sessions_count_at_once() {
    let (gateway, plain, mut http) = with_page("", PATIENT);
    http.claim(&gateway);
    let as_named = |name: &str| http.send("GET", "/healthz", &[("host", name)], "").status;
    assert_eq!(as_named("gate.example.com"), 421);
    change(&http, &set("web.hosts", json!(["gate.example.com"])));
    assert_eq!(as_named("gate.example.com"), 200);
    assert_eq!(http.post("/api/v1/config/confirm", &json!({})).status, 200);
    change(&http, &json!([{"path": "web.hosts", "value": null}, {"path": "web.metrics", "value": "open"}]));
    // As before until it is settled, but whoever comes by a name that goes can't keep that.
    assert_eq!(as_named("gate.example.com"), 200);
    let origin = ("origin", "https://gate.example.com");
    let refused = http.send("POST", "/api/v1/config/confirm", &[("host", "gate.example.com"), origin], "{}");
    assert_eq!((refused.status, refused.code().as_str()), (409, "new_address"), "{refused:?}");
    assert_eq!(plain.get("/metrics").status, 200);
    assert_eq!(http.post("/api/v1/config/confirm", &json!({})).status, 200);
    assert_eq!(as_named("gate.example.com"), 421);
}
