//! Streams of frames of which one in a hundred is damaged, with seeds: what is decoded was sent, and every frame that
//! was sent whole is decoded.
//!
//! What a check can do is a matter of its bits. A CRC of 16 bits, and a sum of 16 bits with a mark of 4 bytes before it,
//! gave no false frame here. A sum of 8 bits alone lets about one in 256 of those frames pass of which a byte was lost or
//! added, and there is no better in the protocol: with an end byte behind it, or with a fixed length between flags,
//! far fewer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "tests"
)]

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use fieldgate::config::{Facts, Source, parse, profile, render};
use fieldgate::reading::Sample;
use fieldgate::sensor::modbus::pdu::{Answer, ReadFunction, Request};
use fieldgate::sensor::modbus::rtu::{self, Search};
use fieldgate::sensor::{
    Asked, DeviceConfig, Faults, Motion, Piece, Points, Simulator, Slave, Transport, Trial,
};
use fieldgate::time::{Mono, Now, Timestamp};

/// A device that its frames are made for.
struct Kind {
    name: &'static str,
    /// Its part of the config.
    device: &'static str,
    /// A frame with a random content.
    frame: fn(&mut fastrand::Rng) -> Vec<u8>,
    /// Of a million damaged frames, so many may pass as good ones.
    false_per_million: usize,
    /// The end of a line can be lost, and the next line with it.
    loses_neighbours: bool,
}

