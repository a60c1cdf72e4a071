//! Asking a meter of IEC 62056-21 mode C for its readout: sign-on, identification, acknowledgement, and the change to the
//! rate that the meter proposes. The readout's bytes go to the codec. Pure: what is to be sent and at which rate comes out.
//!
//! ```text
//! Idle ── Start ──> Waking ── 1.6 s ──> SignedOn ── identification ──> Pausing ── 300 ms ──> Acknowledging ── Sent ──> Reading
//!  ^        (if it sleeps)                 │ silence                                                                     │
//!  └────── Failed ─────────────────────────┴──────────────── silence, 2 min in all ──────────────────────────────────────┤
//!  └────── Readout ──────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A meter of mode A answers the sign-on with its readout at the same rate, one of mode B changes the rate by itself.

use std::collections::VecDeque;
use std::time::Duration;

use super::session::{SessionError, SessionInput, SessionOutput};
use super::{Codec, CodecKind, Fault};
use crate::time::Mono;

/// Between two messages a meter wants 200 ms (20 ms where it says so), and 1,500 ms at most (6.3.14, `tr`).
const PAUSE: Duration = Duration::from_millis(300);

/// What wakes a meter up: NUL characters for 2.1 to 2.3 s (annex B), here 66 of ten bits at 300 baud.
const WAKE_UP_BITS: Duration = Duration::from_millis(2_200);

/// From the wake-up to the sign-on a meter wants 1.5 to 1.7 s (annex B).
const WAKE_UP_PAUSE: Duration = Duration::from_millis(1_600);

/// The whole readout: 2 kB at 300 baud are 67 s.
const READOUT_MAX: Duration = Duration::from_secs(120);

/// An identification has 5 to 21 characters behind its slash (6.3.2).
const IDENTIFICATION_BYTES_MAX: usize = 64;

/// The longest address of a meter (6.3.1).
pub const METER_ADDRESS_BYTES_MAX: usize = 32;

/// The rates of mode C, each with the digit that stands for it (6.3.2).
const RATES: [(u8, u32); 7] =
    [(b'0', 300), (b'1', 600), (b'2', 1_200), (b'3', 2_400), (b'4', 4_800), (b'5', 9_600), (b'6', 19_200)];

/// How a meter is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterAsk {
    /// Its address; an empty one is whoever is there.
    pub address: String,
    /// The fastest rate that the line to it can do; an optical head may be slower than the meter. Default 19200.
    pub baud_max: u32,
    /// It sleeps until it is woken up: battery-operated ones do. Default false.
    pub wake_up: bool,
}

impl MeterAsk {
    /// Whether an address may stand in a sign-on.
    #[must_use]
    pub fn is_address(address: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b' ';
        address.len() <= METER_ADDRESS_BYTES_MAX && address.bytes().all(allowed)
    }
}

/// The machine of one meter.
#[derive(Debug)]
pub struct Session {
    ask: MeterAsk,
    /// The rate of the sign-on: 300 by the standard (6.3.1), another where the maker says so.
    baud: u32,
    /// How long the meter may be silent.
    timeout: Duration,
    state: State,
    codec: Codec,
    outputs: VecDeque<SessionOutput>,
}

#[derive(Debug)]
enum State {
    Idle,
    Waking {
        until: Mono,
    },
    SignedOn {
        line: Vec<u8>,
        until: Mono,
    },
    Pausing {
        rate: u8,
        until: Mono,
    },
    /// The shell is sending; a shell that never says so must not hang the meter.
    Acknowledging {
        baud: u32,
        until: Mono,
    },
    Reading {
        bytes: usize,
        silent_at: Mono,
        until: Mono,
    },
}

impl Session {
    /// A session at a line whose rate is `baud`. What no address may have is left out of it.
    #[must_use]
    pub fn new(ask: MeterAsk, baud: u32, timeout: Duration) -> Self {
        let codec = Codec::new(CodecKind::Iec62056);
        Self { ask, baud, timeout, state: State::Idle, codec, outputs: VecDeque::new() }
    }

    fn sign_on(&mut self, now: Mono) {
        let mut sign_on = b"/?".to_vec();
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b' ';
        sign_on.extend(self.ask.address.bytes().filter(allowed).take(METER_ADDRESS_BYTES_MAX));
        sign_on.extend(b"!\r\n");
        self.outputs.push_back(SessionOutput::Send(sign_on));
        self.state = State::SignedOn { line: Vec::new(), until: now + self.timeout };
    }

