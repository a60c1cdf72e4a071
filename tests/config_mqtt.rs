//! The config over MQTT: off unless it is switched on, by users and upstreams that have the right, with the same way back as
//! everywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::process::Command;

use serde_json::{Value as Json, json};
use support::{Gateway, Mosquitto, Process, Tap, eventually, free_port, publish, publish_with, upstream};

const RESULT: &str = "fieldgate/gw/config/result";
const OPS: [&str; 4] = ["-u", "ops", "-P", "CANARY-OPS"];
const EVE: [&str; 4] = ["-u", "eve", "-P", "CANARY-EVE"];

/// A gateway with a user who may change the config, and one who may only look on.
fn gateway(more: &str) -> Gateway {
    let mut gateway = Gateway::new("");
    let secret = |name: &str, text: &str| {
        let file = gateway.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let (ops, eve) = (secret("ops", "CANARY-OPS"), secret("eve", "CANARY-EVE"));
    gateway.configure(&format!(
        "[[broker.user]]\nname = \"ops\"\npassword = {{ file = {ops:?} }}\n\
         [[broker.user]]\nname = \"eve\"\npassword = {{ file = {eve:?} }}\n\
         [[broker.acl]]\nuser = \"ops\"\nallow = [{{ topic = \"#\" }}]\n\
         [[broker.acl]]\nuser = \"eve\"\nallow = [{{ topic = \"#\", access = \"read\" }}, {{ topic = \"eve/#\" }}]\n{more}"
    ));
    gateway.start_again();
    gateway
}

fn ask(gateway: &Gateway, who: &[&str], operation: &str, arguments: &Json) {
    let payload = if arguments.is_null() { String::new() } else { arguments.to_string() };
    let mut all = vec!["-q", "1"];
    all.extend(who);
    publish_with(gateway.lan_port, &Gateway::topic(&format!("config/{operation}")), &payload, &all);
}

/// The answers so far.
fn answers(tap: &Tap) -> Vec<Json> {
    tap.messages().iter().map(support::Received::json).collect()
}

/// Asks, and waits for the answer that comes next.
fn answer(gateway: &Gateway, tap: &Tap, operation: &str, arguments: &Json) -> Json {
    let before = answers(tap).len();
    ask(gateway, &OPS, operation, arguments);
    let answer = eventually(&format!("{operation} is answered"), || answers(tap).get(before).cloned());
    assert_eq!(answer["operation"], operation, "{answer}");
    answer
}

#[test]
fn a_user_with_the_right_looks_changes_confirms_and_takes_back() {
    let gateway = gateway("[config]\nmqtt = true\nconfirm_within = \"4s\"\n");
    let tap = Tap::subscribe_with(gateway.lan_port, RESULT, &EVE);
    let got = answer(&gateway, &tap, "get", &Json::Null);
    assert_eq!(
        (&got["settings"]["health"]["every"], &got["is_running"]),
        (&json!("30s"), &json!(true)),
        "{got}"
    );
    let site = |name: &str| json!({"edits": [{"path": "gateway.site", "value": name}], "note": "by MQTT"});
    let look = answer(&gateway, &tap, "look", &site("Barn"));
    assert_eq!(
        (&look["outcome"], &look["changes"][0]["path"]),
        (&json!("right"), &json!("gateway.site")),
        "{look}"
    );
    assert_eq!(gateway.ask("status")["site"], Json::Null);
    let probe = answer(&gateway, &tap, "probe", &site("Barn"));
    assert_eq!(probe["outcome"], "right", "{probe}");
    // Who has no right there isn't even heard; what comes after is.
    ask(&gateway, &EVE, "apply", &site("Eve's"));
    let applied = answer(&gateway, &tap, "apply", &site("Barn"));
    assert_eq!(
        (&applied["outcome"], &applied["confirm_within_s"]),
        (&json!("applied"), &Json::Null),
        "{applied}"
    );
    assert_eq!(gateway.ask("status")["site"], "Barn");
    let history = answer(&gateway, &tap, "history", &Json::Null);
    let newest = history["versions"].as_array().unwrap().last().unwrap();
    let who = newest["who"].as_str().unwrap();
    assert!(who.starts_with("client ") && who.ends_with(" (ops) (MQTT)"), "{newest}");
    // What could lock people out goes back by itself …
    let listener = |port: u16| json!({"edits": [{"path": "broker.listener.new", "value": {"name": "new", "bind": format!("127.0.0.1:{port}")}}]});
    let open = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    let port = free_port();
    let applied = answer(&gateway, &tap, "apply", &listener(port));
    assert_eq!(
        (&applied["outcome"], &applied["confirm_within_s"]),
        (&json!("applied"), &json!(4)),
        "{applied}"
    );
    assert!(open(port));
    eventually("it has gone back", || {
        gateway.log().contains("was not confirmed and has gone back").then_some(())
    });
    assert!(!open(port));
    // … and stays when it is confirmed.
    assert_eq!(answer(&gateway, &tap, "apply", &listener(port))["outcome"], "applied");
    assert!(answer(&gateway, &tap, "pending", &Json::Null)["pending"]["seconds_left"].is_u64());
    assert_eq!(answer(&gateway, &tap, "confirm", &Json::Null)["outcome"], "confirmed");
    assert!(open(port));
    let back = answer(&gateway, &tap, "revert", &json!({"version": 1}));
    assert_eq!(back["outcome"], "applied", "{back}");
    assert_eq!(gateway.ask("status")["site"], Json::Null);
    let refused = answer(&gateway, &tap, "apply", &json!({"edits": [], "who": "x"}));
    assert!(refused["error"].as_str().unwrap().contains("takes no who"), "{refused}");
    let said = format!("{:?}{}", tap.messages(), gateway.log());
    assert!(!said.contains("CANARY"), "{said}");
}

#[test]
fn an_answer_goes_to_the_response_topic_with_its_correlation() {
    let gateway = gateway("[config]\nmqtt = true\n");
    let elsewhere = Tap::subscribe_with(gateway.lan_port, RESULT, &EVE);
    let mut command = support::client("mosquitto_rr");
    let port = gateway.lan_port.to_string();
    command.args(["-V", "5", "-h", "127.0.0.1", "-p", &port, "-t", "fieldgate/gw/config/pending"]);
    command.args(["-e", "answers/ops", "-n", "-W", "20"]).args(OPS);
    let said = Process::run_well("mosquitto_rr", &mut command);
    assert!(said.contains(r#""operation":"pending""#), "{said}");
    answer(&gateway, &elsewhere, "pending", &Json::Null);
    assert_eq!(elsewhere.messages().len(), 1, "the first answer went to nobody else");
}

#[test]
fn unless_it_is_switched_on_nothing_is_answered_and_nobody_else_answers() {
    let gateway = gateway("");
    let tap = Tap::subscribe_with(gateway.lan_port, "fieldgate/gw/config/#", &EVE);
    ask(&gateway, &OPS, "apply", &json!({"edits": [{"path": "gateway.site", "value": "Barn"}]}));
    // Only the gateway answers there, whoever has which right.
    ask(&gateway, &OPS, "result", &json!({"forged": true}));
    ask(&gateway, &OPS, "end", &Json::Null);
    tap.wait("the last arrives", |message| message.topic.ends_with("/end"));
    let topics: Vec<String> = tap.messages().into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["fieldgate/gw/config/apply", "fieldgate/gw/config/end"]);
    assert_eq!(gateway.ask("status")["site"], Json::Null);
    // Without users and rules it can't be: everybody could change the config then.
    let open = Gateway::new("[config]\nmqtt = true\n");
    let mut check: Command = support::fieldgate();
    let (status, text) =
        Process::run("fieldgate check", check.arg("check").arg("--config").arg(open.config()));
    assert!(!status.success() && text.contains("everybody could change the config"), "{text}");
}

#[test]
fn an_upstream_with_the_right_changes_the_config_and_reads_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let maps = "[[upstream.map]]\nfilter = \"fieldgate/gw/config/#\"\ndirection = \"both\"\n";
    let config = |right: &str| format!("{}{maps}[config]\nmqtt = true\n{right}", upstream(mosquitto.port));
    let mut gateway = gateway(&config(""));
    let subscribed = |gateway: &mut Gateway| {
        gateway.wait("requests come in", |status| {
            let upstream = &status["upstreams"][0];
            upstream["state"] == "online"
                && upstream["inward"]["not_subscribed"].as_array().is_some_and(Vec::is_empty)
        });
    };
    subscribed(&mut gateway);
    let tap = Tap::subscribe(mosquitto.port, RESULT);
    let apply = json!({"edits": [{"path": "gateway.site", "value": "From above"}]}).to_string();
    publish(mosquitto.port, "fieldgate/gw/config/apply", &apply);
    let refused = eventually("it is refused", || answers(&tap).first().cloned());
    assert_eq!(refused["outcome"], "refused", "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("config.mqtt_upstreams doesn't name"), "{refused}");
    assert_eq!(gateway.ask("status")["site"], Json::Null);
    let name = gateway.ask("status")["upstreams"][0]["name"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    let right = format!("mqtt = true\nmqtt_upstreams = [{name:?}]\n");
    std::fs::write(gateway.config(), text.replace("mqtt = true\n", &right)).unwrap();
    assert_eq!(gateway.ask("reload")["outcome"], "applied");
    publish(mosquitto.port, "fieldgate/gw/config/apply", &apply);
    let applied = eventually("it is answered", || answers(&tap).get(1).cloned());
    assert_eq!(applied["outcome"], "applied", "{applied}");
    assert_eq!(gateway.ask("status")["site"], "From above");
}
