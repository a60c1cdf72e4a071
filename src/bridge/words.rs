//! The words between the bridge and its shells: what comes in, what must be done, what people are told. Values
//! only; the decisions are made beside.

use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::dead::{DeadLetter, Handling};
use super::redirect::Place;
use super::traffic;
use crate::message::{Message, SafeToken, Ticket};
use crate::payload::Forms;
use crate::ranges::Ranges;
use crate::record::{RecordNo, StoredRecord};
use crate::time::Timestamp;

/// What the outbox held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Everything up to here is acknowledged upstream.
    pub acked: RecordNo,
    /// And these behind it.
    pub beyond: Ranges,
    /// The last record on disk; `acked` if there is none behind it.
    pub last: RecordNo,
    /// Records on disk that are neither.
    pub records: u64,
    /// Their bytes, as records.
    pub bytes: u64,
    /// When the oldest of them was written, by the wall clock of then.
    pub oldest: Option<Timestamp>,
}

/// What the shells tell the bridge.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message for upstream.
    Append {
        /// What.
        message: Message,
        /// Answered with [`Output::Safe`] when it is on disk or acknowledged upstream.
        token: Option<SafeToken>,
    },
    /// The LAN's answer to [`Output::Deliver`].
    Accepted {
        /// Which.
        ticket: Ticket,
        /// Whether what must be safe is; false if it never will be.
        safe: bool,
    },
    /// The newest value for one of the gateway's own retained topics (health, info): it bypasses the outbox and
    /// replaces one that has not been sent. The topic is the local one.
    Slot {
        /// Where.
        topic: Arc<str>,
        /// What.
        payload: bytes::Bytes,
    },
    /// A new connection would be better than this one, which still works: its certificate is about to end.
    Renew,
    /// Other settings: the connection is made anew with them, and what waits stays. The name, the base topic, the run, the
    /// boot and the instance are as before.
    Reconfigure {
        /// All of them.
        config: Box<Config>,
        /// What the outboxes of its new streams held, see [`Bridge::new_streams`](super::Bridge::new_streams).
        backlogs: Vec<Backlog>,
    },
    /// Other values of settings that no connection depends on.
    Adjust {
        /// How the readings of each device are written.
        forms: Arc<Forms>,
        /// See [`Config::commit_interval`].
        commit_interval: Duration,
        /// See [`Config::memory_bytes_max`].
        memory_bytes_max: usize,
    },
    /// A person wants a connection now.
    ConnectNow,
    /// A person holds back what waits and what comes, or has it go on.
    Pause {
        /// Which of both.
        paused: bool,
    },
    /// Whether anything but this link is wrong with the gateway: the status topic says so.
    Health {
        /// Something is.
        degraded: bool,
    },
    /// Do this with all messages that upstream refused for good.
    Letters(Handling),
    /// The transport is open (for TLS: the handshake is done and the certificate is right).
    Connected,
    /// It could not be opened.
    ConnectFailed {
        /// In words: "connection refused", "certificate expired on 2026-01-01".
        error: &'a str,
        /// Whether trying again soon can't help (a wrong certificate): slow retries.
        permanent: bool,
    },
    /// The answer to [`Output::Probe`].
    Probed {
        /// Whether the address took a connection.
        answered: bool,
    },
    /// Bytes from upstream.
    Bytes(&'a [u8]),
    /// The transport is gone.
    Closed {
        /// In words.
        error: &'a str,
    },
    /// The store has these on disk, synced.
    Committed {
        /// The last of [`Output::Commit`].
        up_to: RecordNo,
    },
    /// The store could not write. The records stay in memory; the machine asks again later.
    CommitFailed {
        /// In words.
        error: &'a str,
    },
    /// The store did not write: the outbox is full and its rule is to keep what it has. The new records are refused,
    /// and those of the next moment too.
    Full,
    /// A person wants stored records gone; [`Output::Purge`] follows.
    Purge {
        /// Those that were committed before; `None`: all.
        before: Option<Timestamp>,
    },
    /// The store has done what [`Output::Purge`] said; [`Input::Dropped`] follows if anything went.
    Purged,
    /// The answer to [`Output::Read`], in order; empty if nothing is there.
    Read {
        /// `from` of the request.
        from: RecordNo,
        /// Records ≥ `from`; with gaps where upstream had acknowledged early.
        records: Vec<StoredRecord>,
    },
    /// The answer to [`Output::ReadBack`], newest first; empty if nothing is there.
    ReadBack {
        /// `before` of the request.
        before: RecordNo,
        /// Records < `before`; with gaps where upstream had acknowledged early.
        records: Vec<StoredRecord>,
    },
    /// The store had to drop the oldest to stay within its bounds. It comes right after the `Committed` of the
    /// commit that caused it, or after `Purged`.
    Dropped {
        /// Everything up to here is gone.
        up_to: RecordNo,
        /// How many of them had not been acknowledged.
        records: u64,
        /// Their bytes.
        bytes: u64,
        /// Of the records, those that were older than they may be.
        expired: u64,
        /// Of the records, those that a person wanted gone.
        purged: u64,
    },
    /// The gateway stops: commit everything, publish offline, disconnect. [`Output::Stopped`] follows.
    Stop,
    /// The deadline has passed.
    Tick,
}

