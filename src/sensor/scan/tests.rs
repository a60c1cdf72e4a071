//! Scans in invented time.

use std::time::Duration;

use super::*;
use crate::sensor::bus::config::{Ask, PollConfig, Register};
use crate::sensor::cell::{Cell, CellType};
use crate::sensor::check::CheckConfig;
use crate::sensor::codec::CodecKind;
use crate::sensor::config::{DecodeConfig, FramingConfig, LineEnd, PointConfig, Points};
use crate::sensor::modbus::pdu::ReadFunction;
use crate::sensor::modbus::{identify, rtu};

fn candidate(profile: &str, framing: FramingConfig, decode: DecodeConfig, points: Points) -> Candidate {
    let check: Option<CheckConfig> = None;
    Candidate {
        profile: profile.to_owned(),
        title: format!("a {profile}"),
        settings: Settings::plain(9600),
        device: DeviceConfig {
            name: "scan".into(),
            port: "scan".into(),
            framing,
            check,
            decode,
            points,
            commands: Vec::new(),
            stale_after: Duration::from_secs(60),
            poll: None,
        },
    }
}

fn candidates() -> Vec<Candidate> {
    let nmea = CodecKind::Nmea { bare: false };
    let lines = || FramingConfig::Line { end: LineEnd::Any, bytes_max: 256 };
    vec![
        candidate("json", lines(), DecodeConfig::Json, Points::All),
        candidate("nmea", FramingConfig::Codec(nmea), DecodeConfig::Codec(nmea), Points::All),
    ]
}

/// Runs a scan against a line: `send` says what comes within a step at these settings, and what is answered to a request.
fn run(
    scan: &mut dyn Scan,
    mut heard: impl FnMut(Settings) -> Vec<u8>,
    mut answer: impl FnMut(&[u8]) -> Option<(Duration, Vec<u8>)>,
) -> (Vec<Event>, Mono) {
    let (mut now, mut events) = (Mono::ZERO, Vec::new());
    let mut coming: Vec<(Mono, Vec<u8>)> = Vec::new();
    loop {
        while let Some(output) = scan.poll_output() {
            match output {
                Output::Open(settings) => {
                    scan.handle(now, Input::Opened);
                    let bytes = heard(settings);
                    scan.handle(now, Input::Bytes { bytes: &bytes, errors: 0 });
                }
                Output::Send(bytes) => {
                    coming.extend(answer(&bytes).map(|(after, bytes)| (now + after, bytes)));
                }
                Output::Tell(event) => events.push(event),
                Output::End => return (events, now),
            }
        }
        let deadline = scan.next_deadline().expect("it waits for something or ends");
        coming.sort();
        match coming.first() {
            Some((at, _)) if *at < deadline => {
                let (at, bytes) = coming.remove(0);
                now = at;
                scan.handle(now, Input::Bytes { bytes: &bytes, errors: 0 });
            }
            _ => {
                now = now.max(deadline);
                scan.handle(now, Input::Tick);
            }
        }
    }
}

fn serial(settings: &[Settings], all: bool) -> SerialScan {
    let settings = settings.to_vec();
    let listen = Duration::from_secs(4);
    SerialScan::new(SerialConfig { settings, listen, all, ask: false, candidates: candidates() })
}

fn best(events: &[Event]) -> Option<&Verdict> {
    events.iter().find_map(|event| match event {
        Event::Best(verdict) => Some(verdict),
        _ => None,
    })
}

const NMEA: &[u8] = b"$GPGLL,4916.45,N,12311.12,W,225444,A*31\r\n$GPGLL,4916.45,N,12311.12,W,225444,A*31\r\n";

#[test]
fn the_first_rate_at_which_it_makes_sense_ends_the_scan_unless_all_are_wanted() {
    let rates = RATES.map(Settings::plain);
    let heard = |settings: Settings| if settings.baud == 4800 { NMEA.to_vec() } else { vec![0x93; 64] };
    let (events, took) = run(&mut serial(&rates, false), heard, |_| None);
    let verdict = best(&events).unwrap();
    assert_eq!((verdict.settings, verdict.matches[0].profile.as_str()), (Settings::plain(4800), "nmea"));
    assert_eq!(took.since(Mono::ZERO), Duration::from_secs(16), "4800 is the fourth");
    let (events, took) = run(&mut serial(&rates, true), heard, |_| None);
    assert_eq!(best(&events).unwrap().settings.baud, 4800);
    assert_eq!(took.since(Mono::ZERO), Duration::from_secs(44));
}

#[test]
fn text_with_an_eighth_bit_is_heard_again_as_seven_bits_with_the_parity_that_it_has() {
    for (ones, frame) in [(0, "7E1"), (1, "7O1")] {
        let with_parity = |byte: &u8| if byte.count_ones() % 2 == ones { *byte } else { byte | 0x80 };
        let bytes: Vec<u8> = NMEA.iter().map(with_parity).collect();
        let (events, _) = run(&mut serial(&[Settings::plain(9600)], false), |_| bytes.clone(), |_| None);
        let verdict = best(&events).unwrap();
        assert_eq!((verdict.settings.frame().as_str(), verdict.matches[0].good), (frame, 2));
    }
}

