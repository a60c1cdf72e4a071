//! Scripts: inputs at invented times, outputs as words.

use super::*;
use crate::reading::{Quality, Seq, Value};
use crate::sensor::config::{
    DataBits, DecodeConfig, FlowControl, FramingConfig, LineEnd, Parity, PointConfig, Points, PortKind,
    StopBits,
};
use crate::time::ClockTrust;

/// 2026-11-20T14:51:05Z at zero.
const WALL_MS: i64 = 1_795_186_265_000;
const BOOT: BootId = BootId([7; 16]);

fn at(ms: u64) -> Now {
    Now {
        mono: Mono::from_nanos(ms * 1_000_000),
        wall: Timestamp::from_millis(WALL_MS + i64::try_from(ms).unwrap()),
        trust: ClockTrust::Synced,
    }
}

fn port_config() -> PortConfig {
    PortConfig {
        name: "com1".into(),
        kind: PortKind::Serial,
        path: "/dev/ttyUSB0".into(),
        usb: None,
        baud: 9600,
        data_bits: DataBits::Eight,
        parity: Parity::None,
        stop_bits: StopBits::One,
        flow_control: FlowControl::None,
        dtr: None,
        rts: None,
        echo: false,
        gap: None,
        rs485: None,
    }
}

fn device(name: &str, decode: DecodeConfig, points: Points) -> DeviceConfig {
    DeviceConfig {
        name: name.into(),
        port: "com1".into(),
        framing: FramingConfig::Line { end: LineEnd::Any, bytes_max: 64 },
        check: None,
        decode,
        points,
        stale_after: Duration::from_secs(60),
        poll: None,
        commands: Vec::new(),
    }
}

fn list(names: &[&str]) -> Points {
    Points::List(names.iter().map(|name| PointConfig::named(name)).collect())
}

fn key_value() -> DecodeConfig {
    DecodeConfig::KeyValue { pair: '=', separator: None }
}

fn csv(columns: &[&str]) -> DecodeConfig {
    DecodeConfig::Csv { separator: ',', columns: columns.iter().map(|column| column.to_string()).collect() }
}

fn pattern(pattern: &str) -> DecodeConfig {
    DecodeConfig::Regex(crate::sensor::Pattern(regex::Regex::new(pattern).unwrap()))
}

fn port(devices: Vec<DeviceConfig>) -> Port {
    Port::new(port_config(), devices, Run(17), BOOT, 1, at(0))
}

/// One output as a word or two: `open`, `arduino 1 t=21.5 h=invalid`, `bad com1: …`.
fn word(output: Output) -> String {
    match output {
        Output::Open => "open".into(),
        Output::Reading(reading) => reading_words(&reading),
        Output::Notice(Notice::PortOpened) => "opened".into(),
        Output::Notice(Notice::PortDown { error }) => format!("down: {error}"),
        Output::Notice(Notice::PortLent { by }) => format!("lent to {by}"),
        Output::Notice(Notice::BadLines { source, error, sample }) => {
            format!("bad {source}: {error} [{sample}]")
        }
        Output::Notice(Notice::GoodAgain { source, bad }) => format!("good {source} after {bad}"),
        Output::Notice(Notice::DeviceStale { device }) => format!("stale {device}"),
        Output::Send(bytes) => format!("send {}", bytes.escape_ascii()),
        Output::Done { id, outcome } => format!("done {} {outcome:?}", id.0),
        Output::Notice(Notice::DeviceFresh { device }) => format!("fresh {device}"),
    }
}

fn reading_words(reading: &Reading) -> String {
    let mut words = format!("{} {}", reading.device, reading.seq.number);
    for sample in &reading.samples {
        let value = match &sample.value {
            None => String::new(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Integer(number)) => format!("{number}i"),
            Some(Value::Bool(state)) => state.to_string(),
            Some(Value::Text(word)) => format!("'{word}'"),
        };
        let quality = if sample.quality == Quality::Good { "" } else { sample.quality.as_str() };
        words.push_str(&format!(" {}={value}{quality}", sample.point));
    }
    words
}

/// Feeds an input and returns what came of it.
fn feed(port: &mut Port, ms: u64, input: Input<'_>) -> Vec<String> {
    port.handle(at(ms), input);
    drain(port)
}

fn drain(port: &mut Port) -> Vec<String> {
    std::iter::from_fn(|| port.poll_output()).map(word).collect()
}

