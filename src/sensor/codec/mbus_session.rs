//! Asking a slave of a wired M-Bus for its values (EN 13757-2 and -3): by its primary address, or selected by its secondary
//! one. Pure: what is to be sent comes out.
//!
//! ```text
//! Idle ── Start ──> Linking ── E5 ──> Resting ──> Asking ── answer ──> Readout, Idle
//!  ^     (reset, or selection)           ^           │ more follows
//!  │          │ silence                  └───────────┤
//!  └─ Failed ─┴──────────────────────────────────────┘ silence, twice where it had begun
//! ```
//!
//! The frame count bit alternates from one answered request to the next, so that a slave whose answer was lost sends it
//! again, and one with more to tell goes on. A reset of the link begins a cycle: from it the first telegram follows. A slave
//! that doesn't know the reset costs one try without answer: it is then asked without, and stays so where it answers.

use std::collections::VecDeque;
use std::time::Duration;

use super::mbus_link::{self, Request, Scan, request, select};
use super::session::{SessionError, SessionInput, SessionOutput};
use super::stream::{Scan as _, Step};
use super::{Fault, mbus};
use crate::time::Mono;

/// Telegrams of one readout, 261 bytes each; what a meter would tell beyond them is left out.
const TELEGRAMS_MAX: usize = 16;

/// Bytes that came and were no answer yet: two of the longest frames. The oldest are dropped.
const HEARD_BYTES_MAX: usize = 2 * mbus_link::FRAME_BYTES_MAX;

/// Slaves want the line to rest for so many bits before a request (EN 13757-2).
const REST_BITS: u32 = 33;

/// Where a secondary address stands in an answer: behind control field, address and CI.
const SECONDARY_AT: usize = 3;

/// The CI of an answer that has it.
const LONG_HEADER: u8 = 0x72;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MbusAddress {
    /// 0 to 250; 254 is whoever is there, for a meter that is alone.
    Primary(u8),
    /// Identification (four bytes, low byte first, two digits each), maker (two, low byte first), version and medium, as they
    /// stand in answers. A digit F, and ff in the other bytes, is any.
    Secondary([u8; 8]),
}

impl MbusAddress {
    /// Whoever is there.
    pub const ANY: u8 = 254;

    /// Where the request goes to.
    const fn link(self) -> u8 {
        match self {
            Self::Primary(address) => address,
            Self::Secondary(_) => mbus_link::SELECTED,
        }
    }

