//! TLS for listeners: certificates from files, read again when they change, and what a client's certificate must be.
//! The handshake itself is `greet`'s.

mod load;
mod suites;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use load::{Loaded, Stamps, load, stamps_of};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::config::ListenerTls;
use crate::expiry::{Dated, Watch};
use crate::time::Timestamp;

/// How often the files are looked at.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// A listener's TLS settings, as they are now.
#[derive(Debug)]
pub struct Keys {
    settings: Arc<ListenerTls>,
    current: RefCell<Loaded>,
    /// Which ends were told already.
    ends: RefCell<Watch>,
    /// The files as they were when they were last read.
    seen: RefCell<Stamps>,
    /// How many times an authority has gone.
    losses: Cell<u64>,
}

impl Keys {
    /// Reads the files.
    ///
    /// # Errors
    /// In words, naming the file.
    pub async fn open(settings: &ListenerTls) -> Result<Self, String> {
        let settings = Arc::new(settings.clone());
        let (seen, loaded) = read(&settings).await;
        Ok(Self {
            settings,
            current: RefCell::new(loaded?),
            ends: RefCell::default(),
            seen: RefCell::new(seen),
            losses: Cell::new(0),
        })
    }

    /// What the next handshake uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.borrow().config.clone()
    }

    /// Whether a client's certificates, which were verified before, let it in no longer: its own is revoked, or the
    /// authority behind it is gone since `then`, see [`Keys::losses`]. Verifying takes long, so it isn't done without
    /// need.
    pub(super) fn shut_out(&self, chain: &[CertificateDer<'_>], then: u64) -> bool {
        let current = self.current.borrow();
        let is_revoked = chain.first().is_some_and(|own| current.revoked.contains(own));
        is_revoked || (self.losses.get() != then && current.authorities.disown(chain))
    }

    /// Whether there may be any whom that concerns.
    pub(super) fn may_shut_out(&self, then: u64) -> bool {
        self.losses.get() != then || !self.current.borrow().revoked.is_empty()
    }

    /// How many times an authority has gone from the files.
    pub(super) fn losses(&self) -> u64 {
        self.losses.get()
    }

    /// When the files end.
    pub(crate) fn dates(&self) -> Vec<Dated> {
        self.current.borrow().dates.clone()
    }

    /// Reads the files again whenever they have changed, or at SIGHUP, and says in time when they end. After each
    /// reading `changed` is told what is wrong now, if anything. Never ends.
    pub(crate) async fn watch(
        self: Rc<Self>,
        listener: &str,
        now: impl Fn() -> Timestamp,
        changed: impl Fn(Option<String>),
    ) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut before = self.seen.borrow().clone();
        loop {
            for warning in self.ends.borrow_mut().due(&self.current.borrow().dates, now()) {
                warn!(listener, reason = warning, "a file of this listener ends");
            }
            let told = tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                () = hung_up(&mut hangup) => true,
            };
            let now = stamps(&self.settings).await;
            // Certificate and key are two files: once they have settled they are read.
            let settled = std::mem::replace(&mut before, now.clone()) == now;
            if told || (settled && *self.seen.borrow() != now) {
                before = self.read_again(listener, &changed).await;
            }
        }
    }

    /// Reads the files again now.
    pub(crate) async fn read_now(&self, listener: &str, changed: impl Fn(Option<String>)) {
        self.read_again(listener, &changed).await;
    }

    async fn read_again(&self, listener: &str, changed: &impl Fn(Option<String>)) -> Stamps {
        let (seen, loaded) = read(&self.settings).await;
        self.seen.replace(seen.clone());
        match loaded {
            Ok(loaded) => {
                let before = self.current.replace(loaded);
                if self.current.borrow().authorities.are_fewer(&before.authorities) {
                    self.losses.set(self.losses.get() + 1);
                }
                info!(listener, "certificates were read again; clients stay connected");
                changed(None);
            }
            Err(error) => {
                error!(listener, error, "the new certificates can't be used; the old ones are kept");
                changed(Some(format!("the old certificates are still used: {error}")));
            }
        }
        seen
    }
}

async fn hung_up(signal: &mut Option<tokio::signal::unix::Signal>) {
    if let Some(hangup) = signal
        && hangup.recv().await.is_some()
    {
        return;
    }
    // There will be no more.
    *signal = None;
    std::future::pending().await
}

/// The files are on a disk that may stall, so another thread reads them.
async fn read(settings: &Arc<ListenerTls>) -> (Stamps, Result<Loaded, String>) {
    let settings = settings.clone();
    // The stamps come first: a file that changes meanwhile is read once more.
    let read = tokio::task::spawn_blocking(move || (stamps_of(&settings), load(&settings)));
    read.await.unwrap_or_else(|error| (Vec::new(), Err(format!("the files can't be read: {error}"))))
}

async fn stamps(settings: &Arc<ListenerTls>) -> Stamps {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || stamps_of(&settings)).await.unwrap_or_default()
}
