//! Units that people measure in: the SenML name (RFC 8428, 12.1; RFC 8798), what it measures, and what people write
//! instead. A unit outside of this table is allowed; the table is for checking and for discovery.

/// One unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its SenML name where it has one, else its UCUM name: `Cel`.
    pub name: &'static str,
    /// For people: `°C`.
    pub symbol: &'static str,
    /// What it measures.
    pub quantity: &'static str,
    /// What else people write, in any case.
    aliases: &'static [&'static str],
}

/// The unit with exactly this name.
#[must_use]
pub fn known(name: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| unit.name == name)
}

/// The unit that was probably meant by a name that is not [`known`]: another way of writing it, else the nearest
/// name. `None` where nothing is near.
#[must_use]
pub fn suggest(name: &str) -> Option<&'static Unit> {
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    // Case means something (`mW`, `MW`), so the exact symbol comes first.
    let by_symbol = UNITS.iter().find(|unit| unit.name == name || unit.symbol == name);
    let by_alias = || UNITS.iter().find(|unit| unit.aliases.contains(&name));
    let by_any_case = || {
        let lower = name.to_lowercase();
        let same = |word: &&str| word.to_lowercase() == lower;
        UNITS.iter().find(|unit| same(&unit.name) || same(&unit.symbol) || unit.aliases.iter().any(same))
    };
    by_symbol.or_else(by_alias).or_else(by_any_case).or_else(|| nearest(name))
}

/// The one word that is a typing mistake away. Short names are near to everything, so they are not guessed at.
fn nearest(name: &str) -> Option<&'static Unit> {
    let lower: Vec<char> = name.to_lowercase().chars().collect();
    if !(4..=24).contains(&lower.len()) {
        return None;
    }
    let words = UNITS.iter().flat_map(|unit| {
        let words = unit.aliases.iter().copied().chain([unit.name]);
        words.filter(|word| word.chars().count() >= 4).map(move |word| (unit, word))
    });
    let near = words.map(|(unit, word)| {
        let word: Vec<char> = word.to_lowercase().chars().collect();
        (distance(&lower, &word), unit)
    });
    near.filter(|(distance, _)| *distance <= 2).min_by_key(|(distance, _)| *distance).map(|(_, unit)| unit)
}

/// Letters to insert, delete or replace.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        for (pair, other) in row.windows(2).zip(b) {
            let &[diagonal, above] = pair else { continue };
            let replaced = diagonal.saturating_add(usize::from(letter != other));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

const fn unit(
    name: &'static str,
    symbol: &'static str,
    quantity: &'static str,
    aliases: &'static [&'static str],
) -> Unit {
    Unit { name, symbol, quantity, aliases }
}

