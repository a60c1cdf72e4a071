//! Meters that are asked in several steps, against simulated ones, in invented time.

use std::time::Duration;

use crate::reading::{Reading, Run};
use crate::sensor::bus::config::{Ask, PollConfig};
use crate::sensor::bus::{Bus, Input, Notice, Output};
use crate::sensor::config::{
    DataBits, DecodeConfig, FlowControl, FramingConfig, Parity, PortConfig, PortKind, StopBits,
};
use crate::sensor::{CodecKind, DeviceConfig, MbusAddress, MeterAsk, MeterSimulator, Points};
use crate::time::{BootId, ClockTrust, Mono, Now, Timestamp};

/// A bus, its meters, and what happened between them.
struct Bench {
    bus: Bus,
    meters: Vec<MeterSimulator>,
    dead: Vec<usize>,
    clock: Duration,
    /// The port's own rate.
    baud: u32,
    /// What is under way to the gateway.
    coming: Vec<(Duration, Vec<u8>)>,
    rates: Vec<(Duration, u32)>,
    sent: Vec<(Duration, Vec<u8>)>,
    readings: Vec<(Duration, Reading)>,
    notices: Vec<Notice>,
}

fn port(baud: u32) -> PortConfig {
    PortConfig {
        name: "p".into(),
        kind: PortKind::Serial,
        path: "/dev/p".to_owned(),
        usb: None,
        baud,
        data_bits: DataBits::Eight,
        parity: Parity::Even,
        stop_bits: StopBits::One,
        flow_control: FlowControl::None,
        dtr: None,
        rts: None,
        echo: false,
        gap: None,
        rs485: None,
    }
}

fn device(name: &str, ask: Ask, every: u64) -> DeviceConfig {
    let kind = if matches!(ask, Ask::Meter(_)) { CodecKind::Iec62056 } else { CodecKind::Mbus };
    let timeout = Duration::from_millis(if kind == CodecKind::Mbus { 500 } else { 2_500 });
    DeviceConfig {
        name: name.into(),
        port: "p".into(),
        framing: FramingConfig::Codec(kind),
        check: None,
        decode: DecodeConfig::Codec(kind),
        points: Points::All,
        commands: Vec::new(),
        stale_after: Duration::from_secs(600),
        poll: Some(PollConfig {
            every: Duration::from_secs(every),
            timeout,
            retries: 1,
            pause: Duration::ZERO,
            ask,
        }),
    }
}

fn meter(address: &str) -> Ask {
    Ask::Meter(MeterAsk { address: address.to_owned(), baud_max: 19_200, wake_up: false })
}

impl Bench {
    fn new(baud: u32, devices: Vec<DeviceConfig>) -> Self {
        let meters = devices.iter().map(|device| MeterSimulator::new(device, 300).unwrap()).collect();
        let mut bench = Self {
            bus: Bus::new(port(baud), devices, Run(1), BootId::default(), 1, now(Duration::ZERO)),
            meters,
            dead: Vec::new(),
            clock: Duration::ZERO,
            baud,
            coming: Vec::new(),
            rates: Vec::new(),
            sent: Vec::new(),
            readings: Vec::new(),
            notices: Vec::new(),
        };
        bench.carry();
        bench
    }

