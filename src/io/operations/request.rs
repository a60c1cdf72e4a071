//! What is asked, and with which arguments.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::super::log;
use super::super::{gpio_control, scan, write_control};
use super::audit::By;
use super::broker;
use super::table::Operation;
use crate::secret::Secret;

/// A request. Arguments that an operation doesn't take are refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What.
    pub op: Operation,
    /// Of `log`: levels to set, by name; none takes back what was set.
    pub levels: Option<BTreeMap<String, String>>,
    /// Of `log`: for how long.
    pub for_s: Option<u64>,
    /// Of `deadletters`: nothing, `retry` or `purge`.
    pub action: Option<LetterAction>,
    /// Of `deadletters` and `store-*`: whose; all without it. Of `upstream-…`: which. Of `maps`: whose.
    pub upstream: Option<String>,
    /// Of `store-export`: from which record on.
    #[serde(default)]
    pub from: u64,
    /// Of `store-purge`: what was committed before, in milliseconds since 1970.
    pub before: Option<i64>,
    /// Of `trace`, `scan` and `scan-…`: which. Of `listen`: its device file, or host and port.
    pub port: Option<String>,
    /// Of `scan`, `scan-start` and `listen`: for what.
    pub scan: Option<scan::Arguments>,
    /// Of `store-purge`: everything.
    #[serde(default)]
    pub all: bool,
    /// Of `gpio-…`: which line, and what of it.
    pub gpio: Option<gpio_control::Arguments>,
    /// Of `write`: which device, which point, and its value.
    pub write: Option<write_control::Arguments>,
    /// Of `history` and `sensors`: whose; all devices without it. Of `sensor-try` and `sensor-poll`: which.
    pub device: Option<String>,
    /// Of `history`: which; all points without it.
    pub point: Option<String>,
    /// Of `sensor-try`: what it might have sent, as hexadecimal digits.
    pub bytes: Option<String>,
    /// Of `events`: those after this number.
    pub after: Option<u64>,
    /// Of `broker-…`: see [`broker::Arguments`].
    pub broker: Option<broker::Arguments>,
    /// Of `config-…`: see `io::change_control`. Of `upstream-test`: edits, as there.
    pub config: Option<Json>,
    /// Of `log-lines`: which.
    pub lines: Option<log::Wanted>,
    /// Of `upstream-test` and `upstream-password`: what somebody has typed; no request on the control socket has it.
    #[serde(skip)]
    pub secret: Option<Secret>,
    /// Of `config-backup` and `config-restore`, from the page alone.
    #[serde(skip)]
    pub passphrase: Option<Secret>,
    /// Where it is told how it goes on. One that is closed calls off what only looks.
    #[serde(skip)]
    pub progress: Option<mpsc::Sender<Json>>,
    /// Who asks, where that is somebody at the page; no request says so itself.
    #[serde(skip)]
    pub by: Option<By>,
}

impl Request {
    /// Without arguments.
    #[must_use]
    pub fn new(op: Operation) -> Self {
        Self { op, ..Self::default() }
    }

    /// The names of the arguments that are there.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let all = [
            ("levels", self.levels.is_some()),
            ("for_s", self.for_s.is_some()),
            ("action", self.action.is_some()),
            ("upstream", self.upstream.is_some()),
            ("from", self.from > 0),
            ("before", self.before.is_some()),
            ("all", self.all),
            ("port", self.port.is_some()),
            ("scan", self.scan.is_some()),
            ("gpio", self.gpio.is_some()),
            ("write", self.write.is_some()),
            ("device", self.device.is_some()),
            ("point", self.point.is_some()),
            ("bytes", self.bytes.is_some()),
            ("after", self.after.is_some()),
            ("config", self.config.is_some()),
            ("broker", self.broker.is_some()),
            ("lines", self.lines.is_some()),
        ];
        all.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }
}

/// What is done with the messages that an upstream refused for good.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LetterAction {
    /// Send them once more.
    Retry,
    /// Forget them.
    Purge,
}
