//! M-Bus values (EN 13757-3): the header and the names here, the records by the crate m-bus-application-layer (whose
//! own header refuses identifications that aren't decimal, which meters have).
//!
//! A field is called by what it measures, in one unit for each quantity: `energy` (kWh, or MJ where the meter counts
//! joules), `volume` (m3), `power` (W), `volume_flow` (m3/h), `flow_temperature` (Cel) … A record that isn't the
//! present value says so behind it: `_min`, `_max`, `_error`, then `_s1` (storage), `_t1` (tariff), `_u1` (subunit),
//! `_l1` (phase). A second record of the same name is `…_2`. Its number in the telegram, from 0, is a name too.
//! Of the header: meter_id, manufacturer, medium, status; version and access_number as details.

use std::borrow::Cow;
use std::str::FromStr;

use m_bus_application_layer::DataRecords;
use m_bus_application_layer::data_information::{DataFieldCoding, DataType, FunctionField};
use m_bus_application_layer::data_record::DataRecord;
use m_bus_application_layer::value_information::{UnitName, ValueInformation, ValueLabel};
use rust_decimal::Decimal;

use super::super::decode::Raw;
use super::quantity::{self, shift};
use super::{Fault, Fields, Role, mbus_link};
use crate::hex;

/// Where the link layer's control and address end and the application layer begins.
const APPLICATION_AT: usize = 2;

/// CI of a device that reports an error instead of values.
const APPLICATION_ERROR: u8 = 0x70;

/// CI of the variable data structure with a header of 12 bytes, of 4, and without.
const LONG_HEADER: u8 = 0x72;
const SHORT_HEADER: u8 = 0x7a;
const NO_HEADER: u8 = 0x78;

const SHORT: Fault = Fault::Malformed { what: "a header that is too short" };

/// A label and how it is called.
const LABELS: [(ValueLabel, &str); 31] = [
    (ValueLabel::Energy, "energy"),
    (ValueLabel::ReactiveEnergy, "reactive_energy"),
    (ValueLabel::ApparentEnergy, "apparent_energy"),
    (ValueLabel::Volume, "volume"),
    (ValueLabel::Mass, "mass"),
    (ValueLabel::Power, "power"),
    (ValueLabel::ReactivePower, "reactive_power"),
    (ValueLabel::ApparentPower, "apparent_power"),
    (ValueLabel::VolumeFlow, "volume_flow"),
    (ValueLabel::MassFlow, "mass_flow"),
    (ValueLabel::FlowTemperature, "flow_temperature"),
    (ValueLabel::ReturnTemperature, "return_temperature"),
    (ValueLabel::TemperatureDifference, "temperature_difference"),
    (ValueLabel::ExternalTemperature, "temperature"),
    (ValueLabel::RelativeHumidity, "humidity"),
    (ValueLabel::Pressure, "pressure"),
    (ValueLabel::Voltage, "voltage"),
    (ValueLabel::Current, "current"),
    (ValueLabel::Frequency, "frequency"),
    (ValueLabel::OnTime, "on_time"),
    (ValueLabel::OperatingTime, "operating_time"),
    (ValueLabel::AveragingDuration, "averaging_time"),
    (ValueLabel::ActualityDuration, "age"),
    (ValueLabel::Date, "date"),
    (ValueLabel::DateTime, "time"),
    (ValueLabel::DateTimeWithSeconds, "time"),
    (ValueLabel::FabricationNumber, "fabrication_number"),
    (ValueLabel::ErrorFlags, "error_flags"),
    (ValueLabel::DigitalInput, "digital_input"),
    (ValueLabel::DigitalOutput, "digital_output"),
    (ValueLabel::DimensionlessHCA, "heat_cost_units"),
];

/// A part of a unit and its exponent.
type Part = (UnitName, i32);

