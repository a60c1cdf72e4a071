//! Sentences of a satellite receiver, RMC, GGA and GSA (NMEA 0183 4.10), made from values.

use rust_decimal::Decimal;

use super::super::decode::Raw;
use super::make::Item;
use crate::time::Timestamp;

/// The three sentences; `None` where no value stands in any of them.
pub(super) fn sentences(items: &[Item], now: Timestamp) -> Option<Vec<u8>> {
    let item = |name: &str| items.iter().find(|item| item.name == name);
    let number = |name: &str, unit: &str, usual: i64| {
        let found = item(name).map(|item| item.number_in(unit));
        found.flatten().unwrap_or_else(|| Decimal::from(usual))
    };
    let names = [
        "utc",
        "time",
        "valid",
        "latitude",
        "longitude",
        "speed",
        "course",
        "altitude",
        "fix",
        "fix_quality",
        "satellites",
        "hdop",
        "pdop",
        "vdop",
        "geoid_separation",
    ];
    if !names.iter().any(|name| item(name).is_some()) {
        return None;
    }
    let said = |name: &str, usual: i64| {
        item(name).filter(|item| item.is_said).map_or(Decimal::from(usual), |_| number(name, "", usual))
    };
    let is_valid =
        !matches!(item("valid").filter(|item| item.is_said).map(|item| &item.raw), Some(Raw::Bool(false)));
    let civil = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_millisecond(now.as_millis()).ok()?);
    let (time, date) = (civil.strftime("%H%M%S.00"), civil.strftime("%d%m%y"));
    let latitude = degrees(number("latitude", "", 0), 2, ["N", "S"]);
    let longitude = degrees(number("longitude", "", 0), 3, ["E", "W"]);
    let knots = number("speed", "m/s", 0) * Decimal::new(3_600, 0) / Decimal::new(1_852, 0);
    let status = if is_valid { 'A' } else { 'V' };
    let course = number("course", "deg", 0).round_dp(1);
    let (quality, fix) =
        if is_valid { (said("fix_quality", 1), said("fix", 3)) } else { (Decimal::ZERO, Decimal::ONE) };
    let satellites = number("satellites", "count", 8).round();
    let [hdop, pdop, vdop] = ["hdop", "pdop", "vdop"].map(|name| said(name, 1).round_dp(2));
    let altitude = number("altitude", "m", 34).round_dp(1);
    let geoid = said("geoid_separation", 40).round_dp(1);
    let bodies = [
        format!("GPRMC,{time},{status},{latitude},{longitude},{:.3},{course},{date},,,A", knots.round_dp(3)),
        format!(
            "GPGGA,{time},{latitude},{longitude},{quality},{satellites:02},{hdop:.2},{altitude:.1},M,{geoid:.1},M,,"
        ),
        format!("GPGSA,A,{fix},04,05,09,12,24,25,29,31,,,,,{pdop:.2},{hdop:.2},{vdop:.2}"),
    ];
    Some(bodies.iter().flat_map(|body| sentence(body).into_bytes()).collect())
}

fn sentence(body: &str) -> String {
    let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${body}*{sum:02X}\r\n")
}

/// `ddmm.mmmmm` and its half of the globe.
fn degrees(number: Decimal, digits: usize, halves: [&str; 2]) -> String {
    let [positive, negative] = halves;
    let half = if number.is_sign_negative() { negative } else { positive };
    let size = number.abs();
    let (whole, minutes) = (size.trunc(), (size.fract() * Decimal::from(60)).round_dp(5));
    // 59.999999 minutes are the next degree.
    let (whole, minutes) =
        if minutes >= Decimal::from(60) { (whole + Decimal::ONE, Decimal::ZERO) } else { (whole, minutes) };
    format!("{whole:0digits$}{minutes:08.5},{half}")
}