    fn run(&mut self, seconds: u64) {
        let end = self.clock + Duration::from_secs(seconds);
        while self.clock < end {
            self.clock += Duration::from_millis(5);
            let (due, later) =
                std::mem::take(&mut self.coming).into_iter().partition(|(at, _)| *at <= self.clock);
            self.coming = later;
            for (_, bytes) in due {
                self.handle(Input::Bytes(&bytes));
            }
            if self.bus.next_deadline().is_some_and(|deadline| deadline <= now(self.clock).mono) {
                self.handle(Input::Tick);
            }
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.bus.handle(now(self.clock), input);
        self.carry();
    }

    fn carry(&mut self) {
        while let Some(output) = self.bus.poll_output() {
            match output {
                Output::Open => {
                    self.rates.clear();
                    self.bus.handle(now(self.clock), Input::Opened);
                }
                Output::Rate(baud) => self.rates.push((self.clock, baud)),
                Output::Send(bytes) => self.send(bytes),
                Output::Reading(reading) => self.readings.push((self.clock, reading)),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Close | Output::Done { .. } | Output::Polled(_) => {}
            }
        }
    }

    fn send(&mut self, bytes: Vec<u8>) {
        let baud = self.rate();
        let end = self.clock + Duration::from_secs(u64::try_from(bytes.len()).unwrap() * 10) / baud;
        for (index, meter) in self.meters.iter_mut().enumerate() {
            let answers = meter.hear(baud, &bytes);
            for answer in answers.iter().filter(|_| !self.dead.contains(&index)) {
                // It is read at the rate that the line has by then, which is known only later: here by the answer's own.
                let length = Duration::from_secs(u64::try_from(answer.bytes.len()).unwrap() * 10);
                let at = end + answer.after + length / answer.baud.unwrap_or(baud);
                self.coming.push((at, answer.bytes.clone()));
            }
        }
        self.sent.push((self.clock, bytes));
    }

    fn rate(&self) -> u32 {
        self.rates.last().map_or_else(|| self.baud, |(_, baud)| *baud)
    }

    fn of(&self, name: &str) -> Vec<Duration> {
        self.readings.iter().filter(|(_, reading)| &*reading.device == name).map(|(at, _)| *at).collect()
    }
}

fn now(clock: Duration) -> Now {
    let wall = Timestamp::from_millis(1_700_000_000_000).plus(clock);
    Now { mono: Mono::ZERO + clock, wall, trust: ClockTrust::Synced }
}

#[test]
fn the_rate_changes_when_the_acknowledgement_has_left_and_back_when_the_readout_is_there() {
    let mut bench = Bench::new(300, vec![device("m", meter(""), 60)]);
    bench.run(70);
    assert_eq!(bench.of("m").len(), 2);
    let (sent, _) = *bench.sent.iter().find(|(_, bytes)| bytes.starts_with(b"\x06")).unwrap();
    let [(up, 9_600), (down, 300), ..] = bench.rates[..] else { panic!("{:?}", bench.rates) };
    // Six characters of ten bits at 300 baud: 200 ms.
    let passed = up - sent;
    assert!((200..260).contains(&passed.as_millis()), "{passed:?}");
    assert_eq!(down, bench.of("m")[0]);
    assert_eq!(bench.rates.len(), 4);
}

#[test]
fn a_dead_meter_costs_the_others_one_timeout_a_step_and_is_asked_again_sooner_than_its_pace() {
    let slave = |name: &str, address, every| device(name, Ask::Mbus(MbusAddress::Primary(address)), every);
    let mut bench = Bench::new(2_400, vec![slave("dead", 1, 900), slave("a", 2, 2), slave("b", 3, 2)]);
    bench.dead.push(0);
    bench.run(300);
    for name in ["a", "b"] {
        let times = bench.of(name);
        assert!(times.len() >= 145, "{name}: {}", times.len());
        let longest = times.windows(2).map(|two| two[1] - two[0]).max().unwrap();
        // One of the other two, and one timeout.
        assert!(longest < Duration::from_millis(4_000), "{name}: {longest:?}");
    }
    let asked: Vec<Duration> =
        bench.sent.iter().filter(|(_, bytes)| bytes.len() == 5 && bytes[2] == 1).map(|(at, _)| *at).collect();
    let steps: Vec<u64> = asked.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
    assert_eq!(steps.len(), 3, "{asked:?}");
    assert!(
        steps.iter().zip([30, 60, 120]).all(|(step, wanted)| (wanted..wanted + 3).contains(step)),
        "{steps:?}"
    );
    assert!(bench.notices.iter().any(|notice| matches!(notice, Notice::DeviceOffline { .. })));
    bench.dead.clear();
    bench.run(300);
    assert_eq!(bench.of("dead").len(), 1, "and then at its own pace");
    assert!(bench.notices.iter().any(|notice| matches!(notice, Notice::DeviceOnline { .. })));
}

#[test]
fn a_line_that_is_lost_in_the_middle_of_a_readout_begins_anew() {
    let mut bench = Bench::new(300, vec![device("m", meter("12345678"), 60)]);
    bench.run(3);
    assert_eq!(bench.rates.len(), 1, "{:?}", bench.sent);
    bench.handle(Input::Lost { error: "unplugged" });
    bench.coming.clear();
    bench.run(30);
    assert_eq!(bench.of("m").len(), 1);
    assert_eq!(bench.sent[2].1, b"/?12345678!\r\n");
}
