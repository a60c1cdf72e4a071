//! What the fields of NMEA 0183 sentences mean. Units are SI: speeds in m/s, angles in degrees, positions in decimal
//! degrees with south and west negative. A field that a sentence has and leaves empty reads null.
//!
//! | sentence | fields |
//! |---|---|
//! | RMC | utc, valid, latitude, longitude, speed, course, magnetic_variation |
//! | GGA, GNS | time, fix_quality, latitude, longitude, satellites, hdop, altitude, geoid_separation; GNS: mode |
//! | GLL | latitude, longitude, time, valid |
//! | GSA | fix (1 none, 2 flat, 3 with height), pdop, hdop, vdop |
//! | GSV | satellites_in_view_gps, …_glonass, …_galileo, …_beidou, …_qzss, …_navic |
//! | VTG | course, course_magnetic, speed |
//! | ZDA | utc, zone |
//! | GST | position_error (1 σ), latitude_error, longitude_error, altitude_error |
//! | HDT, HDM, HDG, ROT | heading, heading_magnetic, magnetic_variation, magnetic_deviation, turn_rate |
//! | MWV | wind_angle, wind_speed (true), wind_angle_apparent, wind_speed_apparent (as felt aboard) |
//! | MWD | wind_direction, wind_direction_magnetic, wind_speed |
//! | DBT, DPT, DBK, DBS | depth below the transducer; depth_offset; depth_below_keel; depth_below_surface |
//! | MTW, VHW, VLW | water_temperature; water_speed, heading; water_distance, water_distance_trip |
//! | XDR | xdr_ and the transducer's own name |
//! | TXT | text |
//!
//! Where the receiver says that it has no fix, position, speed and course are null whatever stands in them.

use std::borrow::Cow;
use std::str::FromStr;

use rust_decimal::Decimal;

use super::super::decode::Raw;
use super::{Fields, nmea_sea};

/// Before the own name of a transducer.
pub(super) const TRANSDUCER: &str = "xdr_";

/// Every name; transducers have more.
pub(super) const NAMES: &[&str] = &[
    "fix",
    "pdop",
    "hdop",
    "vdop",
    "time",
    "position_error",
    "latitude_error",
    "longitude_error",
    "altitude_error",
    "heading",
    "heading_magnetic",
    "magnetic_deviation",
    "magnetic_variation",
    "turn_rate",
    "text",
    "wind_direction",
    "wind_direction_magnetic",
    "wind_speed",
    "depth",
    "depth_below_keel",
    "depth_below_surface",
    "depth_offset",
    "water_temperature",
    "water_speed",
    "water_distance",
    "water_distance_trip",
    "utc",
    "valid",
    "speed",
    "course",
    "fix_quality",
    "satellites",
    "altitude",
    "geoid_separation",
    "mode",
    "course_magnetic",
    "zone",
    "wind_angle_apparent",
    "wind_speed_apparent",
    "wind_angle",
    "latitude",
    "longitude",
    "satellites_in_view_gps",
    "satellites_in_view_glonass",
    "satellites_in_view_galileo",
    "satellites_in_view_beidou",
    "satellites_in_view_qzss",
    "satellites_in_view_navic",
    "satellites_in_view",
];

/// 1 knot is 1,852 m an hour.
pub(super) const KNOT: (i64, i64) = (1_852, 3_600);
pub(super) const KM_PER_HOUR: (i64, i64) = (1_000, 3_600);

/// The fields behind the address.
#[derive(Debug)]
pub(super) struct Columns<'c, 'a>(pub(super) &'c [&'a str]);

