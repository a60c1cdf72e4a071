//! The bus against modelled slaves on a modelled line, in invented time.

mod asked;
mod sick;
mod sim;
mod talks;
mod world;
mod writes;

use std::time::Duration;

use world::{Model, World, device, point, reads};

use super::config::Ask;
use super::*;
use crate::reading::{Quality, Value};
use crate::sensor::modbus::pdu::ReadFunction::{Coils, HoldingRegisters, InputRegisters};
use crate::sensor::{CellType, Points, WordOrder};

#[test]
fn a_cycle_makes_one_reading_of_all_its_points() {
    let mut config = device("meter", 7, "10s");
    let order = |kind, word_order| {
        let mut point = point("x", InputRegisters, 0, kind);
        point.cell.as_mut().unwrap().word_order = word_order;
        point
    };
    let mut low = order(CellType::U32, WordOrder::LowFirst);
    (low.name, low.register.as_mut().unwrap().address) = ("energy".into(), 5);
    let list = vec![
        point("voltage", InputRegisters, 0, CellType::F32),
        low,
        point("alarm", HoldingRegisters, 9, CellType::U16),
        point("relay", Coils, 3, CellType::Bool),
    ];
    config.points = Points::List(list);
    let mut model = Model::new(7);
    model.put(InputRegisters, 0, &[0x4366, 0x3334]);
    model.put(InputRegisters, 5, &[0x1e5f, 1]);
    model.put(HoldingRegisters, 9, &[0xFFFF]);
    model.put(Coils, 3, &[1]);
    let mut world = World::new(vec![config], vec![model]);
    world.run("9s");
    let values: Vec<_> =
        world.readings[0].1.samples.iter().map(|s| (&*s.point, s.value.clone().unwrap())).collect();
    let expected = [
        ("voltage", Value::Number(230.20001)),
        ("energy", Value::Number(73_311.0)),
        ("alarm", Value::Number(65_535.0)),
        ("relay", Value::Bool(true)),
    ];
    assert_eq!(values, expected);
    assert_eq!(world.readings.len(), 1);
    assert_eq!(world.sent.len(), 4, "{:?}", world.sent);
    world.run("25s");
    assert_eq!(world.readings.len(), 3);
}

#[test]
fn neighbours_come_with_one_request_and_slow_points_only_when_due() {
    let mut config = device("m", 1, "1s");
    let mut slow = point("b", InputRegisters, 1, CellType::U16);
    slow.every = Some(Duration::from_secs(3));
    config.points = Points::List(vec![point("a", InputRegisters, 0, CellType::U16), slow]);
    let mut world = World::new(vec![config], vec![Model::new(1)]);
    world.run("6500ms");
    let counts: Vec<usize> = world.readings.iter().map(|(_, reading)| reading.samples.len()).collect();
    assert_eq!(counts, [2, 1, 1, 2, 1, 1, 2]);
    assert_eq!(world.sent[0].1, reads(1, InputRegisters, 0, 2));
    assert_eq!(world.sent[1].1, reads(1, InputRegisters, 0, 1));
}

#[test]
fn a_request_waits_for_the_silence_of_the_line() {
    let config = device("m", 1, "100ms");
    let mut world = World::new(vec![config], vec![Model::new(1)]);
    world.run("1s");
    // 3.5 characters of 10 bits at 9600 baud.
    let gap = Duration::from_micros(3_645);
    for (sent, _) in &world.sent {
        let before = world.heard.iter().filter(|heard| *heard < sent).max();
        if let Some(before) = before {
            assert!(sent.since(*before) >= gap, "{:?}", sent.since(*before));
        }
    }
    assert!(world.sent.len() >= 9);
}

#[test]
fn a_line_that_is_never_silent_is_spoken_into_all_the_same() {
    let mut world = World::new(vec![device("m", 1, "1s")], vec![Model::new(1)]);
    world.noise_every("1ms", "9s");
    world.run("9s");
    assert!(world.sent.len() >= 3, "{}", world.sent.len());
    let waited = world.sent[0].0.since(crate::time::Mono::ZERO);
    assert!(waited >= Duration::from_millis(500) && waited < Duration::from_millis(520), "{waited:?}");
}

#[test]
fn noise_does_not_prolong_a_deadline() {
    let mut model = Model::new(1);
    model.is_dead = true;
    let mut config = device("m", 1, "10s");
    config.poll.as_mut().unwrap().retries = 0;
    let mut world = World::new(vec![config], vec![model]);
    world.noise_every("3ms", "5s");
    world.run("4s");
    let status = world.bus.bus_status(world.now());
    assert_eq!((status.slaves[0].timeouts, status.slaves[0].requests), (1, 1));
    assert!(status.foreign_bytes > 100, "{status:?}");
    // 500 ms until it spoke, 8 bytes, 500 ms of timeout, 7 bytes: 15.6 ms at 9600 baud.
    let air = status.slaves[0].air_time;
    assert!(air > Duration::from_millis(515) && air < Duration::from_millis(520), "{air:?}");
}

#[test]
fn what_is_sent_and_comes_back_is_taken_out_and_told_once() {
    let mut model = Model::new(1);
    model.echoes = true;
    let mut world = World::new(vec![device("m", 1, "1s")], vec![model]);
    world.run("5s");
    assert_eq!(world.readings.len(), 5);
    assert!(world.readings.iter().all(|(_, r)| r.samples[0].value == Some(Value::Number(0.0))));
    let echoes = world.notices.iter().filter(|notice| matches!(notice, Notice::Echo { .. }));
    assert_eq!(echoes.count(), 1);
    assert!(world.bus.bus_status(world.now()).slaves[0].echoes);
}

