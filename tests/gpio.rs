//! GPIO lines from outside: simulated lines that are moved over the control socket, and what comes of it on the LAN,
//! upstream, on disk and in the log. Where the kernel has gpio-sim, a line of it too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "tests"
)]

mod raw;
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use fieldgate::io::control;
use serde_json::{Value as Json, json};

use raw::{Client, Connect, Publish, V, text};
use support::*;

/// A `[[gpio]]` of the backend `sim`.
fn line(name: &str, mode: &str) -> String {
    format!(
        "[[gpio]]\nname = \"{name}\"\nline = \"{name}\"\nbackend = \"sim\"\nevery = \"200ms\"\nmode = {mode}\n\n"
    )
}

fn request(gateway: &Gateway, request: &Json) -> Json {
    control::request(&gateway.socket(), request).unwrap_or_else(|error| panic!("{error}\n{}", gateway.log()))
}

fn pulse(gateway: &Gateway, name: &str, count: u32, period_us: u64) {
    let arguments = json!({ "name": name, "count": count, "period_us": period_us });
    let answer = request(gateway, &json!({ "op": "gpio-pulse", "gpio": arguments }));
    assert_eq!(answer["result"], "done", "{answer}");
}

fn set(gateway: &Gateway, name: &str, value: Json) -> Json {
    request(gateway, &json!({ "op": "gpio-set", "gpio": { "name": name, "value": value } }))
}

fn status<'a>(status: &'a Json, name: &str) -> &'a Json {
    find(&status["gpio"], name)
}

/// Publishes with MQTT 5 and these properties.
fn publish5(port: u16, topic: &str, payload: &str, properties: &[(&str, &str)]) {
    let mut arguments = vec!["-q", "1", "-V", "mqttv5"];
    for (name, value) in properties {
        arguments.extend(["-D", "publish", name, value]);
    }
    publish_with(port, topic, payload, &arguments);
}

fn states(tap: &Tap, device: &str) -> Vec<Json> {
    let topic = Gateway::topic(&format!("data/{device}"));
    let messages = tap.messages().into_iter().filter(|message| message.topic == topic);
    messages.map(|message| message.json()["values"]["state"].clone()).collect()
}

