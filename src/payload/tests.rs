//! Each form, byte for byte.

use super::*;
use crate::reading::{Quality, Run, Sample, Seq, Value};

fn reading(samples: Vec<(&str, Option<Value>, Quality)>) -> Reading {
    let sample = |(point, value, quality): (&str, _, _)| Sample { point: Arc::from(point), value, quality };
    Reading {
        device: "weather".into(),
        seq: Seq { run: Run(17), number: 1842 },
        boot: BootId::default(),
        mono: Mono::ZERO,
        wall: Timestamp::default(),
        trust: ClockTrust::Synced,
        samples: samples.into_iter().map(sample).collect(),
    }
}

fn sample_reading() -> Reading {
    reading(vec![
        ("temperature", Some(Value::Number(21.5)), Quality::Good),
        ("pulses", Some(Value::Integer(-17)), Quality::Good),
        ("door", Some(Value::Bool(true)), Quality::Good),
        ("state", Some(Value::Text("a \"b\"".into())), Quality::Good),
        ("level", None, Quality::Stale),
    ])
}

const GOOD: SentTime = SentTime {
    time: Timestamp::from_millis(1_795_186_265_123),
    quality: None,
    age: Some(Duration::from_secs(3)),
};

fn forms(format: Format) -> Forms {
    let units = vec![("temperature".into(), "Cel".into()), ("pulses".into(), "furlong".into())];
    let about = About { form: Form::new(format), units };
    Forms {
        gateway: "gw".into(),
        default: about.clone(),
        devices: HashMap::from([("weather".into(), about)]),
    }
}

fn text(format: Format, reading: &Reading, time: SentTime) -> String {
    String::from_utf8(forms(format).encode(None, reading, time).to_vec()).unwrap()
}

fn template(text: &str) -> Format {
    Format::Template(Arc::new(Template::parse(text, "text/plain").unwrap()))
}

#[test]
fn a_plain_payload_is_the_value() {
    let check = |value: Option<Value>, expected: &str| {
        assert_eq!(text(Format::Plain, &reading(vec![("p", value, Quality::Good)]), GOOD), expected);
    };
    check(Some(Value::Number(21.5)), "21.5");
    check(Some(Value::Integer(i64::MAX)), "9223372036854775807");
    check(Some(Value::Bool(false)), "false");
    check(Some(Value::Text("a \"b\"".into())), "a \"b\"");
    check(None, "");
}

#[test]
fn influx_lines_keep_types_and_escape_names() {
    let expected = concat!(
        r#"weather,gateway=gw temperature=21.5,pulses=-17i,door=true,state="a \"b\"","#,
        r#"level_quality="stale",seq="17-1842" 1795186265123000000"#
    );
    assert_eq!(text(Format::Influx, &sample_reading(), GOOD), expected);
    let mut odd = reading(vec![("a b,c=d\\", Some(Value::Text("x\\\ny".into())), Quality::Good)]);
    odd.device = "my device,1=\\".into();
    let unsynced = SentTime { quality: Some("unsynced"), ..GOOD };
    let expected = concat!(
        r#"my\ device\,1=_,gateway=gw a\ b\,c\=d_="x\\ y",time_quality="unsynced","#,
        r#"seq="17-1842" 1795186265123000000"#
    );
    assert_eq!(text(Format::Influx, &odd, unsynced), expected);
}

#[test]
fn senml_has_a_record_for_each_point_and_for_what_it_has_no_field_for() {
    let expected = concat!(
        r#"[{"bn":"gw/weather/","bt":1795186265.123,"n":"temperature","u":"Cel","v":21.5},"#,
        r#"{"n":"pulses","v":-17},{"n":"door","vb":true},{"n":"state","vs":"a \"b\""},"#,
        r#"{"n":"level/quality","vs":"stale"},{"n":"seq","vs":"17-1842"}]"#
    );
    assert_eq!(text(Format::SenmlJson, &sample_reading(), GOOD), expected);
}