/// What the shells must do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Open the transport; answer with `Connected` or `ConnectFailed`.
    Connect {
        /// Which of the upstream's addresses, from 0.
        address: usize,
    },
    /// As `Connect`, to a server that the config allows and doesn't name, by the same transport as to the first.
    ConnectTo(Place),
    /// Open a second transport, beside the one that is open, and close it again; answer with `Probed`. At most one is
    /// under way.
    Probe {
        /// Which of the upstream's addresses, from 0.
        address: usize,
    },
    /// Write to the transport, in order.
    Send(Vec<u8>),
    /// Publish it on the LAN. What must be safe is answered with `Accepted`.
    Deliver {
        /// What.
        message: Message,
        /// Who waits; `None` for QoS 0.
        ticket: Option<Ticket>,
    },
    /// Publish it on the LAN as the gateway's own. No answer.
    Announce(Message),
    /// Close the transport after writing what was sent. No answer.
    Close,
    /// Write these to the outbox and sync; answer with `Committed` or `CommitFailed`.
    /// At most one is under way.
    Commit(Vec<StoredRecord>),
    /// Read from the outbox; answer with `Read`. At most one is under way.
    Read {
        /// The first.
        from: RecordNo,
        /// About how many bytes.
        bytes_max: usize,
    },
    /// Read from the outbox backwards; answer with `ReadBack`. One read is under way at most, this way or that.
    ReadBack {
        /// Only what is below.
        before: RecordNo,
        /// About how many bytes.
        bytes_max: usize,
    },
    /// Everything up to here may be forgotten. No answer.
    Ack {
        /// The last acknowledged.
        up_to: RecordNo,
        /// These may be forgotten as well: acknowledged out of turn.
        beyond: Ranges,
    },
    /// Note this beside the outbox, for the next process; it replaces what had that name. No answer.
    Keep {
        /// One of [`super::notes`].
        name: &'static str,
        /// What.
        content: Vec<u8>,
    },
    /// Give up stored records; answer with `Purged`. At most one is under way.
    Purge {
        /// Those that were committed before; `None`: all.
        before: Option<Timestamp>,
    },
    /// These are safe: on disk, or acknowledged upstream.
    Safe(Vec<SafeToken>),
    /// These will never be safe: their records were dropped before they were written or delivered.
    Refused(Vec<SafeToken>),
    /// Log it, and publish health soon: a state changed.
    Notice(Notice),
    /// After [`Input::Stop`]: everything that can be done is done.
    Stopped,
}

/// A change of state that people want to know of; one per episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Connected, and the upstream took us.
    Online {
        /// Whether the upstream still had our session.
        session_present: bool,
        /// Records that wait.
        backlog: u64,
        /// How long it was away; `None` at the first connect.
        away: Option<Duration>,
    },
    /// The link went down.
    Offline {
        /// Why, in words.
        error: String,
    },
    /// The upstream can't be reached or refuses us. Told once per distinct error until it is online.
    Refused {
        /// Why, in words: "bad user name or password".
        error: String,
        /// When the next attempt is due.
        retry_in: Duration,
    },
    /// The store fails; told once until it works again.
    StoreFailing {
        /// In words.
        error: String,
    },
    /// The store works again.
    StoreWorks,
    /// [`super::Config::bytes_per_day_max`] is reached; told once a day.
    BytesUsedUp,
    /// Records were dropped; told once per episode.
    Dropping {
        /// Why: one of [`Drops`]' field names.
        reason: &'static str,
    },
    /// Another instance says upstream that it is this gateway.
    Rival {
        /// Which.
        instance: String,
    },
    /// Upstream refuses a subscription; what it would bring doesn't come.
    NotSubscribed {
        /// As it was asked for.
        filter: String,
        /// The reason in words.
        reason: &'static str,
    },
    /// The first message from upstream that was dropped for this reason; the others are only counted.
    Stray {
        /// The upstream topic; empty if it was none.
        topic: String,
        /// The reason in words.
        reason: &'static str,
    },
    /// Upstream refused one message for good; it was dropped and counted.
    MessageRefused {
        /// The upstream topic.
        topic: String,
        /// The reason in words.
        reason: &'static str,
    },
}

