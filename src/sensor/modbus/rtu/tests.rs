//! Frames of real devices, and what a line may do to them.

use serde_json::Value as Json;

use super::*;
use crate::sensor::cell::{Cell, CellType, WordOrder};
use crate::sensor::decode::Raw;
use crate::sensor::modbus::pdu::{Exception, ReadFunction};

const FRAMES: &str = include_str!("../../../../fixtures/modbus/frames.jsonl");

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn row(name: &str) -> Json {
    let rows = FRAMES.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    rows.into_iter().find(|row| row["name"] == name).unwrap()
}

/// The request of a row: a read of registers, or what the answer's function and length say of it.
fn request(row: &Json) -> Request {
    if let Some(hex) = row["request"].as_str() {
        let frame = bytes(hex);
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let function = ReadFunction::from_code(frame[1]).unwrap();
        return Request::Read { function, address: word(2), count: word(4) };
    }
    let answer = bytes(row["response"].as_str().unwrap());
    let function = ReadFunction::from_code(answer[1] & 0x7f).unwrap();
    Request::Read { function, address: 0, count: u16::from(answer[2]) / 2 }
}

#[test]
fn every_captured_frame_has_the_crc_that_its_oracle_says() {
    let mut judged = 0;
    for line in FRAMES.lines() {
        let row: Json = serde_json::from_str(line).unwrap();
        for (frame, verdict) in [("request", "request_crc_ok"), ("response", "response_crc_ok")] {
            if let (Some(hex), Some(ok)) = (row[frame].as_str(), row[verdict].as_bool()) {
                assert_eq!(is_intact(&bytes(hex)), ok, "{frame} of {}", row["name"]);
                judged += 1;
            }
        }
    }
    assert!(judged > 40, "{judged}");
}