#[test]
fn damaged_stop_bits_lead_to_frames_with_parity() {
    let mut scan = serial(&[Settings::plain(2400)], false);
    let mut opened = Vec::new();
    let mut now = Mono::ZERO;
    loop {
        match scan.poll_output() {
            Some(Output::Open(settings)) => {
                opened.push(settings.frame());
                scan.handle(now, Input::Opened);
                let even = settings.parity == Parity::Even;
                let errors = if even { 0 } else { 40 };
                let bytes = if even { NMEA } else { &[0x55; 80] };
                scan.handle(now, Input::Bytes { bytes, errors });
            }
            Some(Output::End) => break,
            Some(_) => {}
            None => {
                now = scan.next_deadline().unwrap();
                scan.handle(now, Input::Tick);
            }
        }
    }
    assert_eq!(opened, ["8N1", "8E1"], "8O1 is not needed any more");
}

#[test]
fn modbus_frames_of_others_are_told_by_their_units_and_noise_is_nothing() {
    let frame = |unit, pdu: &[u8]| rtu::frame(unit, pdu);
    let chatter = [frame(7, &[3, 0, 0, 0, 2]), frame(7, &[3, 4, 0, 1, 0, 2]), frame(9, &[0x83, 2])].concat();
    let (events, _) = run(&mut serial(&[Settings::plain(9600)], false), |_| chatter.clone(), |_| None);
    assert_eq!(best(&events).unwrap().modbus_units, [7, 9]);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..50 {
        let noise: Vec<u8> = (0..4_000).map(|_| random.u8(..)).collect();
        let (events, _) = run(&mut serial(&[Settings::plain(9600)], false), |_| noise.clone(), |_| None);
        assert_eq!(best(&events), None);
    }
}

#[test]
fn a_port_that_cant_be_opened_ends_the_scan_soon() {
    let mut scan = serial(&RATES.map(Settings::plain), false);
    let (mut opens, mut failures) = (0, 0);
    while let Some(output) = scan.poll_output() {
        match output {
            Output::Open(_) => {
                opens += 1;
                scan.handle(Mono::ZERO, Input::Failed { error: "no such port" });
            }
            Output::Tell(Event::Failed { error }) => {
                assert_eq!(error, "no such port");
                failures += 1;
            }
            Output::Tell(_) | Output::Send(_) => {}
            Output::End => break,
        }
    }
    assert_eq!((opens, failures, scan.next_deadline()), (2, 2, None));
}

fn modbus(units: std::ops::RangeInclusive<u8>, candidates: Vec<Candidate>) -> ModbusScan {
    ModbusScan::new(ModbusConfig {
        settings: Some(vec![Settings::plain(9600)]),
        units,
        timeout: Duration::from_millis(200),
        registers: None,
        candidates,
    })
}

const SOON: Duration = Duration::from_millis(30);

