//! Meters, receivers and batteries by their profiles alone: captures of real devices against values that other decoders
//! read in them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use fieldgate::config::{Facts, Source, parse, render};
use fieldgate::reading::{Quality, Sample, Value};
use fieldgate::sensor::{DeviceConfig, Piece, Trial};
use fieldgate::time::Mono;

fn device(profile: &str, more: &str) -> DeviceConfig {
    let text = format!(
        "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\nport = \"p\"\nprofile = \"{profile}\"\n{more}\n"
    );
    let source = Source { file: "f".into(), text };
    let config = parse(&[source], &Facts { default_id: "gw".into(), ..Facts::default() });
    config.unwrap_or_else(|mistakes| panic!("{}", render(&mistakes))).devices.remove(0)
}

/// The readings of a capture, and how many of its frames were bad.
fn decode(device: &DeviceConfig, capture: &str) -> (Vec<Vec<Sample>>, usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(capture);
    let (mut readings, mut bad) = (Vec::new(), 0);
    Trial::new(device).push(Mono::ZERO, &std::fs::read(path).unwrap(), |piece| match piece {
        Piece::Frame { values: Ok(samples), .. } => readings.push(samples),
        Piece::Frame { .. } | Piece::Bad { .. } => bad += 1,
        Piece::Skipped(_) => {}
    });
    (readings, bad)
}

/// The values of the first reading that has all of these points.
fn check(profile: &str, capture: &str, more: &str, expected: &[(&str, Value)]) -> usize {
    let (readings, _) = decode(&device(profile, more), capture);
    let value = |samples: &Vec<Sample>, point: &str| {
        let sample = samples.iter().find(|sample| &*sample.point == point)?;
        assert_ne!(sample.quality, Quality::OutOfRange, "{profile} {point}");
        sample.value.clone()
    };
    let found =
        readings.iter().find(|samples| expected.iter().all(|(point, _)| value(samples, point).is_some()));
    let found = found.unwrap_or_else(|| panic!("{profile}: no reading of {capture} has all of {expected:?}"));
    for (point, expected) in expected {
        assert_eq!(value(found, point).as_ref(), Some(expected), "{profile} {point}");
    }
    readings.len()
}

