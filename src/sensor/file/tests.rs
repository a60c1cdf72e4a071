//! Scripts: files that come, go and hang, at invented times.

use super::*;
use crate::reading::{Quality, Value};
use crate::sensor::RawValue;
use crate::time::{ClockTrust, Timestamp};

fn at(millis: u64) -> Now {
    let mono = Mono::from_nanos(millis * 1_000_000);
    Now { mono, wall: Timestamp::from_millis(1_700_000_000_000), trust: ClockTrust::Synced }
}

fn source() -> FileSource {
    let point = PointConfig {
        from: "value".to_owned(),
        scale: "0.001".parse().unwrap(),
        invalid: vec![RawValue::Number(85_000.into())],
        ..PointConfig::named("temperature")
    };
    let config = FileConfig {
        name: "cellar".into(),
        path: "/w1/28-*/temperature".into(),
        device: "cellar-{1}".into(),
        every: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        pattern: Pattern(regex::Regex::new(r"(?<value>\S+)").unwrap()),
        point,
        stale_after: Duration::from_secs(60),
    };
    FileSource::new(config, Run(1), BootId([1; 16]), at(0))
}

fn found(names: &[&str]) -> Vec<FoundFile> {
    let file = |name: &&str| FoundFile {
        path: format!("/w1/28-{name}/temperature"),
        matches: vec![(*name).to_owned()],
    };
    names.iter().map(file).collect()
}

fn path(name: &str) -> String {
    format!("/w1/28-{name}/temperature")
}

/// What it wants, in short words.
fn wants(source: &mut FileSource) -> Vec<String> {
    let word = |output| match output {
        FileOutput::Scan => "scan".to_owned(),
        FileOutput::Read { path } => format!("read {path}"),
        FileOutput::Reading(reading) => {
            let sample = &reading.samples[0];
            let value = match &sample.value {
                Some(Value::Number(number)) => number.to_string(),
                _ => sample.quality.as_str().to_owned(),
            };
            format!("{} {} {value}", reading.device, reading.seq)
        }
        FileOutput::Notice(Notice::BadLines { source, error, .. }) => format!("{source}: {error}"),
        FileOutput::Notice(Notice::DeviceStale { device }) => format!("{device} stale"),
        FileOutput::Notice(notice) => format!("{notice:?}").split([' ', '{']).next().unwrap().to_owned(),
    };
    std::iter::from_fn(|| source.poll_output()).map(word).collect()
}

fn give(source: &mut FileSource, millis: u64, name: &str, text: &str) -> Vec<String> {
    source.handle(at(millis), FileInput::Read { path: &path(name), bytes: Ok(text.as_bytes()) });
    wants(source)
}

/// Has it look for files, and find these.
fn round(source: &mut FileSource, millis: u64, names: &[&str]) -> Vec<String> {
    source.handle(at(millis), FileInput::Tick);
    assert_eq!(wants(source), ["scan"]);
    source.handle(at(millis), FileInput::Found(Ok(&found(names))));
    wants(source)
}

#[test]
fn each_file_is_a_device_and_one_is_read_after_the_other_at_a_pace() {
    let mut source = source();
    assert_eq!(round(&mut source, 0, &["a", "b"]), [format!("read {}", path("a"))]);
    assert_eq!(
        give(&mut source, 750, "a", "21562\n"),
        ["cellar-a 1-1 21.562".to_owned(), format!("read {}", path("b"))]
    );
    assert_eq!(give(&mut source, 1_500, "b", "-1250\n"), ["cellar-b 1-1 -1.25"]);
    assert_eq!(source.next_deadline(), Some(at(10_000).mono), "the pace counts from the beginning");
    round(&mut source, 10_000, &["a", "b"]);
    // 85 °C is what the sensor has after power-on.
    assert_eq!(give(&mut source, 10_700, "a", "85000")[0], "cellar-a 1-2 invalid");
    let status = source.status(at(10_700));
    assert_eq!((status.state, status.devices.len()), (PortState::Open, 2));
    assert_eq!(status.devices[0].last.as_ref().unwrap().samples[0].quality, Quality::Invalid);
}