#[test]
fn a_point_that_the_device_refuses_is_found_told_once_and_reads_invalid() {
    let mut config = device("m", 1, "10s");
    let list = (0..8).map(|at| point(&format!("p{at}"), InputRegisters, at, CellType::U16));
    config.points = Points::List(list.collect());
    let mut model = Model::new(1);
    model.refuses = vec![(InputRegisters, 5, Exception::IllegalAddress)];
    let mut world = World::new(vec![config], vec![model]);
    world.run("9s");
    let reading = &world.readings[0].1;
    assert_eq!(reading.samples.len(), 8);
    for sample in &reading.samples {
        let expected = if &*sample.point == "p5" { Quality::Invalid } else { Quality::Good };
        assert_eq!(sample.quality, expected, "{}", sample.point);
    }
    let searched = world.sent.len();
    assert_eq!(searched, 7, "the whole, 4+4, 2+2, 1+1");
    world.run("599s");
    let (device, points) = ("m".into(), vec!["p5".into()]);
    let told = Notice::PointsRefused { device, points, exception: Exception::IllegalAddress };
    assert_eq!(world.notices.iter().filter(|notice| **notice == told).count(), 1);
    assert_eq!(world.sent.len() - searched, 59 * 2, "what stands around it is read in two requests");
    assert_eq!(world.bus.bus_status(world.now()).slaves[0].refused, ["p5".into()]);
    // Ten minutes later it is asked for again, alone; somebody has changed the device.
    world.models[0].refuses.clear();
    world.run("630s");
    assert!(world.readings.last().unwrap().1.samples.iter().all(|sample| sample.quality == Quality::Good));
    assert!(world.bus.bus_status(world.now()).slaves[0].refused.is_empty());
    assert_eq!(world.sent.last().unwrap().1, reads(1, InputRegisters, 0, 8), "and read together again");
}

#[test]
fn a_hole_that_the_device_refuses_is_not_the_fault_of_the_points_beside_it() {
    let mut config = device("m", 1, "10s");
    let poll = config.poll.as_mut().unwrap();
    poll.ask = Ask::Registers { unit_id: 1, hole_max: 4, registers_max: 60 };
    let list = [0, 1, 4, 5].map(|at| point(&format!("p{at}"), InputRegisters, at, CellType::U16));
    config.points = Points::List(list.to_vec());
    let mut model = Model::new(1);
    model.refuses = vec![(InputRegisters, 2, Exception::IllegalAddress)];
    let mut world = World::new(vec![config], vec![model]);
    world.run("25s");
    assert_eq!(world.readings.len(), 3);
    assert!(world.readings.iter().all(|(_, r)| r.samples.iter().all(|s| s.quality == Quality::Good)));
    let requests: Vec<_> = world.sent.iter().map(|(_, bytes)| bytes.clone()).collect();
    let (first, second) = (reads(1, InputRegisters, 0, 2), reads(1, InputRegisters, 4, 2));
    assert_eq!(requests[0], reads(1, InputRegisters, 0, 6));
    assert_eq!(requests[1..3], [first.clone(), second.clone()]);
    assert_eq!(requests[3..5], [first, second], "what was learned is kept");
}

#[test]
fn a_function_that_the_device_lacks_is_not_searched_point_by_point() {
    let mut config = device("m", 1, "10s");
    let mut list: Vec<_> =
        (0..30).map(|at| point(&format!("p{at}"), HoldingRegisters, at, CellType::U16)).collect();
    list.push(point("good", InputRegisters, 0, CellType::U16));
    config.points = Points::List(list);
    let mut model = Model::new(1);
    model.refuses = vec![(HoldingRegisters, 0, Exception::IllegalFunction)];
    let mut world = World::new(vec![config], vec![model]);
    world.run("9s");
    assert_eq!(world.sent.len(), 2);
    let invalid = world.readings[0].1.samples.iter().filter(|s| s.quality == Quality::Invalid);
    assert_eq!(invalid.count(), 30);
}

#[test]
fn a_request_of_bytes_gets_the_frame_that_its_decoder_takes() {
    use crate::sensor::{Ask, DecodeConfig, FramingConfig, LineEnd, PointConfig};
    let mut config = device("co2", 1, "10s");
    config.poll.as_mut().unwrap().ask = Ask::Bytes(b"?\r".to_vec());
    config.framing = FramingConfig::Line { end: LineEnd::Any, bytes_max: 64 };
    config.decode = DecodeConfig::KeyValue { pair: '=', separator: None };
    config.points = Points::List(vec![PointConfig::named("co2")]);
    let mut model = Model::new(1);
    model.says = Some((b"?\r".to_vec(), b"junk\nco2=415\n".to_vec()));
    let mut world = World::new(vec![config], vec![model]);
    world.run("25s");
    assert_eq!(world.readings.len(), 3);
    assert_eq!(world.readings[2].1.samples[0].value, Some(Value::Number(415.0)));
    let status = world.bus.bus_status(world.now());
    assert_eq!((status.slaves[0].answers, status.slaves[0].timeouts), (3, 0));
}
