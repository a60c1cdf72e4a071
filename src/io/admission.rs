//! Who is let in and what for: the broker's users and rules, and those of listeners that have their own; read at the
//! start, at a new config, and when a file has changed. Who is right is judged in [`crate::auth`], what a rule means in
//! [`crate::broker::acl`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{error, info, warn};

use super::access::{AccessErrors, KnownUsers, Which, Whose, together};
use super::clock::Clock;
use super::files;
use super::passwords::{self, Files, Opened, Order, Report, Said};
use crate::auth::{Attempt, Authenticator, Output, PasswordFile, Ticket, Verdict};
use crate::broker::Reconfigure;
use crate::broker::acl::{Acl, Rule};
use crate::broker::home::Rules;
use crate::config::{Config, User};
use crate::secret::Secret;
use crate::time::Mono;

/// Users with their passwords; `None`: it can't be read.
type Configured = Vec<(String, Option<Secret>)>;

/// Who is let in and what for, as the start found it; and the thread that keeps it up to date.
#[derive(Debug)]
pub struct Access {
    /// The rules that the broker starts with.
    pub rules: Rules,
    /// What is wrong with the files.
    pub errors: Rc<RefCell<AccessErrors>>,
    /// The names of the users.
    pub users: Rc<RefCell<Vec<KnownUsers>>>,
    circles: BTreeMap<Whose, Circle>,
    boot_key: [u8; 32],
    orders: mpsc::Sender<Order>,
    /// What reports on the files bear that are watched now.
    files: u64,
    reports: UnboundedReceiver<Report>,
    /// Answers of users who are asked no more.
    left: Vec<Output>,
}

/// A list of users, and rules: the broker's, or what a listener has instead.
#[derive(Debug)]
struct Circle {
    authenticator: Authenticator,
    /// Those of the config, if it has any of its own.
    config_acl: Option<Arc<Acl>>,
    /// Those and the file's together.
    acl: Option<Arc<Acl>>,
    /// Whether the ACL file could be read since the start.
    has_rules: bool,
}

/// What a config says of a circle.
#[derive(Debug)]
struct Wanted<'a> {
    whose: Whose,
    users: &'a [User],
    password_file: Option<PathBuf>,
    acl: Option<Arc<Acl>>,
    acl_file: Option<PathBuf>,
}

fn wanted(config: &Config) -> Vec<Wanted<'_>> {
    let common = Wanted {
        whose: None,
        users: &config.users,
        password_file: config.password_file.clone(),
        acl: Some(config.broker.acl.clone()),
        acl_file: config.acl_file.clone(),
    };
    let own = config.own_access.iter().map(|own| Wanted {
        whose: Some(own.listener.clone()),
        users: own.users.as_ref().map_or(&[], |users| &users.list),
        password_file: own.users.as_ref().and_then(|users| users.file.clone()),
        acl: own.rules.as_ref().map(|rules| rules.acl.clone()),
        acl_file: own.rules.as_ref().and_then(|rules| rules.file.clone()),
    });
    std::iter::once(common).chain(own).collect()
}

impl Wanted<'_> {
    fn files(&self) -> Files {
        Files::new(self.whose.clone(), self.password_file.clone(), self.acl_file.clone())
    }
}

impl Access {
    /// Reads users and rules, and starts the password thread. A file that can't be read closes what it was to
    /// open: its users are not let in, and without the rules everything is denied.
    ///
    /// # Errors
    /// If the thread can't be started or the system has no random numbers.
    pub fn open(config: &Config, clock: &Clock) -> Result<Self, String> {
        let wanted = wanted(config);
        let (opened, said) = passwords::open(wanted.iter().map(Wanted::files).collect());
        let boot_key = passwords::random()?;
        let mut errors = AccessErrors::default();
        let circle = |(wanted, said): (&Wanted<'_>, Said)| {
            (wanted.whose.clone(), Circle::open(wanted, said, &boot_key, &mut errors))
        };
        let circles: BTreeMap<Whose, Circle> = wanted.iter().zip(said).map(circle).collect();
        let (orders, reports) = Opened::spawn(opened, clock.clone())
            .map_err(|error| format!("can't start the password thread: {error}"))?;
        let errors = Rc::new(RefCell::new(errors));
        let rules = rules(&circles);
        let users = Rc::new(RefCell::new(known_users(&circles)));
        Ok(Self { rules, errors, users, circles, boot_key, orders, files: 0, reports, left: Vec::new() })
    }

    /// To the password thread, for passwords of the page; how many wait is bounded by whoever sends.
    #[must_use]
    pub fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    /// The next that the password thread tells. Cancel safe.
    pub(super) async fn told(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// When [`Self::tick`] is due.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.circles.values().filter_map(|circle| circle.authenticator.next_deadline()).min()
    }

    pub(super) fn tick(&mut self, now: Mono) {
        self.circles.values_mut().for_each(|circle| circle.authenticator.tick(now));
    }

