//! What damage does to each codec: no panic, no false value, and no good frame lost beside the damaged one.

use super::testing::*;
use super::*;

/// A stream of good frames for each codec, and which check guards it.
fn streams() -> Vec<(CodecKind, Vec<Vec<u8>>)> {
    let nmea = capture("nmea/moving-vehicle.nmea");
    let lines = nmea.split_inclusive(|byte| *byte == b'\n').filter(|line| line.starts_with(b"$"));
    let mut iec = capture("iec62056-21/landisgyr-e350-readout.bin");
    let second: Vec<u8> = iec.iter().map(|&byte| if byte == b'3' { b'4' } else { byte }).collect();
    iec.truncate(175);
    let second = with_bcc(second);
    let dsmr = ["v4_2", "v5", "v5-two-mbus", "be-fluvius"];
    let sml = ["HOLLEY_DTZ541-BDBA_without_PIN"];
    let mbus = ["abb_f95", "allmess_cf50", "electricity-meter-1", "elv_temp_humid", "kamstrup_multical_601"];
    vec![
        (CodecKind::Nmea { bare: false }, lines.map(<[u8]>::to_vec).collect()),
        (CodecKind::Dsmr, dsmr.map(|stem| capture(&format!("dsmr/{stem}.telegram"))).to_vec()),
        (CodecKind::Sml, sml.map(|stem| capture(&format!("sml/{stem}.bin"))).to_vec()),
        (CodecKind::VeDirect, blocks()),
        (CodecKind::Iec62056, vec![iec, second]),
        (CodecKind::Mbus, mbus.map(|stem| capture(&format!("mbus/{stem}.bin"))).to_vec()),
    ]
}

fn with_bcc(mut block: Vec<u8>) -> Vec<u8> {
    block.pop();
    let bcc = block.iter().skip(1).fold(0, |sum, byte| sum ^ byte);
    block.push(bcc);
    block
}

/// The good blocks of both devices, as they stood on the wire.
fn blocks() -> Vec<Vec<u8>> {
    let (found, _) = frames(CodecKind::VeDirect, &capture("vedirect/bmv702.bin"));
    found
}

/// Changes a frame as a line does; it may come out as it was.
fn damage(frame: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    let at = rng.usize(..frame.len());
    match rng.u8(..6) {
        0 => frame[at] ^= 1 << rng.u8(..8),
        1 => frame[at] = rng.u8(..),
        2 => drop(frame.remove(at)),
        3 => frame.insert(at, rng.u8(..)),
        4 => frame.truncate(at),
        _ => {
            let end = (at + rng.usize(1..4)).min(frame.len());
            frame[at..end].iter_mut().for_each(|byte| *byte = rng.u8(..));
        }
    }
}

/// What a stream of so many frames gives where one in a hundred is damaged: good ones lost, and false ones.
fn with_damage(kind: CodecKind, sent: &[Vec<u8>], count: usize, seed: u64) -> (usize, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut codec = Codec::new(kind);
    let good: Vec<Vec<u8>> =
        sent.iter().map(|frame| frames(kind, frame).0.pop().unwrap_or_default()).collect();
    assert!(good.iter().all(|frame| !frame.is_empty()), "{kind:?}");
    let (mut intact, mut found, mut false_ones) = (0_usize, 0_usize, 0_usize);
    for number in 0..count {
        let mut frame = sent[number % sent.len()].clone();
        if rng.u8(..100) == 0 && number + 1 < count {
            damage(&mut frame, &mut rng);
        }
        // Some damage does no harm: to an LF behind the CR that ends a sentence.
        intact +=
            usize::from(frame == sent[number % sent.len()] || !cut(kind, &frame, usize::MAX).0.is_empty());
        codec.push(&frame, |result| {
            if let Ok(frame) = result
                && kind.decode(frame).is_ok()
            {
                found += 1;
                false_ones += usize::from(!good.iter().any(|good| good == frame));
            }
        });
    }
    // What follows flushes a frame that waits for its end.
    codec.push(&sent[0], |result| found += usize::from(result.is_ok()));
    (intact.saturating_sub(found.saturating_sub(1)), false_ones)
}

