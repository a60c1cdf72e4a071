//! Writes go before polls, and never late.

use super::world::{Model, World, device, span};
use crate::sensor::bus::{WriteError, WriteOrder};
use crate::sensor::modbus::pdu::ReadFunction::{Coils, HoldingRegisters};
use crate::sensor::modbus::pdu::{Request, RequestError};
use crate::time::Mono;

fn order(device: &str, request: Request, token: u64, until: &str) -> WriteOrder {
    WriteOrder { device: device.into(), request, token, until: Mono::ZERO + span(until) }
}

const fn register(value: u16) -> Request {
    Request::WriteRegister { address: 2, value }
}

#[test]
fn writes_go_before_polls_in_their_order_and_are_confirmed() {
    let devices = (1..=5).map(|unit| device(&format!("d{unit}"), unit, "100ms")).collect();
    let mut world = World::new(devices, (1..=5).map(Model::new).collect());
    world.run("1s");
    let polls = world.sent.len();
    let now = world.now();
    world.bus.write(now, order("d3", register(7), 1, "5s")).unwrap();
    world.bus.write(now, order("d3", Request::WriteCoil { address: 9, on: true }, 2, "5s")).unwrap();
    let values = vec![1, 2, 3];
    world.bus.write(now, order("d5", Request::WriteRegisters { address: 20, values }, 3, "5s")).unwrap();
    world.outputs();
    world.run("2s");
    let tokens: Vec<_> = world.written.iter().map(|(_, token, result)| (*token, result.clone())).collect();
    assert_eq!(tokens, [(1, Ok(())), (2, Ok(())), (3, Ok(()))]);
    assert_eq!(world.models[2].registers[&(HoldingRegisters.code(), 2)], 7);
    assert_eq!(world.models[2].registers[&(Coils.code(), 9)], 1);
    assert_eq!(world.models[4].registers[&(HoldingRegisters.code(), 22)], 3);
    // At most the poll that was under way stands before the first.
    let functions: Vec<u8> = world.sent[polls..polls + 4].iter().map(|(_, bytes)| bytes[1]).collect();
    assert!(functions.windows(3).any(|three| three == [6, 5, 16]), "{functions:?}");
}

#[test]
fn a_write_that_comes_too_late_is_not_sent() {
    let mut slow = Model::new(1);
    slow.delay = span("400ms");
    let mut world = World::new(vec![device("d1", 1, "100ms")], vec![slow]);
    world.run("100ms");
    let now = world.now();
    world.bus.write(now, order("d1", register(7), 1, "200ms")).unwrap();
    world.run("3s");
    assert_eq!(world.written.len(), 1);
    assert_eq!((world.written[0].1, &world.written[0].2), (1, &Err(WriteError::TooLate)));
    assert!(world.sent.iter().all(|(_, bytes)| bytes[1] != 6));
}

#[test]
fn a_write_without_an_answer_is_tried_again_and_then_told() {
    let mut world = World::new(vec![device("d1", 1, "10s")], vec![Model::new(1)]);
    world.run("1s");
    world.models[0].is_dead = true;
    let now = world.now();
    world.bus.write(now, order("d1", register(7), 1, "9s")).unwrap();
    world.outputs();
    world.run("5s");
    assert_eq!(world.sent.iter().filter(|(_, bytes)| bytes[1] == 6).count(), 2);
    assert_eq!(world.written[0].2, Err(WriteError::NoAnswer));
}

#[test]
fn what_can_not_be_written_is_refused_at_once() {
    let mut world = World::new(vec![device("d1", 1, "1s")], vec![Model::new(1)]);
    world.run("1s");
    let now = world.now();
    let refused = |world: &mut World, order| world.bus.write(now, order).unwrap_err();
    assert_eq!(refused(&mut world, order("d9", register(1), 1, "9s")), WriteError::NoSuchDevice);
    let read = Request::Read { function: Coils, address: 0, count: 1 };
    assert_eq!(refused(&mut world, order("d1", read, 1, "9s")), WriteError::BadRequest(None));
    let many = Request::WriteRegisters { address: 0, values: vec![0; 200] };
    let error = RequestError::Count { count: 200, max: 123 };
    assert_eq!(refused(&mut world, order("d1", many, 1, "9s")), WriteError::BadRequest(Some(error)));
    world.models[0].is_dead = true;
    for token in 0..64 {
        world.bus.write(now, order("d1", register(1), token, "9s")).unwrap();
    }
    assert_eq!(refused(&mut world, order("d1", register(1), 99, "9s")), WriteError::Full { max: 64 });
    let gone = crate::sensor::bus::Input::Lost { error: "gone" };
    world.bus.handle(now, gone);
    world.outputs();
    assert_eq!(world.written.len(), 64, "each is told");
    assert_eq!(refused(&mut world, order("d1", register(1), 99, "9s")), WriteError::PortDown);
}