/// The units that a record's parts make: what they are called, and the unit that values are turned into.
const UNITS: [(&[Part], &str, &str); 20] = [
    (&[(UnitName::Watt, 1), (UnitName::Hour, 1)], "Wh", "kWh"),
    (&[(UnitName::ReactiveWatt, 1), (UnitName::Hour, 1)], "varh", "kvarh"),
    (&[(UnitName::ApparentWatt, 1), (UnitName::Hour, 1)], "VAh", "kVAh"),
    (&[(UnitName::Joul, 1)], "J", "MJ"),
    (&[(UnitName::Watt, 1)], "W", "W"),
    (&[(UnitName::ReactiveWatt, 1)], "var", "var"),
    (&[(UnitName::ApparentWatt, 1)], "VA", "VA"),
    (&[(UnitName::Meter, 3)], "m3", "m3"),
    (&[(UnitName::Meter, 3), (UnitName::Hour, -1)], "m3/h", "m3/h"),
    (&[(UnitName::Kilogram, 1)], "kg", "kg"),
    (&[(UnitName::Celsius, 1)], "Cel", "Cel"),
    (&[(UnitName::Kelvin, 1)], "K", "K"),
    (&[(UnitName::Volt, 1)], "V", "V"),
    (&[(UnitName::Ampere, 1)], "A", "A"),
    (&[(UnitName::Hertz, 1)], "Hz", "Hz"),
    (&[(UnitName::Bar, 1)], "bar", "bar"),
    (&[(UnitName::Percent, 1)], "%", "%"),
    (&[(UnitName::Degree, 1)], "deg", "deg"),
    (&[(UnitName::Second, 1)], "s", "s"),
    (&[(UnitName::Liter, 1)], "l", "m3"),
];

/// Spans in seconds.
const SPANS: [(UnitName, i64); 4] =
    [(UnitName::Minute, 60), (UnitName::Hour, 3_600), (UnitName::Day, 86_400), (UnitName::Week, 604_800)];

/// What a record's name begins with, and the names of the header.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let more = ["value", "meter_id", "manufacturer", "medium", "status", "version", "access_number"];
    LABELS.iter().map(|(_, name)| *name).chain(more)
}

/// The fields of a frame from its control field to its last data byte; or of several whole frames, in which a meter has told
/// what one can't hold. Their records are numbered through.
pub(super) fn decode<'a>(frame: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Fault> {
    let mut number = 0;
    // No control field of an answer is that byte.
    if frame.first() == Some(&mbus_link::LONG) {
        return mbus_link::contents(frame).try_for_each(|content| telegram(content, &mut number, fields));
    }
    telegram(frame, &mut number, fields)
}

/// DIF of a record behind which another telegram is to be asked for.
const MORE_RECORDS_FOLLOW: u8 = 0x1f;

/// Whether the meter has more to tell than stands in this frame.
pub(super) fn has_more(frame: &[u8]) -> bool {
    let records = match frame.get(APPLICATION_AT..).unwrap_or_default() {
        [LONG_HEADER, rest @ ..] => rest.get(12..),
        [SHORT_HEADER, rest @ ..] => rest.get(4..),
        [NO_HEADER, rest @ ..] => Some(rest),
        _ => None,
    };
    let ends = |record: DataRecord<'_>| record.raw_bytes().first() == Some(&MORE_RECORDS_FOLLOW);
    DataRecords::new(records.unwrap_or_default(), None).flatten().any(ends)
}

/// The fields of one frame; `number` is that of its first record.
fn telegram<'a>(frame: &'a [u8], number: &mut usize, fields: &mut Fields<'a>) -> Result<(), Fault> {
    let application = frame.get(APPLICATION_AT..).unwrap_or_default();
    if application.first() == Some(&APPLICATION_ERROR) {
        return Err(Fault::Refused { what: application_error(application.get(1).copied()) });
    }
    let records = match application {
        // Identification, maker, version, medium, access number, status, signature.
        [LONG_HEADER, rest @ ..] => {
            let (header, records) = rest.split_first_chunk::<12>().ok_or(SHORT)?;
            let &[a, b, c, d, low, high, version, medium, access, status, _, configuration] = header;
            let id = u32::from_le_bytes([a, b, c, d]);
            let text = |text: String| Raw::String(Cow::Owned(text));
            // Eight digits; some makers use hexadecimal ones.
            fields.main("meter_id", text(format!("{id:08x}")), None);
            fields.main("manufacturer", text(manufacturer(u16::from_le_bytes([low, high]))), None);
            fields.main("medium", text(self::medium(medium)), None);
            fields.detail("version", Raw::Decimal(version.into()));
            short_header(access, status, configuration, fields)?;
            records
        }
        [SHORT_HEADER, rest @ ..] => {
            let (&[access, status, _, configuration], records) =
                rest.split_first_chunk::<4>().ok_or(SHORT)?;
            short_header(access, status, configuration, fields)?;
            records
        }
        [NO_HEADER, records @ ..] => records,
        _ => {
            return Err(Fault::Malformed {
                what: "no header of the variable data structure, low byte first",
            });
        }
    };
    for record in DataRecords::new(records, None) {
        // One that isn't known costs only itself: the crate steps over it by its length.
        if let Ok(record) = record {
            put(*number, &record, fields);
        }
        *number = number.saturating_add(1);
    }
    Ok(())
}

