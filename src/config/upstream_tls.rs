//! `[upstream.tls]`: TLS towards an upstream.

use std::path::PathBuf;

use super::mistake::Mistakes;
use super::schema::Effect::Reconnect;
use super::schema::{Kind, Table, computed, key, optional};
use super::section::Section;
use super::{UpstreamTls, reach};

/// `[upstream.tls]`
pub static TLS: Table = Table {
    name: "[upstream.tls]",
    doc: "TLS towards this upstream.",
    keys: &[
        computed(
            "ca",
            Kind::Path,
            "the system's authorities",
            Reconnect,
            "The authorities of the upstream's certificate: a PEM file, or a folder of such files.",
        ),
        computed("server_name", Kind::Host, "the host", Reconnect, "The name in the upstream's certificate."),
        optional(
            "cert",
            Kind::Path,
            Reconnect,
            "PEM file of our certificate chain, for an upstream that wants one.",
        ),
        optional("key", Kind::Path, Reconnect, "PEM file of its key."),
        key(
            "min_version",
            Kind::Words(&["1.2", "1.3"]),
            "\"1.2\"",
            Reconnect,
            "The oldest TLS version that is spoken, \"1.2\" or \"1.3\".",
        ),
        optional(
            "alpn",
            Kind::Texts { count_max: 4 },
            Reconnect,
            "Protocols offered in the handshake; some clouds want [\"mqtt\"] or [\"x-amzn-mqtt-ca\"].",
        ),
        optional(
            "pin",
            Kind::Texts { count_max: 4 },
            Reconnect,
            "Public keys that the upstream may have, \"sha256/…\"; without ca, nothing else about it is looked at.",
        ),
    ],
};

/// Reads `tls` of an `[[upstream]]`.
pub(super) fn tls(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<UpstreamTls> {
    let Some(table) = section.table("tls") else {
        return section.bool("tls").unwrap_or(false).then(UpstreamTls::default);
    };
    for (has, lacks) in [("cert", "key"), ("key", "cert")] {
        if table.is_given(has) && !table.is_given(lacks) {
            let message = format!("{has}: without {lacks} it is of no use");
            mistakes.add_with_help(
                table.key_span(has),
                message,
                format!("add {lacks} = \"/etc/fieldgate/….pem\""),
            );
        }
    }
    let path = |key| table.text(key).map(PathBuf::from);
    let server_name = table.text("server_name").map(str::to_owned);
    Some(UpstreamTls {
        ca: path("ca"),
        server_name,
        cert: path("cert"),
        key: path("key"),
        only_13: table.word("min_version") == "1.3",
        alpn: table.texts("alpn").iter().map(|(name, _)| name.clone()).collect(),
        pins: reach::pins(table, mistakes),
    })
}