impl<'a> Columns<'_, 'a> {
    pub(super) fn get(&self, index: usize) -> &'a str {
        self.0.get(index).copied().unwrap_or_default()
    }

    pub(super) fn decimal(&self, index: usize) -> Option<Decimal> {
        decimal(self.get(index))
    }

    pub(super) fn number(&self, index: usize) -> Raw<'a> {
        self.decimal(index).map_or(Raw::Null, Raw::Decimal)
    }

    /// A number with its sign in the field behind it: W and S are negative.
    pub(super) fn signed(&self, index: usize) -> Raw<'a> {
        let sign = match self.get(index.saturating_add(1)) {
            "W" | "S" => Decimal::NEGATIVE_ONE,
            "E" | "N" => Decimal::ONE,
            _ => return Raw::Null,
        };
        self.decimal(index).map_or(Raw::Null, |number| Raw::Decimal(number * sign))
    }

    /// A speed in m/s, with all digits: who takes it rounds, and perhaps turns it back into knots before.
    pub(super) fn speed(&self, index: usize, (over, under): (i64, i64)) -> Raw<'a> {
        let speed = self
            .decimal(index)
            .and_then(|number| number.checked_mul(Decimal::from(over))?.checked_div(Decimal::from(under)));
        speed.map_or(Raw::Null, Raw::Decimal)
    }

    /// `ddmm.mmmm` and N, S, E or W, to decimal degrees with 8 places (a millimetre).
    fn degrees(&self, index: usize) -> Raw<'a> {
        let limit = if matches!(self.get(index.saturating_add(1)), "N" | "S") { 90 } else { 180 };
        let Raw::Decimal(number) = self.signed(index) else { return Raw::Null };
        let hundred = Decimal::from(100);
        let whole = (number / hundred).trunc();
        let minutes = number - whole * hundred;
        let degrees = (whole + minutes / Decimal::from(60)).round_dp(8);
        let is_right = minutes.abs() < Decimal::from(60) && degrees.abs() <= Decimal::from(limit);
        if is_right { Raw::Decimal(degrees.normalize()) } else { Raw::Null }
    }

    /// `hhmmss.ss` as `hh:mm:ss.ss`.
    fn time(&self, index: usize) -> Option<String> {
        let text = self.get(index);
        let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
        let (hour, minute, second) = pairs(clock)?;
        // A leap second is 60.
        let is_right =
            hour < 24 && minute < 60 && second < 61 && fraction.bytes().all(|b| b.is_ascii_digit());
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        (is_right && fraction.len() <= 9).then(|| format!("{hour:02}:{minute:02}:{second:02}{dot}{fraction}"))
    }

    fn time_field(&self, index: usize) -> Raw<'a> {
        text(self.time(index))
    }

    /// `ddmmyy` and the time, as RFC 3339. Years before 80 are those of this century.
    fn utc(&self, time: usize, date: usize) -> Option<String> {
        let (day, month, year) = pairs(self.get(date))?;
        let year = year.saturating_add(if year < 80 { 2_000 } else { 1_900 });
        instant(year, month, day, &self.time(time)?)
    }

    /// A for valid, V for not.
    fn status(&self, index: usize) -> Raw<'a> {
        match self.get(index) {
            "A" | "D" => Raw::Bool(true),
            "V" => Raw::Bool(false),
            _ => Raw::Null,
        }
    }

    fn word(&self, index: usize) -> Raw<'a> {
        match self.get(index) {
            "" => Raw::Null,
            word => Raw::String(Cow::Borrowed(word)),
        }
    }
}

/// Names the fields of one sentence.
pub(super) fn decode<'a>(talker: &str, kind: &str, columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    match kind {
        "RMC" => rmc(columns, fields),
        "GGA" => gga(columns, fields),
        "GNS" => gns(columns, fields),
        "GLL" => gll(columns, fields),
        "GSA" => {
            fields.main("fix", columns.number(1), None);
            for (index, name) in [(14, "pdop"), (15, "hdop"), (16, "vdop")] {
                fields.main(name, columns.number(index), None);
            }
        }
        // The other sentences of a group say the same number.
        "GSV" if columns.get(1) == "1" => {
            fields.main(in_view(talker), columns.number(2), Some("count"));
        }
        "VTG" => vtg(columns, fields),
        "ZDA" => zda(columns, fields),
        "GST" => {
            fields.main("time", columns.time_field(0), None);
            let names = ["position_error", "", "", "", "latitude_error", "longitude_error", "altitude_error"];
            for (index, name) in names.into_iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                fields.main(name, columns.number(index.saturating_add(1)), Some("m"));
            }
        }
        "HDT" => fields.main("heading", columns.number(0), Some("deg")),
        "HDM" => fields.main("heading_magnetic", columns.number(0), Some("deg")),
        "HDG" => {
            fields.main("heading_magnetic", columns.number(0), Some("deg"));
            fields.main("magnetic_deviation", columns.signed(1), Some("deg"));
            fields.main("magnetic_variation", columns.signed(3), Some("deg"));
        }
        "ROT" if columns.get(1) != "V" => fields.main("turn_rate", columns.number(0), Some("deg/min")),
        "TXT" => fields.main("text", columns.word(3), None),
        _ => nmea_sea::decode(kind, columns, fields),
    }
}

fn rmc<'a>(columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    let is_valid = columns.status(1);
    let has_fix = is_valid == Raw::Bool(true);
    fields.main("utc", text(columns.utc(0, 8)), None);
    fields.main("valid", is_valid, None);
    position(columns, 2, has_fix, fields);
    let (speed, course) = match has_fix {
        true => (columns.speed(6, KNOT), columns.number(7)),
        false => (Raw::Null, Raw::Null),
    };
    fields.main("speed", speed, Some("m/s"));
    fields.main("course", course, Some("deg"));
    // Most receivers have no such table: a field that is always empty is no value that is missing.
    if !columns.get(9).is_empty() {
        fields.main("magnetic_variation", columns.signed(9), Some("deg"));
    }
}

