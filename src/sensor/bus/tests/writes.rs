//! Commands go before polls, and never late.

use regex::Regex;

use super::world::{Model, World, device, point, span};
use crate::command::Outcome;
use crate::reading::Value;
use crate::sensor::bus::config::WriteConfig;
use crate::sensor::bus::{Input, Notice};
use crate::sensor::config::*;
use crate::sensor::modbus::pdu::ReadFunction::{self, Coils, HoldingRegisters};
use crate::sensor::{Ask, CellType, CommandConfig, DeviceConfig, Expect, SendTemplate, WordOrder};

const PLAIN: WriteConfig = WriteConfig { by_several: false, verify: true };

fn writable(name: &str, function: ReadFunction, address: u16, kind: CellType) -> PointConfig {
    PointConfig { write: Some(PLAIN), ..point(name, function, address, kind) }
}

/// A device with an input register that is polled, a setpoint in tenths, and a relay.
fn plant(name: &str, unit: u8, every: &str) -> DeviceConfig {
    let mut config = device(name, unit, every);
    let setpoint = PointConfig {
        scale: "0.1".parse().unwrap(),
        min: Some(5.0),
        max: Some(30.0),
        ..writable("setpoint", HoldingRegisters, 2, CellType::I16)
    };
    let mut relay = writable("relay", Coils, 9, CellType::Bool);
    relay.cell = None;
    let shown = point("shown", HoldingRegisters, 100, CellType::U16);
    config.points = Points::List(vec![setpoint, relay, shown]);
    config
}

fn with(points: Vec<PointConfig>) -> DeviceConfig {
    DeviceConfig { points: Points::List(points), ..device("d1", 1, "60s") }
}

fn functions(world: &World, from: usize) -> Vec<u8> {
    world.sent[from..].iter().map(|(_, bytes)| bytes[1]).collect()
}

fn done(value: Value) -> Outcome {
    Outcome::Done(Some(value))
}

#[test]
fn commands_go_before_polls_in_their_order_are_read_back_and_told_at_once() {
    let devices = (1..=5).map(|unit| plant(&format!("d{unit}"), unit, "1s")).collect();
    let mut world = World::new(devices, (1..=5).map(Model::new).collect());
    world.run("5s");
    let (polls, readings) = (world.sent.len(), world.readings.len());
    world.command(1, "d3", "setpoint", Value::Number(21.5));
    world.command(2, "d3", "relay", Value::Text("on".into()));
    world.command(3, "d5", "setpoint", Value::Integer(7));
    world.run("6s");
    assert_eq!(*world.outcome(1), done(Value::Number(21.5)));
    assert_eq!(*world.outcome(2), done(Value::Bool(true)));
    assert_eq!(*world.outcome(3), done(Value::Number(7.0)));
    assert_eq!(world.models[2].registers[&(HoldingRegisters.code(), 2)], 215);
    assert_eq!(world.models[2].registers[&(Coils.code(), 9)], 1);
    assert_eq!(world.models[4].registers[&(HoldingRegisters.code(), 2)], 70);
    // At most the poll that was under way stands before the first, and one behind every third request.
    let sent = functions(&world, polls);
    let writes: Vec<usize> = (0..sent.len()).filter(|at| [5, 6].contains(&sent[*at])).collect();
    assert!(matches!(writes[..], [0 | 1, 2 | 3, ..=7]), "{sent:?}");
    let told = world.readings[readings..].iter().find(|(_, reading)| reading.samples.len() == 1).unwrap();
    assert_eq!((&*told.1.device, &*told.1.samples[0].point), ("d3", "setpoint"));
    assert_eq!(told.1.samples[0].value, Some(Value::Number(21.5)));
}

