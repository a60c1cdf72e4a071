//! What can be asked of the running gateway, in one table: each operation's name, the role that may ask for it on the page,
//! and the arguments that it takes. The control socket ([`super::control`]) and the web's API ask here and nowhere else.
//! Lives on the service thread; [`Asker`] is how another thread asks.

mod asker;
mod audit;
pub mod broker;
mod broker_users;
mod failure;
mod look;
pub(super) mod ports;
mod request;
mod sensors;
mod setup;
mod system;
mod table;
mod upstreams;

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};

use super::change::Origin;
use super::change_control;
use super::gpio_control;
use super::reporter::Reporter;
use super::store_control::{self, Arguments, Ask};
use super::write_control;
use crate::said;
use crate::said::Said;

pub use asker::{Asker, Question, asker, serve};
pub use audit::By;
pub(in crate::io) use audit::CONTROL_SOCKET;
pub use failure::{Failure, FailureKind};
pub use ports::Looking;
pub use request::{LetterAction, Request};
pub use sensors::TRY_BYTES_MAX;
pub use setup::plain;
use table::misplaced;
pub use table::{OPERATIONS, Operation, Row, names};

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
