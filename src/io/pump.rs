//! Between the broker thread and everything else: forwards go to the outboxes, logins to whoever judges them, and
//! changed users and rules to whom they concern.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use super::admission::{Access, NewAccess};
use super::clock::Clock;
use super::commands::CommandDesk;
use super::config_mqtt::RemoteDesk;
use super::links::Links;
use super::mailbox::Mailbox;
use super::panics::Panics;
use super::passwords::Report;
use super::shard::{FromBroker, Reconfiguration, ToBroker};
use crate::auth::{Attempt, Ticket, Verdict};
use crate::bridge;
use crate::broker::{CommandBy, ConnId};
use crate::command::Asker;

/// A new config on its way to the broker thread.
#[derive(Debug)]
pub struct Change {
    /// Who is let in and what for.
    pub access: NewAccess,
    /// All else; what follows from `access` is filled in here.
    pub reconfiguration: Box<Reconfiguration>,
}

/// What the pump is started with.
#[derive(Debug)]
pub struct Setup {
    /// From the broker thread.
    pub from_broker: Arc<Mailbox<FromBroker>>,
    /// To the broker thread.
    pub broker: Arc<Mailbox<ToBroker>>,
    /// Where forwards go.
    pub links: Rc<Links>,
    /// Where commands go.
    pub desk: Rc<CommandDesk>,
    /// Where requests about the config go.
    pub remote: Rc<RemoteDesk>,
    /// The clocks.
    pub clock: Clock,
    /// Who is let in, and what for.
    pub access: Access,
    /// New configs.
    pub changes: UnboundedReceiver<Change>,
    /// Rung when status has something new to say.
    pub changed: Rc<Notify>,
    /// Who catches panics.
    pub panics: Arc<Panics>,
}

/// Runs until the mailbox from the broker is closed, or the task is aborted.
pub async fn run(mut setup: Setup) {
    let panics = setup.panics.clone();
    let mut batch = VecDeque::new();
    while panics.catch_async("pump", pin!(turns(&mut setup, &mut batch))).await.is_none() {
        panics.pause().await;
    }
}

/// `batch` is what was taken from the broker and not carried on.
async fn turns(setup: &mut Setup, batch: &mut VecDeque<FromBroker>) {
    let mut taken = Vec::new();
    loop {
        while let Some(item) = batch.pop_front() {
            setup.carry(item);
        }
        setup.answer();
        let wait = setup.access.next_deadline().map(|at| at.since(setup.clock.now().mono));
        let deadline = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        // Each of them is cancel safe: what was not taken is there the next time.
        tokio::select! {
            open = setup.from_broker.take(&mut taken) => {
                if !open {
                    return;
                }
                batch.extend(taken.drain(..));
            }
            Some(report) = setup.access.told() => setup.report(report),
            Some(change) = setup.changes.recv() => setup.change(change),
            () = deadline => setup.access.tick(setup.clock.now().mono),
        }
    }
}

impl Setup {
    fn carry(&mut self, item: FromBroker) {
        match item {
            FromBroker::Forward { outbox, message, token } => {
                if let Some(bridge) = self.links.of(outbox) {
                    let now = self.clock.now();
                    bridge.machine.borrow_mut().handle(now, bridge::Input::Append { message, token });
                    bridge.bell.notify_one();
                }
            }
            FromBroker::Command { message, by, at } => {
                let by = self.asker(by);
                if self.remote.is_request(&message) {
                    self.remote.arrived(&message, &by, at);
                } else {
                    self.desk.arrived(&message, by, at);
                }
            }
            FromBroker::Accepted { from, ticket, safe } => {
                if let Some(bridge) = self.links.of(from) {
                    let now = self.clock.now();
                    bridge.machine.borrow_mut().handle(now, bridge::Input::Accepted { ticket, safe });
                    bridge.bell.notify_one();
                }
            }
            FromBroker::Authenticate { conn, generation, users, peer, user_name, password } => {
                let attempt = Attempt {
                    ticket: ticket(conn, generation),
                    address: address(&peer),
                    user: user_name,
                    password,
                };
                self.access.attempt(self.clock.now().mono, &users, attempt);
            }
        }
    }

    /// Who has published a command, by the name that people know.
    fn asker(&self, by: CommandBy) -> Asker {
        match by {
            CommandBy::Client { client_id, user_name, may_read_reply } => {
                Asker::Client { client_id, user_name, may_read_reply }
            }
            CommandBy::Will { client_id } => Asker::Will { client_id },
            CommandBy::Upstream(outbox) => {
                let bridge = self.links.of(outbox);
                let name = bridge.map(|bridge| bridge.machine.borrow().status(self.clock.now()).name);
                Asker::Upstream(name.unwrap_or_else(|| Arc::from("")))
            }
        }
    }

    /// Judges by the new config from now on, then has the broker do so: whoever was let in meanwhile is judged again
    /// there.
    fn change(&mut self, change: Change) {
        let Change { access, mut reconfiguration } = change;
        self.access.change(access, &mut reconfiguration.broker);
        self.broker.force(ToBroker::Reconfigure(reconfiguration));
        self.changed.notify_one();
    }

    /// What the password thread has to tell.
    fn report(&mut self, report: Report) {
        let (rules, is_news) = self.access.report(self.clock.now().mono, report);
        if let Some(rules) = rules {
            self.broker.force(ToBroker::Access(rules));
        }
        if is_news {
            self.changed.notify_one();
        }
    }

    fn answer(&mut self) {
        for (ticket, verdict) in self.access.answers() {
            let Some((conn, generation)) = connection(ticket) else { continue };
            self.broker.force(match verdict {
                Verdict::Right => ToBroker::Authenticated { conn, generation, accepted: true },
                Verdict::Wrong => ToBroker::Authenticated { conn, generation, accepted: false },
                Verdict::Unknown => ToBroker::NotJudged { conn, generation },
            });
        }
    }
}

fn ticket(conn: ConnId, generation: u32) -> Ticket {
    Ticket(u64::from(conn.0) << 32 | u64::from(generation))
}

fn connection(ticket: Ticket) -> Option<(ConnId, u32)> {
    let conn = u32::try_from(ticket.0 >> 32).ok()?;
    let generation = u32::try_from(ticket.0 & u64::from(u32::MAX)).ok()?;
    Some((ConnId(conn), generation))
}

/// A peer without its port: each connection has another one.
fn address(peer: &str) -> String {
    peer.parse::<SocketAddr>()
        .map_or_else(|_| peer.to_owned(), |address| address.ip().to_canonical().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_stands_for_one_use_of_one_connection_number() {
        for (conn, generation) in [(0, 0), (1, 2), (u32::MAX, 7), (7, u32::MAX)] {
            let ticket = ticket(ConnId(conn), generation);
            assert_eq!(connection(ticket), Some((ConnId(conn), generation)));
        }
    }

    #[test]
    fn an_address_has_no_port_and_one_form() {
        for (peer, expected) in [
            ("10.0.0.7:1234", "10.0.0.7"),
            ("[::ffff:10.0.0.7]:1234", "10.0.0.7"),
            ("[fe80::1]:5", "fe80::1"),
            ("/run/x.sock", "/run/x.sock"),
        ] {
            assert_eq!(address(peer), expected, "{peer}");
        }
    }
}
