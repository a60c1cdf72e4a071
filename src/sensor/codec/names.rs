//! Which names the fields of a codec can have, so that a typing mistake in a config is one and not a value that never
//! comes.

use super::{CodecKind, mbus, nmea_sentences, obis_names, vedirect_names};

impl CodecKind {
    /// Names in field words that a point's `from` can have; there may be more, see [`CodecKind::may_have`].
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Self::Nmea { .. } => nmea_sentences::NAMES.to_vec(),
            Self::VeDirect => vedirect_names::names().collect(),
            Self::Dsmr | Self::Iec62056 | Self::Sml => obis_names::names().collect(),
            Self::Mbus => mbus::names().collect(),
        }
    }

    /// Whether a frame of this protocol could have a field of this name: of the protocol's own names, which are many,
    /// any that looks like one.
    #[must_use]
    pub fn may_have(self, from: &str) -> bool {
        let is_named = |name: &str| self.names().contains(&name);
        if is_named(from) {
            return true;
        }
        match self {
            Self::Nmea { .. } => from.starts_with(nmea_sentences::TRANSDUCER),
            // Newer devices have keys that aren't known here; all are in capitals.
            Self::VeDirect => {
                from.starts_with("hex_0x") || from.contains(|letter: char| letter.is_ascii_uppercase())
            }
            Self::Dsmr | Self::Iec62056 | Self::Sml => {
                // Of a value with a time: gas_time; of a second gas meter: gas_2, gas_2_time.
                let value = from.strip_suffix("_time").unwrap_or(from);
                let first = value.trim_end_matches(|c: char| c.is_ascii_digit());
                let first = first.strip_suffix('_').unwrap_or(first);
                from.contains('.')
                    || is_named(value)
                    || obis_names::MEDIA.iter().any(|(_, name)| *name == first)
            }
            Self::Mbus => {
                let is_number = !from.is_empty() && from.bytes().all(|byte| byte.is_ascii_digit());
                is_number
                    || self
                        .names()
                        .iter()
                        .any(|name| from.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')))
            }
        }
    }
}