const KINDS: [Kind; 7] = [
    Kind {
        name: "pms5003 (sum of 16 bits)",
        device: "profile = \"pms5003\"",
        frame: |rng| {
            let mut frame = vec![0x42, 0x4d, 0, 28];
            frame.extend((0..26).map(|_| rng.u8(..)));
            let sum: u16 = frame.iter().map(|byte| u16::from(*byte)).sum();
            frame.extend(sum.to_be_bytes());
            frame
        },
        false_per_million: 0,
        loses_neighbours: false,
    },
    Kind {
        name: "sds011 (sum of 8 bits, end byte)",
        device: "profile = \"sds011\"",
        frame: |rng| {
            let data: Vec<u8> = (0..6).map(|_| rng.u8(..)).collect();
            let sum = data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            [&[0xaa, 0xc0], &data[..], &[sum, 0xab]].concat()
        },
        false_per_million: 200,
        loses_neighbours: false,
    },
    Kind {
        name: "mh-z19 (sum of 8 bits)",
        device: "profile = \"mh-z19\"",
        frame: |rng| {
            let mut frame = vec![0xff, 0x86];
            frame.extend((0..6).map(|_| rng.u8(..)));
            let sum = frame[1..].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            frame.push(sum.wrapping_neg());
            frame
        },
        false_per_million: 5_000,
        loses_neighbours: false,
    },
    Kind {
        name: "sps30 (sum of 8 bits, stuffed)",
        device: "profile = \"sps30\"",
        frame: |rng| {
            let mut body = vec![0, 3, 0, 40];
            body.extend((0..40).map(|_| rng.u8(..)));
            body.push(!body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
            let mut frame = vec![0x7e];
            for byte in body {
                match byte {
                    0x7e | 0x7d => frame.extend([0x7d, byte ^ 0x20]),
                    other => frame.push(other),
                }
            }
            frame.push(0x7e);
            frame
        },
        false_per_million: 5_000,
        loses_neighbours: false,
    },
    Kind {
        name: "length field and CRC-16/MODBUS",
        device: "framing = { kind = \"packet\", sync = \"a5\", length = { at = 1, add = 4 }, max = \"64 B\" }\n\
            check = \"crc16-modbus\"\ndecode = \"binary\"\n\
            points = [{ name = \"first\", at = 2, type = \"u8\" }, { name = \"last\", at = -3, type = \"u8\" }]",
        frame: |rng| {
            let data: Vec<u8> = (0..rng.u8(1..30)).map(|_| rng.u8(..)).collect();
            let mut frame = [&[0xa5, data.len() as u8], &data[..]].concat();
            let crc = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(&frame);
            frame.extend(crc.to_le_bytes());
            frame
        },
        false_per_million: 0,
        loses_neighbours: false,
    },
    Kind {
        name: "telegram with OBIS lines and CRC-16/ARC in digits",
        device: "framing = { kind = \"telegram\", start = \"/\", end = \"\\r\\n!\", tail = 4 }\n\
            check = { kind = \"crc16-arc\", over = [0, -4], at = -4, hex = true }\ndecode = \"obis\"\n\
            points = [{ name = \"energy\", from = \"1-0:1.8.1\", unit = \"kWh\" }]",
        frame: |rng| {
            let energy = rng.u32(0..999_999_999);
            let text = format!(
                "/ABC5x\r\n\r\n1-0:1.8.1({:06}.{:03}*kWh)\r\n1-0:1.7.0(0{}.193*kW)\r\n!",
                energy / 1000,
                energy % 1000,
                rng.u8(0..9)
            );
            let crc = crc::Crc::<u16>::new(&crc::CRC_16_ARC).checksum(text.as_bytes());
            format!("{text}{crc:04X}\r\n").into_bytes()
        },
        false_per_million: 0,
        loses_neighbours: false,
    },
    Kind {
        name: "line with an XOR in digits",
        device: "framing = { kind = \"line\", end = \"\\r\\n\" }\n\
            check = { kind = \"xor8\", over = [1, -3], at = -2, hex = true }\n\
            decode = { kind = \"regex\", pattern = '^\\$T,(?<t>[0-9.]+),C\\*' }\npoints = \"*\"",
        frame: |rng| {
            let text = format!("T,{}.{},C", rng.u16(0..999), rng.u8(0..10));
            let xor = text.bytes().fold(0, |xor, byte| xor ^ byte);
            format!("${text}*{xor:02X}\r\n").into_bytes()
        },
        false_per_million: 5_000,
        loses_neighbours: true,
    },
];

fn device(text: &str) -> DeviceConfig {
    let text = format!(
        "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\nport = \"p\"\n{text}\n"
    );
    let config =
        parse(&[Source { file: "f".into(), text }], &Facts { default_id: "gw".into(), ..Facts::default() });
    config.unwrap_or_else(|mistakes| panic!("{}", render(&mistakes))).devices.remove(0)
}

/// One damage: a bit, a byte, a byte lost, a byte more, the rest lost, the beginning lost, noise before it.
fn damage(frame: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    let at = rng.usize(..frame.len());
    let mut bytes = frame.to_vec();
    match rng.u8(0..7) {
        0 => bytes[at] ^= 1 << rng.u8(0..8),
        1 => bytes[at] = bytes[at].wrapping_add(rng.u8(1..)),
        2 => drop(bytes.remove(at)),
        3 => bytes.insert(at, rng.u8(..)),
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(..=at)),
        _ => drop(bytes.splice(..0, (0..rng.usize(1..20)).map(|_| rng.u8(..)))),
    }
    bytes
}

/// What a trial hands out for a frame that was sent: its content, without flags and escapes, and its values.
fn content(device: &DeviceConfig, frame: &[u8]) -> (Vec<u8>, Vec<Sample>) {
    let mut trial = Trial::new(device);
    let mut content = None;
    trial.push(Mono::ZERO, frame, |piece| {
        if let Piece::Frame { bytes, values: Ok(samples) } = piece {
            content = Some((bytes.to_vec(), samples));
        }
    });
    content.unwrap_or_else(|| panic!("a good frame isn't decoded: {frame:02x?}"))
}

/// A frame that was sent and not yet seen.
struct Sent {
    content: Vec<u8>,
    values: Vec<Sample>,
    is_whole: bool,
}