#[test]
fn whoever_says_anything_is_there_also_who_says_no_or_is_late() {
    let answer = |request: &[u8]| match (request[0], request[1]) {
        (3, 3) => Some((SOON, rtu::frame(3, &[3, 2, 0, 7]))),
        (4, 3) => Some((SOON, rtu::frame(4, &[0x83, 1]))),
        (4, 0x2b) => Some((SOON, rtu::frame(4, b"\x2b\x0e\x01\x01\x00\x00\x01\x00\x04Acme"))),
        // It answers while the next one is being asked.
        (6, 3) => Some((Duration::from_millis(300), rtu::frame(6, &[3, 2, 0, 9]))),
        // A Modbus gateway on the way knows that nobody is there.
        (8, 3) => Some((SOON, rtu::frame(8, &[0x83, 11]))),
        _ => None,
    };
    let mut scan = modbus(1..=10, Vec::new());
    let estimate = scan.estimate();
    let (events, took) = run(&mut scan, |_| Vec::new(), answer);
    let units: Vec<(u8, String, bool)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Unit { unit, answer, is_late, .. } => Some((*unit, answer.clone(), *is_late)),
            _ => None,
        })
        .collect();
    let no = "exception 1, illegal function: the device doesn't know it";
    assert_eq!(
        units,
        [
            (3, "holding register 0 is 7".to_owned(), false),
            (4, no.to_owned(), false),
            (6, "holding register 0 is 9".to_owned(), true)
        ]
    );
    let identity = Event::Identity { unit: 4, facts: vec![("vendor", "Acme".to_owned())] };
    assert!(events.contains(&identity), "{events:?}");
    assert!(estimate > Duration::from_secs(2) && estimate < Duration::from_secs(3), "{estimate:?}");
    assert!(took.since(Mono::ZERO) < estimate + Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_damaged_answer_is_asked_for_again() {
    let mut asked = 0;
    let answer = |request: &[u8]| {
        asked += u8::from(request[1] == 3);
        let mut frame = rtu::frame(request[0], &[3, 2, 0, 7]);
        if asked == 1 {
            frame[3] ^= 0x40;
        }
        (request[1] == 3).then_some((SOON, frame))
    };
    let (events, _) = run(&mut modbus(5..=5, Vec::new()), |_| Vec::new(), answer);
    assert!(events.iter().any(|event| matches!(event, Event::Unit { unit: 5, .. })), "{events:?}");
    assert_eq!(asked, 2);
}

fn meter(profile: &str, phases: u16) -> Candidate {
    let point = |name: &str, address, unit: &str| PointConfig {
        cell: Some(Cell::of(CellType::U16)),
        register: Some(Register { function: ReadFunction::InputRegisters, address }),
        unit: Some(unit.into()),
        ..PointConfig::named(name)
    };
    let voltages = (0..phases).map(|phase| point(&format!("v{phase}"), phase, "V"));
    let points = voltages.chain([point("f", 10, "Hz"), point("p", 11, "W")]).collect();
    let framing = FramingConfig::Line { end: LineEnd::Any, bytes_max: 64 };
    let mut found = candidate(profile, framing, DecodeConfig::Registers, Points::List(points));
    found.device.poll = Some(PollConfig {
        every: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        retries: 0,
        pause: Duration::ZERO,
        ask: Ask::Registers { unit_id: 1, hole_max: 0, registers_max: 60 },
    });
    found
}

#[test]
fn a_profile_is_named_only_where_all_of_the_mains_is_what_a_mains_has_and_nothing_is_refused() {
    let check = |registers: &[(u16, u16)], expected: &[&str]| {
        let answer = |request: &[u8]| {
            let [unit, function, a, b, _, count, ..] = *request else { return None };
            if function == identify::REQUEST[0] {
                return Some((SOON, rtu::frame(unit, &[function | 0x80, 1])));
            }
            let first = u16::from_be_bytes([a, b]);
            let values: Option<Vec<u8>> = (first..first + u16::from(count))
                .map(|address| registers.iter().find(|(known, _)| *known == address))
                .map(|found| found.map(|(_, value)| value.to_be_bytes()))
                .collect::<Option<Vec<[u8; 2]>>>()
                .map(|values| values.concat());
            let pdu = match values {
                Some(values) => [&[function, count * 2][..], &values].concat(),
                None => vec![function | 0x80, 2],
            };
            Some((SOON, rtu::frame(unit, &pdu)))
        };
        let candidates = vec![meter("one-phase", 1), meter("same-phase", 1), meter("three-phase", 3)];
        let (events, _) = run(&mut modbus(1..=1, candidates), |_| Vec::new(), answer);
        let named = events.iter().find_map(|event| match event {
            Event::Profiles { profiles, .. } => Some(profiles.clone()),
            _ => None,
        });
        assert_eq!(named.unwrap_or_default(), expected, "{registers:?}");
    };
    let single = [(0, 230), (10, 50), (11, 800)];
    check(&single, &["one-phase", "same-phase"]);
    // Other phases that read 0 are none.
    check(&[&single[..], &[(1, 0), (2, 0)]].concat(), &["one-phase", "same-phase"]);
    check(&[&single[..], &[(1, 231), (2, 229)]].concat(), &["three-phase"]);
    check(&[(0, 230), (10, 50)], &[]);
    check(&[(0, 230), (10, 7), (11, 800)], &[]);
    check(&[(0, 12), (10, 50), (11, 800)], &[]);
}

#[test]
fn meters_on_m_bus_are_found_by_their_acknowledgement() {
    let codec = CodecKind::Mbus;
    let candidates =
        vec![candidate("mbus-meter", FramingConfig::Codec(codec), DecodeConfig::Codec(codec), Points::All)];
    let telegram = include_bytes!("../../../fixtures/mbus/elv_temp_humid.bin").to_vec();
    let settings = vec![Settings::plain(2400).framed("8E1").unwrap()];
    let mut scan = MbusScan::new(MbusConfig { settings, addresses: 0..=20, candidates });
    let answer = |request: &[u8]| match request {
        [0x10, 0x40, 17, ..] => Some((SOON, vec![0xe5])),
        [0x10, 0x5b, 17, ..] => Some((SOON, telegram.clone())),
        _ => None,
    };
    let (events, took) = run(&mut scan, |_| Vec::new(), answer);
    let found = events.iter().position(|event| matches!(event, Event::Unit { unit: 17, .. })).unwrap();
    let Event::Heard(verdict) = &events[found + 1] else { panic!("{:?}", events[found + 1]) };
    assert_eq!((verdict.matches[0].profile.as_str(), verdict.matches[0].good), ("mbus-meter", 1));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Unit { .. })).count(), 1);
    assert!(took.since(Mono::ZERO) < Duration::from_secs(8), "{took:?}");
}

#[test]
fn frames_are_read_and_written_as_people_say_them() {
    for word in ["8N1", "7E1", "8O2", "5N2"] {
        assert_eq!(Settings::plain(300).framed(word).unwrap().frame(), word);
    }
    for word in ["", "8N", "9N1", "8X1", "8N3", "8N11", "äN1"] {
        assert_eq!(Settings::plain(300).framed(word), None, "{word}");
    }
    assert_eq!(Settings::plain(19_200).framed("8e1").unwrap().to_string(), "19200 8E1");
}
