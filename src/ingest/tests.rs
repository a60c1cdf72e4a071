//! Readings to messages, facts and announcements.

use std::time::Duration;

use super::*;
use crate::filter::{Deadband, Statistic};
use crate::mqtt::PropertyId;
use crate::payload::Format;
use crate::reading::{Quality, Sample, Seq, Value};
use crate::time::{ClockTrust, Timestamp};

const BOOT: BootId = BootId([1; 16]);

fn reading(device: &str, trust: ClockTrust, points: &[(&str, Value)]) -> Reading {
    let sample = |(point, value): &(&str, Value)| Sample {
        point: Arc::from(*point),
        value: Some(value.clone()),
        quality: Quality::Good,
    };
    Reading {
        device: device.into(),
        seq: Seq { run: Run(17), number: 1842 },
        boot: BOOT,
        mono: Mono::from_nanos(5_000_000_000),
        wall: Timestamp::from_millis(5_000),
        trust,
        samples: points.iter().map(sample).collect(),
    }
}

fn t(value: f64) -> Reading {
    reading("weather", ClockTrust::Synced, &[("t", Value::Number(value))])
}

fn config(devices: Vec<(DeviceFacts, Publishing)>) -> Config {
    Config {
        gateway: "gw-1".into(),
        base: "fieldgate/gw-1".into(),
        boot: BOOT,
        run: Run(17),
        devices,
        default: Publishing::default(),
        home_assistant: None,
        retained: Vec::new(),
        now: Now::default(),
    }
}

fn weather(points: Option<Vec<PointFacts>>) -> DeviceFacts {
    DeviceFacts {
        port: Some("usb0".into()),
        points,
        stale_after: Some(Duration::from_secs(60)),
        ..DeviceFacts::named("weather".into())
    }
}

fn point(name: &str, kind: PointKind, unit: Option<&str>) -> PointFacts {
    PointFacts { name: name.into(), kind: Some(kind), unit: unit.map(Arc::from), every: None }
}

fn outputs(ingest: &mut Ingest) -> Vec<Output> {
    std::iter::from_fn(|| ingest.poll_output()).collect()
}

/// Topic and payload of each message.
fn told(ingest: &mut Ingest) -> Vec<(String, String)> {
    let message = |output| match output {
        Output::Message(message) | Output::Info(message) => Some(message),
        Output::Notice(_) => None,
    };
    let text =
        |message: Message| (message.topic.to_string(), String::from_utf8(message.payload.to_vec()).unwrap());
    outputs(ingest).into_iter().filter_map(message).map(text).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(topic, payload)| ((*topic).to_owned(), (*payload).to_owned())).collect()
}

