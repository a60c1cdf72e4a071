//! The password thread: hashes, which take long, one at a time; and looks whether the password file or the ACL
//! file has changed. Neither may hold up the broker or the service thread.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::access::{Watched, Whose, read_rules, read_users};
use super::clock::Clock;
use super::files;
use crate::auth::{Check, Hash, Outcome, PasswordFile, SALT_BYTES};
use crate::broker::acl::Rule;
use crate::secret::Secret;

/// How often the files are looked at. Between two hashes too, so a flood of logins doesn't keep a new file away.
const LOOK: Duration = Duration::from_secs(2);

/// What the thread is told.
#[derive(Debug)]
pub enum Order {
    /// Hold a password against a hash.
    Check {
        /// Whose password file has the hash.
        whose: Whose,
        /// What.
        check: Check,
    },
    /// Hold a password of the page against a hash.
    Compare {
        /// The password.
        password: Secret,
        /// The hash.
        hash: Hash,
        /// Whether it is that.
        answer: oneshot::Sender<bool>,
    },
    /// Make a hash of a password of the page.
    Make {
        /// The password.
        password: Secret,
        /// Its hash, or why there is none.
        answer: oneshot::Sender<Result<Hash, String>>,
    },
    /// Look at these files from now on; they were read just now.
    Watch {
        /// All of them.
        all: Vec<Files>,
        /// What reports on the files bear from now on.
        files: u64,
    },
}

/// The files of one list of users and one of rules.
#[derive(Debug)]
pub struct Files {
    /// Whose they are.
    pub whose: Whose,
    /// The password file.
    pub users: Option<Watched>,
    /// The ACL file.
    pub rules: Option<Watched>,
}

/// What the thread has to tell. `files` tells which files it is about: see [`Order::Watch`]; 0 until the first.
#[derive(Debug)]
pub enum Report {
    /// A check is done.
    Checked(Outcome),
    /// A password file has changed.
    Users {
        /// Whose.
        whose: Whose,
        /// Which files.
        files: u64,
        /// What it says.
        result: Result<PasswordFile, String>,
    },
    /// An ACL file has changed.
    Rules {
        /// Whose.
        whose: Whose,
        /// Which files.
        files: u64,
        /// What it says.
        result: Result<Vec<Rule>, String>,
    },
    /// A stronger hash could not be written.
    NotRenewed(String),
}

/// What the files of one list of users and one of rules say.
#[derive(Debug)]
pub struct Said {
    /// Whose they are.
    pub whose: Whose,
    /// The password file.
    pub users: Option<Result<PasswordFile, String>>,
    /// The ACL file.
    pub rules: Option<Result<Vec<Rule>, String>>,
}

/// The thread that is to look at the files.
#[derive(Debug)]
pub struct Opened {
    worker: Worker,
}

#[derive(Debug)]
struct Worker {
    all: Vec<Files>,
    files: u64,
    random: SystemRandom,
    /// A file that can't be written is told once.
    not_renewed: bool,
}

/// Reads all files.
#[must_use]
pub fn open(mut all: Vec<Files>) -> (Opened, Vec<Said>) {
    let said = all.iter_mut().map(Files::read).collect();
    (Opened { worker: Worker { all, files: 0, random: SystemRandom::new(), not_renewed: false } }, said)
}

impl Files {
    /// Files that were not read yet.
    #[must_use]
    pub fn new(whose: Whose, users: Option<PathBuf>, rules: Option<PathBuf>) -> Self {
        Self { whose, users: users.map(Watched::new), rules: rules.map(Watched::new) }
    }

    /// Reads them whatever happened to them.
    pub fn read(&mut self) -> Said {
        Said {
            whose: self.whose.clone(),
            users: self.users.as_mut().map(|file| file.read(read_users)),
            rules: self.rules.as_mut().map(|file| file.read(read_rules)),
        }
    }
}

