//! `decode` of a protocol that is code: what it may be told, and which names its points can have.

use super::mistake::{Mistakes, quoted};
use super::names::refers;
use super::schema::Effect::Reconnect;
use super::schema::{Kind, Table, key, optional};
use super::section::Section;
use crate::sensor::CodecKind;

/// `decode = "nmea"`
pub static NMEA: Table = Table {
    name: "[device.decode] of kind \"nmea\"",
    doc: "NMEA 0183 sentences, as satellite receivers, wind and depth sensors send them.",
    keys: &[
        optional("kind", Kind::Words(&["nmea"]), Reconnect, "\"nmea\""),
        key(
            "checksum",
            Kind::Words(&["required", "optional"]),
            "\"required\"",
            Reconnect,
            "Whether sentences without one count; one that is there is always checked.",
        ),
    ],
};

/// `decode = "dsmr"` and the other protocols that need to be told nothing.
pub static PROTOCOL: Table = Table {
    name: "[device.decode] of a protocol",
    doc: "A point's from is a name in field words, such as energy_import_1 or state_of_charge; or the protocol's own: an \
          OBIS code, a key of VE.Direct, the number of an M-Bus record.",
    keys: &[optional(
        "kind",
        Kind::Words(&["dsmr", "sml", "ve-direct", "iec62056-21", "mbus"]),
        Reconnect,
        "\"dsmr\", \"sml\", \"ve-direct\", \"iec62056-21\" or \"mbus\"",
    )],
};

/// The codec of this kind of decode.
pub(super) fn codec(kind: &str, table: &Section) -> Option<CodecKind> {
    let (_, codec) = CodecKind::ALL.into_iter().find(|(word, _)| *word == kind)?;
    Some(match codec {
        CodecKind::Nmea { .. } => CodecKind::Nmea { bare: table.word("checksum") == "optional" },
        other => other,
    })
}

/// Notes a framing or a check beside a codec, which has its own.
pub(super) fn check_framing(section: &Section, codec: CodecKind, mistakes: &mut Mistakes<'_>) {
    for key in ["framing", "check"] {
        if section.is_given(key) {
            let message = format!("{key}: decode {} has its own", quoted(codec.word()));
            mistakes.add_with_help(section.key_span(key), message, format!("leave {key} out"));
        }
    }
}

/// Notes a name that no frame of this protocol has.
pub(super) fn check_from(
    section: &Section,
    key: &str,
    from: &str,
    codec: CodecKind,
    mistakes: &mut Mistakes<'_>,
) {
    if !codec.may_have(from) {
        let message = format!("{key}: {} has no value {}", codec.word(), quoted(from));
        refers(mistakes, section.span(key), message, from, &codec.names());
    }
}
