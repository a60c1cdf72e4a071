//! What the broker keeps per network connection, and the bytes of packets that are not whole yet or must wait.
//! What outlives the connection is in `session`.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::alias::OutAliases;
use super::connect::Request;
use super::rare::Rare;
use super::rate::Rate;
use super::route::Memo;
use super::session::SessionIdx;
use super::will::Will;
use super::{ConnId, ListenerId};
use crate::message::SafeToken;
use crate::mqtt::{PacketId, PropertiesBuf, QoS, ReasonCode, Version};
use crate::time::Mono;

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Waits for CONNECT.
    Fresh,
    /// Waits for [`super::Input::Authenticated`].
    Authenticating(Box<Request>),
    /// CONNACK 0 was sent.
    Ready,
    /// The shell was told to close it; whatever still comes in is ignored.
    Closing,
}

/// Why reading from a connection has stopped.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Its name and password are being checked.
    pub(super) authenticating: bool,
    /// Its CONNACK waits for the disk.
    pub(super) welcome: bool,
    /// A 3.x client has too much unacknowledged.
    pub(super) window: bool,
    /// These receivers of its messages are full.
    pub(super) receivers: Rare<Vec<ConnId>>,
    /// It has published too fast, and may go on then.
    pub(super) rate: Option<Mono>,
    /// The shell has been told.
    pub(super) told: bool,
}

impl Pause {
    pub(super) fn holds(&self) -> bool {
        self.authenticating
            || self.welcome
            || self.window
            || self.rate.is_some()
            || !self.receivers.is_empty()
    }
}

/// An acknowledgement that a publisher has not got yet.
#[derive(Debug)]
pub(super) struct PendingAck {
    pub(super) packet_id: PacketId,
    /// What it waits for.
    pub(super) token: Option<SafeToken>,
    /// What it will say if nothing fails.
    pub(super) reason: ReasonCode,
    /// What it will say; `None` while it waits.
    pub(super) outcome: Option<ReasonCode>,
}

/// Bounds that CONNECT and CONNACK have told: they hold for as long as the connection does, whatever the config
/// says by then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// The client's Receive Maximum; 65,535 where it has told none (3.1.2.11.3).
    pub(super) window: u16,
    /// Our Receive Maximum.
    pub(super) receive_max: u16,
    /// Our Maximum Packet Size.
    pub(super) packet_bytes_max: usize,
    /// Our Topic Alias Maximum.
    pub(super) topic_alias_max: u16,
    /// Our Maximum QoS, where it isn't 2 (3.2.2.3.4).
    pub(super) qos_max: Option<QoS>,
    /// Retained messages are not available (3.2.2.3.5).
    pub(super) no_retain: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) listener: ListenerId,
    /// For logs.
    pub(super) peer: Box<str>,
    /// Its address, where that counts.
    pub(super) from: Option<IpAddr>,
    /// It has got its CONNACK.
    pub(super) was_let_in: bool,
    /// The user name that its certificate has proved.
    pub(super) certified: Option<Arc<str>>,
    /// Whether it came in by a user name that nobody has checked.
    pub(super) unchecked: bool,
    pub(super) version: Version,
    /// It said that it is a bridge.
    pub(super) is_bridge: bool,
    pub(super) phase: Phase,
    /// Present exactly while the phase is `Ready`.
    pub(super) session: Option<SessionIdx>,
    /// The client is gone; what it had sent is still being taken in.
    pub(super) gone: bool,
    pub(super) held: Held,
    pub(super) opened: Mono,
    /// When its last whole packet came.
    pub(super) last_seen: Mono,
    /// One and a half times the keep alive.
    pub(super) silence_max: Option<Duration>,
    /// The client's Maximum Packet Size.
    pub(super) packet_bytes_max: Option<usize>,
    /// Unacknowledged messages that may be under way to the client.
    pub(super) window: usize,
    /// What was agreed when it connected.
    pub(super) told: Told,
    /// Set by the client.
    pub(super) aliases: Rare<Vec<Option<Arc<str>>>>,
    /// Towards the client, if it allows any.
    pub(super) aliases_out: Option<Box<OutAliases>>,
    /// Whether the client wants to be told in words (3.1.2.11.7).
    pub(super) problem_information: bool,
    pub(super) will: Option<Box<Will>>,
    /// The CONNACK that waits for the disk: session present, properties. Nothing is sent before it (3.2.0-1).
    pub(super) connack: Option<Box<(bool, PropertiesBuf)>>,
    pub(super) memo: Option<Memo>,
    pub(super) pause: Pause,
    pub(super) rate: Rate,
    /// Since when its out buffer is above the mark.
    pub(super) full_since: Option<Mono>,
    /// It kept its publishers waiting for too long: until it has kept up once, they don't wait for it.
    pub(super) lags: bool,
    /// The publishers that wait for it.
    pub(super) waiters: Rare<Vec<ConnId>>,
    pub(super) pubacks: Rare<VecDeque<PendingAck>>,
    pub(super) pubrecs: Rare<VecDeque<PendingAck>>,
    /// When a message of this 3.x client was refused, which 3.x can't tell it.
    pub(super) refused_at: Option<Mono>,
    /// The armed deadline.
    pub(super) armed: Option<Mono>,
}

