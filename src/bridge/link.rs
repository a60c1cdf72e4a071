//! The connection to one upstream as an MQTT client: connect, CONNACK, keep alive, refusals, the wait before the
//! next attempt. It reads packets and says what they mean; records, slots and packet identifiers are not its
//! business.
//!
//! ```text
//!             due            Connected             CONNACK 0
//!  Waiting ─────────▶ Opening ─────────▶ Greeting ───────────▶ Online
//!     ▲                  │ failed           │ refused, late       │ closed, silent, kicked, PUBACK late,
//!     └──────────────────┴──────────────────┴─────────────────────┘ what no server may send
//!  any ──leave──▶ Stopped        Idle (wanted at times), Ended (wanted once) ──connect_now──▶ Waiting
//! ```

mod alive;
mod elsewhere;
mod facts;
mod failure;
mod greeting;
mod moving;
mod odd;
mod reading;
mod rest;
mod rival;

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::config::Config;
use super::inbound::Arrived;
use super::outputs::Outputs;
use super::route::Route;
use super::start::Start;
use super::words::{Notice, Output};
use crate::mqtt::{self, Disconnect, Packet, PacketId, Properties, QoS, ReasonCode, Version};
use crate::time::{Mono, Now, Timestamp};
use elsewhere::Elsewhere;
use failure::Failure;
pub(super) use failure::with_reason;
pub(super) use greeting::Limits;
use rival::{End, Rival};

/// The longest packet that is taken from upstream. A longer one ends the connection (5.0 upstreams are told
/// the bound), and the next asks for a clean session, so that it isn't sent again. Worst memory: this once.
const PACKET_BYTES_MAX: usize = 1024 * 1024;
/// Distinct errors that are remembered as told while the upstream is away. Further ones are not told.
const TOLD_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting {
        until: Mono,
    },
    Opening {
        until: Mono,
    },
    Greeting {
        until: Mono,
        clean: bool,
    },
    Online {
        since: Mono,
    },
    /// Nothing is to be sent.
    Idle,
    /// The only connection that was wanted has ended.
    Ended,
    Stopped,
}

/// What happened, for the rest of the bridge.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// CONNACK came.
    Online { session_present: bool },
    /// PUBACK came.
    PubAck { id: PacketId, reason: ReasonCode },
    /// PUBLISH came.
    Publish(Arrived),
    /// PUBLISH came, with a topic that is none.
    Unusable { id: Option<PacketId>, qos: QoS },
    /// PUBREL came.
    PubRel(PacketId),
    /// SUBACK came.
    SubAck { id: PacketId, codes: Vec<u8> },
    /// PINGRESP came.
    Pong,
    /// It was online and isn't any more.
    Down(Cut),
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// This side: silence, or what no server may send.
    Ours,
    /// The other side or the network, without a word about what was sent.
    Closed,
    /// The other side, saying that it can't take a message.
    Refused,
}

/// The link's state.
#[derive(Debug)]
pub(super) struct Link {
    config: Arc<Config>,
    state: State,
    backoff: Backoff,
    route: Route,
    elsewhere: Option<Elsewhere>,
    /// References that were followed one after the other.
    hops: u32,
    limits: Limits,
    keep_alive: Duration,
    received: Vec<u8>,
    last_sent: Mono,
    last_received: Mono,
    ping: Option<Mono>,
    clean_next: bool,
    /// Something comes in, so upstream should know that we are a bridge; and whether it can't stand hearing it.
    wants_bridge: bool,
    plain: bool,
    connections: u64,
    /// When the last attempt began.
    attempted_at: Option<Mono>,
    since: Timestamp,
    away_since: Mono,
    was_online: bool,
    error: Option<String>,
    told: Vec<String>,
    rival: Rival,
}

