//! What is sent for a value, and what counts as the answer.

use super::*;
use crate::sensor::{CheckKind, Pattern, PointType, RawValue};

fn config(send: SendTemplate, expect: Option<Expect>) -> CommandConfig {
    CommandConfig {
        value: PointConfig::named("setpoint"),
        send,
        check: None,
        expect,
        timeout: Duration::from_secs(1),
    }
}

fn sent(template: Result<SendTemplate, TemplateError>, value: &Value) -> Result<Vec<u8>, String> {
    config(template.unwrap(), None).bytes(value).map(|(bytes, _)| bytes)
}

fn command(point: Option<&str>, value: Value) -> Command {
    Command { id: CommandId(1), device: "d".into(), point: point.map(Into::into), value, until: Mono::ZERO }
}

#[test]
fn a_number_stands_in_a_text_as_its_place_says() {
    let check = |template: &str, value: f64, expected: Result<&str, &str>| {
        let text = sent(SendTemplate::text(template), &Value::Number(value));
        let text = text.map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(text, expected.map(str::to_owned).map_err(str::to_owned), "{template} {value}");
    };
    check("SP{value:06.2}\r\n", 21.5, Ok("SP021.50\r\n"));
    check("SP{value:06.2}\r\n", -1.25, Ok("SP-01.25\r\n"));
    check("{value}", 21.5, Ok("21.5"));
    check("{value}", 1e20, Ok("100000000000000000000"));
    check("<{value:5}>", 7.0, Ok("<    7>"));
    check("{value:.1};{value:03}", 7.0, Ok("7.0;007"));
    check("{\"t\":{value}}", 7.0, Ok("{\"t\":7}"));
    check("{value:04X}", 255.0, Ok("00FF"));
    check("{value:.1}", 7.25, Err("7.25 has more digits behind the point than the 1 that are sent"));
    check("{value:02}", 100.0, Err("100 is longer than the 2 characters of its place"));
    check("{value:X}", -1.0, Err("-1 is not a whole number from 0"));
}

#[test]
fn a_value_stands_in_bytes_and_a_check_behind_them() {
    let hex = |template: &str, value: f64| sent(SendTemplate::hex(template), &Value::Number(value));
    assert_eq!(hex("fe 06 {value:u16be} 00", 258.0), Ok(vec![0xfe, 6, 1, 2, 0]));
    assert_eq!(hex("{value:u16le}{value:u8}", 7.0), Ok(vec![7, 0, 7]));
    assert_eq!(hex("{value:i32le}", -2.0), Ok(vec![0xfe, 0xff, 0xff, 0xff]));
    assert_eq!(hex("{value:f32be}", 1.5), Ok(vec![0x3f, 0xc0, 0, 0]));
    assert_eq!(hex("{value:u8}", 256.0).unwrap_err(), "256 in the device's steps is not between 0 and 255");
    let check = |kind: CheckKind, expected: &[u8]| {
        let at = -i32::try_from(kind.bytes()).unwrap();
        let check = CheckConfig { kind, from: 0, to: None, at, order: kind.usual_order(), hex: false };
        let send = SendTemplate::hex("01 06 00 01 {value:u16be}").unwrap();
        let config = CommandConfig { check: Some(check), ..config(send, None) };
        assert_eq!(config.bytes(&Value::Integer(3)).unwrap().0, expected, "{kind:?}");
    };
    check(CheckKind::Sum8, &[1, 6, 0, 1, 0, 3, 11]);
    // A request to a Modbus slave is such bytes; its CRC has the low byte first.
    let whole = crate::sensor::modbus::rtu::frame(1, &[6, 0, 1, 0, 3]);
    check(CheckKind::Crc16Modbus, &whole);
}