impl Connection {
    pub(super) fn new(listener: ListenerId, peer: &str, now: Mono) -> Self {
        Self {
            listener,
            peer: peer.into(),
            from: None,
            was_let_in: false,
            certified: None,
            unchecked: false,
            version: Version::V311,
            is_bridge: false,
            phase: Phase::Fresh,
            session: None,
            gone: false,
            held: Held::default(),
            opened: now,
            last_seen: now,
            silence_max: None,
            packet_bytes_max: None,
            window: 0,
            told: Told::default(),
            aliases: Rare::default(),
            aliases_out: None,
            problem_information: true,
            will: None,
            connack: None,
            memo: None,
            pause: Pause::default(),
            rate: Rate::default(),
            full_since: None,
            lags: false,
            waiters: Rare::default(),
            pubacks: Rare::default(),
            pubrecs: Rare::default(),
            refused_at: None,
            armed: None,
        }
    }

    /// Whether its next packet may be read.
    pub(super) fn takes_packets(&self) -> bool {
        match self.phase {
            Phase::Fresh => true,
            Phase::Ready => self.gone || !self.pause.holds(),
            Phase::Authenticating(_) | Phase::Closing => false,
        }
    }

    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }
}

/// Connections by number.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Option<Box<Connection>>>,
    /// Those with a session.
    pub(super) ready: usize,
}

/// Numbers that the shell may use: a slot is a pointer, so 512 KiB.
const CONN_ID_MAX: usize = 65_535;

impl Connections {
    /// `false` if the number is above what is allowed.
    pub(super) fn insert(&mut self, id: ConnId, connection: Connection) -> bool {
        let Ok(at) = usize::try_from(id.0) else { return false };
        if at > CONN_ID_MAX {
            return false;
        }
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(Box::new(connection));
        }
        true
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Connection>> {
        self.slots.get_mut(usize::try_from(id.0).ok()?)?.take()
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.slots.get(usize::try_from(id.0).ok()?)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(usize::try_from(id.0).ok()?)?.as_deref_mut()
    }

    /// Clients with a session that came in through a listener.
    pub(super) fn ready_of(&self, listener: ListenerId) -> usize {
        let is_here = |c: &&Connection| c.listener == listener && c.session.is_some();
        self.slots.iter().flatten().map(Box::as_ref).filter(is_here).count()
    }

    /// All numbers in use.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        (0u32..).zip(&self.slots).filter(|(_, slot)| slot.is_some()).map(|(id, _)| ConnId(id)).collect()
    }
}

/// Bytes that wait: the beginning of a packet, or whole packets while reading is paused.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Rare<Vec<u8>>,
    used: usize,
}

impl Held {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        // A large packet takes no more room than it needs, and none before its bytes are here.
        let room = self.missing().min(self.bytes.len());
        self.bytes.reserve_exact(room.max(bytes.len()));
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `count` bytes are done with. Memory is given back with the last of them.
    pub(super) fn consume(&mut self, count: usize) {
        self.used = self.used.saturating_add(count);
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Bytes that are missing to know the first packet's length, or to complete it; 0 if it is whole.
    pub(super) fn missing(&self) -> usize {
        let bytes = self.as_slice();
        let (mut remaining, mut shift) = (0usize, 0u32);
        for (at, byte) in (2usize..).zip(bytes.iter().skip(1).take(4)) {
            remaining |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return (at + remaining).saturating_sub(bytes.len());
            }
        }
        // The length itself is cut off; five bytes of it are no length, which the codec says.
        usize::from(bytes.len() < 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_packet_tells_how_much_is_missing() {
        for (bytes, missing) in [
            (&[0x30][..], 1),
            (&[0x30, 0x05], 5),
            (&[0x30, 0x05, 1, 2], 3),
            (&[0x30, 0x02, 1, 2], 0),
            (&[0x30, 0x80], 1),
            (&[0x30, 0x80, 0x01], 128),
            (&[0x30, 0xFF, 0xFF, 0xFF], 1),
            (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], 0),
        ] {
            let mut held = Held::default();
            held.extend(bytes);
            assert_eq!(held.missing(), missing, "{bytes:?}");
        }
    }
}
