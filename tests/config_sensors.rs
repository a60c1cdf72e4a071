//! Frames, checks, cells and profiles: what the config says, as the sensor gets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use fieldgate::config::{Config, Facts, Source, parse, render};
use fieldgate::reading::Value;
use fieldgate::sensor::{
    Cell, CellType, CheckConfig, CheckKind, DeviceConfig, Endian, FramingConfig, PacketLength, Parity,
    PointConfig, PointType, Points, RawValue, WordOrder,
};

fn good(text: &str) -> Config {
    let source = Source { file: "f".into(), text: text.into() };
    parse(&[source], &Facts { default_id: "gw".into(), ..Facts::default() })
        .unwrap_or_else(|m| panic!("{text}\n{}", render(&m)))
}

fn device(lines: &str) -> DeviceConfig {
    let text = format!(
        "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\nport = \"p\"\n{lines}\n"
    );
    good(&text).devices.remove(0)
}

fn points(lines: &str) -> Vec<PointConfig> {
    match device(lines).points {
        Points::List(points) => points,
        Points::All => panic!("expected a list"),
    }
}

#[test]
fn each_framing_is_read_with_its_defaults() {
    let check = |framing: &str, expected: FramingConfig| {
        let read = device(&format!("decode = \"json\"\npoints = \"*\"\nframing = {framing}")).framing;
        assert_eq!(read, expected, "{framing}");
    };
    check(
        "{ kind = \"packet\", sync = \"42 4d\", length = 32 }",
        FramingConfig::Packet {
            sync: vec![0x42, 0x4d],
            length: PacketLength::Fixed(32),
            end: vec![],
            bytes_max: 1024,
        },
    );
    check(
        "{ kind = \"packet\", sync = \"AAC0\", length = { at = 2, type = \"u16\", endian = \"little\", add = -4 }, \
         end = \"0d0a\", max = \"64 B\" }",
        FramingConfig::Packet {
            sync: vec![0xaa, 0xc0],
            length: PacketLength::Field { at: 2, bytes: 2, endian: Endian::Little, add: -4 },
            end: vec![13, 10],
            bytes_max: 64,
        },
    );
    check(
        "{ kind = \"packet\", sync = \"aa\", length = { at = 1 } }",
        FramingConfig::Packet {
            sync: vec![0xaa],
            length: PacketLength::Field { at: 1, bytes: 1, endian: Endian::Big, add: 0 },
            end: vec![],
            bytes_max: 1024,
        },
    );
    check("\"gap\"", FramingConfig::Gap { idle: Duration::from_millis(50), bytes_max: 4096 });
    check(
        "{ kind = \"telegram\", start = \"\\u0002\", end = \"\\u0003\", tail = 1 }",
        FramingConfig::Telegram { start: vec![2], end: vec![3], tail: 1, bytes_max: 8192 },
    );
    let stuffed =
        |length| FramingConfig::Stuffed { flag: 0x7e, escape: 0x7d, xor: 0x20, length, bytes_max: 1024 };
    check("\"stuffed\"", stuffed(None));
    check("{ kind = \"stuffed\", length = 45 }", stuffed(Some(45)));
}

#[test]
fn each_check_stands_where_it_usually_does_unless_told() {
    let check = |text: &str, expected: Option<CheckConfig>| {
        let read = device(&format!("decode = \"json\"\npoints = \"*\"\ncheck = {text}")).check;
        assert_eq!(read, expected, "{text}");
    };
    let of = |kind, from, to, at, order, hex| Some(CheckConfig { kind, from, to, at, order, hex });
    check("\"none\"", None);
    check("{ kind = \"none\" }", None);
    check("\"sum8\"", of(CheckKind::Sum8, 0, None, -1, Endian::Big, false));
    check("\"sum16\"", of(CheckKind::Sum16, 0, None, -2, Endian::Big, false));
    check("\"bcc\"", of(CheckKind::Bcc, 1, None, -1, Endian::Big, false));
    check("\"crc16-modbus\"", of(CheckKind::Crc16Modbus, 0, None, -2, Endian::Little, false));
    check("{ kind = \"crc16-arc\", hex = true }", of(CheckKind::Crc16Arc, 0, None, -4, Endian::Big, true));
    check(
        "{ kind = \"crc16-x25\", over = [1, -3], at = -3, order = \"big\" }",
        of(CheckKind::Crc16X25, 1, Some(-3), -3, Endian::Big, false),
    );
    check(
        "{ kind = \"sum8-neg\", over = [1, 8], at = 8 }",
        of(CheckKind::Sum8Neg, 1, Some(8), 8, Endian::Big, false),
    );
}

