//! Read device identification (function 43, type 14; MAP 6.21): the basic objects, which are vendor, product and revision.

use super::pdu::Exception;

const FUNCTION: u8 = 0x2b;
const TYPE: u8 = 0x0e;
/// The basic objects, in one stream.
const BASIC: u8 = 1;
/// From function to the number of objects.
const HEADER_BYTES: usize = 7;

/// The question for all basic objects.
pub const REQUEST: [u8; 4] = [FUNCTION, TYPE, BASIC, 0];

/// What a device says of itself: name and text of each object that is known.
pub type Facts = Vec<(&'static str, String)>;

/// Whether an answer may begin so; what hasn't come yet may be right.
#[must_use]
pub fn is_answer_start(pdu: &[u8]) -> bool {
    match pdu {
        [FUNCTION, TYPE, ..] | [FUNCTION] | [] => true,
        [function, code, ..] => *function == FUNCTION | 0x80 && Exception::from_code(*code).is_some(),
        [function] => *function == FUNCTION | 0x80,
    }
}

/// The length of the answer that begins here, once that is known.
#[must_use]
pub fn answer_len(pdu: &[u8]) -> Option<usize> {
    if *pdu.first()? != FUNCTION {
        return Some(2);
    }
    let mut end = HEADER_BYTES;
    for _ in 0..*pdu.get(HEADER_BYTES.saturating_sub(1))? {
        let len = *pdu.get(end.saturating_add(1))?;
        end = end.saturating_add(2).saturating_add(usize::from(len));
    }
    Some(end)
}

/// The objects of an answer; `None` of one that says no, or is none.
#[must_use]
pub fn facts(pdu: &[u8]) -> Option<Facts> {
    let [FUNCTION, TYPE, _, _, _, _, count] = *pdu.first_chunk::<HEADER_BYTES>()? else { return None };
    let mut rest = pdu.get(HEADER_BYTES..)?;
    let mut facts = Facts::new();
    for _ in 0..count {
        let [id, len] = *rest.first_chunk::<2>()?;
        let (text, more) = rest.get(2..)?.split_at_checked(usize::from(len))?;
        rest = more;
        let name = match id {
            0 => "vendor",
            1 => "product",
            2 => "revision",
            _ => continue,
        };
        facts.push((name, String::from_utf8_lossy(text).trim().to_owned()));
    }
    Some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of MAP 6.21.
    const ANSWER: &[u8] =
        b"\x2b\x0e\x01\x01\x00\x00\x03\x00\x16Company identification\x01\x0fProduct code XX\x02\x05V2.11";

    #[test]
    fn the_example_of_the_specification_is_read_and_its_length_is_known_as_soon_as_can_be() {
        let facts = facts(ANSWER).unwrap();
        let expected =
            [("vendor", "Company identification"), ("product", "Product code XX"), ("revision", "V2.11")];
        assert_eq!(facts, expected.map(|(name, text)| (name, text.to_owned())));
        assert_eq!(answer_len(ANSWER), Some(ANSWER.len()));
        // The length of the last object stands before its five bytes.
        for cut in 0..ANSWER.len() {
            let known = cut > ANSWER.len() - 6;
            assert_eq!(answer_len(&ANSWER[..cut]), known.then_some(ANSWER.len()), "{cut}");
            assert!(is_answer_start(&ANSWER[..cut]));
            assert_eq!(super::facts(&ANSWER[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn who_says_no_has_no_facts() {
        assert!(is_answer_start(&[0xab, 1]));
        assert_eq!((answer_len(&[0xab, 1]), facts(&[0xab, 1])), (Some(2), None));
        for other in [&[3, 2, 0, 0][..], &[0xab, 99], &[0x83]] {
            assert!(!is_answer_start(other), "{other:?}");
        }
    }
}
