//! What of the readings is published, and in which form: from a serial line to clients and an upstream, read there by
//! decoders that others wrote.

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
use support::{Gateway, Mosquitto, Process, Pty, Python, Tap, client, eventually, upstream};

/// A message with what MQTT 5 says of it.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    topic: String,
    retain: bool,
    /// 1 for UTF-8.
    indicator: String,
    content_type: String,
    payload: Vec<u8>,
}

impl Told {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }

    fn json(&self) -> Json {
        serde_json::from_slice(&self.payload).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// As a Python reader of the form sees it.
    fn read(&self, form: &str) -> Json {
        decode(&[form, &hex(&self.payload)])
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(arguments: &[&str]) -> Json {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/py/formats/decode.py");
    let mut command = Command::new(Python::Formats.interpreter());
    let text = Process::run_well("decode.py", command.arg(script).args(arguments));
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// An MQTT 5 subscriber.
struct Ear(Process);

impl Ear {
    fn new(port: u16, topic: &str) -> Self {
        let mut command = client("mosquitto_sub");
        command.args(["-V", "5", "-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", topic]);
        command.args(["-d", "-F", "TOLD|%t|%r|%F|%C|%x"]);
        let mut process = Process::start("mosquitto_sub", &mut command);
        process.wait_line("Subscribed (mid");
        Self(process)
    }

    fn all(&self) -> Vec<Told> {
        self.0.parsed(|line| {
            let mut fields = line.text.strip_prefix("TOLD|")?.split('|');
            let mut next = || fields.next().unwrap().to_owned();
            let (topic, retain, indicator, content_type, digits) = (next(), next(), next(), next(), next());
            let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let payload = (0..digits.len()).step_by(2).map(byte).collect();
            Some(Told { topic, retain: retain == "1", indicator, content_type, payload })
        })
    }

    fn wait(&self, what: &str, mut wanted: impl FnMut(&Told) -> bool) -> Told {
        eventually(what, || self.all().into_iter().find(|told| wanted(told)))
    }

    /// The next message on this topic of the gateway.
    fn on(&self, rest: &str) -> Told {
        let topic = Gateway::topic(rest);
        self.wait(&topic.clone(), |told| told.topic == topic)
    }
}

/// A port with one device of that name; `rest` says more of the device.
fn device(name: &str, sensor: &Pty, rest: &str) -> String {
    format!(
        "[[port]]\nname = \"{name}-port\"\npath = \"{}\"\nbaud = 115200\n\
         [[device]]\nname = \"{name}\"\nport = \"{name}-port\"\ndecode = \"json\"\n{rest}\n",
        sensor.path().display()
    )
}

const POINTS: &str = "points = [{ name = \"t\", unit = \"Cel\" }, { name = \"n\", type = \"integer\" }, \
     { name = \"door\", type = \"bool\" }, { name = \"word\", type = \"text\" }]";
const LINE: &str = r#"{"t":21.5,"n":9007199254740993,"door":"open","word":"a \"b\""}"#;

#[test]
fn each_form_is_read_by_a_decoder_that_others_wrote() {
    let forms = ["json", "plain", "senml-json", "senml-cbor", "influx", "template"];
    let sensors: Vec<Pty> = forms.iter().map(|_| Pty::open()).collect();
    let mut config = String::new();
    for (form, sensor) in forms.iter().zip(&sensors) {
        let payload = match *form {
            "template" => {
                "{ template = '{device}.{point} {value_json} {unit}', content_type = \"text/x\" }".to_owned()
            }
            form => format!("\"{form}\""),
        };
        config += &device(form, sensor, &format!("publish = {{ payload = {payload} }}\n{POINTS}"));
    }
    let mut gateway = Gateway::start(&config);
    let ear = Ear::new(gateway.lan_port, &Gateway::topic("data/#"));
    for (form, sensor) in forms.iter().zip(&sensors) {
        gateway.wait("the port is open", |status| {
            support::find(&status["ports"], &format!("{form}-port"))["state"] == "open"
        });
        sensor.line(LINE);
    }

    let json = ear.on("data/json");
    assert_eq!((&*json.indicator, &*json.content_type), ("1", "application/json"));
    let values = json!({ "t": 21.5, "n": 9_007_199_254_740_993_u64, "door": false, "word": "a \"b\"" });
    assert_eq!(json.json()["values"], values);

    for (point, value) in [("t", "21.5"), ("n", "9007199254740993"), ("door", "false"), ("word", "a \"b\"")] {
        let plain = ear.on(&format!("data/plain/{point}"));
        assert_eq!((plain.text(), &*plain.content_type, plain.retain), (value, "text/plain", false));
    }

    let run = json.json()["seq"].as_str().unwrap().split_once('-').unwrap().0.to_owned();
    for (form, indicator) in [("senml-json", "1"), ("senml-cbor", "")] {
        let told = ear.on(&format!("data/{form}"));
        assert_eq!(
            (&*told.indicator, &*told.content_type),
            (indicator, &*format!("application/{}", form.replace('-', "+")))
        );
        let records = told.read(form);
        let value = |name: &str| {
            let name = format!("gw/{form}/{name}");
            let found = records.as_array().unwrap().iter().find(|record| record["n"] == *name);
            found.unwrap_or_else(|| panic!("no {name}: {records}")).clone()
        };
        assert_eq!((value("t")["v"].as_f64(), value("t")["u"].as_str()), (Some(21.5), Some("Cel")));
        assert_eq!(value("n")["v"], 9_007_199_254_740_993_u64);
        assert_eq!((&value("door")["v"], &value("word")["v"]), (&json!(false), &json!("a \"b\"")));
        assert_eq!(value("seq")["v"], format!("{run}-1"));
        let age = seconds_now() - value("t")["t"].as_f64().unwrap();
        assert!((-1.0..120.0).contains(&age), "{form}: taken {age} s ago");
    }

    let influx = ear.on("data/influx").read("influx");
    assert_eq!((&influx["measurement"], &influx["tags"]["gateway"]), (&json!("influx"), &json!("gw")));
    let fields = &influx["fields"];
    assert_eq!((&fields["t"], &fields["n"]), (&json!(21.5), &json!(9_007_199_254_740_993_u64)));
    assert_eq!((&fields["door"], &fields["word"]), (&json!(false), &json!("a \"b\"")));
    assert_eq!(fields["seq"], format!("{run}-1"));
    let age = seconds_now() - influx["time"].as_f64().unwrap() / 1e9;
    assert!((-1.0..120.0).contains(&age), "taken {age} s ago");

    let template = ear.on("data/template");
    assert_eq!(template.content_type, "text/x");
    let lines = "template.t 21.5 Cel\ntemplate.n 9007199254740993 \ntemplate.door false \ntemplate.word \"a \\\"b\\\"\" ";
    assert_eq!(template.text(), lines);
}

fn seconds_now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn an_upstream_gets_its_own_form_also_of_what_waited_through_an_outage_and_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    let sensor = Pty::open();
    let map =
        "version = \"5\"\n[[upstream.map]]\nfilter = \"fieldgate/gw/data/#\"\npayload = \"senml-cbor\"\n";
    let config = device("d", &sensor, POINTS) + &upstream(mosquitto.port) + map;
    let mut gateway = Gateway::start(&config);
    let lan = Ear::new(gateway.lan_port, &Gateway::topic("data/#"));
    let up = Ear::new(mosquitto.port, &Gateway::topic("data/#"));
    gateway.wait_online();
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    sensor.line(LINE);
    assert_eq!(lan.on("data/d").json()["values"]["t"], 21.5);
    let told = up.on("data/d");
    assert_eq!(told.content_type, "application/senml+cbor");
    assert_eq!(told.read("senml-cbor")[0]["v"], 21.5);
    drop(up);

    mosquitto.stop();
    gateway.wait("the outage is noticed", |status| status["upstreams"][0]["state"] != "online");
    sensor.line(r#"{"t":22.5,"n":2,"door":"closed","word":"x"}"#);
    gateway.wait("it is on disk", |status| {
        let backlog = &status["upstreams"][0]["backlog"];
        backlog["messages"] == 1 && backlog["in_memory_only"] == 0
    });
    gateway.kill9();
    sensor.release();
    mosquitto.start_again();
    let up = Ear::new(mosquitto.port, &Gateway::topic("data/#"));
    gateway.start_again();
    let told = up.on("data/d");
    assert_eq!(
        (&*told.content_type, &told.read("senml-cbor")[0]["v"]),
        ("application/senml+cbor", &json!(22.5))
    );
}

/// The values of a point as they were published, with the number behind the start.
fn published(tap: &Tap, point: &str) -> Vec<(u64, Json)> {
    let told = |message: &support::Received| {
        let seq = message.json()["seq"].as_str().unwrap().split_once('-').unwrap().1.parse().unwrap();
        (seq, message.json()["values"][point].clone())
    };
    tap.messages().iter().map(told).collect()
}

#[test]
fn upstream_gets_only_what_changed_and_the_numbers_have_no_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let sensor = Pty::open();
    let rest =
        "publish = { on_change = true }\npoints = [{ name = \"t\", deadband = 0.5 }, { name = \"n\" }]";
    let mut gateway = Gateway::start(&(device("d", &sensor, rest) + &upstream(mosquitto.port)));
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    for (t, n) in [(20.0, 1), (20.4, 1), (20.5, 1), (20.2, 1), (20.2, 2), (20.6, 2), (20.7, 2), (99.0, 2)] {
        sensor.line(&format!(r#"{{"t":{t},"n":{n}}}"#));
    }
    gateway.wait_readings("d", 8);
    tap.wait("the last reading", |message| message.json()["values"]["t"] == 99.0);
    let told: Vec<(u64, f64)> =
        published(&tap, "t").into_iter().map(|(number, value)| (number, value.as_f64().unwrap())).collect();
    assert_eq!(told, [(1, 20.0), (2, 20.5), (3, 20.2), (4, 20.7), (5, 99.0)]);
    let shown = &gateway.ask("readings")[0];
    assert_eq!((&shown["readings"], &shown["seq"]), (&json!(8), &json!("1-5")), "taken, and published last");
}

#[test]
fn a_window_gives_one_reading_of_what_was_measured_in_it() {
    let sensor = Pty::open();
    let rest = "publish = { mode = \"all\", window = \"1s\" }\npoints = \"*\"";
    let mut gateway = Gateway::start(&device("d", &sensor, rest));
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    // In one write: they fall into one window, however slow the machine is.
    sensor.write(b"{\"t\":20}\n{\"t\":26}\n{\"t\":23}\n");
    let told = tap.wait("the window is over", |_| true).json();
    assert_eq!(told["values"], json!({ "t": 23, "t_mean": 23, "t_min": 20, "t_max": 26 }));
    sensor.write(b"{\"t\":7}\n");
    let told = tap.wait("the next one", |message| message.json()["values"]["t"] == 7).json();
    assert!(told["seq"].as_str().unwrap().ends_with("-2"), "{told}");
    // What a window holds when the gateway stops is published too.
    sensor.write(b"{\"t\":8}\n");
    gateway.wait_readings("d", 5);
    gateway.stop();
    tap.wait("the last window", |message| message.json()["values"]["t"] == 8);
}

#[test]
fn a_device_that_goes_silent_says_so_once_and_comes_back_with_the_next_number() {
    let sensor = Pty::open();
    let rest = "stale_after = \"1s\"\npoints = [{ name = \"t\" }, { name = \"h\", optional = true }]";
    let mut gateway = Gateway::start(&device("d", &sensor, rest));
    let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    sensor.line(r#"{"t":20}"#);
    let is_stale = |message: &support::Received| message.json()["quality"]["t"] == "stale";
    let told = tap.wait("it is told", is_stale).json();
    let values = json!({ "t": null, "h": null });
    assert_eq!((&told["values"], &told["quality"]), (&values, &json!({ "t": "stale", "h": "stale" })));
    sensor.line(r#"{"t":21}"#);
    tap.wait("it is back", |message| message.json()["values"]["t"] == 21);
    let numbers: Vec<u64> = published(&tap, "t").into_iter().map(|(number, _)| number).collect();
    let expected: Vec<u64> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected);
    let stale = tap.messages().into_iter().filter(is_stale).count();
    assert!((1..=2).contains(&stale), "at the first silence, and perhaps before the first line: {stale}");
}

#[test]
fn home_assistant_finds_each_point_reads_it_and_forgets_those_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let sensor = Pty::open();
    let config = |points: &str| {
        let rest = format!("points = [{points}]");
        let maps = "[[upstream.map]]\nfilter = \"homeassistant/#\"\n[[upstream.map]]\nfilter = \"fieldgate/gw/data/#\"\n";
        let home_assistant = "[home_assistant]\nenabled = true\n";
        home_assistant.to_owned() + &device("d", &sensor, &rest) + &upstream(mosquitto.port) + maps
    };
    let both = "{ name = \"temp in\", from = \"t\", unit = \"Cel\" }, { name = \"door\", type = \"bool\" }";
    let mut gateway = Gateway::start(&config(both));
    gateway.wait_online();
    let topic = "homeassistant/sensor/gw_d/temp_20_in/config";
    let retained = |port: u16| {
        let ear = Ear::new(port, "homeassistant/#");
        move |topic: &str| ear.wait(topic, |told| told.topic == topic)
    };
    let announced = retained(gateway.lan_port)(topic);
    assert!(announced.retain);
    let announcement = announced.json();
    assert_eq!(announcement["unit_of_measurement"], "°C");
    assert_eq!(announcement["state_topic"], Gateway::topic("data/d"));
    retained(mosquitto.port)(topic);
    let door = retained(mosquitto.port)("homeassistant/binary_sensor/gw_d/door/config").json();

    // What Home Assistant does with it: subscribe to both topics, and render both templates.
    let ear = Ear::new(mosquitto.port, &Gateway::topic("#"));
    let status = ear.on("status");
    let available = announcement["availability_template"].as_str().unwrap();
    assert_eq!(decode(&["jinja", &hex(&status.payload), available]), "online");
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    sensor.line(r#"{"t":21.5,"door":"closed"}"#);
    let reading = hex(&ear.on("data/d").payload);
    let render = |announcement: &Json, payload: &str| {
        decode(&["jinja", payload, announcement["value_template"].as_str().unwrap()])
    };
    assert_eq!(render(&announcement, &reading), "21.5");
    assert_eq!(render(&door, &reading), door["payload_on"]);
    let another = hex(br#"{"values":{"x":1}}"#);
    assert_eq!(render(&announcement, &another), "", "which Home Assistant ignores");
    let nothing = hex(br#"{"values":{"temp in":null}}"#);
    assert_eq!(render(&announcement, &nothing), "None", "which is unknown to Home Assistant");
    let info = ear.on("info/d");
    assert!(info.retain, "{info:?}");
    assert_eq!(info.json()["points"]["temp in"], json!({ "type": "number", "unit": "Cel" }));
    drop(ear);

    gateway.stop();
    gateway.configure(&config("{ name = \"door\", type = \"bool\" }"));
    let witness = Ear::new(mosquitto.port, "homeassistant/#");
    witness.wait("it is still there", |told| told.topic == topic && !told.payload.is_empty());
    sensor.release();
    gateway.start_again();
    witness.wait("it is cleared", |told| told.topic == topic && told.payload.is_empty());
    let left = Ear::new(gateway.lan_port, "homeassistant/#");
    left.wait("the other one stays", |told| told.topic == "homeassistant/binary_sensor/gw_d/door/config");
    assert!(left.all().iter().all(|told| told.topic != topic), "{:?}", left.all());
}

#[test]
fn a_plain_value_stays_with_the_broker_and_is_cleared_when_nobody_knows_it() {
    let sensor = Pty::open();
    let rest =
        "stale_after = \"1s\"\npublish = { payload = \"plain\", retain = true }\npoints = [{ name = \"t\" }]";
    let mut gateway = Gateway::start(&device("d", &sensor, rest));
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    let ear = Ear::new(gateway.lan_port, &Gateway::topic("data/#"));
    sensor.line(r#"{"t":20}"#);
    let value = ear.wait("the value", |told| !told.payload.is_empty());
    assert_eq!((value.text(), &*value.topic), ("20", &*Gateway::topic("data/d/t")));
    eventually("the value is followed by nothing", || {
        let all = ear.all();
        let at = all.iter().position(|told| !told.payload.is_empty())?;
        all[at..].iter().any(|told| told.payload.is_empty()).then_some(())
    });
}

#[test]
fn the_facts_of_a_known_device_are_told_on_the_lan_and_upstream_before_it_says_anything() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let sensor = Pty::open();
    let config = format!(
        "[[port]]\nname = \"usb\"\npath = \"{}\"\n[[device]]\nname = \"dust\"\nport = \"usb\"\nprofile = \"pms5003\"\n",
        sensor.path().display()
    );
    let gateway = Gateway::start(&(config + &upstream(mosquitto.port)));
    for port in [gateway.lan_port, mosquitto.port] {
        let info = Ear::new(port, &Gateway::topic("info/#")).on("info/dust").json();
        assert_eq!((&info["profile"], &info["maker"]), (&json!("pms5003"), &json!("Plantower")));
        assert_eq!(info["points"]["pm25"], json!({ "type": "number", "unit": "ug/m3" }));
    }
}