    /// Whether an answer, from its control field on, is of this slave; else whose it is.
    fn check(self, content: &[u8]) -> Result<(), String> {
        let found = content.get(1).copied().unwrap_or_default();
        match self {
            Self::Primary(Self::ANY) => Ok(()),
            Self::Primary(address) if address == found => Ok(()),
            Self::Primary(_) => Err(format!("address {found}")),
            Self::Secondary(wanted) => match content.get(SECONDARY_AT..SECONDARY_AT.saturating_add(8)) {
                Some(found) if content.get(2) == Some(&LONG_HEADER) && !matches(&wanted, found) => {
                    let id: String = found.iter().take(4).rev().map(|byte| format!("{byte:02x}")).collect();
                    Err(format!("number {id}"))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Whether a secondary address, with its wildcards, means this one.
pub(in crate::sensor) fn matches(wanted: &[u8; 8], found: &[u8]) -> bool {
    let one = |(index, (wanted, found)): (usize, (&u8, &u8))| {
        let nibble = |mask: u8| wanted & mask == mask || wanted & mask == found & mask;
        if index < 4 { nibble(0x0f) && nibble(0xf0) } else { *wanted == 0xff || wanted == found }
    };
    found.len() >= wanted.len() && wanted.iter().zip(found).enumerate().all(one)
}

/// The machine of one slave.
#[derive(Debug)]
pub struct MbusSession {
    address: MbusAddress,
    /// From the end of a request to the beginning of its answer, and from one byte to the next.
    timeout: Duration,
    /// Before each request but the first.
    rest: Duration,
    /// The longest that one frame takes on the line.
    frame_time: Duration,
    state: State,
    /// Of the next request.
    frame_count: bool,
    /// Whether the next cycle begins with a reset of the link, and whether one has answered to it.
    resets: bool,
    knows_reset: bool,
    heard: Vec<u8>,
    /// Whole frames.
    telegrams: Vec<u8>,
    count: usize,
    /// What was wrong with what came.
    fault: Option<Fault>,
    stranger: Option<String>,
    outputs: VecDeque<SessionOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Linking { silent_at: Mono, until: Mono },
    Resting { until: Mono },
    Asking { silent_at: Mono, until: Mono, is_retry: bool },
}

impl MbusSession {
    /// A session with this slave at a line of this rate (11 bits a character).
    #[must_use]
    pub fn new(address: MbusAddress, baud: u32, timeout: Duration) -> Self {
        let bits = |bits: u32| Duration::from_secs(bits.into()) / baud.max(1);
        let frame_bits = u32::try_from(mbus_link::FRAME_BYTES_MAX).unwrap_or(u32::MAX).saturating_mul(11);
        Self {
            address,
            timeout,
            rest: bits(REST_BITS),
            // Slaves may rest between bytes for as long as the timeout, but not all the time.
            frame_time: bits(frame_bits.saturating_mul(2)),
            state: State::Idle,
            frame_count: true,
            resets: true,
            knows_reset: false,
            heard: Vec::new(),
            telegrams: Vec::new(),
            count: 0,
            fault: None,
            stranger: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input. The outputs are to be taken before the next.
    pub fn handle(&mut self, now: Mono, input: SessionInput<'_>) {
        match input {
            SessionInput::Start if self.state == State::Idle => self.start(now),
            SessionInput::Sent => self.begin_waiting(now),
            SessionInput::Bytes(bytes) => self.read(now, bytes),
            SessionInput::Start | SessionInput::Tick => {}
        }
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.deadline_passed(now);
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    /// When `Tick` is due.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Mono> {
        match self.state {
            State::Idle => None,
            State::Resting { until } => Some(until),
            State::Linking { silent_at, until } | State::Asking { silent_at, until, .. } => {
                Some(if silent_at.as_nanos() < until.as_nanos() { silent_at } else { until })
            }
        }
    }

    /// The line was closed: whatever was going on is over, and who answers then may be another slave.
    pub fn reset(&mut self) {
        self.state = State::Idle;
        self.outputs.clear();
        (self.resets, self.knows_reset, self.frame_count) = (true, false, true);
    }

    fn start(&mut self, now: Mono) {
        self.telegrams.clear();
        self.heard.clear();
        self.count = 0;
        (self.fault, self.stranger) = (None, None);
        let first = match self.address {
            MbusAddress::Secondary(secondary) => select(secondary),
            MbusAddress::Primary(address) if self.resets => request(address, Request::Reset).to_vec(),
            MbusAddress::Primary(_) => {
                self.ask(now, false);
                return;
            }
        };
        self.outputs.push_back(SessionOutput::Send(first));
        self.state = State::Linking { silent_at: now + self.timeout, until: now + self.span() };
    }

    fn ask(&mut self, now: Mono, is_retry: bool) {
        let question = Request::Values { frame_count: self.frame_count };
        self.heard.clear();
        self.outputs.push_back(SessionOutput::Send(request(self.address.link(), question).to_vec()));
        self.state = State::Asking { silent_at: now + self.timeout, until: now + self.span(), is_retry };
    }

    /// The request has left: an answer can begin.
    fn begin_waiting(&mut self, now: Mono) {
        let (timeout, span) = (self.timeout, self.span());
        if let State::Linking { silent_at, until } | State::Asking { silent_at, until, .. } = &mut self.state
        {
            (*silent_at, *until) = (now + timeout, now + span);
        }
    }

    /// The longest that an answer takes, its beginning included.
    fn span(&self) -> Duration {
        self.timeout + self.frame_time
    }

    fn deadline_passed(&mut self, now: Mono) {
        match self.state {
            State::Idle => {}
            State::Resting { .. } => self.ask(now, false),
            // What was told so far isn't lost by one answer that was: the same frame count asks for it again.
            State::Asking { is_retry: false, .. } if self.count > 0 => self.ask(now, true),
            State::Linking { .. } => {
                let is_primary = matches!(self.address, MbusAddress::Primary(_));
                self.fail(if is_primary { "reset of the link" } else { "selection" });
                // The next try is without, unless it is known to take it.
                self.resets = self.knows_reset;
            }
            State::Asking { .. } => {
                self.fail("request for its values");
                self.resets = true;
            }
        }
    }

    fn fail(&mut self, to: &'static str) {
        let error = match (self.stranger.take(), self.fault.take()) {
            (Some(found), _) => SessionError::NotOurs { found },
            (None, Some(fault)) => SessionError::Collision { what: Some(fault.to_string()) },
            (None, None) if !self.heard.is_empty() => SessionError::Collision { what: None },
            (None, None) => SessionError::NoAnswer { to, timeout: self.timeout },
        };
        self.outputs.push_back(SessionOutput::Failed(error));
        self.state = State::Idle;
    }

    fn read(&mut self, now: Mono, bytes: &[u8]) {
        let timeout = self.timeout;
        match &mut self.state {
            State::Linking { silent_at, .. } | State::Asking { silent_at, .. } => *silent_at = now + timeout,
            State::Idle | State::Resting { .. } => return,
        }
        self.heard.extend_from_slice(bytes);
        let surplus = self.heard.len().saturating_sub(HEARD_BYTES_MAX);
        self.heard.drain(..surplus);
        while let Some(first) = self.heard.first() {
            if *first == mbus_link::ACK && matches!(self.state, State::Linking { .. }) {
                self.linked(now);
                return;
            }
            let used = match Scan.scan(&self.heard) {
                Step::Wait => return,
                Step::Skip(len) | Step::Nothing { len } => len,
                Step::Bad { fault, .. } => {
                    self.fault = Some(fault);
                    1
                }
                Step::Frame { len, .. } => {
                    if matches!(self.state, State::Asking { .. }) && self.answered(now, len) {
                        return;
                    }
                    len
                }
            };
            self.heard.drain(..used.clamp(1, self.heard.len().max(1)));
        }
    }

    /// The slave has reset its link, or is selected.
    fn linked(&mut self, now: Mono) {
        self.knows_reset = true;
        self.frame_count = true;
        self.fault = None;
        self.state = State::Resting { until: now + self.rest };
    }

    /// A whole frame of `len` bytes stands at the beginning of what was heard. Whether that ends the waiting.
    fn answered(&mut self, now: Mono, len: usize) -> bool {
        let frame: Vec<u8> = self.heard.get(..len).unwrap_or_default().to_vec();
        let content = mbus_link::contents(&frame).next().unwrap_or_default();
        if let Err(found) = self.address.check(content) {
            self.stranger = Some(found);
            return false;
        }
        self.frame_count = !self.frame_count;
        self.count = self.count.saturating_add(1);
        let is_again = self.telegrams.ends_with(&frame);
        if !is_again {
            self.telegrams.extend_from_slice(&frame);
        }
        // A slave that sends the same for ever doesn't know how to go on.
        if mbus::has_more(content) && self.count < TELEGRAMS_MAX && !is_again {
            self.state = State::Resting { until: now + self.rest };
            return true;
        }
        let is_single = self.telegrams.len() == frame.len();
        let readout = if is_single { content.to_vec() } else { std::mem::take(&mut self.telegrams) };
        self.outputs.push_back(SessionOutput::Readout(readout));
        self.state = State::Idle;
        // One that answered without a reset doesn't need it, unless its readout has several telegrams.
        self.resets = self.knows_reset;
        true
    }
}

#[cfg(test)]
#[path = "mbus_session_tests.rs"]
mod tests;