impl Link {
    pub(super) fn new(config: Arc<Config>, seed: u64, now: Now) -> Self {
        Self {
            backoff: Backoff::new(&config, seed),
            route: Route::new(config.places.len(), config.failover, config.return_after, seed),
            keep_alive: config.keep_alive,
            state: Self::first_state(config.start, now),
            elsewhere: None,
            hops: 0,
            limits: Limits::NONE,
            received: Vec::new(),
            last_sent: now.mono,
            last_received: now.mono,
            ping: None,
            clean_next: false,
            wants_bridge: config.maps.iter().any(|map| map.direction.comes_in()),
            plain: false,
            connections: 0,
            attempted_at: None,
            since: now.wall,
            away_since: now.mono,
            was_online: false,
            error: None,
            told: Vec::new(),
            rival: Rival::default(),
            config,
        }
    }

    // What the transport says.

    pub(super) fn connected(&mut self, now: Now, out: &mut Outputs, events: &mut Vec<Event>) {
        if !matches!(self.state, State::Opening { .. }) {
            // An attempt that was given up before.
            if !matches!(self.state, State::Greeting { .. } | State::Online { .. }) {
                out.close();
            }
            return;
        }
        self.connections += 1;
        self.received.clear();
        out.forget_bytes();
        let clean = std::mem::take(&mut self.clean_next) || self.config.clean_session;
        match self.connect_packet(clean, out) {
            Ok(()) => {
                self.state = State::Greeting { until: now.mono + self.config.connect_timeout, clean };
                self.last_sent = now.mono;
                self.last_received = now.mono;
                self.ping = None;
            }
            Err(error) => {
                let words = format!("CONNECT can't be written: {error}");
                self.fail(now, Failure { refused: true, ..Failure::ours(words) }, out, events);
            }
        }
    }

    pub(super) fn connect_failed(&mut self, now: Now, error: &str, permanent: bool, out: &mut Outputs) {
        if matches!(self.state, State::Opening { .. }) {
            let failure = Failure { refused: permanent, ..Failure::gone(error) };
            self.fail(now, failure, out, &mut Vec::new());
        }
    }

    pub(super) fn closed(&mut self, now: Now, error: &str, out: &mut Outputs, events: &mut Vec<Event>) {
        let words = match self.state {
            State::Greeting { .. } => {
                self.doubt_bridge(false);
                format!("closed before CONNACK: {error}")
            }
            State::Online { .. } | State::Opening { .. } => error.to_owned(),
            State::Waiting { .. } | State::Idle | State::Ended | State::Stopped => return,
        };
        out.forget_bytes();
        self.fail(now, Failure::gone(words), out, events);
    }

    /// Writes a packet, if the connection is there.
    pub(super) fn send(&mut self, now: Now, packet: Packet<'_>, out: &mut Outputs) {
        if self.is_online() {
            self.reply(packet, out);
            self.wrote(now);
        }
    }

    fn reply(&mut self, packet: Packet<'_>, out: &mut Outputs) {
        // A packet of a few bytes can't be too long; should it fail, upstream asks again.
        let _ = mqtt::encode(&packet, self.config.version, &mut out.tx);
    }

    // What time says.