#[test]
fn a_line_tells_what_its_points_are_and_publishes_as_it_is_told() {
    let counter =
        r#"{ kind = "counter", per_pulse = 0.001, unit = "m3", rate_per = "min", persist_every = "1s" }"#;
    let config = line("water", counter)
        + &line("door", "\"input\"\npublish = { on_change = true, payload = \"plain\", retain = true }")
        + &line("fan", r#"{ kind = "frequency", unit = "Hz" }"#);
    let gateway = Gateway::start(&config);
    let infos = Tap::subscribe(gateway.lan_port, &Gateway::topic("info/#"));
    let info = |name: &str| {
        let topic = Gateway::topic(&format!("info/{name}"));
        infos.wait("what is known of the line", |message| message.topic == topic).json()
    };
    assert_eq!(
        info("water"),
        json!({ "device": "water", "port": "water", "points": {
            "total": { "type": "number", "unit": "m3" }, "rate": { "type": "number", "unit": "m3/min" } } })
    );
    assert_eq!(info("door")["points"], json!({ "state": { "type": "bool" } }));
    assert_eq!(info("fan")["points"]["frequency"]["unit"], "Hz");
    // Plain, on a topic of its own, kept by the broker; and only when it changes.
    let door = Gateway::topic("data/door/state");
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    let text = |message: &Received| message.payload.clone();
    let first = tap.wait("the level is retained", |message| message.topic == door);
    assert_eq!(text(&first), "false");
    assert_eq!(set(&gateway, "door", json!(true))["result"], "done");
    tap.wait("the change", |message| message.topic == door && text(message) == "true");
    let fans = Gateway::topic("data/fan");
    let count = |topic: &str| tap.messages().iter().filter(|message| message.topic == *topic).count();
    let before = count(&fans);
    eventually("the other line has gone on", || (count(&fans) > before + 5).then_some(()));
    assert_eq!(count(&door), 2, "{:?}", tap.messages());
}

#[test]
fn pulses_become_a_total_and_a_rate_and_a_meter_is_set_to_what_it_shows() {
    let mode =
        r#"{ kind = "counter", per_pulse = 0.001, unit = "m3", rate_per = "s", persist_every = "1s" }"#;
    let mut gateway = Gateway::start(&line("water", mode));
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    pulse(&gateway, "water", 200, 10_000);
    let whole = |message: &Received| message.json()["values"]["total"] == 0.2;
    tap.wait("all pulses are in the total", whole);
    // 100 pulses a second as far as a busy machine keeps to it; between pulses nothing else is known.
    let rates = tap.messages().into_iter().filter_map(|message| message.json()["values"]["rate"].as_f64());
    let best = rates.fold(0.0, f64::max);
    assert!((0.02..0.2).contains(&best), "{best}");
    let shown = gateway.wait("status tells the same", |all| status(all, "water")["pulses"] == 200);
    assert_eq!(
        (&status(&shown, "water")["total"], &status(&shown, "water")["lost_edges"]),
        (&json!(0.2), &json!(0))
    );
    // What the kernel lost is known by its numbers: it is counted, and told.
    let arguments = json!({ "name": "water", "count": 1, "lose": 7 });
    request(&gateway, &json!({ "op": "gpio-pulse", "gpio": arguments }));
    let told = tap.wait("the total has what was lost", |message| message.json()["values"]["total"] == 0.208);
    let overrun = |message: &Received| message.json()["quality"]["total"] == "overrun";
    assert!(tap.messages().iter().any(overrun), "{}", told.payload);
    let shown = gateway.wait("status tells it", |all| status(all, "water")["lost_edges"] == 7);
    assert_eq!(shown["state"], "ok");
    assert!(gateway.log().contains("changes came too fast"), "{}", gateway.log());
    // The meter shows something else.
    publish(gateway.lan_port, &Gateway::topic("cmd/water"), "1234.5");
    tap.wait("the meter's total", |message| message.json()["values"]["total"] == 1234.5);
    assert_eq!(set(&gateway, "water", json!(1000))["result"], "done");
    let less = tap.wait("a smaller one says so", |message| message.json()["values"]["reset"] == true);
    assert_eq!(less.json()["values"]["total"], 1000);
    gateway.stop();
    gateway.start_again();
    gateway.wait("the total is kept", |all| status(all, "water")["total"] == 1000);
}

#[test]
fn a_total_survives_kill_9_and_is_never_taken_back() {
    const PERSIST: Duration = Duration::from_secs(1);
    // A busy machine takes its time to write.
    const SLACK: Duration = Duration::from_secs(2);
    let mode = r#"{ kind = "counter", persist_every = "1s" }"#;
    let mut gateway = Gateway::start(&line("pulses", mode));
    let (mut told, mut kept) = (Vec::new(), 0);
    for round in 0..3_u32 {
        let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/pulses"));
        let socket = gateway.socket();
        let train = std::thread::spawn(move || {
            let arguments = json!({ "name": "pulses", "count": 25_000, "period_us": 2_000 });
            // It is killed before the end.
            assert!(control::request(&socket, &json!({ "op": "gpio-pulse", "gpio": arguments })).is_err());
        });
        let mut seen = Vec::new();
        let started = Instant::now();
        while started.elapsed() < PERSIST + SLACK + Duration::from_millis(u64::from(700 + 400 * round)) {
            let at = Instant::now();
            let all = gateway.ask("health");
            seen.push((at, status(&all, "pulses")["pulses"].as_u64().unwrap()));
        }
        gateway.kill9();
        let killed = Instant::now();
        train.join().unwrap();
        let totals = tap.messages().into_iter().filter_map(|m| m.json()["values"]["total"].as_f64());
        told.extend(totals);
        drop(tap);
        gateway.start_again();
        let all = gateway.ask("health");
        let after = status(&all, "pulses")["pulses"].as_u64().unwrap();
        let early =
            seen.iter().filter(|(at, _)| *at + PERSIST + SLACK <= killed).map(|(_, pulses)| *pulses).max();
        let last = seen.last().unwrap().1;
        println!("killed at {last} pulses, went on from {after}; {} readings", told.len());
        assert!(after >= early.unwrap(), "{after} after {early:?}");
        assert!(after > kept && last > after, "it counts, and something was at stake: {kept} {after} {last}");
        let most_told = told.iter().copied().fold(0.0, f64::max);
        assert_eq!(status(&all, "pulses")["total"].as_f64().map(|total| total >= most_told), Some(true));
        kept = after;
    }
    assert!(told.is_sorted(), "{told:?}");
    assert!(told.len() > 10, "{told:?}");
}

#[test]
fn an_output_follows_commands_of_the_lan_once_and_never_late() {
    let config = line("pump", r#"{ kind = "output" }"#) + &line("door", "\"input\"");
    let mut gateway = Gateway::start(&config);
    let port = gateway.lan_port;
    let tap = Tap::subscribe(port, "#");
    eventually("it is off at the start", || (!states(&tap, "pump").is_empty()).then_some(()));
    let command = Gateway::topic("cmd/pump");
    let answer = |id: &str| {
        let topic = format!("panel/{id}");
        tap.wait(&format!("the answer to {id}"), |message| message.topic == topic).json()
    };
    let ask = |payload: &str, id: &str, more: &[(&str, &str)]| {
        let topic = format!("panel/{id}");
        let mut properties = vec![("response-topic", topic.as_str()), ("correlation-data", id)];
        properties.extend(more);
        publish5(port, &command, payload, &properties);
        answer(id)
    };
    assert_eq!(ask("on", "a", &[]), json!({"device": "pump", "result": "done", "value": true}));
    tap.wait("the state is a reading", |message| {
        message.topic == Gateway::topic("data/pump") && message.json()["values"]["state"] == true
    });
    assert_eq!(
        ask(r#"{"value": false}"#, "b", &[]),
        json!({"device": "pump", "result": "done", "value": false})
    );
    // Once more under the same data, with another value: the answer of the first, and nothing moves.
    publish5(port, &command, "on", &[("response-topic", "panel/b2"), ("correlation-data", "b")]);
    let again = json!({"device": "pump", "result": "done", "value": false, "duplicate": true});
    assert_eq!(answer("b2"), again);
    // A retained one, one that has expired, ones that mean nothing.
    publish_with(
        port,
        &command,
        "on",
        &["-q", "1", "-r", "-V", "mqttv5", "-D", "publish", "response-topic", "panel/r"],
    );
    let refused = answer("r");
    assert!(refused["error"].as_str().unwrap().contains("retained"), "{refused}");
    let refused = ask("on", "c", &[("message-expiry-interval", "0")]);
    assert!(refused["error"].as_str().unwrap().contains("expired"), "{refused}");
    for (payload, id) in [("toggle", "d"), ("2", "e"), (r#"{"value":true,"for":5}"#, "f")] {
        assert_eq!(ask(payload, id, &[])["result"], "refused", "{payload}");
    }
    publish5(port, &Gateway::topic("cmd/pump/speed"), "1", &[("response-topic", "panel/g")]);
    assert!(answer("g")["error"].as_str().unwrap().contains("state"), "{}", answer("g"));
    // An input takes no commands: the message is one like any other.
    publish5(port, &Gateway::topic("cmd/door"), "on", &[("response-topic", "panel/h")]);
    // 3.1.1 has no answers.
    publish(port, &Gateway::topic("cmd/pump/state"), "1");
    gateway.wait("the last one counts", |all| status(all, "pump")["actual"] == true);
    let health = gateway.ask("health");
    assert_eq!(
        health["commands"],
        json!({"done": 3, "failed": 0, "unknown": 0, "refused": 6, "stale": 2, "duplicates": 1})
    );
    let mut steps = states(&tap, "pump");
    steps.dedup();
    assert_eq!(steps, [false, true, false, true], "nothing else has moved it");
    let log = gateway.log();
    let audited =
        |words: &str| log.lines().filter(|l| l.contains("device=\"pump\"") && l.contains(words)).count();
    let counts = [" duplicate=true", "result=\"done\" duplicate=false", "result=\"refused\" duplicate=false"];
    assert_eq!(counts.map(audited), [1, 3, 6], "a line for each command: {log}");
    assert!(tap.messages().iter().all(|message| message.topic != "panel/h"));
    // A retained command is not acted on after a restart either.
    gateway.stop();
    gateway.start_again();
    let after = gateway.wait("the output is there", |all| status(all, "pump")["state"] == "open");
    assert_eq!((&status(&after, "pump")["actual"], &after["commands"]["done"]), (&json!(false), &json!(0)));
}

#[test]
fn an_answer_carries_the_correlation_data_and_reaches_no_topic_that_the_asker_may_not_read() {
    let acl = "[[broker.acl]]\nallow = [{ topic = \"#\", access = \"write\" }, { topic = \"panel/#\" }]\n";
    let gateway = Gateway::start(&(line("pump", r#"{ kind = "output" }"#) + acl));
    let mut client = Client::connect(gateway.lan_port, &Connect::new(V::V5, "panel"));
    client.subscribe("panel/#", 1);
    let command = |reply: &str, correlation: &[u8]| {
        Publish::new(Gateway::topic("cmd/pump"), "on")
            .property(&[&[0x08], &text(reply)[..]].concat())
            .property(&[&[0x09], &text(correlation)[..]].concat())
            .qos(1, 0)
    };
    client.publish(&command("other/answers", &[1]));
    client.publish(&command(&Gateway::topic("status"), &[2]));
    client.publish(&command("panel/answers", &[0, 0xFF, 7]));
    let answer = client.take();
    assert_eq!((&answer.topic[..], answer.qos, answer.retain), (&b"panel/answers"[..], 1, false));
    let expected = [&[0x09], &text([0, 0xFF, 7])[..]].concat();
    assert!(
        answer.properties.windows(expected.len()).any(|part| part == expected),
        "{:?}",
        answer.properties
    );
    assert_eq!(answer.text(), r#"{"device":"pump","result":"done","value":true}"#);
}

#[test]
fn an_output_goes_off_after_max_on_and_at_the_end_and_comes_back_as_it_was() {
    let config = line("heater", r#"{ kind = "output", max_on = "1s" }"#)
        + &line("lamp", r#"{ kind = "output", startup = "last", on_exit = "off" }"#)
        + &line("fan", r#"{ kind = "output", on_exit = "keep", interlock = ["heater"] }"#);
    let mut gateway = Gateway::start(&config);
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    eventually("it is off at the start", || (!states(&tap, "heater").is_empty()).then_some(()));
    for name in ["lamp", "fan"] {
        assert_eq!(set(&gateway, name, json!("on"))["value"], true);
    }
    let refused = set(&gateway, "heater", json!(true));
    assert_eq!(
        (&refused["result"], &refused["error"]),
        (&json!("refused"), &json!("heater: interlock: fan is on"))
    );
    assert_eq!(set(&gateway, "fan", json!(0))["value"], false);
    let started = Instant::now();
    assert_eq!(set(&gateway, "heater", json!(true))["value"], true);
    gateway.wait("it goes off by itself", |all| status(all, "heater")["actual"] == false);
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    eventually("that is told", || {
        let mut steps = states(&tap, "heater");
        steps.dedup();
        (steps == [false, true, false]).then_some(())
    });
    assert!(gateway.log().contains("max_on"), "{}", gateway.log());
    assert_eq!(set(&gateway, "fan", json!("on"))["value"], true);
    gateway.stop();
    let last = |name: &str| states(&tap, name).pop();
    assert_eq!((last("lamp"), last("fan")), (Some(json!(false)), Some(json!(true))), "told before the end");
    gateway.start_again();
    let all = gateway.wait("the lamp is there", |all| status(all, "lamp")["state"] == "open");
    assert_eq!(status(&all, "lamp")["actual"], true);
    gateway.kill9();
    gateway.start_again();
    let all = gateway.wait("the lamp is there", |all| status(all, "lamp")["state"] == "open");
    assert_eq!(status(&all, "lamp")["actual"], true);
}

#[test]
fn an_output_that_reads_otherwise_is_a_problem_that_people_see() {
    let mut gateway = Gateway::start(&line("valve", r#"{ kind = "output" }"#));
    let stick = |stuck: bool| json!({ "op": "gpio-pulse", "gpio": { "name": "valve", "stuck": stuck } });
    request(&gateway, &stick(true));
    let failed = set(&gateway, "valve", json!("on"));
    assert_eq!(
        (&failed["result"], &failed["error"]),
        (&json!("failed"), &json!("valve: it was set to on and reads off"))
    );
    let all = gateway.wait("people see it", |all| all["state"] == "degraded");
    assert_eq!(all["problems"], json!(["GPIO valve was set to on and reads off"]));
    request(&gateway, &stick(false));
    assert_eq!(set(&gateway, "valve", json!("on"))["result"], "done");
    gateway.wait("all is well", |all| all["state"] == "ok");
}

#[test]
fn an_upstream_commands_what_a_map_lets_in_but_nothing_that_it_had_kept() {
    let dir = tempfile::tempdir().unwrap();
    let central = Mosquitto::start(dir.path());
    let maps = "[[upstream.map]]\nfilter = \"fieldgate/gw/data/#\"\n\
                [[upstream.map]]\nfilter = \"fieldgate/gw/cmd/#\"\ndirection = \"in\"\n\
                [[upstream.map]]\nfilter = \"answers/#\"\n";
    let output = r#"{ kind = "output", on_disconnect = { state = "off", after = "1s" } }"#;
    let config = line("pump", output) + &upstream(central.port) + "version = \"5\"\n" + maps;
    let mut gateway = Gateway::start(&config);
    gateway.wait_online();
    let tap = Tap::subscribe(central.port, "#");
    let command = Gateway::topic("cmd/pump");
    let ask = |payload: &str, id: &str| {
        let topic = format!("answers/{id}");
        publish5(central.port, &command, payload, &[("response-topic", &topic), ("correlation-data", id)]);
    };
    ask("on", "a");
    let answer = tap.wait("the answer", |message| message.topic == "answers/a").json();
    assert_eq!(answer, json!({"device": "pump", "result": "done", "value": true}));
    assert!(gateway.log().contains("upstream up"), "who it was: {}", gateway.log());
    // What is sent while the gateway is away waits at the upstream, and comes late.
    gateway.stop();
    for (payload, id) in [("on", "b"), ("off", "c"), ("on", "d")] {
        ask(payload, id);
    }
    gateway.start_again();
    let all = gateway.wait("they came, and were dropped", |all| {
        all["upstreams"][0]["inward"]["drops"]["old_commands"] == 3
    });
    assert_eq!((&status(&all, "pump")["actual"], &all["commands"]["done"]), (&json!(false), &json!(0)));
    // A moment later commands are those of now.
    eventually("a new one counts", || {
        ask("on", "e");
        (status(&gateway.ask("status"), "pump")["actual"] == true).then_some(())
    });
    // Without an upstream it goes to its safe state.
    drop(central);
    gateway.wait("it is off", |all| status(all, "pump")["actual"] == false);
    let log = gateway.log();
    assert!(log.contains("no upstream"), "{log}");
}

#[test]
fn an_input_is_read_debounced_and_told_at_once() {
    let config = line("door", "\"input\"").replace("200ms", "1h")
        + &line("bell", "\"input\"")
            .replace("every", "debounce = \"500ms\"\nevery")
            .replace("every = \"200ms\"", "every = \"1h\"");
    let gateway = Gateway::start(&config);
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    for level in ["on", "off", "on"] {
        assert_eq!(set(&gateway, "door", json!(level))["result"], "done");
    }
    eventually("each change is a reading", || (states(&tap, "door") == [true, false, true]).then_some(()));
    // Twenty bounces within the debounce time are one change.
    pulse(&gateway, "bell", 20, 0);
    set(&gateway, "bell", json!(true));
    eventually("one change", || (!states(&tap, "bell").is_empty()).then_some(()));
    pulse(&gateway, "bell", 20, 0);
    set(&gateway, "door", json!("off"));
    tap.wait("the door", |message| {
        message.topic.ends_with("door") && message.json()["values"]["state"] == false
    });
    let steps = states(&tap, "bell");
    assert_eq!(steps.first(), Some(&json!(true)));
    assert!(steps.len() <= 2, "{steps:?}");
}

#[test]
fn a_line_that_is_not_there_is_told_in_words_and_harms_nobody() {
    let config = "[[gpio]]\nname = \"ghost\"\nline = \"NOSUCHLINE\"\nmode = \"output\"\n\n".to_owned()
        + &line("door", "\"input\"");
    let mut gateway = Gateway::start(&config);
    let all = gateway.wait("it is told", |all| status(all, "ghost")["state"] == "down");
    let problem = all["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("GPIO ghost is down: "), "{problem}");
    assert_eq!(status(&all, "door")["state"], "open");
    let refused = set(&gateway, "ghost", json!(true));
    assert_eq!(refused["result"], "refused", "{refused}");
    let output = fieldgate().args(["status", "--socket"]).arg(gateway.socket()).output().unwrap();
    let screen = String::from_utf8(output.stdout).unwrap();
    assert!(screen.contains("gpio door") && screen.contains("GPIO ghost is down"), "{screen}");
}

#[test]
fn the_command_line_lists_and_moves_lines() {
    let output = fieldgate().args(["gpio", "list"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(listed.contains("gpiochip0"), "a chip, or that there is none: {listed}");
    let gateway = Gateway::start(&(line("pump", "\"output\"") + &line("pulses", "\"counter\"")));
    let run = |arguments: &[&str]| {
        let output = fieldgate().args(arguments).arg("--socket").arg(gateway.socket()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap().trim_end().to_owned())
    };
    assert_eq!(run(&["gpio", "set", "pump", "on"]), (Some(0), "pump: true".into()));
    assert_eq!(run(&["gpio", "set", "pulses", "12.5"]), (Some(0), "pulses: 12.5".into()));
    assert_eq!(
        run(&["gpio", "pulse", "pulses", "--count", "3", "--period", "1ms"]),
        (Some(0), "pulses: 3 pulses".into())
    );
    let (code, text) = run(&["gpio", "set", "pump", "maybe"]);
    assert_eq!((code, text.as_str()), (Some(1), "fieldgate: pump: expected on, off, true, false, 1 or 0"));
    assert_eq!(run(&["gpio", "set", "nobody", "on"]).0, Some(1));
    assert_eq!(run(&["gpio", "pulse", "pulses", "--period", "1"]).0, Some(2));
    eventually("all of it counts", || {
        (status(&gateway.ask("status"), "pulses")["total"] == 15.5).then_some(())
    });
}

/// The kernel's own simulated chip, which configfs makes; most kernels lack the module.
#[test]
fn a_line_of_the_kernels_gpio_sim_is_counted_and_set_by_gpiocdev() {
    let Some(chip) = KernelChip::make() else { return };
    let config = format!(
        "[[gpio]]\nname = \"pulses\"\nline = {{ chip = \"{0}\", offset = 0 }}\nbackend = \"gpiocdev\"\nevery = \"200ms\"\n\
         mode = {{ kind = \"counter\", persist_every = \"1s\" }}\n\n\
         [[gpio]]\nname = \"pump\"\nline = {{ chip = \"{0}\", offset = 1 }}\nmode = \"output\"\n",
        chip.name
    );
    let mut gateway = Gateway::start(&config);
    gateway.wait("both are open", |all| {
        ["pulses", "pump"].iter().all(|name| status(all, name)["backend"] == "gpiocdev")
    });
    for _ in 0..50 {
        chip.pull(0, "pull-up");
        chip.pull(0, "pull-down");
    }
    gateway.wait("all are counted", |all| status(all, "pulses")["total"] == 50);
    assert_eq!(set(&gateway, "pump", json!("on"))["value"], true);
    assert_eq!(chip.value(1), "1");
    gateway.stop();
    assert_eq!(chip.value(1), "0");
}

/// A chip of two lines of the module gpio-sim, gone when dropped.
struct KernelChip {
    dir: std::path::PathBuf,
    name: String,
    device: String,
}

impl KernelChip {
    /// `None` where the kernel has no gpio-sim: said, not passed over in silence.
    fn make() -> Option<Self> {
        let _ = Command::new("modprobe").arg("gpio-sim").output();
        let root = std::path::Path::new("/sys/kernel/config/gpio-sim");
        if !root.is_dir() {
            println!("skipped: this kernel has no gpio-sim (no {})", root.display());
            return None;
        }
        let dir = root.join(format!("fieldgate-{}", std::process::id()));
        let bank = dir.join("bank0");
        let write = |path: std::path::PathBuf, text: &str| {
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        let made = std::fs::create_dir(&dir)
            .and_then(|()| std::fs::create_dir(&bank))
            .map_err(|error| error.to_string())
            .and_then(|()| write(bank.join("num_lines"), "2"))
            .and_then(|()| write(dir.join("live"), "1"));
        if let Err(error) = made {
            println!("skipped: gpio-sim can't be used: {error}");
            return None;
        }
        let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap().trim().to_owned();
        Some(Self { name: read(bank.join("chip_name")), device: read(dir.join("dev_name")), dir })
    }

    fn attribute(&self, line: u32, what: &str) -> std::path::PathBuf {
        format!("/sys/devices/platform/{}/{}/sim_gpio{line}/{what}", self.device, self.name).into()
    }

    fn pull(&self, line: u32, pull: &str) {
        std::fs::write(self.attribute(line, "pull"), pull).unwrap();
    }

    fn value(&self, line: u32) -> String {
        std::fs::read_to_string(self.attribute(line, "value")).unwrap().trim().to_owned()
    }
}

impl Drop for KernelChip {
    fn drop(&mut self) {
        let _ = std::fs::write(self.dir.join("live"), "0");
        let _ = std::fs::remove_dir(self.dir.join("bank0"));
        let _ = std::fs::remove_dir(&self.dir);
    }
}
