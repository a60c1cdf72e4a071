//! Between the broker thread and everything else: forwards go to the outboxes, logins to whoever judges them, and
//! changed users and rules to whom they concern.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{error, info, warn};

use super::access::{AccessErrors, Watched, read_rules, read_users, together};
use super::clock::Clock;
use super::files;
use super::mailbox::Mailbox;
use super::passwords::{self, Opened, Order, Report};
use super::shard::{FromBroker, Reconfiguration, ToBroker};
use super::upstream::SharedBridge;
use crate::auth::{Attempt, Authenticator, Output, PasswordFile, Ticket, Verdict};
use crate::bridge;
use crate::broker::ConnId;
use crate::broker::acl::{Acl, Rule};
use crate::config::{Config, User};
use crate::secret::Secret;

/// Who is let in and what for, as the start found it; and the thread that keeps it up to date.
#[derive(Debug)]
pub struct Access {
    /// The rules that the broker starts with.
    pub acl: Arc<Acl>,
    /// What is wrong with the files.
    pub errors: Rc<RefCell<AccessErrors>>,
    config_acl: Arc<Acl>,
    /// Whether the ACL file could be read since the start.
    has_rules: bool,
    authenticator: Authenticator,
    orders: mpsc::Sender<Order>,
    /// What reports on the files bear that are watched now.
    files: u64,
    reports: UnboundedReceiver<Report>,
}

impl Access {
    /// Reads users and rules, and starts the password thread. A file that can't be read closes what it was to
    /// open: its users are not let in, and without the rules everything is denied.
    ///
    /// # Errors
    /// If the thread can't be started or the system has no random numbers.
    pub fn open(config: &Config, clock: &Clock) -> Result<Self, String> {
        let mut opened = passwords::open(config.password_file.clone(), config.acl_file.clone());
        let mut authenticator = Authenticator::new(configured(&config.users), &passwords::random()?);
        let mut errors = AccessErrors::default();
        match opened.users.take() {
            None => {}
            Some(Ok(users)) => {
                info!(users = users.len(), weak = users.weak(), "password file read");
                authenticator.set_users(users);
            }
            Some(Err(error)) => {
                error!(error, "its users are refused until it is mended");
                authenticator.users_unreadable();
                errors.passwords = Some(format!("{error}; its users are refused"));
            }
        }
        if let Some(Err(error)) = &opened.rules {
            error!(error, "everything is denied until it is mended");
            errors.acl = Some(format!("{error}; everything is denied"));
        }
        let has_rules = matches!(opened.rules, Some(Ok(_)));
        let config_acl = config.broker.acl.clone();
        let acl = together(&config_acl, opened.rules.take());
        let (orders, reports) = Opened::spawn(opened, clock.clone())
            .map_err(|error| format!("can't start the password thread: {error}"))?;
        let errors = Rc::new(RefCell::new(errors));
        Ok(Self { acl, errors, config_acl, has_rules, authenticator, orders, files: 0, reports })
    }
}

/// Who is let in and what for, as a new config says: all of it read, nothing in use yet.
#[derive(Debug)]
pub struct NewAccess {
    configured: Vec<(String, Option<Secret>)>,
    config_acl: Arc<Acl>,
    users: Option<(Watched, PasswordFile)>,
    rules: Option<(Watched, Vec<Rule>)>,
}

impl NewAccess {
    /// Reads secrets and files. Blocks.
    ///
    /// # Errors
    /// All that can't be read, in words.
    pub fn read(config: &Config) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut configured = Vec::new();
        for user in &config.users {
            match files::secret(&user.password) {
                Ok(secret) => configured.push((user.name.clone(), Some(secret))),
                Err(error) => mistakes.push(format!("user {}: {error}", user.name)),
            }
        }
        let mut users = None;
        if let Some(mut file) = config.password_file.clone().map(Watched::new) {
            match file.read(read_users) {
                Ok(read) => users = Some((file, read)),
                Err(error) => mistakes.push(error),
            }
        }
        let mut rules = None;
        if let Some(mut file) = config.acl_file.clone().map(Watched::new) {
            match file.read(read_rules) {
                Ok(read) => rules = Some((file, read)),
                Err(error) => mistakes.push(error),
            }
        }
        let config_acl = config.broker.acl.clone();
        if mistakes.is_empty() { Ok(Self { configured, config_acl, users, rules }) } else { Err(mistakes) }
    }
}

/// A new config on its way to the broker thread.
#[derive(Debug)]
pub struct Change {
    /// Who is let in and what for.
    pub access: NewAccess,
    /// All else; what follows from `access` is filled in here.
    pub reconfiguration: Box<Reconfiguration>,
}

/// A user whose password can't be read stays in the list and is refused.
fn configured(users: &[User]) -> Vec<(String, Option<Secret>)> {
    let read = |user: &User| {
        let secret = files::secret(&user.password).map_err(|error| {
            error!(user = user.name, error, "this user's password can't be read; the user is refused");
        });
        (user.name.clone(), secret.ok())
    };
    users.iter().map(read).collect()
}

/// What the pump is started with.
#[derive(Debug)]
pub struct Setup {
    /// From the broker thread.
    pub from_broker: Arc<Mailbox<FromBroker>>,
    /// To the broker thread.
    pub broker: Arc<Mailbox<ToBroker>>,
    /// In the order of their outboxes.
    pub bridges: Vec<SharedBridge>,
    /// The clocks.
    pub clock: Clock,
    /// Who is let in, and what for.
    pub access: Access,
    /// New configs.
    pub changes: UnboundedReceiver<Change>,
    /// Rung when status has something new to say.
    pub changed: Rc<Notify>,
}