#[test]
fn cells_take_the_order_of_their_decoder_unless_they_have_their_own() {
    let cell = |endian: &str, keys: &str| {
        let lines = format!(
            "decode = {{ kind = \"binary\", endian = \"{endian}\" }}\npoints = [{{ name = \"a\", at = 1, {keys} }}]"
        );
        let point = points(&lines).remove(0);
        (point.cell.unwrap(), point.kind)
    };
    use Endian::{Big, Little};
    use WordOrder::{HighFirst, LowFirst};
    let check = |endian: &str, keys: &str, expected: Cell, kind: PointType| {
        assert_eq!(cell(endian, keys), (expected, kind), "{endian} {keys}");
    };
    let of = |kind: CellType, endian, word_order| Cell { endian, word_order, ..Cell::of(kind) };
    check("big", "type = \"u16\"", of(CellType::U16, Big, HighFirst), PointType::Number);
    check("little", "type = \"u16\"", of(CellType::U16, Little, LowFirst), PointType::Number);
    check("little", "type = \"f32\"", of(CellType::F32, Little, LowFirst), PointType::Number);
    check("little", "type = \"f32\", endian = \"big\"", of(CellType::F32, Big, HighFirst), PointType::Number);
    let low = "type = \"u32\", word_order = \"low-word-first\"";
    check("big", low, of(CellType::U32, Big, LowFirst), PointType::Number);
    let high = "type = \"u32\", word_order = \"high-word-first\"";
    check("little", high, of(CellType::U32, Little, HighFirst), PointType::Number);
    check("big", "type = \"u64\"", of(CellType::U64, Big, HighFirst), PointType::Integer);
    check("big", "type = \"u64\", scale = 0.1", of(CellType::U64, Big, HighFirst), PointType::Number);
    let bits = Cell { mask: Some(0xf0), shift: 4, ..Cell::of(CellType::U8) };
    check("big", "type = \"u8\", mask = 0xf0, shift = 4", bits, PointType::Number);
    check("big", "type = \"bit\", bit = 7", Cell { bit: 7, ..Cell::of(CellType::Bit) }, PointType::Bool);
    check("big", "type = \"bool\"", Cell::of(CellType::Bool), PointType::Bool);
    check(
        "big",
        "type = \"bcd\", length = 3",
        Cell { bytes: 3, ..Cell::of(CellType::Bcd) },
        PointType::Number,
    );
    check(
        "big",
        "type = \"string\", length = 9",
        Cell { bytes: 9, ..Cell::of(CellType::String) },
        PointType::Text,
    );
}

#[test]
fn a_point_takes_maps_invalid_values_digits_and_a_pace() {
    let lines = "decode = \"json\"\npoints = [\
        { name = \"a\", map = { ST = true, US = false }, invalid = [0x7fff, -127, \"ERR\", true] },\
        { name = \"b\", map = { 0 = \"off\", \"1.5\" = \"on\" } },\
        { name = \"c\", precision = 0, every = \"1min\", unit = { other = \"fathom\" } },\
        { name = \"d\", map = { x = 1, y = 2.5 }, unit = \"kg\", min = 2 }]";
    let points = points(lines);
    let word = |text: &str| RawValue::Word(text.into());
    let number = |text: &str| RawValue::Number(text.parse().unwrap());
    assert_eq!(points[0].map, [(word("ST"), Value::Bool(true)), (word("US"), Value::Bool(false))]);
    assert_eq!(points[0].invalid, [number("32767"), number("-127"), word("ERR"), word("true")]);
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(points[1].map, [(number("0"), text("off")), (number("1.5"), text("on"))]);
    assert_eq!((points[2].precision, points[2].every), (Some(0), Some(Duration::from_secs(60))));
    assert_eq!(points[2].unit.as_deref(), Some("fathom"));
    assert_eq!(points[3].map, [(word("x"), Value::Number(1.0)), (word("y"), Value::Number(2.5))]);
    assert_eq!((points[0].precision, points[0].every), (None, None));
}

#[test]
fn a_profile_sets_the_port_where_the_config_does_not() {
    let port = |lines: &str| {
        let text = format!(
            "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n{lines}\n[[device]]\nname = \"d\"\nport = \"p\"\nprofile = \"scale-and\"\n"
        );
        good(&text).ports.remove(0)
    };
    let plain = port("");
    assert_eq!((plain.baud, plain.parity, plain.path.as_str()), (2400, Parity::Even, "/dev/p"));
    let own = port("baud = 9600");
    assert_eq!((own.baud, own.parity), (9600, Parity::Even));
}

#[test]
fn what_a_device_says_comes_before_its_profile() {
    let plain = device("profile = \"sds011\"");
    assert_eq!(plain.stale_after, Duration::from_secs(10));
    let own = device("profile = \"sds011\"\nstale_after = \"1min\"\ncheck = \"none\"");
    assert_eq!((own.stale_after, own.check), (Duration::from_secs(60), None));
    assert_eq!(own.framing, plain.framing);
    let all = device("profile = \"json-lines\"");
    assert!(matches!(all.points, Points::All));
    let listed = points("profile = \"json-lines\"\npoints = [{ name = \"t\", unit = \"Cel\" }]");
    assert_eq!(listed.len(), 1);
}
