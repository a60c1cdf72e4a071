//! Between whoever gives commands and the devices that carry them out: hands each to its device, publishes answers,
//! writes the audit log. What is a command and what may be done about it decides [`crate::command`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{info, warn};

use super::clock::Clock;
use super::journal::Journal;
use super::mailbox::Mailbox;
use super::shard::ToBroker;
use crate::command::{Asker, Audit, Command, CommandId, Commands, Counts, Outcome, Output, value_json};
use crate::message::Message;
use crate::reading::Value;
use crate::time::Mono;

/// The desk where commands come in and answers go out. Lives on the service thread.
#[derive(Debug)]
pub struct CommandDesk {
    /// Never borrowed across an await.
    machine: RefCell<Commands>,
    /// Who carries out the commands of which device. Bounded by the commands that may be pending.
    devices: RefCell<HashMap<Arc<str>, mpsc::UnboundedSender<Command>>>,
    /// Who asked on this machine and waits.
    waiting: RefCell<(u64, HashMap<u64, oneshot::Sender<Outcome>>)>,
    broker: Arc<Mailbox<ToBroker>>,
    clock: Clock,
    changed: Rc<Notify>,
    journal: Journal,
}

impl CommandDesk {
    /// A desk without devices.
    #[must_use]
    pub fn new(
        base: Arc<str>,
        broker: Arc<Mailbox<ToBroker>>,
        clock: Clock,
        changed: Rc<Notify>,
        journal: Journal,
    ) -> Self {
        Self {
            machine: RefCell::new(Commands::new(base)),
            devices: RefCell::default(),
            waiting: RefCell::default(),
            broker,
            clock,
            changed,
            journal,
        }
    }

    /// Hands the commands of a device to `to` from now on.
    pub fn register(&self, device: Arc<str>, to: mpsc::UnboundedSender<Command>) {
        self.devices.borrow_mut().insert(device, to);
    }

    /// The device takes no more commands.
    pub fn unregister(&self, device: &str) {
        self.devices.borrow_mut().remove(device);
    }

    /// A message on a command's topic; `at` is when the broker had it.
    pub fn arrived(&self, message: &Message, by: Asker, at: Mono) {
        self.machine.borrow_mut().arrived(self.clock.now(), at, message, by);
        self.carry_out();
    }

    /// A person on this machine wants something. The answer comes when it is done.
    pub fn ask(&self, device: &str, point: Option<&str>, value: Value) -> oneshot::Receiver<Outcome> {
        let (answer, outcome) = oneshot::channel();
        let number = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.0 += 1;
            let number = waiting.0;
            waiting.1.insert(number, answer);
            number
        };
        self.machine.borrow_mut().asked(self.clock.now(), number, device, point, value);
        self.carry_out();
        outcome
    }

    /// A device has done what it was told, or hasn't.
    pub fn ended(&self, id: CommandId, outcome: &Outcome) {
        self.machine.borrow_mut().ended(id, outcome);
        self.carry_out();
    }

    /// What became of commands so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.machine.borrow().counts()
    }

    fn carry_out(&self) {
        loop {
            let output = self.machine.borrow_mut().poll_output();
            match output {
                None => return,
                Some(Output::Execute(command)) => {
                    let id = command.id;
                    let to = self.devices.borrow().get(&command.device).cloned();
                    if to.is_none_or(|to| to.send(command).is_err()) {
                        let why = "there is no such device that takes commands".to_owned();
                        self.machine.borrow_mut().ended(id, &Outcome::Refused(why));
                    }
                }
                Some(Output::Reply(message)) => {
                    let weight = message.payload.len() + message.topic.len() + 128;
                    if self.broker.push(ToBroker::Local(message), weight).is_err() {
                        warn!("an answer to a command was dropped: the gateway is overloaded");
                    }
                }
                Some(Output::Answer(number, outcome)) => {
                    if let Some(waiting) = self.waiting.borrow_mut().1.remove(&number) {
                        // Whoever asked may have gone.
                        let _ = waiting.send(outcome);
                    }
                }
                Some(Output::Audit(audit)) => {
                    log(&audit);
                    self.journal.command(&audit);
                    self.changed.notify_one();
                }
            }
        }
    }
}

/// The audit log: one line for each command, whatever came of it.
fn log(audit: &Audit) {
    let Audit { device, point, value, by, outcome, duplicate } = audit;
    let point = point.as_deref().unwrap_or("-");
    let value = match value {
        None => "-".to_owned(),
        Some(Value::Text(text)) => text.clone(),
        Some(value) => value_json(value).to_string(),
    };
    let (device, result, duplicate) = (&**device, outcome.as_str(), *duplicate);
    match outcome {
        Outcome::Done(_) => info!(device, point, value, %by, result, duplicate, "command"),
        Outcome::Refused(why) | Outcome::Failed(why) | Outcome::Unknown(why) => {
            warn!(device, point, value, %by, result, duplicate, error = why, "command");
        }
    }
}
