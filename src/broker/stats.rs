//! The broker's counters.

use std::time::Duration;

use super::memory::Shedding;
use super::{Broker, count};

/// Counters for health and `$SYS`; all since start except the first seven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Clients that are connected (CONNACK 0 sent).
    pub clients_connected: u64,
    /// Persistent sessions without a client.
    pub sessions_offline: u64,
    /// Subscriptions of all sessions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Those of them that are shared.
    pub shared_subscriptions: u64,
    /// Messages that are kept: retained, queued, under way.
    pub stored_messages: u64,
    /// The bytes of those that are retained or queued.
    pub stored_bytes: u64,
    /// The most clients that were connected at once.
    pub clients_maximum: u64,
    /// Sessions that ended because their client was away for too long.
    pub sessions_expired: u64,
    /// Connections taken in.
    pub sockets_opened: u64,
    /// CONNECT packets taken in.
    pub connects_received: u64,
    /// Bytes taken in.
    pub bytes_received: u64,
    /// Bytes handed to connections.
    pub bytes_sent: u64,
    /// Packets of any type taken in.
    pub packets_received: u64,
    /// Packets of any type handed to connections.
    pub packets_sent: u64,
    /// The payloads' bytes of PUBLISH packets taken in.
    pub publish_bytes_received: u64,
    /// The payloads' bytes of PUBLISH packets handed to connections.
    pub publish_bytes_sent: u64,
    /// PUBLISH packets taken in.
    pub publish_received: u64,
    /// PUBLISH packets handed to connections.
    pub publish_sent: u64,
    /// Connections refused with a CONNACK.
    pub connects_refused: u64,
    /// Those of them who were not let in as who they are: name, password, no name at all.
    pub logins_failed: u64,
    /// Connections ended for breaking the protocol.
    pub protocol_errors: u64,
    /// Messages dropped because a session's queue or a connection's buffer was full.
    pub dropped_queue_full: u64,
    /// Messages dropped because they are larger than the receiver accepts.
    pub dropped_too_large: u64,
    /// Messages dropped because they expired.
    pub dropped_expired: u64,
    /// Messages dropped because their receiver may no longer read them.
    pub dropped_revoked: u64,
    /// PUBLISH packets refused: own topics, ACL.
    pub publish_denied: u64,
    /// Connections ended because a new config doesn't allow them.
    pub disconnected_by_reload: u64,
    /// Retained messages not kept because the store of retained messages is full, or they are too large or too many.
    pub retained_refused: u64,
    /// Sessions ended because their queue was full.
    pub sessions_overflowed: u64,
    /// Subscriptions refused because there are too many.
    pub subscriptions_refused: u64,
    /// Clients refused because there are too many of their address.
    pub arrivals_address_full: u64,
    /// Connections closed because too many of their address were not let in yet.
    pub arrivals_half_open: u64,
    /// Connections closed because they came too fast.
    pub arrivals_too_fast: u64,
    /// Connections that had to wait because they came too fast.
    pub arrivals_delayed: u64,
    /// Times that a client was not read from because it published too fast.
    pub publishers_held: u64,
    /// Receivers that kept their publishers waiting for too long, so that QoS 0 to them was dropped instead.
    pub receivers_left_behind: u64,
    /// Clients closed because they published too fast for too long.
    pub publishers_closed: u64,
    /// Connections refused, and sessions and retained messages not taken in, because memory ran short.
    pub refused_for_memory: u64,
    /// Messages in queues dropped because memory ran short.
    pub dropped_for_memory: u64,
    /// Clients closed because memory ran short.
    pub closed_for_memory: u64,
    /// What is given up at present, since memory runs short.
    pub shedding: Shedding,
    /// Clients that were dropped while they were being greeted: TLS, WebSocket, proxy. Counted by the shell.
    pub greetings_dropped: u64,
    /// Panics of the whole process that were caught. Counted by the shell.
    pub panics: u64,
    /// Times that no client was accepted because file descriptors ran short. Counted by the shell.
    pub accepts_paused: u64,
    /// Bytes that this process is held to take, as its budget is judged.
    pub memory_used: u64,
    /// Bytes that this process should take at most; 0 if nobody has said.
    pub memory_budget: u64,
    /// Batches of changes that were put on disk.
    pub commits: u64,
    /// Batches that could not be.
    pub commit_failures: u64,
    /// How long the last batch took until it was on disk.
    pub commit_last: Duration,
}

impl Broker {
    /// Bytes that clients have sent: for whoever looks at each read, which is too often for a snapshot.
    #[must_use]
    pub const fn bytes_received(&self) -> u64 {
        self.stats.bytes_received
    }

    /// A snapshot.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waiting, waiting_bytes) = self.sessions.waiting();
        Stats {
            clients_connected: count(self.conns.ready),
            sessions_offline: count(self.sessions.offline()),
            subscriptions: count(self.routes.len()),
            retained: count(self.retained.len()),
            shared_subscriptions: count(self.routes.shared()),
            stored_messages: count(self.retained.len().saturating_add(waiting)),
            stored_bytes: count(self.retained.bytes().saturating_add(waiting_bytes)),
            commits: self.journal.tally.commits,
            commit_failures: self.journal.tally.failures,
            commit_last: self.journal.tally.last,
            ..self.stats.clone()
        }
    }
}
