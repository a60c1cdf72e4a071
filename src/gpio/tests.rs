//! The lines and their bank under invented time.

use std::collections::BTreeMap;

use super::*;
use crate::reading::{Quality, Sample};
use crate::time::{ClockTrust, Timestamp};

fn line(name: &str, mode: Mode) -> GpioConfig {
    GpioConfig {
        name: name.into(),
        line: LineName::Name(name.to_uppercase()),
        backend: BackendName::Sim,
        active_low: false,
        bias: Bias::AsIs,
        debounce: Duration::ZERO,
        every: Duration::from_secs(30),
        unit: None,
        mode,
    }
}

fn counter() -> Mode {
    Mode::Counter(CounterConfig {
        edge: EdgeKind::Rising,
        per_pulse: "0.5".parse().unwrap(),
        rate_per: Duration::from_secs(1),
        timeout: Duration::from_secs(60),
        persist_every: Duration::from_secs(10),
    })
}

fn output() -> OutputConfig {
    OutputConfig {
        startup: Startup::Off,
        on_exit: Some(false),
        on_disconnect: None,
        max_on: None,
        interlock: Vec::new(),
    }
}

/// A bank whose lines are where it is told, on a board that does what it is told.
struct Rig {
    bank: Bank,
    now_ms: u64,
    levels: BTreeMap<usize, bool>,
    /// Outputs that don't follow.
    stuck: bool,
    disk: BTreeMap<usize, Vec<u8>>,
    out: Vec<(usize, Output)>,
    seqno: u32,
}

impl Rig {
    fn new(lines: Vec<GpioConfig>) -> Self {
        Self::found(lines.into_iter().map(|line| (line, Found::Nothing)).collect())
    }

    fn found(lines: Vec<(GpioConfig, Found)>) -> Self {
        let mut rig = Self {
            bank: Bank::new(lines, Run(3), BootId::default(), Now::default()),
            now_ms: 0,
            levels: BTreeMap::new(),
            stuck: false,
            disk: BTreeMap::new(),
            out: Vec::new(),
            seqno: 0,
        };
        rig.carry_out();
        rig
    }

    fn now(&self) -> Now {
        let mono = Mono::from_nanos(self.now_ms * 1_000_000);
        Now { mono, wall: Timestamp::from_millis(1_000), trust: ClockTrust::Synced }
    }

