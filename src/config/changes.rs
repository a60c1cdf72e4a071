//! `[config]`: how a change of the config itself is made.

use std::time::Duration;

use super::schema::Effect::Live;
use super::schema::{Table, duration, key};
use super::section::Section;

/// The longest time for which an unconfirmed change may stand: whoever is locked out waits that long.
const CONFIRM_MAX_MS: u64 = 3_600_000;

/// `[config]`
pub static CONFIG: Table = Table {
    name: "[config]",
    doc: "How a change of this config is made while the gateway runs.",
    keys: &[key(
        "confirm_within",
        duration(1_000, CONFIRM_MAX_MS),
        "\"90s\"",
        Live,
        "A change that could lock people out goes back by itself unless it is confirmed within this; 1s to 1h.",
    )],
};

/// `[config]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Default 90 s.
    pub confirm_within: Duration,
}

pub(super) fn changes(section: &Section) -> Changes {
    Changes { confirm_within: section.duration("confirm_within") }
}
