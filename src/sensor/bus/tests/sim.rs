//! Seeds: noise, cuts, foreign frames, late and doubled answers. Never a wrong value.

use std::time::Duration;

use super::world::{Model, World, device, point, span};
use crate::reading::{Quality, Value};
use crate::sensor::modbus::pdu::ReadFunction::{HoldingRegisters, InputRegisters};
use crate::sensor::modbus::rtu;
use crate::sensor::{CellType, Points};
use crate::time::Mono;

/// What a line under one seed does to an answer.
fn weather(seed: u64) -> impl FnMut(Vec<u8>) -> Vec<(Duration, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(seed);
    move |answer| {
        let mut pieces = Vec::new();
        let ms = |random: &mut fastrand::Rng, max| Duration::from_millis(random.u64(0..max));
        match random.u8(0..100) {
            // As it should be, in one piece or in several.
            0..55 => {
                let cut = random.usize(0..=answer.len());
                pieces.push((Duration::ZERO, answer[..cut].to_vec()));
                pieces.push((ms(&mut random, 30), answer[cut..].to_vec()));
            }
            // Bits turned over: up to three, which the CRC always finds.
            55..65 => {
                let mut bad = answer;
                for _ in 0..random.u8(1..=3) {
                    let bit = random.usize(0..bad.len() * 8);
                    bad[bit / 8] ^= 1 << (bit % 8);
                }
                pieces.push((Duration::ZERO, bad));
            }
            65..72 => pieces.push((Duration::ZERO, answer[..random.usize(0..answer.len())].to_vec())),
            72..78 => pieces.push((Duration::ZERO, answer[random.usize(0..answer.len())..].to_vec())),
            // Noise before and behind.
            78..84 => {
                let noise =
                    |random: &mut fastrand::Rng| (0..random.u8(0..20)).map(|_| random.u8(..)).collect();
                pieces.push((Duration::ZERO, noise(&mut random)));
                pieces.push((Duration::ZERO, answer));
                pieces.push((ms(&mut random, 5), noise(&mut random)));
            }
            // A frame between two others on the bus.
            84..89 => {
                let (unit, count) = (random.u8(30..200), random.u8(1..4) * 2);
                let mut pdu = vec![4, count];
                pdu.extend((0..count).map(|_| random.u8(..)));
                pieces.push((Duration::ZERO, rtu::frame(unit, &pdu)));
                pieces.push((ms(&mut random, 20), answer));
            }
            // Late: with the slave's own delay up to twice the timeout, beyond which no answer is reckoned with.
            89..95 => pieces.push((Duration::from_millis(random.u64(300..720)), answer)),
            // Twice.
            95..97 => {
                pieces.push((Duration::ZERO, answer.clone()));
                pieces.push((Duration::ZERO, answer));
            }
            _ => {}
        }
        pieces.retain(|(_, piece)| !piece.is_empty());
        pieces
    }
}

fn play(seed: u64) -> (usize, u64, u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut devices, mut models) = (Vec::new(), Vec::new());
    for unit in 1..=random.u8(2..7) {
        let mut config = device(&format!("d{unit}"), unit, ["1s", "2s", "3s"][random.usize(0..3)]);
        let poll = config.poll.as_mut().unwrap();
        (poll.retries, poll.pause) = (random.u8(0..3), Duration::from_millis(random.u64(0..50)));
        let count = random.u16(1..12);
        let list = (0..count).map(|at| {
            let function = if random.bool() { InputRegisters } else { HoldingRegisters };
            point(&format!("p{}", at * 2), function, at * 2, CellType::U16)
        });
        config.points = Points::List(list.collect());
        devices.push(config);
        let mut model = Model::new(unit);
        model.tells_address = true;
        model.delay = Duration::from_millis(random.u64(1..200));
        model.echoes = random.u8(0..4) == 0;
        models.push(model);
    }
    let mut world = World::new(devices, models);
    world.line = Box::new(weather(seed));
    world.run("120s");
    let mut values = 0;
    for (_, reading) in &world.readings {
        let unit: u16 = reading.device[1..].parse().unwrap();
        for sample in &reading.samples {
            let address: u16 = sample.point[1..].parse().unwrap();
            let expected = Value::Number(f64::from(unit << 8 | address));
            let is_right = sample.value == Some(expected) && sample.quality == Quality::Good;
            assert!(is_right, "seed {seed}: {} {sample:?}", reading.device);
            values += 1;
        }
    }
    let status = world.bus.bus_status(world.now());
    let sum = |of: fn(&crate::sensor::bus::SlaveStatus) -> u64| status.slaves.iter().map(of).sum();
    // Nothing is left hanging: each device was asked in the last twenty seconds, or is offline.
    for slave in &status.slaves {
        let unit = slave.unit_id.unwrap();
        let last = world.sent.iter().rev().find(|(_, bytes)| bytes[0] == unit).map(|(at, _)| *at).unwrap();
        let age = (Mono::ZERO + span("120s")).since(last);
        assert!(slave.offline || age < span("20s"), "seed {seed}: {unit} {age:?}");
    }
    (values, sum(|slave| slave.timeouts), sum(|slave| slave.late_answers))
}

#[test]
fn whatever_the_line_does_no_wrong_value_is_told() {
    let (mut values, mut timeouts, mut late) = (0, 0, 0);
    for seed in 0..100 {
        let (v, t, l) = play(seed);
        (values, timeouts, late) = (values + v, timeouts + t, late + l);
    }
    assert!(values > 10_000 && timeouts > 500 && late > 20, "{values} {timeouts} {late}");
}
