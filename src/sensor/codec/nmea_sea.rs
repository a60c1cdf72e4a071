//! What NMEA 0183 sentences of wind, water, depth and of any other transducer mean. The table is `nmea_sentences`'.

use rust_decimal::Decimal;

use super::super::decode::Raw;
use super::Fields;
use super::nmea_sentences::{Columns, KM_PER_HOUR, KNOT, TRANSDUCER, decimal};

const MILE_PER_HOUR: (i64, i64) = (1_609_344, 3_600_000);
const METRE: (i64, i64) = (1, 1);

/// Wind, water and depth.
pub(super) fn decode<'a>(kind: &str, columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    match kind {
        "MWV" => mwv(columns, fields),
        "MWD" => {
            fields.main("wind_direction", columns.number(0), Some("deg"));
            fields.main("wind_direction_magnetic", columns.number(2), Some("deg"));
            let speed = match columns.number(6) {
                Raw::Null => columns.speed(4, KNOT),
                speed => speed,
            };
            fields.main("wind_speed", speed, Some("m/s"));
        }
        "DBT" => fields.main("depth", columns.number(2), Some("m")),
        "DBK" => fields.main("depth_below_keel", columns.number(2), Some("m")),
        "DBS" => fields.main("depth_below_surface", columns.number(2), Some("m")),
        "DPT" => {
            fields.main("depth", columns.number(0), Some("m"));
            fields.main("depth_offset", columns.number(1), Some("m"));
        }
        "MTW" if columns.get(1) == "C" => {
            fields.main("water_temperature", columns.number(0), Some("Cel"));
        }
        "VHW" => {
            fields.main("heading", columns.number(0), Some("deg"));
            fields.main("heading_magnetic", columns.number(2), Some("deg"));
            fields.main("water_speed", columns.speed(4, KNOT), Some("m/s"));
        }
        "VLW" => {
            for (index, name) in [(0, "water_distance"), (2, "water_distance_trip")] {
                let metres = columns.decimal(index).and_then(|miles| miles.checked_mul(Decimal::from(1_852)));
                fields.main(name, metres.map_or(Raw::Null, Raw::Decimal), Some("m"));
            }
        }
        "XDR" => transducers(columns, fields),
        _ => {}
    }
}

fn mwv<'a>(columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    let factor = match columns.get(3) {
        "N" => KNOT,
        "K" => KM_PER_HOUR,
        "S" => MILE_PER_HOUR,
        "M" => METRE,
        _ => return,
    };
    let (angle, speed) = match columns.get(1) {
        "R" => ("wind_angle_apparent", "wind_speed_apparent"),
        "T" => ("wind_angle", "wind_speed"),
        _ => return,
    };
    let is_valid = columns.get(4) == "A";
    let (degrees, metres) =
        if is_valid { (columns.number(0), columns.speed(2, factor)) } else { (Raw::Null, Raw::Null) };
    fields.main(angle, degrees, Some("deg"));
    fields.main(speed, metres, Some("m/s"));
}

/// Four fields each: type, value, unit, name.
fn transducers<'a>(columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    for group in columns.0.chunks_exact(4) {
        let &[kind, value, unit, name] = group else { continue };
        let unit = match (kind, unit) {
            ("C", "C") => Some("Cel"),
            ("P", "P") => Some("Pa"),
            ("P", "B") => Some("bar"),
            ("H", "P") => Some("%RH"),
            ("A", "D") => Some("deg"),
            ("U", "V") => Some("V"),
            ("I", "A") => Some("A"),
            ("F", "H") => Some("Hz"),
            ("D", "M") => Some("m"),
            ("T", "R") => Some("1/min"),
            _ => None,
        };
        let value = decimal(value).map_or(Raw::Null, Raw::Decimal);
        if !name.is_empty() {
            fields.main(format!("{TRANSDUCER}{name}"), value, unit);
        }
    }
}
