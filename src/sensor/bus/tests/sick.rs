//! What a sick device may cost the others.

use std::time::Duration;

use super::world::{Model, World, device, point, reads, span};
use crate::reading::Value;
use crate::sensor::bus::Notice;
use crate::sensor::modbus::pdu::ReadFunction::InputRegisters;
use crate::sensor::{CellType, Points};
use crate::time::Mono;

fn sends_to(world: &World, unit: u8) -> Vec<Mono> {
    world.sent.iter().filter(|(_, bytes)| bytes[0] == unit).map(|(at, _)| *at).collect()
}

#[test]
fn three_dead_one_slow_and_one_late_of_twenty_cost_nobody_more_than_one_timeout() {
    let mut devices = Vec::new();
    let mut models = Vec::new();
    for unit in 1..=20 {
        let mut config = device(&format!("d{unit}"), unit, "5s");
        let mut model = Model::new(unit);
        match unit {
            4 | 9 | 10 => model.is_dead = true,
            // Slow, and given the time for it.
            6 => {
                model.delay = span("800ms");
                config.poll.as_mut().unwrap().timeout = span("1s");
            }
            // Its answers come when its timeout is over and the next device is asked.
            13 => model.delay = span("510ms"),
            15 => model.echoes = true,
            _ => {}
        }
        devices.push(config);
        models.push(model);
    }
    let mut world = World::new(devices, models);
    world.run("300s");
    let well = |unit: &u8| ![4, 9, 10, 13].contains(unit);
    for unit in (1..=20).filter(well) {
        let name = format!("d{unit}");
        let times: Vec<Mono> =
            world.readings.iter().filter(|(_, r)| *r.device == *name).map(|(at, _)| *at).collect();
        // The first cycles are not on the grid yet, and the dead aren't known.
        let later: Vec<&Mono> = times.iter().filter(|at| **at > Mono::ZERO + span("20s")).collect();
        assert!(later.len() >= 55, "{name}: {}", later.len());
        for pair in later.windows(2) {
            let gap = pair[1].since(*pair[0]);
            // One timeout, and the turns of others that were due meanwhile.
            let slack = span("500ms") + span("850ms") + span("250ms");
            assert!(gap < span("5s") + slack && gap > span("5s") - slack, "{name}: {gap:?}");
        }
    }
    let offline = |name: &str| {
        let of =
            |notice: &&Notice| matches!(notice, Notice::DeviceOffline { device, .. } if &**device == name);
        world.notices.iter().filter(of).count()
    };
    for name in ["d4", "d9", "d10"] {
        assert_eq!(offline(name), 1, "{name}");
    }
    assert_eq!(offline("d1"), 0);
    let status = world.bus.bus_status(world.now());
    let late = &status.slaves[12];
    assert_eq!((late.late_answers, late.timeouts), (late.requests, late.requests), "{late:?}");
    assert!(late.last_error.as_ref().unwrap().contains("after its timeout"), "{late:?}");
    assert!(status.load_percent > 10 && status.load_percent < 80, "{}", status.load_percent);
}

#[test]
fn a_dead_device_is_asked_seldomer_and_comes_back_with_its_first_answer() {
    let mut dead = Model::new(1);
    dead.is_dead = true;
    let mut world = World::new(vec![device("a", 1, "5s"), device("b", 2, "5s")], vec![dead, Model::new(2)]);
    world.run("400s");
    let asked = sends_to(&world, 1);
    let gaps: Vec<u64> =
        asked.windows(2).map(|pair| (pair[1].since(pair[0]) + span("500ms")).as_secs()).collect();
    // Each cycle until it is offline (three cycles and ten seconds), then steps that double to a minute.
    assert_eq!(gaps[..9], [5, 5, 5, 10, 20, 40, 60, 60, 60], "{gaps:?}");
    let offline = world.notices.iter().filter(|notice| matches!(notice, Notice::DeviceOffline { .. }));
    assert_eq!(offline.count(), 1);
    world.models[0].is_dead = false;
    world.run("480s");
    let online = |notice: &Notice| matches!(notice, Notice::DeviceOnline { device, .. } if &**device == "a");
    assert_eq!(world.notices.iter().filter(|notice| online(notice)).count(), 1);
    let readings = world.readings.iter().filter(|(_, reading)| &*reading.device == "a").count();
    assert!(readings > 3, "back to its pace: {readings}");
}

#[test]
fn a_device_that_was_well_gets_its_retries_behind_the_others() {
    let mut world =
        World::new(vec![device("a", 1, "1s"), device("b", 2, "1s")], vec![Model::new(1), Model::new(2)]);
    world.run("3s");
    world.models[0].is_dead = true;
    let before = sends_to(&world, 1).len();
    world.run("6900ms");
    let after: Vec<Mono> = sends_to(&world, 1)[before..].to_vec();
    // Two tries in the first cycle that fails, one in the next.
    assert_eq!(after.len(), 3, "{after:?}");
    let between = sends_to(&world, 2).into_iter().filter(|at| *at > after[0] && *at < after[1]).count();
    assert!(between >= 1, "b had its turn between the tries");
}

#[test]
fn a_late_answer_is_never_taken_for_that_to_another_question() {
    // Two blocks of the same length: what tells their answers apart is only what was asked.
    let mut config = device("m", 1, "2s");
    let list = [("a", 0), ("b", 10)].map(|(name, at)| point(name, InputRegisters, at, CellType::U16));
    config.points = Points::List(list.to_vec());
    let mut model = Model::new(1);
    model.tells_address = true;
    let mut world = World::new(vec![config], vec![model]);
    world.run("1900ms");
    assert_eq!(world.readings.len(), 1);
    // From now on each answer comes when the next try is under way.
    for delay in [510, 700, 900, 990, 30, 520, 800, 100] {
        world.models[0].delay = Duration::from_millis(delay);
        let until = world.clock + span("4s");
        world.run(&format!("{}ms", until.since(Mono::ZERO).as_millis()));
    }
    assert!(world.readings.len() > 5);
    for (_, reading) in &world.readings {
        for sample in &reading.samples {
            let expected = if &*sample.point == "a" { 0x100 } else { 0x10A };
            assert_eq!(sample.value, Some(Value::Number(f64::from(expected))), "{}", sample.point);
        }
    }
    let status = world.bus.bus_status(world.now());
    assert!(status.slaves[0].timeouts > 3, "{status:?}");
}

#[test]
fn a_port_that_is_lost_is_opened_again_and_everybody_asked_anew() {
    use crate::sensor::bus::Input;
    let mut world = World::new(vec![device("m", 1, "1s")], vec![Model::new(1)]);
    world.run("2500ms");
    let count = world.readings.len();
    let now = world.now();
    world.bus.handle(now, Input::Lost { error: "gone" });
    world.outputs();
    let status = world.bus.status(world.now());
    assert_eq!((status.lost, status.error.as_deref()), (1, Some("gone")));
    assert!(status.devices[0].stale);
    world.run("8s");
    assert!(world.readings.len() > count + 3);
    assert_eq!(world.sent[0].1, reads(1, InputRegisters, 0, 1));
    let notices: Vec<_> = world.notices.iter().filter(|notice| matches!(notice, Notice::Port(_))).collect();
    assert_eq!(notices.len(), 5, "opened, down, stale, opened, fresh: {notices:?}");
}
