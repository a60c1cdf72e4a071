//! Commands of a port whose devices send by themselves, in invented time.

use regex::Regex;

use super::*;
use crate::reading::{Run, Value};
use crate::sensor::config::*;
use crate::sensor::{Expect, Input, Port, SendTemplate};
use crate::time::{BootId, Now};

struct Bench {
    port: Port,
    now: Now,
}

/// A thermostat with lines such as `t=21.5`, that takes `SP21.5` and says `OK`.
fn thermostat(expect: Option<&str>) -> DeviceConfig {
    let command = CommandConfig {
        value: PointConfig { max: Some(30.0), ..PointConfig::named("setpoint") },
        send: SendTemplate::text("SP{value:.1}\r\n").unwrap(),
        check: None,
        expect: expect.map(|pattern| Expect::Line(Pattern(Regex::new(pattern).unwrap()))),
        timeout: Duration::from_secs(1),
    };
    DeviceConfig {
        name: "heater".into(),
        port: "p".into(),
        framing: FramingConfig::Line { end: LineEnd::Any, bytes_max: 64 },
        check: None,
        decode: DecodeConfig::KeyValue { pair: '=', separator: None },
        points: Points::List(vec![PointConfig::named("t")]),
        stale_after: Duration::from_secs(60),
        poll: None,
        commands: vec![command],
    }
}

fn port() -> PortConfig {
    PortConfig {
        usb: None,
        name: "p".into(),
        kind: PortKind::Serial,
        path: "/dev/p".into(),
        baud: 9_600,
        data_bits: DataBits::Eight,
        parity: Parity::None,
        stop_bits: StopBits::One,
        flow_control: FlowControl::None,
        dtr: None,
        rts: None,
        echo: false,
        gap: None,
        rs485: None,
    }
}

impl Bench {
    fn new(expect: Option<&str>) -> Self {
        let now = Now::default();
        let port = Port::new(port(), vec![thermostat(expect)], Run(1), BootId([1; 16]), 1, now);
        let mut bench = Self { port, now };
        bench.take();
        bench
    }

    fn open(expect: Option<&str>) -> Self {
        let mut bench = Self::new(expect);
        bench.handle(0, Input::Opened);
        bench.handle(200, Input::Bytes(b"t=20.0\r\n"));
        bench
    }

    /// What comes of an input so many milliseconds later.
    fn handle(&mut self, later_ms: u64, input: Input<'_>) -> Vec<String> {
        self.now.mono = self.now.mono + Duration::from_millis(later_ms);
        self.port.handle(self.now, input);
        self.take()
    }

    fn command(&mut self, number: u64, value: f64) -> Vec<String> {
        let (device, point) = ("heater".into(), Some("setpoint".into()));
        let until = self.now.mono + Duration::from_secs(5);
        let command = Command { id: CommandId(number), device, point, value: Value::Number(value), until };
        self.port.command(self.now, &command);
        self.take()
    }

    fn take(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(output) = self.port.poll_output() {
            all.push(match output {
                Output::Send(bytes) => format!("send {}", bytes.escape_ascii()),
                Output::Done { id, outcome: Outcome::Done(_) } => format!("{} done", id.0),
                Output::Done { id, outcome } => {
                    format!("{} {}: {}", id.0, outcome.as_str(), outcome.error().unwrap())
                }
                Output::Reading(reading) => format!("t={:?}", reading.samples[0].value),
                other => format!("{other:?}"),
            });
        }
        all
    }

    fn bad_lines(&self) -> u64 {
        self.port.status(self.now).devices[0].bad_lines
    }
}

#[test]
fn a_command_is_answered_among_readings_and_its_answer_is_no_bad_line() {
    let mut bench = Bench::open(Some("^OK"));
    assert_eq!(bench.command(1, 21.5), ["send SP21.5\\r\\n"]);
    let both = bench.handle(20, Input::Bytes(b"SP21.5\r\nt=20.1\r\nOK\r\n"));
    assert_eq!(both, ["1 done", "t=Some(Number(20.1))"]);
    assert_eq!(bench.bad_lines(), 0, "neither the echo nor the answer is one");
    // Long after it, the same word is somebody's mistake.
    bench.handle(5_000, Input::Bytes(b"OK\r\n"));
    assert_eq!(bench.bad_lines(), 1);
}

#[test]
fn commands_go_one_after_the_other_and_none_goes_late_or_twice() {
    let mut bench = Bench::open(Some("^OK"));
    assert_eq!(bench.command(1, 21.0), ["send SP21.0\\r\\n"]);
    assert!(bench.command(2, 22.0).is_empty());
    let ended = bench.handle(1_000, Input::Tick);
    let words = "1 unknown: sent, but not confirmed within 1s: it said nothing";
    assert_eq!(ended, [words, "send SP22.0\\r\\n"]);
    assert_eq!(bench.handle(10, Input::Bytes(b"OK\r\n")), ["2 done"]);
    // Seven that nobody answers take seven seconds; behind the fifth it is too late.
    let mut all = Vec::new();
    for number in 10..19 {
        all.extend(bench.command(number, 10.0));
    }
    assert_eq!(all.last().unwrap(), "18 refused: too many commands wait already: 8 may on a port");
    for _ in 0..10 {
        all.extend(bench.handle(1_000, Input::Tick));
    }
    let count = |what: &str| all.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("send"), count("unknown"), count("too late")), (5, 5, 3), "{all:#?}");
}

#[test]
fn a_command_that_nobody_answers_is_done_when_it_is_sent() {
    let mut bench = Bench::open(None);
    assert_eq!(bench.command(1, 21.5), ["send SP21.5\\r\\n"]);
    assert!(bench.handle(20, Input::Tick).is_empty());
    assert_eq!(bench.handle(30, Input::Tick), ["1 done"]);
}

#[test]
fn without_its_port_a_command_is_refused_and_one_under_way_is_unknown() {
    let mut bench = Bench::new(Some("^OK"));
    assert_eq!(bench.command(1, 21.5), ["1 refused: the port is down: it is not open yet"]);
    bench.handle(0, Input::Opened);
    bench.command(2, 21.5);
    bench.command(3, 21.5);
    let told = bench.handle(10, Input::Lost { error: "gone" });
    assert!(told.contains(&"2 unknown: sent, but not confirmed: the port went down".to_owned()), "{told:?}");
    assert!(told.contains(&"3 refused: the port went down".to_owned()), "{told:?}");
    assert_eq!(bench.command(4, 21.5), ["4 refused: the port is down: gone"]);
    assert_eq!(bench.command(5, 31.0), ["5 refused: 31 is not 30 or below"]);
}