#[test]
fn a_reading_becomes_a_message_that_carries_it() {
    let reading = t(21.5);
    let message = message("fieldgate/gw-1", reading.clone(), BOOT, Now::default());
    assert_eq!(&*message.topic, "fieldgate/gw-1/data/weather");
    assert_eq!((message.qos, message.retain), (QoS::AtLeastOnce, false));
    let properties = message.properties.as_properties();
    assert_eq!(properties.string(PropertyId::ContentType), Some("application/json"));
    assert_eq!(message.reading.as_deref(), Some(&reading));
    assert_eq!(message.payload, r#"{"time":"1970-01-01T00:00:05.000Z","seq":"17-1842","values":{"t":21.5}}"#);
}

#[test]
fn its_time_is_as_known_now() {
    let at = |trust| Now {
        mono: Mono::from_nanos(15_000_000_000),
        wall: Timestamp::from_millis(1_795_186_265_123),
        trust,
    };
    let check = |boot: BootId, trust: ClockTrust, expected: &str| {
        let unsynced = reading("weather", ClockTrust::Unsynced, &[("t", Value::Number(1.0))]);
        let message = message("b", unsynced, boot, at(trust));
        let text = String::from_utf8(message.payload.to_vec()).unwrap();
        assert!(text.starts_with(&format!("{{\"time\":\"{expected}\",")), "{text}");
        let quality = if expected.starts_with("1970") { "unsynced" } else { "corrected" };
        assert!(text.ends_with(&format!(",\"time_quality\":\"{quality}\"}}")), "{text}");
    };
    check(BOOT, ClockTrust::Synced, "2026-11-20T14:50:55.123Z");
    check(BOOT, ClockTrust::Unsynced, "1970-01-01T00:00:05.000Z");
    check(BootId([2; 16]), ClockTrust::Synced, "1970-01-01T00:00:05.000Z");
}

#[test]
fn a_device_that_no_config_names_is_published_as_the_default_says() {
    let mut ingest = Ingest::new(config(Vec::new()));
    assert_eq!(outputs(&mut ingest), []);
    ingest.take(Now::default(), t(21.5));
    let expected = pairs(&[
        (
            "fieldgate/gw-1/data/weather",
            r#"{"time":"1970-01-01T00:00:05.000Z","seq":"17-1","values":{"t":21.5}}"#,
        ),
        ("fieldgate/gw-1/info/weather", r#"{"device":"weather","points":{"t":{}}}"#),
    ]);
    assert_eq!(told(&mut ingest), expected);
    ingest.take(Now::default(), t(21.5));
    assert_eq!(told(&mut ingest).len(), 1, "its facts are told once");
    assert_eq!(ingest.published("weather"), 2);
}

#[test]
fn each_point_has_a_topic_of_its_own_where_readings_are_split() {
    let publishing =
        Publishing { form: Form::new(Format::Plain), split: true, retain: true, ..Publishing::default() };
    let mut ingest = Ingest::new(config(vec![(weather(None), publishing)]));
    outputs(&mut ingest);
    let points = [("t", Value::Number(21.5)), ("a+b", Value::Bool(true))];
    ingest.take(Now::default(), reading("weather", ClockTrust::Synced, &points));
    let messages: Vec<Message> = outputs(&mut ingest)
        .into_iter()
        .filter_map(|output| if let Output::Message(message) = output { Some(message) } else { None })
        .collect();
    let seen: Vec<_> =
        messages.iter().map(|message| (&*message.topic, &*message.payload, message.retain)).collect();
    let expected: [(&str, &[u8], bool); 2] = [
        ("fieldgate/gw-1/data/weather/t", b"21.5", true),
        ("fieldgate/gw-1/data/weather/a_b", b"true", true),
    ];
    assert_eq!(seen, expected);
    for message in &messages {
        let reading = message.reading.as_deref().unwrap();
        assert_eq!((reading.samples.len(), reading.seq.number), (1, 1));
    }
}

#[test]
fn facts_are_told_at_the_start_and_those_of_devices_that_are_gone_are_cleared() {
    let points = vec![point("t", PointKind::Number, Some("Cel")), point("door", PointKind::Bool, None)];
    let retained = ["fieldgate/gw-1/info/weather", "fieldgate/gw-1/info/gone"].map(Arc::from).to_vec();
    let mut ingest =
        Ingest::new(Config { retained, ..config(vec![(weather(Some(points)), Publishing::default())]) });
    let outputs = outputs(&mut ingest);
    assert!(
        outputs.iter().all(|output| matches!(output, Output::Info(message) if message.retain)),
        "{outputs:?}"
    );
    let told: Vec<_> = outputs
        .iter()
        .filter_map(|output| if let Output::Info(message) = output { Some(message) } else { None })
        .map(|message| (&*message.topic, std::str::from_utf8(&message.payload).unwrap()))
        .collect();
    let expected = [
        (
            "fieldgate/gw-1/info/weather",
            concat!(
                r#"{"device":"weather","points":{"door":{"type":"bool"},"t":{"type":"number","unit":"Cel"}},"#,
                r#""port":"usb0","stale_after_s":60.0}"#
            ),
        ),
        ("fieldgate/gw-1/info/gone", ""),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_window_gives_its_reading_at_the_deadline_and_at_the_stop() {
    let filter = FilterConfig {
        window: Some((Duration::from_secs(60), Statistic::Max)),
        tell_stale: true,
        ..FilterConfig::default()
    };
    let publishing = Publishing { filter, ..Publishing::default() };
    let mut ingest = Ingest::new(config(vec![(weather(None), publishing)]));
    outputs(&mut ingest);
    let at = |s: u64| Now { mono: Mono::from_nanos(s * 1_000_000_000), ..Now::default() };
    ingest.take(at(0), t(1.0));
    ingest.take(at(5), t(7.0));
    assert_eq!(told(&mut ingest), []);
    assert_eq!(ingest.next_deadline(), Some(at(60).mono));
    ingest.tick(at(60));
    assert!(told(&mut ingest)[0].1.ends_with(r#""seq":"17-1","values":{"t":7}}"#));
    ingest.take(at(70), t(2.0));
    ingest.stop(at(71));
    assert!(told(&mut ingest).iter().any(|(_, text)| text.ends_with(r#""seq":"17-2","values":{"t":2}}"#)));
    ingest.stale(at(90), "weather");
    let stale = r#"{"time":"1970-01-01T00:00:00.000Z","seq":"17-3","values":{"t":null},"quality":{"t":"stale"},"time_quality":"unsynced"}"#;
    assert_eq!(told(&mut ingest), pairs(&[("fieldgate/gw-1/data/weather", stale)]));
    ingest.stale(at(91), "weather");
    ingest.stale(at(91), "nobody");
    assert_eq!(told(&mut ingest), []);
}

/// The announcements for a device.
fn announced(points: Vec<PointFacts>, publishing: Publishing) -> Vec<(String, serde_json::Value)> {
    let home_assistant = Some("homeassistant".to_owned());
    let mut ingest =
        Ingest::new(Config { home_assistant, ..config(vec![(weather(Some(points)), publishing)]) });
    let told = told(&mut ingest).into_iter().filter(|(topic, _)| topic.starts_with("homeassistant/"));
    told.map(|(topic, text)| (topic, serde_json::from_str(&text).unwrap())).collect()
}

#[test]
fn a_point_is_announced_with_what_its_unit_means() {
    let check = |unit: Option<&str>, kind, expected: &[(&str, &str)]| {
        let told = announced(vec![point("x", kind, unit)], Publishing::default());
        for key in ["device_class", "unit_of_measurement", "state_class"] {
            let wanted = expected.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
            assert_eq!(told[0].1[key].as_str(), wanted, "{unit:?} {key}");
        }
    };
    let number = PointKind::Number;
    let measured = |class: &'static str, unit: &'static str| {
        [("device_class", class), ("unit_of_measurement", unit), ("state_class", "measurement")]
    };
    check(Some("Cel"), number, &measured("temperature", "°C"));
    check(Some("%RH"), number, &measured("humidity", "%"));
    check(Some("hPa"), number, &measured("pressure", "hPa"));
    check(
        Some("kWh"),
        number,
        &[("device_class", "energy"), ("unit_of_measurement", "kWh"), ("state_class", "total_increasing")],
    );
    check(Some("ug/m3"), number, &[("unit_of_measurement", "µg/m³"), ("state_class", "measurement")]);
    check(Some("furlong"), number, &[("unit_of_measurement", "furlong"), ("state_class", "measurement")]);
    check(None, PointKind::Integer, &[("state_class", "measurement")]);
    check(None, PointKind::Text, &[]);
    check(None, PointKind::Bool, &[]);
}

#[test]
fn an_announcement_says_where_the_value_is_and_whose_it_is() {
    let told = announced(
        vec![point("t \"x\"", PointKind::Number, Some("Cel")), point("door", PointKind::Bool, None)],
        Publishing::default(),
    );
    let (topic, t) = &told[0];
    assert_eq!(topic, "homeassistant/sensor/gw-1_weather/t_20__22_x_22_/config");
    assert_eq!(t["state_topic"], "fieldgate/gw-1/data/weather");
    let template =
        r#"{% if "t \"x\"" in value_json['values'] %}{{ value_json['values']["t \"x\""] }}{% endif %}"#;
    assert_eq!(t["value_template"], template);
    assert_eq!(t["availability_topic"], "fieldgate/gw-1/status");
    assert_eq!(t["unique_id"], "gw-1_weather_t_20__22_x_22_");
    assert_eq!(t["device"]["identifiers"][0], "gw-1_weather");
    assert_eq!(t["expire_after"], 61);
    let (topic, door) = &told[1];
    assert_eq!(topic, "homeassistant/binary_sensor/gw-1_weather/door/config");
    assert_eq!((door["payload_on"].as_str(), door["payload_off"].as_str()), (Some("True"), Some("False")));

    let plain = Publishing { form: Form::new(Format::Plain), split: true, ..Publishing::default() };
    let told = announced(vec![point("door", PointKind::Bool, None)], plain);
    assert_eq!(told[0].1["state_topic"], "fieldgate/gw-1/data/weather/door");
    assert_eq!(told[0].1["value_template"], serde_json::Value::Null);
    assert_eq!(told[0].1["payload_on"], "true");
}

#[test]
fn a_value_expires_only_where_a_message_must_come() {
    let check = |filter: FilterConfig, expected: Option<u64>| {
        let told = announced(
            vec![point("t", PointKind::Number, None)],
            Publishing { filter, ..Publishing::default() },
        );
        assert_eq!(told[0].1["expire_after"].as_u64(), expected);
    };
    let on_change =
        FilterConfig { on_change: true, deadband: Some(Deadband::Absolute(1.0)), ..FilterConfig::default() };
    check(on_change.clone(), None);
    check(FilterConfig { max_interval: Some(Duration::from_secs(300)), ..on_change }, Some(361));
    let window = Some((Duration::from_secs(600), Statistic::Mean));
    check(FilterConfig { window, ..FilterConfig::default() }, Some(661));
}

#[test]
fn all_statistics_of_a_point_are_announced_with_its_unit() {
    let window = Some((Duration::from_secs(60), Statistic::All));
    let publishing =
        Publishing { filter: FilterConfig { window, ..FilterConfig::default() }, ..Publishing::default() };
    let told = announced(
        vec![point("t", PointKind::Number, Some("Cel")), point("door", PointKind::Bool, None)],
        publishing,
    );
    let names: Vec<&str> = told.iter().map(|(_, payload)| payload["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["t", "t_mean", "t_min", "t_max", "door"]);
    assert!(told[..4].iter().all(|(_, payload)| payload["unit_of_measurement"] == "°C"));
}

#[test]
fn a_form_that_home_assistant_cannot_read_is_told_and_not_announced() {
    let influx = Publishing { form: Form::new(Format::Influx), ..Publishing::default() };
    let home_assistant = Some("homeassistant".to_owned());
    let devices = vec![(weather(Some(vec![point("t", PointKind::Number, None)])), influx)];
    let mut ingest = Ingest::new(Config { home_assistant, ..config(devices) });
    let outputs = outputs(&mut ingest);
    assert!(
        outputs.contains(&Output::Notice(Notice::NotAnnounced { device: "weather".into() })),
        "{outputs:?}"
    );
    assert_eq!(outputs.len(), 2, "and its info");
}

#[test]
fn announcements_of_points_that_are_gone_are_cleared() {
    let topic = |rest: &str| format!("homeassistant/{rest}/config");
    let retained: Vec<Arc<str>> = [
        "sensor/gw-1_weather/t",
        "sensor/gw-1_weather/gone",
        "binary_sensor/gw-1_weather/door",
        "sensor/gw-1_station/may_come",
        "sensor/gw-1_old/t",
    ]
    .iter()
    .map(|rest| Arc::from(topic(rest)))
    .collect();
    let devices = vec![
        (weather(Some(vec![point("t", PointKind::Number, None)])), Publishing::default()),
        (DeviceFacts::named("station".into()), Publishing::default()),
    ];
    let cleared = |home_assistant: Option<&str>| -> Vec<String> {
        let home_assistant = home_assistant.map(str::to_owned);
        let config = Config { home_assistant, retained: retained.clone(), ..config(devices.clone()) };
        let told = told(&mut Ingest::new(config));
        told.into_iter().filter(|(_, payload)| payload.is_empty()).map(|(topic, _)| topic).collect()
    };
    let gone =
        ["sensor/gw-1_weather/gone", "binary_sensor/gw-1_weather/door", "sensor/gw-1_old/t"].map(topic);
    assert_eq!(cleared(Some("homeassistant")), gone);
    let config = Config { retained: retained.clone(), ..config(devices.clone()) };
    let mut ingest = Ingest::new(config);
    outputs(&mut ingest);
    assert_eq!(ingest.next_deadline(), Some(Mono::from_nanos(60_000_000_000)));
    ingest.tick(Now { mono: Mono::from_nanos(60_000_000_000), ..Now::default() });
    assert_eq!((outputs(&mut ingest).len(), ingest.next_deadline()), (5, None), "once more for who was away");
    assert_eq!(cleared(None).len(), 5, "all, where nothing is announced any more");
    assert_eq!(cleared(Some("another")).len(), 5, "and where the prefix is another one");
}

#[test]
fn the_facts_of_a_device_name_what_was_announced_of_it() {
    let home_assistant = Some("ha".to_owned());
    let devices = vec![(weather(Some(vec![point("t", PointKind::Number, None)])), Publishing::default())];
    let told = told(&mut Ingest::new(Config { home_assistant, ..config(devices) }));
    let (_, info) = told.iter().find(|(topic, _)| topic.ends_with("/info/weather")).unwrap();
    assert_eq!(super::announced(info.as_bytes()), [Arc::from("ha/sensor/gw-1_weather/t/config")]);
    assert_eq!(super::announced(b"no json"), []);
}

fn settings(devices: Vec<(DeviceFacts, Publishing)>) -> Settings {
    let (default, home_assistant, gone) = (Publishing::default(), None, Vec::new());
    Settings { devices, default, home_assistant, gone }
}

/// The numbers of the readings that were published.
fn published(ingest: &mut Ingest) -> Vec<u64> {
    let number = |output| match output {
        Output::Message(message) => Some(message.reading?.seq.number),
        _ => None,
    };
    outputs(ingest).into_iter().filter_map(number).collect()
}

#[test]
fn numbers_go_on_over_changes_also_of_a_device_that_was_away() {
    let on_change = Publishing {
        filter: FilterConfig { on_change: true, ..FilterConfig::default() },
        ..Publishing::default()
    };
    let mut ingest = Ingest::new(config(vec![(weather(None), Publishing::default())]));
    ingest.take(Now::default(), t(1.0));
    ingest.take(Now::default(), t(1.0));
    ingest.reconfigure(Now::default(), settings(vec![(weather(None), on_change.clone())]));
    ingest.take(Now::default(), t(1.0));
    ingest.take(Now::default(), t(1.0));
    assert_eq!(published(&mut ingest), [1, 2, 3], "the last one is no change");
    // What hasn't changed isn't touched: it still knows what it has published.
    ingest.reconfigure(Now::default(), settings(vec![(weather(None), on_change.clone())]));
    ingest.take(Now::default(), t(1.0));
    ingest.reconfigure(Now::default(), settings(Vec::new()));
    ingest.reconfigure(Now::default(), settings(vec![(weather(None), on_change)]));
    ingest.take(Now::default(), t(1.0));
    assert_eq!(published(&mut ingest), [4]);
    assert_eq!(ingest.published("weather"), 4);
}

#[test]
fn what_a_window_holds_at_a_change_is_published_by_the_old_rules() {
    let mean = Publishing {
        filter: FilterConfig {
            window: Some((Duration::from_secs(3600), Statistic::Mean)),
            ..FilterConfig::default()
        },
        ..Publishing::default()
    };
    for to in [vec![(weather(None), Publishing::default())], Vec::new()] {
        let mut ingest = Ingest::new(config(vec![(weather(None), mean.clone())]));
        ingest.take(Now::default(), t(10.0));
        ingest.take(Now::default(), t(20.0));
        told(&mut ingest);
        ingest.reconfigure(Now::default(), settings(to));
        let first = told(&mut ingest).remove(0);
        assert_eq!(first.0, "fieldgate/gw-1/data/weather");
        assert!(first.1.contains(r#""t":15"#), "{}", first.1);
    }
}

#[test]
fn devices_that_no_config_names_go_by_the_new_default_and_go_when_they_are_said_to() {
    let mut ingest = Ingest::new(config(Vec::new()));
    ingest.take(Now::default(), t(1.0));
    told(&mut ingest);
    let default = Publishing { retain: true, ..Publishing::default() };
    ingest.reconfigure(Now::default(), Settings { default, ..settings(Vec::new()) });
    outputs(&mut ingest);
    ingest.take(Now::default(), t(1.0));
    let retained = |output: &Output| matches!(output, Output::Message(message) if message.retain);
    assert!(outputs(&mut ingest).iter().any(retained));
    let gone = vec!["weather".into()];
    ingest.reconfigure(Now::default(), Settings { gone, ..settings(Vec::new()) });
    assert_eq!(told(&mut ingest), pairs(&[("fieldgate/gw-1/info/weather", "")]));
    assert_eq!(ingest.infos(), Vec::new());
}
