//! A bridge with invented time, and hands for the test to play transport, upstream and store.

use super::upstream::{Got, Seen, connack, puback, read};
use super::*;
use crate::mqtt::Property;

/// A bridge, its invented time, and what it wants done, sorted.
pub(super) struct Rig {
    pub(super) bridge: Bridge,
    pub(super) now: Now,
    pub(super) version: Version,
    pub(super) got: Vec<Got>,
    pub(super) done: Vec<Output>,
}

impl Rig {
    pub(super) fn new(config: Config, backlog: Backlog) -> Self {
        let version = config.version;
        let bridge = Bridge::new(config, backlog, 1, at(0));
        let mut rig = Self { bridge, now: at(0), version, got: Vec::new(), done: Vec::new() };
        rig.poll();
        rig
    }

    /// Connected, CONNACK, birth acknowledged.
    pub(super) fn online(version: Version) -> Self {
        let mut rig = Self::new(config(version), Backlog::default());
        rig.connect(false);
        rig.ack_slot();
        rig.clear();
        rig
    }

    pub(super) fn clear(&mut self) {
        self.got.clear();
        self.done.clear();
    }

    pub(super) fn poll(&mut self) {
        while let Some(output) = self.bridge.poll_output() {
            match output {
                Output::Send(bytes) => self.got.extend(read(&bytes, self.version)),
                other => self.done.push(other),
            }
        }
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        self.bridge.handle(self.now, input);
        self.poll();
    }

    /// Lets time pass, with a Tick at every deadline.
    pub(super) fn pass(&mut self, millis: u64) {
        let end = self.now.mono + Duration::from_millis(millis);
        while let Some(due) = self.bridge.next_deadline().filter(|due| *due <= end) {
            self.now = at(due.as_nanos().div_ceil(1_000_000));
            self.input(Input::Tick);
        }
        self.now = at(end.as_nanos() / 1_000_000);
        self.input(Input::Tick);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.input(Input::Bytes(bytes));
    }

    pub(super) fn connect(&mut self, session_present: bool) {
        self.connect_with(session_present, &[]);
    }

    pub(super) fn connect_with(&mut self, session_present: bool, limits: &[Property<'_>]) {
        self.input(Input::Connected);
        self.bytes(&connack(self.version, session_present, ReasonCode::Success, limits));
    }

    pub(super) fn append(&mut self, payload: &str) {
        self.input(Input::Append { message: message("data/a", payload), token: None });
    }

    pub(super) fn append_token(&mut self, payload: &str, token: u64) {
        self.input(Input::Append { message: message("data/a", payload), token: Some(SafeToken(token)) });
    }

    pub(super) fn puback(&mut self, id: u16) {
        self.refuse(id, ReasonCode::Success);
    }

    pub(super) fn refuse(&mut self, id: u16, reason: ReasonCode) {
        let version = self.version;
        self.bytes(&puback(version, id, reason));
    }

    pub(super) fn slots(&self) -> Vec<Seen> {
        self.publishes().into_iter().filter(|seen| seen.retain).collect()
    }

    pub(super) fn publishes(&self) -> Vec<Seen> {
        let seen = |got: &Got| if let Got::Publish(seen) = got { Some(seen.clone()) } else { None };
        self.got.iter().filter_map(seen).collect()
    }

    pub(super) fn ack_slot(&mut self) {
        let id = self.slots().last().and_then(|seen| seen.id).expect("a slot in flight");
        self.puback(id);
    }

    /// Acknowledges the birth, if this connection sent one.
    pub(super) fn ack_status(&mut self) {
        if let Some(id) = self.slots().last().and_then(|seen| seen.id) {
            self.puback(id);
        }
    }

    /// Payload, identifier and DUP of the records sent since `clear`.
    pub(super) fn records(&self) -> Vec<(String, u16, bool)> {
        let record = |seen: &Seen| (seen.payload.clone(), seen.id.unwrap_or(0), seen.dup);
        self.publishes().iter().filter(|seen| !seen.retain).map(record).collect()
    }

    pub(super) fn payloads(&self) -> Vec<String> {
        self.records().into_iter().map(|(payload, ..)| payload).collect()
    }

    pub(super) fn status(&self) -> Status {
        self.bridge.status(self.now)
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        let notice = |output: &Output| if let Output::Notice(n) = output { Some(n.clone()) } else { None };
        self.done.iter().filter_map(notice).collect()
    }

    pub(super) fn closes(&self) -> bool {
        self.done.contains(&Output::Close)
    }

    /// Loses the connection, and makes the next attempt when it is due.
    pub(super) fn cut(&mut self) {
        self.input(Input::Closed { error: "connection reset" });
        self.attempt();
    }

    pub(super) fn attempt(&mut self) {
        self.clear();
        for _ in 0..1000 {
            if self.done.contains(&Output::Connect { address: 0 }) {
                return self.clear();
            }
            self.pass(1000);
        }
        panic!("no attempt");
    }
}
