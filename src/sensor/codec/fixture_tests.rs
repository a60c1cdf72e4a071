//! Every capture against what an independent decoder read in it.

use serde_json::Value as Json;

use super::testing::*;
use super::*;
use crate::reading::Value;

/// The DSMR objects of a capture as the codec has them: the detail fields' numbers and words.
fn check_dsmr(stem: &str, fields: &[Field<'_>]) {
    let oracle = expected(&format!("dsmr/{stem}.expected.json"));
    let lines = oracle["obis_lines"].as_array().unwrap();
    assert!(lines.len() > 5, "{stem}");
    for line in lines {
        let code = line["obis"].as_str().or(line[0].as_str()).unwrap();
        let groups = line["groups"].as_array().or(line[1].as_array()).unwrap();
        let [group] = groups.as_slice() else { continue };
        let group = group.as_str().unwrap();
        let sent = fields.iter().find(|field| field.name == code).unwrap_or_else(|| panic!("{stem}: {code}"));
        match group.split_once('*') {
            Some((number, unit)) => {
                near(self::number(fields, code), number.parse().unwrap(), code);
                assert_eq!(sent.unit.as_deref(), Some(unit), "{code}");
            }
            None if group.is_empty() => assert_eq!(sent.raw, Raw::Null, "{code}"),
            None => assert!(
                matches!(&sent.raw, Raw::Word(word) if *word == group)
                    || matches!(&sent.raw, Raw::String(word) if word == group),
                "{code}: {:?}",
                sent.raw
            ),
        }
    }
    check_dsmr_names(stem, &oracle["values"], fields);
}

/// What the oracle names, under our names and in our units.
fn check_dsmr_names(stem: &str, values: &Json, fields: &[Field<'_>]) {
    let names = [
        ("ELECTRICITY_USED_TARIFF_1", "energy_import_1"),
        ("ELECTRICITY_USED_TARIFF_2", "energy_import_2"),
        ("ELECTRICITY_DELIVERED_TARIFF_1", "energy_export_1"),
        ("ELECTRICITY_DELIVERED_TARIFF_2", "energy_export_2"),
        ("CURRENT_ELECTRICITY_USAGE", "power_import"),
        ("CURRENT_ELECTRICITY_DELIVERY", "power_export"),
        ("INSTANTANEOUS_VOLTAGE_L1", "voltage_l1"),
        ("INSTANTANEOUS_VOLTAGE_L3", "voltage_l3"),
        ("INSTANTANEOUS_CURRENT_L2", "current_l2"),
        ("INSTANTANEOUS_ACTIVE_POWER_L2_POSITIVE", "power_import_l2"),
        ("SHORT_POWER_FAILURE_COUNT", "power_failures"),
        ("VOLTAGE_SAG_L3_COUNT", "voltage_sags_l3"),
    ];
    let mut checked = 0;
    for (theirs, ours) in names {
        let Some(expected) = values.get(theirs) else { continue };
        // Of the Austrian family, whose meters send Wh, the oracle keeps that.
        let factor = match (expected["unit"].as_str(), unit(fields, ours)) {
            (Some("kW"), Some("W")) => 1_000.0,
            (Some("Wh"), Some("kWh")) => 0.001,
            (Some("W"), Some("W"))
            | (Some("kWh"), Some("kWh"))
            | (Some("V"), Some("V"))
            | (Some("A"), Some("A")) => 1.0,
            (None, Some("count")) => 1.0,
            other => panic!("{stem} {ours}: {other:?}"),
        };
        near(number(fields, ours), expected["value"].as_f64().unwrap() * factor, ours);
        checked += 1;
    }
    assert!(checked > 0 || stem == "unpadded-crc", "{stem}");
    if let Some(expected) = values.get("P1_MESSAGE_TIMESTAMP") {
        let instant = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        assert_eq!(
            instant(&text(fields, "time").unwrap()),
            instant(expected["value"].as_str().unwrap()),
            "{stem}"
        );
    }
}

#[test]
fn dsmr_telegrams_of_every_version_are_read() {
    for stem in ["be-fluvius", "sagemcom-t210-dr", "unpadded-crc", "v2_2", "v3", "v4_2", "v5-two-mbus", "v5"]
    {
        let bytes = capture(&format!("dsmr/{stem}.telegram"));
        let (found, faults) = frames(CodecKind::Dsmr, &bytes);
        assert_eq!((found.len(), faults), (1, vec![]), "{stem}");
        check_dsmr(stem, &CodecKind::Dsmr.decode(&found[0]).unwrap());
    }
}

#[test]
fn the_meters_behind_a_dsmr_meter_have_the_names_of_what_they_measure() {
    let check = |stem: &str, name: &str, expected: f64, expected_unit: &str, time: &str| {
        let (found, _) = frames(CodecKind::Dsmr, &capture(&format!("dsmr/{stem}.telegram")));
        let fields = CodecKind::Dsmr.decode(&found[0]).unwrap();
        near(number(&fields, name), expected, stem);
        assert_eq!(unit(&fields, name), Some(expected_unit), "{stem}");
        assert_eq!(text(&fields, &format!("{name}_time")).as_deref(), Some(time), "{stem}");
    };
    check("v5", "gas", 0.107, "m3", "2017-01-02T16:10:05+01:00");
    check("v4_2", "gas", 981.443, "m3", "2016-11-29T20:00:00+01:00");
    check("v3", "gas", 1.001, "m3", "2009-02-12T16:00:00");
    check("be-fluvius", "gas", 112.384, "m3", "2020-05-12T13:45:58+02:00");
    check("be-fluvius", "water", 872.234, "m3", "2020-05-12T13:45:58+02:00");
    check("unpadded-crc", "heat", 240.86, "GJ", "2026-02-15T20:05:23+01:00");
    // The first of two gas meters was taken away: its channel is blank.
    check("v5-two-mbus", "gas", 246.138, "m3", "2020-04-26T22:30:01+02:00");
    let (found, _) = frames(CodecKind::Dsmr, &capture("dsmr/v5-two-mbus.telegram"));
    let fields = CodecKind::Dsmr.decode(&found[0]).unwrap();
    assert_eq!(value(&fields, "0-1:24.2.1"), None);
    near(number(&fields, "0-2:24.2.1"), 246.138, "by its code");
}

#[test]
fn only_good_dsmr_telegrams_of_a_stream_are_read() {
    let (found, faults) = frames(CodecKind::Dsmr, &capture("dsmr/v5-bad-crc.telegram"));
    assert!(found.is_empty());
    assert!(matches!(faults.as_slice(), [Fault::Check { what: "CRC", .. }]), "{faults:?}");
    let (found, faults) = frames(CodecKind::Dsmr, &capture("dsmr/stream.bin"));
    assert_eq!(found.len(), 2);
    check_dsmr("v5", &CodecKind::Dsmr.decode(&found[0]).unwrap());
    check_dsmr("v4_2", &CodecKind::Dsmr.decode(&found[1]).unwrap());
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn iec62056_readouts_are_read() {
    let oracle = expected("iec62056-21/landisgyr-e350-readout.expected.json");
    let (found, faults) = frames(CodecKind::Iec62056, &capture("iec62056-21/landisgyr-e350-readout.bin"));
    assert_eq!((found.len(), faults), (1, vec![]));
    let fields = CodecKind::Iec62056.decode(&found[0]).unwrap();
    for row in oracle["values"].as_array().unwrap() {
        let (code, sent) = (row["obis"].as_str().unwrap(), row["value"].as_str().unwrap());
        let field = fields.iter().find(|field| field.name == code).unwrap();
        match row["unit"].as_str() {
            Some(unit) => {
                near(number(&fields, code), sent.parse().unwrap(), code);
                assert_eq!(field.unit.as_deref(), Some(unit));
            }
            None => assert!(
                matches!(&field.raw, Raw::Word(word) if *word == sent)
                    || matches!(&field.raw, Raw::String(word) if word == sent),
                "{code}"
            ),
        }
    }
    near(number(&fields, "energy_import"), 65.3, "by name");
    near(number(&fields, "energy_export_1"), 1.5, "by name");

    let (found, faults) = frames(CodecKind::Iec62056, &capture("iec62056-21/landisgyr-e350-bad-bcc.bin"));
    assert!(found.is_empty());
    assert!(matches!(faults.as_slice(), [Fault::Check { what: "BCC", .. }]), "{faults:?}");

    let (found, faults) = frames(CodecKind::Iec62056, &capture("iec62056-21/easymeter-q3d-mode-d.txt"));
    assert_eq!((found.len(), faults), (1, vec![]));
    let fields = CodecKind::Iec62056.decode(&found[0]).unwrap();
    near(number(&fields, "energy_import"), 32_549.506_166_2, "kWh");
    near(number(&fields, "power_import"), 1_688.21, "W");
    near(number(&fields, "power_import_l3"), 609.30, "W");
    assert_eq!(text(&fields, "meter_id").as_deref(), Some("1336001560"));
    assert_eq!(text(&fields, "identification").as_deref(), Some("ESY5Q3DA1004 V3.04"));
}

#[test]
fn sml_files_are_read() {
    let stems = [
        "DZG_DVS-7420.2V.G2_mtr1_error",
        "DZG_DVS-7420.2V.G2_mtr2_neg",
        "EMH-ED300L_consumption",
        "EMH-ED300L_delivery",
        "EMH_eHZ-GW8E2A500AK2",
        "EasyMeter_Q3A_A1064V1009",
        "HOLLEY_DTZ541-BDBA_without_PIN",
        "ISKRA_MT175_eHZ",
        "ITRON_OpenWay-3.HZ_with_PIN",
    ];
    let mut values = 0;
    for stem in stems {
        let oracle = expected(&format!("sml/{stem}.expected.json"));
        let (found, _) = frames(CodecKind::Sml, &capture(&format!("sml/{stem}.bin")));
        let good: Vec<_> = found.iter().filter_map(|frame| CodecKind::Sml.decode(frame).ok()).collect();
        let count = u64::try_from(good.len()).unwrap();
        assert_eq!(Some(count), oracle["frames_by_second_decoder"].as_u64(), "{stem}");
        for (fields, rows) in good.iter().zip(oracle["frames"].as_array().unwrap()) {
            for row in rows.as_array().unwrap() {
                check_sml(stem, row, fields);
                values += 1;
            }
        }
    }
    assert!(values > 150, "{values}");
}

fn check_sml(stem: &str, row: &Json, fields: &[Field<'_>]) {
    let code = row["obis"].as_str().unwrap();
    let name = code.strip_suffix("*255").unwrap_or(code);
    match &row["value"] {
        Json::Number(expected) => {
            near(number(fields, name), expected.as_f64().unwrap(), &format!("{stem} {code}"));
            if let Some(unit) = row["unit"].as_str() {
                assert_eq!(self::unit(fields, name), Some(unit), "{stem} {code}");
            }
        }
        Json::String(expected) => assert_eq!(text(fields, name).as_ref(), Some(expected), "{stem} {code}"),
        other => panic!("{stem} {code}: {other}"),
    }
}

#[test]
fn sml_values_have_names_in_one_unit() {
    let (found, _) = frames(CodecKind::Sml, &capture("sml/ITRON_OpenWay-3.HZ_with_PIN.bin"));
    let fields = CodecKind::Sml.decode(&found[0]).unwrap();
    near(number(&fields, "energy_import"), 25_892.776_1, "kWh");
    assert_eq!(unit(&fields, "energy_import"), Some("kWh"));
    near(number(&fields, "power"), 542.0, "W");
    assert_eq!(text(&fields, "meter_id").as_deref(), Some("0a01495452000347f040"));
    let main: Vec<&str> =
        fields.iter().filter(|field| field.role == Role::Main).map(|field| &*field.name).collect();
    assert_eq!(main, ["meter_id", "1-0:96.50.1*1", "energy_import", "power"]);
}

#[test]
fn vedirect_blocks_are_read() {
    for stem in ["bmv702", "smartsolar-100-20", "smartsolar-with-hex"] {
        let (found, faults) = frames(CodecKind::VeDirect, &capture(&format!("vedirect/{stem}.bin")));
        let blocks: Vec<_> = found.iter().filter(|frame| !frame.starts_with(b":")).collect();
        let rows = expected_lines(&format!("vedirect/{stem}.expected.jsonl"));
        let good: Vec<&Json> = rows.iter().filter(|row| row["checksum_ok"] == true).collect();
        assert_eq!(blocks.len(), good.len(), "{stem}: {faults:?}");
        for (block, row) in blocks.iter().zip(good) {
            let fields = CodecKind::VeDirect.decode(block).unwrap();
            let sent = row["fields"].as_object().unwrap();
            for (key, value) in sent {
                let raw = &fields.iter().find(|field| field.name == *key).unwrap().raw;
                assert_eq!(raw, &word(value.as_str().unwrap()), "{stem} {key}");
            }
            let own = fields.iter().filter(|field| sent.contains_key(&*field.name)).count();
            assert_eq!(own, sent.len());
        }
    }
}

#[test]
fn vedirect_values_have_names_and_units() {
    let (found, _) = frames(CodecKind::VeDirect, &capture("vedirect/bmv702.bin"));
    let fields = CodecKind::VeDirect.decode(&found[0]).unwrap();
    near(number(&fields, "voltage"), 12.065, "V");
    near(number(&fields, "current"), -7.625, "A");
    near(number(&fields, "state_of_charge"), 83.9, "%");
    assert_eq!(value(&fields, "relay"), Some(Value::Bool(false)));
    let fields = CodecKind::VeDirect.decode(&found[1]).unwrap();
    near(number(&fields, "energy_charged"), 85.27, "kWh");
    assert_eq!(unit(&fields, "energy_charged"), Some("kWh"));
}

#[test]
fn vedirect_hex_messages_are_read() {
    let (found, faults) = frames(CodecKind::VeDirect, &capture("vedirect/smartsolar-with-hex.bin"));
    let hex: Vec<_> = found.iter().filter(|frame| frame.starts_with(b":")).collect();
    assert_eq!(hex.len(), 2, "{faults:?}");
    let fields = CodecKind::VeDirect.decode(hex[0]).unwrap();
    assert_eq!(fields[0].name, "hex_0x1050");
    for row in expected_lines("vedirect/hex-frames.jsonl") {
        let frame = row["frame"].as_str().unwrap().replace("\\n", "\n");
        let (found, faults) = frames(CodecKind::VeDirect, frame.as_bytes());
        assert_eq!(found.len() == 1, row["checksum_ok"] == true, "{frame} {faults:?}");
        assert_eq!(found.len() + faults.len(), 1);
    }
    let fields = CodecKind::VeDirect.decode(b":7001000C80076").unwrap();
    near(number(&fields, "hex_0x1000"), 200.0, "the battery's capacity");
}

#[test]
fn mbus_telegrams_are_read() {
    let mut values = 0;
    for stem in ["abb_f95", "allmess_cf50", "electricity-meter-1", "elv_temp_humid", "kamstrup_multical_601"]
    {
        let (found, faults) = frames(CodecKind::Mbus, &capture(&format!("mbus/{stem}.bin")));
        assert_eq!((found.len(), faults), (1, vec![]), "{stem}");
        let fields = CodecKind::Mbus.decode(&found[0]).unwrap();
        let oracle = expected(&format!("mbus/{stem}.expected.json"));
        let header = &oracle["json"]["body"]["header"];
        assert_eq!(text(&fields, "manufacturer").as_deref(), header["manufacturer"].as_str(), "{stem}");
        for (at, row) in oracle["json"]["body"]["records"].as_array().unwrap().iter().enumerate() {
            values += usize::from(check_mbus(stem, &at.to_string(), row, &fields));
        }
    }
    assert!(values > 60, "{values}");
}

/// False for what the oracle doesn't name either.
fn check_mbus(stem: &str, name: &str, row: &Json, fields: &[Field<'_>]) -> bool {
    let factor = match (row["unit"].as_str().unwrap_or_default(), unit(fields, name)) {
        ("MeasureUnit.WH", Some("kWh")) => 0.001,
        ("MeasureUnit.J", Some("MJ")) => 0.000_001,
        (_, _) => 1.0,
    };
    match &row["value"] {
        // The oracle reads hexadecimal digits in it, which is no number.
        Json::Number(_) if row["function"] == "FunctionType.ERROR_STATE_VALUE" => false,
        Json::Number(expected) => {
            near(number(fields, name), expected.as_f64().unwrap() * factor, &format!("{stem} {name} {row}"));
            true
        }
        Json::String(expected)
            if row["type"] == "VIFUnit.DATE_TIME_GENERAL" || row["type"] == "VIFUnit.DATE" =>
        {
            assert_eq!(text(fields, name).as_ref(), Some(expected), "{stem} {name}");
            true
        }
        _ => false,
    }
}

#[test]
fn broken_mbus_telegrams_are_refused() {
    let (found, faults) = frames(CodecKind::Mbus, &capture("mbus/application_busy.bin"));
    assert_eq!((found.len(), faults), (1, vec![]));
    assert_eq!(CodecKind::Mbus.decode(&found[0]), Err(Fault::Refused { what: "it is busy" }));
    let (found, faults) = frames(CodecKind::Mbus, &capture("mbus/invalid_length.bin"));
    assert!(found.is_empty() && faults.len() == 1, "{faults:?}");
    // Its sum and its lengths are right.
    let (found, _) = frames(CodecKind::Mbus, &capture("mbus/too_short_header.bin"));
    assert!(matches!(CodecKind::Mbus.decode(&found[0]), Err(Fault::Malformed { .. })));
}

#[test]
fn a_config_knows_each_name_that_a_capture_has() {
    let captures: [(CodecKind, &[&str]); 6] = [
        (
            CodecKind::Nmea { bare: true },
            &["nmea/edge-sentences.nmea", "nmea/moving-vehicle.nmea", "nmea/mtk-3301.nmea"],
        ),
        (CodecKind::Dsmr, &["dsmr/v5.telegram", "dsmr/be-fluvius.telegram", "dsmr/v3.telegram"]),
        (CodecKind::Sml, &["sml/ISKRA_MT175_eHZ.bin", "sml/EMH-ED300L_delivery.bin"]),
        (CodecKind::VeDirect, &["vedirect/bmv702.bin", "vedirect/smartsolar-with-hex.bin"]),
        (CodecKind::Iec62056, &["iec62056-21/landisgyr-e350-readout.bin"]),
        (CodecKind::Mbus, &["mbus/kamstrup_multical_601.bin", "mbus/elv_temp_humid.bin"]),
    ];
    for (kind, names) in captures {
        let mut fields = 0;
        for name in names {
            for frame in frames(kind, &capture(name)).0 {
                for field in kind.decode(&frame).unwrap_or_default() {
                    assert!(kind.may_have(&field.name), "{kind:?} {}", field.name);
                    fields += 1;
                }
            }
        }
        assert!(fields > 10, "{kind:?}");
        for mistake in ["latitute", "enery_import", "state_of_charg", "flow_temprature"] {
            assert!(!kind.may_have(mistake), "{kind:?} {mistake}");
        }
    }
}