/// A port that was opened at zero; its first line has passed.
fn open(devices: Vec<DeviceConfig>) -> Port {
    let mut port = port(devices);
    assert_eq!(drain(&mut port), ["open"]);
    assert_eq!(feed(&mut port, 0, Input::Opened), ["opened"]);
    assert_eq!(feed(&mut port, 0, Input::Bytes(b"\x01~\n")), [""; 0]);
    port
}

/// What the bytes after the first line come to.
fn read(device: DeviceConfig, bytes: &[u8]) -> Vec<String> {
    feed(&mut open(vec![device]), 1000, Input::Bytes(bytes))
}

#[test]
fn lines_become_readings_with_the_time_of_their_last_byte() {
    let mut port = open(vec![device("arduino", key_value(), list(&["t", "h"]))]);
    port.handle(at(1000), Input::Bytes(b"t=21.5 h=6"));
    assert_eq!(port.poll_output(), None);
    port.handle(at(1200), Input::Bytes(b"1\r"));
    let Some(Output::Reading(reading)) = port.poll_output() else { panic!() };
    assert_eq!(reading_words(&reading), "arduino 1 t=21.5 h=61");
    assert_eq!(reading.seq, Seq { run: Run(17), number: 1 });
    assert_eq!((reading.boot, reading.mono, reading.wall), (BOOT, at(1200).mono, at(1200).wall));
    assert_eq!(reading.trust, ClockTrust::Synced);
    assert_eq!(
        feed(&mut port, 1300, Input::Bytes(b"\nt=22 h=60\nt=23 h=59\n")),
        ["arduino 2 t=22 h=60", "arduino 3 t=23 h=59"]
    );
}

