//! OBIS codes (IEC 62056-61, DSMR P1 companion standard) and what they are called here.

/// `A-B:C.D.E`. Mode C readouts leave A and B out: electricity, channel 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    a: u8,
    /// The channel.
    pub(super) b: u8,
    cde: [u8; 3],
}

impl Code {
    /// `None` for what has letters, such as `F.F`, or fewer than three numbers.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (a, b, rest) = match text.split_once(':') {
            Some((medium, rest)) => {
                let (a, b) = medium.split_once('-')?;
                (a.parse().ok()?, b.parse().ok()?, rest)
            }
            None => (1, 0, text),
        };
        let mut numbers = rest.split('.');
        let mut number = || numbers.next()?.parse().ok();
        let cde = [number()?, number()?, number()?];
        numbers.next().is_none().then_some(Self { a, b, cde })
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, d, e, _] = bytes else { return None };
        Some(Self { a, b, cde: [c, d, e] })
    }

    /// The last reading of a meter on an M-Bus channel: 24.2.1, Belgium's uncorrected gas 24.2.3, DSMR 3's 24.3.0.
    pub(super) fn is_channel_reading(&self) -> bool {
        self.a == 0 && self.b > 0 && matches!(self.cde, [24, 2, 1 | 3] | [24, 3, 0])
    }

    pub(super) fn is_type_of(&self, channel: u8) -> bool {
        self.a == 0 && self.b == channel && self.cde == [24, 1, 0]
    }
}

/// What a known code's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it was sent.
    Plain,
    /// A number, turned into this unit; of another quantity it is not what the name says.
    Unit(&'static str),
    /// A whole number, perhaps with a unit.
    Count(Option<&'static str>),
    /// `yymmddhhmmss` with S or W.
    Time,
    /// Text.
    Text,
    /// Text in hexadecimal digits.
    HexText,
}

/// A name, and what its value is.
#[derive(Debug)]
pub(super) struct Known {
    a: u8,
    cde: [u8; 3],
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

const fn known(a: u8, cde: [u8; 3], name: &'static str, kind: Kind) -> Known {
    Known { a, cde, name, kind }
}

/// The names of a code; the channel makes no difference. Of several the unit decides.
pub(super) fn find(code: Code) -> impl Iterator<Item = &'static Known> {
    KNOWN.iter().filter(move |known| known.a == code.a && known.cde == code.cde)
}

/// What a device on an M-Bus channel measures (EN 13757-3, device types).
pub(super) const MEDIA: [(u8, &str); 10] = [
    (2, "electricity"),
    (3, "gas"),
    (4, "heat"),
    (6, "hot_water"),
    (7, "water"),
    (10, "cold"),
    (11, "cold"),
    (12, "heat"),
    (21, "hot_water"),
    (22, "water"),
];

pub(super) fn medium(kind: u8) -> Option<&'static str> {
    MEDIA.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name)
}

/// The code that is called so, or that is written so, as meters print it; and what its value is.
pub(super) fn of(name: &str) -> Option<(String, Kind)> {
    let ([a, b, c, d, e, _], kind) = bytes_of(name)?;
    Some((format!("{a}-{b}:{c}.{d}.{e}"), kind))
}

/// The same in bytes.
pub(super) fn bytes_of(name: &str) -> Option<([u8; 6], Kind)> {
    let bytes = |a: u8, b: u8, cde: [u8; 3]| {
        let [c, d, e] = cde;
        [a, b, c, d, e, 255]
    };
    if let Some(code) = Code::parse(name.strip_suffix("*255").unwrap_or(name)) {
        let kind = find(code).next().map_or(Kind::Plain, |known| known.kind);
        return Some((bytes(code.a, code.b, code.cde), kind));
    }
    // Of several those that DSMR has, whose medium is 0, come last.
    let known = KNOWN.iter().rev().find(|known| known.name == name)?;
    Some((bytes(known.a, 0, known.cde), known.kind))
}

/// The type of a device on an M-Bus channel that measures this.
pub(super) fn medium_of(name: &str) -> Option<u8> {
    MEDIA.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
}

/// Every name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let more = ["identification", "seconds"];
    KNOWN.iter().map(|known| known.name).chain(MEDIA.iter().map(|(_, name)| *name)).chain(more)
}

const KWH: Kind = Kind::Unit("kWh");
const KVARH: Kind = Kind::Unit("kvarh");
const W: Kind = Kind::Unit("W");
const VAR: Kind = Kind::Unit("var");
const V: Kind = Kind::Unit("V");
const A: Kind = Kind::Unit("A");
const COUNT: Kind = Kind::Count(Some("count"));