/// Messages from upstream since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inward {
    /// PUBLISH packets that came.
    pub received: u64,
    /// Handed to the LAN.
    pub delivered: u64,
    /// Dropped: no map asked for them, or their topic was none.
    pub unmapped: u64,
    /// Dropped: only the gateway itself publishes there.
    pub closed: u64,
    /// Dropped: commands that were retained, or kept by upstream while we were away.
    pub old_commands: u64,
    /// Not acknowledged, because they could not be kept.
    pub not_kept: u64,
}

/// Records that are lost for upstream, by reason, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// The outbox on disk was full: the oldest, or the new ones where that is its rule.
    pub disk_full: u64,
    /// The disk did not take them and the memory's share was full: drop-oldest.
    pub memory_full: u64,
    /// Upstream refused them for good.
    pub refused: u64,
    /// Larger than upstream accepts.
    pub too_large: u64,
    /// Stored bytes that could not be read back.
    pub damaged: u64,
    /// Older than their map's `expiry` or their own expiry interval when they were to be sent, or than `buffer.max_age`.
    pub expired: u64,
    /// A person wanted them gone.
    pub purged: u64,
    /// No map leads them out any more: the config was changed while they waited.
    pub unmapped: u64,
}

impl Drops {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            disk_full: self.disk_full + other.disk_full,
            memory_full: self.memory_full + other.memory_full,
            refused: self.refused + other.refused,
            too_large: self.too_large + other.too_large,
            damaged: self.damaged + other.damaged,
            expired: self.expired + other.expired,
            purged: self.purged + other.purged,
            unmapped: self.unmapped + other.unmapped,
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().into_iter().map(|(_, count)| count).sum()
    }

    /// Each with its name.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 8] {
        [
            ("disk_full", self.disk_full),
            ("memory_full", self.memory_full),
            ("refused", self.refused),
            ("too_large", self.too_large),
            ("damaged", self.damaged),
            ("expired", self.expired),
            ("purged", self.purged),
            ("unmapped", self.unmapped),
        ]
    }
}

/// What the link is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Opening the transport, or waiting for CONNACK.
    Connecting,
    /// CONNACK came; birth is sent.
    Online,
    /// Waiting for the next attempt.
    Waiting,
    /// Not connected because too little waits.
    Idle,
    /// Not connected because the only connection that was wanted has ended.
    Ended,
    /// Stopped.
    Stopped,
}

/// What is told of one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Records that wait.
    pub backlog_records: u64,
    /// Their bytes.
    pub backlog_bytes: u64,
    /// Age of the oldest.
    pub backlog_oldest: Option<Duration>,
    /// Of these, in memory only.
    pub unsafe_records: u64,
    /// What it lost.
    pub drops: Drops,
}

/// A snapshot for health and status.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The upstream's name.
    pub name: Arc<str>,
    /// What the link is doing.
    pub state: LinkState,
    /// The address that is in use or tried next, `host:port`.
    pub place: Arc<str>,
    /// Since when it is online, or not online.
    pub since: Timestamp,
    /// The last error, while it isn't online.
    pub error: Option<String>,
    /// The next attempt, while waiting.
    pub retry_in: Option<Duration>,
    /// Since when a person holds back what waits.
    pub paused: Option<Timestamp>,
    /// Connections made since start; the second part of the epoch.
    pub connections: u64,
    /// Each stream of its own, the default one first.
    pub streams: Vec<StreamStatus>,
    /// Records that wait: not acknowledged upstream, wherever they are.
    pub backlog_records: u64,
    /// Their bytes.
    pub backlog_bytes: u64,
    /// Age of the oldest.
    pub backlog_oldest: Option<Duration>,
    /// Why the store doesn't take them, while it doesn't.
    pub store_error: Option<String>,
    /// Of these, in memory only: what a power cut would take.
    pub unsafe_records: u64,
    /// Sent and not acknowledged.
    pub inflight: u64,
    /// Acknowledged upstream since start.
    pub delivered: u64,
    /// Of these, never written to disk.
    pub elided: u64,
    /// Sent again with DUP since start.
    pub resent: u64,
    /// Smoothed time from PUBLISH to PUBACK.
    pub round_trip: Option<Duration>,
    /// What was lost.
    pub drops: Drops,
    /// What came from upstream.
    pub inward: Inward,
    /// Another gateway under our name, in words.
    pub rival: Option<String>,
    /// The last messages that upstream refused for good.
    pub dead_letters: Vec<DeadLetter>,
    /// The account of the last outage, as JSON.
    pub receipt: Option<Arc<str>>,
    /// Bytes that went over the line.
    pub traffic: traffic::Bytes,
    /// Late wills of earlier connections that were overwritten.
    pub status_repairs: u64,
    /// Filters that upstream refuses, each with the reason.
    pub not_subscribed: Vec<(String, &'static str)>,
}
