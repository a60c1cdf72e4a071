//! Modbus over TCP: the header before each PDU (MTCP 3.1.3), and an answer found by its transaction. Pure.

use super::pdu::{Answer, Request};

/// Transaction, protocol, length, unit.
const HEADER_BYTES: usize = 7;

/// The largest length field: unit and 253 bytes of PDU.
const LENGTH_MAX: u16 = 254;

/// Marks a request; the answer bears the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transaction(u16);

impl Transaction {
    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// A request or answer with its header.
#[must_use]
pub fn frame(transaction: Transaction, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len()).unwrap_or(LENGTH_MAX).saturating_add(1);
    let mut bytes = Vec::with_capacity(pdu.len().saturating_add(HEADER_BYTES));
    bytes.extend_from_slice(&transaction.0.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(unit);
    bytes.extend_from_slice(pdu);
    bytes
}

/// What stands at the beginning of the bytes that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// Not a whole frame yet.
    Nothing,
    /// A whole frame that answers something else, an earlier request mostly; it is to be dropped.
    Foreign {
        /// Its length.
        end: usize,
    },
    /// The answer.
    Found {
        /// The answer.
        answer: Answer,
        /// Where it ends.
        end: usize,
    },
    /// No Modbus: where the next frame begins is lost, so the connection must be closed.
    Lost,
}

/// Looks at the first frame.
#[must_use]
pub fn search(request: &Request, transaction: Transaction, unit: u8, bytes: &[u8]) -> Search {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Search::Nothing };
    let [t0, t1, p0, p1, l0, l1, from] = *header;
    let length = u16::from_be_bytes([l0, l1]);
    if (p0, p1) != (0, 0) || !(2..=LENGTH_MAX).contains(&length) {
        return Search::Lost;
    }
    let pdu_len = usize::from(length).saturating_sub(1);
    let Some(pdu) = body.get(..pdu_len) else { return Search::Nothing };
    let end = HEADER_BYTES.saturating_add(pdu_len);
    let is_ours = u16::from_be_bytes([t0, t1]) == transaction.0 && from == unit;
    match request.answer(pdu) {
        Some(answer) if is_ours => Search::Found { answer, end },
        _ => Search::Foreign { end },
    }
}

/// The first whole frame, whatever it says: its PDU if it answers this transaction of this unit, and where it ends. `None`:
/// there is no whole frame, or what comes is no Modbus.
#[must_use]
pub fn first(transaction: Transaction, unit: u8, bytes: &[u8]) -> Option<(Option<Vec<u8>>, usize)> {
    let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let [t0, t1, 0, 0, l0, l1, from] = *header else { return None };
    let length = u16::from_be_bytes([l0, l1]);
    let pdu_len = usize::from(length.min(LENGTH_MAX)).saturating_sub(1);
    let pdu = body.get(..pdu_len)?;
    let is_ours = u16::from_be_bytes([t0, t1]) == transaction.0 && from == unit;
    Some((is_ours.then(|| pdu.to_vec()), HEADER_BYTES.saturating_add(pdu_len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::modbus::pdu::ReadFunction;

    const REQUEST: Request =
        Request::Read { function: ReadFunction::HoldingRegisters, address: 107, count: 3 };

    #[test]
    fn the_header_is_as_the_specification_shows_it() {
        // MTCP 3.1.3 and MAP 6.3.
        let transaction = Transaction(0x1501);
        let bytes = frame(transaction, 0xFF, &REQUEST.encode().unwrap());
        assert_eq!(bytes, [0x15, 1, 0, 0, 0, 6, 0xFF, 3, 0, 0x6B, 0, 3]);
        assert_eq!(Transaction(u16::MAX).next(), Transaction(0));
    }

    #[test]
    fn an_answer_is_known_by_its_transaction_and_unit() {
        let answer = frame(Transaction(7), 1, &[3, 6, 1, 2, 3, 4, 5, 6]);
        let found = Search::Found { answer: Answer::Values(vec![1, 2, 3, 4, 5, 6]), end: 15 };
        assert_eq!(search(&REQUEST, Transaction(7), 1, &answer), found);
        assert_eq!(search(&REQUEST, Transaction(8), 1, &answer), Search::Foreign { end: 15 });
        assert_eq!(search(&REQUEST, Transaction(7), 2, &answer), Search::Foreign { end: 15 });
        for cut in 0..answer.len() {
            assert_eq!(search(&REQUEST, Transaction(7), 1, &answer[..cut]), Search::Nothing, "{cut}");
        }
        let short = frame(Transaction(7), 1, &[3, 2, 1, 2]);
        assert_eq!(search(&REQUEST, Transaction(7), 1, &short), Search::Foreign { end: 11 });
    }

    #[test]
    fn what_is_no_modbus_ends_the_connection() {
        for bytes in [*b"HTTP/1.1", [0, 7, 0, 0, 0, 1, 1, 3], [0, 7, 0, 0, 1, 0, 1, 3]] {
            assert_eq!(search(&REQUEST, Transaction(7), 1, &bytes), Search::Lost, "{bytes:?}");
        }
    }
}