#[test]
fn a_place_that_nobody_can_fill_is_refused() {
    for text in
        ["{value:u16be}", "{value:99}", "{value:.99}", "{value:x}", "{value", "{values}", "a{value:-3}b"]
    {
        let error = SendTemplate::text(text).unwrap_err();
        let TemplateError::BadPlace { written } = &error else { panic!("{error:?}") };
        assert!(text.contains(written), "{written}");
    }
    for text in ["f", "fe zz", "fe +1", "{value} 00", "{value:u16}"] {
        assert!(SendTemplate::hex(text).is_err(), "{text}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let limited = |send: &str| {
        let mut config = config(SendTemplate::text(send).unwrap(), None);
        (config.value.min, config.value.max) = (Some(5.0), Some(30.0));
        config
    };
    let error = |config: &CommandConfig, point: Option<&str>, value: Value| {
        Exchange::new(std::slice::from_ref(config), &command(point, value)).unwrap_err()
    };
    let setpoint = limited("SP{value}\r\n");
    assert_eq!(error(&setpoint, Some("setpoint"), Value::Integer(31)), "31 is not between 5 and 30");
    assert_eq!(
        error(&setpoint, Some("speed"), Value::Integer(7)),
        "it has no \"speed\" that can be set; it has setpoint"
    );
    assert_eq!(error(&setpoint, None, Value::Integer(7)), "the topic names no point; it has setpoint");
    let button = limited("RESET\r\n");
    assert_eq!(
        error(&button, Some("setpoint"), Value::Integer(7)),
        "it takes no value: expected on, true or 1"
    );
    let pressed = Exchange::new(&[button], &command(Some("setpoint"), Value::Text("on".into()))).unwrap();
    assert_eq!(pressed.bytes, b"RESET\r\n");
    let mut words = limited("MSG {value}\r\n");
    words.value.kind = PointType::Text;
    let refused = error(&words, Some("setpoint"), Value::Text("a\r\nRESET".into()));
    assert!(refused.contains("control characters"), "{refused}");
    let mut modes = limited("MODE {value}\r\n");
    modes.value.map = vec![(RawValue::Word("A".into()), Value::Text("auto".into()))];
    assert_eq!(modes.bytes(&Value::Text("auto".into())).unwrap().0, b"MODE A\r\n");
}

#[test]
fn the_answer_is_a_line_that_matches_or_bytes_that_come() {
    let begin = |expect: Expect| {
        let config = config(SendTemplate::text("SP{value}\r\n").unwrap(), Some(expect));
        Exchange::new(&[config], &command(Some("setpoint"), Value::Number(21.5))).unwrap()
    };
    let line = |pattern: &str| begin(Expect::Line(Pattern(Regex::new(pattern).unwrap())));
    let mut ok = line("^OK");
    assert_eq!(ok.hear(b"T=20.1\r\nO"), None);
    assert_eq!(ok.hear(b"K"), None, "its end is still to come");
    assert_eq!(ok.hear(b"\r"), Some(Outcome::Done(None)));
    let mut refused = line("^OK");
    assert_eq!(refused.hear(b"ERR 5\r\n"), None);
    let words = "sent, but not confirmed within 1s: it said \"ERR 5\"";
    assert_eq!(refused.timed_out(), Outcome::Unknown(words.into()));
    assert_eq!(
        line("^OK").timed_out(),
        Outcome::Unknown("sent, but not confirmed within 1s: it said nothing".into())
    );
    let mut without_end = line("^OK$");
    assert_eq!(without_end.hear(b"OK"), None);
    assert_eq!(without_end.timed_out(), Outcome::Done(None));
    let told = "^SP=(?<value>[0-9.]+)";
    assert_eq!(line(told).hear(b"SP=21.50\n"), Some(Outcome::Done(Some(Value::Number(21.5)))));
    let other = Outcome::Failed("the device answers 20".into());
    assert_eq!(line(told).hear(b"SP=20\n"), Some(other));
    let mut bytes = begin(Expect::Bytes(vec![6, 0]));
    assert_eq!((bytes.hear(&[1, 6]), bytes.hear(&[0])), (None, Some(Outcome::Done(None))));
    let ok = line("^OK");
    assert_eq!((ok.owns(b"OK 1"), ok.owns(b"SP21.5"), ok.owns(b"noise")), (true, true, false));
}