#[test]
fn one_damaged_frame_in_a_hundred_makes_no_false_value_and_costs_no_other_frame() {
    for (kind, sent) in streams() {
        for seed in 0..2 {
            let (lost, false_ones) = with_damage(kind, &sent, 5_000, seed);
            assert_eq!(false_ones, 0, "{kind:?} with seed {seed}");
            // A block of VE.Direct has no beginning of its own: one that lost its end takes the next along.
            let allowed = if kind == CodecKind::VeDirect { 5_000 / 100 } else { 0 };
            assert!(lost <= allowed, "{kind:?} with seed {seed}: {lost} good frames lost");
        }
    }
}

#[test]
fn a_stream_that_begins_and_ends_anywhere_gives_only_frames_that_were_sent() {
    for (kind, sent) in streams() {
        let three: Vec<u8> = sent.iter().cycle().take(3).flatten().copied().collect();
        let (good, _) = cut(kind, &[three.as_slice(), &three].concat(), usize::MAX);
        let step = if kind == CodecKind::Dsmr { 13 } else { 1 };
        for at in (0..three.len()).step_by(step) {
            let (head, tail) = three.split_at(at);
            for part in [head, tail] {
                let (found, _) = cut(kind, part, usize::MAX);
                assert!(found.iter().all(|frame| good.contains(frame)), "{kind:?} cut at {at}");
            }
        }
    }
}

#[test]
fn no_content_makes_a_codec_panic() {
    let mut rng = fastrand::Rng::with_seed(7);
    for (kind, sent) in streams() {
        for frame in sent.iter().take(12) {
            let (found, _) = frames(kind, frame);
            for content in found {
                for at in 0..content.len() {
                    let mut bytes = content.clone();
                    let _ = kind.decode(&bytes[..at]);
                    for value in [0, 0x7f, 0x80, 0xff, bytes[at] ^ 1, rng.u8(..)] {
                        bytes[at] = value;
                        let _ = kind.decode(&bytes);
                    }
                }
            }
        }
        let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(20_000).collect();
        let _ = cut(kind, &noise, 100);
        for start in [b"$".as_slice(), b"/", b"\x02", b":", b"\x68", &[0x1b, 0x1b, 0x1b, 0x1b, 1, 1, 1, 1]] {
            let starts: Vec<u8> = start.iter().copied().cycle().take(30_000).collect();
            let _ = cut(kind, &starts, 1_000);
        }
    }
}

#[test]
fn a_list_of_sml_that_claims_more_than_there_is_is_refused() {
    // A file of one message whose list says that it has 2^32 - 1 entries.
    let list = [0xff, 0x8f, 0x8f, 0x8f, 0x8f, 0x8f, 0x8f, 0x0f];
    let message = [
        &[0x76, 0x05, 1, 2, 3, 4, 0x62, 0, 0x62, 0, 0x72, 0x63, 0x07, 0x01, 0x77, 0x01, 0x02, 1, 0x01, 0x01]
            [..],
        &list,
    ]
    .concat();
    assert!(matches!(CodecKind::Sml.decode(&message), Err(Fault::Malformed { .. })));
}

#[test]
fn memory_stays_bounded_whatever_comes() {
    for (kind, sent) in streams() {
        let mut codec = Codec::new(kind);
        let start = &sent[0][..sent[0].len() / 2];
        let mut faults = 0;
        for _ in 0..2_000 {
            codec.push(start, |result| faults += usize::from(result.is_err()));
        }
        let held = match &codec.0 {
            Framer::Nmea(stream) => stream.held(),
            Framer::Dsmr(stream) => stream.held(),
            Framer::Sml(stream) => stream.held(),
            Framer::VeDirect(blocks) => blocks.held(),
            Framer::Iec62056(stream) => stream.held(),
            Framer::Mbus(stream) => stream.held(),
        };
        assert!(held <= 32 * 1_024, "{kind:?} holds {held}");
        assert!(faults > 0, "{kind:?}: it is told");
    }
}