#[test]
fn every_type_and_order_is_written_as_it_is_read() {
    let low = WordOrder::LowFirst;
    let cases: Vec<(CellType, WordOrder, Value, &[u16])> = vec![
        (CellType::U16, low, Value::Integer(65_535), &[0xffff]),
        (CellType::I16, low, Value::Integer(-2), &[0xfffe]),
        (CellType::U32, low, Value::Integer(0x0001_0002), &[2, 1]),
        (CellType::U32, WordOrder::HighFirst, Value::Integer(0x0001_0002), &[1, 2]),
        (CellType::I32, low, Value::Integer(-2), &[0xfffe, 0xffff]),
        (CellType::U64, low, Value::Integer(9_007_199_254_740_993), &[1, 0, 0, 0x20]),
        (CellType::F32, low, Value::Number(230.2), &[0x3333, 0x4366]),
        (CellType::F64, WordOrder::HighFirst, Value::Number(-1.5), &[0xbff8, 0, 0, 0]),
    ];
    for (kind, word_order, value, expected) in cases {
        let mut config = writable("p", HoldingRegisters, 10, kind);
        config.cell.as_mut().unwrap().word_order = word_order;
        if kind == CellType::U64 {
            config.kind = PointType::Integer;
        }
        let mut world = World::new(vec![with(vec![config])], vec![Model::new(1)]);
        world.run("1s");
        let before = world.sent.len();
        world.command(1, "d1", "p", value.clone());
        world.run("2s");
        assert!(matches!(world.outcome(1), Outcome::Done(Some(_))), "{kind:?} {:?}", world.outcome(1));
        let stored: Vec<u16> = (10..)
            .map_while(|at| world.models[0].registers.get(&(HoldingRegisters.code(), at)).copied())
            .collect();
        assert_eq!(stored, expected, "{kind:?} {value:?}");
        let function = if expected.len() == 1 { 6 } else { 16 };
        assert_eq!(functions(&world, before), [function, 3], "{kind:?}");
    }
}

#[test]
fn a_device_that_knows_only_the_functions_for_several_is_written_by_these() {
    let by_several = Some(WriteConfig { by_several: true, ..PLAIN });
    let register = PointConfig { write: by_several, ..point("r", HoldingRegisters, 1, CellType::U16) };
    let coil = PointConfig { write: by_several, cell: None, ..point("c", Coils, 1, CellType::Bool) };
    let mut world = World::new(vec![with(vec![register, coil])], vec![Model::new(1)]);
    world.run("1s");
    let before = world.sent.len();
    world.command(1, "d1", "r", Value::Integer(7));
    world.command(2, "d1", "c", Value::Bool(true));
    world.run("2s");
    assert_eq!(functions(&world, before), [16, 3, 15, 1]);
    assert_eq!((world.outcome(1), world.outcome(2)), (&done(Value::Number(7.0)), &done(Value::Bool(true))));
    assert_eq!(world.models[0].registers[&(Coils.code(), 1)], 1);
}

#[test]
fn a_part_of_a_register_is_written_and_its_other_bits_stay() {
    let mut bit = writable("enabled", HoldingRegisters, 4, CellType::Bit);
    bit.kind = PointType::Bool;
    bit.cell.as_mut().unwrap().bit = 3;
    let mut level = writable("level", HoldingRegisters, 4, CellType::U16);
    let cell = level.cell.as_mut().unwrap();
    (cell.mask, cell.shift) = (Some(0xff00), 8);
    let mut model = Model::new(1);
    model.put(HoldingRegisters, 4, &[0x1201]);
    let mut world = World::new(vec![with(vec![bit, level])], vec![model]);
    world.run("1s");
    let before = world.sent.len();
    world.command(1, "d1", "enabled", Value::Bool(true));
    world.command(2, "d1", "level", Value::Integer(0xab));
    world.command(3, "d1", "level", Value::Integer(256));
    world.run("2s");
    assert_eq!(functions(&world, before), [3, 6, 3, 3, 6, 3]);
    assert_eq!(world.models[0].registers[&(HoldingRegisters.code(), 4)], 0xab09);
    assert_eq!((world.outcome(1), world.outcome(2)), (&done(Value::Bool(true)), &done(Value::Number(171.0))));
    let words = "256 is not between 0 and 255, which the device can hold";
    assert_eq!(*world.outcome(3), Outcome::Refused(words.into()));
}

#[test]
fn a_command_that_comes_too_late_is_not_sent() {
    let mut slow = Model::new(1);
    slow.delay = span("400ms");
    let mut world = World::new(vec![plant("d1", 1, "100ms")], vec![slow]);
    world.run("100ms");
    let until = world.clock + span("100ms");
    world.command_until(1, "d1", "setpoint", Value::Integer(7), until);
    world.run("3s");
    assert_eq!(*world.outcome(1), Outcome::Refused("it came too late: the bus had no time for it".into()));
    world.command_until(2, "d1", "setpoint", Value::Integer(7), world.clock);
    assert_eq!(*world.outcome(2), Outcome::Refused("it came too late".into()));
    assert!(world.sent.iter().all(|(_, bytes)| bytes[1] != 6));
}

