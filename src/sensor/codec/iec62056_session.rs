//! Asking a meter of IEC 62056-21 mode C for its readout: sign-on at 300 baud, identification, acknowledgement, and the
//! change to the rate that the meter proposes. The readout's bytes go to the codec. Pure: what is to be sent and at
//! which rate comes out.
//!
//! ```text
//! Idle ── Start ──> SignedOn ── identification ──> Pausing ── 300 ms ──> Acknowledging ── Sent ──> Reading
//!  ^                   │ 2.5 s                                                                       │
//!  └────── Failed ─────┴──────────────── 2.5 s without a byte, 2 min in all ────────────────────────┤
//!  └────── Readout ─────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A meter of mode A answers the sign-on with its readout at the same rate, one of mode B changes the rate by itself.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::{Codec, CodecKind, Fault};
use crate::time::Mono;

/// The rate of every sign-on (6.3.1).
const SIGN_ON_BAUD: u32 = 300;

/// Between two messages a meter wants 200 ms (20 ms where it says so), and 1,500 ms at most (6.3.14, `tr`).
const PAUSE: Duration = Duration::from_millis(300);

/// 1,500 ms for the answer to begin or go on, and what a USB adapter and a busy machine add.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);

/// The whole readout: 2 kB at 300 baud are 67 s.
const READOUT_MAX: Duration = Duration::from_secs(120);

/// An identification has 5 to 21 characters behind its slash (6.3.2).
const IDENTIFICATION_BYTES_MAX: usize = 64;

/// The longest address of a meter (6.3.1).
const ADDRESS_BYTES_MAX: usize = 32;

/// What the shell tells the machine.
#[derive(Clone, Copy, Debug)]
pub enum SessionInput<'a> {
    /// Ask now. Ignored while a session runs.
    Start,
    /// The last `Send` has left the port, to its last bit.
    Sent,
    /// Bytes that were read.
    Bytes(&'a [u8]),
    /// The deadline has passed.
    Tick,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOutput {
    /// Set this rate, bits per second. The character format stays: 7 data bits, even parity.
    Baud(u32),
    /// Send these bytes, then say `Sent`.
    Send(Vec<u8>),
    /// The readout, checked: what the codec decodes.
    Readout(Vec<u8>),
    /// The session ended without a readout.
    Failed(SessionError),
}

/// Why a session ended without a readout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// The meter didn't answer the sign-on.
    NoAnswer,
    /// It fell silent in the middle of the readout, or the readout never ends.
    Incomplete {
        /// Bytes of the readout that came.
        bytes: usize,
    },
    /// The readout is damaged.
    Damaged {
        /// How.
        what: String,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("no identification within 2.5 s of the sign-on"),
            Self::Incomplete { bytes } => write!(f, "the readout stopped after {bytes} bytes"),
            Self::Damaged { what } => write!(f, "a damaged readout: {what}"),
        }
    }
}

/// The machine of one meter.
#[derive(Debug)]
pub struct Session {
    sign_on: Vec<u8>,
    state: State,
    codec: Codec,
    outputs: VecDeque<SessionOutput>,
}

#[derive(Debug)]
enum State {
    Idle,
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
    /// A session with the meter of this address; an empty one is whoever is there. What no address may have (all but
    /// letters, digits and spaces) and what is behind 32 characters is left out.
    #[must_use]
    pub fn new(address: &str) -> Self {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b' ';
        let mut sign_on = b"/?".to_vec();
        sign_on.extend(address.bytes().filter(allowed).take(ADDRESS_BYTES_MAX));
        sign_on.extend(b"!\r\n");
        Self { sign_on, state: State::Idle, codec: Codec::new(CodecKind::Iec62056), outputs: VecDeque::new() }
    }

    /// Takes one input. The outputs are to be taken before the next.
    pub fn handle(&mut self, now: Mono, input: SessionInput<'_>) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.deadline_passed(now);
        }
        match input {
            SessionInput::Start if matches!(self.state, State::Idle) => {
                self.codec.reset();
                self.outputs.push_back(SessionOutput::Baud(SIGN_ON_BAUD));
                self.outputs.push_back(SessionOutput::Send(self.sign_on.clone()));
                self.state = State::SignedOn { line: Vec::new(), until: now + SILENCE_MAX };
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
            State::SignedOn { until, .. }
            | State::Pausing { until, .. }
            | State::Acknowledging { until, .. } => Some(*until),
            State::Reading { silent_at, until, .. } => Some(*silent_at.min(until)),
        }
    }

