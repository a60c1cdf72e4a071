//! What the page's API does for somebody who sets a gateway up: tests of connections step by step, polls out of turn, lines
//! that no config names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::path::Path;

use serde_json::{Value as Json, json};
use support::http::{Http, with_page};
use support::{
    Certificates, Mosquitto, Process, Pty, TlsServer, eventually, fieldgate, free_port, json_device, program,
    upstream,
};

const TEST: &str = "/api/v1/upstreams/test";

fn tested(http: &Http, body: &Json) -> Json {
    let answer = http.post(TEST, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The key that a test that failed is about, and the last step with its words.
fn failed(told: &Json) -> (String, String, String) {
    let address = &told["details"].as_array().unwrap().last().unwrap();
    let last = address["steps"].as_array().unwrap().last().unwrap();
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    assert_ne!(told["state"], "good", "{told}");
    (text(&address["key"]), text(&last["step"]), text(&last["words"]))
}

#[test]
fn a_connection_is_tested_step_by_step_and_what_fails_is_told_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    let mut command = std::process::Command::new(program("mosquitto_passwd"));
    Process::run_well(
        "mosquitto_passwd",
        command.args(["-b", "-c"]).arg(&accounts).args(["gateway", "right"]),
    );
    let port = free_port();
    let listeners =
        format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n", accounts.display());
    let mosquitto = Mosquitto::start_with(dir.path(), port, &listeners);
    let (gateway, mut http, _) = with_page("", "");
    http.claim(&gateway);
    let keys = |port: u16| json!({"host": "127.0.0.1", "port": port, "user_name": "gateway"});

    let good = tested(&http, &json!({"name": "central", "keys": keys(port), "password": "right"}));
    assert_eq!(
        (&good["state"], &good["what"], &good["name"]),
        (&json!("good"), &json!("upstream"), &json!("central"))
    );
    let taken = good["details"][0]["steps"].as_array().unwrap();
    let names: Vec<&str> = taken.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["name", "connected", "connack", "round_trip"]);
    assert!(taken.iter().all(|step| step["ms"].is_number() && step["state"] == "good"), "{good}");

    let (key, step, words) =
        failed(&tested(&http, &json!({"name": "central", "keys": keys(port), "password": "wrong-canary"})));
    assert_eq!((key.as_str(), step.as_str()), ("password", "connack"), "{words}");
    let (key, step, _) =
        failed(&tested(&http, &json!({"name": "central", "keys": {"host": "127.0.0.1", "port": port}})));
    assert_eq!((key.as_str(), step.as_str()), ("user_name", "connack"));
    let (key, step, words) = failed(&tested(&http, &json!({"name": "central", "keys": keys(free_port())})));
    assert_eq!((key.as_str(), step.as_str()), ("host", "connected"));
    assert!(words.contains("nothing listens there"), "{words}");
    let (key, step, words) =
        failed(&tested(&http, &json!({"name": "central", "keys": {"host": "no-such-host.invalid"}})));
    assert_eq!((key.as_str(), step.as_str()), ("host", "name"), "{words}");

    // TLS whose authority nobody knows; and with the right one, what stands behind it.
    let certificates = Certificates::new(dir.path(), "ca");
    let server = TlsServer::start(&certificates.issue("server", "DNS:localhost"));
    let tls = |tls: Json| json!({"name": "central", "keys": {"host": "localhost", "port": server.port, "tls": tls}});
    let (key, step, _) = failed(&tested(&http, &tls(json!(true))));
    assert_eq!((key.as_str(), step.as_str()), ("tls", "tls"));
    let told = tested(&http, &tls(json!({"ca": certificates.authority()})));
    assert_eq!(told["details"][0]["steps"][2]["step"], "tls", "{told}");
    assert_eq!(told["state"], "doubtful");
    let (key, step, _) = failed(&tested(&http, &tls(json!({"ca": "/nowhere/ca.pem"}))));
    assert_eq!((key.as_str(), step.as_str()), ("tls", "tls"));

    // What is no config, and what isn't there.
    let refused = tested(&http, &json!({"name": "central", "keys": {"host": "127.0.0.1", "port": 99_999}}));
    assert_eq!(
        (&refused["outcome"], &refused["mistakes"][0]["path"]),
        (&json!("refused"), &json!("upstream.central.port"))
    );
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": "nobody"}), "upstream"),
        (json!({"name": "a", "keys": 5}), "keys"),
        (json!({"name": "a", "edits": 5}), "edits"),
        (json!({"name": "a", "password": 5}), "password"),
    ] {
        let answer = http.post(TEST, &body);
        assert_eq!(
            (answer.status, answer.json()["error"]["field"].as_str()),
            (400, Some(field)),
            "{answer:?}"
        );
    }
    assert!(!gateway.log().contains("wrong-canary"), "no password stands in the log");
    let all = http.get("/api/v1/config").body + &http.get("/api/v1/journal").body;
    assert!(!all.contains("wrong-canary"));
    assert!(mosquitto.log().contains("-probe"), "the test has a client identifier of its own");
}

