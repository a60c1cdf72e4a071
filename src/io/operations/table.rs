//! The operations: their names, who may ask for them, what they take.

use serde::Deserialize;

use super::failure::Failure;
use crate::people::Role;

/// What can be asked; [`OPERATIONS`] tells more of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "see OPERATIONS")]
pub enum Operation {
    #[default]
    Status,
    Health,
    Readings,
    Backlog,
    History,
    Events,
    Links,
    Plugged,
    Sensors,
    SensorTry,
    SensorPoll,
    Profiles,
    Listen,
    Deadletters,
    Reload,
    Log,
    StoreStat,
    StoreVerify,
    StoreExport,
    StorePurge,
    UpstreamConnect,
    UpstreamPause,
    UpstreamResume,
    Maps,
    UpstreamTest,
    UpstreamPassword,
    GpioSet,
    GpioPulse,
    Write,
    Claim,
    ConfigGet,
    ConfigSchema,
    ConfigHistory,
    ConfigPending,
    ConfigLook,
    ConfigProbe,
    ConfigApply,
    ConfigConfirm,
    ConfigRevert,
    ConfigBackup,
    ConfigRestore,
    Trace,
    Scan,
    Holders,
    ScanStart,
    ScanLook,
    ScanStop,
    BrokerClients,
    BrokerUsers,
    BrokerKick,
    BrokerConsumers,
    BrokerLimits,
    BrokerRules,
    BrokerRetained,
    BrokerMessage,
    BrokerTopics,
    BrokerPublish,
    BrokerForget,
    LogLines,
    System,
    Support,
    Restart,
}

/// One operation.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub op: Operation,
    /// As requests write it.
    pub name: &'static str,
    /// Who may ask for it on the page; the control socket is open to whoever the system lets at it. `None`: only the
    /// control socket.
    pub role: Option<Role>,
    /// The arguments that it takes.
    pub takes: &'static [&'static str],
    /// Whether it may take up to a minute.
    pub long: bool,
}

