//! What changes while the gateway runs beside the broker: sources, GPIO lines, what is published, upstreams. In which order,
//! so that nothing of what was taken is lost on the way; who is touched decide [`Lineup`], [`LinesTask`] and [`Upstreams`].
//!
//! ```text
//! prepare  passwords, outboxes of what is new             may fail: nothing has changed then
//! begin    new upstreams, changed ones take by new maps   before the broker forwards to them
//!          the broker's rules
//! finish   upstreams that are gone                        when nothing comes for them any more
//!          sources that are gone or changed end           what they took is published by the old rules
//!          GPIO lines; other rules; new sources begin
//! ```

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::gpio::LinesTask;
use super::lineup::{Constants, Lineup, Wanted};
use super::upstreams::{self, Upstreams};
use crate::bridge::Input;
use crate::broker::ForwardRule;
use crate::config::Config;
use crate::io::mailbox::Mailbox;
use crate::io::readings::Readings;
use crate::io::reporter::Reporter;
use crate::io::shard::FromBroker;
use crate::io::store_task::Job;
use crate::io::upstream::SharedBridge;

/// What the broker thread has handed over is taken within this.
const HANDOVER_MAX: Duration = Duration::from_secs(8);

/// All of it.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) lineup: Lineup,
    pub(super) lines: LinesTask,
    pub(super) upstreams: Upstreams,
    pub(super) readings: Rc<Readings>,
    pub(super) reporter: Rc<Reporter>,
    pub(super) from_broker: Arc<Mailbox<FromBroker>>,
}

/// A change that has begun.
pub(super) struct Begun {
    /// The broker's rules for what goes to which outbox.
    pub(super) forward: Vec<ForwardRule>,
    reopened: Vec<String>,
    new: Vec<SharedBridge>,
}

impl Registry {
    /// Starts the sources; all else runs.
    pub(super) fn start(
        config: &Config,
        constants: Constants,
        upstreams: Upstreams,
        (lines, readings): (LinesTask, Rc<Readings>),
        (reporter, from_broker): (Rc<Reporter>, Arc<Mailbox<FromBroker>>),
    ) -> Self {
        // Set once.
        let _ = reporter.readings.set(readings.clone());
        let lineup = Lineup::new(config, constants, reporter.clone(), readings.clone());
        lineup.start(Wanted::of(config));
        Self { lineup, lines, upstreams, readings, reporter, from_broker }
    }

    /// All that can fail.
    pub(super) async fn prepare(&self, config: &Config) -> Result<upstreams::Prepared, Vec<String>> {
        self.upstreams.prepare(config, &super::readings::forms(config)).await
    }

    /// What comes before the broker's change.
    pub(super) fn begin(&self, config: &Config, prepared: upstreams::Prepared) -> Begun {
        // Without a store thread there is nothing to leave free.
        let _ = self.reporter.jobs.send(Job::Reserve(config.buffer.reserve));
        let (reopened, new) = self.upstreams.begin(prepared);
        Begun { forward: self.upstreams.forward(config), reopened, new }
    }

    /// What comes behind it. Gives the names of all that came, went or was opened anew.
    pub(super) async fn finish(&self, config: &Config, begun: Begun) -> Vec<String> {
        let Begun { mut reopened, new, .. } = begun;
        // What was forwarded by the old rules is in the outboxes then; should it take too long, it is as at a stop.
        let _ = tokio::time::timeout(HANDOVER_MAX, self.from_broker.emptied()).await;
        self.upstreams.end_gone(config).await;
        let wanted = Wanted::of(config);
        let ended = self.lineup.end(&wanted).await;
        let (lines, gone_lines) = self.lines.change(&config.gpio).await;
        let gone = ended.gone.into_iter().chain(gone_lines).collect();
        self.readings.reconfigure(super::readings::settings(config, gone));
        self.lineup.start(wanted);
        self.tell_of_devices(&new);
        reopened.extend(ended.reopened.into_iter().chain(lines));
        reopened
    }

    /// What is known of the devices, for upstreams that are new.
    fn tell_of_devices(&self, bridges: &[SharedBridge]) {
        let now = self.reporter.clock.now();
        let infos = self.readings.machine.borrow().infos();
        for bridge in bridges {
            for info in &infos {
                let slot = Input::Slot { topic: info.topic.clone(), payload: info.payload.clone() };
                bridge.machine.borrow_mut().handle(now, slot);
            }
            bridge.bell.notify_one();
        }
    }
}