    /// The line was closed: whatever was going on is over.
    pub fn reset(&mut self) {
        self.state = State::Idle;
        self.outputs.clear();
    }

    /// Takes one input. The outputs are to be taken before the next.
    pub fn handle(&mut self, now: Mono, input: SessionInput<'_>) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.deadline_passed(now);
        }
        match input {
            SessionInput::Start if matches!(self.state, State::Idle) => {
                self.codec.reset();
                self.outputs.push_back(SessionOutput::Baud(self.baud));
                if self.ask.wake_up {
                    let bits = WAKE_UP_BITS.as_millis().saturating_mul(self.baud.into()) / 1_000;
                    let count = usize::try_from(bits / 10).unwrap_or(0);
                    self.outputs.push_back(SessionOutput::Send(vec![0; count]));
                    self.state = State::Waking { until: now + WAKE_UP_BITS + WAKE_UP_PAUSE };
                } else {
                    self.sign_on(now);
                }
            }
            SessionInput::Sent => self.sent(now),
            SessionInput::Bytes(bytes) => self.read(now, bytes),
            SessionInput::Start | SessionInput::Tick => {}
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    /// When `Tick` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        match &self.state {
            State::Idle => None,
            State::Waking { until }
            | State::SignedOn { until, .. }
            | State::Pausing { until, .. }
            | State::Acknowledging { until, .. } => Some(*until),
            State::Reading { silent_at, until, .. } => Some(*silent_at.min(until)),
        }
    }

    fn deadline_passed(&mut self, now: Mono) {
        match self.state {
            State::Idle => {}
            State::Waking { .. } => self.sign_on(now),
            State::SignedOn { .. } => self.fail(SessionError::NoIdentification { timeout: self.timeout }),
            State::Pausing { rate, .. } => {
                // Protocol 0 (normal), the proposed rate, mode 0 (readout).
                self.outputs.push_back(SessionOutput::Send(vec![0x06, b'0', rate, b'0', b'\r', b'\n']));
                let baud = baud_of(rate).unwrap_or(self.baud);
                self.state = State::Acknowledging { baud, until: now + self.timeout };
            }
            State::Acknowledging { .. } => self.fail(SessionError::Incomplete { bytes: 0 }),
            State::Reading { bytes, .. } => self.fail(SessionError::Incomplete { bytes }),
        }
    }

    fn sent(&mut self, now: Mono) {
        match &mut self.state {
            State::Waking { until } => *until = now + WAKE_UP_PAUSE,
            // The answer can't begin before.
            State::SignedOn { until, .. } => *until = now + self.timeout,
            State::Acknowledging { baud, .. } => {
                let baud = *baud;
                self.outputs.push_back(SessionOutput::Baud(baud));
                self.reading(now);
            }
            State::Idle | State::Pausing { .. } | State::Reading { .. } => {}
        }
    }

    fn reading(&mut self, now: Mono) {
        self.state = State::Reading { bytes: 0, silent_at: now + self.timeout, until: now + READOUT_MAX };
    }

    fn read(&mut self, now: Mono, bytes: &[u8]) {
        match &mut self.state {
            State::SignedOn { line, until } => {
                *until = now + self.timeout;
                for (at, &byte) in bytes.iter().enumerate() {
                    // An optical head may echo the sign-on: an identification has a maker's letters behind its slash.
                    if byte == b'/' || line.len() >= IDENTIFICATION_BYTES_MAX {
                        line.clear();
                    }
                    line.push(byte);
                    if byte == b'\n'
                        && let Some(rate) = proposed(line)
                    {
                        self.identified(now, rate);
                        self.read(now, bytes.get(at.saturating_add(1)..).unwrap_or_default());
                        return;
                    }
                }
            }
            State::Reading { .. } => self.readout(now, bytes),
            State::Idle | State::Waking { .. } | State::Pausing { .. } | State::Acknowledging { .. } => {}
        }
    }

    fn identified(&mut self, now: Mono, rate: u8) {
        if let Some(rate) = within(rate, self.ask.baud_max) {
            self.state = State::Pausing { rate, until: now + PAUSE };
            return;
        }
        if let Some(baud) = baud_of_mode_b(rate) {
            // Such a meter can't be told to be slower.
            if baud > self.ask.baud_max {
                self.fail(SessionError::TooFast { baud, max: self.ask.baud_max });
                return;
            }
            self.outputs.push_back(SessionOutput::Baud(baud));
        }
        self.reading(now);
    }

    fn readout(&mut self, now: Mono, input: &[u8]) {
        let State::Reading { bytes, silent_at, .. } = &mut self.state else { return };
        *bytes = bytes.saturating_add(input.len());
        *silent_at = now + self.timeout;
        let mut found: Option<Result<Vec<u8>, Fault>> = None;
        self.codec.push(input, |result| {
            if found.is_none() {
                found = Some(result.map(<[u8]>::to_vec).map_err(|(fault, _)| fault));
            }
        });
        match found {
            Some(Ok(frame)) => {
                self.outputs.push_back(SessionOutput::Readout(frame));
                self.state = State::Idle;
            }
            // Noise from the change of the rate.
            Some(Err(Fault::NoFrame { .. })) | None => {}
            Some(Err(fault)) => self.fail(SessionError::Damaged { what: fault.to_string() }),
        }
    }

    fn fail(&mut self, error: SessionError) {
        self.outputs.push_back(SessionOutput::Failed(error));
        self.state = State::Idle;
    }
}

