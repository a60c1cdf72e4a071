//! What the project hands out works on real parts: the lines under `fixtures/` through real terminals, and each
//! file under `config/examples` as a running gateway. Only device files, addresses and paths are put in.

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
use support::{
    Certificates, Gateway, Mosquitto, Process, Pty, Tap, client, eventually, find, free_port, json_device,
    publish, publish_with, upstream,
};

#[test]
fn every_captured_line_of_three_sensors_reaches_lan_and_upstream_in_order() {
    const SCALE: &str = "decode = { kind = \"regex\", pattern = '^(?<status>ST|US|OL),(?<mode>GS|NT),(?<weight>[+-]\\s*[0-9.]+)kg$' }";
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let sensors = [
        ("weather", "weather-station.jsonl", "decode = \"json\""),
        ("bench", "arduino.txt", "decode = \"key-value\""),
        ("scale", "scale.txt", SCALE),
    ];
    let ptys = sensors.map(|_| Pty::open());
    let mut config = upstream(mosquitto.port);
    for (pty, (device, _, decode)) in ptys.iter().zip(sensors) {
        config += &json_device(device, pty.path()).replace("decode = \"json\"", decode);
    }
    let mut gateway = Gateway::start(&config);
    gateway.wait_online();
    let up = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let lan = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    let lines = sensors.map(|(_, file, _)| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lines").join(file);
        std::fs::read(path).unwrap()
    });
    let counts = lines.clone().map(|bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
    let total: usize = counts.iter().sum();
    // As a line brings them: in pieces that end anywhere, all lines at the same time.
    std::thread::scope(|scope| {
        for (pty, bytes) in ptys.iter().zip(&lines) {
            scope.spawn(move || bytes.chunks(7).for_each(|piece| pty.write(piece)));
        }
    });
    let [at_up, at_lan] = [&up, &lan].map(|tap| {
        eventually("all readings arrive", || {
            let messages = tap.messages();
            (messages.len() >= total).then_some(messages)
        })
    });
    assert_eq!((at_up.len(), at_lan.len()), (total, total), "each arrives once");
    for ((device, ..), count) in sensors.iter().zip(counts) {
        let of = |messages: &[support::Received]| -> Vec<Json> {
            let topic = Gateway::topic(&format!("data/{device}"));
            messages.iter().filter(|message| message.topic == topic).map(support::Received::json).collect()
        };
        let (up, lan) = (of(&at_up), of(&at_lan));
        let seqs: Vec<&str> = up.iter().map(|reading| reading["seq"].as_str().unwrap()).collect();
        let expected: Vec<String> = (1..=count).map(|number| format!("1-{number}")).collect();
        assert_eq!(seqs, expected, "{device}: without gaps, in order");
        assert_eq!(up, lan, "{device}: upstream and LAN see the same");
        assert!(up.iter().all(|reading| reading.get("quality").is_none()), "{device}: all values are good");
    }
    let status = gateway.wait_drained();
    for (device, ..) in sensors {
        assert_eq!(find(&status["devices"], device)["bad_lines"], 0, "{device}");
        assert_eq!(find(&status["ports"], &format!("{device}-port"))["bad_lines"], 0, "{device}");
    }
}

/// A gateway on an example whose words in `put` were replaced; each must stand there. What a test needs besides
/// comes from `conf.d`.
fn example(file: &str, put: &[(&str, String)], more: &str) -> Gateway {
    let gateway = Gateway::new("");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(file);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in put {
        assert!(text.contains(from), "{file} has no {from:?}");
        text = text.replace(from, to);
    }
    std::fs::write(gateway.config(), text).unwrap();
    let part = format!(
        "[web]\nenabled = false\n[gateway]\ndata_dir = \"{}\"\ncontrol_socket = \"{}\"\n{more}",
        gateway.data_dir().display(),
        gateway.socket().display()
    );
    std::fs::create_dir(gateway.dir.path().join("conf.d")).unwrap();
    std::fs::write(gateway.dir.path().join("conf.d/test.toml"), part).unwrap();
    gateway
}