    /// Has an attempt judged by the users whom it is to be judged by.
    pub(super) fn attempt(&mut self, now: Mono, whose: &Whose, attempt: Attempt) {
        match self.circles.get_mut(whose) {
            Some(circle) => circle.authenticator.attempt(now, attempt),
            // They are gone with the config that named them.
            None => self.left.push(Output::Answer(attempt.ticket, Verdict::Unknown)),
        }
    }

    /// The answers that there are by now; what takes longer goes to the password thread.
    pub(super) fn answers(&mut self) -> Vec<(Ticket, Verdict)> {
        let mut answers = Vec::new();
        let mut left = std::mem::take(&mut self.left);
        for (whose, circle) in &mut self.circles {
            while let Some(output) = circle.authenticator.poll_output() {
                match output {
                    Output::Check(check) => {
                        if self.orders.send(Order::Check { whose: whose.clone(), check }).is_err() {
                            // Its client waits until the broker closes it; nobody else is let in either.
                            error!("the password thread has died");
                        }
                    }
                    answer @ Output::Answer(..) => left.push(answer),
                }
            }
        }
        for output in left {
            if let Output::Answer(ticket, verdict) = output {
                answers.push((ticket, verdict));
            }
        }
        answers
    }

    /// Judges by a new config from now on; what follows for the broker is filled in.
    pub(super) fn change(&mut self, new: NewAccess, broker: &mut Reconfigure) {
        let mut before = std::mem::take(&mut self.circles);
        let mut all = Vec::new();
        for NewCircle { configured, acl, files, users, rules } in new.circles {
            let whose = files.whose.clone();
            let had = before.remove(&whose).map(|circle| circle.authenticator);
            let mut authenticator = had.unwrap_or_else(|| Authenticator::new(Vec::new(), &self.boot_key));
            let stay = authenticator.reconfigure(configured, users);
            match &whose {
                None => broker.users = stay,
                Some(listener) => drop(broker.own_users.insert(listener.clone(), stay)),
            }
            let has_rules = rules.is_some();
            let together = acl.as_ref().map(|acl| together(acl, rules.map(Ok)));
            self.circles.insert(whose, Circle { authenticator, config_acl: acl, acl: together, has_rules });
            all.push(files);
        }
        for mut gone in before.into_values() {
            gone.authenticator.close();
            self.left.extend(std::iter::from_fn(|| gone.authenticator.poll_output()));
        }
        self.files += 1;
        if self.orders.send(Order::Watch { all, files: self.files }).is_err() {
            error!("the password thread has died");
        }
        let Rules { common, own } = rules(&self.circles);
        (broker.config.acl, broker.config.own_rules) = (common, own);
        *self.errors.borrow_mut() = AccessErrors::default();
        self.users.replace(known_users(&self.circles));
    }

    /// What the password thread tells: the rules, if they are others now; and whether status has something new to say.
    pub(super) fn report(&mut self, now: Mono, report: Report) -> (Option<Rules>, bool) {
        match report {
            Report::Checked(outcome) => {
                // Only the one that has asked knows its ticket.
                for circle in self.circles.values_mut() {
                    circle.authenticator.checked(now, outcome.clone());
                }
                (None, false)
            }
            Report::NotRenewed(error) => {
                warn!(error, "a weak password hash could not be replaced by a stronger one");
                (None, false)
            }
            // Of files that the config no longer names, or named differently.
            Report::Users { files, .. } | Report::Rules { files, .. } if files != self.files => (None, false),
            Report::Users { whose, result, .. } => {
                if let Some(circle) = self.circles.get_mut(&whose) {
                    circle.take_users(&whose, result, &mut self.errors.borrow_mut());
                }
                self.users.replace(known_users(&self.circles));
                (None, true)
            }
            Report::Rules { whose, result, .. } => {
                let changed = self
                    .circles
                    .get_mut(&whose)
                    .is_some_and(|circle| circle.take_rules(&whose, result, &mut self.errors.borrow_mut()));
                (changed.then(|| rules(&self.circles)), true)
            }
        }
    }
}

fn rules(circles: &BTreeMap<Whose, Circle>) -> Rules {
    let mut rules = Rules::default();
    for (whose, circle) in circles {
        let Some(acl) = &circle.acl else { continue };
        match whose {
            None => rules.common = acl.clone(),
            Some(listener) => drop(rules.own.insert(listener.clone(), acl.clone())),
        }
    }
    rules
}

fn known_users(circles: &BTreeMap<Whose, Circle>) -> Vec<KnownUsers> {
    let one = |(whose, circle): (&Whose, &Circle)| {
        let (configured, of_file) = circle.authenticator.names();
        KnownUsers {
            whose: whose.clone(),
            configured: configured.map(str::to_owned).collect(),
            of_file: of_file.map(str::to_owned).collect(),
        }
    };
    circles.iter().map(one).collect()
}

/// For the log.
fn named(whose: &Whose) -> Option<&str> {
    whose.as_deref()
}