#[test]
fn what_was_not_confirmed_is_sent_again_and_then_told_as_unknown() {
    let mut world = World::new(vec![plant("d1", 1, "60s")], vec![Model::new(1)]);
    world.run("1s");
    world.models[0].hides_writes = true;
    world.command(1, "d1", "setpoint", Value::Integer(7));
    world.run("5s");
    let words = "sent, but not confirmed: the device did not answer";
    assert_eq!(*world.outcome(1), Outcome::Unknown(words.into()));
    let writes: Vec<_> = world.sent.iter().filter(|(_, bytes)| bytes[1] == 6).collect();
    assert_eq!(writes.len(), 2, "once more, as the polls are");
    assert_eq!(writes[0].1, writes[1].1);
    assert_eq!(world.models[0].registers[&(HoldingRegisters.code(), 2)], 70, "it was done all the same");
    // One answer is lost: the second try brings it, and the value is read back.
    world.models[0].hides_writes = false;
    let mut lost = false;
    world.line = Box::new(move |answer| {
        let loses = answer[1] == 6 && !std::mem::replace(&mut lost, true);
        if loses { Vec::new() } else { vec![(std::time::Duration::ZERO, answer)] }
    });
    world.command(2, "d1", "setpoint", Value::Integer(8));
    world.run("12s");
    assert_eq!(*world.outcome(2), done(Value::Number(8.0)));
}

#[test]
fn a_dead_device_is_refused_at_once_when_it_is_known_to_be_offline() {
    let mut world = World::new(vec![plant("d1", 1, "1s"), plant("d2", 2, "1s")], vec![Model::new(2)]);
    world.run("100ms");
    world.command(1, "d1", "setpoint", Value::Integer(7));
    world.run("30s");
    assert!(matches!(world.outcome(1), Outcome::Unknown(_)), "{:?}", world.outcome(1));
    let writes = world.sent.iter().filter(|(_, bytes)| bytes[..2] == [1, 6]).count();
    assert_eq!(writes, 1, "who never answered isn't tried again");
    let before = world.sent.len();
    world.command(2, "d1", "setpoint", Value::Integer(7));
    let words = "the device is offline: no answer within 500ms";
    assert_eq!((world.outcome(2), world.sent.len()), (&Outcome::Refused(words.into()), before));
}

#[test]
fn what_the_device_says_is_told() {
    let mut world = World::new(vec![plant("d1", 1, "60s")], vec![Model::new(1)]);
    world.run("1s");
    world.models[0].refuses_writes = Some(3);
    world.command(1, "d1", "setpoint", Value::Integer(7));
    world.run("2s");
    let words = "exception 3, illegal value: the device refuses the count or the value";
    assert_eq!(*world.outcome(1), Outcome::Failed(words.into()));
    world.models[0].refuses_writes = None;
    world.models[0].is_stubborn = true;
    let before = world.readings.len();
    world.command(2, "d1", "setpoint", Value::Integer(7));
    world.run("3s");
    assert_eq!(*world.outcome(2), Outcome::Failed("it was set to 7 and reads 0".into()));
    assert_eq!(
        world.readings[before].1.samples[0].value,
        Some(Value::Number(0.0)),
        "the actual state is told"
    );
    // Somebody who wants no verification gets what it reads.
    let free = Some(WriteConfig { verify: false, ..PLAIN });
    let button = PointConfig { write: free, ..point("reset", HoldingRegisters, 3, CellType::U16) };
    let mut stubborn = Model::new(1);
    stubborn.is_stubborn = true;
    let mut world = World::new(vec![with(vec![button])], vec![stubborn]);
    world.run("1s");
    world.command(1, "d1", "reset", Value::Integer(1));
    world.run("2s");
    assert_eq!(*world.outcome(1), done(Value::Number(0.0)));
}

#[test]
fn what_can_not_be_written_is_refused_at_once() {
    let mut world = World::new(vec![plant("d1", 1, "60s")], vec![Model::new(1)]);
    let setpoint = |world: &mut World, number| world.command(number, "d1", "setpoint", Value::Integer(7));
    world.run("1s");
    let before = world.sent.len();
    for (number, point, value, words) in [
        (1, "x", Value::Integer(7), "it has no \"x\" that can be set; it has setpoint, relay"),
        (2, "shown", Value::Integer(7), "it has no \"shown\" that can be set; it has setpoint, relay"),
        (3, "setpoint", Value::Integer(31), "31 is not between 5 and 30"),
        (4, "setpoint", Value::Number(21.55), "21.55 lies between two steps of 0.1"),
        (5, "relay", Value::Text("toggle".into()), "expected on, off, true, false, 1 or 0"),
    ] {
        world.command(number, "d1", point, value);
        assert_eq!(*world.outcome(number), Outcome::Refused(words.into()));
    }
    assert_eq!(world.sent.len(), before);
    // The poll that is under way and the device's commands: the ninth is one too many.
    world.models[0].is_dead = true;
    for number in 10..19 {
        setpoint(&mut world, number);
    }
    let Outcome::Refused(words) = world.outcome(18) else { panic!() };
    assert!(words.starts_with("too many commands wait already: 8 of this device (8 may)"), "{words}");
    world.bus.handle(world.now(), Input::Lost { error: "gone" });
    world.outputs();
    let sent = Outcome::Unknown("sent, but not confirmed: the device did not answer".into());
    assert_eq!(*world.outcome(10), sent, "it was under way");
    assert_eq!(*world.outcome(17), Outcome::Refused("the port went down".into()));
    // It is opened again at once; until then nothing is taken.
    setpoint(&mut world, 20);
    assert_eq!(*world.outcome(20), Outcome::Refused("the port is down: gone".into()));
}

