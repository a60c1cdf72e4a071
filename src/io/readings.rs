//! Readings to the broker thread: every sensor's task hands them over here. Carries out what the ingest machine says, and
//! wakes it in time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tracing::warn;

use super::clock::Clock;
use super::links::Links;
use super::live::Live;
use super::mailbox::Mailbox;
use super::shard::ToBroker;
use crate::bridge;
use crate::ingest::{Ingest, Notice, Output, Settings};
use crate::message::Message;
use crate::reading::Reading;

/// Where readings go. Lives on the service thread.
#[derive(Debug)]
pub struct Readings {
    /// The machine. Never borrowed across an await.
    pub machine: RefCell<Ingest>,
    /// To the broker thread.
    pub broker: Arc<Mailbox<ToBroker>>,
    /// The upstreams.
    pub links: Rc<Links>,
    /// The clocks.
    pub clock: Clock,
    /// Rung when health should be published soon.
    pub changed: Rc<Notify>,
    /// Readings that the broker thread had no room for.
    pub dropped: Rc<Cell<u64>>,
    /// Rung when there may be another deadline.
    pub bell: Notify,
    /// For whoever looks on.
    pub live: Rc<Live>,
}

impl Readings {
    /// Takes a reading.
    pub fn take(&self, reading: Reading) {
        self.live.take(&reading);
        self.machine.borrow_mut().take(self.clock.now(), reading);
        self.carry_out();
    }

    /// A device has gone stale.
    pub fn stale(&self, device: &str) {
        self.live.stale(device);
        self.machine.borrow_mut().stale(self.clock.now(), device);
        self.carry_out();
    }

    /// No sensor runs any more.
    pub fn stop(&self) {
        self.machine.borrow_mut().stop(self.clock.now());
        self.carry_out();
    }

    /// Goes by other settings from the next reading on.
    pub fn reconfigure(&self, settings: Settings) {
        self.machine.borrow_mut().reconfigure(self.clock.now(), settings);
        self.carry_out();
    }

    fn carry_out(&self) {
        loop {
            let output = self.machine.borrow_mut().poll_output();
            match output {
                None => break,
                Some(Output::Message(message)) => self.push(message),
                Some(Output::Info(message)) => {
                    self.tell_upstreams(&message);
                    self.push(message);
                }
                Some(Output::Notice(Notice::NotAnnounced { device })) => {
                    warn!(%device, "the device is not announced to Home Assistant, which reads \"json\" and \"plain\" only");
                }
            }
        }
        self.bell.notify_one();
    }

    fn push(&self, message: Message) {
        let weight = message.payload.len() + message.topic.len() + 128;
        if self.broker.push(ToBroker::Local(message), weight).is_err() {
            self.dropped.set(self.dropped.get() + 1);
            self.changed.notify_one();
        }
    }

    fn tell_upstreams(&self, message: &Message) {
        for bridge in &*self.links.all() {
            let slot = bridge::Input::Slot { topic: message.topic.clone(), payload: message.payload.clone() };
            bridge.machine.borrow_mut().handle(self.clock.now(), slot);
            bridge.bell.notify_one();
        }
    }
}

/// Keeps the machine's deadlines until the gateway stops.
pub async fn run(readings: Rc<Readings>, mut stop: watch::Receiver<bool>) {
    readings.carry_out();
    loop {
        let deadline = readings.machine.borrow().next_deadline();
        let wait = deadline.map(|deadline| deadline.since(readings.clock.now().mono));
        tokio::select! {
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                readings.machine.borrow_mut().tick(readings.clock.now());
                readings.carry_out();
            }
            () = readings.bell.notified() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
