//! What is kept of points, and for how long.

use super::*;
use crate::reading::{Quality, Sample, Seq};
use crate::time::{BootId, ClockTrust, Timestamp};

fn reading(device: &str, point: &str, seconds: u64, value: Value) -> Reading {
    Reading {
        device: Arc::from(device),
        seq: Seq::default(),
        boot: BootId::default(),
        mono: at(seconds),
        wall: Timestamp::default(),
        trust: ClockTrust::Synced,
        samples: vec![Sample { point: Arc::from(point), value: Some(value), quality: Quality::Good }],
    }
}

fn at(seconds: u64) -> Mono {
    Mono::from_nanos(seconds * 1_000_000_000)
}

fn now(seconds: u64) -> Now {
    Now { mono: at(seconds), ..Now::default() }
}

#[test]
fn five_minutes_make_a_bucket_with_minimum_mean_maximum_and_last() {
    let mut history = History::default();
    for (seconds, value) in [(0, 20.5), (100, 21.5), (299, 19.5), (300, 30.0)] {
        history.take(&reading("weather", "t", seconds, Value::Number(value)));
    }
    let buckets = history.buckets(at(600), "weather", "t");
    let first = Bucket { min: 19.5, mean: 20.5, max: 21.5, last: 19.5, count: 3 };
    let second = Bucket { min: 30.0, mean: 30.0, max: 30.0, last: 30.0, count: 1 };
    assert_eq!(buckets, [(Duration::from_secs(600), first), (Duration::from_secs(300), second)]);
    let json = history.json(now(600), Some("weather"), Some("t")).unwrap();
    assert_eq!(json["points"][0]["last"][0], json!([600.0, 20.5]));
    assert_eq!(json["points"][0]["buckets"][1]["age_s"], 300);
}

#[test]
fn a_meter_keeps_its_digits_and_states_are_one_and_zero() {
    let mut history = History::default();
    for (number, value) in [(0, 123_456.789), (1, 123_456.889), (2, 123_457.0)] {
        history.take(&reading("meter", "kwh", number, Value::Number(value)));
    }
    history.take(&reading("door", "open", 5, Value::Bool(true)));
    history.take(&reading("door", "name", 5, Value::Text("x".into())));
    let json = history.json(now(10), None, None).unwrap();
    let points = json["points"].as_array().unwrap();
    assert_eq!(points.len(), 2, "text has no curve");
    assert_eq!(points[0]["last"][0][1], 1.0);
    let of_meter: Vec<f64> =
        points[1]["last"].as_array().unwrap().iter().map(|pair| pair[1].as_f64().unwrap()).collect();
    for (kept, given) in of_meter.iter().zip([123_456.789, 123_456.889, 123_457.0]) {
        assert!((kept - given).abs() < 1e-6, "{kept} {given}");
    }
    assert!(points[1].get("buckets").is_none(), "only for one device");
}

#[test]
fn a_day_is_kept_and_no_more() {
    let mut history = History::default();
    for slot in 0..400 {
        history.take(&reading("d", "p", slot * 300, Value::Integer(1)));
    }
    assert_eq!(history.buckets(at(400 * 300), "d", "p").len(), 288);
    let json = history.json(now(400 * 300), None, None).unwrap();
    assert_eq!(json["kept_s"], 86_400);
}

#[test]
fn at_the_bound_the_day_gets_shorter_for_everybody() {
    let bytes_max = 400_000;
    let mut history = History::new(bytes_max);
    for slot in 0..288 {
        for point in 0..100 {
            history.take(&reading("d", &format!("p{point}"), slot * 300 + 1, Value::Integer(1)));
        }
        assert!(history.bytes <= bytes_max, "{}", history.bytes);
    }
    let (first, last) =
        (history.buckets(at(86_400), "d", "p0").len(), history.buckets(at(86_400), "d", "p99").len());
    assert!(first == last && (50..250).contains(&first), "{first} {last}");
    let json = history.json(now(86_399), None, None).unwrap();
    assert!(json["kept_s"].as_u64().unwrap() < 86_400);
    let counted: usize = history.series.values().map(|series| Series::BYTES + series.bytes()).sum();
    assert_eq!(counted, history.bytes, "what is counted is what is there");
}

#[test]
fn too_many_points_cost_the_one_that_is_silent_for_longest() {
    let mut history = History::default();
    for point in 0..=2_000_u64 {
        history.take(&reading("d", &format!("p{point}"), point, Value::Integer(1)));
    }
    assert!(history.json(now(9_999), Some("d"), Some("p0")).is_none());
    assert!(history.json(now(9_999), Some("d"), Some("p1")).is_some());
    let json = history.json(now(9_999), None, None).unwrap();
    assert_eq!(
        (json["points"].as_array().unwrap().len(), &json["points_forgotten"]),
        (POINTS_MAX, &json!(1))
    );
}