/// Runs until the mailbox from the broker is closed, or the task is aborted.
pub async fn run(mut setup: Setup) {
    let mut batch = Vec::new();
    loop {
        let wait = setup.access.authenticator.next_deadline().map(|at| at.since(setup.clock.now().mono));
        let deadline = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        // Each of them is cancel safe: what was not taken is there the next time.
        tokio::select! {
            open = setup.from_broker.take(&mut batch) => {
                if !open {
                    return;
                }
                for item in batch.drain(..) {
                    setup.carry(item);
                }
            }
            Some(report) = setup.access.reports.recv() => setup.report(report),
            Some(change) = setup.changes.recv() => setup.change(change),
            () = deadline => setup.access.authenticator.tick(setup.clock.now().mono),
        }
        setup.answer();
    }
}

impl Setup {
    fn carry(&mut self, item: FromBroker) {
        match item {
            FromBroker::Forward { outbox, message, token } => {
                if let Some(bridge) = self.bridges.get(usize::from(outbox.0)) {
                    let now = self.clock.now();
                    bridge.machine.borrow_mut().handle(now, bridge::Input::Append { message, token });
                    bridge.bell.notify_one();
                }
            }
            FromBroker::Accepted { from, ticket, safe } => {
                if let Some(bridge) = self.bridges.get(usize::from(from.0)) {
                    let now = self.clock.now();
                    bridge.machine.borrow_mut().handle(now, bridge::Input::Accepted { ticket, safe });
                    bridge.bell.notify_one();
                }
            }
            FromBroker::Authenticate { conn, generation, peer, user_name, password } => {
                let attempt = Attempt {
                    ticket: ticket(conn, generation),
                    address: address(&peer),
                    user: user_name,
                    password,
                };
                self.access.authenticator.attempt(self.clock.now().mono, attempt);
            }
        }
    }

    /// Judges by the new config from now on, then has the broker do so: whoever was let in meanwhile is judged again
    /// there.
    fn change(&mut self, change: Change) {
        let Change { access: new, mut reconfiguration } = change;
        let access = &mut self.access;
        let (users, password_file) = new.users.unzip();
        let (watched_rules, rules) = new.rules.unzip();
        access.has_rules = rules.is_some();
        access.config_acl = new.config_acl;
        access.files += 1;
        let watch = Order::Watch { users, rules: watched_rules, files: access.files };
        if access.orders.send(watch).is_err() {
            error!("the password thread has died");
        }
        reconfiguration.broker.config.acl = together(&access.config_acl, rules.map(Ok));
        reconfiguration.broker.users = access.authenticator.reconfigure(new.configured, password_file);
        self.broker.force(ToBroker::Reconfigure(reconfiguration));
        *access.errors.borrow_mut() = AccessErrors::default();
        self.changed.notify_one();
    }

    /// What the password thread has to tell.
    fn report(&mut self, report: Report) {
        let access = &mut self.access;
        let mut errors = access.errors.borrow_mut();
        match report {
            Report::Checked(outcome) => {
                return access.authenticator.checked(self.clock.now().mono, outcome);
            }
            // Of a file that the config no longer names, or named differently.
            Report::Users { files, .. } | Report::Rules { files, .. } if files != access.files => return,
            Report::Users { result: Ok(users), .. } => {
                info!(users = users.len(), weak = users.weak(), "password file read anew");
                access.authenticator.set_users(users);
                errors.passwords = None;
            }
            Report::Users { result: Err(error), .. } => {
                let still = if access.authenticator.has_users() {
                    "the users read before it stay"
                } else {
                    "its users are refused"
                };
                error!(error, "the password file has changed and can't be used; {still}");
                errors.passwords = Some(format!("{error}; {still}"));
            }
            Report::Rules { result: Ok(rules), .. } => {
                info!(rules = rules.len(), "ACL file read anew");
                access.has_rules = true;
                self.broker.force(ToBroker::Access(together(&access.config_acl, Some(Ok(rules)))));
                errors.acl = None;
            }
            Report::Rules { result: Err(error), .. } => {
                let still =
                    if access.has_rules { "the rules read before it stay" } else { "everything is denied" };
                error!(error, "the ACL file has changed and can't be used; {still}");
                errors.acl = Some(format!("{error}; {still}"));
            }
            Report::NotRenewed(error) => {
                return warn!(error, "a weak password hash could not be replaced by a stronger one");
            }
        }
        self.changed.notify_one();
    }

    fn answer(&mut self) {
        while let Some(output) = self.access.authenticator.poll_output() {
            match output {
                Output::Answer(ticket, verdict) => {
                    let Some((conn, generation)) = connection(ticket) else { continue };
                    self.broker.force(match verdict {
                        Verdict::Right => ToBroker::Authenticated { conn, generation, accepted: true },
                        Verdict::Wrong => ToBroker::Authenticated { conn, generation, accepted: false },
                        Verdict::Unknown => ToBroker::NotJudged { conn, generation },
                    });
                }
                Output::Check(check) => {
                    if self.access.orders.send(Order::Check(check)).is_err() {
                        // Its client waits until the broker closes it; nobody else is let in either.
                        error!("the password thread has died");
                    }
                }
            }
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
