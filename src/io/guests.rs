//! The clients of one listener that are being greeted: how many, for how long, and what is said about those who are
//! turned away.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::connection::linger;
use super::greet::{GREETING_MAX, Turned, greet};
use super::listener::{Door, Pass, shown, take_in};
use super::stream::{Link, Socket};
use crate::limits::GREETINGS_MAX;

/// Of those who are turned away one in this time is logged; the others are counted.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Greetings under way; they end with this value.
pub(super) struct Guests {
    door: Rc<Door>,
    tasks: JoinSet<()>,
    /// In the order of arrival.
    waiting: VecDeque<AbortHandle>,
    log: Rc<RefCell<Log>>,
    dropped: Log,
}

/// What keeps a storm out of the log.
#[derive(Debug, Default)]
struct Log {
    last: Option<Instant>,
    unsaid: u64,
}

impl Log {
    /// How many went unsaid, if it is time to say something.
    fn is_due(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) < LOG_INTERVAL) {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Guests {
    pub(super) fn new(door: Rc<Door>) -> Self {
        Self {
            door,
            tasks: JoinSet::new(),
            waiting: VecDeque::new(),
            log: Rc::default(),
            dropped: Log::default(),
        }
    }

    /// Greets a client in a task of its own. If there are too many, the one that has been at it for longest goes.
    pub(super) fn greet(&mut self, socket: Socket, peer: String, pass: Pass, wait: Duration) {
        while self.tasks.try_join_next().is_some() {}
        if self.waiting.len() >= GREETINGS_MAX {
            self.waiting.retain(|task| !task.is_finished());
        }
        if self.waiting.len() >= GREETINGS_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            oldest.abort();
            let dropped = &self.door.shard.greetings_dropped;
            dropped.set(dropped.get() + 1);
            if let Some(unsaid) = self.dropped.is_due() {
                warn!(
                    listener = %self.door.config.name, more = unsaid,
                    "too many handshakes at once; the slowest was dropped"
                );
            }
        }
        let (door, log) = (self.door.clone(), self.log.clone());
        let task = self.tasks.spawn_local(async move {
            rest(wait).await;
            let shard = door.shard.clone();
            let welcome = pin!(welcome(door, socket, peer, pass, log));
            shard.panics().catch_async("greeting", welcome).await;
        });
        self.waiting.push_back(task);
    }
}

/// Waits, if there is anything to wait for: a timer of no length at all would still wait for the clock's next millisecond.
async fn rest(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

async fn welcome(door: Rc<Door>, socket: Socket, peer: String, pass: Pass, log: Rc<RefCell<Log>>) {
    let losses = door.keys.as_ref().map_or(0, |keys| keys.losses());
    let greeting = greet(&socket, &door.config, door.keys.as_deref(), &door.shard.handshakes);
    let listener = &*door.config.name;
    match timeout(GREETING_MAX, greeting).await {
        Ok(Ok(guest)) => {
            let mut pass = pass;
            if let Some(source) = guest.source {
                // Behind a proxy only now it is known whose place this is.
                let Some((own, wait)) = Pass::ask(&door.shard, Some(source.ip())) else { return };
                rest(wait).await;
                pass = own;
            }
            let peer = guest.source.map_or(peer, shown);
            if door.config.websocket.is_some() {
                info!(target: "fieldgate::event::websockets", listener, peer, "WebSocket opened");
            }
            let link = Link::new(socket, guest.codec);
            // The files may have changed since the handshake began.
            let shut_out = |chain: &[CertificateDer<'_>]| {
                door.keys.as_ref().is_some_and(|keys| keys.shut_out(chain, losses))
            };
            if link.has_certificates(shut_out) {
                return info!(listener, peer, reason = "its certificate was revoked", "client turned away");
            }
            take_in(&door, link, &peer, pass, guest.certified.as_deref(), &guest.early);
        }
        Ok(Err(Turned { why, answered, left })) => {
            let due = if left { None } else { log.borrow_mut().is_due() };
            match due {
                Some(more) => info!(listener, peer, reason = why, more, "client turned away"),
                None => debug!(listener, peer, reason = why, "client turned away"),
            }
            if answered {
                linger(&socket).await;
            }
        }
        Err(_) => debug!(listener, peer, "the handshake took too long"),
    }
}