impl Opened {
    /// Starts the thread. It ends when the sender of orders is dropped; how many wait is bounded by whoever sends.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn spawn(self, clock: Clock) -> std::io::Result<(Sender<Order>, UnboundedReceiver<Report>)> {
        let (sender, orders) = mpsc::channel();
        let (reports, receiver) = unbounded_channel();
        let mut worker = self.worker;
        std::thread::Builder::new()
            .name("fg-passwords".into())
            .spawn(move || worker.run(&clock, &orders, &reports))?;
        Ok((sender, receiver))
    }
}

/// Random bytes from the system.
///
/// # Errors
/// If it has none.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(bytes)
}

/// A hash of a password, with a salt from the system.
///
/// # Errors
/// If it has no random numbers.
pub fn make(password: &Secret) -> Result<Hash, String> {
    let salt = random::<SALT_BYTES>()?;
    Hash::make(password.expose(), &salt).ok_or_else(|| "the password can't be hashed".to_owned())
}

impl Worker {
    fn run(&mut self, clock: &Clock, orders: &Receiver<Order>, reports: &UnboundedSender<Report>) {
        // A report that nobody wants any more means that the gateway stops: so does the next receive.
        let report = |report| drop(reports.send(report));
        let mut next_look = clock.now().mono + LOOK;
        loop {
            match orders.recv_timeout(next_look.since(clock.now().mono)) {
                Ok(Order::Check { whose, check }) => self.check(&whose, check, &report),
                // Whoever asks may have given up: then it isn't hashed.
                Ok(Order::Compare { password, hash, answer }) if !answer.is_closed() => {
                    let _ = answer.send(hash.matches(password.expose()));
                }
                Ok(Order::Make { password, answer }) if !answer.is_closed() => {
                    let _ = answer.send(make(&password));
                }
                Ok(Order::Compare { .. } | Order::Make { .. }) => {}
                Ok(Order::Watch { all, files }) => {
                    (self.all, self.files) = (all, files);
                    self.not_renewed = false;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if clock.now().mono >= next_look {
                self.look(&report);
                next_look = clock.now().mono + LOOK;
            }
        }
    }

    fn look(&mut self, report: &impl Fn(Report)) {
        let files = self.files;
        for Files { whose, users, rules } in &mut self.all {
            if let Some(result) = users.as_mut().and_then(|file| file.read_if_changed(read_users)) {
                report(Report::Users { whose: whose.clone(), files, result });
            }
            if let Some(result) = rules.as_mut().and_then(|file| file.read_if_changed(read_rules)) {
                report(Report::Rules { whose: whose.clone(), files, result });
            }
        }
    }

    fn check(&mut self, whose: &Whose, check: Check, report: &impl Fn(Report)) {
        let Check { ticket, user, password, hash } = check;
        let matches = hash.matches(password.expose());
        let mut renewed = None;
        if matches && hash.is_weak() {
            match self.renew(whose, &user, password.expose(), &hash) {
                Ok(new) => renewed = Some(new),
                Err(error) if !self.not_renewed => {
                    self.not_renewed = true;
                    report(Report::NotRenewed(error));
                }
                Err(_) => {}
            }
        }
        report(Report::Checked(Outcome { ticket, matches, renewed }));
    }

    /// Puts a stronger hash of a right password into the file.
    fn renew(&mut self, whose: &Whose, user: &str, password: &[u8], old: &Hash) -> Result<Hash, String> {
        let files = self.all.iter().find(|files| files.whose == *whose);
        let file = files.and_then(|files| files.users.as_ref()).ok_or("there is no password file")?;
        let mut salt = [0; SALT_BYTES];
        self.random.fill(&mut salt).map_err(|_| "the system gives no random numbers")?;
        let new = Hash::make(password, &salt).ok_or("the password is too long")?;
        let change = |content: Option<Vec<u8>>| {
            // As it is now, which may not be what was read: others write it too.
            let mut users =
                PasswordFile::parse(&content.unwrap_or_default()).map_err(|mistake| mistake.to_string())?;
            if !users.replace(user, old, new.clone()) {
                return Err("the user's entry has changed meanwhile".to_owned());
            }
            Ok((users.to_string().into_bytes(), ()))
        };
        files::rewrite(file.path(), change)?;
        Ok(new)
    }
}