impl Circle {
    fn open(wanted: &Wanted<'_>, said: Said, boot_key: &[u8; 32], errors: &mut AccessErrors) -> Self {
        let whose = &wanted.whose;
        let mut authenticator = Authenticator::new(configured(wanted.users), boot_key);
        match said.users {
            None => {}
            Some(Ok(users)) => {
                info!(
                    listener = named(whose),
                    users = users.len(),
                    weak = users.weak(),
                    "password file read"
                );
                authenticator.set_users(users);
            }
            Some(Err(error)) => {
                error!(listener = named(whose), error, "its users are refused until it is mended");
                authenticator.users_unreadable();
                errors.set(Which::Passwords, whose.clone(), format!("{error}; its users are refused"));
            }
        }
        if let Some(Err(error)) = &said.rules {
            error!(listener = named(whose), error, "everything is denied until it is mended");
            errors.set(Which::Acl, whose.clone(), format!("{error}; everything is denied"));
        }
        let has_rules = matches!(said.rules, Some(Ok(_)));
        let acl = wanted.acl.as_ref().map(|acl| together(acl, said.rules));
        Self { authenticator, config_acl: wanted.acl.clone(), acl, has_rules }
    }

    /// The password file has changed.
    fn take_users(&mut self, whose: &Whose, result: Result<PasswordFile, String>, errors: &mut AccessErrors) {
        match result {
            Ok(users) => {
                let (count, weak) = (users.len(), users.weak());
                info!(listener = named(whose), users = count, weak, "password file read anew");
                self.authenticator.set_users(users);
                errors.clear(Which::Passwords, whose.clone());
            }
            Err(error) => {
                let still = if self.authenticator.has_users() {
                    "the users read before it stay"
                } else {
                    "its users are refused"
                };
                error!(
                    listener = named(whose),
                    error, "the password file has changed and can't be used; {still}"
                );
                errors.set(Which::Passwords, whose.clone(), format!("{error}; {still}"));
            }
        }
    }

    /// The ACL file has changed. True if the rules are others now.
    fn take_rules(
        &mut self,
        whose: &Whose,
        result: Result<Vec<Rule>, String>,
        errors: &mut AccessErrors,
    ) -> bool {
        match result {
            Ok(rules) => {
                info!(listener = named(whose), rules = rules.len(), "ACL file read anew");
                self.has_rules = true;
                self.acl = self.config_acl.as_ref().map(|acl| together(acl, Some(Ok(rules))));
                errors.clear(Which::Acl, whose.clone());
                true
            }
            Err(error) => {
                let still =
                    if self.has_rules { "the rules read before it stay" } else { "everything is denied" };
                error!(listener = named(whose), error, "the ACL file has changed and can't be used; {still}");
                errors.set(Which::Acl, whose.clone(), format!("{error}; {still}"));
                false
            }
        }
    }
}

/// Who is let in and what for, as a new config says: all of it read, nothing in use yet.
#[derive(Debug)]
pub struct NewAccess {
    circles: Vec<NewCircle>,
}

#[derive(Debug)]
struct NewCircle {
    configured: Configured,
    acl: Option<Arc<Acl>>,
    files: Files,
    users: Option<PasswordFile>,
    rules: Option<Vec<Rule>>,
}

impl NewAccess {
    /// Reads secrets and files. Blocks.
    ///
    /// # Errors
    /// All that can't be read, in words.
    pub fn read(config: &Config) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut circles = Vec::new();
        for wanted in wanted(config) {
            let mut configured = Vec::new();
            for user in wanted.users {
                match files::secret(&user.password) {
                    Ok(secret) => configured.push((user.name.clone(), Some(secret))),
                    Err(error) => mistakes.push(format!("user {}: {error}", user.name)),
                }
            }
            let mut files = wanted.files();
            let said = files.read();
            let users = said.users.transpose().map_err(|error| mistakes.push(error)).ok().flatten();
            let rules = said.rules.transpose().map_err(|error| mistakes.push(error)).ok().flatten();
            circles.push(NewCircle { configured, acl: wanted.acl, files, users, rules });
        }
        if mistakes.is_empty() { Ok(Self { circles }) } else { Err(mistakes) }
    }
}

/// A user whose password can't be read stays in the list and is refused.
fn configured(users: &[User]) -> Configured {
    let read = |user: &User| {
        let secret = files::secret(&user.password).map_err(|error| {
            error!(user = user.name, error, "this user's password can't be read; the user is refused");
        });
        (user.name.clone(), secret.ok())
    };
    users.iter().map(read).collect()
}

/// What is wrong with the files that a config names, in words.
#[must_use]
pub fn mistakes(config: &Config) -> Vec<String> {
    let read = |wanted: Wanted<'_>| {
        let said = wanted.files().read();
        let of = |error: String| match &wanted.whose {
            Some(listener) => format!("listener {listener}: {error}"),
            None => error,
        };
        let mistakes = [said.users.and_then(Result::err), said.rules.and_then(Result::err)];
        mistakes.into_iter().flatten().map(of).collect::<Vec<_>>()
    };
    wanted(config).into_iter().flat_map(read).collect()
}