#[test]
fn who_commands_all_the_time_does_not_stop_the_polls() {
    let mut world =
        World::new(vec![plant("d1", 1, "1s"), plant("d2", 2, "1s")], vec![Model::new(1), Model::new(2)]);
    world.run("5s");
    let (mut number, before) = (0, world.readings.len());
    for step in 0..600_u64 {
        number += 1;
        world.command(number, "d1", "setpoint", Value::Integer(i64::try_from(5 + number % 20).unwrap()));
        world.run(&format!("{}ms", 5_000 + step * 50));
    }
    let whole = |name: &str| {
        let of = |reading: &crate::reading::Reading| *reading.device == *name && reading.samples.len() == 3;
        world.readings[before..].iter().filter(|(_, reading)| of(reading)).count()
    };
    // A round takes six requests of some 60 ms, and three of commands stand before each.
    assert!(whole("d1") >= 18 && whole("d2") >= 18, "{} {}", whole("d1"), whole("d2"));
    let done = world.done.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Done(_))).count();
    assert!(done > 100, "{done}");
}

#[test]
fn an_echo_and_a_slow_device_do_no_harm() {
    let mut config = plant("d1", 1, "60s");
    config.poll.as_mut().unwrap().timeout = span("1s");
    let mut model = Model::new(1);
    (model.echoes, model.delay) = (true, span("800ms"));
    let mut world = World::new(vec![config], vec![model]);
    world.run("10s");
    world.command(1, "d1", "setpoint", Value::Number(21.5));
    world.command(2, "d1", "relay", Value::Bool(true));
    world.run("20s");
    assert_eq!((world.outcome(1), world.outcome(2)), (&done(Value::Number(21.5)), &done(Value::Bool(true))));
    assert!(world.notices.iter().any(|notice| matches!(notice, Notice::Echo { .. })), "{:?}", world.notices);
}

#[test]
fn a_device_that_is_asked_in_its_own_protocol_is_told_in_it_and_asked_at_once() {
    let mut config = device("heater", 1, "60s");
    config.decode = DecodeConfig::KeyValue { pair: '=', separator: None };
    config.points = Points::List(vec![PointConfig::named("t")]);
    config.poll.as_mut().unwrap().ask = Ask::Bytes(b"T?\r\n".to_vec());
    config.commands = vec![CommandConfig {
        value: PointConfig { max: Some(30.0), ..PointConfig::named("setpoint") },
        send: SendTemplate::text("SP{value:.1}\r\n").unwrap(),
        check: None,
        expect: Some(Expect::Line(Pattern(Regex::new("^OK").unwrap()))),
        timeout: span("300ms"),
    }];
    let mut model = Model::new(1);
    model.says = Some((b"T?\r\n".to_vec(), b"t=20.1\r\n".to_vec()));
    let mut world = World::new(vec![config], vec![model]);
    world.run("1s");
    assert_eq!(world.readings.len(), 1);
    world.models[0].says = Some((b"SP21.5\r\n".to_vec(), b"OK\r\n".to_vec()));
    world.command(1, "heater", "setpoint", Value::Number(21.5));
    let sent = world.sent.len();
    world.run("1200ms");
    assert_eq!(*world.outcome(1), Outcome::Done(None));
    assert_eq!(world.sent[sent].1, b"T?\r\n", "what it says now");
    world.run("10s");
    world.command(2, "heater", "setpoint", Value::Number(22.0));
    world.run("11s");
    let words = "sent, but not confirmed within 300ms: it said nothing";
    assert_eq!(*world.outcome(2), Outcome::Unknown(words.into()));
    let tries = world.sent.iter().filter(|(_, bytes)| bytes == b"SP22.0\r\n").count();
    assert_eq!(tries, 1, "nobody knows what twice would do");
    world.command(3, "heater", "setpoint", Value::Number(31.0));
    assert_eq!(*world.outcome(3), Outcome::Refused("31 is not 30 or below".into()));
}
