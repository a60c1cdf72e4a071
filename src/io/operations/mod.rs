//! What can be asked of the running gateway, in one table: each operation's name, the role that may ask for it on the page,
//! and the arguments that it takes. The control socket ([`super::control`]) and the web's API ask here and nowhere else.
//! Lives on the service thread; [`Asker`] is how another thread asks.

mod asker;
mod audit;
pub mod broker;
mod broker_users;
mod look;
pub(super) mod ports;
mod sensors;
mod setup;
mod system;
mod upstreams;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};

use super::change::Origin;
use super::change_control;
use super::gpio_control;
use super::log;
use super::reporter::Reporter;
use super::scan;
use super::store_control::{self, Arguments, Ask};
use super::write_control;
use crate::people::Role;
use crate::said;
use crate::said::Said;
use crate::secret::Secret;

pub use asker::{Asker, Question, asker, serve};
pub use audit::By;
pub(in crate::io) use audit::CONTROL_SOCKET;
pub use ports::Looking;
pub use sensors::TRY_BYTES_MAX;
pub use setup::plain;

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
    fn given(&self) -> Vec<&'static str> {
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

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people.
    pub message: Said,
    /// The argument that is wrong, if it is one.
    pub field: Option<&'static str>,
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// An argument is wrong or missing, or what it names isn't there.
    Refused,
    /// The gateway can't answer now; later it may.
    Busy,
}

impl Failure {
    /// An argument is wrong, or missing.
    #[must_use]
    pub fn field(field: &'static str, message: impl Into<Said>) -> Self {
        Self { kind: FailureKind::Refused, message: message.into(), field: Some(field) }
    }

    /// It can't be done.
    #[must_use]
    pub fn refused(message: impl Into<Said>) -> Self {
        Self { kind: FailureKind::Refused, message: message.into(), field: None }
    }

    /// Not now.
    #[must_use]
    pub fn busy(message: impl Into<Said>) -> Self {
        Self { kind: FailureKind::Busy, message: message.into(), field: None }
    }
}

/// A request to read the config again, with the place for the answer.
pub type Reload = oneshot::Sender<Reloaded>;

/// What came of reading the config again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What has changed, by the names of the keys.
    pub applied: Vec<String>,
    /// What was opened anew for it, came or went, by name: `port usb0`, `upstream central`.
    pub reopened: Vec<String>,
    /// What counts at the next start.
    pub next_start: Vec<String>,
    /// Clients that had to go.
    pub disconnected: u64,
    /// Why nothing was changed; empty if all went well.
    pub mistakes: Vec<String>,
}

impl Reloaded {
    pub(super) fn json(&self) -> Json {
        json!({
            "outcome": if self.mistakes.is_empty() { "applied" } else { "refused" },
            "applied": self.applied,
            "reopened": self.reopened,
            "next_start": self.next_start,
            "disconnected": self.disconnected,
            "mistakes": self.mistakes,
        })
    }
}

/// Answers requests. Lives on the service thread.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(super) reporter: Rc<Reporter>,
    reload: mpsc::Sender<Reload>,
}

impl Desk {
    /// One that asks `reporter`, and has the config read again by whoever is at the other end of `reload`.
    #[must_use]
    pub const fn new(reporter: Rc<Reporter>, reload: mpsc::Sender<Reload>) -> Self {
        Self { reporter, reload }
    }

    /// Does what is asked.
    ///
    /// # Errors
    /// [`Failure`]: in words, naming the argument.
    pub async fn answer(&self, mut request: Request) -> Result<Json, Failure> {
        let (note, by) = (audit::of(&request), request.by.take());
        let answer = self.answered(request, by.clone()).await;
        if let Some(note) = note {
            audit::note(&self.reporter, note, by, &answer);
        }
        answer
    }