const fn row(op: Operation, name: &'static str, role: Role, takes: &'static [&'static str]) -> Row {
    Row { op, name, role: Some(role), takes, long: false }
}

const fn long(op: Operation, name: &'static str, role: Role, takes: &'static [&'static str]) -> Row {
    Row { op, name, role: Some(role), takes, long: true }
}

/// All operations.
pub static OPERATIONS: &[Row] = &[
    row(Operation::Status, "status", Role::Viewer, &[]),
    row(Operation::Health, "health", Role::Viewer, &[]),
    row(Operation::Readings, "readings", Role::Viewer, &[]),
    row(Operation::Backlog, "backlog", Role::Viewer, &[]),
    row(Operation::History, "history", Role::Viewer, &["device", "point"]),
    row(Operation::Events, "events", Role::Operator, &["after"]),
    row(Operation::Links, "links", Role::Viewer, &[]),
    row(Operation::Plugged, "plugged", Role::Viewer, &[]),
    row(Operation::Holders, "holders", Role::Operator, &[]),
    long(Operation::ScanStart, "scan-start", Role::Operator, &["port", "scan"]),
    row(Operation::ScanLook, "scan-look", Role::Operator, &["port"]),
    row(Operation::ScanStop, "scan-stop", Role::Operator, &["port"]),
    row(Operation::Sensors, "sensors", Role::Viewer, &["device"]),
    row(Operation::SensorTry, "sensor-try", Role::Operator, &["device", "bytes"]),
    long(Operation::SensorPoll, "sensor-poll", Role::Operator, &["device"]),
    row(Operation::Profiles, "profiles", Role::Viewer, &[]),
    long(Operation::Listen, "listen", Role::Admin, &["port", "scan"]),
    row(Operation::Deadletters, "deadletters", Role::Admin, &["action", "upstream"]),
    long(Operation::Reload, "reload", Role::Admin, &[]),
    row(Operation::Log, "log", Role::Admin, &["levels", "for_s"]),
    long(Operation::StoreStat, "store-stat", Role::Admin, STORE),
    long(Operation::StoreVerify, "store-verify", Role::Admin, STORE),
    long(Operation::StoreExport, "store-export", Role::Admin, STORE),
    long(Operation::StorePurge, "store-purge", Role::Admin, STORE),
    row(Operation::UpstreamConnect, "upstream-connect", Role::Operator, &["upstream"]),
    row(Operation::UpstreamPause, "upstream-pause", Role::Operator, &["upstream"]),
    row(Operation::UpstreamResume, "upstream-resume", Role::Operator, &["upstream"]),
    row(Operation::Maps, "maps", Role::Viewer, &["upstream"]),
    long(Operation::UpstreamTest, "upstream-test", Role::Admin, &["upstream", "config"]),
    row(Operation::UpstreamPassword, "upstream-password", Role::Admin, &["upstream"]),
    row(Operation::GpioSet, "gpio-set", Role::Operator, &["gpio"]),
    long(Operation::GpioPulse, "gpio-pulse", Role::Operator, &["gpio"]),
    long(Operation::ConfigGet, "config-get", Role::Admin, CONFIG),
    long(Operation::ConfigSchema, "config-schema", Role::Viewer, CONFIG),
    long(Operation::ConfigHistory, "config-history", Role::Admin, CONFIG),
    row(Operation::ConfigPending, "config-pending", Role::Viewer, CONFIG),
    long(Operation::ConfigLook, "config-look", Role::Admin, CONFIG),
    long(Operation::ConfigProbe, "config-probe", Role::Admin, CONFIG),
    long(Operation::ConfigApply, "config-apply", Role::Admin, CONFIG),
    long(Operation::ConfigConfirm, "config-confirm", Role::Admin, CONFIG),
    long(Operation::ConfigRevert, "config-revert", Role::Admin, CONFIG),
    long(Operation::ConfigBackup, "config-backup", Role::Admin, CONFIG),
    long(Operation::ConfigRestore, "config-restore", Role::Admin, CONFIG),
    long(Operation::Write, "write", Role::Operator, &["write"]),
    row(Operation::BrokerClients, "broker-clients", Role::Viewer, BROKER),
    row(Operation::BrokerUsers, "broker-users", Role::Operator, &[]),
    row(Operation::BrokerKick, "broker-kick", Role::Operator, BROKER),
    row(Operation::BrokerConsumers, "broker-consumers", Role::Viewer, BROKER),
    row(Operation::BrokerLimits, "broker-limits", Role::Viewer, &[]),
    row(Operation::BrokerRules, "broker-rules", Role::Operator, &[]),
    row(Operation::BrokerRetained, "broker-retained", Role::Operator, BROKER),
    row(Operation::BrokerMessage, "broker-message", Role::Operator, BROKER),
    row(Operation::BrokerTopics, "broker-topics", Role::Operator, BROKER),
    row(Operation::BrokerPublish, "broker-publish", Role::Operator, BROKER),
    row(Operation::BrokerForget, "broker-forget", Role::Operator, BROKER),
    row(Operation::LogLines, "log-lines", Role::Operator, &["lines"]),
    row(Operation::System, "system", Role::Viewer, &[]),
    long(Operation::Support, "support", Role::Admin, &[]),
    row(Operation::Restart, "restart", Role::Admin, &[]),
    Row { op: Operation::Claim, name: "claim", role: None, takes: &[], long: false },
    // Answered by the control socket with a line for each thing that happens, until the client goes.
    Row { op: Operation::Trace, name: "trace", role: None, takes: &["port"], long: true },
    Row { op: Operation::Scan, name: "scan", role: None, takes: &["port", "scan"], long: true },
];

const BROKER: &[&str] = &["broker"];

const CONFIG: &[&str] = &["config"];

const STORE: &[&str] = &["upstream", "from", "before", "all"];

impl Operation {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        // Every operation has a row: a test walks them.
        OPERATIONS.iter().find(|row| row.op == self).unwrap_or(&FALLBACK)
    }
}

static FALLBACK: Row = Row { op: Operation::Trace, name: "trace", role: None, takes: &["port"], long: true };

/// The names of all operations, for messages.
#[must_use]
pub fn names() -> String {
    OPERATIONS.iter().map(|row| row.name).collect::<Vec<_>>().join("|")
}

/// An argument of other operations.
pub(super) fn misplaced(argument: &'static str) -> Failure {
    let owners = OPERATIONS.iter().filter(|row| row.takes.contains(&argument));
    let owners: Vec<&str> = owners.map(|row| row.name).collect();
    Failure::field(argument, format!("{argument} goes with {}", owners.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Request;
    use super::*;

    #[test]
    fn each_operation_has_one_row_whose_name_requests_use() {
        for row in OPERATIONS {
            let request: Request = serde_json::from_value(json!({"op": row.name})).unwrap();
            assert_eq!(request.op, row.op);
            assert_eq!(request.op.row().name, row.name);
        }
        for (number, row) in OPERATIONS.iter().enumerate() {
            assert!(!OPERATIONS[..number].iter().any(|other| other.op == row.op || other.name == row.name));
        }
    }

    #[test]
    fn an_argument_of_other_operations_is_told_with_those() {
        assert_eq!(
            misplaced("port").message.to_string(),
            "port goes with scan-start, scan-look, scan-stop, listen, trace, scan"
        );
        assert_eq!(misplaced("gpio").message.to_string(), "gpio goes with gpio-set, gpio-pulse");
    }
}
