//! Tables: field in, value and quality out.

use super::*;

fn point(kind: PointType, scale: &str, offset: &str) -> PointConfig {
    PointConfig {
        kind,
        scale: scale.parse().unwrap(),
        offset: offset.parse().unwrap(),
        ..PointConfig::named("p")
    }
}

fn read(point: &PointConfig, raw: &Raw<'_>) -> (Option<Value>, Quality) {
    let sample = sample(point, raw).unwrap();
    assert_eq!(sample.point, point.name);
    (sample.value, sample.quality)
}

#[test]
fn numbers_are_scaled_exactly() {
    let check = |text: &str, scale: &str, offset: &str, expected: Option<f64>| {
        let (value, quality) = read(&point(PointType::Number, scale, offset), &Raw::Word(text));
        assert_eq!(value, expected.map(Value::Number), "{text} × {scale} + {offset}");
        assert_eq!(quality, if expected.is_some() { Quality::Good } else { Quality::Invalid });
    };
    check("2427", "0.1", "0", Some(242.7));
    check("3", "0.1", "0", Some(0.3));
    check("1.1", "1.1", "0", Some(1.21));
    check("0.1", "1", "0.2", Some(0.3));
    check("273.15", "1", "-273.15", Some(0.0));
    check("294.65", "1", "-273.15", Some(21.5));
    check("21.5", "1", "0", Some(21.5));
    check("+  0.123", "1", "0", Some(0.123));
    check("-  1.250", "1000", "0", Some(-1250.0));
    check("-\t1.25", "1", "0", Some(-1.25));
    check(".5", "2", "0", Some(1.0));
    check("5.", "2", "0", Some(10.0));
    check("5.", "1", "0", Some(5.0));
    check("1e3", "0.1", "0", Some(100.0));
    check("+9999999E+19", "1", "0", Some(9.999_999e25));
    check("+9999999E+19", "0.1", "0", Some(9.999_999e24));
    check("1.5e300", "10", "0", Some(1.5e301));
    check("1.5e-20", "2", "0", Some(3e-20));
    check("-0", "1", "0", Some(0.0));
    check("00012", "1", "0", Some(12.0));
    check("123456789012345678901234567890123456789", "0.5", "0", Some(6.172_839_450_617_284e37));
    check("0", "0.1", "-40", Some(-40.0));
    for text in [
        "x",
        "",
        "-",
        "+",
        ".",
        "e",
        "1e",
        "1,5",
        "1_000",
        "0x10",
        "nan",
        "NaN",
        "inf",
        "-Infinity",
        "1e999",
        "12kg",
        "--5",
        "1.2.3",
        "٣",
    ] {
        check(text, "1", "0", None);
        check(text, "0.1", "0", None);
    }
    check(&"1".repeat(65), "1", "0", None);
}

#[test]
fn what_is_too_small_for_a_decimal_keeps_its_digits() {
    let (value, _) = read(&point(PointType::Number, "0.000000001", "0"), &Raw::Word("1.23456789e-14"));
    let Some(Value::Number(number)) = value else { panic!("{value:?}") };
    assert!((number / 1.234_567_89e-23 - 1.0).abs() < 1e-14, "{number}");
}

#[test]
fn a_negative_zero_prints_as_zero() {
    let zero = read(&PointConfig::named("p"), &Raw::Number("-0.0")).0;
    assert!(matches!(zero, Some(Value::Number(number)) if number.is_sign_positive()), "{zero:?}");
    let guessed = guess("p".into(), &Raw::Word("-0.0")).value;
    assert!(matches!(guessed, Some(Value::Number(number)) if number.is_sign_positive()), "{guessed:?}");
}

#[test]
fn integers_keep_every_digit() {
    let check = |text: &str, scale: &str, offset: &str, expected: Option<i64>| {
        let (value, _) = read(&point(PointType::Integer, scale, offset), &Raw::Number(text));
        assert_eq!(value, expected.map(Value::Integer), "{text} × {scale} + {offset}");
    };
    check("9223372036854775807", "1", "0", Some(i64::MAX));
    check("-9223372036854775808", "1", "0", Some(i64::MIN));
    check("9223372036854775808", "1", "0", None);
    check("9007199254740993", "1", "0", Some(9_007_199_254_740_993));
    check("900719925474099.3", "10", "0", Some(9_007_199_254_740_993));
    check("+ 12", "1", "0", Some(12));
    check("12.0", "1", "0", Some(12));
    check("1e3", "1", "0", Some(1000));
    check("25", "0.1", "0.5", Some(3));
    check("25", "0.1", "0", None);
    check("12.5", "1", "0", None);
    check("x", "1", "0", None);
}

#[test]
fn states_are_read_from_the_usual_words() {
    let check = |raw: Raw<'_>, expected: Option<bool>| {
        let (value, _) = read(&point(PointType::Bool, "1", "0"), &raw);
        assert_eq!(value, expected.map(Value::Bool), "{raw:?}");
    };
    for (word, value) in
        [("true", true), ("Off", false), ("YES", true), ("no", false), ("1", true), ("0", false)]
    {
        check(Raw::Word(word), Some(value));
        check(Raw::String(format!(" {word} ").into()), Some(value));
    }
    for (word, value) in [("HIGH", true), ("low", false), ("Closed", true), ("open", false), ("ON", true)] {
        check(Raw::Word(word), Some(value));
    }
    check(Raw::Bool(true), Some(true));
    check(Raw::Number("0"), Some(false));
    check(Raw::Number("2"), None);
    check(Raw::Word("maybe"), None);
    check(Raw::Null, None);
    check(Raw::Nested, None);
}

