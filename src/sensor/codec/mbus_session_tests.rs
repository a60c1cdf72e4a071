//! The conversation with one slave, in invented time.

use super::super::testing::capture;
use super::super::{CodecKind, mbus_link::long_frame};
use super::*;
use SessionInput::{Bytes, Sent, Start, Tick};
use SessionOutput::{Failed, Readout, Send};

fn at(ms: u64) -> Mono {
    Mono::ZERO + Duration::from_millis(ms)
}

fn session(address: MbusAddress) -> MbusSession {
    MbusSession::new(address, 2_400, Duration::from_millis(500))
}

fn outputs(session: &mut MbusSession, ms: u64, input: SessionInput<'_>) -> Vec<SessionOutput> {
    session.handle(at(ms), input);
    std::iter::from_fn(|| session.poll_output()).collect()
}

fn asks(address: u8, frame_count: bool) -> Vec<SessionOutput> {
    vec![Send(request(address, Request::Values { frame_count }).to_vec())]
}

/// An answer with this number, and these records.
fn answer(address: u8, id: u32, records: &[u8]) -> Vec<u8> {
    let mut content = vec![0x08, address, 0x72];
    content.extend(id.to_le_bytes());
    content.extend([0x77, 0x04, 0x14, 0x04, 0x2a, 0, 0, 0]);
    content.extend(records);
    long_frame(&content)
}

/// Energy in Wh, and a marker that more follows.
const ENERGY: [u8; 6] = [0x04, 0x03, 0x13, 0x15, 0x31, 0x00];
const MORE: [u8; 7] = [0x04, 0x03, 0x13, 0x15, 0x31, 0x00, 0x1f];
const VOLUME: [u8; 6] = [0x04, 0x13, 0x07, 0, 0, 0];

#[test]
fn a_slave_is_reset_and_asked_at_its_address_and_the_frame_count_alternates() {
    let mut session = session(MbusAddress::Primary(5));
    for cycle in 0..2 {
        let begin = cycle * 10_000;
        let reset = Send(request(5, Request::Reset).to_vec());
        assert_eq!(outputs(&mut session, begin, Start), [reset]);
        outputs(&mut session, begin + 23, Sent);
        // The converter echoes.
        assert_eq!(outputs(&mut session, begin + 30, Bytes(&request(5, Request::Reset))), []);
        assert_eq!(outputs(&mut session, begin + 60, Bytes(&[0xe5])), []);
        assert_eq!(outputs(&mut session, begin + 80, Tick), asks(5, true));
        let frame = answer(5, 0x12345678, &ENERGY);
        let (first, second) = frame.split_at(9);
        assert_eq!(outputs(&mut session, begin + 200, Bytes(first)), []);
        let content = frame[4..frame.len() - 2].to_vec();
        assert_eq!(outputs(&mut session, begin + 300, Bytes(second)), [Readout(content)]);
        assert_eq!(session.next_deadline(), None);
    }
}

