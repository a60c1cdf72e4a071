//! The one request that is under way: its bytes, its absolute deadline, and what has come since.

use std::time::Duration;

use crate::sensor::config::{PortConfig, PortKind};
use crate::sensor::modbus::pdu::{Answer, Request};
use crate::sensor::modbus::rtu::{self, LineRate};
use crate::sensor::modbus::tcp::{self, Transaction};
use crate::time::Mono;

/// Bytes that are kept while an answer is awaited: four of the longest frames. The oldest are dropped: an answer stands at
/// the end of what came.
const HEARD_BYTES_MAX: usize = 1_024;

/// How frames travel.
#[derive(Debug)]
pub(super) enum Wire {
    /// On a serial line, with silence between the frames.
    Serial {
        /// How long a byte takes.
        rate: LineRate,
        /// The silence.
        gap: Duration,
    },
    /// In a TCP connection.
    Tcp {
        /// Of the last request.
        transaction: Transaction,
    },
}

impl Wire {
    pub(super) fn new(config: &PortConfig) -> Self {
        if matches!(config.kind, PortKind::Tcp) {
            return Self::Tcp { transaction: Transaction::default() };
        }
        let rate = config.line_rate();
        Self::Serial { rate, gap: config.gap.unwrap_or_else(|| rate.silence()) }
    }

    /// How long so many bytes are under way.
    pub(super) fn time_of(&self, bytes: usize) -> Duration {
        match self {
            Self::Serial { rate, .. } => rate.time_of(bytes),
            Self::Tcp { .. } => Duration::ZERO,
        }
    }

    /// The line has another rate now.
    pub(super) const fn set_baud(&mut self, baud: u32) {
        if let Self::Serial { rate, .. } = self {
            rate.baud = baud;
        }
    }

    /// The rate of the line; none in a connection.
    pub(super) const fn baud(&self) -> Option<u32> {
        match self {
            Self::Serial { rate, .. } => Some(rate.baud),
            Self::Tcp { .. } => None,
        }
    }

    /// The silence between frames.
    pub(super) const fn gap(&self) -> Duration {
        match self {
            Self::Serial { gap, .. } => *gap,
            Self::Tcp { .. } => Duration::ZERO,
        }
    }

    /// The bytes of a Modbus request.
    pub(super) fn frame(&mut self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        match self {
            Self::Serial { .. } => rtu::frame(unit, pdu),
            Self::Tcp { transaction } => {
                *transaction = transaction.next();
                tcp::frame(*transaction, unit, pdu)
            }
        }
    }

    /// Whether frames can be taken for others: a serial line's bear no number.
    pub(super) const fn is_serial(&self) -> bool {
        matches!(self, Self::Serial { .. })
    }
}

/// What is asked, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A Modbus request.
    Modbus {
        /// To whom.
        unit: u8,
        /// What.
        request: Request,
    },
    /// Bytes of a device that has another protocol.
    Bytes(Vec<u8>),
    /// Whatever its conversation says.
    Talk,
}

impl Question {
    /// The Modbus request, if it is one.
    pub(super) const fn request(&self) -> Option<&Request> {
        match self {
            Self::Modbus { request, .. } => Some(request),
            Self::Bytes(_) | Self::Talk => None,
        }
    }
}

/// What a flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A block of the device's cycle.
    Poll,
    /// A write.
    Write,
}

/// What the bytes that came so far mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing yet.
    Waiting,
    /// The answer.
    Answer {
        /// The answer.
        answer: Answer,
        /// What was sent came back before it.
        echoed: bool,
    },
    /// The other end speaks no Modbus TCP.
    NotModbus,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Flight {
    /// Whose it is.
    pub(super) slave: usize,
    /// What it is for.
    pub(super) purpose: Purpose,
    /// What is asked.
    pub(super) question: Question,
    /// From when on the bus is occupied.
    pub(super) started: Mono,
    /// The end of the request on the wire.
    pub(super) sent: Mono,
    /// From then on it has failed, whatever the line is doing.
    pub(super) deadline: Mono,
    bytes: Vec<u8>,
    heard: Vec<u8>,
    /// Bytes that were no answer's.
    pub(super) foreign: u64,
}

impl Flight {
    /// Puts a request on the wire. The answer must begin within `timeout` of its end.
    pub(super) fn new(
        wire: &mut Wire,
        slave: usize,
        purpose: Purpose,
        question: Question,
        timeout: Duration,
        now: Mono,
    ) -> (Self, Vec<u8>) {
        let (bytes, answer_len) = match &question {
            Question::Modbus { unit, request } => {
                let pdu = request.encode().unwrap_or_default();
                (wire.frame(*unit, &pdu), request.answer_len().saturating_add(3))
            }
            Question::Bytes(bytes) => (bytes.clone(), rtu::FRAME_BYTES_MAX),
            Question::Talk => (Vec::new(), 0),
        };
        let sent = now + wire.time_of(bytes.len());
        let deadline = sent + timeout + wire.time_of(answer_len);
        let flight = Self {
            slave,
            purpose,
            question,
            started: now,
            sent,
            deadline,
            bytes: bytes.clone(),
            heard: Vec::new(),
            foreign: 0,
        };
        (flight, bytes)
    }

    /// Takes what came. Nothing of it may be ours.
    pub(super) fn hear(&mut self, wire: &Wire, echo: bool, bytes: &[u8]) -> Heard {
        self.heard.extend_from_slice(bytes);
        let surplus = self.heard.len().saturating_sub(HEARD_BYTES_MAX);
        self.heard.drain(..surplus);
        self.foreign = self.foreign.saturating_add(count(surplus));
        let Question::Modbus { unit, request } = &self.question else { return Heard::Waiting };
        let Wire::Tcp { transaction } = wire else {
            return match rtu::search(request, *unit, &self.bytes, echo, &self.heard) {
                rtu::Search::Nothing => Heard::Waiting,
                rtu::Search::Found { answer, echoed, start, end } => {
                    let len = self.heard.len();
                    self.heard.drain(start.min(len)..end.min(len));
                    Heard::Answer { answer, echoed }
                }
            };
        };
        loop {
            let (end, heard) = match tcp::search(request, *transaction, *unit, &self.heard) {
                tcp::Search::Nothing => return Heard::Waiting,
                tcp::Search::Lost => return Heard::NotModbus,
                tcp::Search::Foreign { end } => (end, None),
                tcp::Search::Found { answer, end } => (end, Some(Heard::Answer { answer, echoed: false })),
            };
            self.heard.drain(..end.min(self.heard.len()));
            if let Some(heard) = heard {
                return heard;
            }
            self.foreign = self.foreign.saturating_add(count(end));
        }
    }

    /// What came and was not the answer.
    pub(super) fn left(&self) -> &[u8] {
        &self.heard
    }

    /// Why nothing came of it.
    pub(super) fn failure(&self, timeout: Duration) -> (String, bool) {
        let damaged = match &self.question {
            Question::Modbus { unit, request } => rtu::has_damaged_answer(request, *unit, &self.heard),
            Question::Bytes(_) | Question::Talk => false,
        };
        let words = match (damaged, self.heard.len()) {
            (true, _) => "a damaged answer (wrong CRC)".to_owned(),
            (false, 0) => format!("no answer within {timeout:?}"),
            (false, bytes) => format!("no answer within {timeout:?}, only {bytes} bytes that are none"),
        };
        (words, damaged)
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
