//! Tests of the segment's bytes.
#![allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn record(no: u64, bytes: Vec<u8>) -> StoredRecord {
    StoredRecord { no: RecordNo(no), bytes: Bytes::from(bytes) }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| rng.u8(..)).collect()
}

fn json(no: u64) -> Vec<u8> {
    format!(
        r#"{{"time":"2026-11-20T14:51:05.{:03}Z","seq":"17-{no}","values":{{"temperature":21.5}}}}"#,
        no % 1000
    )
    .into_bytes()
}

/// Packs, checks the rules of the segments, and takes the records out again.
fn round_trip(records: &[StoredRecord]) -> (Vec<Packed>, Vec<StoredRecord>) {
    let at = Timestamp::from_millis(1_795_186_265_123);
    let packed: Vec<Packed> = Packer::new(records, 7, 100, at).collect();
    let mut out = Vec::new();
    let mut pieces: Vec<u8> = Vec::new();
    let mut before = 100;
    for (index, one) in packed.iter().enumerate() {
        assert!(one.stored.len() <= STORED_BYTES_MAX, "{} bytes", one.stored.len());
        assert_eq!(one.segment_no, 7 + index as u64, "dense");
        let segment = Segment::decode(&one.stored).unwrap();
        assert_eq!(segment.head.segment_no, one.segment_no);
        assert_eq!(segment.head.before, before);
        assert_eq!(segment.head.committed_at, at);
        assert_eq!(head(&one.stored).unwrap(), segment.head);
        before += u64::from(segment.head.count);
        match segment.records().unwrap() {
            Some(records) => out.extend(records),
            None => {
                pieces.extend_from_slice(&segment.body);
                if segment.head.chunk + 1 == segment.head.chunks {
                    out.push(record(segment.head.first.0, std::mem::take(&mut pieces)));
                }
            }
        }
    }
    assert_eq!(before, 100 + records.len() as u64);
    (packed, out)
}

#[test]
fn records_come_back_as_they_went_in() {
    let cases: Vec<Vec<StoredRecord>> = vec![
        vec![],
        vec![record(1, vec![])],
        vec![record(u64::MAX, vec![1])],
        (1..1000).map(|no| record(no, json(no))).collect(),
        (1..1000).map(|no| record(no * 3, noise(no, 100))).collect(),
        vec![record(5, noise(1, 256 * 1024 + 17)), record(9, json(9)), record(10, vec![7; 300_000])],
        vec![
            record(1, noise(1, CHUNK_BYTES)),
            record(2, noise(2, CHUNK_BYTES + 1)),
            record(3, noise(3, 2 * CHUNK_BYTES)),
        ],
        (1..20).map(|no| record(no, noise(no, (no * 997) as usize))).collect(),
    ];
    for records in cases {
        let (_, out) = round_trip(&records);
        assert_eq!(out, records);
    }
}

#[test]
fn readings_shrink_and_hundreds_of_them_share_a_segment() {
    let records: Vec<StoredRecord> = (1..=1000).map(|no| record(no, json(no))).collect();
    let raw: usize = records.iter().map(|record| record.bytes.len()).sum();
    let (packed, _) = round_trip(&records);
    let stored: usize = packed.iter().map(|one| one.stored.len()).sum();
    assert!(stored * 4 < raw, "{raw} bytes became {stored}");
    assert!(packed.len() <= 5, "{} segments", packed.len());
}

#[test]
fn a_segment_of_noise_is_kept_as_it_is() {
    let (packed, _) = round_trip(&[record(1, noise(3, 5000))]);
    assert!(packed[0].stored.len() < 5000 + HEADER_BYTES + 10);
}

#[test]
fn every_flip_and_every_cut_is_noticed() {
    let records: Vec<StoredRecord> = (1..=40).map(|no| record(no, json(no))).collect();
    for packed in Packer::new(&records, 1, 0, Timestamp::default()) {
        let good = packed.stored;
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(Segment::decode(&bad).is_err(), "bit {bit} of byte {at}");
            }
            assert!(Segment::decode(&good[..at]).is_err(), "cut at {at}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert!(Segment::decode(&longer).is_err());
    }
}

#[test]
fn the_layout_is_this_one() {
    // The bytes of layout 1: a later release must still read them.
    let packed = Packer::new(
        &[record(300, b"ab".to_vec()), record(302, b"c".to_vec())],
        2,
        5,
        Timestamp::from_millis(6),
    )
    .next()
    .unwrap();
    let mut expected = vec![1, 0, 0, 0];
    let crc_at = expected.len();
    expected.extend([0; 4]);
    for number in [2_u64, 300, 302, 5, 6] {
        expected.extend(number.to_be_bytes());
    }
    for number in [2_u32, 0, 1, 7] {
        expected.extend(number.to_be_bytes());
    }
    expected.extend([0, 2, b'a', b'b', 2, 1, b'c']);
    let crc = crc32c(&[&expected[..4], &expected[8..]]);
    expected[crc_at..8].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(packed.stored, expected);
    assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283, "CRC-32C's check value");
}

#[test]
fn a_later_layout_is_told_from_damage() {
    let mut stored = Packer::new(&[record(1, vec![1])], 1, 0, Timestamp::default()).next().unwrap().stored;
    stored[0] = 2;
    let crc = crc32c(&[&stored[..4], &stored[8..]]);
    stored[4..8].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(Segment::decode(&stored), Err(SegmentError::UnknownVersion(2)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_records_come_back(sizes in prop::collection::vec((1_u64..50, 0_usize..20_000, any::<bool>()), 0..30)) {
        let mut no = 0;
        let records: Vec<StoredRecord> = sizes.iter().map(|(step, len, noisy)| {
            no += step;
            record(no, if *noisy { noise(no, *len) } else { vec![no as u8; *len] })
        }).collect();
        let (_, out) = round_trip(&records);
        prop_assert_eq!(out, records);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), seal in any::<bool>()) {
        // With a right checksum, the rest of the checks are reached.
        if seal && bytes.len() > 8 {
            bytes[0] = 1;
            bytes[1] &= 1;
            let crc = crc32c(&[&bytes[..4], &bytes[8..]]);
            bytes[4..8].copy_from_slice(&crc.to_be_bytes());
        }
        if let Ok(segment) = Segment::decode(&bytes) {
            let _ = segment.records();
        }
    }

    #[test]
    fn any_changed_byte_is_noticed(at in 0_usize..5000, with in 1_u8..) {
        let records: Vec<StoredRecord> = (1..=50).map(|no| record(no, noise(no, 90))).collect();
        let mut stored = Packer::new(&records, 1, 0, Timestamp::default()).next().unwrap().stored;
        let at = at % stored.len();
        stored[at] ^= with;
        prop_assert!(Segment::decode(&stored).is_err());
    }
}