    pub(super) fn tick(&mut self, now: Now, out: &mut Outputs, events: &mut Vec<Event>) {
        match self.state {
            State::Waiting { until } if now.mono >= until => {
                self.state = State::Opening { until: now.mono + self.config.connect_timeout };
                self.attempted_at = Some(now.mono);
                out.push(match self.goes_elsewhere() {
                    Some(place) => Output::ConnectTo(place),
                    None => Output::Connect { address: self.route.address() },
                });
            }
            State::Opening { until } if now.mono >= until => {
                self.fail(now, Failure::ours("no connection in time"), out, events);
            }
            State::Greeting { until, .. } if now.mono >= until => {
                self.fail(now, Failure::ours("no CONNACK in time"), out, events);
            }
            State::Online { .. } => {
                if let Some(address) = self.route.probe(now.mono) {
                    out.push(Output::Probe { address });
                }
                self.keep_alive(now, out, events);
            }
            _ => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.state {
            State::Waiting { until } | State::Opening { until } | State::Greeting { until, .. } => {
                Some(until)
            }
            State::Online { .. } => {
                [self.ping_at(), self.dead_at(), self.route.deadline()].into_iter().flatten().min()
            }
            State::Idle | State::Ended | State::Stopped => None,
        }
    }

    // What the rest of the bridge says.

    /// Something was written.
    pub(super) fn wrote(&mut self, now: Now) {
        self.last_sent = now.mono;
    }

    /// Another instance speaks under our name.
    pub(super) fn suspect_rival(&mut self) {
        self.rival.suspect();
    }

    /// A PUBACK did not come, or never will.
    pub(super) fn give_up(&mut self, now: Now, words: String, out: &mut Outputs, events: &mut Vec<Event>) {
        self.fail(now, Failure::ours(words), out, events);
    }

    /// Ends the link for good. `farewell_done`: the offline status was acknowledged, so the will must not follow;
    /// else it must (5.0, 3.14.2.1: 0x04; before, by closing without DISCONNECT).
    pub(super) fn leave(&mut self, now: Now, farewell_done: bool, out: &mut Outputs) {
        match self.state {
            State::Online { .. } => {
                let reason = match (farewell_done, self.config.version) {
                    (true, _) => Some(ReasonCode::Success),
                    (false, Version::V5) => Some(ReasonCode::DisconnectWithWillMessage),
                    (false, _) => None,
                };
                if let Some(reason) = reason {
                    self.disconnect(reason, out);
                }
                self.since = now.wall;
                out.close();
            }
            State::Opening { .. } | State::Greeting { .. } => out.close(),
            State::Waiting { .. } | State::Idle | State::Ended | State::Stopped => {}
        }
        self.state = State::Stopped;
        self.error = None;
        self.received.clear();
    }

    fn disconnect(&mut self, reason: ReasonCode, out: &mut Outputs) {
        let disconnect = Disconnect { reason, properties: Properties::EMPTY };
        self.reply(Packet::Disconnect(disconnect), out);
    }

    fn fail(&mut self, now: Now, mut failure: Failure, out: &mut Outputs, events: &mut Vec<Event>) {
        let online_since = match self.state {
            State::Online { since } => Some(since),
            _ => None,
        };
        if online_since.is_some_and(|since| now.mono.since(since) >= self.config.stable_after) {
            self.backoff.stable();
            self.rival.forget();
            self.hops = 0;
        }
        if let Some(since) = online_since {
            let end = match failure.cut {
                _ if failure.taken_over => End::TakenOver,
                Cut::Closed if self.config.version != Version::V5 => End::Closed(now.mono.since(since)),
                _ => End::Other,
            };
            self.rival.ended(end, now.mono);
            if self.rival.is_known() {
                failure.words = format!("another gateway uses this client id: {}", failure.words);
            }
        }
        if failure.close {
            let greeted = self.config.version == Version::V5 && online_since.is_some();
            if let Some(reason) = failure.farewell.filter(|_| greeted) {
                self.disconnect(reason, out);
            }
            out.close();
        }
        // A clean start that got no answer is still owed.
        self.clean_next |= failure.clean || matches!(self.state, State::Greeting { clean: true, .. });
        let wait = self.wait_after(now, &failure, online_since.is_some());
        let wait = if self.rival.is_known() { wait.max(rival::WAIT) } else { wait };
        let ends = self.config.start == Start::Once && online_since.is_some() && !failure.goes_on();
        self.state = if ends { State::Ended } else { State::Waiting { until: now.mono + wait } };
        self.received.clear();
        self.ping = None;
        self.error = Some(failure.words.clone());
        if online_since.is_some() {
            self.since = now.wall;
            self.away_since = now.mono;
            self.was_online = true;
            events.push(Event::Down(failure.cut));
            out.notice(Notice::Offline { error: failure.words });
        } else if !self.told.contains(&failure.words) && self.told.len() < TOLD_MAX {
            self.told.push(failure.words.clone());
            out.notice(Notice::Refused { error: failure.words, retry_in: wait });
        }
    }
}