/// Plays so many frames of which one in a hundred is damaged.
fn play(kind: &Kind, frames: usize, seed: u64) {
    let device = device(kind.device);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut trial = Trial::new(&device);
    let mut sent: VecDeque<Sent> = VecDeque::new();
    let (mut damaged, mut wrong, mut lost, mut good) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut stream = Vec::new();
    for number in 0..frames {
        let frame = (kind.frame)(&mut rng);
        let is_whole = rng.u8(0..100) != 0 || number == 0;
        let (content, values) = content(&device, &frame);
        sent.push_back(Sent { content, values, is_whole });
        if is_whole {
            stream.extend_from_slice(&frame);
        } else {
            damaged += 1;
            stream.extend(damage(&frame, &mut rng));
        }
        if stream.len() < 512 && number + 1 < frames {
            continue;
        }
        for piece in stream.chunks(rng.usize(1..200)) {
            trial.push(Mono::ZERO, piece, |piece| {
                let Piece::Frame { bytes, values: Ok(values) } = piece else { return };
                let as_sent = sent.iter().position(|sent| sent.content == bytes);
                // Damage to what the check doesn't cover, such as the line end behind it, leaves the values right.
                let right = || sent.iter().position(|sent| !sent.is_whole && sent.values == values);
                let Some(place) = as_sent.or_else(right) else {
                    wrong += 1;
                    return;
                };
                lost += sent.drain(..=place).take(place).filter(|sent| sent.is_whole).count();
                good += 1;
            });
        }
        stream.clear();
    }
    println!(
        "{}: {good} of {frames} frames, {damaged} damaged, {wrong} false, {lost} whole ones lost",
        kind.name
    );
    assert!(damaged > frames / 200 && good > frames / 2);
    let allowed = kind.false_per_million * damaged / 1_000_000 + usize::from(kind.false_per_million > 0);
    assert!(wrong <= allowed, "{}: {wrong} false frames, seed {seed}", kind.name);
    // A damaged line without its end takes the next one with it; so does a false frame. And a frame without its last
    // byte is whole again if the next one begins with that byte, which the next one then lacks.
    let may_be_lost = if kind.loses_neighbours { damaged } else { 2 * wrong + damaged / 2_000 };
    assert!(lost <= may_be_lost, "{}: {lost} whole frames lost, seed {seed}", kind.name);
}

#[test]
fn of_a_damaged_stream_only_what_was_sent_is_decoded_and_all_that_was_whole() {
    for (seed, kind) in KINDS.iter().enumerate() {
        play(kind, 15_000, seed as u64 + 1);
    }
}

#[test]
#[ignore = "a million frames of each kind: tests/heavy/run runs it"]
fn of_a_million_frames_only_what_was_sent_is_decoded() {
    for (seed, kind) in KINDS.iter().enumerate() {
        play(kind, 1_000_000, seed as u64 + 101);
    }
}

#[test]
fn every_frame_cut_at_every_byte_leaves_the_next_one() {
    let mut rng = fastrand::Rng::with_seed(7);
    for kind in KINDS.iter().filter(|kind| !kind.loses_neighbours) {
        let device = device(kind.device);
        let (first, next) = ((kind.frame)(&mut rng), (kind.frame)(&mut rng));
        let expected = content(&device, &next).0;
        for cut in 0..first.len() {
            let mut trial = Trial::new(&device);
            let mut found = Vec::new();
            // A frame whose end was lost is closed by the beginning of the next, which a third one lets out.
            for bytes in [&first[..cut], &next, &next] {
                trial.push(Mono::ZERO, bytes, |piece| {
                    if let Piece::Frame { bytes, values: Ok(_) } = piece {
                        found.push(bytes.to_vec());
                    }
                });
            }
            // Where a frame lost nothing but what the next one has too, it is still there.
            if found.len() == 3 {
                assert_eq!(found.remove(0), content(&device, &first).0, "{} cut at {cut}", kind.name);
            }
            assert_eq!(found, [expected.clone(), expected.clone()], "{} cut at {cut}", kind.name);
        }
    }
}

