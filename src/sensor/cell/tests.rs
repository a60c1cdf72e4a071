//! Cells: every type, order and bound, and that writing is the inverse of reading.

use proptest::prelude::*;

use super::*;

fn cell(kind: &str, endian: Endian, word_order: WordOrder) -> Cell {
    Cell { endian, word_order, ..Cell::of(CellType::named(kind).unwrap()) }
}

fn shown(raw: &Raw<'_>) -> String {
    match raw {
        Raw::Decimal(number) => number.to_string(),
        Raw::Float(number) => number.to_string(),
        Raw::Bool(flag) => flag.to_string(),
        Raw::String(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn each_type_reads_in_every_order_of_bytes_and_words() {
    use Endian::{Big, Little};
    use WordOrder::{HighFirst, LowFirst};
    let check = |kind: &str, endian, word_order, bytes: &[u8], expected: &str| {
        let cell = cell(kind, endian, word_order);
        assert_eq!(shown(&cell.decode(bytes)), expected, "{kind} {endian:?} {word_order:?} {bytes:02x?}");
    };
    check("u8", Big, HighFirst, &[0xff], "255");
    check("i8", Big, HighFirst, &[0xff], "-1");
    check("u16", Big, HighFirst, &[0x12, 0x34], "4660");
    check("u16", Little, LowFirst, &[0x34, 0x12], "4660");
    check("i16", Big, HighFirst, &[0x80, 0x00], "-32768");
    check("u24", Big, HighFirst, &[1, 2, 3], "66051");
    check("u24", Little, LowFirst, &[3, 2, 1], "66051");
    check("i24", Big, HighFirst, &[0xff, 0xff, 0xfe], "-2");
    check("u32", Big, HighFirst, &[0xaa, 0xbb, 0xcc, 0xdd], "2864434397");
    check("u32", Big, LowFirst, &[0xcc, 0xdd, 0xaa, 0xbb], "2864434397");
    check("u32", Little, HighFirst, &[0xbb, 0xaa, 0xdd, 0xcc], "2864434397");
    check("u32", Little, LowFirst, &[0xdd, 0xcc, 0xbb, 0xaa], "2864434397");
    check("i32", Big, HighFirst, &[0xff, 0xff, 0xff, 0xff], "-1");
    check("u64", Big, HighFirst, &[0xff; 8], "18446744073709551615");
    check("i64", Big, LowFirst, &[0, 5, 0, 0, 0, 0, 0x80, 0], "-9223372036854775803");
    check("f32", Big, HighFirst, &[0x43, 0x66, 0x33, 0x33], "230.2");
    check("f32", Big, LowFirst, &[0x33, 0x33, 0x43, 0x66], "230.2");
    check("f32", Big, HighFirst, &[0x7f, 0xc0, 0, 0], "NaN");
    check("f64", Big, HighFirst, &[0x3f, 0xb9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a], "0.1");
    check("bool", Big, HighFirst, &[0], "false");
    check("bool", Big, HighFirst, &[4], "true");
    check("u16", Big, HighFirst, &[1], "Missing");
}

#[test]
fn digits_bits_and_texts_have_the_bytes_that_they_are_told() {
    let bcd = |bytes: usize, data: &[u8]| shown(&Cell { bytes, ..Cell::of(CellType::Bcd) }.decode(data));
    assert_eq!(bcd(3, &[0x12, 0x34, 0x56]), "123456");
    assert_eq!(bcd(2, &[0xff, 0xff]), "Null");
    assert_eq!(bcd(14, &[0x99; 14]), "9".repeat(28));
    let text = |data: &[u8]| shown(&Cell { bytes: data.len(), ..Cell::of(CellType::String) }.decode(data));
    assert_eq!(text(b"AB \0\0"), "AB");
    assert_eq!(text(b"   "), "Missing");
    assert_eq!(text(b"\xff"), "Null");
    let bit = |bit: u8, data: &[u8]| {
        shown(&Cell { bit, bytes: data.len(), ..Cell::of(CellType::Bit) }.decode(data))
    };
    assert_eq!((bit(0, &[1]), bit(7, &[1]), bit(7, &[0x80])), ("true".into(), "false".into(), "true".into()));
    assert_eq!((bit(15, &[0x80, 0]), bit(8, &[0x80, 0])), ("true".into(), "false".into()));
    let masked = Cell { mask: Some(0x0ff0), shift: 4, ..Cell::of(CellType::U16) };
    assert_eq!(shown(&masked.decode(&[0x1a, 0xb2])), "171");
}

#[test]
fn a_value_that_does_not_fit_is_refused_in_words() {
    let check = |kind: CellType, bytes: usize, value: Raw<'_>, expected: &str| {
        let cell = Cell { bytes, ..Cell::of(kind) };
        assert_eq!(cell.encode(&value).unwrap_err().to_string(), expected);
    };
    let number = |text: &str| Raw::Decimal(text.parse().unwrap());
    check(CellType::U8, 1, number("256"), "256 in the device's steps is not between 0 and 255");
    check(CellType::I16, 2, number("-32769"), "-32769 in the device's steps is not between -32768 and 32767");
    check(CellType::U16, 2, number("1.5"), "1.5 is not whole in the device's steps");
    check(
        CellType::U64,
        8,
        number("-1"),
        "-1 in the device's steps is not between 0 and 18446744073709551615",
    );
    check(CellType::Bcd, 1, number("100"), "100 in the device's steps is not between 0 and 99");
    check(CellType::Bcd, 1, number("-1"), "-1 in the device's steps is not between 0 and 99");
    check(CellType::U16, 2, Raw::Bool(true), "the value isn't of the point's type");
    check(CellType::String, 2, Raw::String("abc".into()), "the text has 3 bytes, the device takes 2");
    check(CellType::Bit, 2, Raw::Bool(true), "it is a part of a word, which can't be written alone");
    let wide = Cell::of(CellType::F32).encode(&Raw::Float(1e300));
    assert!(matches!(wide, Err(EncodeError::OutOfRange { .. })), "{wide:?}");
}

#[test]
fn a_part_of_a_word_is_written_and_the_rest_of_it_stays() {
    let number = |number: u32| Raw::Decimal(number.into());
    let bit = Cell { bit: 9, bytes: 2, ..Cell::of(CellType::Bit) };
    assert_eq!(bit.encode_into(&[0x01, 0xff], &Raw::Bool(true)), Ok(vec![0x03, 0xff]));
    assert_eq!(bit.encode_into(&[0xff, 0xff], &Raw::Bool(false)), Ok(vec![0xfd, 0xff]));
    let masked = Cell { mask: Some(0x0ff0), shift: 4, ..Cell::of(CellType::U16) };
    assert_eq!(masked.encode_into(&[0xa0, 0x0b], &number(0xcd)), Ok(vec![0xac, 0xdb]));
    let words = masked.encode_into(&[0, 0], &number(0x100)).unwrap_err().to_string();
    assert_eq!(words, "256 in the device's steps is not between 0 and 255");
    let shifted = Cell { shift: 12, word_order: WordOrder::LowFirst, ..Cell::of(CellType::U32) };
    assert_eq!(shifted.encode_into(&[0x0a, 0xbc, 0, 0], &number(5)), Ok(vec![0x5a, 0xbc, 0, 0]));
    assert_eq!(bit.encode_into(&[0, 0], &number(1)), Err(EncodeError::NotThisType));
    let whole = Cell::of(CellType::U16);
    assert_eq!(whole.encode_into(&[0xff, 0xff], &number(258)), Ok(vec![1, 2]));
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(number in any::<i64>(), kind in 0..TYPES.len(), little: bool, low: bool) {
        let (kind, _, bytes) = TYPES[kind];
        let bytes = bytes.unwrap_or(if kind == CellType::Bool { 2 } else { 10 });
        let endian = if little { Endian::Little } else { Endian::Big };
        let word_order = match (bytes % 2 == 1, little) {
            (true, true) => WordOrder::LowFirst,
            (true, false) => WordOrder::HighFirst,
            _ if low => WordOrder::LowFirst,
            _ => WordOrder::HighFirst,
        };
        let cell = Cell { bytes, endian, word_order, ..Cell::of(kind) };
        let value = match kind {
            CellType::Bit => return Ok(()),
            CellType::Bool => Raw::Bool(number & 1 == 1),
            CellType::String => Raw::String(format!("x{}", number % 1_000_000).into()),
            CellType::F32 => Raw::Float(f64::from(i32::try_from(number % 16_777_216).unwrap())),
            CellType::F64 => Raw::Float(f64::from(i32::try_from(number >> 32).unwrap()) / 7.0),
            CellType::Bcd => Raw::Decimal(number.unsigned_abs().into()),
            _ if kind.is_unsigned() => {
                let bits = u32::try_from(bytes * 8).unwrap();
                Raw::Decimal((number.cast_unsigned() >> (64 - bits)).into())
            }
            _ => Raw::Decimal((number >> (64 - u32::try_from(bytes * 8).unwrap())).into()),
        };
        prop_assert_eq!(cell.decode(&cell.encode(&value).unwrap()), value);
    }
}
