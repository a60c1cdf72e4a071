//! Frames in noise: what is found, what is skipped, and that the cut of the stream makes no difference.

use proptest::prelude::*;

use super::*;
use crate::sensor::cell::Endian;
use crate::sensor::check::CheckKind;
use crate::sensor::config::PacketLength;

fn sum8() -> CheckConfig {
    CheckConfig { kind: CheckKind::Sum8, from: 0, to: None, at: -1, order: Endian::Big, hex: false }
}

fn packet(length: PacketLength, end: &[u8]) -> FramingConfig {
    FramingConfig::Packet { sync: b"AB".to_vec(), length, end: end.to_vec(), bytes_max: 12 }
}

fn field(add: i32) -> PacketLength {
    PacketLength::Field { at: 2, bytes: 1, endian: Endian::Big, add }
}

fn telegram() -> FramingConfig {
    FramingConfig::Telegram { start: b"/".to_vec(), end: b"\n!".to_vec(), tail: 1, bytes_max: 12 }
}

fn stuffed() -> FramingConfig {
    FramingConfig::Stuffed { flag: b'~', escape: b'}', xor: 0x20, length: None, bytes_max: 12 }
}

/// A frame stands as it is, a bad one behind `!`, skipped bytes behind `-` or, where they are nobody's fault, `.`.
fn found(config: &FramingConfig, check: Option<CheckConfig>, inputs: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut window = Window::new(config, check);
    let mut found = Vec::new();
    for input in inputs {
        window.push(input, |frame| {
            found.push(match frame {
                Frame::Packet(bytes) => bytes.to_vec(),
                Frame::BadCheck { frame, .. } => [b"!", frame].concat(),
                Frame::Skipped { bytes, expected: true } => [b".", bytes].concat(),
                Frame::Skipped { bytes, expected: false } => [b"-", bytes].concat(),
                other => panic!("{other:?}"),
            });
        });
        assert!(window.capacity() <= 2 * (PIECE_BYTES + 24), "{}", window.capacity());
    }
    found
}

fn check(config: &FramingConfig, check: Option<CheckConfig>, input: &[u8], expected: &[&[u8]]) {
    let shown =
        |list: &[&[u8]]| list.iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect::<Vec<_>>();
    let found = found(config, check, &[input]);
    let found: Vec<&[u8]> = found.iter().map(Vec::as_slice).collect();
    assert_eq!(shown(&found), shown(expected), "{config:?} {:?}", String::from_utf8_lossy(input));
}

#[test]
fn packets_are_found_in_noise_and_behind_damaged_ones() {
    let fixed = packet(PacketLength::Fixed(5), b"");
    check(&fixed, None, b"AB123AB456", &[b"AB123", b"AB456"]);
    check(&fixed, None, b"3AB123xAB456AAB789AB", &[b".3", b"AB123", b"-x", b"AB456", b"-A", b"AB789"]);
    check(&packet(PacketLength::Fixed(5), b"."), None, b"AB12.AB123AB34.", &[b"AB12.", b"-AB123", b"AB34."]);
    check(&packet(field(0), b""), None, b"AB\x05xyAB\x04qAB\x03", &[b"AB\x05xy", b"AB\x04q", b"AB\x03"]);
    // A length that can't be: 2 hasn't even its own field, 0xff is beyond the bound.
    check(
        &packet(field(0), b""),
        None,
        b"AB\x03AB\x02AB\xffAB\x03",
        &[b"AB\x03", b"-AB\x02AB\xff", b"AB\x03"],
    );
    check(&packet(field(-100), b""), None, b"AB\x03AB\x68q", &[b".AB\x03", b"AB\x68q"]);
}

#[test]
fn a_packet_with_a_wrong_check_is_told_once_and_looked_through_again() {
    let fixed = packet(PacketLength::Fixed(5), b"");
    let good = |a: u8, b: u8| [b'A', b'B', a, b, 131_u8.wrapping_add(a).wrapping_add(b)];
    let (one, two) = (good(1, 2), good(b'A', b'B'));
    let cut = &one[..3];
    let stream = [&one[..], cut, &two, &[b'A', b'B', 0, 0, 0], &one].concat();
    let bad = [b"!", cut, &two[..2]].concat();
    let skipped = [b".", cut].concat();
    let expected: [&[u8]; 7] = [&one, &bad, &skipped, &two, b"!AB\0\0\0", b".AB\0\0\0", &one];
    check(&fixed, Some(sum8()), &stream, &expected);
}

#[test]
fn telegrams_are_found_between_their_marks() {
    check(
        &telegram(),
        None,
        b"x\n!1/ab\n!2/\n!3\r\n/\n!4 x/c\n",
        &[b".x\n!1", b"/ab\n!2", b"/\n!3", b"/\n!4", b"- x"],
    );
    // Too long: given up, and what begins within it is found.
    check(
        &telegram(),
        None,
        b"/\n!1/abcde/x\n!2/abcdefghijkl/y\n!3",
        &[b"/\n!1", b"/abcde/x\n!2", b"-/abcdefghijkl", b"/y\n!3"],
    );
}

#[test]
fn stuffed_frames_may_share_a_flag() {
    check(&stuffed(), None, b"cd~ab~~cd~ef~", &[b".cd", b"ab", b"cd", b"ef"]);
    check(&stuffed(), None, b"~a}^b}]~}~x~", &[b"a~b}", b"-~}", b"x"]);
    check(&stuffed(), None, b"~a~0123456789abcd~x~", &[b"a", b"-~0123456789abcd", b"x"]);
    let three =
        FramingConfig::Stuffed { flag: b'~', escape: b'}', xor: 0x20, length: Some(3), bytes_max: 12 };
    check(&three, None, b"~abc~ab~a}^b~abcd~xyz~", &[b"abc", b"-~ab", b"a~b", b"-~abcd", b"xyz"]);
}

proptest! {
    #[test]
    fn how_the_stream_is_cut_makes_no_difference_to_the_frames(
        bytes in prop::collection::vec(prop::sample::select(b"AB\x05\x83\x84/\n!~}x".to_vec()), 0..200),
        cuts in prop::collection::vec(1usize..40, 1..40),
        config in prop::sample::select(vec![
            packet(PacketLength::Fixed(5), b""),
            packet(PacketLength::Fixed(5), b"!"),
            packet(field(1), b""),
            telegram(),
            stuffed(),
        ]),
        checked: bool,
    ) {
        let mut inputs = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (input, after) = rest.split_at((*cut).min(rest.len()));
            inputs.push(input);
            rest = after;
        }
        let check = checked.then(sum8);
        let frames = |inputs: &[&[u8]]| {
            let found = found(&config, check, inputs);
            found.into_iter().filter(|frame| !frame.starts_with(b"-") && !frame.starts_with(b".")).collect::<Vec<_>>()
        };
        prop_assert_eq!(frames(&inputs), frames(&[&bytes]));
    }
}
