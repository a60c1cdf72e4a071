//! What the protocol codecs cost, and what damage does to them. Run with:
//!
//! ```text
//! cargo bench --bench codecs                 throughput, and 100,000 frames with damage, each protocol
//! cargo bench --bench codecs -- 1000000      the same with so many frames
//! ```
//! Throughput is that of one core from bytes to values by name (`points = "*"`), in pieces of 256 bytes as a serial line
//! hands them out. Damage: one frame in a hundred is changed (a bit, a byte, bytes left out, put in or cut off), or each
//! byte with a probability of one in a hundred. A false reading is one with a value that no good frame has.
#![allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use fieldgate::sensor::{CodecKind, DecodeConfig, DeviceConfig, FramingConfig, Piece, Points, Trial};
use fieldgate::time::Mono;

/// Bytes that are decoded for the throughput.
const THROUGHPUT_BYTES: usize = 32 * 1024 * 1024;

fn main() {
    let wanted = std::env::args().skip(1).find_map(|word| word.parse::<usize>().ok());
    let count = wanted.unwrap_or(100_000);
    println!(
        "{:12} {:>9} {:>11}   of {count} frames with 1 % of them / of their bytes damaged",
        "codec", "MB/s", "frames/s"
    );
    println!("{:38}   read, false / read, false", "");
    for (kind, frames) in streams() {
        let good = readings_of(kind, &frames);
        let (megabytes, per_second) = throughput(kind, &frames);
        let (read, wrong) = damaged(kind, &frames, &good, count, |frame, rng| {
            if rng.u8(..100) == 0 {
                damage(frame, rng);
            }
        });
        let (bytes_read, bytes_wrong) = damaged(kind, &frames, &good, count, |frame, rng| {
            for byte in frame {
                if rng.u8(..100) == 0 {
                    *byte = rng.u8(..);
                }
            }
        });
        println!(
            "{:12} {megabytes:9.1} {per_second:11.0}   {read}, {wrong} / {bytes_read}, {bytes_wrong}",
            kind.word()
        );
    }
}

fn capture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

/// Good frames of each codec, as they stand on the wire.
fn streams() -> Vec<(CodecKind, Vec<Vec<u8>>)> {
    let nmea = capture("nmea/moving-vehicle.nmea");
    let sentences = nmea.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let dsmr =
        ["v4_2", "v5", "v5-two-mbus", "be-fluvius"].map(|stem| capture(&format!("dsmr/{stem}.telegram")));
    let mbus = ["abb_f95", "allmess_cf50", "electricity-meter-1", "elv_temp_humid", "kamstrup_multical_601"];
    vec![
        (CodecKind::Nmea { bare: false }, sentences),
        (CodecKind::Dsmr, dsmr.to_vec()),
        (CodecKind::Sml, frames_of(CodecKind::Sml, &capture("sml/ISKRA_MT175_eHZ.bin"))),
        (CodecKind::VeDirect, frames_of(CodecKind::VeDirect, &capture("vedirect/bmv702.bin"))),
        (CodecKind::Iec62056, vec![capture("iec62056-21/landisgyr-e350-readout.bin")]),
        (CodecKind::Mbus, mbus.map(|stem| capture(&format!("mbus/{stem}.bin"))).to_vec()),
    ]
}

/// Cuts a capture into its frames. SML's are handed out without their transport, which is put around them again.
fn frames_of(kind: CodecKind, bytes: &[u8]) -> Vec<Vec<u8>> {
    if kind == CodecKind::Sml {
        let start = [0x1b, 0x1b, 0x1b, 0x1b, 1, 1, 1, 1];
        let starts: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(&start)).collect();
        return starts.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect();
    }
    let mut frames = Vec::new();
    trial(kind).push(Mono::ZERO, bytes, |piece| {
        if let Piece::Frame { bytes, values: Ok(_) } = piece {
            frames.push(bytes.to_vec());
        }
    });
    frames
}

fn trial(kind: CodecKind) -> Trial {
    Trial::new(&DeviceConfig {
        name: "bench".into(),
        port: "bench".into(),
        framing: FramingConfig::Codec(kind),
        check: None,
        decode: DecodeConfig::Codec(kind),
        points: Points::All,
        stale_after: Duration::from_secs(60),
        poll: None,
        commands: Vec::new(),
    })
}

/// The values of each frame, as text.
fn readings_of(kind: CodecKind, frames: &[Vec<u8>]) -> HashSet<String> {
    let mut trial = trial(kind);
    let mut good = HashSet::new();
    // Twice, since a codec may want to see the end of a frame before the first.
    for frame in frames.iter().chain(frames) {
        trial.push(Mono::ZERO, frame, |piece| {
            if let Piece::Frame { values: Ok(samples), .. } = piece {
                good.insert(format!("{samples:?}"));
            }
        });
    }
    good
}

fn throughput(kind: CodecKind, frames: &[Vec<u8>]) -> (f64, f64) {
    let stream: Vec<u8> = frames.iter().cycle().flatten().take(1024 * 1024).copied().collect();
    let mut trial = trial(kind);
    let (mut read, mut bytes) = (0_u64, 0);
    let start = Instant::now();
    while bytes < THROUGHPUT_BYTES {
        for piece in stream.chunks(256) {
            trial.push(Mono::ZERO, piece, |piece| read += u64::from(matches!(piece, Piece::Frame { .. })));
        }
        bytes += stream.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    (bytes as f64 / 1e6 / seconds, read as f64 / seconds)
}

/// Readings of a damaged stream, and the false ones among them.
fn damaged(
    kind: CodecKind,
    frames: &[Vec<u8>],
    good: &HashSet<String>,
    count: usize,
    change: impl Fn(&mut Vec<u8>, &mut fastrand::Rng),
) -> (usize, usize) {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut trial = trial(kind);
    let (mut read, mut wrong) = (0, 0);
    for frame in frames.iter().cycle().take(count) {
        let mut frame = frame.clone();
        change(&mut frame, &mut rng);
        trial.push(Mono::ZERO, &frame, |piece| {
            if let Piece::Frame { values: Ok(samples), .. } = piece {
                read += 1;
                wrong += usize::from(!good.contains(&format!("{samples:?}")));
            }
        });
    }
    (read, wrong)
}

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
