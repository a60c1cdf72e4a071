//! What meters, receivers and batteries send, from a serial line to MQTT: captured bytes on pseudo-terminals, one codec
//! each, all in one gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::path::Path;

use serde_json::Value as Json;
use support::{Gateway, Mosquitto, Pty, Tap};

fn capture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

/// A device on a line of its own.
fn device(name: &str, pty: &Pty, decode: &str, points: &str) -> String {
    let path = pty.path().display();
    format!(
        "[[port]]\nname = \"{name}-port\"\npath = \"{path}\"\n\n\
         [[device]]\nname = \"{name}\"\nport = \"{name}-port\"\ndecode = {decode}\npoints = {points}\n\n"
    )
}

/// Its reading in which these values are as they should be.
fn wait_values(tap: &Tap, device: &str, expected: &Json) {
    let topic = Gateway::topic(&format!("data/{device}"));
    tap.wait(&format!("{device} with {expected}"), |message| {
        let values = &message.json()["values"];
        let as_wanted = |(name, value): (&String, &Json)| values[name] == *value;
        message.topic == topic && expected.as_object().unwrap().iter().all(as_wanted)
    });
}

#[test]
fn captures_of_every_protocol_arrive_as_named_values_in_one_unit_each() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let lines: [Pty; 6] = std::array::from_fn(|_| Pty::open());
    let [gps, grid, sml, solar, readout, heat] = &lines;
    let position = r#"[{ name = "latitude", unit = "lat" }, { name = "longitude", unit = "lon" },
        { name = "speed", unit = "km/h" }, { name = "utc", type = "text" }]"#;
    let battery = r#"[{ name = "soc", from = "state_of_charge", unit = "%" }, { name = "millivolts", from = "V" },
        { name = "charged", from = "energy_charged", unit = "Wh" }]"#;
    let energy =
        r#"[{ name = "import", from = "energy_import", unit = "kWh" }, { name = "night", from = "1.8.2" }]"#;
    let config = [
        device("gps", gps, "\"nmea\"", position),
        device("grid", grid, "\"dsmr\"", "\"*\""),
        device("flat", sml, "\"sml\"", "\"*\""),
        device("solar", solar, "\"ve-direct\"", battery),
        device("house", readout, "\"iec62056-21\"", energy),
        device("heat", heat, "\"mbus\"", "\"*\""),
    ];
    let mut gateway = Gateway::start(&(config.concat() + &support::upstream(mosquitto.port)));
    gateway.wait_online();

    gps.write(b"$GPRMC,110125.00,A,4916.45,N,12311.12,W,100.0,054.7,310317,,,A*42\r\n");
    gps.write(&capture("nmea/damaged.nmea"));
    grid.write(&capture("dsmr/stream.bin"));
    sml.write(&capture("sml/DZG_DVS-7420.2V.G2_mtr2_neg.bin"));
    solar.write(&capture("vedirect/bmv702.bin"));
    readout.write(&capture("iec62056-21/landisgyr-e350-readout.bin"));
    readout.write(&capture("iec62056-21/landisgyr-e350-bad-bcc.bin"));
    heat.write(&capture("mbus/kamstrup_multical_601.bin"));

    let here = serde_json::json!({ "latitude": 49.274_166_67, "longitude": -123.185_333_33, "speed": 185.2, "utc": "2017-03-31T11:01:25Z" });
    wait_values(&tap, "gps", &here);
    let v5 = serde_json::json!({ "energy_import_1": 4.426, "power_import": 244, "voltage_l3": 229, "gas": 0.107,
        "gas_time": "2017-01-02T16:10:05+01:00", "tariff": 2 });
    wait_values(&tap, "grid", &v5);
    wait_values(&tap, "grid", &serde_json::json!({ "energy_import_1": 1581.123, "gas": 981.443 }));
    let flat = serde_json::json!({ "energy_export": 1500.3214, "power": -104.38, "meter_id": "0a01445a4700039e2053" });
    wait_values(&tap, "flat", &flat);
    wait_values(&tap, "solar", &serde_json::json!({ "soc": 83.9, "millivolts": 12065 }));
    wait_values(&tap, "solar", &serde_json::json!({ "charged": 85270 }));
    wait_values(&tap, "house", &serde_json::json!({ "import": 65.3, "night": 43.8 }));
    let heated = serde_json::json!({ "energy": 37351, "flow_temperature": 101.69, "volume_flow": 0.543, "meter_id": "06855817" });
    wait_values(&tap, "heat", &heated);

    // A damaged telegram and a damaged readout are told, and gave no values.
    let status = gateway.wait("the faults", |status| {
        let bad = |name: &str| support::find(&status["devices"], name)["bad_lines"].as_u64();
        bad("grid") == Some(1) && bad("house") == Some(1)
    });
    let readings = |name: &str| support::find(&status["devices"], name)["readings"].as_u64();
    assert_eq!((readings("grid"), readings("house"), readings("heat")), (Some(2), Some(1), Some(1)));
    assert_eq!(readings("flat"), Some(3));
}
