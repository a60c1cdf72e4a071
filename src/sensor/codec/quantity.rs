//! Units as meters write them: their SenML names, and how to turn one into another of the same quantity, exactly.

use rust_decimal::Decimal;

/// A unit: its SenML or UCUM name, what it measures, and what leads to that quantity's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// As readings have it.
    pub(super) name: &'static str,
    quantity: Quantity,
    /// A power of ten.
    power: i8,
    /// And a fraction.
    ratio: (i64, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    Power,
    ReactivePower,
    ApparentPower,
    Energy,
    ReactiveEnergy,
    ApparentEnergy,
    Voltage,
    Current,
    Charge,
    Frequency,
    Volume,
    Flow,
    Temperature,
    Difference,
    Span,
    Pressure,
    Mass,
    Angle,
    Ratio,
    Speed,
    Length,
}

use Quantity::*;

/// As it is written, and what it is. Case counts: `mW`, `MW`. DSMR writes kvar, IEC 62056-21 meters kVar and kvarh too.
const WRITTEN: [(&str, Unit); 52] = [
    written("W", "W", Power, 0),
    written("kW", "kW", Power, 3),
    written("MW", "MW", Power, 6),
    written("var", "var", ReactivePower, 0),
    written("kvar", "kvar", ReactivePower, 3),
    written("VAr", "var", ReactivePower, 0),
    written("kVAr", "kvar", ReactivePower, 3),
    written("VA", "VA", ApparentPower, 0),
    written("kVA", "kVA", ApparentPower, 3),
    written("Wh", "Wh", Energy, 0),
    written("kWh", "kWh", Energy, 3),
    written("MWh", "MWh", Energy, 6),
    written("varh", "varh", ReactiveEnergy, 0),
    written("kvarh", "kvarh", ReactiveEnergy, 3),
    written("kVArh", "kvarh", ReactiveEnergy, 3),
    written("VAh", "VAh", ApparentEnergy, 0),
    written("kVAh", "kVAh", ApparentEnergy, 3),
    fraction("J", Energy, 0, (1, 3_600)),
    fraction("MJ", Energy, 6, (1, 3_600)),
    fraction("GJ", Energy, 9, (1, 3_600)),
    written("mV", "mV", Voltage, -3),
    written("V", "V", Voltage, 0),
    written("mA", "mA", Current, -3),
    written("A", "A", Current, 0),
    written("mAh", "mAh", Charge, -3),
    written("Ah", "Ah", Charge, 0),
    written("Hz", "Hz", Frequency, 0),
    written("m3", "m3", Volume, 0),
    written("l", "l", Volume, -3),
    written("dm3", "l", Volume, -3),
    written("m3/h", "m3/h", Flow, 0),
    written("l/h", "l/h", Flow, -3),
    written("\u{b0}C", "Cel", Temperature, 0),
    written("C", "Cel", Temperature, 0),
    written("K", "K", Difference, 0),
    written("ms", "ms", Span, -3),
    written("s", "s", Span, 0),
    fraction("min", Span, 0, (60, 1)),
    fraction("h", Span, 0, (3_600, 1)),
    written("Pa", "Pa", Pressure, 0),
    written("hPa", "hPa", Pressure, 2),
    written("kPa", "kPa", Pressure, 3),
    written("bar", "bar", Pressure, 5),
    written("m/s", "m/s", Speed, 0),
    fraction("km/h", Speed, 0, (1_000, 3_600)),
    fraction("[kn_i]", Speed, 0, (1_852, 3_600)),
    written("m", "m", Length, 0),
    written("km", "km", Length, 3),
    written("kg", "kg", Mass, 0),
    written("deg", "deg", Angle, 0),
    written("%", "%", Ratio, -2),
    written("Cel", "Cel", Temperature, 0),
];

const fn written(
    text: &'static str,
    name: &'static str,
    quantity: Quantity,
    power: i8,
) -> (&'static str, Unit) {
    (text, Unit { name, quantity, power, ratio: (1, 1) })
}

const fn fraction(
    name: &'static str,
    quantity: Quantity,
    power: i8,
    ratio: (i64, i64),
) -> (&'static str, Unit) {
    (name, Unit { name, quantity, power, ratio })
}

/// The unit that is written so.
pub(super) fn known(text: &str) -> Option<Unit> {
    WRITTEN.iter().find(|(known, _)| *known == text).map(|(_, unit)| *unit)
}

/// The unit of a code of the DLMS list (IEC 62056-6-2, table of units) that SML uses.
pub(super) fn dlms(code: u8) -> Option<Unit> {
    let text = match code {
        7 => "s",
        8 => "deg",
        9 => "Cel",
        13 | 14 => "m3",
        15 | 16 => "m3/h",
        27 => "W",
        28 => "VA",
        29 => "var",
        30 => "Wh",
        31 => "VAh",
        32 => "varh",
        33 => "A",
        35 => "V",
        44 => "Hz",
        _ => return None,
    };
    known(text)
}

/// `number` of one unit in another of the same quantity; `None` where there is none, or too many digits. Exact, but for
/// fractions that no decimal holds: those have nine places.
pub(super) fn convert(number: Decimal, from: Unit, to: Unit) -> Option<Decimal> {
    if from.quantity != to.quantity {
        return None;
    }
    let number = shift(number, i32::from(from.power).checked_sub(i32::from(to.power))?)?;
    if from.ratio == to.ratio {
        return Some(number);
    }
    let over = Decimal::from(from.ratio.0.checked_mul(to.ratio.1)?);
    let under = Decimal::from(from.ratio.1.checked_mul(to.ratio.0)?);
    Some(number.checked_mul(over)?.checked_div(under)?.round_dp(9))
}

/// `number × 10^power`, exactly; `None` where 28 digits don't hold it.
pub(super) fn shift(number: Decimal, power: i32) -> Option<Decimal> {
    let scale = i32::try_from(number.scale()).ok()?.checked_sub(power)?;
    if let Ok(scale) = u32::try_from(scale) {
        let mut shifted = number;
        shifted.set_scale(scale).ok()?;
        return Some(shifted);
    }
    let mut whole = number;
    whole.set_scale(0).ok()?;
    let factor = Decimal::from(10_u64.checked_pow(scale.unsigned_abs())?);
    whole.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_one_quantity_turn_into_one_another_exactly() {
        let check = |number: &str, from: &str, to: &str, expected: Option<&str>| {
            let (from, to) = (known(from).unwrap(), known(to).unwrap());
            let found =
                convert(number.parse().unwrap(), from, to).map(|number| number.normalize().to_string());
            assert_eq!(found.as_deref(), expected, "{number}");
        };
        check("006545766", "Wh", "kWh", Some("6545.766"));
        check("0.244", "kW", "W", Some("244"));
        check("2", "MWh", "kWh", Some("2000"));
        check("-12.34567", "kW", "W", Some("-12345.67"));
        check("5", "A", "V", None);
        check("10", "m/s", "km/h", Some("36"));
        check("1", "[kn_i]", "m/s", Some("0.514444444"));
        check("3.6", "MJ", "kWh", Some("1"));
        check("90", "min", "h", Some("1.5"));
        check("79228162514264337593543950335", "MW", "W", None);
    }

    #[test]
    fn a_shift_that_no_decimal_holds_is_refused() {
        for power in [-29, -128, 29, 127] {
            assert_eq!(shift(Decimal::from(7), power), None, "{power}");
        }
        assert_eq!(shift(Decimal::from(-7), -2), Some(Decimal::new(-7, 2)));
        assert_eq!(shift(Decimal::new(75, 1), 3), Some(Decimal::from(7_500)));
    }
}
