//! `[discovery]`: how the gateway is found on its networks.

use super::schema::Effect::Live;
use super::schema::{Kind, Table, key};
use super::section::Section;

/// `[discovery]`
pub static DISCOVERY: Table = Table {
    name: "[discovery]",
    doc: "How the gateway is found on its networks.",
    keys: &[key(
        "mdns",
        Kind::Bool,
        "true",
        Live,
        "Whether it answers to <id>.local and tells its page and its broker by multicast DNS, to neighbours alone.",
    )],
};

/// `[discovery]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Default true.
    pub mdns: bool,
}

pub(super) fn discovery(section: &Section) -> Discovery {
    Discovery { mdns: section.bool("mdns") != Some(false) }
}