/// Profiles whose check can't find everything, by the false frames of a million damaged ones that may pass; all others: none.
/// A million false ones: there is no check, and what a digit was turned into is as good a digit.
const WEAK: [(&str, usize); 12] = [
    ("sds011", 200),
    ("mh-z19", 5_000),
    ("sps30", 5_000),
    ("nmea-gps", 5_000),
    ("ve-direct", 5_000),
    ("json-lines", 1_000_000),
    ("key-value", 1_000_000),
    ("scale-and", 1_000_000),
    ("scale-st-gs", 1_000_000),
    ("sdi12", 1_000_000),
    ("iec62056-21-meter", 1_000_000),
    ("iec62056-21-push", 1_000_000),
];

/// Frames of a device, each with its own values.
struct Stream {
    name: String,
    device: DeviceConfig,
    frames: Vec<Vec<u8>>,
    false_per_million: usize,
}

/// Different frames of each stream.
const POOL: usize = 400;

fn wall(second: usize) -> Timestamp {
    Timestamp::from_millis(1_795_186_265_000 + 1_000 * second as i64)
}

/// Every profile whose device sends frames, and the readout of a meter that has a check, with moving values.
fn streams() -> Vec<Stream> {
    let mut streams = Vec::new();
    for profile in profile::profiles(&[]) {
        if profile.source.text.contains("\n[file]\n") {
            continue;
        }
        let device = device(&format!("profile = \"{}\"", profile.name));
        let Ok(mut simulator) = Simulator::new(device.clone()) else { continue };
        if let Points::List(points) = &device.points {
            let moving =
                points.iter().filter(|point| point.map.is_empty() && format!("{:?}", point.kind) == "Number");
            for point in moving {
                simulator.set(&point.name, Motion::parse("noise").unwrap()).unwrap();
            }
        }
        let frames = (0..POOL).map(|second| simulator.frame(wall(second)).unwrap()).collect();
        let weak = WEAK.iter().find(|(name, _)| *name == profile.name);
        let false_per_million = weak.map_or(0, |(_, per_million)| *per_million);
        streams.push(Stream { name: profile.name.clone(), device, frames, false_per_million });
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/iec62056-21/landisgyr-e350-readout.bin");
    let readout = std::fs::read(path).unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    let frames = (0..POOL).map(|_| block(&readout, &mut rng)).collect();
    streams.push(Stream {
        name: "iec62056-21, mode C (BCC)".to_owned(),
        device: device("decode = \"iec62056-21\"\npoints = \"*\""),
        frames,
        false_per_million: 5_000,
    });
    streams
}

/// A readout with other digits in its brackets, and the BCC that it then has.
fn block(readout: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    let start = readout.iter().position(|byte| *byte == 2).unwrap();
    let end = readout.iter().rposition(|byte| *byte == 3).unwrap();
    let mut block = readout[start..=end].to_vec();
    let mut is_within = false;
    for byte in &mut block {
        match byte {
            b'(' => is_within = true,
            b')' | b'*' => is_within = false,
            b'0'..=b'9' if is_within => *byte = rng.u8(b'0'..=b'9'),
            _ => {}
        }
    }
    let bcc = block[1..].iter().fold(0, |bcc, byte| bcc ^ byte);
    block.push(bcc);
    block
}

/// Plays so many frames of a stream, one in a hundred damaged; what is read must be what one of the frames says.
fn play_stream(stream: &Stream, frames: usize, seed: u64) {
    let mut contents = HashSet::new();
    let mut values_of = HashSet::new();
    let mut each = Vec::new();
    for frame in &stream.frames {
        let mut count = 0;
        let mut trial = Trial::new(&stream.device);
        let mut take = |piece: Piece<'_>| {
            let Piece::Frame { bytes, values: Ok(values) } = piece else {
                panic!("{}: {piece:?}", stream.name)
            };
            contents.insert(bytes.to_vec());
            values_of.insert(format!("{values:?}"));
            count += 1;
        };
        trial.push(Mono::ZERO, frame, &mut take);
        trial.finish(&mut take);
        assert!(count > 0, "{}", stream.name);
        each.push(count);
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut trial = Trial::new(&stream.device);
    let (mut damaged, mut wrong, mut good, mut whole) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut example = String::new();
    for _ in 0..frames {
        let place = rng.usize(..stream.frames.len());
        let frame = &stream.frames[place];
        let bytes = if rng.u8(..100) == 0 {
            damaged += 1;
            damage(frame, &mut rng)
        } else {
            whole += each[place];
            frame.clone()
        };
        for piece in bytes.chunks(rng.usize(1..400)) {
            trial.push(Mono::ZERO, piece, |piece| {
                let Piece::Frame { bytes, values: Ok(values) } = piece else { return };
                if contents.contains(bytes) || values.is_empty() || values_of.contains(&format!("{values:?}"))
                {
                    good += 1;
                } else {
                    wrong += 1;
                    example = String::from_utf8_lossy(bytes).chars().take(300).collect();
                }
            });
        }
    }
    println!("{}: {good} read, {damaged} damaged, {wrong} false", stream.name);
    assert!(damaged > frames / 200, "{}", stream.name);
    // Some damage costs the frame beside it, that without its line end for one.
    assert!(good + 2 * damaged + 2 >= whole, "{}: {good} of {whole} whole ones read", stream.name);
    let allowed = stream.false_per_million * damaged / 1_000_000 + usize::from(stream.false_per_million > 0);
    assert!(wrong <= allowed, "{}: {wrong} false frames, seed {seed}: {example:?}", stream.name);
}

/// Answers of a Modbus slave, one in a hundred damaged, as the master looks for them.
fn play_modbus(answers: usize, seed: u64) {
    let config = device("profile = \"eastron-sdm120\"");
    let mut rng = fastrand::Rng::with_seed(seed);
    let slave = Slave::new(&config, Duration::from_secs(1)).unwrap();
    let mut asked = Asked::slave(slave, Transport::Rtu, Faults::default(), seed);
    let (mut damaged, mut wrong, mut good) = (0_usize, 0_usize, 0_usize);
    for number in 0..answers {
        let (address, count) = [(0, 2), (6, 2), (12, 26), (70, 2), (0, 72), (72, 4)][number % 6];
        let request = Request::Read { function: ReadFunction::InputRegisters, address, count };
        let sent = rtu::frame(1, &request.encode().unwrap());
        let mono = Mono::from_nanos(number as u64 * 1_000_000_000);
        asked.push(Now { mono, ..Now::default() }, 0, &sent).unwrap();
        let (_, answer) = asked.poll(mono).unwrap();
        let is_whole = rng.u8(..100) != 0;
        let bytes = if is_whole {
            answer.clone()
        } else {
            damaged += 1;
            damage(&answer, &mut rng)
        };
        match rtu::search(&request, 1, &sent, false, &bytes) {
            Search::Found { answer: Answer::Values(values), .. } if answer[3..answer.len() - 2] == values => {
                good += 1
            }
            Search::Found { .. } => wrong += 1,
            Search::Nothing => assert!(!is_whole, "a whole answer is found"),
        }
    }
    println!("modbus rtu (CRC of 16 bits): {good} read, {damaged} damaged, {wrong} false");
    assert!(damaged > answers / 200 && good >= answers - damaged);
    assert_eq!(wrong, 0, "seed {seed}");
}

#[test]
fn no_profile_reads_what_was_not_sent() {
    let streams = streams();
    assert!(streams.len() >= 18, "{}", streams.len());
    for (seed, stream) in streams.iter().enumerate() {
        play_stream(stream, 10_000, seed as u64 + 1);
    }
    play_modbus(10_000, 1);
}

#[test]
#[ignore = "a million frames of each profile: tests/heavy/run runs it"]
fn of_a_million_frames_no_profile_reads_what_was_not_sent() {
    // A part of the names, for one alone.
    let wanted = std::env::var("FIELDGATE_STREAM").unwrap_or_default();
    for (seed, stream) in streams().iter().enumerate() {
        if stream.name.contains(&wanted) {
            play_stream(stream, 1_000_000, seed as u64 + 101);
        }
    }
    if "modbus".contains(&wanted) {
        play_modbus(1_000_000, 101);
    }
}