/// The fifth character of an identification line.
fn proposed(line: &[u8]) -> Option<u8> {
    match line {
        [b'/', maker @ .., b'\r', b'\n'] => {
            let letters = maker.get(..3)?;
            letters.iter().all(u8::is_ascii_alphabetic).then(|| maker.get(3).copied())?
        }
        _ => None,
    }
}

/// Mode C (6.3.2): a digit.
fn baud_of(rate: u8) -> Option<u32> {
    RATES.iter().find(|(digit, _)| *digit == rate).map(|(_, baud)| *baud)
}

/// The rate that is acknowledged to a meter that proposes this one: the fastest of both, 300 in any case.
fn within(rate: u8, baud_max: u32) -> Option<u8> {
    let proposed = baud_of(rate)?;
    let fits = |(_, baud): &&(u8, u32)| *baud <= proposed && *baud <= baud_max.max(300);
    RATES.iter().rev().find(fits).map(|(digit, _)| *digit)
}

/// Mode B: a letter.
const fn baud_of_mode_b(rate: u8) -> Option<u32> {
    Some(match rate {
        b'A' => 600,
        b'B' => 1_200,
        b'C' => 2_400,
        b'D' => 4_800,
        b'E' => 9_600,
        b'F' => 19_200,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::capture;
    use super::*;

    fn session(address: &str) -> Session {
        let ask = MeterAsk { address: address.to_owned(), baud_max: 19_200, wake_up: false };
        Session::new(ask, 300, Duration::from_millis(2_500))
    }

    fn at(ms: u64) -> Mono {
        Mono::ZERO + Duration::from_millis(ms)
    }

    fn outputs(session: &mut Session, ms: u64, input: SessionInput<'_>) -> Vec<SessionOutput> {
        session.handle(at(ms), input);
        std::iter::from_fn(|| session.poll_output()).collect()
    }

    use SessionInput::{Bytes, Sent, Start, Tick};
    use SessionOutput::{Baud, Failed, Readout, Send};

    #[test]
    fn a_meter_is_signed_on_acknowledged_and_read_at_the_rate_that_it_proposes() {
        let mut session = session("");
        assert_eq!(outputs(&mut session, 0, Start), [Baud(300), Send(b"/?!\r\n".to_vec())]);
        assert_eq!(outputs(&mut session, 170, Sent), []);
        // An optical head echoes.
        assert_eq!(outputs(&mut session, 200, Bytes(b"/?!\r\n/LGZ")), []);
        assert_eq!(outputs(&mut session, 600, Bytes(b"5ZCF100AC.MXX\r\n")), []);
        assert_eq!(session.next_deadline(), Some(at(900)));
        let ack = Send(b"\x06050\r\n".to_vec());
        assert_eq!(outputs(&mut session, 900, Tick), [ack]);
        assert_eq!(outputs(&mut session, 1_100, Sent), [Baud(9_600)]);
        let readout = capture("iec62056-21/landisgyr-e350-readout.bin");
        let (first, second) = readout.split_at(100);
        assert_eq!(outputs(&mut session, 1_500, Bytes(first)), []);
        let found = outputs(&mut session, 1_600, Bytes(second));
        let [Readout(frame)] = found.as_slice() else { panic!("{found:?}") };
        assert!(CodecKind::Iec62056.decode(frame).unwrap().iter().any(|field| field.name == "energy_import"));
        assert_eq!(session.next_deadline(), None);
        assert_eq!(outputs(&mut session, 9_000, Start).len(), 2, "and again");
    }

    #[test]
    fn a_meter_that_is_silent_is_given_up() {
        let mut session = session("12345678");
        let sent = Send(b"/?12345678!\r\n".to_vec());
        assert_eq!(outputs(&mut session, 0, Start), [Baud(300), sent]);
        outputs(&mut session, 500, Sent);
        assert_eq!(outputs(&mut session, 2_999, Tick), []);
        assert_eq!(
            outputs(&mut session, 3_000, Tick),
            [Failed(SessionError::NoIdentification { timeout: Duration::from_millis(2_500) })]
        );

        outputs(&mut session, 10_000, Start);
        outputs(&mut session, 10_500, Bytes(b"/LGZ4X\r\n"));
        outputs(&mut session, 10_800, Tick);
        assert_eq!(outputs(&mut session, 11_000, Sent), [Baud(4_800)]);
        outputs(&mut session, 11_100, Bytes(b"\x021.8.0(1*kWh)\r\n"));
        let failed = Failed(SessionError::Incomplete { bytes: 15 });
        assert_eq!(outputs(&mut session, 13_600, Tick), [failed]);
    }

    #[test]
    fn a_damaged_readout_is_told_and_not_handed_out() {
        let mut session = session("");
        outputs(&mut session, 0, Start);
        outputs(&mut session, 500, Bytes(b"/LGZ0X\r\n"));
        outputs(&mut session, 800, Tick);
        outputs(&mut session, 1_000, Sent);
        let found = outputs(&mut session, 2_000, Bytes(&capture("iec62056-21/landisgyr-e350-bad-bcc.bin")));
        assert!(matches!(found.as_slice(), [Failed(SessionError::Damaged { .. })]), "{found:?}");
    }

    #[test]
    fn a_slow_line_is_never_set_to_more_than_it_can_do_and_a_sleeping_meter_is_woken_up() {
        let ask = MeterAsk { address: String::new(), baud_max: 4_800, wake_up: true };
        let mut session = Session::new(ask.clone(), 300, Duration::from_millis(2_500));
        assert_eq!(outputs(&mut session, 0, Start), [Baud(300), Send(vec![0; 66])]);
        assert_eq!(outputs(&mut session, 2_200, Sent), []);
        assert_eq!(session.next_deadline(), Some(at(3_800)));
        assert_eq!(outputs(&mut session, 3_800, Tick), [Send(b"/?!\r\n".to_vec())]);
        outputs(&mut session, 4_000, Sent);
        outputs(&mut session, 4_500, Bytes(b"/LGZ6X\r\n"));
        assert_eq!(outputs(&mut session, 4_800, Tick), [Send(b"\x06040\r\n".to_vec())]);
        assert_eq!(outputs(&mut session, 5_000, Sent), [Baud(4_800)]);

        let mut session = Session::new(MeterAsk { wake_up: false, ..ask }, 300, Duration::from_millis(2_500));
        outputs(&mut session, 0, Start);
        let failed = Failed(SessionError::TooFast { baud: 9_600, max: 4_800 });
        assert_eq!(outputs(&mut session, 500, Bytes(b"/LGZEmeter\r\n")), [failed]);
    }

    #[test]
    fn modes_a_and_b_need_no_acknowledgement() {
        for (rate, expected) in [(b'E', vec![Baud(9_600)]), (b'X', vec![])] {
            let mut session = session("");
            outputs(&mut session, 0, Start);
            let line = [b"/LGZ".as_slice(), &[rate], b"meter\r\n"].concat();
            assert_eq!(outputs(&mut session, 500, Bytes(&line)), expected);
            let found = outputs(&mut session, 600, Bytes(&capture("iec62056-21/landisgyr-e350-readout.bin")));
            assert!(matches!(found.as_slice(), [Readout(_)]), "{found:?}");
        }
    }
}