#[test]
fn the_steps_of_a_test_come_as_lines_while_they_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let (gateway, mut http, _) = with_page("", &upstream(mosquitto.port));
    http.claim(&gateway);
    let answer =
        http.send("POST", TEST, &[("accept", "application/x-ndjson")], &json!({"name": "up"}).to_string());
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let lines: Vec<Json> = answer
        .body
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (last, steps) = lines.split_last().unwrap();
    let names: Vec<&str> = steps.iter().map(|line| line["progress"]["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["name", "connected", "connack", "round_trip"], "{answer:?}");
    assert_eq!(last["answer"]["state"], "good");
    let refused =
        http.send("POST", TEST, &[("accept", "application/x-ndjson")], &json!({"name": "down"}).to_string());
    assert!(
        refused.body.contains("\"error\"") && refused.body.contains("there is no upstream"),
        "{refused:?}"
    );
}

#[test]
fn a_password_is_kept_in_a_file_of_its_own_that_the_config_names() {
    let (gateway, mut http, _) = with_page("", "");
    http.claim(&gateway);
    let kept = http.post("/api/v1/upstreams/password", &json!({"name": "central", "password": "canary-9"}));
    let path = kept.json()["password"]["file"].as_str().unwrap().to_owned();
    assert!(Path::new(&path).starts_with(gateway.data_dir()), "{path}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "canary-9");
    let journal = http.get("/api/v1/journal").body;
    assert!(journal.contains("upstream_password") && !journal.contains("canary-9"), "{journal}");
    for body in
        [json!({"name": "", "password": "x"}), json!({"name": "a", "password": ""}), json!({"name": "a"})]
    {
        assert_eq!(http.post("/api/v1/upstreams/password", &body).status, 400, "{body}");
    }
}

fn simulate(dir: &Path, profile: &str, more: &[&str]) -> (Process, String) {
    let line = dir.join(format!("line-{profile}"));
    let mut command = fieldgate();
    command.args(["simulate", profile]).args(more).arg("--link").arg(&line);
    let simulator = Process::start("simulate", &mut command);
    eventually("the simulated device is there", || std::fs::metadata(&line).ok());
    (simulator, line.display().to_string())
}

#[test]
fn a_device_that_is_asked_is_polled_out_of_turn_and_one_that_sends_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (simulator, line) = simulate(dir.path(), "eastron-sdm120", &[]);
    let pty = Pty::open();
    let config = json_device("weather", pty.path())
        + &format!(
            "[[port]]\nname = \"bus\"\npath = \"{line}\"\n[[device]]\nname = \"meter\"\nport = \"bus\"\n\
             profile = \"eastron-sdm120\"\nunit_id = 1\nevery = \"1h\"\n"
        );
    let (gateway, mut http, _) = with_page("", &config);
    http.claim(&gateway);
    let poll = |name: &str| http.post(&format!("/api/v1/sensors/{name}/poll"), &json!({}));
    eventually("it is read once", || {
        (http.get("/api/v1/sensors/meter").json()[0]["readings"].as_u64()? >= 1).then_some(())
    });
    let readings = || http.get("/api/v1/sensors/meter").json()[0]["readings"].as_u64().unwrap();
    let before = readings();
    let told = poll("meter").json();
    assert_eq!((&told["device"], &told["error"]), (&json!("meter"), &Json::Null), "{told}");
    assert!(told["took_ms"].as_f64().unwrap() > 0.0, "{told}");
    let values = told["values"].as_array().unwrap();
    let voltage = values.iter().find(|value| value["point"] == "voltage").unwrap_or_else(|| panic!("{told}"));
    assert_eq!((&voltage["unit"], &voltage["quality"]), (&json!("V"), &json!("good")));
    assert_eq!(readings(), before + 1, "it is a reading as any other");
    for (name, words) in [("weather", "sends by itself"), ("nobody", "there is no device")] {
        let refused = poll(name);
        assert!(refused.status == 400 && refused.body.contains(words), "{refused:?}");
    }
    // One that is silent says so; one whose line is gone too.
    simulator.signal(rustix::process::Signal::STOP);
    let silent = poll("meter").json();
    simulator.signal(rustix::process::Signal::CONT);
    assert!(silent["error"].as_str().is_some_and(|error| error.contains("no answer")), "{silent}");
    drop(simulator);
    eventually("the line is gone", || {
        let refused = poll("meter");
        (refused.status == 400 && refused.body.contains("its port is not open")).then_some(())
    });
}

#[test]
fn a_line_that_no_config_names_is_listened_to_and_so_is_one_that_the_gateway_has() {
    let dir = tempfile::tempdir().unwrap();
    let (_simulator, line) = simulate(dir.path(), "pms5003", &["--every", "100"]);
    let pty = Pty::open();
    let (gateway, mut http, _) = with_page("", &json_device("weather", pty.path()));
    http.claim(&gateway);
    let heard = http.post("/api/v1/listen", &json!({"path": line})).json();
    let best = |heard: &Json| {
        let found = heard["found"].as_array().unwrap();
        found.iter().find(|event| event["event"] == "best").cloned().unwrap_or_else(|| panic!("{heard}"))
    };
    assert_eq!(heard["whole"], true, "{heard}");
    let profiles = best(&heard)["matches"].to_string();
    assert!(profiles.contains("pms5003"), "{profiles}");
    // The gateway's own line is lent, and comes back.
    let playing = pty.play(300, 20, |number| format!("{{\"t\": {number}}}"));
    let heard = http.post("/api/v1/listen", &json!({"path": pty.path()})).json();
    assert!(best(&heard)["matches"].to_string().contains("json"), "{heard}");
    let before = http.get("/api/v1/sensors/weather").json()[0]["readings"].as_u64().unwrap();
    eventually("it is read again", || {
        (http.get("/api/v1/sensors/weather").json()[0]["readings"].as_u64()? > before).then_some(())
    });
    playing.finish();
    for (body, field) in [
        (json!({}), "path"),
        (json!({"path": "/dev/null"}), "path"),
        (json!({"path": "/nowhere"}), "path"),
        (json!({"path": line, "kind": "magic"}), "kind"),
    ] {
        let answer = http.post("/api/v1/listen", &body);
        assert_eq!(
            (answer.status, answer.json()["error"]["field"].as_str()),
            (400, Some(field)),
            "{answer:?}"
        );
    }
    let known = http.get("/api/v1/profiles").json();
    assert!(known.as_array().unwrap().iter().any(|one| one["profile"] == "pms5003"), "{known}");
}