/// EN 13757-3, report of application errors.
const fn application_error(code: Option<u8>) -> &'static str {
    match code {
        Some(1) => "it doesn't know the request",
        Some(2) => "the request was too long",
        Some(3) => "too many records",
        Some(4) => "the end of a record came too early",
        Some(5) => "too many DIFE",
        Some(6) => "too many VIFE",
        Some(8) => "it is busy",
        Some(9) => "too many readouts",
        _ => "an error of its application",
    }
}

fn short_header(access: u8, status: u8, configuration: u8, fields: &mut Fields<'_>) -> Result<(), Fault> {
    fields.main("status", Raw::Decimal(status.into()), None);
    fields.detail("access_number", Raw::Decimal(access.into()));
    // The five bits of the security mode (EN 13757-7).
    if configuration & 0x1f == 0 { Ok(()) } else { Err(Fault::Refused { what: "they are encrypted" }) }
}

/// Three letters of five bits each, A is 1 (EN 13757-3).
fn manufacturer(code: u16) -> String {
    let letter = |shift: u32| {
        let bits = (code >> shift) & 0x1f;
        u8::try_from(bits).ok().and_then(|bits| bits.checked_add(b'@')).map_or('?', char::from)
    };
    [10, 5, 0].into_iter().map(letter).collect()
}

/// EN 13757-3, device types.
fn medium(code: u8) -> String {
    let word = match code {
        0 => "other",
        1 => "oil",
        2 => "electricity",
        3 => "gas",
        4 | 12 => "heat",
        5 => "steam",
        6 => "warm water",
        7 => "water",
        8 => "heat cost allocator",
        9 => "compressed air",
        10 | 11 => "cooling",
        13 => "heat and cooling",
        21 => "hot water",
        22 => "cold water",
        27 => "room sensor",
        _ => return code.to_string(),
    };
    word.to_owned()
}

fn put<'a>(number: usize, record: &DataRecord<'_>, fields: &mut Fields<'a>) {
    let Some(value) = record.value() else { return };
    if let DataType::ManufacturerSpecific(bytes) = value {
        let text = hex::encode(bytes);
        fields.detail(number.to_string(), Raw::String(Cow::Owned(text)));
        return;
    }
    let (raw, unit) = match record.value_information() {
        Some(information) => scaled(record, value, information),
        None => (plain(record, value), None),
    };
    let name = unique(name(record), fields);
    fields.put(Role::Detail, number.to_string(), raw.clone(), unit.clone());
    fields.put(Role::Main, name, raw, unit);
}

fn unique(name: String, fields: &Fields<'_>) -> String {
    if !fields.has(&name) {
        return name;
    }
    let numbered = (2..=u16::MAX).map(|number| format!("{name}_{number}"));
    let mut free = numbered.filter(|name| !fields.has(name));
    free.next().unwrap_or(name)
}

fn name(record: &DataRecord<'_>) -> String {
    let information = record.value_information();
    let label = LABELS.iter().find(|(label, _)| information.is_some_and(|known| known.has_label(*label)));
    let unit = information.and_then(|known| known.first_unit()).map(|unit| unit.name);
    let mut name = match (label, unit) {
        (Some((_, name)), _) => (*name).to_owned(),
        (None, _) if written_unit(record).as_deref() == Some("%RH") => "humidity".to_owned(),
        (None, Some(UnitName::Volt)) => "voltage".to_owned(),
        (None, Some(UnitName::Ampere)) => "current".to_owned(),
        _ => "value".to_owned(),
    };
    let phases =
        [(ValueLabel::AtPhaseL1, "_l1"), (ValueLabel::AtPhaseL2, "_l2"), (ValueLabel::AtPhaseL3, "_l3")];
    for (label, suffix) in phases {
        if information.is_some_and(|known| known.has_label(label)) {
            name.push_str(suffix);
        }
    }
    if let Some(data) = record.data_information() {
        name.push_str(match data.function_field {
            FunctionField::MinimumValue => "_min",
            FunctionField::MaximumValue => "_max",
            FunctionField::ValueDuringErrorState => "_error",
            _ => "",
        });
        for (mark, number) in [("s", data.storage_number), ("t", data.tariff), ("u", data.device)] {
            if number > 0 {
                name.push_str(&format!("_{mark}{number}"));
            }
        }
    }
    name
}