#[test]
fn more_records_are_asked_for_and_a_lost_one_again_by_the_same_frame_count() {
    let mut session = session(MbusAddress::Primary(5));
    outputs(&mut session, 0, Start);
    outputs(&mut session, 50, Bytes(&[0xe5]));
    assert_eq!(outputs(&mut session, 100, Tick), asks(5, true));
    let first = answer(5, 0x12345678, &MORE);
    assert_eq!(outputs(&mut session, 200, Bytes(&first)), []);
    assert_eq!(outputs(&mut session, 300, Tick), asks(5, false));
    // Its answer is lost.
    assert_eq!(outputs(&mut session, 900, Tick), asks(5, false));
    let second = answer(5, 0x12345678, &VOLUME);
    let found = outputs(&mut session, 1_000, Bytes(&second));
    let [Readout(frames)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(*frames, [first, second].concat());
    let fields = CodecKind::Mbus.decode(frames).unwrap();
    let value = |name: &str| fields.iter().find(|field| field.name == name).map(|field| field.raw.clone());
    let number = |text: &str| Some(crate::sensor::decode::Raw::Decimal(text.parse().unwrap()));
    assert_eq!(value("energy"), number("3216.659"));
    assert_eq!((value("volume"), value("2")), (number("0.007"), number("0.007")));
}

#[test]
fn a_slave_that_knows_no_reset_costs_one_try_and_is_asked_without() {
    let mut session = session(MbusAddress::Primary(9));
    outputs(&mut session, 0, Start);
    let failed = outputs(&mut session, 500, Tick);
    assert!(matches!(failed.as_slice(), [Failed(SessionError::NoAnswer { .. })]), "{failed:?}");
    for cycle in 1..3 {
        assert_eq!(outputs(&mut session, cycle * 1_000, Start), asks(9, cycle % 2 == 1));
        let found = outputs(&mut session, cycle * 1_000 + 100, Bytes(&answer(9, 1, &ENERGY)));
        assert!(matches!(found.as_slice(), [Readout(_)]), "{found:?}");
    }
    // Silent now: the next try begins with a reset again.
    outputs(&mut session, 3_000, Start);
    assert_eq!(outputs(&mut session, 3_500, Tick).len(), 1);
    assert_eq!(outputs(&mut session, 4_000, Start), [Send(request(9, Request::Reset).to_vec())]);
}

#[test]
fn a_selected_slave_must_be_the_one_that_was_meant() {
    let wanted = [0x78, 0x56, 0x34, 0xff, 0xff, 0xff, 0xff, 0x04];
    let mut session = session(MbusAddress::Secondary(wanted));
    assert_eq!(outputs(&mut session, 0, Start), [Send(select(wanted))]);
    outputs(&mut session, 50, Bytes(&[0xe5]));
    assert_eq!(outputs(&mut session, 100, Tick), asks(253, true));
    // A late answer of somebody else is passed over.
    assert_eq!(outputs(&mut session, 200, Bytes(&answer(1, 0x99345678, &ENERGY)[..])).len(), 1);

    let mut other = super::MbusSession::new(
        MbusAddress::Secondary([0x01, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        2_400,
        Duration::from_millis(500),
    );
    outputs(&mut other, 0, Start);
    outputs(&mut other, 50, Bytes(&[0xe5]));
    outputs(&mut other, 100, Tick);
    assert_eq!(outputs(&mut other, 200, Bytes(&answer(1, 2, &ENERGY))), []);
    let failed = outputs(&mut other, 700, Tick);
    assert_eq!(failed, [Failed(SessionError::NotOurs { found: "number 00000002".to_owned() })]);
}

#[test]
fn damaged_answers_and_silence_are_told_apart() {
    let mut session = session(MbusAddress::Primary(5));
    outputs(&mut session, 0, Start);
    outputs(&mut session, 50, Bytes(&[0xe5]));
    outputs(&mut session, 100, Tick);
    let mut frame = answer(5, 1, &ENERGY);
    frame[20] ^= 0x55;
    assert_eq!(outputs(&mut session, 200, Bytes(&frame)), []);
    let failed = outputs(&mut session, 800, Tick);
    assert!(matches!(failed.as_slice(), [Failed(SessionError::Collision { what: Some(_) })]), "{failed:?}");
    // Never-ending noise ends all the same.
    outputs(&mut session, 1_000, Start);
    let noise = [0x68; 40];
    let end = (0..100).find(|step| {
        let ms = 1_100 + step * 100;
        !outputs(&mut session, ms, Bytes(&noise)).is_empty()
    });
    assert!(end.is_some_and(|step| step < 40), "{end:?}");
}

#[test]
fn wildcards_match_digit_by_digit() {
    let found = [0x78, 0x56, 0x34, 0x12, 0x77, 0x04, 0x14, 0x04];
    for (wanted, fits) in [
        ([0x78, 0x56, 0x34, 0x12, 0x77, 0x04, 0x14, 0x04], true),
        ([0xff; 8], true),
        ([0x78, 0x56, 0x3f, 0xf2, 0xff, 0xff, 0xff, 0x04], true),
        ([0x78, 0x56, 0x3f, 0xf3, 0xff, 0xff, 0xff, 0x04], false),
        ([0x78, 0x56, 0x34, 0x12, 0xff, 0xff, 0xff, 0x07], false),
    ] {
        assert_eq!(matches(&wanted, &found), fits, "{wanted:02x?}");
    }
}

#[test]
fn captured_answers_are_taken_as_they_came_from_their_meters() {
    for name in ["kamstrup_multical_601", "abb_f95", "elv_temp_humid", "electricity-meter-1"] {
        let frame = capture(&format!("mbus/{name}.bin"));
        let address = frame[5];
        let mut session = session(MbusAddress::Primary(address));
        outputs(&mut session, 0, Start);
        outputs(&mut session, 50, Bytes(&[0xe5]));
        outputs(&mut session, 100, Tick);
        let mut found = outputs(&mut session, 200, Bytes(&frame));
        if found.is_empty() {
            // It says that more follows; the rest was not captured, so that it is told twice.
            outputs(&mut session, 300, Tick);
            found = outputs(&mut session, 400, Bytes(&frame));
        }
        assert!(matches!(found.as_slice(), [Readout(_)]), "{name}: {found:?}");
    }
}