#[test]
fn a_read_that_hangs_costs_the_others_its_time_once() {
    let mut source = source();
    round(&mut source, 0, &["a", "b"]);
    assert_eq!(source.next_deadline(), Some(at(2_000).mono));
    source.handle(at(2_000), FileInput::Tick);
    assert_eq!(
        wants(&mut source),
        ["cellar-a: it can't be read: no answer within 2 s".to_owned(), format!("read {}", path("b"))]
    );
    assert_eq!(give(&mut source, 2_100, "b", "20000"), ["cellar-b 1-1 20"]);
    // The next round leaves it out, as long as it hangs.
    assert_eq!(round(&mut source, 10_000, &["a", "b"]), [format!("read {}", path("b"))]);
    assert_eq!(give(&mut source, 10_100, "b", "20100"), ["cellar-b 1-2 20.1"]);
    assert_eq!(give(&mut source, 15_000, "a", "1000"), Vec::<String>::new(), "a late value is none");
    assert_eq!(round(&mut source, 20_000, &["a", "b"]), [format!("read {}", path("a"))]);
}

#[test]
fn a_scan_that_hangs_leaves_the_known_files() {
    let mut source = source();
    round(&mut source, 0, &["a"]);
    give(&mut source, 1, "a", "1000");
    source.handle(at(10_000), FileInput::Tick);
    assert_eq!(wants(&mut source), ["scan"]);
    source.handle(at(12_000), FileInput::Tick);
    assert_eq!(wants(&mut source), [format!("read {}", path("a"))]);
    give(&mut source, 12_001, "a", "1000");
    source.handle(at(20_000), FileInput::Tick);
    assert_eq!(wants(&mut source), [format!("read {}", path("a"))], "no second scan while one hangs");
    source.handle(at(20_100), FileInput::Found(Ok(&found(&["a", "b"]))));
    assert_eq!(wants(&mut source), Vec::<String>::new(), "it is read in the next round");
    assert_eq!(source.status(at(20_100)).devices.len(), 2);
}

#[test]
fn files_come_and_go_and_a_device_keeps_its_count() {
    let mut source = source();
    assert_eq!(round(&mut source, 0, &[]), ["PortDown"]);
    let status = source.status(at(0));
    assert_eq!(status.state, PortState::Down);
    assert!(status.error.unwrap().contains("no file is /w1/28-*/temperature"));
    assert_eq!(round(&mut source, 10_000, &["a"]), ["PortOpened".to_owned(), format!("read {}", path("a"))]);
    give(&mut source, 10_001, "a", "1000");
    assert_eq!(
        round(&mut source, 20_000, &["b"]),
        ["cellar-a stale".to_owned(), format!("read {}", path("b"))]
    );
    give(&mut source, 20_001, "b", "1000");
    round(&mut source, 30_000, &["a", "b"]);
    assert_eq!(give(&mut source, 30_001, "a", "2000")[..2], ["DeviceFresh", "cellar-a 1-2 2"]);
    assert_eq!(source.status(at(30_001)).lost, 1);
}

#[test]
fn a_sensor_under_another_number_is_the_same_device_but_two_of_a_name_are_told() {
    let mut source = source();
    let numbered = |number: u32, name: &str| FoundFile {
        path: format!("/hwmon{number}/{name}"),
        matches: vec![name.to_owned()],
    };
    let mut scan = |millis: u64, files: &[FoundFile]| {
        source.handle(at(millis), FileInput::Tick);
        source.handle(at(millis), FileInput::Found(Ok(files)));
        let read = format!("/hwmon{}/x", if millis < 5_000 { 1 } else { 2 });
        source.handle(at(millis), FileInput::Read { path: &read, bytes: Ok(b"1000") });
        wants(&mut source)
    };
    assert!(scan(0, &[numbered(1, "x")]).contains(&"cellar-x 1-1 1".to_owned()));
    assert!(scan(10_000, &[numbered(2, "x")]).contains(&"cellar-x 1-2 1".to_owned()));
    let told = scan(20_000, &[numbered(2, "x"), numbered(3, "x")]);
    assert!(
        told.contains(
            &"cellar: it can't be read: its device would be cellar-x, as that of /hwmon2/x".to_owned()
        ),
        "{told:?}"
    );
}

#[test]
fn what_is_no_value_is_a_fault_of_its_device() {
    let mut source = source();
    round(&mut source, 0, &["a"]);
    source.handle(at(1), FileInput::Read { path: &path("a"), bytes: Err("No such device") });
    assert_eq!(wants(&mut source), ["cellar-a: it can't be read: No such device"]);
    round(&mut source, 10_000, &["a"]);
    assert_eq!(give(&mut source, 10_001, "a", "\n"), Vec::<String>::new(), "one episode");
    assert_eq!(source.status(at(10_001)).devices[0].bad_lines, 2);
    source.handle(at(70_001), FileInput::Tick);
    assert!(wants(&mut source).contains(&"cellar-a stale".to_owned()));
}