/// A value in its field's unit, exactly.
fn scaled(
    record: &DataRecord<'_>,
    value: &DataType<'_>,
    information: &ValueInformation<'_>,
) -> (Raw<'static>, Option<Cow<'static, str>>) {
    let raw = plain(record, value);
    let Raw::Decimal(number) = raw else { return (raw, None) };
    // Meters with a constant to add are not known well enough to be trusted.
    let power = i32::try_from(information.decimal_scale_exponent).ok();
    let power = power.filter(|_| information.decimal_offset_exponent == 0);
    let Some(number) = power.and_then(|power| shift(number, power)) else { return (Raw::Null, None) };
    let parts: Vec<Part> = information.units().map(|unit| (unit.name, unit.exponent)).collect();
    let span = match parts.as_slice() {
        &[(unit, 1)] => SPANS.iter().find(|(known, _)| *known == unit),
        _ => None,
    };
    if let Some((_, seconds)) = span {
        let span = number.checked_mul(Decimal::from(*seconds));
        return (span.map_or(Raw::Null, |span| Raw::Decimal(span.normalize())), Some("s".into()));
    }
    let found = UNITS.iter().find(|(known, ..)| *known == parts.as_slice());
    let turned = found.and_then(|(_, from, to)| {
        let to = quantity::known(to)?;
        Some((quantity::convert(number, quantity::known(from)?, to)?, to.name))
    });
    let (number, unit) = match turned {
        Some((_, "%")) if information.has_label(ValueLabel::RelativeHumidity) => (number, Some("%RH".into())),
        Some((number, unit)) => (number, Some(unit.into())),
        None => (number, written_unit(record).map(Cow::Owned)),
    };
    (Raw::Decimal(number.normalize()), unit)
}

/// A unit that the record has as text, last letter first.
fn written_unit(record: &DataRecord<'_>) -> Option<String> {
    let header = &record.data_record_header.raw_data_record_header;
    let text = header.value_information_block.as_ref()?.plaintext_vife.as_ref()?.as_ascii_str()?;
    Some(text.chars().rev().collect())
}

fn plain(record: &DataRecord<'_>, value: &DataType<'_>) -> Raw<'static> {
    let text = |text: Option<String>| text.map_or(Raw::Null, |text| Raw::String(Cow::Owned(text)));
    let coding = record.data_information().map(|data| data.data_field_coding);
    let bytes = record.raw_bytes();
    match (value, coding, bytes.last_chunk::<4>()) {
        // The shortest digits of an f32, not those of the f64 that it became.
        (DataType::Number(_), Some(DataFieldCoding::Real32Bit), Some(bytes)) => {
            decimal(&f32::from_le_bytes(*bytes).to_string())
        }
        (DataType::Number(number), ..) => decimal(&number.to_string()),
        (DataType::Text(unit), ..) => text(Some(String::from(*unit))),
        (_, Some(DataFieldCoding::DateTypeG), Some(&[.., low, high])) => text(date(low, high)),
        (_, Some(DataFieldCoding::DateTimeTypeF), Some(&[minute, hour, low, high])) => {
            // The highest bit: the meter's clock isn't right.
            let (is_right, minute, hour) = (minute & 0x80 == 0, minute & 0x3f, hour & 0x1f);
            let date = date(low, high).filter(|_| is_right && minute < 60 && hour < 24);
            text(date.map(|date| format!("{date}T{hour:02}:{minute:02}")))
        }
        // Times with seconds are rare, and the crate's way with day 31 is wrong; numbers with more digits than an f64 has.
        _ => Raw::Null,
    }
}

fn decimal(text: &str) -> Raw<'static> {
    Decimal::from_str(text).map_or(Raw::Null, Raw::Decimal)
}

/// Type G: the year stands in what day and month leave.
fn date(low: u8, high: u8) -> Option<String> {
    let (day, month) = (low & 0x1f, high & 0x0f);
    let year = 2_000_i16.checked_add(i16::from((low & 0xe0) >> 5 | (high & 0xf0) >> 1))?;
    let date = jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    Some(date.to_string())
}