/// All of them, by quantity.
pub const UNITS: &[Unit] = &[
    unit("Cel", "°C", "temperature", &["C°", "degC", "deg C", "celsius", "Celcius", "grad", "centigrade"]),
    unit("K", "K", "temperature", &["kelvin", "degK"]),
    unit("[degF]", "°F", "temperature", &["degF", "fahrenheit", "F°"]),
    unit("%RH", "%RH", "relative humidity", &["RH", "% RH", "rH%", "%rel", "%r.h.", "humidity"]),
    unit("%", "%", "percentage", &["percent", "pct", "per cent"]),
    unit("/", "", "ratio", &["ratio", "1"]),
    unit("ppm", "ppm", "concentration", &["parts per million"]),
    unit("ppb", "ppb", "concentration", &["parts per billion"]),
    unit("Pa", "Pa", "pressure", &["pascal"]),
    unit("hPa", "hPa", "pressure", &["mbar", "millibar", "hectopascal", "mb"]),
    unit("kPa", "kPa", "pressure", &["kilopascal"]),
    unit("bar", "bar", "pressure", &[]),
    unit("[psi]", "psi", "pressure", &["lbf/in2"]),
    unit("m", "m", "length", &["metre", "meter", "mtr"]),
    unit("mm", "mm", "length", &["millimetre", "millimeter"]),
    unit("cm", "cm", "length", &["centimetre", "centimeter"]),
    unit("km", "km", "length", &["kilometre", "kilometer"]),
    unit("m2", "m²", "area", &["sqm", "m^2"]),
    unit("m3", "m³", "volume", &["cbm", "m^3", "cubic metre"]),
    unit("l", "l", "volume", &["L", "litre", "liter", "ltr"]),
    unit("ml", "ml", "volume", &["millilitre", "milliliter"]),
    unit("m3/s", "m³/s", "volume flow", &[]),
    unit("m3/h", "m³/h", "volume flow", &["m^3/h", "cbm/h"]),
    unit("l/s", "l/s", "volume flow", &["lps"]),
    unit("l/min", "l/min", "volume flow", &["lpm", "L/m"]),
    unit("l/h", "l/h", "volume flow", &["lph"]),
    unit("m/s", "m/s", "speed", &["mps", "metres per second"]),
    unit("km/h", "km/h", "speed", &["kmh", "kph", "kmph"]),
    unit("[kn_i]", "kn", "speed", &["knots", "kt", "kts"]),
    unit("m/s2", "m/s²", "acceleration", &["m/s^2"]),
    unit("mm/h", "mm/h", "rain intensity", &[]),
    unit("kg", "kg", "mass", &["kilogram", "kgs", "kilo"]),
    unit("g", "g", "mass", &["gram", "gr"]),
    unit("mg", "mg", "mass", &["milligram"]),
    unit("t", "t", "mass", &["tonne", "ton"]),
    unit("N", "N", "force", &["newton"]),
    unit("N.m", "Nm", "torque", &["newton metre"]),
    unit("kg/m3", "kg/m³", "density", &["kg/m^3"]),
    unit("ug/m3", "µg/m³", "mass concentration", &["ug/m^3", "μg/m³", "µg/m3", "μg/m3", "mcg/m3"]),
    unit("mg/m3", "mg/m³", "mass concentration", &["mg/m^3"]),
    unit("mg/l", "mg/l", "mass concentration", &["mg per litre"]),
    unit("s", "s", "time", &["sec", "second", "seconds"]),
    unit("ms", "ms", "time", &["msec", "millisecond", "milliseconds"]),
    unit("min", "min", "time", &["minute", "minutes", "mins"]),
    unit("h", "h", "time", &["hr", "hrs", "hour", "hours"]),
    unit("Hz", "Hz", "frequency", &["hertz", "cps"]),
    unit("1/s", "1/s", "event rate", &["per second", "s-1"]),
    unit("1/min", "1/min", "event rate", &["rpm", "U/min", "per minute", "cpm"]),
    unit("1/h", "1/h", "event rate", &["per hour"]),
    unit("beat/min", "bpm", "heart rate", &["beats per minute"]),
    unit("V", "V", "voltage", &["volt", "volts"]),
    unit("mV", "mV", "voltage", &["millivolt", "millivolts"]),
    unit("A", "A", "current", &["amp", "amps", "ampere"]),
    unit("mA", "mA", "current", &["milliamp", "milliampere"]),
    unit("W", "W", "power", &["watt", "watts"]),
    unit("mW", "mW", "power", &["milliwatt"]),
    unit("kW", "kW", "power", &["kilowatt"]),
    unit("MW", "MW", "power", &["megawatt"]),
    unit("VA", "VA", "apparent power", &["voltampere"]),
    unit("kVA", "kVA", "apparent power", &[]),
    unit("var", "var", "reactive power", &["VAr"]),
    unit("kvar", "kvar", "reactive power", &["kVAr"]),
    unit("Wh", "Wh", "energy", &["watthour", "W h"]),
    unit("kWh", "kWh", "energy", &["kilowatthour", "kW h", "kwhr", "kW*h"]),
    unit("MWh", "MWh", "energy", &["megawatthour"]),
    unit("varh", "varh", "reactive energy", &[]),
    unit("kvarh", "kvarh", "reactive energy", &["kVArh"]),
    unit("kVAh", "kVAh", "apparent energy", &[]),
    unit("J", "J", "energy", &["joule"]),
    unit("MJ", "MJ", "energy", &["megajoule"]),
    unit("GJ", "GJ", "energy", &["gigajoule"]),
    unit("Ah", "Ah", "charge", &["amp hour", "amphour"]),
    unit("C", "C", "charge", &["coulomb"]),
    unit("Ohm", "Ω", "resistance", &["ohms", "Ω"]),
    unit("S", "S", "conductance", &["siemens"]),
    unit("S/m", "S/m", "conductivity", &[]),
    unit("uS/cm", "µS/cm", "conductivity", &["μS/cm", "us/cm"]),
    unit("F", "F", "capacitance", &["farad"]),
    unit("H", "H", "inductance", &["henry"]),
    unit("T", "T", "magnetic flux density", &["tesla"]),
    unit("uT", "µT", "magnetic flux density", &["μT", "microtesla"]),
    unit("lx", "lx", "illuminance", &["lux"]),
    unit("lm", "lm", "luminous flux", &["lumen"]),
    unit("cd", "cd", "luminous intensity", &["candela"]),
    unit("W/m2", "W/m²", "irradiance", &["W/m^2", "W/sqm"]),
    unit("dB", "dB", "level", &["decibel"]),
    unit("dB[SPL]", "dB SPL", "sound level", &["dBA", "dB(A)", "dBspl"]),
    unit("dBm", "dBm", "signal level", &["dBmW"]),
    unit("pH", "pH", "acidity", &[]),
    unit("[NTU]", "NTU", "turbidity", &["ntu"]),
    unit("deg", "°", "angle", &["degree", "degrees", "grad°"]),
    unit("rad", "rad", "angle", &["radian"]),
    unit("lat", "°", "latitude", &["latitude"]),
    unit("lon", "°", "longitude", &["lng", "longitude"]),
    unit("Bq", "Bq", "radioactivity", &["becquerel"]),
    unit("Sv", "Sv", "radiation dose", &["sievert"]),
    unit("uSv/h", "µSv/h", "radiation dose rate", &["μSv/h"]),
    unit("mol", "mol", "amount of substance", &[]),
    unit("count", "", "count", &["counts", "pulses", "pcs", "pieces", "events"]),
    unit("bit", "bit", "data", &["bits"]),
    unit("B", "B", "data", &["byte", "bytes"]),
    unit("KiB", "KiB", "data", &["kbyte"]),
    unit("MiB", "MiB", "data", &["mbyte"]),
    unit("bit/s", "bit/s", "data rate", &["bps"]),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_and_every_alias_stands_once() {
        let mut seen = HashSet::new();
        for unit in UNITS {
            assert!(seen.insert(unit.name), "{}", unit.name);
            assert!(!unit.quantity.is_empty());
            for alias in unit.aliases.iter().filter(|&&alias| alias != unit.symbol) {
                assert!(seen.insert(alias), "{alias}");
            }
            assert_eq!(known(unit.name), Some(unit));
        }
    }

    #[test]
    fn what_people_write_leads_to_the_name() {
        let check = |written: &str, expected: Option<&str>| {
            assert_eq!(suggest(written).map(|unit| unit.name), expected, "{written}");
        };
        check("°C", Some("Cel"));
        check("celsius", Some("Cel"));
        check("cel", Some("Cel"));
        check("degC", Some("Cel"));
        check("celsuis", Some("Cel"));
        check("°F", Some("[degF]"));
        check("%rh", Some("%RH"));
        check("mbar", Some("hPa"));
        check("hpa", Some("hPa"));
        check("µg/m³", Some("ug/m3"));
        check("μg/m3", Some("ug/m3"));
        check("lux", Some("lx"));
        check("kwh", Some("kWh"));
        check("KG", Some("kg"));
        check("mW", Some("mW"));
        check("MW", Some("MW"));
        check("KWH", Some("kWh"));
        check("Volts", Some("V"));
        check("kilogramm", Some("kg"));
        check("L", Some("l"));
        check(" Cel ", Some("Cel"));
        check("Cel", Some("Cel"));
        check("xyz", None);
        check("", None);
        check("furlongs per fortnight", None);
    }

    #[test]
    fn distances_are_those_of_single_letters() {
        let check = |a: &str, b: &str, expected: usize| {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!((distance(&a, &b), distance(&b, &a)), (expected, expected), "{a:?} {b:?}");
        };
        check("", "", 0);
        check("", "abc", 3);
        check("kitten", "sitting", 3);
        check("lux", "lx", 1);
        check("abc", "abc", 0);
    }
}