    fn deadline_passed(&mut self, now: Mono) {
        match self.state {
            State::Idle => {}
            State::SignedOn { .. } => self.fail(SessionError::NoAnswer),
            State::Pausing { rate, .. } => {
                // Protocol 0 (normal), the proposed rate, mode 0 (readout).
                self.outputs.push_back(SessionOutput::Send(vec![0x06, b'0', rate, b'0', b'\r', b'\n']));
                let baud = baud_of(rate).unwrap_or(SIGN_ON_BAUD);
                self.state = State::Acknowledging { baud, until: now + SILENCE_MAX };
            }
            State::Acknowledging { .. } => self.fail(SessionError::Incomplete { bytes: 0 }),
            State::Reading { bytes, .. } => self.fail(SessionError::Incomplete { bytes }),
        }
    }

    fn sent(&mut self, now: Mono) {
        match &mut self.state {
            // The answer can't begin before.
            State::SignedOn { until, .. } => *until = now + SILENCE_MAX,
            State::Acknowledging { baud, .. } => {
                let baud = *baud;
                self.outputs.push_back(SessionOutput::Baud(baud));
                self.reading(now);
            }
            State::Idle | State::Pausing { .. } | State::Reading { .. } => {}
        }
    }

    fn reading(&mut self, now: Mono) {
        self.state = State::Reading { bytes: 0, silent_at: now + SILENCE_MAX, until: now + READOUT_MAX };
    }

    fn read(&mut self, now: Mono, bytes: &[u8]) {
        match &mut self.state {
            State::SignedOn { line, until } => {
                *until = now + SILENCE_MAX;
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
            State::Idle | State::Pausing { .. } | State::Acknowledging { .. } => {}
        }
    }

    fn identified(&mut self, now: Mono, rate: u8) {
        if baud_of(rate).is_some() {
            self.state = State::Pausing { rate, until: now + PAUSE };
            return;
        }
        if let Some(baud) = baud_of_mode_b(rate) {
            self.outputs.push_back(SessionOutput::Baud(baud));
        }
        self.reading(now);
    }

    fn readout(&mut self, now: Mono, input: &[u8]) {
        let State::Reading { bytes, silent_at, .. } = &mut self.state else { return };
        *bytes = bytes.saturating_add(input.len());
        *silent_at = now + SILENCE_MAX;
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
const fn baud_of(rate: u8) -> Option<u32> {
    Some(match rate {
        b'0' => 300,
        b'1' => 600,
        b'2' => 1_200,
        b'3' => 2_400,
        b'4' => 4_800,
        b'5' => 9_600,
        b'6' => 19_200,
        _ => return None,
    })
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
        let mut session = Session::new("");
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
        let mut session = Session::new("12345678");
        let sent = Send(b"/?12345678!\r\n".to_vec());
        assert_eq!(outputs(&mut session, 0, Start), [Baud(300), sent]);
        outputs(&mut session, 500, Sent);
        assert_eq!(outputs(&mut session, 2_999, Tick), []);
        assert_eq!(outputs(&mut session, 3_000, Tick), [Failed(SessionError::NoAnswer)]);

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
        let mut session = Session::new("");
        outputs(&mut session, 0, Start);
        outputs(&mut session, 500, Bytes(b"/LGZ0X\r\n"));
        outputs(&mut session, 800, Tick);
        outputs(&mut session, 1_000, Sent);
        let found = outputs(&mut session, 2_000, Bytes(&capture("iec62056-21/landisgyr-e350-bad-bcc.bin")));
        assert!(matches!(found.as_slice(), [Failed(SessionError::Damaged { .. })]), "{found:?}");
    }

    #[test]
    fn modes_a_and_b_need_no_acknowledgement() {
        for (rate, expected) in [(b'E', vec![Baud(9_600)]), (b'X', vec![])] {
            let mut session = Session::new("");
            outputs(&mut session, 0, Start);
            let line = [b"/LGZ".as_slice(), &[rate], b"meter\r\n"].concat();
            assert_eq!(outputs(&mut session, 500, Bytes(&line)), expected);
            let found = outputs(&mut session, 600, Bytes(&capture("iec62056-21/landisgyr-e350-readout.bin")));
            assert!(matches!(found.as_slice(), [Readout(_)]), "{found:?}");
        }
    }
}
