//! VE.Direct's keys in field words, each with its factor and unit (VE.Direct protocol 3.33, field descriptions).

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::super::decode::Raw;
use super::obis::decimal;
use super::quantity::shift;
use super::{Fields, Role, word};

/// What a key's value is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A number times a power of ten.
    Number(i32, Option<&'static str>),
    /// ON or OFF.
    Switch,
    /// Text.
    Text,
}

use Kind::{Number, Switch, Text};

const fn volts(power: i32) -> Kind {
    Number(power, Some("V"))
}

/// Key, name, and what its value is.
const KEYS: [(&str, &str, Kind); 63] = [
    ("V", "voltage", volts(-3)),
    ("V2", "voltage_2", volts(-3)),
    ("V3", "voltage_3", volts(-3)),
    ("VS", "starter_voltage", volts(-3)),
    ("VM", "midpoint_voltage", volts(-3)),
    ("DM", "midpoint_deviation", Number(-1, Some("%"))),
    ("VPV", "pv_voltage", volts(-3)),
    ("PPV", "pv_power", Number(0, Some("W"))),
    ("I", "current", Number(-3, Some("A"))),
    ("I2", "current_2", Number(-3, Some("A"))),
    ("I3", "current_3", Number(-3, Some("A"))),
    ("IL", "load_current", Number(-3, Some("A"))),
    ("LOAD", "load", Switch),
    ("T", "temperature", Number(0, Some("Cel"))),
    ("P", "power", Number(0, Some("W"))),
    ("CE", "charge_consumed", Number(-3, Some("Ah"))),
    ("SOC", "state_of_charge", Number(-1, Some("%"))),
    ("TTG", "time_to_go", Number(0, Some("min"))),
    ("Alarm", "alarm", Switch),
    ("Relay", "relay", Switch),
    ("AR", "alarm_reason", Number(0, None)),
    ("OR", "off_reason", Text),
    ("H1", "discharge_deepest", Number(-3, Some("Ah"))),
    ("H2", "discharge_last", Number(-3, Some("Ah"))),
    ("H3", "discharge_average", Number(-3, Some("Ah"))),
    ("H4", "charge_cycles", Number(0, Some("count"))),
    ("H5", "full_discharges", Number(0, Some("count"))),
    ("H6", "charge_drawn_total", Number(-3, Some("Ah"))),
    ("H7", "voltage_min", volts(-3)),
    ("H8", "voltage_max", volts(-3)),
    ("H9", "since_full_charge", Number(0, Some("s"))),
    ("H10", "synchronizations", Number(0, Some("count"))),
    ("H11", "alarms_low_voltage", Number(0, Some("count"))),
    ("H12", "alarms_high_voltage", Number(0, Some("count"))),
    ("H13", "alarms_low_starter_voltage", Number(0, Some("count"))),
    ("H14", "alarms_high_starter_voltage", Number(0, Some("count"))),
    ("H15", "starter_voltage_min", volts(-3)),
    ("H16", "starter_voltage_max", volts(-3)),
    ("H17", "energy_discharged", Number(-2, Some("kWh"))),
    ("H18", "energy_charged", Number(-2, Some("kWh"))),
    ("H19", "yield_total", Number(-2, Some("kWh"))),
    ("H20", "yield_today", Number(-2, Some("kWh"))),
    ("H21", "power_max_today", Number(0, Some("W"))),
    ("H22", "yield_yesterday", Number(-2, Some("kWh"))),
    ("H23", "power_max_yesterday", Number(0, Some("W"))),
    ("ERR", "error", Number(0, None)),
    ("CS", "state", Number(0, None)),
    ("BMV", "model", Text),
    ("FW", "firmware", Text),
    ("FWE", "firmware", Text),
    ("PID", "product_id", Text),
    ("SER#", "serial_number", Text),
    ("HSDS", "day", Number(0, Some("count"))),
    ("MODE", "mode", Number(0, None)),
    ("AC_OUT_V", "ac_voltage", volts(-2)),
    ("AC_OUT_I", "ac_current", Number(-1, Some("A"))),
    ("AC_OUT_S", "ac_apparent_power", Number(0, Some("VA"))),
    ("WARN", "warning", Number(0, None)),
    ("MPPT", "tracker_mode", Number(0, None)),
    ("MON", "dc_monitor_mode", Number(0, None)),
    ("DC_IN_V", "dc_voltage", volts(-2)),
    ("DC_IN_I", "dc_current", Number(-1, Some("A"))),
    ("DC_IN_P", "dc_power", Number(0, Some("W"))),
];

/// How a key's value is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// A whole number, of this power of ten of the unit.
    Number {
        /// The power of ten.
        power: i32,
        /// The unit.
        unit: Option<&'static str>,
    },
    /// ON or OFF.
    Switch,
    /// Text.
    Text,
}

/// The key that is called so, and how its value is written.
pub(super) fn of(name: &str) -> Option<(&'static str, Form)> {
    let (key, _, kind) = KEYS.iter().find(|(key, known, _)| *known == name || *key == name)?;
    let form = match *kind {
        Number(power, unit) => Form::Number { power, unit },
        Switch => Form::Switch,
        Text => Form::Text,
    };
    Some((key, form))
}

/// Every name, and every key.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|(key, name, _)| [*name, *key])
}

/// Puts a key's value, as it was sent and in field words.
pub(super) fn put<'a>(key: &'a str, value: &'a str, fields: &mut Fields<'a>) {
    let Some((_, name, kind)) = KEYS.iter().find(|(known, ..)| *known == key) else {
        fields.put(Role::Main, key, word(value), None);
        return;
    };
    let (raw, unit) = match kind {
        Text => (Raw::String(Cow::Borrowed(value)), None),
        Switch => (switch(value), None),
        // No end of the battery in sight.
        Number(..) if key == "TTG" && value == "-1" => (Raw::Null, Some("min")),
        // `---` is what a monitor without that sensor sends.
        Number(power, unit) => {
            let number = decimal(value).and_then(|number| shift(number, *power));
            (number.map_or(Raw::Null, |number: Decimal| Raw::Decimal(number.normalize())), *unit)
        }
    };
    // A sensor that isn't there is no value that is missing.
    if value != "---" {
        fields.put(Role::Detail, key, word(value), None);
        fields.main(*name, raw, unit);
    }
}

fn switch(value: &str) -> Raw<'_> {
    if value.eq_ignore_ascii_case("on") {
        Raw::Bool(true)
    } else if value.eq_ignore_ascii_case("off") {
        Raw::Bool(false)
    } else {
        Raw::Null
    }
}