#[test]
fn text_is_trimmed_and_short() {
    let check = |raw: Raw<'_>, expected: Option<&str>| {
        let (value, _) = read(&point(PointType::Text, "1", "0"), &raw);
        assert_eq!(value, expected.map(|text| Value::Text(text.into())), "{raw:?}");
    };
    let (longest, longer) = ("x".repeat(256), "x".repeat(257));
    check(Raw::String(" ä b ".into()), Some("ä b"));
    check(Raw::String("".into()), Some(""));
    check(Raw::Number("21.50"), Some("21.50"));
    check(Raw::Bool(false), Some("false"));
    check(Raw::Word(&longest), Some(&longest));
    check(Raw::Word(&longer), None);
    check(Raw::Missing, None);
}

#[test]
fn a_value_out_of_range_is_kept_and_said() {
    let check = |text: &str, kind: PointType, expected: Quality| {
        let point = PointConfig { kind, min: Some(-40.0), max: Some(80.0), ..PointConfig::named("p") };
        let (value, quality) = read(&point, &Raw::Word(text));
        assert_eq!((value.is_some(), quality), (expected != Quality::Invalid, expected), "{text}");
    };
    check("-40", PointType::Number, Quality::Good);
    check("80.0", PointType::Number, Quality::Good);
    check("-40.01", PointType::Number, Quality::OutOfRange);
    check("81", PointType::Integer, Quality::OutOfRange);
    check("-127", PointType::Integer, Quality::OutOfRange);
    check("x", PointType::Number, Quality::Invalid);
    check("99", PointType::Text, Quality::Good);
}

#[test]
fn only_an_optional_point_may_be_missing() {
    let optional = PointConfig { optional: true, ..PointConfig::named("p") };
    assert_eq!(sample(&optional, &Raw::Missing), None);
    assert_eq!(sample(&optional, &Raw::Null), None);
    assert_eq!(sample(&optional, &Raw::Word("x")).unwrap().quality, Quality::Invalid);
    for raw in [Raw::Missing, Raw::Null] {
        assert_eq!(read(&PointConfig::named("p"), &raw), (None, Quality::Invalid));
    }
}

#[test]
fn without_a_list_what_looks_like_a_number_is_one() {
    let check = |raw: Raw<'_>, expected: Option<Value>| {
        assert_eq!(guess("p".into(), &raw).value, expected, "{raw:?}");
    };
    let text = |text: &str| Some(Value::Text(text.into()));
    check(Raw::Word("21.50"), Some(Value::Number(21.5)));
    check(Raw::Word("+3"), Some(Value::Number(3.0)));
    check(Raw::Number("9007199254740993"), Some(Value::Integer(9_007_199_254_740_993)));
    check(Raw::Number("9007199254740992"), Some(Value::Number(9_007_199_254_740_992.0)));
    check(Raw::Number("1e999"), None);
    check(Raw::Word("NaN"), None);
    check(Raw::Word("ovf"), None);
    check(Raw::Word("12:30"), text("12:30"));
    check(Raw::Word("ready"), text("ready"));
    check(Raw::Word("1 2"), text("1 2"));
    check(Raw::String("21.5".into()), text("21.5"));
    check(Raw::Bool(true), Some(Value::Bool(true)));
    check(Raw::Null, None);
}

#[test]
fn digits_that_are_too_many_are_rounded_away_from_zero() {
    let check = |raw: Raw<'_>, scale: &str, places: u8, expected: f64| {
        let point = PointConfig { precision: Some(places), ..point(PointType::Number, scale, "0") };
        assert_eq!(read(&point, &raw).0, Some(Value::Number(expected)), "{raw:?}");
    };
    check(Raw::Word("2.345"), "1", 2, 2.35);
    check(Raw::Word("-2.345"), "1", 2, -2.35);
    check(Raw::Word("2.344999"), "1", 2, 2.34);
    check(Raw::Word("15"), "0.1", 0, 2.0);
    check(Raw::Word("-0.04"), "1", 1, 0.0);
    check(Raw::Float(230.25), "1", 1, 230.3);
    check(Raw::Decimal(Decimal::from(12)), "1", 3, 12.0);
    check(Raw::Float(1e300), "1", 3, 1e300);
}

#[test]
fn what_is_written_is_what_reads_back() {
    let scaled = point(PointType::Number, "0.1", "-40");
    let check = |point: &PointConfig, value: Value, expected: Option<Raw<'_>>| {
        assert_eq!(raw_of(point, &value), expected, "{value:?}");
        if let Some(raw) = expected {
            assert_eq!(read(point, &raw).0, Some(value));
        }
    };
    check(&scaled, Value::Number(21.5), Some(Raw::Decimal(Decimal::from(615))));
    check(&point(PointType::Integer, "1", "0"), Value::Integer(7), Some(Raw::Decimal(Decimal::from(7))));
    check(&point(PointType::Bool, "1", "0"), Value::Bool(true), Some(Raw::Bool(true)));
    let mapped = PointConfig {
        map: vec![
            (RawValue::Number(Decimal::from(3)), Value::Text("on".into())),
            (RawValue::Word("x".into()), Value::Text("odd".into())),
        ],
        ..PointConfig::named("p")
    };
    check(&mapped, Value::Text("on".into()), Some(Raw::Decimal(Decimal::from(3))));
    check(&mapped, Value::Text("odd".into()), Some(Raw::String("x".into())));
    check(&mapped, Value::Text("off".into()), None);
    assert_eq!(raw_of(&scaled, &Value::Number(f64::NAN)), None);
}