fn gga<'a>(columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    let quality = columns.decimal(5);
    let has_fix = quality.is_some_and(|quality| !quality.is_zero());
    fields.main("time", columns.time_field(0), None);
    fields.main("fix_quality", columns.number(5), None);
    position(columns, 1, has_fix, fields);
    fields.main("satellites", columns.number(6), Some("count"));
    fields.main("hdop", columns.number(7), None);
    let heights = match has_fix {
        true => (columns.number(8), columns.number(10)),
        false => (Raw::Null, Raw::Null),
    };
    fields.main("altitude", heights.0, Some("m"));
    fields.main("geoid_separation", heights.1, Some("m"));
}

fn gns<'a>(columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    let mode = columns.get(5);
    let has_fix = mode.bytes().any(|system| !matches!(system, b'N' | b'E' | b'M' | b'S'));
    fields.main("time", columns.time_field(0), None);
    fields.main("mode", columns.word(5), None);
    position(columns, 1, has_fix, fields);
    fields.main("satellites", columns.number(6), Some("count"));
    fields.main("hdop", columns.number(7), None);
    let heights = match has_fix {
        true => (columns.number(8), columns.number(9)),
        false => (Raw::Null, Raw::Null),
    };
    fields.main("altitude", heights.0, Some("m"));
    fields.main("geoid_separation", heights.1, Some("m"));
}

fn gll<'a>(columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    // Before NMEA 2.0 there was no status.
    let is_valid = columns.status(5);
    position(columns, 0, is_valid != Raw::Bool(false), fields);
    fields.main("time", columns.time_field(4), None);
    fields.main("valid", is_valid, None);
}

fn vtg<'a>(columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    // Before NMEA 2.3 the four numbers stood without their letters.
    let is_old = columns.0.len() == 4;
    let (course, magnetic, knots, kmh) = if is_old { (0, 1, 2, 3) } else { (0, 2, 4, 6) };
    fields.main("course", columns.number(course), Some("deg"));
    if !columns.get(magnetic).is_empty() {
        fields.main("course_magnetic", columns.number(magnetic), Some("deg"));
    }
    let speed = match columns.speed(knots, KNOT) {
        Raw::Null => columns.speed(kmh, KM_PER_HOUR),
        speed => speed,
    };
    fields.main("speed", speed, Some("m/s"));
}

fn zda<'a>(columns: &Columns<'_, 'a>, fields: &mut Fields<'a>) {
    let number = |index: usize| columns.get(index).parse::<u16>().ok();
    let utc = columns.time(0).and_then(|time| instant(number(3)?, number(2)?, number(1)?, &time));
    fields.main("utc", text(utc), None);
    if !columns.get(4).is_empty() {
        let zone = format!("{}:{}", columns.get(4), columns.get(5));
        fields.detail("zone", Raw::String(Cow::Owned(zone)));
    }
}

fn position<'a>(columns: &Columns<'_, 'a>, index: usize, has_fix: bool, fields: &mut Fields<'a>) {
    let (latitude, longitude) = if has_fix {
        (columns.degrees(index), columns.degrees(index.saturating_add(2)))
    } else {
        (Raw::Null, Raw::Null)
    };
    fields.main("latitude", latitude, Some("lat"));
    fields.main("longitude", longitude, Some("lon"));
}

const fn in_view(talker: &str) -> &'static str {
    match talker.as_bytes() {
        b"GP" => "satellites_in_view_gps",
        b"GL" => "satellites_in_view_glonass",
        b"GA" => "satellites_in_view_galileo",
        b"GB" | b"BD" => "satellites_in_view_beidou",
        b"GQ" | b"QZ" => "satellites_in_view_qzss",
        b"GI" => "satellites_in_view_navic",
        _ => "satellites_in_view",
    }
}

fn text(text: Option<String>) -> Raw<'static> {
    text.map_or(Raw::Null, |text| Raw::String(Cow::Owned(text)))
}

/// `aabbcc` as three numbers.
fn pairs(text: &str) -> Option<(u16, u16, u16)> {
    if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let pair = |at: usize| text.get(at..at.saturating_add(2))?.parse().ok();
    Some((pair(0)?, pair(2)?, pair(4)?))
}

/// RFC 3339 in UTC; `None` for a day that no month has.
fn instant(year: u16, month: u16, day: u16, time: &str) -> Option<String> {
    let text = format!("{year:04}-{month:02}-{day:02}T{time}Z");
    // jiff takes second 60 for 59, so leap seconds pass.
    jiff::Timestamp::from_str(&text).ok().map(|_| text)
}

/// Digits, sign and point only.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    let allowed = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.');
    if text.is_empty() || text.len() > 24 || !text.bytes().all(allowed) {
        return None;
    }
    Decimal::from_str(text).ok()
}