#[test]
fn each_format_gives_its_points() {
    let check = |decode: DecodeConfig, points: Points, line: &str, expected: &str| {
        let told = read(device("d", decode, points), format!("{line}\n").as_bytes());
        assert_eq!(told, [expected], "{line}");
    };
    check(DecodeConfig::Json, list(&["t", "h"]), r#"{"h":61,"t":21.5}"#, "d 1 t=21.5 h=61");
    check(DecodeConfig::Json, list(&["t", "h"]), r#"{"t":null}"#, "d 1 t=invalid h=invalid");
    check(DecodeConfig::Json, list(&["t"]), r#"{"t":{"x":1}}"#, "d 1 t=invalid");
    check(
        DecodeConfig::Json,
        Points::All,
        r#"{"t":21.5,"bme":{"ok":true},"s":"x"}"#,
        "d 1 t=21.5 bme_ok=true s='x'",
    );
    check(key_value(), list(&["t", "h"]), "h=nan t=1", "d 1 t=1 h=invalid");
    check(key_value(), list(&["t", "h"]), "h=nan t=nan", "d 1 t=invalid h=invalid");
    check(key_value(), Points::All, "t=21.5 state=ready h=nan", "d 1 t=21.5 state='ready' h=invalid");
    check(csv(&["t", "h"]), list(&["h", "t"]), "21.5,61", "d 1 h=61 t=21.5");
    check(csv(&[]), list(&["2"]), "21.5,61", "d 1 2=61");
    check(csv(&["t", "h"]), list(&["h", "t"]), "21.5", "d 1 h=invalid t=21.5");
    check(csv(&["t"]), Points::All, "21.5,,x", "d 1 t=21.5 3='x'");
    let scale = pattern(r"^(?<status>ST|OL),(?<weight>[+-]\s*[0-9.]+)?");
    check(scale.clone(), list(&["weight"]), "ST,+  0.123kg", "d 1 weight=0.123");
    check(scale.clone(), list(&["weight"]), "OL,", "d 1 weight=invalid");
    check(scale, Points::All, "OL,", "d 1 status='OL'");
}

#[test]
fn lines_that_are_no_reading_are_bad() {
    let check = |decode: DecodeConfig, points: Points, line: &[u8], expected: &str| {
        let mut port = open(vec![device("d", decode, points)]);
        assert_eq!(feed(&mut port, 1000, Input::Bytes(&[line, b"\n"].concat())), [expected]);
        let status = port.status(at(1000));
        assert_eq!((status.bad_lines, status.devices[0].bad_lines, status.devices[0].readings), (0, 1, 0));
        let error = expected.strip_prefix("bad d: ").unwrap().split(" [").next().unwrap();
        assert_eq!(status.devices[0].last_error.as_deref(), Some(error));
    };
    let t = || list(&["t"]);
    check(DecodeConfig::Json, t(), b"{\"h\":1}", "bad d: none of the device's points is in it [{\"h\":1}]");
    check(DecodeConfig::Json, Points::All, b"{}", "bad d: none of the device's points is in it [{}]");
    check(DecodeConfig::Json, t(), b"[1]", "bad d: JSON, but not an object [[1]]");
    check(key_value(), t(), b"h=1", "bad d: none of the device's points is in it [h=1]");
    check(key_value(), t(), b"x", "bad d: no key and value with \"=\" between them [x]");
    check(csv(&["t"]), t(), b"t", "bad d: none of the device's columns is a value [t]");
    check(csv(&["t", "h"]), list(&["h"]), b"1", "bad d: none of the device's points is in it [1]");
    check(pattern("^a(?<t>.)"), t(), b"b1", "bad d: the pattern doesn't match [b1]");
    check(
        key_value(),
        t(),
        b"t=1\xff",
        r"bad d: not text after 3 bytes (are baud rate and parity right?) [t=1\xff]",
    );
    check(key_value(), t(), b"t=1\x00 t=2", r"bad d: a NUL after 3 bytes [t=1\x00 t=2]");
    let long = [b"t=1 ".as_slice(), &[b'x'; 61]].concat();
    let told = format!("bad d: longer than 64 bytes (is the line end right?) [t=1 {}…]", "x".repeat(44));
    check(key_value(), t(), &long, &told);
}

#[test]
fn nuls_around_a_line_and_blank_lines_are_nothing() {
    let told = read(device("d", key_value(), list(&["t"])), b"\0\0t=1\0\r\n  \n\0\n\0 \0\nt=2\n");
    assert_eq!(told, ["d 1 t=1", "d 2 t=2"]);
}

#[test]
fn the_first_line_after_opening_is_dropped_in_silence_where_it_may_be_cut() {
    let check = |decode: DecodeConfig, points: Points, wait_ms: u64, line: &str, expected: &[&str]| {
        let mut port = port(vec![device("d", decode, points)]);
        drain(&mut port);
        feed(&mut port, 1000, Input::Opened);
        let told = feed(&mut port, 1000 + wait_ms, Input::Bytes(format!("{line}\n").as_bytes()));
        assert_eq!(told, expected, "{line} after {wait_ms} ms");
        assert_eq!(port.status(at(5000)).devices[0].bad_lines, 0);
        assert_eq!(feed(&mut port, 2000, Input::Bytes(b"\x01\n")).len(), 1, "the second is told");
    };
    let both = || list(&["t", "h"]);
    check(DecodeConfig::Json, both(), 0, r#"21.5,"h":61}"#, &[]);
    check(DecodeConfig::Json, both(), 500, r#"21.5,"h":61}"#, &[]);
    check(DecodeConfig::Json, both(), 0, r#"{"t":21.5}"#, &["d 1 t=21.5 h=invalid"]);
    check(key_value(), both(), 0, "1.5 h=61", &[]);
    check(key_value(), both(), 0, "t=21.5 h=61", &["d 1 t=21.5 h=61"]);
    check(key_value(), both(), 500, "h=61", &["d 1 t=invalid h=61"]);
    check(key_value(), Points::All, 0, "mp=21.5 h=61", &[]);
    check(csv(&["t", "h"]), both(), 0, "1.5,61", &[]);
    check(csv(&["t", "h"]), both(), 99, "1.5,61", &[]);
    check(csv(&["t", "h"]), both(), 100, "21.5,61", &["d 1 t=21.5 h=61"]);
    check(pattern("^(?<t>[0-9.]+),(?<h>.+)"), both(), 0, "21.5,61", &["d 1 t=21.5 h=61"]);
    check(pattern("(?<t>[0-9.]+)kg"), list(&["t"]), 0, "1.5kg", &[]);
    check(pattern("(?<t>[0-9.]+)kg"), list(&["t"]), 100, "21.5kg", &["d 1 t=21.5"]);
}

#[test]
fn an_overlong_first_line_is_bad_all_the_same() {
    let mut port = port(vec![device("d", key_value(), list(&["t"]))]);
    drain(&mut port);
    feed(&mut port, 0, Input::Opened);
    let told = feed(&mut port, 0, Input::Bytes(&[b'x'; 200]));
    assert_eq!(told, [format!("bad d: longer than 64 bytes (is the line end right?) [{}…]", "x".repeat(48))]);
    assert_eq!(feed(&mut port, 10, Input::Bytes(b"yy\nt=1\n")), ["d 1 t=1"]);
    assert_eq!(port.status(at(10)).devices[0].bad_lines, 1);
}

#[test]
fn a_port_is_opened_again_with_growing_waits_and_told_down_once() {
    let mut port = port(vec![device("d", key_value(), list(&["t"]))]);
    assert_eq!(drain(&mut port), ["open"]);
    assert_eq!((port.next_deadline(), port.status(at(0)).state), (None, PortState::Opening));
    let mut told = feed(&mut port, 0, Input::OpenFailed { error: "no such file" });
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(port.status(at(now)).state, PortState::Down);
        assert_eq!(port.status(at(now)).error.as_deref(), Some("no such file"));
        let due = port.next_deadline().unwrap();
        let wait = due.since(at(now).mono);
        waits.push(wait.as_secs_f64().round());
        let early = due.as_nanos() / 1_000_000 - 1;
        assert_eq!(feed(&mut port, early, Input::Tick), [""; 0], "too early");
        now += u64::try_from(wait.as_millis()).unwrap() + 1;
        told.extend(feed(&mut port, now, Input::Tick));
        assert_eq!(port.status(at(now)).state, PortState::Opening);
        told.extend(feed(&mut port, now, Input::OpenFailed { error: "no such file" }));
    }
    assert_eq!(told, ["down: no such file", "open", "open", "open", "open", "open", "open", "open", "open"]);
    assert!(waits[0] >= 1.0 && waits[3] > waits[0] && waits[7] > 20.0 && waits[7] <= 30.0, "{waits:?}");
    assert_eq!(port.status(at(now)).since, at(0).wall, "not open since the start");
    assert_eq!(feed(&mut port, now, Input::Tick), [""; 0]);
    now += 30_000;
    assert_eq!(feed(&mut port, now, Input::Tick), ["open"]);
    assert_eq!(feed(&mut port, now, Input::Opened), ["opened"]);
    let status = port.status(at(now + 5));
    assert_eq!(
        (status.state, status.since, status.error, status.lost),
        (PortState::Open, at(now).wall, None, 0)
    );
    // Lost after a minute: the waits begin anew.
    assert_eq!(feed(&mut port, now + 59_000, Input::Lost { error: "end of file" }), ["down: end of file"]);
    let wait = port.next_deadline().unwrap().since(at(now + 59_000).mono);
    assert!(wait < Duration::from_secs(2), "{wait:?}");
    let status = port.status(at(now + 59_500));
    assert_eq!((status.lost, status.since), (1, at(now + 59_000).wall));
}

#[test]
fn a_flapping_port_is_not_opened_ever_faster() {
    let mut port = port(vec![]);
    let mut now = 0;
    for _ in 0..6 {
        feed(&mut port, now, Input::Opened);
        feed(&mut port, now + 10, Input::Lost { error: "EIO" });
        now = port.next_deadline().unwrap().as_nanos() / 1_000_000 + 1;
        feed(&mut port, now, Input::Tick);
    }
    feed(&mut port, now, Input::Opened);
    feed(&mut port, now + 10, Input::Lost { error: "EIO" });
    assert!(port.next_deadline().unwrap().since(at(now).mono) > Duration::from_secs(20));
    assert_eq!(port.status(at(now + 10)).lost, 7);
}

#[test]
fn what_does_not_fit_the_state_is_ignored() {
    let mut port = port(vec![device("d", key_value(), list(&["t"]))]);
    drain(&mut port);
    assert_eq!(feed(&mut port, 0, Input::Bytes(b"t=1\n")), [""; 0]);
    assert_eq!(feed(&mut port, 0, Input::Tick), [""; 0]);
    assert_eq!(feed(&mut port, 0, Input::Lost { error: "x" }), ["down: x"]);
    assert_eq!(feed(&mut port, 1, Input::Opened), [""; 0]);
    assert_eq!(feed(&mut port, 1, Input::OpenFailed { error: "y" }), [""; 0]);
    let status = port.status(at(1));
    assert_eq!((status.bytes, status.lost, status.error.as_deref()), (0, 0, Some("x")));
}

#[test]
fn a_device_is_stale_without_good_lines_and_when_its_port_is_down() {
    let mut port = open(vec![device("d", key_value(), list(&["t"]))]);
    let stale = |port: &Port, ms: u64| port.status(at(ms)).devices[0].stale;
    assert!(stale(&port, 0), "before its first reading");
    assert_eq!(feed(&mut port, 1000, Input::Bytes(b"t=1\n")), ["d 1 t=1"], "the first is not told as fresh");
    assert!(!stale(&port, 1000));
    assert_eq!(port.next_deadline(), Some(at(61_000).mono));
    assert_eq!(feed(&mut port, 30_000, Input::Bytes(b"x\n")).len(), 1, "a bad line keeps nothing fresh");
    assert!(!stale(&port, 60_999));
    assert!(stale(&port, 61_000), "also before the tick");
    assert_eq!(feed(&mut port, 61_000, Input::Tick), ["stale d"]);
    assert_eq!((port.next_deadline(), feed(&mut port, 62_000, Input::Tick)), (None, vec![]));
    assert_eq!(feed(&mut port, 63_000, Input::Bytes(b"t=2\n")), ["good d after 1", "fresh d", "d 2 t=2"]);
    assert_eq!(feed(&mut port, 64_000, Input::Lost { error: "EIO" }), ["down: EIO", "stale d"]);
    assert!(stale(&port, 64_000));
    assert_eq!(feed(&mut port, 100_000, Input::Tick), ["open"]);
    assert_eq!(feed(&mut port, 100_000, Input::Opened), ["opened"]);
    assert!(stale(&port, 100_000));
    assert_eq!(port.next_deadline(), None, "it is told already");
    assert_eq!(feed(&mut port, 100_500, Input::Bytes(b"t=3\n")), ["fresh d", "d 3 t=3"]);
    assert_eq!(feed(&mut port, 300_000, Input::Bytes(b"t=4\n")), ["stale d", "fresh d", "d 4 t=4"]);
}

#[test]
fn a_device_that_never_sends_is_told_once() {
    let mut port = port(vec![device("d", key_value(), list(&["t"]))]);
    drain(&mut port);
    assert_eq!(port.next_deadline(), None, "the port is not open");
    feed(&mut port, 100_000, Input::OpenFailed { error: "x" });
    assert_eq!(feed(&mut port, 110_000, Input::Tick), ["open"]);
    assert_eq!(feed(&mut port, 110_000, Input::Opened), ["opened"]);
    assert_eq!(port.next_deadline(), Some(at(170_000).mono));
    assert_eq!(feed(&mut port, 170_000, Input::Tick), ["stale d"]);
    assert_eq!(feed(&mut port, 300_000, Input::Tick), [""; 0]);
    assert_eq!(feed(&mut port, 300_001, Input::Bytes(b"t=1\n")), ["fresh d", "d 1 t=1"]);
}

#[test]
fn a_device_that_never_sent_is_not_told_while_its_port_is_down() {
    let mut port = port(vec![device("d", key_value(), list(&["t"]))]);
    drain(&mut port);
    feed(&mut port, 0, Input::Opened);
    assert_eq!(feed(&mut port, 50_000, Input::Lost { error: "EIO" }), ["down: EIO"]);
    assert!(port.next_deadline().unwrap() <= at(51_250).mono, "the reopening alone");
    assert_eq!(feed(&mut port, 100_000, Input::Tick), ["open"]);
    assert_eq!(feed(&mut port, 100_000, Input::Opened), ["opened"]);
    assert_eq!(port.next_deadline(), Some(at(160_000).mono));
}

#[test]
fn a_reopened_port_begins_anew() {
    let mut port = open(vec![device("d", key_value(), list(&["t"]))]);
    assert_eq!(feed(&mut port, 1000, Input::Bytes(b"t=1\nu")), ["d 1 t=1"]);
    let reopen = |port: &mut Port, ms: u64| {
        feed(port, ms, Input::Lost { error: "EIO" });
        feed(port, ms + 40_000, Input::Tick);
        assert_eq!(feed(port, ms + 40_000, Input::Opened), ["opened"]);
    };
    reopen(&mut port, 2000);
    assert_eq!(
        feed(&mut port, 50_000, Input::Bytes(b"t=2\n")),
        ["fresh d", "d 2 t=2"],
        "without the old start"
    );
    reopen(&mut port, 51_000);
    assert_eq!(feed(&mut port, 91_000, Input::Bytes(b"=3\nt=4\n")), ["fresh d", "d 3 t=4"], "cut again");
    let status = port.status(at(91_000));
    assert_eq!((status.lost, status.devices[0].bad_lines), (2, 0));
}

#[test]
fn devices_on_one_port_each_take_their_lines() {
    let only = |name: &str| device(name, pattern(&format!("^{name}:(?<t>.+)")), list(&["t"]));
    let any = device("all", key_value(), Points::All);
    let mut port = open(vec![only("a"), any, only("b")]);
    let told = feed(&mut port, 1000, Input::Bytes(b"a:1\nb:2\nt=3\nc:4\nb:5\n\xff\n"));
    let bad = "bad com1: none of the port's devices takes it [c:4]";
    assert_eq!(told, ["a 1 t=1", "b 1 t=2", "all 1 t=3", bad, "b 2 t=5"]);
    let status = port.status(at(2000));
    assert_eq!(status.bad_lines, 2);
    let device = |index: usize| {
        let device = &status.devices[index];
        (device.name.to_string(), device.readings, device.bad_lines, device.last_age)
    };
    let second = Some(Duration::from_secs(1));
    assert_eq!(device(0), ("a".into(), 1, 0, second));
    assert_eq!(device(1), ("all".into(), 1, 0, second));
    assert_eq!(device(2), ("b".into(), 2, 0, second));
    assert_eq!(feed(&mut port, 20_000, Input::Bytes(b"a:6\n")), ["a 2 t=6", "good com1 after 2"]);
}

#[test]
fn devices_may_differ_in_the_longest_line_and_in_the_line_end() {
    let framed = |name: &str, end: LineEnd, bytes_max: usize| DeviceConfig {
        framing: FramingConfig::Line { end, bytes_max },
        ..device(name, key_value(), Points::All)
    };
    let mut port = open(vec![framed("short", LineEnd::Any, 8), framed("long", LineEnd::Any, 16)]);
    let told = feed(&mut port, 1000, Input::Bytes(b"t=123456\nt=1234567\nt=123456789012345\n"));
    assert_eq!(told[..3], ["short 1 t=123456", "long 1 t=123456", "long 2 t=1234567"]);
    assert_eq!(told[3], "bad com1: longer than 16 bytes (is the line end right?) [t=12345678901234]");
    let mut port =
        open(vec![framed("any", LineEnd::Any, 64), framed("bang", LineEnd::Exact(b"!".to_vec()), 64)]);
    assert_eq!(feed(&mut port, 1000, Input::Bytes(b"t=1\n")), ["any 1 t=1"]);
    assert_eq!(
        feed(&mut port, 2000, Input::Bytes(b"k=2!k=3!")),
        ["bang 1 k=3"],
        "its first line had a foreign beginning"
    );
}

#[test]
fn a_status_tells_everything_exactly() {
    let mut port = open(vec![device("d", key_value(), list(&["t"]))]);
    feed(&mut port, 2000, Input::Bytes(b"t=1\nt=2\nx\n"));
    let status = port.status(at(5000));
    let last = status.devices[0].last.clone().unwrap();
    assert_eq!(reading_words(&last), "d 2 t=2");
    let expected = PortStatus {
        name: "com1".into(),
        path: "/dev/ttyUSB0".into(),
        state: PortState::Open,
        since: at(0).wall,
        error: None,
        bytes: 13,
        bad_lines: 0,
        lost: 0,
        devices: vec![DeviceStatus {
            name: "d".into(),
            port: "com1".into(),
            readings: 2,
            bad_lines: 1,
            last_error: Some("no key and value with \"=\" between them".into()),
            last: Some(last),
            last_age: Some(Duration::from_secs(3)),
            stale: false,
            waiting: false,
        }],
    };
    assert_eq!(status, expected);
}

#[test]
fn since_is_right_after_the_wall_clock_stepped() {
    let mut port = port(vec![]);
    let before = Now { wall: Timestamp::from_millis(0), ..at(0) };
    port.handle(before, Input::Opened);
    assert_eq!(port.status(at(60_000)).since, at(0).wall);
}

#[test]
fn garbage_harms_no_good_line_is_counted_told_once_and_bounded() {
    let garbage: [&[u8]; 8] = [
        b"\xff\xfe\xfd\xfc",
        b"t=1\xc3",
        b"\x01\x02\x03 noise",
        b"t=4\x002",
        &[0x80; 200],
        b"{]",
        &[b'x'; 1 << 20],
        b"=",
    ];
    let mut port = open(vec![device("d", key_value(), list(&["t"]))]);
    let mut told = Vec::new();
    for number in 0..400_u64 {
        let mut bytes = garbage[usize::try_from(number % 8).unwrap()].to_vec();
        bytes.extend_from_slice(format!("\r\n\0t={number}\r\n").as_bytes());
        // The shell reads at most so much in one go; the last piece of one input may hold the next line's start.
        for piece in bytes.chunks(60_000) {
            told.extend(feed(&mut port, 1000 + number, Input::Bytes(piece)));
            assert!(port.lanes[0].framer.capacity() <= 65, "{}", port.lanes[0].framer.capacity());
        }
    }
    let (readings, notices): (Vec<String>, Vec<String>) =
        told.into_iter().partition(|told| told.starts_with("d "));
    let expected: Vec<String> = (0..400).map(|number| format!("d {} t={number}", number + 1)).collect();
    assert_eq!(readings, expected);
    let error = "not text after 0 bytes (are baud rate and parity right?)";
    assert_eq!(notices, [format!("bad d: {error} [\\xff\\xfe\\xfd\\xfc]")]);
    let status = port.status(at(2000));
    assert_eq!((status.devices[0].readings, status.devices[0].bad_lines, status.bad_lines), (400, 400, 0));
    assert_eq!(feed(&mut port, 60_000, Input::Bytes(b"t=1\n")), ["good d after 400", "d 401 t=1"]);
    assert_eq!(feed(&mut port, 60_001, Input::Bytes(b"zzz\n")).len(), 1, "a new episode");
}

#[test]
fn a_port_that_appears_is_opened_at_once_and_its_waits_begin_anew() {
    let mut port = port(vec![device("a", key_value(), list(&["n"]))]);
    let mut now = 0;
    for _ in 0..8 {
        while port.poll_output().is_some() {}
        port.handle(at(now), Input::OpenFailed { error: "no such port" });
        now = port.next_deadline().unwrap().as_nanos() / 1_000_000 + 1;
        port.handle(at(now), Input::Tick);
    }
    while port.poll_output().is_some() {}
    port.handle(at(now), Input::Appeared);
    assert_eq!(port.poll_output(), None, "it is being opened already");
    port.handle(at(now), Input::OpenFailed { error: "no such port" });
    assert!(port.next_deadline().unwrap() > at(now + 20_000).mono);
    while port.poll_output().is_some() {}
    port.handle(at(now + 100), Input::Appeared);
    assert_eq!(port.poll_output(), Some(Output::Open));
    port.handle(at(now + 100), Input::OpenFailed { error: "permission denied" });
    assert!(port.next_deadline().unwrap() < at(now + 1_500).mono, "udev may be at it still");
    port.handle(at(now + 2_000), Input::Tick);
    port.handle(at(now + 2_000), Input::Opened);
    while port.poll_output().is_some() {}
    port.handle(at(now + 2_100), Input::Appeared);
    assert_eq!(port.poll_output(), None, "an open port is open");
}

#[test]
fn the_first_line_of_a_program_is_whole() {
    let config = ExecConfig {
        name: "meter".into(),
        command: vec!["/bin/meter".into(), "-x".into()],
        user: None,
        cwd: None,
        env: Vec::new(),
    };
    let devices = || vec![device("a", csv(&["n"]), list(&["n"]))];
    let first = |mut port: Port| {
        port.handle(at(0), Input::Opened);
        port.handle(at(1), Input::Bytes(b"17\n"));
        std::iter::from_fn(|| port.poll_output()).any(|output| matches!(output, Output::Reading(_)))
    };
    let program = Port::of_program(&config, devices(), Run(17), BOOT, 1, at(0));
    assert_eq!(program.status(at(0)).path, "/bin/meter");
    assert!(first(program));
    assert!(!first(port(devices())), "of a line it may be the end of one");
}
