//! Polls that somebody asks for.

use std::time::Duration;

use super::world::{Model, World, device, point};
use crate::reading::Value;
use crate::sensor::bus::{AskError, Input};
use crate::sensor::modbus::pdu::ReadFunction::InputRegisters;
use crate::sensor::{Ask, CellType, DecodeConfig, PointConfig, Points};

#[test]
fn a_poll_out_of_turn_reads_all_points_at_once_and_the_pace_stays() {
    let mut config = device("meter", 1, "60s");
    let mut slow = point("slow", InputRegisters, 1, CellType::U16);
    slow.every = Some(Duration::from_secs(600));
    config.points = Points::List(vec![point("x", InputRegisters, 0, CellType::U16), slow]);
    let mut model = Model::new(1);
    model.put(InputRegisters, 0, &[7, 8]);
    let mut world = World::new(vec![config], vec![model]);
    world.run("10s");
    assert_eq!(world.readings.len(), 1);
    world.ask(5, "meter").unwrap();
    assert_eq!(world.ask(6, "meter"), Err(AskError::Asked));
    assert_eq!(world.ask(6, "boiler"), Err(AskError::NoSuchDevice));
    world.run("11s");
    let [polled] = &world.polled[..] else { panic!("{:?}", world.polled) };
    let points: Vec<&str> = polled.samples.iter().map(|sample| &*sample.point).collect();
    assert_eq!((polled.id, &polled.error, points), (5, &None, vec!["x", "slow"]));
    // The model takes 20 ms, the line a millisecond for each byte.
    assert!((Duration::from_millis(20)..Duration::from_millis(80)).contains(&polled.took), "{polled:?}");
    assert_eq!(world.readings.len(), 2, "it is a reading as any other");
    world.run("130s");
    let at: Vec<Duration> = world.readings.iter().map(|(at, _)| at.since(world.readings[0].0)).collect();
    assert_eq!((at.len(), at[2].as_secs_f64().round()), (4, 60.0), "{at:?}");
}

#[test]
fn a_silent_device_is_told_as_one_and_so_is_a_line_that_closes() {
    let mut model = Model::new(1);
    model.is_dead = true;
    let mut world = World::new(vec![device("m", 1, "10s")], vec![model]);
    // By then it is offline, and asked once a minute.
    world.run("90s");
    world.ask(1, "m").unwrap();
    world.run("92s");
    let error = world.polled[0].error.clone().unwrap();
    assert!(error.contains("no answer"), "{error}");
    assert!(world.polled[0].samples.is_empty());
    // Its timeout, and the time that the question takes.
    assert!((500..600).contains(&world.polled[0].took.as_millis()), "{:?}", world.polled);
    // What it says next is told, and it is well again.
    world.models[0].is_dead = false;
    world.ask(2, "m").unwrap();
    world.run("93s");
    assert_eq!(world.polled[1].error, None);
    world.models[0].is_dead = true;
    world.ask(3, "m").unwrap();
    world.bus.handle(world.now(), Input::Lost { error: "it was unplugged" });
    world.outputs();
    let error = world.polled[2].error.clone().unwrap();
    assert!(error.contains("it was unplugged"), "{error}");
    assert!(matches!(world.ask(4, "m"), Err(AskError::Closed { error: Some(_) })));
}

#[test]
fn a_device_with_bytes_of_its_own_is_polled_too() {
    let mut config = device("scale", 1, "60s");
    config.decode = DecodeConfig::KeyValue { pair: '=', separator: None };
    config.points = Points::List(vec![PointConfig::named("weight")]);
    config.poll.as_mut().unwrap().ask = Ask::Bytes(b"?".to_vec());
    let mut model = Model::new(1);
    model.says = Some((b"?".to_vec(), b"weight=12.5\n".to_vec()));
    let mut world = World::new(vec![config], vec![model]);
    world.run("5s");
    world.ask(1, "scale").unwrap();
    world.run("10s");
    assert_eq!(world.polled[0].samples[0].value, Some(Value::Number(12.5)));
    world.models[0].says = Some((b"?".to_vec(), b"rubbish\n".to_vec()));
    world.ask(2, "scale").unwrap();
    world.run("15s");
    assert!(world.polled[1].error.is_some(), "{:?}", world.polled);
}
