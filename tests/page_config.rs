//! The config by the page's API: who has changed it stands in the history, whatever the asker says; mistakes and what was
//! refused are told as on the command line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::{Read, Write};

use serde_json::{Value as Json, json};
use support::http::{Http, with_page};
use support::{Pty, eventually, json_device};

fn outcome(http: &Http, path: &str, body: &Json) -> Json {
    let answer = http.post(path, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[test]
fn a_change_by_the_api_stands_in_the_history_under_the_name_of_who_is_logged_in() {
    let (gateway, mut http, _) = with_page("", "");
    http.claim(&gateway);
    eventually("the first version is kept", || {
        (!http.get("/api/v1/config/history").json().as_array()?.is_empty()).then_some(())
    });
    let state = http.get("/api/v1/config").json();
    assert_eq!((&state["is_running"], &state["settings"]["health"]["every"]), (&json!(true), &json!("30s")));
    let edits = json!([{"path": "health.every", "text": "7s"}, {"path": "gateway.site", "value": "Barn"}]);
    let change = json!({"base": state["base"], "edits": edits, "who": "mallory", "note": "for the barn"});
    let look = outcome(&http, "/api/v1/config/look", &change);
    assert_eq!((&look["outcome"], &look["needs_confirmation"]), (&json!("right"), &json!(false)), "{look}");
    assert_eq!(outcome(&http, "/api/v1/config/probe", &change)["outcome"], "right");
    assert_eq!(gateway.ask("status")["site"], Json::Null, "nothing has changed by looking");
    let applied = outcome(&http, "/api/v1/config/apply", &change);
    assert_eq!((&applied["outcome"], &applied["version"]), (&json!("applied"), &json!(2)), "{applied}");
    assert_eq!(gateway.ask("status")["site"], "Barn");
    let version = http.get("/api/v1/config/history?version=2").json();
    assert_eq!((&version["who"], &version["note"]), (&json!("anna (the page)"), &json!("for the barn")));
    // One note, with who, from where, which version and what is different in it.
    assert_eq!(
        noted(&http),
        [json!(["config_changed", "anna", "127.0.0.1", "version 2: gateway.site, health.every"])]
    );
    // What it was thought up from is gone.
    let stale = outcome(&http, "/api/v1/config/apply", &change);
    assert_eq!((&stale["outcome"], &stale["stale"]), (&json!("refused"), &json!(true)), "{stale}");
    let back = outcome(&http, "/api/v1/config/revert", &json!({"version": 1}));
    assert_eq!((&back["outcome"], &back["version"]), (&json!("applied"), &json!(3)), "{back}");
    assert_eq!(gateway.ask("status")["site"], Json::Null);
}

/// What the events say of the config: kind, who, from where, and details.
fn noted(http: &Http) -> Vec<Json> {
    let journal = http.get("/api/v1/journal").json();
    let all = journal["events"].as_array().unwrap().iter();
    let of_config = all.filter(|event| {
        let kind = event["kind"].as_str().unwrap();
        kind.starts_with("config") || kind.starts_with("backup")
    });
    of_config.map(|event| json!([event["kind"], event["who"], event["address"], event["detail"]])).collect()
}

#[test]
fn what_happens_to_the_config_is_noted_once_with_who_and_from_where() {
    let (gateway, mut http, _) = with_page("", "[config]\nconfirm_within = \"10min\"\n");
    http.claim(&gateway);
    let uid = rustix::process::geteuid().as_raw();
    let socket = format!("control socket, uid {uid}");
    let bind = format!("127.0.0.1:{}", support::free_port());
    let listener =
        json!({"edits": [{"path": "broker.listener.new", "value": {"name": "new", "bind": bind}}]});
    assert_eq!(outcome(&http, "/api/v1/config/apply", &listener)["outcome"], "applied");
    assert_eq!(outcome(&http, "/api/v1/config/confirm", &json!({}))["outcome"], "confirmed");
    let by_hand = json!({"op": "config-apply", "config": {
        "who": "root", "probe": false, "edits": [{"path": "gateway.site", "value": "Barn"}],
    }});
    assert_eq!(gateway.request(&by_hand)["outcome"], "applied");
    assert!(outcome(&http, "/api/v1/config/backup", &json!({}))["content"].is_string());
    let gone = json!({"edits": [{"path": "broker.listener.new", "value": null}]});
    assert_eq!(outcome(&http, "/api/v1/config/apply", &gone)["outcome"], "applied");
    assert!(outcome(&http, "/api/v1/config/revert", &json!({}))["version"].is_u64());
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), text.replace("site = \"Barn\"", "site = \"Shed\"")).unwrap();
    gateway.ask("reload");
    eventually("the last is noted", || (noted(&http).last()?[0] == "config_read").then_some(()));
    let noted = noted(&http);
    let expected = [
        json!(["config_changed", "anna", "127.0.0.1", "version 2: broker.listener.new (new)"]),
        json!(["config_confirmed", "anna", "127.0.0.1", "version 2, by anna (the page)"]),
        json!(["config_changed", "root", socket, "version 3: gateway.site"]),
        json!(["backup_made", "anna", "127.0.0.1", "without secrets"]),
        json!(["config_changed", "anna", "127.0.0.1", "version 4: broker.listener.new (removed)"]),
        json!(["config_back", "anna", "127.0.0.1", "version 5: as before the change by anna (the page)"]),
        json!(["config_read", null, null, "version 6: gateway.site"]),
    ];
    assert_eq!(noted, expected, "{noted:#?}");
}