/// A listener on the gateway's own port, for an example that has none.
fn listener(gateway: &Gateway) {
    let file = gateway.dir.path().join("conf.d/listener.toml");
    let text = format!("[[broker.listener]]\nbind = \"127.0.0.1:{}\"\n", gateway.lan_port);
    std::fs::write(file, text).unwrap();
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn the_examples_with_one_sensor_decode_what_they_say_they_do() {
    let rows = [
        (
            "weather-station.toml",
            "/dev/ttyUSB0",
            "weather",
            "{\"t\":21.5,\"rh\":61,\"p\":1013.2,\"wind\":{\"speed\":3.4,\"dir\":270}}\n",
            json!({"temperature": 21.5, "humidity": 61, "pressure": 1013.2, "wind_speed": 3.4, "wind_direction": 270}),
        ),
        (
            "csv-logger.toml",
            "/dev/ttyS0",
            "well-3",
            "2026-11-20 14:51:00;2427;3651;OK\n",
            json!({"level": 2.427, "battery": 3.651, "state": "OK"}),
        ),
        (
            "scale-regex.toml",
            "/dev/ttyUSB0",
            "scale",
            "US,NT,-  1.250kg\r\n",
            json!({"weight": -1.25, "stability": "US", "mode": "NT"}),
        ),
    ];
    for (file, device_file, device, line, expected) in rows {
        let sensor = Pty::open();
        let mut gateway = example(file, &[(device_file, path(sensor.path()))], "id = \"gw\"\n");
        listener(&gateway);
        gateway.start_again();
        let tap = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
        sensor.write(line.as_bytes());
        let reading = tap.wait(file, |message| message.topic == Gateway::topic(&format!("data/{device}")));
        assert_eq!(reading.json()["values"], expected, "{file}");
        assert_eq!(gateway.ask("status")["problems"], json!([]), "{file}");
        gateway.stop();
    }
}

#[test]
fn the_example_with_two_ports_tells_three_devices_apart_and_feeds_its_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let (arduino, rs485) = (Pty::open(), Pty::open());
    let put = [
        ("/dev/ttyACM0", path(arduino.path())),
        ("/dev/ttyUSB0", path(rs485.path())),
        // A pseudo-terminal has no such wire.
        ("dtr = false", String::new()),
        ("host = \"192.168.1.10\"", format!("host = \"127.0.0.1\"\nport = {}", mosquitto.port)),
    ];
    let mut gateway = example("two-ports.toml", &put, "id = \"gw\"\n");
    listener(&gateway);
    gateway.start_again();
    gateway.wait_online();
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    arduino.write(b"t=21.5 h=61 pump=on\r\n");
    rs485.line(r#"{"tank":{"mm":2427}}"#);
    rs485.line(r#"{"soil":{"vwc":33.1,"t":12.5}}"#);
    for (device, values) in [
        ("bench", json!({"temperature": 21.5, "humidity": 61, "pump": true})),
        ("tank", json!({"level": 2.427})),
        ("soil", json!({"moisture": 33.1, "temperature": 12.5})),
    ] {
        let topic = Gateway::topic(&format!("data/{device}"));
        let reading = tap.wait(device, |message| message.topic == topic);
        assert_eq!(reading.json()["values"], values, "{device}");
    }
    assert_eq!(tap.messages().len(), 3, "a line is of one device alone");
    gateway.stop();
}

#[test]
fn the_example_with_tls_speaks_mqtt_5_with_a_password_from_systemd_and_renames_topics() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "own");
    let issued = authority.issue("server", "DNS:localhost");
    let accounts = dir.path().join("accounts");
    let credentials = dir.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("upstream"), "geheim\n").unwrap();
    Process::run_well(
        "mosquitto_passwd",
        client("mosquitto_passwd").args(["-b", "-c"]).arg(&accounts).args(["barn-7", "geheim"]),
    );
    let (plain, tls) = (free_port(), free_port());
    let mosquitto = Mosquitto::start_with(
        dir.path(),
        plain,
        &format!(
            "per_listener_settings true\nlistener {plain} 127.0.0.1\nallow_anonymous true\n\
             listener {tls} 127.0.0.1\nallow_anonymous false\npassword_file {}\ncertfile {}\nkeyfile {}\n",
            path(&accounts),
            path(&issued.certificate),
            path(&issued.key)
        ),
    );
    let sensor = Pty::open();
    let put = [
        ("/dev/ttyUSB0", path(sensor.path())),
        ("host = \"mqtt.example.com\"", format!("host = \"localhost\"\nport = {tls}")),
        ("/etc/fieldgate/upstream-ca.pem", path(&authority.authority())),
    ];
    let mut gateway = example("upstream-tls.toml", &put, "");
    listener(&gateway);
    gateway.set_env("CREDENTIALS_DIRECTORY", &path(&credentials));
    gateway.start_again();
    gateway.wait_online();
    let tap = Tap::subscribe(mosquitto.port, "#");
    for number in 1..=50 {
        sensor.line(&format!(r#"{{"n":{number}}}"#));
    }
    for number in 1..=50 {
        let reading = tap.wait("a reading under its new name", |message| {
            message.topic == "sites/north/barn-7/data/weather" && message.json()["values"]["n"] == number
        });
        assert_eq!((reading.qos, reading.retain), (1, false));
    }
    gateway.wait_drained();
    assert!(!gateway.log().contains("geheim"), "no secret in the log");
    gateway.stop();
    assert!(
        tap.messages().iter().all(|message| !message.topic.contains("fieldgate/barn-7/data")),
        "nothing goes under the old name"
    );
}

#[test]
fn the_example_without_sensors_lets_known_users_in_from_the_lan() {
    let dir = tempfile::tempdir().unwrap();
    let lan = free_port();
    for user in ["plc", "panel"] {
        std::fs::write(dir.path().join(user), format!("{user}'s password\n")).unwrap();
    }
    let local = free_port();
    let put = [
        ("/etc/fieldgate/secrets", path(dir.path())),
        ("127.0.0.1:1883", format!("127.0.0.1:{local}")),
        ("0.0.0.0:1884", format!("0.0.0.0:{lan}")),
    ];
    let mut gateway = example("lan-broker-only.toml", &put, "");
    gateway.start_again();
    gateway.wait("both listen", |status| {
        status["listeners"].as_array().unwrap().iter().all(|listener| listener["error"].is_null())
    });
    let panel = Tap::subscribe_with(lan, "line/#", &["-u", "panel", "-P", "panel's password"]);
    publish_with(lan, "line/a", "from the plc", &["-q", "1", "-u", "plc", "-P", "plc's password"]);
    panel.wait_payload("from the plc");
    publish(local, "line/a", "from this machine");
    panel.wait_payload("from this machine");
    for stranger in [&[][..], &["-u", "plc", "-P", "panel's password"], &["-u", "root", "-P", ""]] {
        let mut command = client("mosquitto_pub");
        let port = lan.to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-t", "line/a", "-m", "x", "-q", "1"]).args(stranger);
        let (status, text) = Process::run("mosquitto_pub", &mut command);
        assert!(!status.success() && text.contains("Refused: "), "{stranger:?}: {status} {text}");
    }
    let payloads: Vec<String> = panel.messages().into_iter().map(|message| message.payload).collect();
    assert_eq!(payloads, ["from the plc", "from this machine"]);
}