    async fn answered(&self, request: Request, by: Option<By>) -> Result<Json, Failure> {
        let row = request.op.row();
        for argument in request.given() {
            if !row.takes.contains(&argument) {
                return Err(misplaced(argument));
            }
        }
        let reporter = &*self.reporter;
        match request.op {
            Operation::Trace => Err(Failure::field("port", "trace needs port, and the control socket")),
            Operation::Scan => Err(Failure::field("port", "scan needs port, scan, and the control socket")),
            Operation::GpioSet => judged(gpio_control::set(request.gpio, reporter).await),
            Operation::GpioPulse => judged(gpio_control::pulse(request.gpio, reporter).await),
            Operation::Write => judged(write_control::write(request.write, reporter).await),
            Operation::Deadletters => upstreams::letters(&request, reporter),
            Operation::UpstreamConnect => upstreams::connect(&request, reporter),
            Operation::UpstreamPause => upstreams::pause(&request, true, reporter),
            Operation::UpstreamResume => upstreams::pause(&request, false, reporter),
            Operation::Maps => upstreams::maps(&request, reporter),
            Operation::UpstreamTest => upstreams::test(request, reporter).await,
            Operation::UpstreamPassword => upstreams::keep_password(request, reporter).await,
            Operation::Reload => self.read_config_again().await,
            Operation::LogLines => system::lines(&request, reporter),
            Operation::System => system::system(reporter).await,
            Operation::Support => system::support(reporter).await,
            Operation::Restart => Ok(system::restart(reporter)),
            Operation::Log => levels(request, reporter).map_err(Failure::refused),
            Operation::Health => Ok(reporter.snapshot().await.health()),
            Operation::Readings => Ok(reporter.snapshot().await.readings()),
            Operation::Backlog => Ok(reporter.snapshot().await.backlog()),
            Operation::Status => Ok(look::status(reporter).await),
            Operation::History => look::history(&request, reporter),
            Operation::Events => Ok(look::events(&request, reporter)),
            Operation::Links => Ok(reporter.live.links.borrow().json_with_buckets(reporter.clock.now())),
            Operation::Plugged => ports::plugged(reporter).await,
            Operation::Holders => ports::holders(reporter).await,
            Operation::ScanStart => {
                ports::scan(request, by.as_ref().map_or(CONTROL_SOCKET, |by| &by.name), reporter).await
            }
            Operation::ScanLook => ports::scanned(&request, reporter).await,
            Operation::ScanStop => ports::end_scan(&request, reporter),
            Operation::Sensors => sensors::sensors(&request, reporter).await,
            Operation::SensorTry => sensors::attempt(&request, reporter).await,
            Operation::SensorPoll => sensors::poll(&request, reporter).await,
            Operation::Profiles => setup::profiles().await,
            Operation::Listen => setup::listen(request, reporter).await,
            Operation::Claim => look::claim(reporter),
            Operation::ConfigGet
            | Operation::ConfigSchema
            | Operation::ConfigHistory
            | Operation::ConfigPending
            | Operation::ConfigLook
            | Operation::ConfigProbe
            | Operation::ConfigApply
            | Operation::ConfigConfirm
            | Operation::ConfigRevert
            | Operation::ConfigBackup
            | Operation::ConfigRestore => of_the_config(row.name, request, by, reporter).await,
            Operation::BrokerUsers => broker_users::users(reporter).await,
            Operation::BrokerClients
            | Operation::BrokerKick
            | Operation::BrokerConsumers
            | Operation::BrokerLimits
            | Operation::BrokerRules
            | Operation::BrokerRetained
            | Operation::BrokerMessage
            | Operation::BrokerTopics
            | Operation::BrokerPublish
            | Operation::BrokerForget => {
                broker::answer(request.op, request.broker.unwrap_or_default(), reporter).await
            }
            Operation::StoreStat => of_the_store(Ask::Stat, request, reporter).await,
            Operation::StoreVerify => of_the_store(Ask::Verify, request, reporter).await,
            Operation::StoreExport => of_the_store(Ask::Export, request, reporter).await,
            Operation::StorePurge => of_the_store(Ask::Purge, request, reporter).await,
        }
    }

    async fn read_config_again(&self) -> Result<Json, Failure> {
        let (answer, outcome) = oneshot::channel();
        // Nobody waits here for a disk that has stalled: others want to ask how the gateway does.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.reload.try_send(answer) {
            return Err(Failure::busy(said!(
                "reading_config",
                "the config is being read; others wait for it already"
            )));
        }
        match outcome.await {
            Ok(outcome) => Ok(outcome.json()),
            Err(_) => Err(Failure::refused("this gateway can't read its config again")),
        }
    }
}

/// When whoever wanted to hear how it goes on has gone; never, where nobody was to be told.
async fn closed(progress: Option<&mpsc::Sender<Json>>) {
    match progress {
        Some(progress) => progress.closed().await,
        None => std::future::pending().await,
    }
}

fn called_off() -> Failure {
    Failure::refused(said!("called_off", "nobody listens any more; it was called off"))
}

/// An argument of other operations.
fn misplaced(argument: &'static str) -> Failure {
    let owners = OPERATIONS.iter().filter(|row| row.takes.contains(&argument));
    let owners: Vec<&str> = owners.map(|row| row.name).collect();
    Failure::field(argument, format!("{argument} goes with {}", owners.join(", ")))
}

/// An answer `{"error": …}` is a failure. What came of a command is none: it has a `result`, whatever that is.
fn judged(answer: Json) -> Result<Json, Failure> {
    match Said::of(&answer).filter(|_| answer.get("result").is_none()) {
        Some(error) => Err(Failure::refused(error)),
        None => Ok(answer),
    }
}

/// A request about the config, from the page.
async fn of_the_config(
    op: &str,
    request: Request,
    by: Option<By>,
    reporter: &Reporter,
) -> Result<Json, Failure> {
    let Request { config, passphrase, progress, .. } = request;
    let address = by.map(|by| by.address).unwrap_or_default();
    let by = Origin { who: None, way: "the page".to_owned(), address };
    let asked = change_control::Asked { by, passphrase, progress };
    let answer = change_control::answer(op, config, asked, reporter).await;
    // What was refused is told with its mistakes.
    if answer.get("outcome").is_some() { Ok(answer) } else { judged(answer) }
}

async fn of_the_store(ask: Ask, request: Request, reporter: &Reporter) -> Result<Json, Failure> {
    let Request { upstream, from, before, all, .. } = request;
    judged(store_control::answer(ask, Arguments { upstream, from, before, all }, reporter).await)
}

/// Sets levels if any are wanted, and tells how they are then.
fn levels(request: Request, reporter: &Reporter) -> Result<Json, String> {
    let logs = reporter.logs.as_ref().ok_or("the log of this gateway has no levels to change")?;
    let for_time = request.for_s.map(Duration::from_secs);
    match request.levels {
        Some(levels) if levels.is_empty() => logs.reset(),
        Some(levels) => logs.set(&levels.into_iter().collect::<Vec<_>>(), for_time)?,
        None if for_time.is_some() => return Err("for_s goes with levels".to_owned()),
        None => {}
    }
    Ok(logs.describe())
}

#[cfg(test)]
mod tests {
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