fn number(number: f64) -> Value {
    Value::Number(number)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn profiles_of_receivers_and_of_meters_that_push_read_captures_of_their_devices() {
    let rmc = [
        ("latitude", number(55.088_849_83)),
        ("longitude", number(38.976_455_42)),
        ("speed", number(78.504_222)),
        ("course", number(86.2)),
        ("utc", text("2017-03-31T11:01:24Z")),
        ("valid", Value::Bool(true)),
    ];
    assert_eq!(check("nmea-gps", "nmea/moving-vehicle.nmea", "", &rmc), 330);
    let gga = [("altitude", number(2_177.0)), ("satellites", number(9.0)), ("fix_quality", number(2.0))];
    check("nmea-gps", "nmea/moving-vehicle.nmea", "", &gga);
    let v5 = [
        ("energy_import_1", number(4.426)),
        ("power_import", number(244.0)),
        ("voltage_l3", number(229.0)),
        ("power_import_l2", number(32.0)),
        ("power_failures", number(13.0)),
        ("gas", number(0.107)),
        ("time", text("2017-01-02T19:20:02+01:00")),
        ("meter_id", text("K8EG004046395507")),
    ];
    assert_eq!(check("dsmr-p1", "dsmr/v5.telegram", "", &v5), 1);
    // A meter that sends watt hours reads in kilowatt hours as all do.
    check(
        "dsmr-p1",
        "dsmr/sagemcom-t210-dr.telegram",
        "",
        &[("energy_import", number(6_545.766)), ("power_import", number(286.0))],
    );
    check(
        "dsmr-p1",
        "dsmr/be-fluvius.telegram",
        "",
        &[("gas", number(112.384)), ("water", number(872.234)), ("demand_peak", number(2_589.0))],
    );
    check("dsmr-p1", "dsmr/unpadded-crc.telegram", "", &[("heat", number(240.86))]);
    check("dsmr-p1", "dsmr/v2_2.telegram", "", &[("gas", number(1.001)), ("power_import", number(1_010.0))]);
    let itron = [
        ("energy_import", number(25_892.776_1)),
        ("power", number(542.0)),
        ("meter_id", text("0a01495452000347f040")),
    ];
    assert_eq!(check("sml-meter", "sml/ITRON_OpenWay-3.HZ_with_PIN.bin", "", &itron), 5);
}

#[test]
fn profiles_of_batteries_and_of_meters_that_are_asked_read_captures_of_their_devices() {
    let battery = [
        ("voltage", number(12.065)),
        ("current", number(-7.625)),
        ("state_of_charge", number(83.9)),
        ("relay", Value::Bool(false)),
    ];
    check("ve-direct", "vedirect/bmv702.bin", "", &battery);
    let sun = [
        ("pv_voltage", number(0.01)),
        ("yield_total", number(0.0)),
        ("load", Value::Bool(true)),
        ("product_id", text("0xA05F")),
    ];
    check("ve-direct", "vedirect/smartsolar-100-20.bin", "", &sun);
    check(
        "iec62056-21-meter",
        "iec62056-21/landisgyr-e350-readout.bin",
        "",
        &[("energy_import", number(65.3))],
    );
    let easy = [
        ("energy_import", number(32_549.506_166_2)),
        ("power_import_l1", number(557.29)),
        ("meter_id", text("1336001560")),
    ];
    check("iec62056-21-meter", "iec62056-21/easymeter-q3d-mode-d.txt", "", &easy);
    let heat = [
        ("energy", number(37_351.0)),
        ("power", number(34_700.0)),
        ("flow_temperature", number(101.69)),
        ("time", text("2011-01-05T15:26")),
    ];
    assert_eq!(check("mbus-meter", "mbus/kamstrup_multical_601.bin", "", &heat), 1);
    check(
        "mbus-meter",
        "mbus/elv_temp_humid.bin",
        "",
        &[("temperature", number(22.56)), ("humidity", number(45.64))],
    );
}

#[test]
fn a_point_of_another_unit_of_the_same_quantity_is_turned_into_it_and_one_with_a_scale_is_not() {
    let more = "only = []\n[[device.points]]\nname = \"wh\"\nfrom = \"energy_import_1\"\nunit = \"Wh\"\n\
                [[device.points]]\nname = \"scaled\"\nfrom = \"energy_import_1\"\nunit = \"Wh\"\nscale = 1000\n\
                [[device.points]]\nname = \"sent\"\nfrom = \"1-0:1.7.0*255\"\n\
                [[device.points]]\nname = \"kw\"\nfrom = \"power_import\"\nunit = \"kW\"\n";
    let expected = [
        ("wh", number(4_426.0)),
        ("scaled", number(4_426.0)),
        ("sent", number(0.244)),
        ("kw", number(0.244)),
    ];
    check("dsmr-p1", "dsmr/v5.telegram", more, &expected);
}

#[test]
fn what_a_frame_of_several_kinds_lacks_is_no_fault_and_a_receiver_without_a_fix_reads_invalid() {
    let (readings, bad) =
        decode(&device("nmea-gps", "only = [\"latitude\", \"altitude\"]"), "nmea/ublox-m8n-nofix.nmea");
    assert_eq!(bad, 0);
    let samples: Vec<&Sample> = readings.iter().flatten().collect();
    assert!(samples.len() > 3, "{readings:?}");
    assert!(samples.iter().all(|sample| sample.quality == Quality::Invalid && sample.value.is_none()));
    // Sentences without any of the points, such as GSV, are readings without values: none.
    assert!(readings.iter().any(Vec::is_empty));
}