#[test]
fn senml_without_a_right_clock_tells_how_long_ago() {
    let few = reading(vec![("a b", Some(Value::Number(1.0)), Quality::Good)]);
    let check = |time: SentTime, expected: &str| {
        let told = text(Format::SenmlJson, &few, time);
        assert!(
            told.starts_with(&format!(r#"[{{"bn":"gw/weather/",{expected}"n":"a_b","v":1}},"#)),
            "{told}"
        );
        assert_eq!(told.contains(r#"{"n":"time_quality","vs":""#), time.quality.is_some());
    };
    let unsynced = SentTime { time: Timestamp::from_millis(5_000), quality: Some("unsynced"), age: None };
    check(SentTime { age: Some(Duration::from_millis(61_002)), ..unsynced }, r#""bt":-61.002,"#);
    check(unsynced, "");
    // The clock may be nearly right: one with a battery says a time of this century.
    check(SentTime { time: GOOD.time, ..unsynced }, r#""bt":1795186265.123,"#);
    check(SentTime { quality: Some("corrected"), ..GOOD }, r#""bt":1795186265.123,"#);
}

#[test]
fn cbor_is_the_same_pack_in_fewer_bytes() {
    let one = reading(vec![("t", Some(Value::Number(21.5)), Quality::Good)]);
    let bytes = forms(Format::SenmlCbor).encode(None, &one, GOOD);
    // Diagnostic notation: [{-2: "gw/weather/", -3: 1795186265.123, 0: "t", 2: 21.5}, {0: "seq", 3: "17-1842"}]
    let expected = [
        &[0x82, 0xA4, 0x21, 0x6B][..],
        b"gw/weather/",
        &[0x22, 0xFB],
        &1_795_186_265.123_f64.to_be_bytes(),
        &[0x00, 0x61, b't', 0x02, 0xFB],
        &21.5_f64.to_be_bytes(),
        &[0xA2, 0x00, 0x63, b's', b'e', b'q', 0x03, 0x67],
        b"17-1842",
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn integers_and_lengths_of_cbor_take_as_few_bytes_as_hold_them() {
    let check = |value: i64, expected: &[u8]| {
        let one = reading(vec![("t", Some(Value::Integer(value)), Quality::Good)]);
        let bytes = forms(Format::SenmlCbor).encode(None, &one, GOOD);
        let wanted = [&[0x00, 0x61, b't', 0x02], expected, &[0xA2]].concat();
        assert!(bytes.windows(wanted.len()).any(|window| window == wanted), "{value}: {bytes:02x?}");
    };
    check(0, &[0x00]);
    check(23, &[0x17]);
    check(24, &[0x18, 24]);
    check(255, &[0x18, 255]);
    check(256, &[0x19, 1, 0]);
    check(65_536, &[0x1A, 0, 1, 0, 0]);
    check(1 << 32, &[0x1B, 0, 0, 0, 1, 0, 0, 0, 0]);
    check(-1, &[0x20]);
    check(-25, &[0x38, 24]);
    check(i64::MIN, &[0x3B, 0x7F, 255, 255, 255, 255, 255, 255, 255]);
}

#[test]
fn templates_take_the_reading_or_each_point() {
    let check = |written: &str, expected: &str| {
        assert_eq!(text(template(written), &sample_reading(), GOOD), expected, "{written}");
    };
    check("{gateway}/{device} {seq}", "gw/weather 17-1842");
    check(
        "{time} {time_ms} {time_s} {time_quality}",
        "2026-11-20T14:51:05.123Z 1795186265123 1795186265 good",
    );
    check(
        r#"{"t":{value.temperature},"s":{value_json.state},"n":{"x":1}}"#,
        r#"{"t":21.5,"s":"a \"b\"","n":{"x":1}}"#,
    );
    check("{value.temperature} {unit.temperature} {quality.level} {value_json.level}", "21.5 Cel stale null");
    check("{value.none}|{value_json.none}|{quality.none}|{unit.none}", "|null|missing|");
    check(
        "{point}={value}{unit}",
        "temperature=21.5Cel\npulses=-17furlong\ndoor=true\nstate=a \"b\"\nlevel=",
    );
    check("no placeholder { } {} {1} {A} {", "no placeholder { } {} {1} {A} {");
}

#[test]
fn a_placeholder_that_stands_for_nothing_is_told() {
    let check = |text: &str, expected: &str| {
        assert_eq!(Template::parse(text, "x").unwrap_err().written, expected);
    };
    check("{valeu}", "valeu");
    check("{device.t}", "device.t");
    check("{value.}", "value.");
}

#[test]
fn mqtt_5_is_told_what_a_payload_is() {
    let check = |format: Format, indicator: Option<u32>, content_type: &str| {
        let form = Form::new(format);
        let properties = form.properties().as_properties();
        assert_eq!(properties.number(PropertyId::PayloadFormatIndicator), indicator);
        assert_eq!(properties.string(PropertyId::ContentType), Some(content_type));
    };
    check(Format::Json, Some(1), "application/json");
    check(Format::Plain, Some(1), "text/plain");
    check(Format::SenmlJson, Some(1), "application/senml+json");
    check(Format::SenmlCbor, None, "application/senml+cbor");
    check(Format::Influx, Some(1), "text/plain");
    check(Format::Template(Arc::new(Template::parse("x", "text/csv").unwrap())), Some(1), "text/csv");
}

#[test]
fn a_device_has_its_own_form_and_an_upstream_may_have_another() {
    let forms = Forms { default: About::default(), ..forms(Format::Plain) };
    let mut one = reading(vec![("t", Some(Value::Number(21.5)), Quality::Good)]);
    assert_eq!(forms.encode(None, &one, GOOD), "21.5");
    let influx = Form::new(Format::Influx);
    assert!(forms.encode(Some(&influx), &one, GOOD).starts_with(b"weather,gateway=gw "));
    one.device = "another".into();
    assert!(forms.encode(None, &one, GOOD).starts_with(b"{\"time\":"));
}