#[test]
fn what_is_refused_is_said_in_the_language_of_whoever_asks() {
    let (gateway, plain, _) = with_page("", "");
    let say = |http: &Http, path: &str, body: Json, language: &str| {
        let answer = http.send("POST", path, &[("accept-language", language)], &body.to_string());
        assert!(answer.status >= 400, "{answer:?}");
        answer.json()["error"].clone()
    };
    let claim = json!({"code": "AAAA-BBBB-CCCC-DDDD-EEEE", "password": support::http::PASSWORD});
    let german = say(&plain, "/api/v1/claim", claim.clone(), "de-CH, en;q=0.5");
    assert_eq!(german["message"], "Das ist nicht der Code dieses Gateways.");
    assert_eq!(german["said"], json!({"code": "wrong_code", "values": {}}));
    assert_eq!(german["field"], "code");
    let english = say(&plain, "/api/v1/claim", claim.clone(), "fr");
    assert_eq!(english["message"], "code: this isn't the gateway's code");
    let mut http = plain.clone();
    http.claim(&gateway);
    let login = json!({"name": "anna", "password": "wrong"});
    assert_eq!(
        say(&plain, "/api/v1/login", login.clone(), "de")["message"],
        "Name oder Passwort ist falsch."
    );
    let late = loop {
        let answer = say(&plain, "/api/v1/login", login.clone(), "de");
        if answer["code"] == "too_many" && answer["said"]["code"] == "too_many_passwords" {
            break answer;
        }
    };
    let seconds = late["said"]["values"]["seconds"].as_str().unwrap();
    assert_eq!(late["message"], format!("Zu viele falsche Passwörter; wieder in {seconds} s."));
    let gone = say(&http, "/api/v1/sensors/nobody/poll", json!({}), "de");
    assert_eq!(gone["message"], "Es gibt kein Gerät „nobody“.");
    assert_eq!(gone["said"], json!({"code": "no_device", "values": {"device": "nobody"}}));
    // Also what is answered as the outcome of an operation.
    let edits = json!({"edits": [{"path": "health.every", "text": "5"}]}).to_string();
    let answer = http.send("POST", "/api/v1/config/look", &[("accept-language", "de")], &edits).json();
    assert_eq!(answer["error"], "Darin ist ein Fehler; geändert wurde nichts.", "{answer}");
    let message = answer["mistakes"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("every: "), "the config speaks its own language everywhere: {message}");
}

#[test]
fn what_is_wrong_with_a_request_about_the_config_is_told() {
    let (gateway, mut http, _) = with_page("", "");
    http.claim(&gateway);
    let edits = json!([{"path": "health.every", "text": "5"}]);
    let refused = outcome(&http, "/api/v1/config/apply", &json!({"edits": edits}));
    assert_eq!(refused["outcome"], "refused");
    assert_eq!(refused["mistakes"][0]["path"], "health.every", "{refused}");
    assert_eq!(http.get("/api/v1/config/history?version=x").json()["error"]["field"], "version");
    for (path, body, words) in [
        ("/api/v1/config/revert", json!({"version": 99}), "there is no version 99"),
        ("/api/v1/config/confirm", json!({}), "no change waits"),
        ("/api/v1/config/look", json!({"edits": 5}), "invalid type"),
    ] {
        let answer = http.post(path, &body);
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.body.contains(words), "{path}: {answer:?}");
    }
    assert_eq!(http.get("/api/v1/config/pending").json(), json!({"pending": null}));
    for nowhere in ["/config?path=helth", "/config?path=device.x", "/config?path=health&new=1"] {
        assert_eq!(http.get(nowhere).status, 404, "{nowhere}");
    }
    assert!(
        http.get("/config?path=health").body.contains("data-path=\"health.every\""),
        "without a script too"
    );
}

#[test]
fn who_wants_to_hear_how_a_try_goes_on_is_told_of_each_port_from_waiting_to_what_came() {
    let (sensor, silent) = (Pty::open(), Pty::open());
    let devices = json_device("weather", sensor.path()) + &json_device("cellar", silent.path());
    let (gateway, mut http, _) = with_page("", &devices);
    http.claim(&gateway);
    let edits = json!({"edits": [
        {"path": "port.weather-port.baud", "value": 19_200},
        {"path": "port.cellar-port.baud", "value": 19_200},
    ]});
    let body = edits.to_string();
    let mut stream = http.connect();
    write!(
        stream,
        "POST /api/v1/config/probe HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncookie: {}\r\n\
         origin: {}\r\nx-fg-csrf: {}\r\naccept: application/x-ndjson\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        http.cookie,
        http.origin(),
        http.csrf,
        body.len(),
        port = http.port,
    )
    .unwrap();
    let mut text = String::new();
    let mut piece = [0; 4096];
    // The first line comes while it is still being tried.
    while !text.contains("begun") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{text}");
        text += &String::from_utf8_lossy(&piece[..count]);
    }
    assert!(!text.contains("\"answer\""), "{text}");
    while !text.contains("\"came\"") && !text.contains("\"answer\"") {
        sensor.write(b"{\"t\": 21.5}\n");
        let count = stream.read(&mut piece).unwrap();
        text += &String::from_utf8_lossy(&piece[..count]);
    }
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    text += &rest;
    let lines: Vec<Json> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |name: &str, step: &str| {
        lines.iter().any(|line| line["progress"]["name"] == name && line["progress"]["step"] == step)
    };
    assert!(
        of("weather-port", "probe") && of("weather-port", "begun") && of("cellar-port", "begun"),
        "{text}"
    );
    assert!(of("weather-port", "came") && !of("cellar-port", "came"), "{text}");
    let answer = &lines.last().unwrap()["answer"];
    assert_eq!(answer["outcome"], "right", "{text}");
    assert_eq!(answer["probe"].as_array().unwrap().len(), 2, "{text}");
}