/// All of them: import is what the customer takes, export what the customer gives.
const KNOWN: &[Known] = &[
    known(1, [1, 8, 0], "energy_import", KWH),
    known(1, [1, 8, 1], "energy_import_1", KWH),
    known(1, [1, 8, 2], "energy_import_2", KWH),
    known(1, [1, 8, 3], "energy_import_3", KWH),
    known(1, [1, 8, 4], "energy_import_4", KWH),
    known(1, [2, 8, 0], "energy_export", KWH),
    known(1, [2, 8, 1], "energy_export_1", KWH),
    known(1, [2, 8, 2], "energy_export_2", KWH),
    known(1, [2, 8, 3], "energy_export_3", KWH),
    known(1, [2, 8, 4], "energy_export_4", KWH),
    known(1, [3, 8, 0], "reactive_energy_import", KVARH),
    known(1, [3, 8, 1], "reactive_energy_import_1", KVARH),
    known(1, [3, 8, 2], "reactive_energy_import_2", KVARH),
    known(1, [4, 8, 0], "reactive_energy_export", KVARH),
    known(1, [4, 8, 1], "reactive_energy_export_1", KVARH),
    known(1, [4, 8, 2], "reactive_energy_export_2", KVARH),
    known(1, [1, 7, 0], "power_import", W),
    known(1, [2, 7, 0], "power_export", W),
    known(1, [16, 7, 0], "power", W),
    known(1, [3, 7, 0], "reactive_power_import", VAR),
    known(1, [4, 7, 0], "reactive_power_export", VAR),
    known(1, [21, 7, 0], "power_import_l1", W),
    known(1, [41, 7, 0], "power_import_l2", W),
    known(1, [61, 7, 0], "power_import_l3", W),
    known(1, [22, 7, 0], "power_export_l1", W),
    known(1, [42, 7, 0], "power_export_l2", W),
    known(1, [62, 7, 0], "power_export_l3", W),
    known(1, [36, 7, 0], "power_l1", W),
    known(1, [56, 7, 0], "power_l2", W),
    known(1, [76, 7, 0], "power_l3", W),
    known(1, [23, 7, 0], "reactive_power_import_l1", VAR),
    known(1, [43, 7, 0], "reactive_power_import_l2", VAR),
    known(1, [63, 7, 0], "reactive_power_import_l3", VAR),
    known(1, [24, 7, 0], "reactive_power_export_l1", VAR),
    known(1, [44, 7, 0], "reactive_power_export_l2", VAR),
    known(1, [64, 7, 0], "reactive_power_export_l3", VAR),
    known(1, [32, 7, 0], "voltage_l1", V),
    known(1, [52, 7, 0], "voltage_l2", V),
    known(1, [72, 7, 0], "voltage_l3", V),
    known(1, [31, 7, 0], "current_l1", A),
    known(1, [51, 7, 0], "current_l2", A),
    known(1, [71, 7, 0], "current_l3", A),
    known(1, [31, 4, 0], "current_limit", A),
    known(1, [13, 7, 0], "power_factor", Kind::Count(None)),
    known(1, [14, 7, 0], "frequency", Kind::Unit("Hz")),
    known(1, [1, 4, 0], "demand", W),
    known(1, [1, 6, 0], "demand_peak", W),
    known(1, [32, 32, 0], "voltage_sags_l1", COUNT),
    known(1, [52, 32, 0], "voltage_sags_l2", COUNT),
    known(1, [72, 32, 0], "voltage_sags_l3", COUNT),
    known(1, [32, 36, 0], "voltage_swells_l1", COUNT),
    known(1, [52, 36, 0], "voltage_swells_l2", COUNT),
    known(1, [72, 36, 0], "voltage_swells_l3", COUNT),
    known(1, [0, 2, 8], "version", Kind::Text),
    known(1, [0, 0, 0], "meter_id", Kind::Text),
    known(1, [0, 0, 9], "meter_id", Kind::HexText),
    known(1, [96, 1, 0], "meter_id", Kind::HexText),
    known(0, [1, 0, 0], "time", Kind::Time),
    known(0, [96, 1, 1], "meter_id", Kind::HexText),
    known(0, [96, 1, 4], "version", Kind::Text),
    known(0, [96, 14, 0], "tariff", Kind::Count(None)),
    known(0, [96, 3, 10], "switch", Kind::Count(None)),
    known(0, [96, 7, 21], "power_failures", COUNT),
    known(0, [96, 7, 9], "power_failures_long", COUNT),
    known(0, [96, 13, 0], "message", Kind::HexText),
    known(0, [96, 13, 1], "message_code", Kind::HexText),
    known(0, [17, 0, 0], "power_limit", W),
    known(0, [17, 0, 0], "current_limit", A),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_with_and_without_medium() {
        let check = |text: &str, expected: Option<&str>| {
            let name = Code::parse(text).and_then(|code| find(code).next()).map(|known| known.name);
            assert_eq!(name, expected, "{text}");
        };
        check("1-0:1.8.1", Some("energy_import_1"));
        check("1-1:1.8.1", Some("energy_import_1"));
        check("1.8.1", Some("energy_import_1"));
        check("0-0:96.14.0", Some("tariff"));
        check("0-1:96.14.0.1", None);
        check("F.F", None);
        check("C.1.1", None);
        check("1-0:1.8", None);
        check("1-0:1.8.256", None);
        check("", None);
    }
}
