//! `[config]`: how a change of the config itself is made.

use std::sync::Arc;
use std::time::Duration;

use super::Upstream;
use super::mistake::{Mistakes, quoted};
use super::schema::Effect::Live;
use super::schema::{Kind, Table, duration, key};
use super::section::Section;

/// The longest time for which an unconfirmed change may stand: whoever is locked out waits that long.
const CONFIRM_MAX_MS: u64 = 3_600_000;

/// As many as there may be.
const UPSTREAMS_MAX: usize = 16;

/// `[config]`
pub static CONFIG: Table = Table {
    name: "[config]",
    doc: "How a change of this config is made while the gateway runs.",
    keys: &[
        key(
            "confirm_within",
            duration(1_000, CONFIRM_MAX_MS),
            "\"90s\"",
            Live,
            "A change that could lock people out goes back by itself unless it is confirmed within this; 1s to 1h.",
        ),
        key(
            "mqtt",
            Kind::Bool,
            "false",
            Live,
            "Whether the config can be looked at and changed over MQTT, by who may publish to <base>/config/#.",
        ),
        key(
            "mqtt_upstreams",
            Kind::Texts { count_max: UPSTREAMS_MAX },
            "[]",
            Live,
            "The upstreams that may do so too, where a map takes <base>/config/# in.",
        ),
    ],
};

/// `[config]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Default 90 s.
    pub confirm_within: Duration,
    /// Whether it can be done over MQTT. Default false.
    pub mqtt: bool,
    /// The upstreams that may do so. Default none.
    pub mqtt_upstreams: Vec<Arc<str>>,
}

/// `broker` is `[broker]`: without users and rules everybody on the LAN could change the config.
pub(super) fn changes(
    section: &Section,
    broker: &Section,
    upstreams: &[Upstream],
    mistakes: &mut Mistakes<'_>,
) -> Changes {
    let mqtt = section.bool("mqtt") == Some(true);
    let has = |list: &str, file: &str| !broker.tables(list).is_empty() || broker.is_given(file);
    if mqtt && !(has("user", "password_file") && has("acl", "acl_file")) {
        mistakes.add_with_help(
            section.span("mqtt"),
            "mqtt: without users and rules of the broker everybody could change the config",
            "write [[broker.user]] and [[broker.acl]], or password_file and acl_file",
        );
    }
    let named = section.texts("mqtt_upstreams");
    for (name, span) in named {
        if !upstreams.iter().any(|upstream| *upstream.name == **name) {
            mistakes.add(*span, format!("mqtt_upstreams: there is no upstream named {}", quoted(name)));
        }
    }
    Changes {
        confirm_within: section.duration("confirm_within"),
        mqtt,
        mqtt_upstreams: named.iter().map(|(name, _)| Arc::from(name.as_str())).collect(),
    }
}