    fn input(&mut self, line: usize, input: Input<'_>) {
        self.bank.handle(self.now(), line, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some((line, output)) = self.bank.poll_output() {
            let now = self.now();
            match &output {
                Output::Open => {
                    let level = self.levels.get(&line).copied().unwrap_or(false);
                    let opened = Input::Opened { level, debounced: false, backend: "sim" };
                    self.bank.handle(now, line, opened);
                }
                Output::Look => {
                    self.bank.handle(now, line, Input::Looked(Ok(self.levels[&line])));
                }
                Output::Set { on, cause, command } => {
                    if !self.stuck {
                        self.levels.insert(line, *on);
                    }
                    let result = Ok(self.levels.get(&line).copied().unwrap_or(false));
                    let was_set = Input::WasSet { on: *on, cause: *cause, command: *command, result };
                    self.bank.handle(now, line, was_set);
                }
                Output::Persist(bytes) => {
                    self.disk.insert(line, bytes.clone());
                    self.bank.handle(now, line, Input::Persisted(Ok(())));
                }
                _ => {}
            }
            self.out.push((line, output));
        }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(due) = self.bank.next_deadline() {
            let due_ms = due.as_nanos().div_ceil(1_000_000);
            if due_ms > end {
                break;
            }
            self.now_ms = self.now_ms.max(due_ms);
            self.bank.tick(self.now());
            self.carry_out();
        }
        self.now_ms = end;
    }

    fn edge(&mut self, line: usize, active: bool) {
        self.seqno += 1;
        self.levels.insert(line, active);
        let edge = Edge { at: self.now().mono, active, seqno: self.seqno };
        self.input(line, Input::Edge(edge));
    }

    fn command(&mut self, line: usize, value: Value) -> Outcome {
        self.out.clear();
        self.input(line, Input::Command { id: CommandId(9), point: None, value: &value });
        let ends = self.out.iter().filter_map(|(_, output)| match output {
            Output::Done { id: CommandId(9), outcome } => Some(outcome.clone()),
            _ => None,
        });
        let ends: Vec<Outcome> = ends.collect();
        assert_eq!(ends.len(), 1, "{:?}", self.out);
        ends[0].clone()
    }

    fn readings(&mut self) -> Vec<Vec<Sample>> {
        let taken = std::mem::take(&mut self.out);
        taken
            .into_iter()
            .filter_map(|(_, output)| match output {
                Output::Reading(reading) => Some(reading.samples),
                _ => None,
            })
            .collect()
    }

    fn states(&mut self) -> Vec<(Option<bool>, Quality)> {
        self.readings()
            .iter()
            .map(|samples| match &samples[..] {
                [Sample { value: Some(Value::Bool(state)), quality, .. }] => (Some(*state), *quality),
                [Sample { value: None, quality, .. }] => (None, *quality),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn notices(&self) -> Vec<Notice> {
        let notice = |output: &Output| match output {
            Output::Notice(notice) => Some(notice.clone()),
            _ => None,
        };
        self.out.iter().filter_map(|(_, output)| notice(output)).collect()
    }
}

const GOOD: Quality = Quality::Good;

#[test]
fn an_input_tells_its_level_at_the_start_at_each_change_and_every_so_often() {
    let mut rig = Rig::new(vec![line("door", Mode::Input { edge: EdgeKind::Both })]);
    assert_eq!(rig.states(), [(Some(false), GOOD)]);
    rig.pass(1_000);
    rig.edge(0, true);
    rig.edge(0, false);
    assert_eq!(rig.states(), [(Some(true), GOOD), (Some(false), GOOD)]);
    rig.pass(29_999);
    assert_eq!(rig.states(), []);
    rig.pass(1);
    assert_eq!(rig.states(), [(Some(false), GOOD)]);
    // Only one kind of change makes a reading; the level is known all the same.
    let mut rig = Rig::new(vec![line("bell", Mode::Input { edge: EdgeKind::Rising })]);
    rig.out.clear();
    rig.edge(0, true);
    rig.edge(0, false);
    assert_eq!(rig.states(), [(Some(true), GOOD)]);
    rig.pass(30_000);
    assert_eq!(rig.states(), [(Some(false), GOOD)]);
}

#[test]
fn an_input_debounces_where_the_kernel_does_not() {
    let config = GpioConfig {
        debounce: Duration::from_millis(20),
        ..line("door", Mode::Input { edge: EdgeKind::Both })
    };
    let mut rig = Rig::new(vec![config]);
    rig.out.clear();
    for level in [true, false, true, false, true] {
        rig.edge(0, level);
        rig.pass(3);
    }
    assert_eq!(rig.states(), []);
    rig.pass(20);
    assert_eq!(rig.states(), [(Some(true), GOOD)]);
}

#[test]
fn after_lost_changes_an_input_is_looked_at_and_says_so() {
    let mut rig = Rig::new(vec![line("door", Mode::Input { edge: EdgeKind::Both })]);
    rig.out.clear();
    rig.edge(0, true);
    rig.seqno += 2;
    rig.edge(0, false);
    assert_eq!(rig.notices(), [Notice::EdgesLost { lost: 2, counted: false }]);
    assert_eq!(rig.states(), [(Some(true), GOOD), (Some(false), Quality::Overrun)]);
    let status = &rig.bank.status(rig.now().mono)[0];
    assert_eq!((status.edges, status.lost_edges), (2, 2));
    // Told once a minute, with the sum.
    for _ in 0..10 {
        rig.seqno += 1;
        let level = !rig.levels[&0];
        rig.edge(0, level);
    }
    assert_eq!(rig.notices(), []);
    rig.pass(61_000);
    rig.seqno += 1;
    rig.edge(0, true);
    assert_eq!(rig.notices(), [Notice::EdgesLost { lost: 11, counted: false }]);
}

/// Total and rate of each reading, and whether it is good.
fn totals(rig: &mut Rig) -> Vec<(f64, f64, bool)> {
    let number = |sample: &Sample| match sample.value {
        Some(Value::Number(number)) => number,
        _ => panic!("{sample:?}"),
    };
    let readings = rig.readings();
    readings.iter().map(|s| (number(&s[0]), number(&s[1]), s[0].quality == GOOD)).collect()
}

#[test]
fn a_counter_tells_total_and_rate_and_counts_what_was_lost() {
    let mut rig = Rig::new(vec![line("water", counter())]);
    assert_eq!(rig.readings().len(), 0, "nothing is known yet");
    for _ in 0..10 {
        rig.pass(2_000);
        rig.edge(0, true);
    }
    // The first at once, with the first pulse; what is told is on disk.
    assert_eq!(totals(&mut rig), [(0.5, 0.0, true)]);
    rig.pass(12_000);
    // The last pulse was 12 s ago: the rate can't be higher than half a unit in that time.
    assert_eq!(totals(&mut rig), [(5.0, 0.041_666_666_7, true)]);
    rig.seqno += 3;
    rig.edge(0, true);
    assert_eq!(rig.notices(), [Notice::EdgesLost { lost: 3, counted: true }]);
    rig.pass(30_000);
    let after = totals(&mut rig);
    assert_eq!((after[0].0, after[0].2), (7.0, false), "{after:?}");
    assert_eq!(rig.bank.status(rig.now().mono)[0].live, Some((7.0, 14)));
    // A restart goes on from there.
    let found = Found::Kept(rig.disk[&0].clone());
    let rig = Rig::found(vec![(line("water", counter()), found)]);
    assert_eq!(rig.bank.status(Mono::ZERO)[0].live, Some((7.0, 14)));
}

#[test]
fn a_stop_keeps_and_tells_the_last_total() {
    let mut rig = Rig::new(vec![line("water", counter())]);
    rig.edge(0, true);
    rig.pass(1_000);
    rig.edge(0, true);
    rig.out.clear();
    rig.input(0, Input::Stop);
    assert_eq!(rig.out.last(), Some(&(0, Output::Stopped)));
    assert_eq!(totals(&mut rig).len(), 1);
    let rig = Rig::found(vec![(line("water", counter()), Found::Kept(rig.disk[&0].clone()))]);
    assert_eq!(rig.bank.status(Mono::ZERO)[0].live, Some((1.0, 2)));
}

#[test]
fn a_counter_is_set_to_what_its_meter_shows() {
    let mut rig = Rig::new(vec![line("water", counter())]);
    let set = |rig: &mut Rig, text: &str| rig.command(0, Value::Text(text.into()));
    assert_eq!(set(&mut rig, "1234.5"), Outcome::Done(Some(Value::Number(1234.5))));
    rig.edge(0, true);
    rig.pass(30_000);
    assert_eq!(totals(&mut rig).last().unwrap().0, 1235.0);
    assert_eq!(set(&mut rig, "7"), Outcome::Done(Some(Value::Number(7.0))));
    let readings = rig.readings();
    let reset = Sample { point: "reset".into(), value: Some(Value::Bool(true)), quality: GOOD };
    assert_eq!(readings[0][2], reset, "told at once, and that it is less");
    assert!(matches!(set(&mut rig, "-1"), Outcome::Refused(_)));
    assert!(matches!(set(&mut rig, "on"), Outcome::Refused(_)));
    assert!(matches!(rig.command(0, Value::Bool(true)), Outcome::Refused(_)));
}

#[test]
fn a_frequency_is_that_of_its_changes_and_ends_with_them() {
    let mode = Mode::Frequency {
        edge: EdgeKind::Rising,
        scale: "60".parse().unwrap(),
        timeout: Duration::from_secs(5),
    };
    let mut rig = Rig::new(vec![GpioConfig { every: Duration::from_secs(1), ..line("fan", mode) }]);
    for _ in 0..100 {
        rig.edge(0, true);
        rig.edge(0, false);
        rig.pass(40);
    }
    let values: Vec<f64> = rig
        .readings()
        .iter()
        .map(|samples| match samples[0].value {
            Some(Value::Number(number)) => number,
            _ => panic!("{samples:?}"),
        })
        .collect();
    assert_eq!(values, [1_500.0; 4]);
    rig.pass(10_000);
    let last = rig.readings().pop().unwrap();
    assert_eq!((&*last[0].point, &last[0].value), ("frequency", &Some(Value::Number(0.0))));
}

#[test]
fn an_output_is_set_read_back_and_told() {
    let mut rig = Rig::new(vec![line("pump", Mode::Output(output()))]);
    assert_eq!((rig.states(), rig.levels[&0]), (vec![(Some(false), GOOD)], false));
    for (value, on) in [
        (Value::Text("on".into()), true),
        (Value::Text("OFF".into()), false),
        (Value::Bool(true), true),
        (Value::Integer(0), false),
        (Value::Integer(1), true),
        (Value::Integer(1), true),
    ] {
        assert_eq!(rig.command(0, value), Outcome::Done(Some(Value::Bool(on))));
        assert_eq!((rig.states(), rig.levels[&0]), (vec![(Some(on), GOOD)], on));
    }
    for value in [Value::Text("toggle".into()), Value::Integer(2), Value::Number(0.5)] {
        assert!(matches!(rig.command(0, value), Outcome::Refused(_)));
        assert!(rig.levels[&0]);
    }
    rig.input(0, Input::Command { id: CommandId(1), point: Some("speed"), value: &Value::Bool(false) });
    rig.input(0, Input::Command { id: CommandId(2), point: Some("state"), value: &Value::Bool(false) });
    assert!(!rig.levels[&0]);
}

#[test]
fn an_output_that_does_not_follow_is_told() {
    let mut rig = Rig::new(vec![line("pump", Mode::Output(output()))]);
    rig.stuck = true;
    let outcome = rig.command(0, Value::Bool(true));
    assert_eq!(outcome, Outcome::Failed("it was set to on and reads off".into()));
    assert_eq!(rig.notices(), [Notice::ReadsOther { set: true }]);
    assert_eq!(rig.states(), [(Some(false), GOOD)], "what it is, not what it should be");
    assert_eq!(rig.bank.status(Mono::ZERO)[0].output, Some((Some(true), Some(false))));
}

#[test]
fn outputs_that_exclude_each_other_are_never_on_together() {
    for startup in [Startup::Off, Startup::Last] {
        let up = OutputConfig { interlock: vec!["down".into()], startup, ..output() };
        let down = OutputConfig { startup, ..output() };
        let kept = Found::Kept(vec![1, 1]);
        let mut rig = Rig::found(vec![
            (line("up", Mode::Output(up)), kept.clone()),
            (line("down", Mode::Output(down)), kept),
        ]);
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..20 {
                assert!(!(rig.levels[&0] && rig.levels[&1]), "{startup:?}, seed {seed}");
                rig.command(random.usize(0..2), Value::Bool(random.bool()));
            }
        }
        rig.command(0, Value::Bool(false));
        rig.command(1, Value::Bool(true));
        assert_eq!(rig.command(0, Value::Bool(true)), Outcome::Refused("interlock: down is on".into()));
        assert_eq!(rig.command(0, Value::Bool(false)), Outcome::Done(Some(Value::Bool(false))));
    }
}

#[test]
fn an_output_is_safe_after_too_long_without_upstream_and_at_the_end() {
    let config = OutputConfig {
        max_on: Some(Duration::from_secs(100)),
        on_disconnect: Some((false, Duration::from_secs(60))),
        ..output()
    };
    let mut rig = Rig::new(vec![line("heater", Mode::Output(config))]);
    assert!(rig.bank.watches_upstreams());
    rig.input(0, Input::Online(true));
    rig.command(0, Value::Bool(true));
    rig.out.clear();
    rig.pass(100_000);
    assert!(!rig.levels[&0]);
    assert_eq!(rig.notices(), [Notice::Switched { on: false, cause: Cause::MaxOn }]);
    rig.command(0, Value::Bool(true));
    rig.input(0, Input::Online(false));
    rig.pass(59_000);
    assert!(rig.levels[&0]);
    rig.pass(1_000);
    assert!(!rig.levels[&0]);
    assert_eq!(rig.notices(), [Notice::Switched { on: false, cause: Cause::Disconnect }]);
    rig.command(0, Value::Bool(true));
    rig.out.clear();
    rig.input(0, Input::Stop);
    assert!(!rig.levels[&0]);
    assert_eq!(rig.out.last(), Some(&(0, Output::Stopped)));
    assert_eq!(rig.states(), [(Some(false), GOOD)], "told before the end");
}

#[test]
fn what_an_output_was_last_is_kept_and_what_the_end_sets_is_not() {
    let config = || OutputConfig { startup: Startup::Last, ..output() };
    let mut rig = Rig::new(vec![line("pump", Mode::Output(config()))]);
    rig.command(0, Value::Bool(true));
    rig.input(0, Input::Stop);
    assert!(!rig.levels[&0]);
    let found = Found::Kept(rig.disk[&0].clone());
    let rig = Rig::found(vec![(line("pump", Mode::Output(config())), found)]);
    assert!(rig.levels[&0]);
}

#[test]
fn a_line_that_is_away_is_told_once_looked_for_and_refuses_commands() {
    let mut rig = Rig::new(vec![line("pump", Mode::Output(output())), line("water", counter())]);
    rig.command(0, Value::Bool(true));
    rig.edge(1, true);
    rig.out.clear();
    rig.bank.handle(rig.now(), 0, Input::Lost { error: "unplugged" });
    rig.bank.handle(rig.now(), 0, Input::Lost { error: "unplugged" });
    rig.levels.insert(0, false);
    assert!(matches!(rig.command(0, Value::Bool(false)), Outcome::Refused(why) if why.contains("unplugged")));
    assert_eq!(rig.bank.status(Mono::ZERO)[1].error, None, "the others don't care");
    rig.pass(2_000);
    let status = &rig.bank.status(rig.now().mono)[0];
    assert_eq!((status.open, &status.error), (true, &None));
    assert!(rig.levels[&0], "it is what it was told to be");
}

#[test]
fn a_line_that_is_taken_out_leaves_the_others_their_numbers_and_what_they_are() {
    let named = |name: &str| line(name, Mode::Output(output()));
    let mut rig = Rig::new(vec![named("a"), named("b"), named("c")]);
    rig.input(1, Input::Command { id: CommandId(1), point: None, value: &Value::Bool(true) });
    rig.out.clear();
    rig.input(0, Input::Stop);
    rig.bank.remove(0);
    let now = rig.now();
    assert_eq!(rig.bank.add(now, named("d"), &Found::Nothing), 3);
    rig.carry_out();
    rig.bank.order(&["d".into(), "b".into(), "c".into()]);
    let names: Vec<_> = rig.bank.status(Mono::ZERO).iter().map(|line| line.name.to_string()).collect();
    assert_eq!(names, ["d", "b", "c"]);
    assert_eq!((rig.bank.find("b"), rig.bank.find("a")), (Some(1), None));
    // Nobody has touched the one that is on.
    assert!(!rig.out.iter().any(|(line, output)| *line == 1 && matches!(output, Output::Set { .. })));
    assert_eq!(rig.bank.status(Mono::ZERO)[1].output, Some((Some(true), Some(true))));
}