#[test]
fn every_captured_request_is_what_we_would_send() {
    let mut compared = 0;
    for line in FRAMES.lines() {
        let row: Json = serde_json::from_str(line).unwrap();
        if let Some(hex) = row["request"].as_str() {
            let sent = bytes(hex);
            assert_eq!(frame(sent[0], &request(&row).encode().unwrap()), sent, "{}", row["name"]);
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn every_captured_answer_gives_its_registers_or_its_exception() {
    let mut read = 0;
    for line in FRAMES.lines() {
        let row: Json = serde_json::from_str(line).unwrap();
        let answer = bytes(row["response"].as_str().unwrap());
        let unit = answer[0];
        if let Some(registers) = row["registers"].as_array() {
            let words = registers.iter().map(|word| u16::try_from(word.as_u64().unwrap()).unwrap());
            let values: Vec<u8> = words.flat_map(u16::to_be_bytes).collect();
            let sent = frame(unit, &request(&row).encode().unwrap());
            let found =
                Search::Found { answer: Answer::Values(values), echoed: false, start: 0, end: answer.len() };
            assert_eq!(search(&request(&row), unit, &sent, false, &answer), found, "{}", row["name"]);
            for cut in 0..answer.len() {
                let part = &answer[..cut];
                assert_eq!(search(&request(&row), unit, &sent, false, part), Search::Nothing);
            }
            read += 1;
        }
    }
    assert!(read >= 15, "{read}");
    let request = Request::Read { function: ReadFunction::HoldingRegisters, address: 0, count: 4 };
    let answer = bytes(row("exception-illegal-address")["response"].as_str().unwrap());
    let exception = Answer::Exception(Exception::IllegalAddress);
    let found = Search::Found { answer: exception, echoed: false, start: 0, end: 5 };
    assert_eq!(search(&request, 1, &frame(1, &request.encode().unwrap()), false, &answer), found);
    let request = Request::WriteRegister { address: 0, value: 0 };
    let answer = bytes(row("exception-illegal-value")["response"].as_str().unwrap());
    let exception = Answer::Exception(Exception::IllegalValue);
    let found = Search::Found { answer: exception, echoed: false, start: 0, end: 5 };
    assert_eq!(search(&request, 1, &frame(1, &request.encode().unwrap()), false, &answer), found);
}

/// What the frame of a row says to its request, sent to unit 1 on a line of which nothing is known.
fn heard(name: &str, echo: bool) -> Search {
    let row = row(name);
    let sent = bytes(row["request"].as_str().unwrap());
    search(&request(&row), sent[0], &sent, echo, &bytes(row["response"].as_str().unwrap()))
}

#[test]
fn an_echo_and_noise_are_passed_over_and_what_is_damaged_or_anothers_is_never_taken() {
    let values = Answer::Values(vec![0x43, 0x66, 0x33, 0x34]);
    let found = |echoed, end: usize| Search::Found { answer: values.clone(), echoed, start: end - 9, end };
    assert_eq!(heard("echo-then-answer", false), found(true, 17));
    assert_eq!(heard("echo-then-answer", true), found(true, 17));
    assert_eq!(heard("noise-then-answer", false), found(false, 11));
    for name in
        ["bit-error", "wrong-unit", "short-answer-for-earlier-request", "sdm230-first-150-of-165-bytes"]
    {
        assert_eq!(heard(name, false), Search::Nothing, "{name}");
    }
    let damaged = row("bit-error");
    assert!(has_damaged_answer(&request(&damaged), 1, &bytes(damaged["response"].as_str().unwrap())));
    let cell = Cell::of(CellType::F32);
    assert_eq!(cell.decode(&[0x43, 0x66, 0x33, 0x34]), Raw::Float(230.20001));
    let low_first = Cell { word_order: WordOrder::LowFirst, ..cell };
    assert_eq!(low_first.decode(&[0x33, 0x34, 0x43, 0x66]), Raw::Float(230.20001));
}

#[test]
fn on_an_echoing_line_the_first_copy_of_a_write_is_not_its_answer() {
    let request = Request::WriteRegister { address: 1, value: 3 };
    let sent = frame(9, &request.encode().unwrap());
    let twice = [&sent[..], &sent[..]].concat();
    assert_eq!(search(&request, 9, &sent, true, &sent), Search::Nothing);
    assert_eq!(search(&request, 9, &sent, true, &sent[..4]), Search::Nothing);
    let found = |echoed, end: usize| Search::Found { answer: Answer::Written, echoed, start: end - 8, end };
    assert_eq!(search(&request, 9, &sent, true, &twice), found(true, 16));
    assert_eq!(search(&request, 9, &sent, false, &sent), found(false, 8));
    // The transceiver swallowed the beginning of the echo.
    let part = [&sent[3..], &sent[..]].concat();
    assert_eq!(search(&request, 9, &sent, true, &part), found(false, 13));
}

#[test]
fn a_read_never_takes_its_own_echo_for_an_answer() {
    // 24 coils from 0x0305: the request has the byte count of its answer where that would stand.
    let request = Request::Read { function: ReadFunction::Coils, address: 0x0305, count: 24 };
    let sent = frame(1, &request.encode().unwrap());
    assert_eq!(request.answer(&sent[1..6]), Some(Answer::Values(vec![5, 0, 24])));
    for echo in [false, true] {
        assert_eq!(search(&request, 1, &sent, echo, &sent), Search::Nothing);
    }
}

#[test]
fn silence_is_three_and_a_half_characters_and_fixed_above_19200_baud() {
    let check = |baud, character_bits, micros| {
        let rate = LineRate { baud, character_bits };
        assert_eq!(rate.silence().as_micros(), micros, "{baud}");
    };
    check(9_600, 11, 4_010);
    check(19_200, 11, 2_005);
    check(2_400, 10, 14_583);
    check(38_400, 11, 1_750);
    check(115_200, 10, 1_750);
    assert_eq!(LineRate { baud: 9_600, character_bits: 10 }.time_of(96).as_millis(), 100);
}

#[test]
fn damaged_answers_are_never_taken_for_other_values() {
    // CRC-16 finds every error of up to 3 bits in a frame this short (Hamming distance 4), and every burst of up to 16.
    let request = Request::Read { function: ReadFunction::InputRegisters, address: 0, count: 2 };
    let sent = frame(1, &request.encode().unwrap());
    let good = frame(1, &[4, 4, 0x43, 0x66, 0x33, 0x34]);
    let bits = good.len() * 8;
    let mut tried = 0;
    for first in 0..bits {
        for second in first..bits {
            let mut bad = good.clone();
            bad[first / 8] ^= 1 << (first % 8);
            if second != first {
                bad[second / 8] ^= 1 << (second % 8);
            }
            assert_eq!(search(&request, 1, &sent, false, &bad), Search::Nothing, "{first} {second}");
            tried += 1;
        }
    }
    assert_eq!(tried, bits * (bits + 1) / 2);
}
